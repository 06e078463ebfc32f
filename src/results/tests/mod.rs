#![allow(clippy::unwrap_used, clippy::expect_used)]

mod files;
mod markdown;
mod schema;
mod shown;

use lem_record::{Envelope, RunStatus};
use serde_json::json;

use super::{RunResult, build};
use crate::analysis::{RunData, analyse};

fn golden_data() -> RunData {
    let text = include_str!(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/data/analysis/run.jsonl"
    ));
    let log = text.lines().map(|line| Envelope::decode(line).unwrap());
    RunData::from_log(log).with_status(RunStatus::Finished, None)
}

fn result_of(data: &RunData) -> RunResult {
    let exports = vec![json!({"sink": "mlflow", "state": "delivered"})];
    build(
        data,
        &analyse(data),
        exports,
        std::path::Path::new("lem-runs/golden-run"),
    )
}
