use std::collections::BTreeMap;
use std::path::Path;

use lem_record::{
    ArtifactKind, Attributes, Column, Histogram, How, Interval, Kind, Metric, MetricValue, Record,
    RunFinished, RunStatus, Samples, Table, Warning, catalogue::METRICS,
};
use serde_json::{Value, json};

use super::record::{attributes, cycle_start, cycles_table, measured, started};
use super::{Golden, artifact, metrics, write, write_files};

/// Lengths of texts that some service takes at most, in characters or in bytes.
const LENGTHS: [(&str, usize); 7] = [
    ("the digest of a dataset in MLflow", 36),
    ("a key in MLflow", 250),
    ("the name of an experiment or a dataset in MLflow", 500),
    ("the value of a param in MLflow", 6000),
    ("the value of a tag in MLflow", 8000),
    ("the name of anything", 10_000),
    ("the source of a dataset in MLflow", 65_535),
];

/// Lengths that only values have.
const LONG_VALUES: [(&str, usize); 2] = [
    ("a value in W&B", 1_000_000),
    ("a line in W&B", (10 << 20) - (100 << 10)),
];

/// Numbers of things that some service takes at once.
const COUNTS: [(&str, usize); 2] = [
    ("params or tags in a batch of MLflow", 100),
    ("metrics or entities in a batch of MLflow", 1000),
];

/// Rows of a table that W&B takes in the run, and in an artifact.
const ROWS: [usize; 2] = [10_000, 200_000];

/// By these the device is known whose numbers are none.
pub const NOT_FINITE: &str = "not-finite";

/// Files and tables that no body of [`ONE_BODY`] bytes can hold.
pub const OVERSIZED: [&str; 3] = ["timeseries.parquet", "oversized.bin", "oversized-table"];

/// Bytes of the largest body where something is too large.
pub const ONE_BODY: usize = 64 << 10;

/// A run with texts, lists and tables one short of, at, and one beyond what some
/// service takes, and the marks by which they are found again: each begins one key.
pub fn limits(folder: &Path) -> (Golden, Vec<String>) {
    let mut start = started();
    let mut marks = Vec::new();
    let mut records = Vec::new();
    let mut config = serde_json::Map::new();
    for (_, length) in LENGTHS {
        for length in length - 1..=length + 1 {
            let mark = format!("limit{length}.");
            let (key, value) = (filled(&mark, length, 'k'), filled(&mark, length, '\u{fc}'));
            start.tags.insert(key.clone(), mark.clone());
            start.tags.insert(format!("tag.{mark}"), value.clone());
            config.insert(key.clone(), json!(mark));
            config.insert(format!("param.{mark}"), json!(value));
            records.push(table(&key, &[&key], vec![vec![json!(value)]]));
            records.push(warning(&key, &value));
            marks.push(mark);
        }
    }
    for (_, length) in LONG_VALUES {
        for length in length..=length + 1 {
            let value = filled(&format!("long{length}."), length, 'v');
            records.push(warning("long", &value));
        }
        let value = filled("value.", length.min(1_000_000) + 1, 'v');
        config.insert(format!("long{length}"), json!(value));
    }
    let (_, most) = COUNTS[1];
    for n in 0..=most {
        start.tags.insert(format!("many.{n}"), n.to_string());
        config.insert(format!("many.{n}"), json!(n));
    }
    if let Value::Object(all) = &mut start.config {
        all.append(&mut config);
    }
    start.environment["dataset"] = json!({
        "name": filled("dataset.", 501, 'n'), "digest": filled("digest.", 37, 'd'),
        "source": filled("source.", 65_536, 's'), "source_type": "local",
        "schema": {"column": filled("schema.", 1_000_001, 's')},
        "profile": {"column": filled("profile.", 1_000_001, 'p')},
    });
    for rows in ROWS.into_iter().flat_map(|rows| [rows, rows + 1]) {
        let rows = (0..rows).map(|row| vec![json!(row)]).collect();
        records.push(table("rows", &["row"], rows));
    }
    records.push(fast(0, most + 1));
    let def = METRICS.iter().find(|def| def.id == "energy.total");
    let def = def.expect("the catalogue has the energy");
    for n in 0..=most {
        records.push(Record::Metric(Metric {
            t_ns: cycle_start(0) + n as u64,
            cycle: u32::try_from(n).ok(),
            ..plain(def, MetricValue::Number(n as f64))
        }));
    }
    records.insert(0, Record::RunStarted(Box::new(start)));
    records.push(finished());
    std::fs::create_dir_all(folder).expect("a folder");
    (write(folder, records), marks)
}

/// The whole run, with numbers among its first results that are none.
pub fn not_finite(folder: &Path) -> Golden {
    let files = write_files(folder);
    let mut records = measured();
    let def = METRICS.iter().find(|def| {
        let plain = matches!(def.kind, Kind::Gauge) && !def.id.starts_with("sample.");
        plain && def.attributes.contains(&"hw.id")
    });
    let def = def.expect("the catalogue has a gauge of devices");
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        records.push(Record::Metric(plain(def, MetricValue::Number(value))));
        records.push(Record::Metric(Metric {
            interval: Some(Interval {
                low: value,
                high: value,
                level: 0.95,
            }),
            ..plain(def, MetricValue::Number(1.0))
        }));
        records.push(Record::Samples(Samples {
            source: NOT_FINITE.to_owned(),
            t_ns: vec![cycle_start(0) + 1, cycle_start(0) + 2],
            columns: vec![Column {
                metric: "sample.power".to_owned(),
                attributes: attributes(&[("hw.id", NOT_FINITE), ("hw.type", "gpu")]),
                how: How::Measured,
                values: vec![Some(value), Some(1.0)],
            }],
        }));
        if let Some(def) = METRICS.iter().find(|def| def.kind == Kind::Histogram) {
            let histogram = Histogram {
                bounds: vec![1.0, value],
                counts: vec![1, 1, 0],
                count: 2,
                sum: value,
                min: value,
                max: value,
                mean: value,
                p50: value,
                p90: value,
                p99: value,
            };
            let histogram = MetricValue::Histogram(Box::new(histogram));
            records.push(Record::Metric(plain(def, histogram)));
        }
    }
    records.extend(metrics::analysed());
    records.push(cycles_table());
    records.extend(files.into_iter().map(Record::Artifact));
    records.push(finished());
    write(folder, records)
}

/// The whole run, with a file, a table and a message that are too large for a service
/// whose bodies have [`ONE_BODY`] bytes at most, however they are packed.
pub fn oversized(folder: &Path) -> Golden {
    let mut files = write_files(folder);
    // no packer makes much less of it
    let mut state = 1_u64;
    let text: String = std::iter::repeat_with(|| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        format!("{:016x}", state ^ (state >> 29))
    })
    .take(300_000 / 16)
    .collect();
    files.push(artifact(
        folder,
        "artifacts/oversized.bin",
        ArtifactKind::Log,
        text.as_bytes(),
    ));
    let mut records = measured();
    records.push(table("oversized-table", &["cell"], vec![vec![json!(text)]]));
    records.push(warning("oversized-message", &text));
    records.extend(files.into_iter().map(Record::Artifact));
    records.extend(metrics::analysed());
    records.push(finished());
    write(folder, records)
}

/// `mark`, and fillers up to a length in characters.
fn filled(mark: &str, length: usize, filler: char) -> String {
    let fillers = std::iter::repeat(filler);
    mark.chars().chain(fillers).take(length).collect()
}

fn warning(code: &str, message: &str) -> Record {
    Record::Warning(Warning {
        code: code.to_owned(),
        message: message.to_owned(),
        remedy: String::new(),
    })
}

fn table(name: &str, columns: &[&str], rows: Vec<Vec<Value>>) -> Record {
    Record::Table(Table {
        name: name.to_owned(),
        columns: columns.iter().map(|&column| column.to_owned()).collect(),
        rows,
    })
}

/// Samples at 10 kHz: ten of a millisecond.
fn fast(cycle: u32, samples: usize) -> Record {
    let times = (0..samples).map(|n| cycle_start(cycle) + n as u64 * 100_000);
    Record::Samples(Samples {
        source: "gpu0".to_owned(),
        t_ns: times.collect(),
        columns: vec![Column {
            metric: "sample.power".to_owned(),
            attributes: BTreeMap::from([
                ("hw.id".to_owned(), "gpu0".to_owned()),
                ("hw.type".to_owned(), "gpu".to_owned()),
            ]),
            how: How::Measured,
            values: (0..samples).map(|n| Some(n as f64)).collect(),
        }],
    })
}

fn plain(def: &lem_record::MetricDef, value: MetricValue) -> Metric {
    let own = |name: &&str| {
        let value = if *name == "hw.id" {
            NOT_FINITE
        } else {
            "golden"
        };
        ((*name).to_owned(), value.to_owned())
    };
    Metric {
        id: def.id.to_owned(),
        attributes: def.attributes.iter().map(own).collect::<Attributes>(),
        value,
        t_ns: cycle_start(0),
        cycle: None,
        how: How::Measured,
        uncertainty: None,
        interval: None,
        method: None,
    }
}

fn finished() -> Record {
    Record::RunFinished(RunFinished {
        status: RunStatus::Finished,
        reason: None,
        analysis: 1,
    })
}
