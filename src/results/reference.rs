//! `docs/result.md`: every field of a result, from the schema.

use std::fmt::Write as _;

use serde_json::Value;

use super::v3::{RunResult, SCHEMA_VERSION};

/// Units by what a name ends in; the first that fits counts.
const UNITS: &[(&str, &str)] = &[
    ("tokens_per_sec", "tokens/s"),
    ("requests_per_sec", "requests/s"),
    ("tokens_per_joule", "tokens/J"),
    ("flops_per_joule", "FLOP/J"),
    ("g_per_kwh", "g/kWh"),
    ("usd_per_million_tokens", "USD"),
    ("_js", "J·s"),
    ("_j", "J"),
    ("_w", "W"),
    ("_ms", "ms"),
    ("_s", "s"),
    ("_g", "g"),
    ("_usd", "USD"),
    ("_bytes", "B"),
    ("_gb", "GB"),
];

/// Units of names that do not end in one.
const UNITS_OF: &[(&str, &str)] = &[
    ("EnergyComponents.gpu", "J"),
    ("EnergyComponents.cpu", "J"),
    ("EnergyComponents.memory", "J"),
    ("Flops.estimated", "FLOP"),
    ("Flops.measured", "FLOP"),
    ("Flops.rate", "FLOP/s"),
    ("Distribution.mean", "ms"),
    ("Distribution.p50", "ms"),
    ("Distribution.p90", "ms"),
    ("Distribution.p99", "ms"),
    ("Distribution.min", "ms"),
    ("Distribution.max", "ms"),
    ("SeriesSample.t", "s"),
];

/// Fields that came after the first version of the format: what older files do not have.
const SINCE: &[(&str, &str)] = &[];
const FIRST: &str = "3.0.0";

const HEAD: &str = "\
# The result of a run

`result.json` in a run's folder holds one result; so do the files that end in `.v3.json` (migrated
results and aggregates). `lem results schema` prints the same as a JSON Schema, which is
[result.schema.json](result.schema.json) here. This page is generated from the code.

The format has a version, `schema_version`, and these rules:

- Within version 3 fields are only added. A file may have fields that a reader does not know: skip
  them. It may lack fields that came later than the lem that wrote it: take them for absent.
- What a field means, and its unit, never changes. Another meaning gets another name.
- To take a field away, or to make one required, is version 4.
- What could not be had is `null` or left out, with the reason beside it (`reason` of a quantity,
  `absent` for a plain number). It is never 0.
- What stands under a cycle is of that cycle. What stands at the top is the mean over the finished
  cycles, except counts (`tokens`, `requests`, `duration_s`), which add up, and peaks.

`lem results list` and `lem results show --field` take these fields by their dotted path
(`latency.ttft_ms.p99`, `decode_energy_j`, `decode_energy_j.uncertainty.expanded`).
";

/// The whole page.
pub fn markdown() -> String {
    let schema = schemars::schema_for!(RunResult).to_value();
    let mut out = HEAD.to_owned();
    let _ = write!(
        out,
        "\nThe version that this lem writes is {SCHEMA_VERSION}.\n"
    );
    section(&schema, "RunResult", "The result", &mut out);
    let definitions = schema.get("$defs").and_then(Value::as_object);
    for (name, definition) in definitions.into_iter().flatten() {
        // The run's own fields that a cycle has too stand at the top already.
        section(definition, name, name, &mut out);
    }
    out
}

fn section(node: &Value, name: &str, title: &str, out: &mut String) {
    let help = text(node, "description");
    let Some(fields) = node.get("properties").and_then(Value::as_object) else {
        let _ = write!(out, "\n## {title}\n\n{}\n", choices(node, &help));
        return;
    };
    let _ = write!(out, "\n## {title}\n\n");
    if !help.is_empty() && name != "RunResult" {
        let _ = write!(out, "{help}\n\n");
    }
    let _ = writeln!(
        out,
        "| field | type | unit | meaning | since |\n|---|---|---|---|---|"
    );
    for (field, node) in fields {
        let since = SINCE
            .iter()
            .find(|(at, _)| *at == format!("{name}.{field}"));
        let _ = writeln!(
            out,
            "| `{field}` | {} | {} | {} | {} |",
            kind(node),
            unit(name, field),
            cell(&text(node, "description")),
            since.map_or(FIRST, |(_, version)| version)
        );
    }
}

/// What a type that is one of several words may be.
fn choices(node: &Value, help: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut told = |node: &Value| {
        let help = text(node, "description");
        let more = if help.is_empty() {
            String::new()
        } else {
            format!(": {help}")
        };
        if let Some(word) = node.get("const").and_then(Value::as_str) {
            words.push(format!("- `{word}`{more}"));
        }
        for word in node
            .get("enum")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            if let Some(word) = word.as_str() {
                words.push(format!("- `{word}`{more}"));
            }
        }
    };
    told(node);
    for group in ["oneOf", "anyOf"] {
        node.get(group)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .for_each(&mut told);
    }
    if words.is_empty() {
        return help.to_owned();
    }
    format!("{help}\n\n{}", words.join("\n"))
}

fn text(node: &Value, name: &str) -> String {
    node.get(name)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .replace('\n', " ")
}

/// A type as a reader of JSON needs it; those with fields of their own lead to them.
fn kind(node: &Value) -> String {
    if let Some(target) = node.get("$ref").and_then(Value::as_str) {
        let name = target.rsplit('/').next().unwrap_or(target);
        return format!("[{name}](#{})", name.to_lowercase());
    }
    for group in ["anyOf", "oneOf"] {
        if let Some(any) = node.get(group).and_then(Value::as_array) {
            let kinds: Vec<String> = any.iter().map(kind).collect();
            return kinds.join(" or ");
        }
    }
    let named = match node.get("type") {
        Some(Value::String(name)) => vec![name.clone()],
        Some(Value::Array(names)) => names
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
        _ => return "any".into(),
    };
    let kinds = named.iter().map(|name| match name.as_str() {
        "array" => format!(
            "list of {}",
            node.get("items").map_or_else(|| "any".into(), kind)
        ),
        "object" => match node.get("additionalProperties").filter(|v| v.is_object()) {
            Some(values) => format!("map to {}", kind(values)),
            None => "object".into(),
        },
        other => other.to_owned(),
    });
    kinds.collect::<Vec<_>>().join(" or ")
}

fn unit(of: &str, field: &str) -> &'static str {
    let path = format!("{of}.{field}");
    let whole = UNITS_OF.iter().find(|(at, _)| *at == path);
    let ending = || UNITS.iter().find(|(end, _)| field.ends_with(end));
    whole.or_else(ending).map_or("", |(_, unit)| unit)
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::{kind, markdown, unit};

    #[test]
    fn every_field_has_a_meaning() {
        let page = markdown();
        let rows = page.lines().filter(|line| line.starts_with("| `"));
        let without: Vec<&str> = rows.filter(|row| row.contains("|  | 3.")).collect();
        assert!(without.is_empty(), "{}", without.join("\n"));
        assert!(
            page.contains("| `total_energy_j` | [Quantity](#quantity) | J |"),
            "{page}"
        );
        assert!(page.contains("## Aggregation"));
    }

    #[test]
    fn types_and_units_are_told() {
        let one = serde_json::json!({"type": ["number", "null"]});
        assert_eq!(kind(&one), "number or null");
        let list = serde_json::json!({"type": "array", "items": {"$ref": "#/$defs/CycleResult"}});
        assert_eq!(kind(&list), "list of [CycleResult](#cycleresult)");
        assert_eq!(unit("Latency", "ttft_ms"), "ms");
        assert_eq!(unit("X", "tokens"), "");
    }
}
