//! Against a real MLflow, read back by its official client.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod real;

use std::process::Command;
use std::time::Duration;

use lem_mlflow::{MlflowConfig, MlflowExporter};
use lem_record::{ExportError, Exporter};
use lem_testkit::golden;
use real::{RealServer, deliver, expected, python, read_back};
use serde_json::{Value, json};

fn config(uri: &str, experiment: &str) -> MlflowConfig {
    MlflowConfig {
        tracking_uri: Some(uri.to_owned()),
        experiment_name: Some(experiment.to_owned()),
        ..MlflowConfig::default()
    }
}

async fn open_error(config: &MlflowConfig, golden: &golden::Golden, state: &Value) -> String {
    let mut exporter = MlflowExporter::new(config.clone()).unwrap();
    match exporter.open(&golden.context(), state).await {
        Err(ExportError::GiveUp { reason, remedy }) => format!("{reason}. {remedy}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_serves_artifacts() {
    let Some(python) = python() else { return };
    let server = RealServer::start(&python, &["--artifacts-destination", "{folder}/artifacts"]);
    let folder = tempfile::tempdir().unwrap();
    let golden = golden::run(&folder.path().join("run"));
    let config = config(&server.uri(), "conformance ü");

    let check = MlflowExporter::new(config.clone()).unwrap().check().await;
    assert!(!check.failed(), "{check:?}");

    let first = deliver(&config, &golden, &Value::Null).await;
    assert_eq!(first.rejected, []);
    let facts = expected::facts(&golden);
    let found = read_back(
        &python,
        &server.uri(),
        "conformance ü",
        golden::RUN_ID,
        &facts,
    );
    // nothing that was not expected
    for part in ["history", "artifacts"] {
        let count = |value: &Value| value[part].as_object().unwrap().len();
        assert_eq!(count(&found), count(&facts), "{part}");
    }
    let note = found["tags"]["mlflow.note.content"].as_str().unwrap();
    assert!(
        note.contains("energy/total_joules") && note.contains("idle power varied"),
        "{note}"
    );
    let how: Value = serde_json::from_str(found["tags"]["lem.how"].as_str().unwrap()).unwrap();
    assert_eq!(how["energy/total_joules"], "modelled");
    assert_eq!(how["sample/gpu0_power_watts"], "measured");
    let id = found["info"]["run_id"].as_str().unwrap();
    assert!(
        first
            .receipt
            .look_at
            .unwrap()
            .ends_with(&format!("/runs/{id}"))
    );

    // again, with and without a cursor: nothing changes
    for state in [&first.state, &Value::Null] {
        deliver(&config, &golden, state).await;
        let again = read_back(
            &python,
            &server.uri(),
            "conformance ü",
            golden::RUN_ID,
            &facts,
        );
        assert_eq!(again, found);
    }

    // a run that is named, with another value of a param: that param only is refused
    let post = |call: &str, body: Value| {
        let uri = format!("{}/api/2.0/mlflow/{call}", server.uri());
        let client = reqwest::Client::new();
        async move {
            client
                .post(uri)
                .json(&body)
                .send()
                .await
                .unwrap()
                .json::<Value>()
                .await
                .unwrap()
        }
    };
    let made = post(
        "runs/create",
        json!({"experiment_id": "0", "start_time": 5, "run_name": "mine"}),
    )
    .await;
    let joined = made["run"]["info"]["run_id"].as_str().unwrap().to_owned();
    let other = json!({"run_id": joined, "params": [{"key": "backend", "value": "other"}]});
    post("runs/log-batch", other).await;
    let into = MlflowConfig {
        run_id: Some(joined.clone()),
        ..config.clone()
    };
    let delivered = deliver(&into, &golden, &Value::Null).await;
    assert_eq!(delivered.rejected.len(), 1, "{:?}", delivered.rejected);
    assert!(delivered.rejected[0].reason.contains("backend"));
    let mut facts_of_joined = facts.clone();
    facts_of_joined["params"]["backend"] = json!("other");
    facts_of_joined["info"] = json!({"name": "mine", "start_time": 5, "status": "FINISHED"});
    facts_of_joined["tags"]["mlflow.runName"] = json!("mine");
    read_back(
        &python,
        &server.uri(),
        "Default",
        golden::RUN_ID,
        &facts_of_joined,
    );

    // a hostile run gets to its end too
    let hostile = golden::hostile(&folder.path().join("hostile"));
    let hostile_config = real_config(&config, "hostile");
    let once = deliver(&hostile_config, &hostile, &Value::Null).await;
    assert!(once.accepted > 50);
    read_back(
        &python,
        &server.uri(),
        "hostile",
        golden::RUN_ID,
        &json!({"info": {"status": "FAILED"}}),
    );

    // a run, then an experiment, that was deleted there
    post("runs/delete", json!({"run_id": id})).await;
    let error = open_error(&config, &golden, &first.state).await;
    assert!(
        error.contains("was deleted") && error.contains("mlflow runs restore"),
        "{error}"
    );
    let experiment = first.state["remote"]["experiment_id"].clone();
    post("experiments/delete", json!({"experiment_id": experiment})).await;
    let error = open_error(&config, &golden, &Value::Null).await;
    assert!(error.contains("mlflow experiments restore"), "{error}");
    let check = MlflowExporter::new(config.clone()).unwrap().check().await;
    assert!(check.failed(), "{check:?}");

    // a workspace on a server without them would be a 500 for ever
    let elsewhere = MlflowConfig {
        workspace: Some("team".into()),
        ..real_config(&config, "w")
    };
    let error = open_error(&elsewhere, &golden, &Value::Null).await;
    assert!(error.contains("MLFLOW_WORKSPACE"), "{error}");

    // a name that the server does not know itself by
    let foreign = MlflowConfig {
        tracking_uri: Some(format!("http://[::ffff:127.0.0.1]:{}", server.port)),
        ..config.clone()
    };
    let error = open_error(&foreign, &golden, &Value::Null).await;
    assert!(error.contains("--allowed-hosts"), "{error}");

    // an idle connection that the server has closed
    let late = real_config(&config, "late");
    let mut exporter = MlflowExporter::new(late).unwrap();
    exporter
        .open(&golden.context(), &Value::Null)
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_secs(6)).await;
    exporter.write(&golden.envelopes).await.unwrap();
}

fn real_config(config: &MlflowConfig, experiment: &str) -> MlflowConfig {
    MlflowConfig {
        experiment_name: Some(experiment.to_owned()),
        ..config.clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_artifacts_are_a_folder() {
    let Some(python) = python() else { return };
    let arguments = [
        "--no-serve-artifacts",
        "--default-artifact-root",
        "{folder}/root",
        "--allowed-hosts",
        "*",
    ];
    let server = RealServer::start(&python, &arguments);
    let folder = tempfile::tempdir().unwrap();
    let golden = golden::run(&folder.path().join("run"));
    let mut facts = expected::facts(&golden);

    let delivered = deliver(&config(&server.uri(), "direct"), &golden, &Value::Null).await;
    assert_eq!(delivered.rejected, []);
    read_back(&python, &server.uri(), "direct", golden::RUN_ID, &facts);

    // the same server by an address that is not plainly this machine: the fallback,
    // which takes no empty file
    let uri = format!("http://[::ffff:127.0.0.1]:{}", server.port);
    let delivered = deliver(&config(&uri, "fallback"), &golden, &Value::Null).await;
    assert_eq!(delivered.rejected.len(), 1, "{:?}", delivered.rejected);
    assert!(delivered.rejected[0].reason.contains("artifacts/empty.log"));
    facts["artifacts"]
        .as_object_mut()
        .unwrap()
        .remove("artifacts/empty.log");
    read_back(&python, &server.uri(), "fallback", golden::RUN_ID, &facts);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_store() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("my runs");
    let golden = golden::run(&folder.path().join("run"));
    let facts = expected::facts(&golden);
    let config = config(&root.display().to_string(), "in a folder: \"ü\"");
    let first = deliver(&config, &golden, &Value::Null).await;
    assert_eq!(first.rejected, []);
    deliver(&config, &golden, &Value::Null).await;

    let uri = format!("file://{}", root.display().to_string().replace(' ', "%20"));
    let name = "in a folder: \"ü\"";
    let found = read_back(&python, &uri, name, golden::RUN_ID, &facts);
    let count = |value: &Value| value["history"].as_object().unwrap().len();
    assert_eq!(count(&found), count(&facts));

    // a hostile one beside it must not spoil the import
    let hostile = golden::hostile(&folder.path().join("hostile"));
    deliver(&real_config(&config, "hostile"), &hostile, &Value::Null).await;
    read_back(
        &python,
        &uri,
        "hostile",
        golden::RUN_ID,
        &json!({"info": {"status": "FAILED"}}),
    );

    // MLflow's own import takes it whole
    let database = format!("sqlite:///{}/imported.db", folder.path().display());
    let output = Command::new(&python)
        .args(["-m", "mlflow", "migrate-filestore", "--source"])
        .arg(&root)
        .args(["--target", &database])
        .env("MLFLOW_ALLOW_FILE_STORE", "true")
        .current_dir(folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    read_back(&python, &database, name, golden::RUN_ID, &facts);

    // deleted with MLflow's own client
    let run = first.state["remote"]["run_id"].as_str().unwrap();
    let output = Command::new(&python)
        .args(["-m", "mlflow", "runs", "delete", "--run-id", run])
        .env("MLFLOW_ALLOW_FILE_STORE", "true")
        .env("MLFLOW_TRACKING_URI", &uri)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    for state in [&first.state, &Value::Null] {
        let error = open_error(&config, &golden, state).await;
        assert!(
            error.contains("was deleted") && error.contains("restore"),
            "{error}"
        );
    }
}
