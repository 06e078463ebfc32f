//! Two golden runs with everything that a dashboard may ask for.
//!
//! The testkit's run has what the analysis writes. What a live sink showed while the run
//! went on, and the sensors that the testkit's GPUs lack, are added here.

use std::fs;
use std::path::{Path, PathBuf};

use lem_record::{Attributes, Column, Envelope, How, Metric, MetricValue, Record, Samples, Stamp};
use lem_testkit::golden::{self, RUN_ID, STARTED_AT};

pub const OTHER: &str = "golden-0002";

const MS: u64 = 1_000_000;

/// When everything has happened, Unix seconds.
pub fn after() -> i64 {
    STARTED_AT.unix_ns / 1_000_000_000 + 10
}

/// Writes both runs' folders: golden-0001 and golden-0002.
pub fn runs(parent: &Path) -> Vec<PathBuf> {
    [RUN_ID, OTHER]
        .map(|id| {
            let folder = parent.join(id);
            fs::create_dir_all(&folder).unwrap();
            let golden = golden::run(&folder);
            let records = golden
                .envelopes
                .iter()
                .map(|envelope| envelope.record.clone());
            write(&folder, id, complete(records));
            folder
        })
        .into()
}

fn write(folder: &Path, id: &str, records: Vec<Record>) {
    let mut log = String::new();
    for (n, record) in records.into_iter().enumerate() {
        let n = n as u64;
        let at = Stamp {
            mono_ns: STARTED_AT.mono_ns + n * MS,
            unix_ns: STARTED_AT.unix_ns + (n * MS) as i64,
        };
        let run = id.to_owned();
        log.push_str(&Envelope { run, n, at, record }.encode().unwrap());
        log.push('\n');
    }
    fs::write(folder.join("records.jsonl"), log).unwrap();
}

fn complete(records: impl Iterator<Item = Record>) -> Vec<Record> {
    // No analysis writes what is live: it is sampled, below.
    let live = |record: &Record| matches!(record, Record::Metric(m) if m.id.starts_with("live."));
    let mut records: Vec<Record> = records.filter(|record| !live(record)).collect();
    let end = records
        .iter()
        .position(|record| matches!(record, Record::Metric(_)))
        .unwrap();
    let missed = Record::Metric(Metric {
        id: "sampling.samples".into(),
        attributes: of(&[("lem.status", "missed")]),
        value: MetricValue::Number(3.0),
        t_ns: at(36),
        cycle: None,
        how: How::Measured,
        uncertainty: None,
        interval: None,
        method: None,
    });
    let mut more = vec![shown(), process(), missed];
    more.extend(["gpu0", "gpu1"].map(sensors));
    records.splice(end..end, more);
    records
}

/// Tenths of a second from the start of the first cycle.
fn at(tenths: u64) -> u64 {
    STARTED_AT.mono_ns + (1_000 + tenths * 100) * MS
}

fn of(pairs: &[(&str, &str)]) -> Attributes {
    pairs
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect()
}

/// A metric, its attributes, and its value at a time.
type Curve<'a> = (&'a str, Attributes, Box<dyn Fn(u64) -> f64>);

fn columns(source: &str, columns: Vec<Curve<'_>>) -> Record {
    let tenths = 0..=48;
    let columns = columns
        .into_iter()
        .map(|(metric, attributes, value)| Column {
            metric: metric.to_owned(),
            attributes,
            how: How::Measured,
            values: tenths.clone().map(|t| Some(value(t))).collect(),
        });
    Record::Samples(Samples {
        source: source.to_owned(),
        columns: columns.collect(),
        t_ns: tenths.clone().map(at).collect(),
    })
}

/// What the board showed: three cycles of a second with 0.2 s between them, then idle power.
fn shown() -> Record {
    fn phase(t: u64) -> &'static str {
        match t % 12 {
            _ if t >= 36 => "baseline",
            0..2 => "prefill",
            2..9 => "decode",
            _ => "other",
        }
    }
    let mut all: Vec<Curve<'_>> = vec![
        (
            "live.output_tokens",
            of(&[]),
            Box::new(|t| 16.0 * t.min(36) as f64),
        ),
        (
            "live.progress",
            of(&[]),
            Box::new(|t| t.min(36) as f64 / 36.0),
        ),
        ("live.cycle", of(&[]), Box::new(|t| (t / 12).min(2) as f64)),
    ];
    for name in ["warmup", "baseline", "prefill", "decode", "other", "ended"] {
        let now = move |t| f64::from(u8::from(phase(t) == name));
        all.push(("live.phase", of(&[("lem.phase", name)]), Box::new(now)));
    }
    columns("run", all)
}

fn process() -> Record {
    columns(
        "process",
        vec![(
            "sample.process_memory",
            of(&[]),
            Box::new(|t| 2e8 + 1e6 * t as f64),
        )],
    )
}

/// Those that the testkit's GPUs lack.
fn sensors(id: &str) -> Record {
    let own = of(&[("hw.id", id)]);
    let with = |key: &str, value: &str| of(&[("hw.id", id), (key, value)]);
    columns(
        id,
        vec![
            ("sample.sm_activity", own.clone(), Box::new(|_| 0.6)),
            ("sample.tensor_activity", own.clone(), Box::new(|_| 0.3)),
            ("sample.dram_activity", own.clone(), Box::new(|_| 0.8)),
            ("sample.gpu_memory_limit", own.clone(), Box::new(|_| 8e10)),
            ("sample.power_limit", own, Box::new(|_| 700.0)),
            (
                "sample.clock",
                with("lem.clock", "memory"),
                Box::new(|_| 2.6e9),
            ),
            (
                "throttle.time",
                with("lem.throttle.reason", "power_cap"),
                Box::new(|t| t as f64 / 100.0),
            ),
        ],
    )
}
