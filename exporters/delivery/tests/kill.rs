//! kill -9 at random moments of a run that delivers: the folder stays readable, and
//! all that was committed arrives, each record once.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lem_delivery::{Delivery, DeliveryState, Log, LogReader, Spool, Standing, deliver_once};
use lem_record::{
    Check, CycleFinished, Envelope, ExportError, Exporter, Receipt, Record, Recorder, RunContext,
    RunFinished, RunStatus, Written,
};
use rand::Rng;
use serde_json::Value;
use support::{quick, warning};

const CHILD: &str = "LEM_TEST_KILL";

/// An other end that outlives us: a file a record.
struct Folder(PathBuf);

#[async_trait]
impl Exporter for Folder {
    fn name(&self) -> &'static str {
        "folder"
    }
    fn destination(&self) -> String {
        self.0.display().to_string()
    }
    async fn check(&self) -> Check {
        Check::default()
    }
    async fn open(&mut self, _: &RunContext, _: &Value) -> Result<(), ExportError> {
        std::fs::create_dir_all(&self.0).map_err(|error| ExportError::retry(error.to_string()))
    }
    async fn write(&mut self, batch: &[Arc<Envelope>]) -> Result<Written, ExportError> {
        for envelope in batch {
            let line = envelope.encode().unwrap();
            std::fs::write(self.0.join(envelope.n.to_string()), line).unwrap();
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
        let through = batch.last().unwrap().n;
        Ok(Written {
            through,
            rejected: Vec::new(),
            accepted: batch.len() as u64,
        })
    }
    async fn finish(&mut self, status: RunStatus, _: Duration) -> Result<Receipt, ExportError> {
        std::fs::write(self.0.join("status"), status.as_str()).unwrap();
        Ok(Receipt::default())
    }
    fn state(&self) -> Value {
        Value::Null
    }
}

#[test]
fn nothing_that_was_committed_is_lost() {
    let scratch = tempfile::tempdir().unwrap();
    let (mut with_cycles, mut without) = (0, 0);
    for round in 0..10 {
        let folder = scratch.path().join(format!("run{round}"));
        let remote = scratch.path().join(format!("remote{round}"));
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--nocapture"])
            .env(CHILD, &folder)
            .env("LEM_TEST_REMOTE", &remote)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(rand::rng().random_range(0..250)));
        child.kill().unwrap();
        child.wait().unwrap();
        if !folder.exists() {
            without += 1;
            continue;
        }
        let log = Log::read(&folder).unwrap();
        assert_eq!(log.standing, Standing::Killed);
        with_cycles += usize::from(!log.cycles.is_empty());
        let (spool, _) = Spool::reopen(&folder).unwrap();
        spool.record(Record::RunFinished(RunFinished {
            status: RunStatus::Killed,
            reason: None,
            analysis: 1,
        }));
        spool.commit().unwrap();
        drop(spool);
        let sinks: Vec<Box<dyn Exporter>> = vec![Box::new(Folder(remote.clone()))];
        let outcome = deliver_once(&folder, sinks, &quick(), Duration::from_secs(30))
            .unwrap()
            .remove(0);
        assert_eq!(outcome.state, DeliveryState::Delivered, "{outcome:?}");
        assert_same(&folder, &remote);
    }
    println!("{with_cycles} runs with cycles, {without} that never began");
    assert!(with_cycles + without > 0);
}

fn assert_same(folder: &Path, remote: &Path) {
    let mut count = 0;
    for entry in LogReader::open(folder).unwrap() {
        let envelope = entry.unwrap().envelope;
        let arrived = std::fs::read_to_string(remote.join(envelope.n.to_string())).unwrap();
        assert_eq!(arrived, envelope.encode().unwrap());
        count += 1;
    }
    assert_eq!(std::fs::read_dir(remote).unwrap().count(), count + 1);
    assert_eq!(
        std::fs::read_to_string(remote.join("status")).unwrap(),
        "killed"
    );
}

#[test]
fn child() {
    let Some(folder) = std::env::var_os(CHILD) else {
        return;
    };
    let remote = std::env::var_os("LEM_TEST_REMOTE").unwrap();
    let spool = Spool::create(Path::new(&folder), "r", lem_testkit::golden::started()).unwrap();
    let sinks: Vec<Box<dyn Exporter>> = vec![Box::new(Folder(remote.into()))];
    let _delivery = Delivery::start(&spool, sinks, &quick()).unwrap();
    for cycle in 0.. {
        spool.quiet(true);
        for n in 0..20 {
            spool.record(warning(format!("{cycle} {n} {}", "x".repeat(200))));
        }
        spool.quiet(false);
        spool.record(Record::CycleFinished(CycleFinished {
            cycle,
            start_ns: 0,
            end_ns: 1,
            requests: 1,
            failed: 0,
            samples_missed: 0,
        }));
        spool.commit().unwrap();
        std::thread::sleep(Duration::from_millis(2));
    }
}
