use serde_json::{Value, json};

use super::super::markdown::{exports, run};
use super::{golden_data, result_of};

fn export(sink: &str, state: &str, more: Value) -> Value {
    let mut export = json!({
        "sink": sink, "destination": "http://h:5000, experiment e", "state": state,
        "owed": 0, "accepted": 0, "rejected": 0, "resends": 0,
    });
    let more = more.as_object().unwrap().clone();
    export.as_object_mut().unwrap().extend(more);
    export
}

#[test]
fn a_run_and_its_deliveries() {
    let mut result = result_of(&golden_data());
    result.exports = vec![
        export(
            "mlflow",
            "delivered",
            json!({"accepted": 812, "receipt": {"look_at": "http://h:5000/#/experiments/1/runs/ab"}}),
        ),
        export(
            "files",
            "owing",
            json!({"owed": 12, "reason": "the disk is full", "remedy": "lem export /x --to files delivers the rest"}),
        ),
        export(
            "wandb",
            "gave_up",
            json!({"owed": 40, "reason": "401", "remedy": "Set WANDB_API_KEY"}),
        ),
    ];
    insta::assert_snapshot!(run(&result));
}

#[test]
fn hostile_names_stay_text() {
    let hostile = "x|</details><script>`@all` [a](javascript:b)\n\n# heading";
    let mut result = result_of(&golden_data());
    result.name = hostile.into();
    result.run_id = hostile.into();
    result.model_name = Some(hostile.repeat(1000));
    result.status_reason = Some(hostile.into());
    result.exports = vec![export(
        hostile,
        "gave_up",
        json!({"destination": hostile, "reason": hostile, "remedy": hostile, "receipt": {"look_at": hostile}}),
    )];
    for warning in &mut result.warnings {
        warning.message = hostile.into();
    }
    let text = run(&result);
    assert!(text.len() < 20_000, "{} bytes", text.len());
    for line in text.lines() {
        // One heading, and only the details that are ours.
        assert!(
            !line.starts_with("# ") && !line.contains("<script"),
            "{line}"
        );
        assert!(
            line == "</details>" || !line.contains("</details>"),
            "{line}"
        );
        assert!(!line.contains("](javascript"), "{line}");
    }
    // As many cells in a row as the table has columns.
    for row in text.lines().filter(|line| line.starts_with("| ")) {
        assert!(matches!(row.matches('|').count(), 5 | 7), "{row}");
    }
}

#[test]
fn several_runs() {
    let outcome = |state| serde_json::from_value(export("mlflow", state, json!({}))).unwrap();
    let (first, second) = ([outcome("delivered")], [outcome("owing")]);
    insta::assert_snapshot!(exports(&[("r1", &first), ("r2", &second)]));
}
