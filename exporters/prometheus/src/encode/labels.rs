use std::collections::BTreeMap;

use lem_record::Attributes;

/// Label names and values, sorted by name; without `__name__`.
pub type Labels = Vec<(String, String)>;

/// The labels of attributes, with whose run it is. Two attributes whose names become
/// one label share it, as in the translation. An empty value is as no label.
pub fn labels(attributes: &Attributes, run_id: &str) -> Labels {
    let mut labels: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in attributes {
        let name = label_name(name);
        if name.is_empty() || value.is_empty() {
            continue;
        }
        match labels.get_mut(&name) {
            Some(before) => {
                before.push(';');
                before.push_str(value);
            }
            None => drop(labels.insert(name, value.clone())),
        }
    }
    labels.insert("job".into(), super::JOB.into());
    if !run_id.is_empty() {
        labels.insert("instance".into(), run_id.to_owned());
    }
    labels.into_iter().collect()
}

/// The label of an OTel attribute: `hw.id` is `hw_id`.
pub fn label_name(attribute: &str) -> String {
    let legal = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let name: String = attribute.chars().map(legal).collect();
    match name.as_str() {
        // ours, or Prometheus's own
        "job" | "instance" | "le" | "quantile" => format!("exported_{name}"),
        _ if name.starts_with('_') => format!("key{name}"),
        _ if name.starts_with(|c: char| c.is_ascii_digit()) => format!("key_{name}"),
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_translation() {
        for (attribute, label) in [
            ("hw.id", "hw_id"),
            ("gen_ai.request.model", "gen_ai_request_model"),
            ("0day", "key_0day"),
            ("__name__", "key__name__"),
            ("\u{fc}ber", "key_ber"),
            ("le", "exported_le"),
            ("", ""),
        ] {
            assert_eq!(label_name(attribute), label);
        }
    }

    #[test]
    fn names_that_meet_share_a_label_and_nothing_hides_the_run() {
        let own = [("a.b", "1"), ("a_b", "2"), ("job", "x"), ("none", "")];
        let own = own.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        let told: Vec<String> = labels(&own, "r1")
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        assert_eq!(
            told,
            ["a_b=1;2", "exported_job=x", "instance=r1", "job=lem"]
        );
    }
}
