//! The official SDK runs against the fake server, which is thereby held to the real
//! client; and its `wandb sync` uploads what the offline sink wrote.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

mod deliver;
mod official;
mod same;

use std::fs::OpenOptions;
use std::io::Write as _;

use deliver::{deliver, offline, online};
use lem_record::{ExportError, Exporter as _};
use lem_testkit::golden;
use lem_testkit::wandb::FakeWandb;
use lem_wandb::WandbExporter;
use official::{KEY, Official};
use serde_json::{Value, json};

#[test]
fn the_official_sdk_runs_against_the_fake() {
    let Some(official) = Official::find() else {
        return;
    };
    let fake = FakeWandb::start(KEY);
    official.script(&fake, "first", "3");
    assert_eq!(fake.complaints(), [] as [&str; 0]);

    let run = fake.run("first");
    assert_eq!(
        (run.entity.as_str(), run.project.as_str()),
        ("ann", "official")
    );
    assert_eq!(run.exit_code, Some(3));
    let settings = [
        ("displayName", json!("a name")),
        ("notes", json!("some notes")),
        ("groupName", json!("a group")),
        ("jobType", json!("a job")),
        ("tags", json!(["one", "two"])),
    ];
    for (name, expected) in settings {
        assert_eq!(run.settings[name], expected, "{name}");
    }
    assert_eq!(run.config["model"], json!({"value": {"layers": 3}}));
    assert!(run.config["_wandb"]["value"]["t"].is_object());
    let definitions = json!([
        {"1": "t_s", "6": [3], "7": []},
        {"2": "sample/*", "5": 1, "6": [1], "7": []},
    ]);
    assert_eq!(run.config["_wandb"]["value"]["m"], definitions);

    let history = run.history();
    let cells = |key: &str| -> Vec<Value> { history.iter().map(|row| row[key].clone()).collect() };
    assert_eq!(cells("_step"), [0, 1, 2]);
    assert_eq!(cells("sample/x"), [json!(2), json!(3.5), Value::Null]);
    let table = &history[2]["tables/t"];
    assert_eq!(table["_type"], "table-file");
    let file = &run.files[table["path"].as_str().unwrap()];
    let file: Value = serde_json::from_slice(file).unwrap();
    assert_eq!(
        file,
        json!({"columns": ["a", "b"], "data": [[1, "x"], [null, "y"]]})
    );
    assert_eq!(run.summary()["total"], 7);
    assert_eq!(run.summary()["sample/x"], 3.5);
    assert!(run.console().contains(&"a line on the console".to_owned()));
    assert!(run.uploaded.contains("wandb-metadata.json"));

    let world = fake.world();
    let kinds = world
        .artifacts
        .iter()
        .map(|artifact| (artifact.kind.as_str(), artifact.committed));
    assert_eq!(
        kinds.collect::<Vec<_>>(),
        [("run_table", true), ("result", true)]
    );
    let artifact = &world.artifacts[1];
    assert_eq!(artifact.digest, "09a281ab61fb82e4fc96545b2d2543f7");
    assert_eq!(
        artifact.files["res.json"].bytes.as_deref(),
        Some(b"{}\n".as_slice())
    );
    drop(world);

    // the same run again: it goes on where it ended
    official.script(&fake, "first", "0");
    assert_eq!(fake.complaints(), [] as [&str; 0]);
    let run = fake.run("first");
    assert_eq!(run.exit_code, Some(0));
    let history = run.history();
    assert_eq!(history.len(), 4);
    assert_eq!(
        (&history[3]["_step"], &history[3]["sample/x"]),
        (&json!(3), &json!(9.5))
    );
    assert_eq!(run.summary()["total"], 7, "the summary goes on too");
}

#[tokio::test]
async fn an_offline_run_arrives_as_it_would_have_online() {
    let Some(official) = Official::find() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let golden = golden::run(&folder.path().join("run"));

    let direct = FakeWandb::start(KEY);
    deliver(&online(&direct), &golden).await;
    assert_eq!(direct.complaints(), [] as [&str; 0]);

    let receipt = deliver(&offline(folder.path()), &golden).await;
    let synced = FakeWandb::start(KEY);
    official.sync(&synced, receipt.look_at.unwrap().as_ref());
    assert_eq!(synced.complaints(), [] as [&str; 0]);
    same::runs(&direct, &synced);
    same::artifacts(&direct, &synced);

    // sent online later, it is the same run, and nothing is there twice
    deliver(&online(&synced), &golden).await;
    assert_eq!(synced.complaints(), [] as [&str; 0]);
    same::runs(&direct, &synced);
    same::artifacts(&direct, &synced);
}

#[tokio::test]
async fn a_run_that_was_killed_arrives_too() {
    let Some(official) = Official::find() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let golden = golden::killed(&folder.path().join("run"));
    let direct = FakeWandb::start(KEY);
    deliver::records(&online(&direct), &golden, &Value::Null).await;

    // no end was written, and a write was cut off in the middle
    let config = offline(folder.path());
    let exporter = deliver::records(&config, &golden, &Value::Null).await;
    let data = deliver::data(folder.path());
    let whole = std::fs::read(&data).unwrap();
    let mut file = OpenOptions::new().append(true).open(&data).unwrap();
    file.write_all(&[7; 100]).unwrap();
    // whoever opens it next mends it
    let state = exporter.state();
    drop(exporter);
    let mut exporter = WandbExporter::new(config).unwrap();
    exporter.open(&golden.context(), &state).await.unwrap();
    assert_eq!(std::fs::read(&data).unwrap(), whole);

    let synced = FakeWandb::start(KEY);
    official.sync(&synced, data.parent().unwrap());
    assert_eq!(synced.complaints(), [] as [&str; 0]);
    assert_eq!(
        synced.run(golden::RUN_ID).exit_code,
        Some(1),
        "W&B shows it as failed"
    );
    same::lines(&direct, &synced);

    // its end would double what was uploaded: online it does not
    let status = lem_record::RunStatus::Killed;
    let late = exporter
        .finish(status, std::time::Duration::from_secs(9))
        .await;
    let Err(ExportError::GiveUp { reason, remedy }) = late else {
        panic!("{late:?}");
    };
    assert!(
        reason.contains("wandb sync") && remedy.contains("WANDB_MODE=online"),
        "{reason}. {remedy}"
    );
    deliver(&online(&synced), &golden).await;
    assert_eq!(synced.run(golden::RUN_ID).exit_code, Some(137));
    same::lines(&direct, &synced);
}
