//! What a server may answer, and what becomes of it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use lem_record::{
    Board, CheckItem, CheckOutcome, Envelope, ExportError, Exporter, RunStatus, Secret, Written,
};
use lem_testkit::golden::{self, Golden};
use lem_testkit::wandb::{FakeWandb, Run};
use lem_testkit::{Fault, Request, Response, Rule};
use lem_wandb::{Resume, WandbConfig, WandbExporter};
use serde_json::{Value, json};

const KEY: &str = "hunter2-key";

struct Bench {
    fake: FakeWandb,
    golden: Golden,
    _folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let golden = golden::run(&folder.path().join("run"));
        Self {
            fake: FakeWandb::start(KEY),
            golden,
            _folder: folder,
        }
    }

    fn config(&self) -> WandbConfig {
        WandbConfig {
            base_url: Some(self.fake.server.url()),
            api_key: Some(Secret::new(KEY)),
            ..WandbConfig::default()
        }
    }

    async fn open(&self, config: WandbConfig) -> Result<WandbExporter, ExportError> {
        let mut exporter = WandbExporter::new(config).unwrap();
        exporter
            .open(&self.golden.context(), &Value::Null)
            .await
            .map(|()| exporter)
    }

    async fn deliver(&self, config: WandbConfig) -> (WandbExporter, Written) {
        let mut exporter = self.open(config).await.unwrap();
        let written = exporter.write(&self.golden.envelopes).await.unwrap();
        exporter
            .finish(RunStatus::Finished, Duration::from_secs(9))
            .await
            .unwrap();
        (exporter, written)
    }

    fn run(&self) -> Run {
        self.fake.run(golden::RUN_ID)
    }

    /// Larger bodies of the file stream get a 413.
    fn take_at_most(&self, bytes: usize) {
        let no = Rule::new(Fault::Answer(Response::text(413, "too large")));
        let stream = move |request: &Request| {
            request.path.ends_with("file_stream") && request.body.len() > bytes
        };
        self.fake.server.script(no.matching(stream));
    }

    fn answer(&self, query: &'static str, answer: Response) {
        let rule = Rule::new(Fault::Answer(answer));
        self.fake.server.script(rule.matching(asks(query)));
    }
}

fn asks(query: &'static str) -> impl Fn(&Request) -> bool + Send + Sync {
    move |request| request.json()["operationName"] == query
}

fn given_up<T: std::fmt::Debug>(result: Result<T, ExportError>) -> String {
    match result {
        Err(ExportError::GiveUp { reason, remedy }) => format!("{reason}. {remedy}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_whole_run_arrives() {
    let bench = Bench::new();
    let (mut exporter, written) = bench.deliver(bench.config()).await;
    assert!(written.rejected.is_empty(), "{:?}", written.rejected);
    let receipt = exporter
        .finish(RunStatus::Finished, Duration::from_secs(9))
        .await
        .unwrap();
    // what somebody changed at W&B stays
    {
        let mut world = bench.fake.world();
        let run = world.runs.values_mut().next().unwrap();
        let renamed = json!("renamed");
        run.settings.insert("displayName".into(), renamed);
    }
    bench.deliver(bench.config()).await;
    assert_eq!(bench.run().settings["displayName"], "renamed");
    let page = format!("{}/ann/lem/runs/golden-0001", bench.fake.server.url());
    assert_eq!(receipt.look_at, Some(page));
    let run = bench.run();
    assert_eq!(run.exit_code, Some(0));
    assert_eq!(run.config["batching"]["value"]["batch_size"], 2);
    assert_eq!(run.config["lem"]["value"]["status"], "finished");
    let history = run.list("wandb-history.jsonl");
    let power = history
        .iter()
        .filter(|row| row["sample/gpu1_power_watts"].is_f64());
    assert_eq!(power.count(), 3 * 10);
    let steps: Vec<u64> = history
        .iter()
        .map(|row| row["_step"].as_u64().unwrap())
        .collect();
    assert_eq!(steps, (0..history.len() as u64).collect::<Vec<_>>());
    let table = &run.summary()["tables/cycles"];
    let file = &run.files[table["path"].as_str().unwrap()];
    assert_eq!(table["size"], file.len());
    assert_eq!(
        serde_json::from_slice::<Value>(file).unwrap()["data"]
            .as_array()
            .unwrap()
            .len(),
        3
    );
    let world = bench.fake.world();
    assert_eq!(
        world
            .artifacts
            .iter()
            .filter(|artifact| artifact.committed)
            .count(),
        6
    );
}

#[tokio::test]
async fn queries_and_bodies() {
    let bench = Bench::new();
    bench.deliver(bench.config()).await;
    let port = bench.fake.server.url();
    let mut told = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    for request in bench.fake.server.requests() {
        let body = request.json();
        let name = body["operationName"].as_str().map(str::to_owned);
        if request.path == "/graphql" && seen.insert(name.clone()) {
            told.push(json!({"query": body["query"], "variables": body["variables"]}));
        }
        if request.path.ends_with("file_stream") {
            let mut files = body["files"].clone();
            for (_, file) in files.as_object_mut().unwrap() {
                let content = file["content"].as_array_mut().unwrap();
                content.truncate(1);
            }
            told.push(
                json!({"path": request.path, "files": files, "uploaded": body["uploaded"],
                "complete": body["complete"], "exitcode": body["exitcode"]}),
            );
        }
    }
    // the configuration and the summary have snapshots of their own
    for one in &mut told {
        if let Some(config) = one.pointer_mut("/variables/config") {
            *config = json!("…");
        }
        if let Some(summary) = one.pointer_mut("/files/wandb-summary.json/content") {
            *summary = json!(["…"]);
        }
    }
    assert!(!json!(told).to_string().contains(&port));
    insta::assert_json_snapshot!(told);
}

#[tokio::test]
async fn a_413_splits_and_all_arrives() {
    let whole = Bench::new();
    whole.deliver(whole.config()).await;
    let split = Bench::new();
    split.take_at_most(20_000);
    let (_, written) = split.deliver(split.config()).await;
    assert!(written.rejected.is_empty(), "{:?}", written.rejected);
    let facts = |bench: &Bench| {
        let mut facts = bench.fake.facts();
        facts.sort();
        facts
    };
    assert_eq!(facts(&whole), facts(&split));
    let requests = split.fake.server.requests();
    let streams = requests.iter().filter(|r| r.path.ends_with("file_stream"));
    assert!(streams.count() > 4);
}

#[tokio::test]
async fn a_line_that_is_always_too_large_is_told_and_the_rest_arrives() {
    let bench = Bench::new();
    // no row of a table's reference fits
    bench.take_at_most(330);
    let mut exporter = bench.open(bench.config()).await.unwrap();
    let written = exporter.write(&bench.golden.envelopes).await.unwrap();
    assert!(!written.rejected.is_empty());
    assert!(
        written
            .rejected
            .iter()
            .all(|r| r.reason.contains("too large"))
    );
    let history = bench.run().list("wandb-history.jsonl");
    let empty = history.iter().filter(|row| **row == json!({})).count();
    assert!(
        empty > 0 && empty < history.len() / 2,
        "{empty} of {}",
        history.len()
    );
    let whole = Bench::new();
    whole.deliver(whole.config()).await;
    let expected = whole.run().list("wandb-history.jsonl");
    assert_eq!(history.len(), expected.len());
    for (row, expected) in history.iter().zip(&expected) {
        assert!(*row == json!({}) || row == expected, "at its own place");
    }
    // and where it is not the size, it ends
    bench.take_at_most(0);
    let error = given_up(
        exporter
            .finish(RunStatus::Finished, Duration::from_secs(9))
            .await,
    );
    assert!(
        error.contains("413") || error.contains("too large"),
        "{error}"
    );
}

#[tokio::test]
async fn a_used_up_rate_limit_is_waited_for() {
    let bench = Bench::new();
    let last = Response::json(200, &json!({}))
        .header("RateLimit-Remaining", "0")
        .header("RateLimit-Reset", "9");
    let rule = Rule::new(Fault::Answer(last)).path("file_stream");
    bench.fake.server.script(rule.applied());
    let mut exporter = bench.open(bench.config()).await.unwrap();
    let half = bench.golden.envelopes.len() / 2;
    exporter
        .write(&bench.golden.envelopes[..half])
        .await
        .unwrap();
    let before = bench.fake.server.request_count();
    let streams = |bench: &Bench| {
        let requests = bench.fake.server.requests();
        requests[before..]
            .iter()
            .filter(|r| r.path.ends_with("file_stream"))
            .count()
    };
    let error = exporter
        .write(&bench.golden.envelopes[half..])
        .await
        .unwrap_err();
    let ExportError::Retry {
        after: Some(after), ..
    } = error
    else {
        panic!("{error:?}")
    };
    assert!((8.0..=9.0).contains(&after.as_secs_f64()), "{after:?}");
    assert_eq!(streams(&bench), 0);
}

#[tokio::test]
async fn what_w_and_b_says_ends_in_the_right_remedy() {
    let bench = Bench::new();
    let errors = |message: &str| json!({"errors": [{"message": message}]});
    for (query, status, body, remedy) in [
        ("UpsertBucket", 401, json!("no"), "WANDB_API_KEY"),
        (
            "UpsertBucket",
            403,
            errors("permission denied"),
            "WANDB_API_KEY",
        ),
        (
            "UpsertBucket",
            200,
            errors("entity team not found"),
            "WANDB_ENTITY",
        ),
        (
            "UpsertBucket",
            400,
            errors("run r was previously created and deleted"),
            "WANDB_RUN_ID",
        ),
        (
            "RunResumeStatus",
            404,
            json!("<html><title>nginx</title>"),
            "WANDB_BASE_URL",
        ),
    ] {
        bench.answer(query, Response::json(status, &body));
        let error = given_up(bench.open(bench.config()).await);
        assert!(error.contains(remedy), "{error}");
        assert!(error.contains(query), "{error}");
        bench.fake.server.clear_script();
    }
    for (query, status, body) in [
        ("UpsertBucket", 409, errors("conflict")),
        ("UpsertBucket", 200, errors("Rate limit exceeded")),
        ("RunResumeStatus", 200, json!({"data": {"model": 3}})),
        ("RunResumeStatus", 500, json!("no")),
    ] {
        bench.answer(query, Response::json(status, &body));
        let error = bench.open(bench.config()).await.unwrap_err();
        assert!(matches!(error, ExportError::Retry { .. }), "{error:?}");
        bench.fake.server.clear_script();
    }
}

#[tokio::test]
async fn a_refused_upload_does_not_blame_the_key() {
    let bench = Bench::new();
    let rule = Rule::new(Fault::Answer(Response::text(403, "Request has expired")));
    bench.fake.server.script(rule.path("/storage/"));
    let mut exporter = bench.open(bench.config()).await.unwrap();
    let error = given_up(exporter.write(&bench.golden.envelopes).await);
    assert!(
        error.contains("expired") && error.contains("clock"),
        "{error}"
    );
    assert!(!error.contains("WANDB_API_KEY"), "{error}");
}

#[tokio::test]
async fn a_run_of_somebody_else_is_added_to() {
    let bench = Bench::new();
    {
        let mut world = bench.fake.world();
        let run = world.runs.entry("ann/lem/theirs".to_owned()).or_default();
        for (field, value) in [
            (&mut run.entity, "ann"),
            (&mut run.project, "lem"),
            (&mut run.name, "theirs"),
        ] {
            *field = value.to_owned();
        }
        let config = json!({"lr": {"value": 1}, "_wandb": {"value": {"t": {}}}});
        run.config = config.as_object().unwrap().clone();
        run.settings
            .insert("displayName".into(), json!("their name"));
        let lines = [
            ("wandb-history.jsonl", 0, "{\"_step\": 0, \"loss\": 1}"),
            ("wandb-history.jsonl", 1, "{\"_step\": 41, \"loss\": 2}"),
            ("wandb-summary.json", 0, "{\"loss\": 2}"),
            ("output.log", 0, "hello"),
        ];
        for (file, at, line) in lines {
            run.lines
                .entry(file.to_owned())
                .or_default()
                .insert(at, line.to_owned());
        }
    }
    let config = || WandbConfig {
        run_id: Some("theirs".into()),
        ..bench.config()
    };
    bench.deliver(config()).await;
    let once = bench.fake.facts();
    // again, with nothing remembered: lem finds where its lines began
    bench.deliver(config()).await;
    assert_eq!(bench.fake.facts(), once);
    let run = bench.fake.run("theirs");
    let history = run.list("wandb-history.jsonl");
    assert_eq!(history[1], json!({"_step": 41, "loss": 2}));
    assert_eq!(history[2]["_step"], 42);
    assert_eq!(run.list("output.log")[0], "hello");
    assert_eq!(run.summary()["loss"], 2);
    assert!(run.summary()["energy/total_joules"].is_f64());
    assert_eq!(
        (&run.config["lr"]["value"], &run.settings["displayName"]),
        (&json!(1), &json!("their name"))
    );

    let never = WandbConfig {
        run_id: Some("theirs".into()),
        resume: Some(Resume::Never),
        ..bench.config()
    };
    // it is this run's own by now; another run may not
    bench.open(never.clone()).await.unwrap();
    let mut other = bench.golden.context();
    other.run_id = "golden-0002".into();
    let error = given_up(
        WandbExporter::new(never)
            .unwrap()
            .open(&other, &Value::Null)
            .await,
    );
    assert!(error.contains("WANDB_RESUME=allow"), "{error}");
    let must = WandbConfig {
        run_id: Some("none".into()),
        resume: Some(Resume::Must),
        ..bench.config()
    };
    let error = given_up(bench.open(must).await);
    assert!(error.contains("WANDB_RUN_ID"), "{error}");
}

#[tokio::test]
async fn a_run_that_is_gone_is_not_made_again_in_part() {
    let bench = Bench::new();
    let (exporter, _) = bench.deliver(bench.config()).await;
    let state = exporter.state();
    bench.fake.world().runs.clear();
    let mut again = WandbExporter::new(bench.config()).unwrap();
    let error = given_up(again.open(&bench.golden.context(), &state).await);
    assert!(
        error.contains("no longer") && error.contains("WANDB_RUN_ID"),
        "{error}"
    );
}

#[tokio::test]
async fn records_that_delivery_thins_away_shift_nothing() {
    let bench = Bench::new();
    // no batch begins where the one before it ended
    let gaps: Vec<Arc<Envelope>> = bench
        .golden
        .envelopes
        .iter()
        .filter(|envelope| envelope.n % 8 != 0 || envelope.n == 0)
        .cloned()
        .collect();
    let mut exporter = bench.open(bench.config()).await.unwrap();
    for batch in gaps.chunks(7) {
        exporter.write(batch).await.unwrap();
    }
    let whole = Bench::new();
    let mut exporter = whole.open(whole.config()).await.unwrap();
    exporter.write(&gaps).await.unwrap();
    assert_eq!(bench.run().lines, whole.run().lines);
}

#[tokio::test]
async fn the_heart_beats_while_the_run_is_measured() {
    let bench = Bench::new();
    let mut context = bench.golden.context();
    context.live = Some(Arc::new(Board::default()));
    let mut exporter = WandbExporter::new(bench.config()).unwrap();
    exporter.open(&context, &Value::Null).await.unwrap();
    let receipt = exporter
        .finish(RunStatus::Finished, Duration::from_secs(9))
        .await
        .unwrap();
    assert_eq!(
        receipt.details["heartbeat"],
        json!({"sent": 0, "failed": 0, "cpu_s": 0.0})
    );
    // in a later export, and where it is turned off, it does not
    for (live, heartbeat) in [(None, true), (context.live.clone(), false)] {
        let mut context = bench.golden.context();
        context.live = live;
        let config = WandbConfig {
            heartbeat,
            ..bench.config()
        };
        let mut exporter = WandbExporter::new(config).unwrap();
        exporter.open(&context, &Value::Null).await.unwrap();
        let receipt = exporter
            .finish(RunStatus::Finished, Duration::from_secs(9))
            .await
            .unwrap();
        assert_eq!(receipt.details.get("heartbeat"), None);
    }
}

#[tokio::test]
async fn a_check_tells_what_is_wrong_and_leaves_nothing() {
    let bench = Bench::new();
    let check = |config: WandbConfig| async { WandbExporter::new(config).unwrap().check().await };
    let healthy = check(bench.config()).await;
    insta::assert_yaml_snapshot!(
        healthy
            .items
            .iter()
            .filter(|item| item.what != "reachable")
            .collect::<Vec<&CheckItem>>()
    );
    assert!(bench.fake.world().runs.is_empty());
    let elsewhere = WandbConfig {
        entity: Some("strangers".into()),
        run_id: Some("none".into()),
        resume: Some(Resume::Must),
        ..bench.config()
    };
    let items = check(elsewhere).await.items;
    let of = |what: &str| &items.iter().find(|item| item.what == what).unwrap().outcome;
    assert!(matches!(of("entity"), CheckOutcome::Unknown { .. }));
    assert!(matches!(of("run"), CheckOutcome::Failed { .. }));
    let wrong = WandbConfig {
        api_key: Some(Secret::new("hunter2-other")),
        ..bench.config()
    };
    let text = format!("{:?}", check(wrong).await);
    assert!(
        text.contains("credentials") && text.contains("WANDB_API_KEY"),
        "{text}"
    );
    assert!(!text.contains("hunter2"), "{text}");
    let started = Instant::now();
    bench.fake.server.go_down();
    assert!(check(bench.config()).await.failed());
    assert!(started.elapsed() < Duration::from_secs(30));
}
