//! Logs for tests, written as the measurement writes them.
#![allow(clippy::unwrap_used)]

use lem_record::{
    Attributes, Column, CycleFinished, Envelope, FinishReason, How, Record, RequestTimeline,
    RunStarted, Samples, SegmentWritten, Span, SpanKind, Stamp,
};
use serde_json::{Value, json};

pub const MS: u64 = 1_000_000;
pub const T0: u64 = 1_000_000 * MS;

/// Appends records of a made-up run.
#[derive(Debug)]
pub struct TestLog {
    pub envelopes: Vec<Envelope>,
}

/// A power source as the meter describes it.
pub fn source(id: &str, component: &str, how: &str, metrics: &[&str], sensor: &Value) -> Value {
    let columns: Vec<Value> = metrics.iter().map(|m| json!({"metric": m})).collect();
    json!({"id": id, "component": component, "name": id, "meter": "test", "how": how,
           "method": format!("{how} {id}"), "columns": columns, "sensor": sensor})
}

pub fn model() -> Value {
    json!({"name": "m", "architecture": "llama", "parameters": 134_515_008u64,
           "active_parameters": 134_515_008u64, "layers": 30, "hidden_size": 576,
           "attention_heads": 9, "key_value_heads": 3, "head_size": 64,
           "weight_type": "q4_1", "compute_type": "f32", "weight_bytes": 95_000_000u64,
           "kv_bytes_per_token": 46_080u64, "engine": "candle", "engine_version": "candle 0.11.0",
           "device": "cpu", "random_weights": false})
}

impl TestLog {
    pub fn empty() -> Self {
        Self {
            envelopes: Vec::new(),
        }
    }

    pub fn started(sources: Value) -> Self {
        let config = json!({"model_name": "hf:example/tiny", "backend": "candle",
            "max_output_tokens": 5, "num_cycles": 3, "measurement": {"interval_ms": 100},
            "carbon": {"pue": 1.0}, "quality": {"enabled": false}});
        let started = RunStarted {
            format: 1,
            producer: "lem 0.1.0".into(),
            name: "test".into(),
            config,
            provenance: Default::default(),
            environment: json!({}),
            tags: Default::default(),
            boot_id: None,
            pid: 1,
            sinks: Default::default(),
            varying: Vec::new(),
            sources,
            model: model(),
        };
        let mut log = Self::empty();
        log.push(Record::RunStarted(Box::new(started)), T0);
        log
    }

    /// The quick start's machine: modelled processor and memory, the process.
    pub fn modelled() -> Self {
        let gain = json!({"gain_relative": 0.5});
        Self::started(json!([
            source("cpu0", "cpu", "modelled", &["sample.power"], &gain),
            source("memory0", "memory", "modelled", &["sample.power"], &gain),
            source(
                "process",
                "state",
                "measured",
                &["sample.process_memory"],
                &json!({})
            ),
        ]))
    }

    pub fn push(&mut self, record: Record, t: u64) {
        let n = self.envelopes.len() as u64;
        let unix_ns = 1_767_225_600_000_000_000 + t as i64;
        let at = Stamp {
            mono_ns: t,
            unix_ns,
        };
        self.envelopes.push(Envelope {
            run: "test-run".into(),
            n,
            at,
            record,
        });
    }

    pub fn samples(&mut self, source: &str, metric: &str, how: How, points: &[(u64, f64)]) {
        let column = Column {
            metric: metric.into(),
            attributes: Attributes::new(),
            how,
            values: points.iter().map(|(_, v)| Some(*v)).collect(),
        };
        let samples = Samples {
            source: source.into(),
            t_ns: points.iter().map(|(t, _)| *t).collect(),
            columns: vec![column],
        };
        let t = points.last().map_or(T0, |(t, _)| *t);
        self.push(Record::Samples(samples), t);
    }

    /// Samples of a constant, from edge to edge, every `every` ns.
    pub fn constant(
        &mut self,
        source: &str,
        metric: &str,
        how: How,
        range: (u64, u64),
        every: u64,
        value: f64,
    ) {
        let mut points: Vec<(u64, f64)> = (range.0..range.1)
            .step_by(every as usize)
            .map(|t| (t, value))
            .collect();
        points.push((range.1, value));
        self.samples(source, metric, how, &points);
    }

    pub fn span(
        &mut self,
        span: SpanKind,
        name: &str,
        cycle: Option<u32>,
        start_ns: u64,
        end_ns: u64,
    ) {
        let span = Span {
            span,
            name: name.into(),
            cycle,
            start_ns,
            end_ns,
            attributes: Attributes::new(),
            request: None,
        };
        self.push(Record::Span(span), end_ns);
    }

    pub fn request(
        &mut self,
        cycle: u32,
        id: u64,
        start_ns: u64,
        token_ns: Vec<u64>,
        finish: FinishReason,
    ) {
        let end_ns = token_ns.last().copied().unwrap_or(start_ns);
        let span = Span {
            span: SpanKind::Request,
            name: format!("request-{id}"),
            cycle: Some(cycle),
            start_ns,
            end_ns,
            attributes: Attributes::new(),
            request: Some(RequestTimeline {
                id,
                input_tokens: 10,
                output_tokens: token_ns.len() as u64,
                scheduled_ns: None,
                token_ns,
                chunk_tokens: Vec::new(),
                true_token_times: true,
                answer_ns: None,
                engine: Default::default(),
                finish,
                error: None,
            }),
        };
        self.push(Record::Span(span), end_ns);
    }

    pub fn finished(&mut self, cycle: u32, start_ns: u64, end_ns: u64) {
        let record = CycleFinished {
            cycle,
            start_ns,
            end_ns,
            requests: 1,
            failed: 0,
            samples_missed: 0,
        };
        self.push(Record::CycleFinished(record), end_ns);
    }

    pub fn segment(&mut self, cycle: u32, segment: u32, start_ns: u64, end_ns: u64) {
        let record = SegmentWritten {
            cycle,
            segment,
            start_ns,
            end_ns,
        };
        self.push(Record::SegmentWritten(record), end_ns);
    }

    /// Powers and process memory of the modelled machine over a window.
    pub fn modelled_samples(&mut self, start: u64, end: u64, watts: f64) {
        self.constant(
            "cpu0",
            "sample.power",
            How::Modelled,
            (start, end),
            100 * MS,
            watts,
        );
        self.constant(
            "memory0",
            "sample.power",
            How::Modelled,
            (start, end),
            100 * MS,
            10.0,
        );
        self.constant(
            "process",
            "sample.process_memory",
            How::Measured,
            (start, end),
            100 * MS,
            3e8,
        );
    }

    /// A cycle of one second on the modelled machine: 10 ms other, 290 ms prefill and the
    /// first token, four more tokens in 100 ms each, 300 ms other.
    pub fn cycle(&mut self, cycle: u32, start: u64, watts: f64) -> u64 {
        let end = start + 1_000 * MS;
        self.modelled_samples(start, end, watts);
        let (prefill, first) = (start + 10 * MS, start + 300 * MS);
        let tokens: Vec<u64> = (0..5).map(|i| first + i * 100 * MS).collect();
        self.span(SpanKind::Phase, "prefill", Some(cycle), prefill, first);
        self.span(
            SpanKind::Phase,
            "decode",
            Some(cycle),
            first,
            first + 400 * MS,
        );
        self.request(
            cycle,
            u64::from(cycle),
            prefill,
            tokens,
            FinishReason::Length,
        );
        self.span(SpanKind::Cycle, "cycle", Some(cycle), start, end);
        self.finished(cycle, start, end);
        end
    }
}
