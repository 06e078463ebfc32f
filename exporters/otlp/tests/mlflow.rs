//! The spans of a run at a real MLflow, beside the run's metrics.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod fake;
mod real;

use lem_otlp::{MlflowTraces, OtlpExporter};
use lem_record::{ExportError, Exporter, Secret};
use lem_testkit::golden::{self, RUN_ID};
use lem_testkit::{FakeServer, Response};
use real::{Mlflow, ask, deliver, named};
use serde_json::{Value, json};

fn traces(uri: &str) -> MlflowTraces {
    MlflowTraces {
        tracking_uri: uri.to_owned(),
        experiment_name: Some("golden ü".to_owned()),
        experiment_id: None,
        run_id: None,
        workspace: None,
        username: None,
        password: None,
        token: None,
        insecure_tls: false,
        server_cert_path: None,
        client_cert_path: None,
        timeout_s: 30.0,
    }
}

/// As the sink `mlflow` makes it.
const MAKE_RUN: &str = r#"
import json, sys
from mlflow import MlflowClient
client = MlflowClient(sys.argv[1])
found = client.get_experiment_by_name("golden ü")
experiment = found.experiment_id if found else client.create_experiment("golden ü")
run = client.create_run(experiment, tags={"lem.run_id": sys.argv[2]})
print(json.dumps({"experiment": experiment, "run": run.info.run_id}))
"#;

/// Everything about the traces that belong to the run.
const READ: &str = r#"
import json, sys
import mlflow
from mlflow import MlflowClient
uri, experiment, run = sys.argv[1:]
mlflow.set_tracking_uri(uri)
client = MlflowClient(uri)
traces = client.search_traces(locations=[experiment], run_id=run)
out = []
for trace in traces:
    out.append({
        "id": trace.info.trace_id,
        "usage": trace.info.token_usage,
        "status": str(trace.info.state),
        "spans": [
            {"id": s.span_id, "parent": s.parent_id, "name": s.name, "start": s.start_time_ns, "end": s.end_time_ns,
             "attributes": {k: v for k, v in s.attributes.items() if not k.startswith("mlflow.")}}
            for s in trace.data.spans
        ],
    })
print(json.dumps(out))
"#;

#[tokio::test(flavor = "multi_thread")]
async fn spans_show_beside_the_run_s_metrics() {
    let Some(python) = named("LEM_TEST_MLFLOW_PYTHON", "python that has mlflow") else {
        return;
    };
    let server = Mlflow::start(&python);
    let folder = tempfile::tempdir().unwrap();
    let golden = golden::run(&folder.path().join("run"));
    let mut exporter = OtlpExporter::for_mlflow(traces(&server.uri())).unwrap();
    let check = exporter.check().await;
    assert!(!check.failed(), "{check:?}");

    // the sink mlflow has not made its run yet
    let early = exporter
        .open(&golden.context(), &Value::Null)
        .await
        .unwrap_err();
    assert!(
        matches!(&early, ExportError::Retry { reason, .. } if reason.contains("yet")),
        "{early:?}"
    );

    let made = ask(&python, MAKE_RUN, &[&server.uri(), RUN_ID]);
    let (experiment, run) = (
        made["experiment"].as_str().unwrap(),
        made["run"].as_str().unwrap(),
    );
    let read = || ask(&python, READ, &[&server.uri(), experiment, run]);

    let (written, receipt) = deliver(&mut exporter, &golden).await;
    assert!(written.iter().all(|w| w.rejected.is_empty()));
    let look_at = receipt.look_at.unwrap();
    assert_eq!(
        look_at,
        format!("{}/#/experiments/{experiment}/traces", server.uri())
    );
    let found = read();
    assert_eq!(found.as_array().unwrap().len(), 1, "one trace of the run");
    let spans = found[0]["spans"].as_array().unwrap();
    assert_eq!(spans.len(), 1 + 1 + 3 * (1 + 3 + 2 * 3));
    let named = |name: &str| {
        spans
            .iter()
            .filter(|s| s["name"] == name)
            .collect::<Vec<_>>()
    };
    let root = named("lem run");
    assert_eq!(root.len(), 1);
    assert_eq!(root[0]["parent"], Value::Null);
    assert_eq!(root[0]["attributes"]["lem.energy.total"], json!(33.0));
    let requests = named("text_completion golden/model");
    assert_eq!(requests.len(), 6);
    let cycles = named("cycle 0");
    assert_eq!(requests[0]["parent"], cycles[0]["id"]);
    assert_eq!(cycles[0]["attributes"]["lem.how"], "measured");
    // the tokens of 3 cycles of 2 requests, each counted once
    assert_eq!(found[0]["usage"]["output_tokens"], 6 * 8);
    assert_eq!(found[0]["usage"]["input_tokens"], 3 * (16 + 17));

    // again, with and without a cursor: nothing changes
    for _ in 0..2 {
        let mut again = OtlpExporter::for_mlflow(traces(&server.uri())).unwrap();
        deliver(&mut again, &golden).await;
        assert_eq!(read(), found);
    }
}

#[tokio::test]
async fn what_the_server_says_becomes_an_error_with_a_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let golden = golden::run(&folder.path().join("run"));
    for (status, body, retried) in [
        (404, r#"{"error_code": "RESOURCE_DOES_NOT_EXIST"}"#, true),
        (404, "<html>", false),
        (401, "no", false),
        (503, "busy", true),
        (200, "{}", true),
    ] {
        let server = FakeServer::start(move |_| {
            Response::bytes(status, body).header("content-type", "application/json")
        });
        let mut config = traces(&server.url().replace("://", "://ann:hunter2@"));
        config.token = Some(Secret::new("hunter2-token"));
        let mut exporter = OtlpExporter::for_mlflow(config).unwrap();
        let error = exporter
            .open(&golden.context(), &Value::Null)
            .await
            .unwrap_err();
        let shown = format!("{error:?} {exporter:?} {}", exporter.destination());
        assert!(!shown.contains("hunter2"), "{shown}");
        assert_eq!(
            matches!(error, ExportError::Retry { .. }),
            retried,
            "{status} {body} {error:?}"
        );
    }
}
