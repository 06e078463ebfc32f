//! What the measurement writes: start, clocks, samples, spans, cycles.

use std::collections::BTreeMap;

use lem_record::{
    Attributes, ClockPairs, Column, CycleFinished, FinishReason, How, Origin, Record,
    RequestTimeline, RunStarted, Samples, SegmentWritten, Span, SpanKind, Table, Warning,
};
use serde_json::json;

use super::STARTED_AT;

pub const CYCLES: u32 = 3;

const MS: u64 = 1_000_000;
const REQUESTS: u64 = 2;
const OUTPUT_TOKENS: u64 = 8;

/// A cycle takes 1 s; the next begins 1.2 s after it began.
pub(super) fn cycle_start(cycle: u32) -> u64 {
    STARTED_AT.mono_ns + 1_000 * MS + u64::from(cycle) * 1_200 * MS
}

pub(super) fn attributes(pairs: &[(&str, &str)]) -> Attributes {
    let owned = pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    owned.collect()
}

/// The first record.
pub fn started() -> RunStarted {
    let origin = |source: &str, detail: Option<&str>| Origin {
        source: source.to_owned(),
        detail: detail.map(str::to_owned),
    };
    RunStarted {
        format: 1,
        producer: "lem 0.1.0".to_owned(),
        name: "golden run".to_owned(),
        config: json!({
            "model_name": "golden/model",
            "backend": "candle",
            "num_cycles": CYCLES,
            "batching": {"batch_size": 2},
            "decoder": {"temperature": 0.7, "stop": ["\n", "###"], "seed": null},
            "measurement": {"interval_ms": 100},
            "integrations": {"mlflow": {"enabled": true, "password": "***"}},
        }),
        provenance: BTreeMap::from([
            (
                "model_name".to_owned(),
                origin("file", Some("golden.yaml:1")),
            ),
            ("backend".to_owned(), origin("default", None)),
            ("num_cycles".to_owned(), origin("flag", Some("--cycles"))),
        ]),
        environment: json!({
            "hostname": "golden-host",
            "os": "Linux 6.1.0",
            "cpu": {"model": "Golden CPU", "cores": 8},
            "gpus": [{"id": "gpu0", "name": "Golden GPU"}, {"id": "gpu1", "name": "Golden GPU"}],
            "dataset": {
                "name": "golden-prompts", "digest": "0f1e2d3c", "source_type": "local",
                "source": "prompts.jsonl", "schema": {"prompt": "string"},
                "profile": {"num_rows": 6}, "context": "evaluation",
            },
        }),
        tags: BTreeMap::from([
            (
                "git.commit".to_owned(),
                "0123456789abcdef0123456789abcdef01234567".to_owned(),
            ),
            ("user".to_owned(), "golden".to_owned()),
            ("team".to_owned(), "gr\u{fc}n".to_owned()),
        ]),
        boot_id: Some("00000000-1111-2222-3333-444444444444".to_owned()),
        pid: 4242,
        sinks: BTreeMap::from([("files".to_owned(), json!({"path": "copies"}))]),
        varying: vec!["hw.id".to_owned()],
        sources: json!([
            {"id": "gpu0", "quantity": "power", "unit": "W", "how": "measured"},
            {"id": "gpu1", "quantity": "power", "unit": "W", "how": "measured"},
            {"id": "cpu0", "quantity": "power", "unit": "W", "how": "modelled"},
        ]),
        model: json!({"name": "golden/model", "parameters": 134_515_008u64, "dtype": "q8_0"}),
    }
}

/// Everything up to the end of the last cycle.
pub(super) fn measured() -> Vec<Record> {
    let mut records = vec![Record::RunStarted(Box::new(started()))];
    records.push(span(
        SpanKind::Warmup,
        "warm-up",
        None,
        (STARTED_AT.mono_ns, 900 * MS),
        None,
    ));
    for cycle in 0..CYCLES {
        let start = cycle_start(cycle);
        records.push(Record::Clock(ClockPairs {
            pairs: vec![(start, STARTED_AT.unix_ns_at(start))],
        }));
        for (source, kind, how) in [
            ("gpu0", "gpu", How::Measured),
            ("gpu1", "gpu", How::Measured),
            ("cpu0", "cpu", How::Modelled),
        ] {
            records.push(Record::Samples(samples(cycle, source, kind, how)));
        }
        for (name, from, length) in [
            ("prefill", 0, 200),
            ("decode", 200, 700),
            ("other", 900, 100),
        ] {
            let at = (start + from * MS, length * MS);
            records.push(span(SpanKind::Phase, name, Some(cycle), at, None));
        }
        for request in 0..REQUESTS {
            let timeline = timeline(cycle, request);
            let at = (start, 900 * MS);
            records.push(span(
                SpanKind::Request,
                "request",
                Some(cycle),
                at,
                Some(timeline),
            ));
        }
        records.push(span(
            SpanKind::Cycle,
            "cycle",
            Some(cycle),
            (start, 1_000 * MS),
            None,
        ));
        if cycle == 1 {
            records.push(Record::SegmentWritten(SegmentWritten {
                cycle,
                segment: 0,
                start_ns: start,
                end_ns: start + 500 * MS,
            }));
            records.push(Record::Warning(Warning {
                code: "baseline.unstable".to_owned(),
                message: "the idle power varied by 12 % (limit 5 %)".to_owned(),
                remedy: "Stop other work on this machine and measure again".to_owned(),
            }));
        }
        records.push(Record::CycleFinished(CycleFinished {
            cycle,
            start_ns: start,
            end_ns: start + 1_000 * MS,
            requests: REQUESTS,
            failed: 0,
            samples_missed: 1,
        }));
    }
    records
}

/// Eleven samples of a cycle, every 100 ms, both ends included; the fifth was missed.
fn samples(cycle: u32, source: &str, kind: &str, how: How) -> Samples {
    let t_ns: Vec<u64> = (0..=10)
        .map(|i| cycle_start(cycle) + i * 100 * MS)
        .collect();
    let idle = match source {
        "gpu0" => 100.0,
        "gpu1" => 90.0,
        _ => 20.0,
    };
    // 3 times idle in prefill, 2 times in decode
    let power = |i: usize| match i {
        0..2 => idle * 3.0,
        2..9 => idle * 2.0,
        _ => idle,
    };
    let own = attributes(&[("hw.id", source), ("hw.type", kind)]);
    let mut columns = vec![Column {
        metric: "sample.power".to_owned(),
        attributes: own.clone(),
        how,
        values: (0..t_ns.len())
            .map(|i| (i != 4).then(|| power(i)))
            .collect(),
    }];
    let energy = |i: usize| (0..i).map(power).sum::<f64>() * 0.1 + f64::from(cycle) * 1000.0;
    if kind == "gpu" {
        let id = attributes(&[("hw.id", source)]);
        let with = |key: &str, value: &str| {
            let mut all = id.clone();
            all.insert(key.to_owned(), value.to_owned());
            all
        };
        let len = t_ns.len();
        for (metric, attributes, value) in [
            (
                "sample.energy",
                own,
                Box::new(energy) as Box<dyn Fn(usize) -> f64>,
            ),
            (
                "sample.gpu_utilization",
                with("hw.gpu.task", "general"),
                Box::new(|i| i as f64 / 10.0),
            ),
            (
                "sample.gpu_memory_used",
                id.clone(),
                Box::new(|i| 1e9 + i as f64 * 1e6),
            ),
            (
                "sample.temperature",
                with("hw.sensor_location", "gpu"),
                Box::new(|i| 40.0 + i as f64 / 2.0),
            ),
            (
                "sample.clock",
                with("lem.clock", "sm"),
                Box::new(|_| 1.41e9),
            ),
            (
                "sample.throttled",
                with("lem.throttle.reason", "thermal"),
                Box::new(|i| f64::from(u8::from(i > 8))),
            ),
        ] {
            let values = (0..len).map(|i| Some(value(i))).collect();
            columns.push(Column {
                metric: metric.to_owned(),
                attributes,
                how,
                values,
            });
        }
    } else {
        columns.push(Column {
            metric: "sample.cpu_utilization".to_owned(),
            attributes: Attributes::new(),
            how: How::Measured,
            values: (0..t_ns.len()).map(|i| Some(0.1 * i as f64)).collect(),
        });
    }
    Samples {
        source: source.to_owned(),
        t_ns,
        columns,
    }
}

fn timeline(cycle: u32, request: u64) -> RequestTimeline {
    let start = cycle_start(cycle);
    RequestTimeline {
        id: u64::from(cycle) * REQUESTS + request,
        input_tokens: 16 + request,
        output_tokens: OUTPUT_TOKENS,
        scheduled_ns: None,
        token_ns: (0..OUTPUT_TOKENS)
            .map(|i| start + (200 + i * 100) * MS)
            .collect(),
        chunk_tokens: Vec::new(),
        true_token_times: true,
        answer_ns: None,
        engine: Default::default(),
        finish: FinishReason::Length,
        error: None,
    }
}

fn span(
    kind: SpanKind,
    name: &str,
    cycle: Option<u32>,
    (start_ns, length): (u64, u64),
    request: Option<RequestTimeline>,
) -> Record {
    Record::Span(Span {
        span: kind,
        name: name.to_owned(),
        cycle,
        start_ns,
        end_ns: start_ns + length,
        attributes: Attributes::new(),
        request,
    })
}

pub(super) fn cycles_table() -> Record {
    let rows = (0..CYCLES).map(|cycle| {
        vec![
            json!(cycle),
            json!(1000.0),
            json!(418.5 + f64::from(cycle)),
            json!("measured, modelled"),
        ]
    });
    Record::Table(Table {
        name: "cycles".to_owned(),
        columns: ["cycle", "duration_ms", "energy_j", "how"]
            .map(str::to_owned)
            .into(),
        rows: rows.collect(),
    })
}
