//! A small run that has everything, the same every time: three cycles on two GPUs
//! and a CPU, every record kind, every metric of the catalogue. And a hostile one.

mod hostile;
mod metrics;
mod record;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lem_record::{
    Artifact, ArtifactKind, Envelope, Record, RunContext, RunFinished, RunStarted, RunStatus, Stamp,
};
use sha2::{Digest, Sha256};

pub use hostile::hostile;
pub use record::{CYCLES, started};

/// When the run started, on both clocks: 2025-06-15T15:06:40Z.
pub const STARTED_AT: Stamp = Stamp {
    mono_ns: 1_000_000_000_000,
    unix_ns: 1_750_000_000_000_000_000,
};

pub const RUN_ID: &str = "golden-0001";

/// A run in a folder of its own, and the same records in memory.
#[derive(Clone, Debug)]
pub struct Golden {
    pub folder: PathBuf,
    pub envelopes: Vec<Arc<Envelope>>,
    /// How it ended, as its last record says.
    pub status: Option<RunStatus>,
    started: Arc<RunStarted>,
}

impl Golden {
    pub fn context(&self) -> RunContext {
        RunContext {
            run_id: RUN_ID.to_owned(),
            folder: self.folder.clone(),
            started: Arc::clone(&self.started),
            started_at: STARTED_AT,
            live: None,
        }
    }

    /// `records.jsonl` as bytes.
    pub fn log(&self) -> Vec<u8> {
        fs::read(self.folder.join("records.jsonl")).expect("the golden log")
    }
}

/// The whole run. `folder` is the run's own; it is made where it is not there.
pub fn run(folder: &Path) -> Golden {
    let files = write_files(folder);
    let mut records = record::measured();
    records.extend(metrics::analysed());
    records.push(record::cycles_table());
    records.extend(files.into_iter().map(Record::Artifact));
    records.push(Record::RunFinished(RunFinished {
        status: RunStatus::Finished,
        reason: None,
        analysis: 1,
    }));
    write(folder, records)
}

/// The whole run, on a machine whose wall clock was set an hour forth in the first cycle
/// and two hours back in the second. Monotonic time goes on as it should.
pub fn stepped(folder: &Path) -> Golden {
    const HOUR_NS: i64 = 3_600_000_000_000;
    let mut golden = run(folder);
    let mut cycles = 0;
    let mut log = String::new();
    for envelope in &mut golden.envelopes {
        let mut stepped = (**envelope).clone();
        cycles += i64::from(matches!(stepped.record, Record::CycleFinished(_)));
        let by = match cycles {
            0 => 0,
            1 => HOUR_NS,
            _ => -HOUR_NS,
        };
        stepped.at.unix_ns += by;
        if let Record::Clock(clock) = &mut stepped.record {
            clock.pairs.iter_mut().for_each(|(_, unix)| *unix += by);
        }
        log.push_str(&stepped.encode().expect("it was encoded before"));
        log.push('\n');
        *envelope = Arc::new(stepped);
    }
    fs::write(folder.join("records.jsonl"), log).expect("the log is written");
    golden
}

/// As a process that was killed in its third cycle leaves it: two cycles, no
/// analysis, no end.
pub fn killed(folder: &Path) -> Golden {
    fs::create_dir_all(folder).expect("a folder");
    let mut records = record::measured();
    let mut finished = 0;
    records.retain(|record| {
        let keep = finished < 2;
        finished += usize::from(matches!(record, Record::CycleFinished(_)));
        keep
    });
    write(folder, records)
}

/// Numbers and stamps the records and writes the log; a record that JSON cannot
/// hold stays in memory only.
fn write(folder: &Path, records: Vec<Record>) -> Golden {
    let mut log = String::new();
    let mut envelopes = Vec::new();
    let (mut start, mut status) = (None, None);
    for (n, record) in records.into_iter().enumerate() {
        match &record {
            Record::RunStarted(record) => start = Some(Arc::new((**record).clone())),
            Record::RunFinished(record) => status = Some(record.status),
            _ => {}
        }
        let n = n as u64;
        let at = Stamp {
            mono_ns: STARTED_AT.mono_ns + n * 1_000_000,
            unix_ns: STARTED_AT.unix_ns + n as i64 * 1_000_000,
        };
        let run = RUN_ID.to_owned();
        let envelope = Envelope { run, n, at, record };
        if let Ok(line) = envelope.encode()
            && Envelope::decode(&line).is_ok_and(|read| read == envelope)
        {
            log.push_str(&line);
            log.push('\n');
        }
        envelopes.push(Arc::new(envelope));
    }
    fs::write(folder.join("records.jsonl"), log).expect("the log is written");
    Golden {
        folder: folder.to_owned(),
        envelopes,
        status,
        started: start.expect("a run starts"),
    }
}

fn write_files(folder: &Path) -> Vec<Artifact> {
    let long: Vec<u8> = (0..300_000u32)
        .map(|i| (i.wrapping_mul(i) >> 7) as u8)
        .collect();
    let files: [(&str, ArtifactKind, &[u8]); 6] = [
        (
            "artifacts/config.yaml",
            ArtifactKind::Config,
            b"model_name: golden/model\nnum_cycles: 3\n",
        ),
        (
            "result.json",
            ArtifactKind::Result,
            b"{\"schema_version\": \"3.0.0\", \"run_id\": \"golden-0001\"}\n",
        ),
        ("timeseries.parquet", ArtifactKind::Series, &long),
        (
            "artifacts/plots/power \u{fc}ber time #1.svg",
            ArtifactKind::Plot,
            b"<svg xmlns=\"http://www.w3.org/2000/svg\"/>\n",
        ),
        ("artifacts/empty.log", ArtifactKind::Log, b""),
        (
            "artifacts/eval/answers.jsonl",
            ArtifactKind::Evaluation,
            "{\"answer\": \"\u{2713}\"}\n".as_bytes(),
        ),
    ];
    files
        .map(|(path, kind, bytes)| artifact(folder, path, kind, bytes))
        .into()
}

/// Writes a file and describes it.
fn artifact(folder: &Path, path: &str, kind: ArtifactKind, bytes: &[u8]) -> Artifact {
    let target = folder.join(path);
    fs::create_dir_all(target.parent().expect("a parent")).expect("a folder");
    fs::write(target, bytes).expect("a file");
    Artifact {
        path: path.to_owned(),
        artifact: kind,
        sha256: hex::encode(Sha256::digest(bytes)),
        bytes: bytes.len() as u64,
    }
}
