use std::collections::BTreeMap;
use std::path::Path;

use lem_record::{
    Artifact, ArtifactKind, Column, How, Metric, MetricValue, Record, RunFinished, RunStatus,
    Samples, Table, Warning,
};
use serde_json::{Value, json};

use super::record::{attributes, cycle_start, started};
use super::{Golden, artifact, write};

/// Names that something along the way will not like.
const NAMES: [&str; 10] = [
    "",
    " ",
    "..",
    "../../etc/passwd",
    "/absolute",
    "nul\0byte",
    "line\nbreak\r\ttab",
    "quote\"back\\slash",
    "\u{202e}right to left \u{1f9ea} \u{fc}\u{308}",
    "<script>alert(1)</script> & ' -- ; DROP TABLE",
];

/// A run that no lem would write, though it may: absurd names and values, numbers
/// that are none, files that lie or are not there. A sink may reject any of it, but
/// must get to its end.
pub fn hostile(folder: &Path) -> Golden {
    let long = "x".repeat(10_000);
    let mut start = started();
    let mut deep = json!(1);
    for _ in 0..60 {
        deep = json!({"deeper": deep});
    }
    start.config = json!({
        "a b": 1, "a/b": 2, "a:b": 3, "a": {"b": 4}, "a.b": 5,
        "deep": deep, "empty": {}, "none": null, "list": [[], [1, [2]]],
        "huge": 1e308, "tiny": 5e-324, "large": u64::MAX, "yes": true,
    });
    for name in NAMES.into_iter().chain([long.as_str()]) {
        start
            .tags
            .insert(name.to_owned(), format!("value of {name}"));
        start
            .tags
            .insert(format!("tag {}", start.tags.len()), name.to_owned());
        if let Value::Object(config) = &mut start.config {
            config.insert(name.to_owned(), json!(name));
        }
    }
    start.name.clone_from(&long);
    start.environment = json!([1, 2, 3]);
    start.model = Value::Null;
    let mut records = vec![Record::RunStarted(Box::new(start))];

    let t = cycle_start(0);
    for value in [
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::MAX,
        f64::MIN_POSITIVE,
        -0.0,
    ] {
        records.push(metric("energy.total", &[], MetricValue::Number(value), t));
        records.push(series(
            "gpu0",
            vec![t, t, t + 1],
            vec![Some(value), None, Some(1.0)],
        ));
    }
    for name in NAMES.into_iter().chain([long.as_str()]) {
        records.push(metric(name, &[], MetricValue::Number(1.0), t));
        records.push(metric(
            "energy.closure",
            &[("hw.id", name), (name, name)],
            MetricValue::Number(1.0),
            t,
        ));
        records.push(metric(
            "energy.total",
            &[],
            MetricValue::Absent(name.to_owned()),
            t,
        ));
        records.push(series(name, vec![t], vec![Some(1.0)]));
        records.push(Record::Table(Table {
            name: name.to_owned(),
            columns: vec![name.to_owned(), String::new()],
            rows: vec![
                vec![json!(name), Value::Null],
                vec![json!({"a": [name]}), json!(1e300)],
            ],
        }));
        records.push(Record::Warning(Warning {
            code: name.to_owned(),
            message: name.to_owned(),
            remedy: String::new(),
        }));
        records.push(Record::Artifact(Artifact {
            path: name.to_owned(),
            artifact: ArtifactKind::Log,
            sha256: "0".repeat(64),
            bytes: 1,
        }));
    }
    records.push(series("gpu0", Vec::new(), Vec::new()));
    records.push(metric("energy.total", &[], MetricValue::Number(1.0), 0));
    records.push(metric(
        "energy.total",
        &[],
        MetricValue::Number(2.0),
        u64::MAX,
    ));
    records.push(Record::Table(Table {
        name: "empty".into(),
        columns: Vec::new(),
        rows: Vec::new(),
    }));
    records.push(Record::Unknown("hologram".to_owned()));
    let mut changed = artifact(
        folder,
        "artifacts/changed.txt",
        ArtifactKind::Log,
        b"as it was",
    );
    changed.sha256 = "f".repeat(64);
    records.push(Record::Artifact(changed));
    records.push(Record::Artifact(artifact(
        folder,
        "artifacts/good.txt",
        ArtifactKind::Log,
        b"good",
    )));
    records.push(Record::RunFinished(RunFinished {
        status: RunStatus::Failed,
        reason: Some(long),
        analysis: u32::MAX,
    }));
    write(folder, records)
}

fn metric(id: &str, own: &[(&str, &str)], value: MetricValue, t_ns: u64) -> Record {
    Record::Metric(Metric {
        id: id.to_owned(),
        attributes: attributes(own),
        value,
        t_ns,
        cycle: None,
        how: How::Supplied,
        uncertainty: None,
        interval: None,
        method: None,
    })
}

fn series(source: &str, t_ns: Vec<u64>, values: Vec<Option<f64>>) -> Record {
    Record::Samples(Samples {
        source: source.to_owned(),
        t_ns,
        columns: vec![Column {
            metric: "sample.power".to_owned(),
            attributes: BTreeMap::from([("hw.id".to_owned(), source.to_owned())]),
            how: How::Measured,
            values,
        }],
    })
}
