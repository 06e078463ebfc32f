//! The whole way with a scripted engine and a scripted sensor: what the engine does decides
//! what the sensor reads, the real sampler reads it, the analysis finds it again.
#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lem_record::{
    Board, Envelope, FinishReason, How, Record, Recorder, RunStarted, SpanKind, Stamp,
};
use serde_json::json;

use super::*;
use crate::analysis::{Analysis, RunData, analyse};
use crate::config::{Measurement, PhaseMethod, Warmup};
use crate::engine::{
    Cancel, Capabilities, EngineError, Event, EventSink, ModelDescription, Phase, Request,
    Sampling as Drawing, TokenIds,
};
use crate::meter::{Component, Meter, SampleSink, Sampler, Sensor, Source, SourceColumn};

const PREFILL_W: u64 = 500;
/// The board's limit, which it keeps to where prefills follow each other without a pause.
const LIMIT_W: u64 = 350;
const DECODE_W: u64 = 200;
const IDLE_W: u64 = 100;

/// Watts of the board now.
type Watts = Arc<AtomicU64>;

struct ScriptedEngine {
    watts: Watts,
    description: ModelDescription,
    calls: u32,
    /// When it last ended a request that had no decode.
    prefilled: Option<Instant>,
    /// The call that fails, from 1.
    fails: Option<u32>,
}

fn spin(time: Duration) {
    std::thread::sleep(time);
}

impl Engine for ScriptedEngine {
    fn describe(&self) -> &ModelDescription {
        &self.description
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            true_token_times: true,
            phase_boundaries: true,
            score: false,
            in_process: true,
        }
    }

    fn encode(&self, _: &str, _: bool) -> Result<Vec<u32>, EngineError> {
        Ok(vec![1])
    }

    fn decode(&self, _: &[u32]) -> Result<String, EngineError> {
        Ok(String::new())
    }

    fn generate(
        &mut self,
        work: &Work,
        events: &mut dyn EventSink,
        _: &Cancel,
    ) -> Result<(), EngineError> {
        self.calls += 1;
        if self.fails == Some(self.calls) {
            return Err(EngineError::new("the script says so", "change it"));
        }
        for request in &work.requests {
            let now = Stamp::mono_ns;
            events.event(Event::Started {
                request: request.id,
                at_ns: now(),
            });
            let sustained = |at: Instant| at.elapsed() < Duration::from_millis(10);
            let limited = self.prefilled.take().is_some_and(sustained);
            let watts = if limited { LIMIT_W } else { PREFILL_W };
            self.watts.store(watts, Ordering::Relaxed);
            events.event(Event::Phase {
                phase: Some(Phase::Prefill),
                at_ns: now(),
            });
            spin(Duration::from_millis(60));
            events.event(Event::Tokens {
                request: request.id,
                ids: TokenIds::One(1),
                at_ns: now(),
            });
            self.watts.store(DECODE_W, Ordering::Relaxed);
            events.event(Event::Phase {
                phase: Some(Phase::Decode),
                at_ns: now(),
            });
            for _ in 1..request.max_output_tokens {
                spin(Duration::from_millis(5));
                events.event(Event::Tokens {
                    request: request.id,
                    ids: TokenIds::One(1),
                    at_ns: now(),
                });
            }
            self.watts.store(IDLE_W, Ordering::Relaxed);
            self.prefilled = (request.max_output_tokens == 1).then(Instant::now);
            events.event(Event::Phase {
                phase: None,
                at_ns: now(),
            });
            events.event(Event::Finished {
                request: request.id,
                reason: FinishReason::Length,
                at_ns: now(),
            });
        }
        Ok(())
    }

    fn score(&mut self, _: &[u32]) -> Result<Vec<f32>, EngineError> {
        Ok(Vec::new())
    }
}

struct ScriptedMeter {
    watts: Watts,
    sources: Vec<Source>,
}

impl Meter for ScriptedMeter {
    fn name(&self) -> &'static str {
        "scripted"
    }

    fn sources(&self) -> &[Source] {
        &self.sources
    }

    fn read(&mut self, out: &mut dyn SampleSink) {
        let watts = self.watts.load(Ordering::Relaxed) as f64;
        out.row(0, Stamp::mono_ns(), &[Some(watts)]);
    }
}

fn source(update_s: f64) -> Source {
    Source {
        id: "gpu0".into(),
        component: Component::Gpu,
        name: "scripted".into(),
        meter: "scripted".into(),
        how: How::Measured,
        method: "a script".into(),
        device: Some("GPU-1".into()),
        columns: vec![SourceColumn {
            metric: "sample.power".into(),
            attributes: lem_record::Attributes::new(),
            how: None,
        }],
        sensor: Sensor {
            update_s: Some(update_s),
            lag_s: Some(0.0),
            gain_relative: Some(0.05),
            ..Sensor::default()
        },
    }
}

#[derive(Default)]
struct Kept(Mutex<Vec<Record>>);

impl Recorder for Kept {
    fn record(&self, record: Record) {
        self.0.lock().unwrap().push(record);
    }

    fn commit(&self) -> std::io::Result<()> {
        Ok(())
    }

    fn quiet(&self, _: bool) {}
}

/// Two cycles of two requests of 60 ms of prefill and 19 steps of decode, with a sensor that is
/// said to tell a new value every `update_s`.
fn run(method: PhaseMethod, update_s: f64, fails: Option<u32>) -> (Vec<Record>, Analysis) {
    let watts = Watts::new(AtomicU64::new(IDLE_W));
    let mut engine = ScriptedEngine {
        watts: watts.clone(),
        description: ModelDescription::default(),
        calls: 0,
        prefilled: None,
        fails,
    };
    let sources = vec![source(update_s)];
    let meter = ScriptedMeter {
        watts,
        sources: sources.clone(),
    };
    let sampler = Sampler::start(vec![Box::new(meter)], Duration::from_millis(4)).unwrap();
    let probe = Sampling::new(sampler);
    let measurement = Measurement {
        phase_method: method,
        loop_s: 0.5,
        warmup: Warmup {
            min_rounds: 0,
            max_rounds: 0,
            ..Warmup::default()
        },
        ..Measurement::default()
    };
    let request = |id| Request {
        id,
        tokens: Arc::from([1, 2, 3]),
        text: None,
        max_output_tokens: 20,
        min_output_tokens: 20,
    };
    let plan = Plan {
        work: Work {
            requests: vec![request(0), request(1)],
            batch_size: 1,
            sampling: Drawing::default(),
            due_ns: Vec::new(),
        },
        cycles: 2,
        most: 2,
        first_cycle: 0,
        last: true,
        rounds: Rounds::needed(&measurement, &sources, engine.capabilities()),
        measurement,
    };
    let kept = Kept::default();
    let cancel = Cancel::default();
    let board = Board::default();
    let shown = Shown::new(&board, 4);
    let ended = measure(
        &mut Session {
            engine: &mut engine,
            probe: &probe,
            recorder: &kept,
            observer: &mut Silent,
            cancel: &cancel,
            shown: &shown,
            first_start: &RefCell::default(),
        },
        &plan,
    );
    assert_eq!(ended.unwrap(), Ended::Complete);
    let records = kept.0.into_inner().unwrap();
    let started = Record::RunStarted(Box::new(RunStarted {
        format: 1,
        producer: "lem 0".into(),
        name: "scripted".into(),
        config: json!({"measurement": {"phase_method": method.as_str()}}),
        provenance: Default::default(),
        environment: json!({}),
        tags: Default::default(),
        boot_id: None,
        pid: 1,
        sinks: Default::default(),
        varying: Vec::new(),
        sources: serde_json::to_value(&sources).unwrap(),
        model: json!(null),
    }));
    let envelopes = std::iter::once(started).chain(records.iter().cloned());
    let envelopes = envelopes.enumerate().map(|(n, record)| Envelope {
        run: "r".into(),
        n: n as u64,
        at: Stamp {
            mono_ns: 0,
            unix_ns: 0,
        },
        record,
    });
    // As the log is written and read again.
    let lines: Vec<String> = envelopes.map(|e| e.encode().unwrap()).collect();
    let read = lines.iter().map(|line| Envelope::decode(line).unwrap());
    let analysis = analyse(&RunData::from_log(read));
    (records, analysis)
}

fn rounds(records: &[Record]) -> Vec<lem_record::RoundsFinished> {
    let rounds = records.iter().filter_map(|r| match r {
        Record::RoundsFinished(rounds) => Some(rounds.clone()),
        _ => None,
    });
    rounds.collect()
}

/// Within a tenth: sleeps are not exact, and this machine may be busy.
fn near(a: f64, b: f64, what: &str) {
    assert!((a / b - 1.0).abs() < 0.1, "{what}: {a} against {b}");
}

#[test]
fn a_sensor_too_slow_for_the_phases_is_helped_by_rounds_of_prefill() {
    let (records, analysis) = run(PhaseMethod::Auto, 0.05, None);
    let chosen = analysis.phases.chosen().unwrap();
    assert_eq!(chosen.method, PhaseMethod::Looped);
    let rounds = rounds(&records);
    let looped = &rounds[0];
    assert_eq!(looped.output_tokens, looped.requests);
    // Rests of two lengths, without which the board would be at its limit of power.
    let rest = |r: &lem_record::RoundsFinished| r.rest_ns.unwrap() / r.round_ends_ns.len() as u64;
    assert!(rest(&rounds[1]) > 2 * rest(looped), "{rounds:?}");
    let per_cycle = looped.prefill_ns.unwrap() as f64 / 1e9 / looped.round_ends_ns.len() as f64;
    let value = |id: &str| analysis.run.quantity(id).value.unwrap();
    near(
        value("energy.prefill"),
        per_cycle * PREFILL_W as f64,
        "prefill",
    );
    near(
        value("energy.decode"),
        value("time.decode") * DECODE_W as f64,
        "decode",
    );
    // The extra rounds are no cycles, and no request of theirs is counted.
    assert_eq!(analysis.cycles.len(), 2);
    assert_eq!(analysis.run.value("run.requests"), Some(4.0));
    let spans = records
        .iter()
        .filter(|r| matches!(r, Record::Span(s) if s.span == SpanKind::Request));
    assert_eq!(spans.count(), 4);
}

#[test]
fn a_fast_sensor_s_windows_are_chosen_and_checked_by_the_rounds() {
    let (records, analysis) = run(PhaseMethod::Auto, 0.004, None);
    assert!(rounds(&records).len() >= 2);
    let phases = &analysis.phases;
    assert_eq!(phases.chosen().unwrap().method, PhaseMethod::Windows);
    assert_eq!(phases.differences().len(), 2);
    let prefill = analysis.run.quantity("energy.prefill").value.unwrap();
    near(
        prefill,
        analysis.run.value("time.prefill").unwrap() * PREFILL_W as f64,
        "prefill",
    );
}

#[test]
fn a_slope_is_measured_over_four_lengths_up_and_down() {
    let (records, analysis) = run(PhaseMethod::Slope, 0.05, None);
    let rounds = rounds(&records);
    let lengths: Vec<u64> = rounds
        .iter()
        .map(|r| r.output_tokens / r.requests)
        .collect();
    assert_eq!(lengths, [5, 10, 15, 20, 20, 15, 10, 5]);
    let value = |id: &str| analysis.run.quantity(id).value.unwrap();
    near(
        value("energy.prefill"),
        value("time.prefill") * PREFILL_W as f64,
        "prefill",
    );
    near(
        value("energy.decode"),
        value("time.decode") * DECODE_W as f64,
        "decode",
    );
    assert!(analysis.run.quantity("energy.decode").interval.is_some());
}

#[test]
fn nobody_asked_for_rounds_and_none_are_measured() {
    let (records, analysis) = run(PhaseMethod::Windows, 0.05, None);
    assert!(rounds(&records).is_empty());
    let why = analysis.run.quantity("energy.prefill").reason.unwrap();
    assert!(why.starts_with("not resolvable"), "{why}");
}

#[test]
fn an_engine_that_fails_in_the_rounds_costs_no_cycle() {
    let (records, analysis) = run(PhaseMethod::Auto, 0.05, Some(3));
    assert!(rounds(&records).is_empty());
    assert_eq!(analysis.run.value("run.cycles"), Some(2.0));
    assert!(
        analysis
            .warnings
            .iter()
            .any(|w| w.code == "phases.rounds_failed")
    );
}
