//! A metric that is renamed would leave a panel empty and say nothing: every name is one of the catalogue.

use std::collections::BTreeSet;

use lem_record::Kind;
use lem_record::catalogue::{Bound, METRICS};
use regex::Regex;

use crate::{boards, read};

/// Names of metrics and of labels.
fn known() -> BTreeSet<String> {
    let mut known: BTreeSet<String> = ["lem_how", "lem_cycle"].map(str::to_owned).into();
    for def in METRICS {
        for bound in [None, Some(Bound::Low), Some(Bound::High)] {
            let name = def.prometheus_name(bound);
            if def.kind == Kind::Histogram && bound.is_none() {
                known.extend(["_bucket", "_sum", "_count"].map(|suffix| format!("{name}{suffix}")));
            }
            known.insert(name);
        }
        let fixed = def.fixed.iter().map(|(name, _)| *name);
        known.extend(
            fixed
                .chain(def.attributes.iter().copied())
                .map(|name| name.replace('.', "_")),
        );
    }
    known
}

fn check(place: &str, text: &str, known: &BTreeSet<String>, unknown: &mut Vec<String>) {
    let word = Regex::new(r"[A-Za-z_:][A-Za-z0-9_:]*").unwrap();
    let ours = ["lem_", "hw_", "gen_ai_", "process_"];
    for found in word.find_iter(text) {
        // a key of YAML
        let name = found.as_str().trim_end_matches(':');
        if ours.iter().any(|prefix| name.starts_with(prefix)) && !known.contains(name) {
            unknown.push(format!("{place}: {name}"));
        }
    }
}

#[test]
fn every_name_in_dashboards_and_rules_is_one_of_the_catalogue() {
    let (known, mut unknown) = (known(), Vec::new());
    for asked in boards::expressions() {
        check(&asked.place, &asked.expression, &known, &mut unknown);
    }
    for (place, selector, label) in boards::variables() {
        check(&place, &format!("{selector} {label}"), &known, &mut unknown);
    }
    for name in [
        "rules/recording",
        "rules/alerts",
        "tests/recording",
        "tests/alerts",
    ] {
        let text = read(format!("dashboards/prometheus/{name}.yaml"));
        let text: Vec<&str> = text
            .lines()
            .filter(|line| !line.trim().starts_with('#'))
            .collect();
        check(name, &text.join("\n"), &known, &mut unknown);
    }
    assert!(unknown.is_empty(), "{}", unknown.join("\n"));
}
