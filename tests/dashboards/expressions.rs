//! Every expression against a real Prometheus that holds golden runs: an empty answer fails.

use lem_testkit::golden::RUN_ID;

use crate::prometheus::{Server, programs};
use crate::{boards, golden};

/// An expression as Grafana sends it: with a chosen run, or all.
pub fn filled(expression: &str, run: &str) -> String {
    let values = [
        ("$__rate_interval", "4s"),
        ("$__interval", "1s"),
        ("$__range", "60s"),
        ("$instance", run),
        ("$model", ".*"),
        ("$backend", ".*"),
        ("$gpu", ".*"),
    ];
    let mut filled = expression.to_owned();
    for (name, value) in values {
        filled = filled.replace(name, value);
    }
    assert!(
        !filled.contains('$'),
        "{expression} has a variable that no dashboard defines"
    );
    filled
}

#[test]
fn every_panel_of_every_dashboard_shows_the_golden_runs() {
    let Some(programs) = programs() else { return };
    let server = Server::golden(&programs);
    let mut wrong = Vec::new();
    let asked = boards::expressions();
    assert!(asked.len() > 80, "{}", asked.len());
    for asked in &asked {
        for run in [".*", RUN_ID] {
            let expression = filled(&asked.expression, run);
            match server.query(&expression, asked.instant, golden::after()) {
                Ok(series) if series.is_empty() => {
                    wrong.push(format!("{}: no answer to {expression}", asked.place));
                }
                Err(error) => wrong.push(format!("{}: {expression}: {error}", asked.place)),
                Ok(series) if run == RUN_ID => {
                    // A chosen run is the only one that is shown.
                    for series in series {
                        let shown = &series["metric"]["instance"];
                        if !(shown.is_null() || shown == RUN_ID) {
                            wrong.push(format!("{}: shows {shown} too", asked.place));
                        }
                    }
                }
                Ok(_) => {}
            }
        }
    }
    for (place, selector, label) in boards::variables() {
        let selector = filled(&selector, ".*");
        let at = golden::after();
        let (since, until) = ((at - 3600).to_string(), at.to_string());
        let range = [
            ("match[]", selector.as_str()),
            ("start", &since),
            ("end", &until),
        ];
        match server.ask(&format!("label/{label}/values"), &range) {
            Ok(values) if values.as_array().is_some_and(|values| !values.is_empty()) => {}
            other => wrong.push(format!("{place}: {selector} by {label}: {other:?}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_recording_rule_records_something_and_every_alert_can_be_asked() {
    let Some(programs) = programs() else { return };
    let server = Server::golden(&programs);
    let rules = server.ask("rules", &[]).unwrap();
    let groups = rules["groups"].as_array().unwrap();
    let rules = groups
        .iter()
        .flat_map(|group| group["rules"].as_array().unwrap());
    let (mut recording, mut alerting) = (0, 0);
    for rule in rules {
        let expression = rule["query"].as_str().unwrap();
        let found = server.query(expression, true, golden::after());
        let found = found.unwrap_or_else(|error| panic!("{expression}: {error}"));
        if rule["type"] == "recording" {
            recording += 1;
            assert!(
                !found.is_empty(),
                "{}: no answer to {expression}",
                rule["name"]
            );
        } else {
            alerting += 1;
        }
    }
    assert!(
        recording >= 10 && alerting >= 12,
        "{recording} and {alerting}"
    );
}

#[test]
fn numbers_are_those_of_the_run() {
    let Some(programs) = programs() else { return };
    let server = Server::golden(&programs);
    let asked = boards::expressions();
    let value = |place: &str| {
        let asked = asked.iter().find(|asked| asked.place == place);
        let asked = asked.unwrap_or_else(|| panic!("there is no {place}"));
        let expression = filled(&asked.expression, RUN_ID);
        let series = server.query(&expression, true, golden::after()).unwrap();
        assert_eq!(series.len(), 1, "{place}: {expression}: {series:?}");
        series[0]["value"][1]
            .as_str()
            .unwrap()
            .parse::<f64>()
            .unwrap()
    };
    // The golden metric of row n of the catalogue is 1.5 n.
    let golden = |id: &str| {
        let rows = lem_record::catalogue::METRICS.iter();
        let rows = rows.filter(|def| !def.id.starts_with("sample."));
        1.5 * (rows.take_while(|def| def.id != id).count() + 1) as f64
    };
    let close = |found: f64, expected: f64| {
        assert!(
            (found / expected - 1.0).abs() < 1e-9,
            "{found} and {expected}"
        );
    };
    close(
        value("lem-run.json: Energy of a cycle A"),
        golden("energy.total"),
    );
    close(
        value("lem-run.json: … above idle A"),
        golden("energy.per_output_token") * golden("energy.total_corrected")
            / golden("energy.total"),
    );
    // Of the golden histogram (unit, 2, 4 times unit with 1, 3 and 2 counts) the median is 1 + 2/3 units.
    let unit = golden("latency.ttft") / 100.0;
    close(
        value("lem-run.json: Time to first token A"),
        unit * (1.0 + 2.0 / 3.0),
    );
    close(value("lem-live.json: Progress A"), 1.0);
    // 160 tokens a second
    let rate =
        "sum by (instance) (rate(lem_run_output_tokens_total{instance=\"golden-0001\"}[2s]))";
    let series = server.query(rate, true, golden::after() - 6).unwrap();
    close(
        series[0]["value"][1].as_str().unwrap().parse().unwrap(),
        160.0,
    );
}
