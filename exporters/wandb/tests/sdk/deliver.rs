use std::path::{Path, PathBuf};
use std::time::Duration;

use lem_record::{Exporter as _, Receipt, RunStatus, Secret};
use lem_testkit::golden::Golden;
use lem_testkit::wandb::FakeWandb;
use lem_wandb::{Mode, WandbConfig, WandbExporter};
use serde_json::Value;

use super::official::KEY;

fn settings() -> WandbConfig {
    WandbConfig {
        project: Some("golden".to_owned()),
        notes: Some("some notes\nin two lines".to_owned()),
        tags: vec!["one".to_owned(), "zwei \u{fc}".to_owned()],
        group: Some("a group".to_owned()),
        job_type: Some("a job".to_owned()),
        ..WandbConfig::default()
    }
}

pub fn online(fake: &FakeWandb) -> WandbConfig {
    WandbConfig {
        mode: Some(Mode::Online),
        base_url: Some(fake.server.url()),
        api_key: Some(Secret::new(KEY)),
        ..settings()
    }
}

pub fn offline(folder: &Path) -> WandbConfig {
    WandbConfig {
        mode: Some(Mode::Offline),
        dir: Some(folder.to_owned()),
        ..settings()
    }
}

/// The `.wandb` file of the one run there.
pub fn data(folder: &Path) -> PathBuf {
    let mut runs = std::fs::read_dir(folder.join("wandb")).unwrap();
    let run = runs.next().unwrap().unwrap().path();
    assert!(runs.next().is_none(), "one folder for one run");
    let mut files = std::fs::read_dir(run)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    files
        .find(|path| path.extension().is_some_and(|end| end == "wandb"))
        .unwrap()
}

/// All records, by a new exporter; no end.
pub async fn records(config: &WandbConfig, golden: &Golden, state: &Value) -> WandbExporter {
    let mut exporter = WandbExporter::new(config.clone()).unwrap();
    exporter.open(&golden.context(), state).await.unwrap();
    for batch in golden.envelopes.chunks(9) {
        let written = exporter.write(batch).await.unwrap();
        assert_eq!(written.rejected, []);
    }
    exporter
}

pub async fn deliver(config: &WandbConfig, golden: &Golden) -> Receipt {
    let mut exporter = records(config, golden, &Value::Null).await;
    let status = golden.status.unwrap_or(RunStatus::Killed);
    exporter
        .finish(status, Duration::from_secs(30))
        .await
        .unwrap()
}
