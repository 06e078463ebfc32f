//! Prometheus's own tool on the configuration and the rules.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use crate::prometheus::programs;
use crate::{read, succeeds};

fn promtool(programs: &Path) -> Command {
    Command::new(programs.join("promtool"))
}

#[test]
fn promtool_accepts_the_configuration_and_the_rules() {
    let Some(programs) = programs() else { return };
    let folder = "dashboards/prometheus";
    succeeds(promtool(&programs).args(["check", "config", &format!("{folder}/prometheus.yaml")]));
    for rules in ["recording", "alerts"] {
        let file = format!("{folder}/rules/{rules}.yaml");
        succeeds(promtool(&programs).args(["check", "rules", "--lint-fatal", &file]));
        let tests = format!("{folder}/tests/{rules}.yaml");
        succeeds(promtool(&programs).args(["test", "rules", &tests]));
    }
}

/// A scrape, a push and OTLP give the same job and instance only where lem's own are kept.
#[test]
fn the_scrape_configuration_keeps_the_labels_of_lem() {
    let config = read("dashboards/prometheus/prometheus.yaml");
    let jobs = config.matches("- job_name:").count();
    assert!(jobs >= 2);
    assert_eq!(config.matches("honor_labels: true").count(), jobs);
}

fn named(text: &str, key: &str) -> BTreeSet<String> {
    let key = format!("- {key}: ");
    text.lines()
        .filter_map(|line| line.trim().strip_prefix(&key).map(str::to_owned))
        .collect()
}

#[test]
fn every_rule_has_a_test_and_every_alert_fires_in_one() {
    let rules = read("dashboards/prometheus/rules/recording.yaml");
    let tests = read("dashboards/prometheus/tests/recording.yaml");
    let recorded = named(&rules, "record");
    assert!(recorded.len() >= 10);
    assert_eq!(recorded, named(&tests, "expr"));

    let alerts = named(&read("dashboards/prometheus/rules/alerts.yaml"), "alert");
    assert!(alerts.len() >= 12);
    let tests = read("dashboards/prometheus/tests/alerts.yaml");
    let fired: BTreeSet<String> = tests
        .split("- alertname: ")
        .skip(1)
        .filter(|test| test.contains("exp_labels:"))
        .filter_map(|test| Some(test.lines().next()?.to_owned()))
        .collect();
    assert_eq!(alerts, fired);
}
