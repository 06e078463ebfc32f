//! Extra rounds after the cycles, which tell the energy of prefill from that of decode where
//! power samples are too slow for it, and check them where they are not.
//!
//! A round answers the requests of a cycle once, in the same batches, with other lengths: a
//! single token each (`looped`: prefill alone), or each of several lengths in turn (`slope`).

use std::time::{Duration, Instant};

use lem_record::{Record, RoundsFinished, Stamp, Warning};

use super::cycle::Events;
use super::{MeasureError, Plan, Session, pause};
use crate::config::{Measurement, PhaseMethod};
use crate::engine::{Capabilities, Event, Phase, TokenIds, Work};
use crate::meter::Source;

/// Rests of the looped rounds, as shares of the work before each: without any, prefill runs
/// into the board's limit of power, which a single one is over before it bites. Short and long
/// ones tell the power of resting; up and down again, so that a drift is no slope.
const RESTS: [f64; 4] = [0.5, 1.5, 1.5, 0.5];
/// A batch counts as at least so long, that its rest is one to a sensor, and as at most so long,
/// that the rest ends. The shares stay: of rests that are nearly equal no line can be drawn.
const BATCH_S: (f64, f64) = (0.04, 1.0);
/// Output lengths of a slope: four are the fewest that show whether it is a line.
const LENGTHS: u32 = 4;
/// A window with more rounds than this says when it began and ended only.
const MOST_ROUND_ENDS: usize = 100_000;

/// Which extra rounds a run needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rounds {
    pub looped: bool,
    pub slope: bool,
}

impl Rounds {
    /// On modelled power windows say all there is: rounds only where they are asked for. A
    /// sensor is checked by rounds of prefill alone, unless windows are asked for.
    pub fn needed(rule: &Measurement, sources: &[Source], engine: Capabilities) -> Self {
        let measured = |s: &Source| s.gives_energy() && s.how == lem_record::How::Measured;
        let measured = sources.iter().any(measured);
        match rule.phase_method {
            PhaseMethod::Windows => Self::default(),
            PhaseMethod::Auto => Self {
                // Of a server it is not known what else it does, and what it keeps.
                looped: measured && (engine.in_process || engine.phase_boundaries),
                slope: false,
            },
            PhaseMethod::Looped => Self {
                looped: true,
                slope: false,
            },
            PhaseMethod::Slope => Self {
                looped: false,
                slope: true,
            },
        }
    }
}

/// Measures them. An engine that fails now costs these rounds and nothing that was measured
/// before: that is a warning.
pub(super) fn run(session: &mut Session<'_>, plan: &Plan) -> Result<(), MeasureError> {
    let windows = windows(plan);
    if windows.is_empty() {
        return Ok(());
    }
    session
        .observer
        .stage("Measuring extra rounds to tell prefill from decode");
    session.shown.phase("other");
    let begun = Instant::now();
    let planned: f64 = windows.iter().map(|w| w.seconds).sum();
    for (index, window) in windows.iter().enumerate() {
        if session.cancel.is_cancelled() {
            return Ok(());
        }
        // Whole rounds of a long workload: both rests once are enough then.
        let late = begun.elapsed().as_secs_f64() > planned;
        if late && window.rest.is_some() && index >= RESTS.len() / 2 {
            continue;
        }
        let index = u32::try_from(index).unwrap_or(u32::MAX);
        match one(session, plan, window, index) {
            Err(MeasureError::Engine(error)) => {
                session.recorder.record(Record::Warning(Warning {
                    code: "phases.rounds_failed".into(),
                    message: format!("The engine failed in the extra rounds after the cycles: {error}"),
                    remedy: "The cycles are not affected. Set measurement.phase_method: windows to leave the rounds out".into(),
                }));
                return Ok(());
            }
            other => other?,
        }
    }
    Ok(())
}

/// A stretch of equal rounds.
struct RoundWindow {
    method: PhaseMethod,
    output_tokens: u32,
    seconds: f64,
    /// How long to rest after a batch, as a share of its time.
    rest: Option<f64>,
}

fn windows(plan: &Plan) -> Vec<RoundWindow> {
    let rule = &plan.measurement;
    let mut windows = Vec::new();
    if plan.rounds.looped {
        windows.extend(RESTS.map(|rest| RoundWindow {
            method: PhaseMethod::Looped,
            output_tokens: 1,
            seconds: rule.loop_s / RESTS.len() as f64,
            rest: Some(rest),
        }));
    }
    if plan.rounds.slope {
        let lengths = lengths(&plan.work);
        // Up and down again, so that a drift (the board warms up) is no slope.
        let both = lengths.iter().chain(lengths.iter().rev());
        windows.extend(both.map(|length| RoundWindow {
            method: PhaseMethod::Slope,
            output_tokens: *length,
            seconds: rule.loop_s / 2.0,
            rest: None,
        }));
    }
    windows
}

/// Quarters of the longest answer, at least 1, 2, 3 and 4 tokens.
fn lengths(work: &Work) -> Vec<u32> {
    let longest = work.requests.iter().map(|r| r.max_output_tokens).max();
    let longest = u64::from(longest.unwrap_or(1).max(LENGTHS));
    let quarter = |i: u32| u32::try_from(longest * u64::from(i) / u64::from(LENGTHS));
    (1..=LENGTHS).filter_map(|i| quarter(i).ok()).collect()
}

fn one(
    session: &mut Session<'_>,
    plan: &Plan,
    window: &RoundWindow,
    index: u32,
) -> Result<(), MeasureError> {
    let mut work = plan.work.clone();
    work.due_ns.clear();
    for request in &mut work.requests {
        request.max_output_tokens = window.output_tokens;
        request.min_output_tokens = window.output_tokens;
    }
    let batches = batches(&work, window, session.engine.capabilities());
    let mut tally = Tally::default();
    let mut round_ends_ns = Vec::new();
    let mut rest_ns = 0;
    session.probe.begin_window();
    let start_ns = Stamp::mono_ns();
    let end = Instant::now() + Duration::from_secs_f64(window.seconds);
    let mut outcome = Ok(());
    // Whole rounds only: a part of one is another mixture of prompts.
    while outcome.is_ok() && (round_ends_ns.is_empty() || Instant::now() < end) {
        for batch in &batches {
            let events = Events::of(batch, session.shown);
            let since = Stamp::mono_ns();
            outcome = session.engine.generate(batch, &mut &events, session.cancel);
            let now = Stamp::mono_ns();
            tally.take(events.drain(), now);
            if outcome.is_err() || session.cancel.is_cancelled() {
                break;
            }
            if let Some(share) = window.rest {
                let (least, most) = BATCH_S;
                let batch = (now.saturating_sub(since) as f64 / 1e9).clamp(least, most);
                pause(Duration::from_secs_f64(batch * share), session.cancel);
                rest_ns += Stamp::mono_ns().saturating_sub(now);
            }
        }
        if session.cancel.is_cancelled() {
            break;
        }
        let now = Stamp::mono_ns();
        if round_ends_ns.len() < MOST_ROUND_ENDS {
            round_ends_ns.push(now);
        }
    }
    let end_ns = Stamp::mono_ns();
    write(session, session.probe.end_window());
    if outcome.is_ok() && !session.cancel.is_cancelled() {
        let input: u64 = work.requests.iter().map(|r| r.tokens.len() as u64).sum();
        session
            .recorder
            .record(Record::RoundsFinished(RoundsFinished {
                method: window.method.as_str().into(),
                window: index,
                start_ns,
                end_ns,
                requests: tally.answered,
                failed: tally.failed,
                input_tokens: input * round_ends_ns.len() as u64,
                output_tokens: tally.output_tokens,
                round_ends_ns,
                prefill_ns: tally.phased.then_some(tally.prefill_ns),
                decode_ns: tally.phased.then_some(tally.decode_ns),
                rest_ns: window.rest.is_some().then_some(rest_ns),
            }));
    }
    session.recorder.commit()?;
    outcome.map_err(MeasureError::Engine)
}

/// What is asked of the engine at once: a batch, so that a rest can follow each; all of it
/// where the engine makes its batches itself.
fn batches(work: &Work, window: &RoundWindow, engine: Capabilities) -> Vec<Work> {
    let whole = window.rest.is_none() || !(engine.in_process || engine.phase_boundaries);
    if whole {
        return vec![work.clone()];
    }
    let part = |requests: &[crate::engine::Request]| Work {
        requests: requests.to_vec(),
        ..work.clone()
    };
    work.requests
        .chunks(work.batch_size.max(1))
        .map(part)
        .collect()
}

fn write(session: &Session<'_>, window: super::Window) {
    let samples = window.samples.into_iter().map(Record::Samples);
    for record in samples.chain(window.notes) {
        session.recorder.record(record);
    }
}

/// What the rounds' events come to.
#[derive(Default)]
struct Tally {
    answered: u64,
    failed: u64,
    output_tokens: u64,
    prefill_ns: u64,
    decode_ns: u64,
    /// The engine told of phases.
    phased: bool,
    phase: Option<(Phase, u64)>,
}

impl Tally {
    fn take(&mut self, events: Vec<Event>, now: u64) {
        for event in events {
            match event {
                Event::Phase { phase, at_ns } => {
                    self.phased = true;
                    self.end_phase(at_ns);
                    self.phase = phase.map(|phase| (phase, at_ns));
                }
                Event::Tokens { ids, .. } => {
                    self.output_tokens += match ids {
                        TokenIds::One(_) => 1,
                        TokenIds::Many(ids) => ids.len() as u64,
                        TokenIds::Count(count) => u64::from(count),
                    };
                }
                Event::Finished { .. } => self.answered += 1,
                Event::Failed { .. } => self.failed += 1,
                Event::Started { .. }
                | Event::Due { .. }
                | Event::Answer { .. }
                | Event::Told { .. } => {}
            }
        }
        self.end_phase(now);
    }

    fn end_phase(&mut self, at_ns: u64) {
        match self.phase.take() {
            Some((Phase::Prefill, since)) => self.prefill_ns += at_ns.saturating_sub(since),
            Some((Phase::Decode, since)) => self.decode_ns += at_ns.saturating_sub(since),
            Some((Phase::Other, _)) | None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Request, Sampling};

    fn work(longest: u32) -> Work {
        Work {
            requests: vec![Request {
                id: 0,
                tokens: std::sync::Arc::from([1, 2, 3]),
                text: None,
                max_output_tokens: longest,
                min_output_tokens: 0,
            }],
            batch_size: 1,
            sampling: Sampling::default(),
            due_ns: Vec::new(),
        }
    }

    fn source(how: &str) -> Source {
        let described = crate::analysis::testing::source(
            "gpu0",
            "gpu",
            how,
            &["sample.power"],
            &serde_json::json!({}),
        );
        serde_json::from_value(described).unwrap_or_else(|e| panic!("{e}"))
    }

    #[test]
    fn a_slope_has_four_lengths_also_of_short_answers() {
        assert_eq!(lengths(&work(128)), [32, 64, 96, 128]);
        assert_eq!(lengths(&work(1)), [1, 2, 3, 4]);
        assert_eq!(lengths(&work(7)), [1, 3, 5, 7]);
    }

    #[test]
    fn rounds_are_for_sensors_or_for_those_who_ask() {
        let here = Capabilities {
            in_process: true,
            ..Capabilities::default()
        };
        let needed = |method, how: &str, engine| {
            let rule = Measurement {
                phase_method: method,
                ..Measurement::default()
            };
            let rounds = Rounds::needed(&rule, &[source(how)], engine);
            (rounds.looped, rounds.slope)
        };
        assert_eq!(needed(PhaseMethod::Auto, "measured", here), (true, false));
        assert_eq!(needed(PhaseMethod::Auto, "modelled", here), (false, false));
        let server = Capabilities::default();
        assert_eq!(
            needed(PhaseMethod::Auto, "measured", server),
            (false, false)
        );
        assert_eq!(
            needed(PhaseMethod::Windows, "measured", here),
            (false, false)
        );
        assert_eq!(needed(PhaseMethod::Looped, "modelled", here), (true, false));
        assert_eq!(needed(PhaseMethod::Slope, "modelled", here), (false, true));
    }

    #[test]
    fn a_tally_counts_tokens_and_phases_over_rounds() {
        let mut tally = Tally::default();
        for round in [0, 1_000] {
            let at = |t: u64| round + t;
            tally.take(
                vec![
                    Event::Phase {
                        phase: Some(Phase::Prefill),
                        at_ns: at(10),
                    },
                    Event::Tokens {
                        request: 0,
                        ids: TokenIds::Many(vec![1, 2]),
                        at_ns: at(20),
                    },
                    Event::Phase {
                        phase: Some(Phase::Decode),
                        at_ns: at(30),
                    },
                    Event::Finished {
                        request: 0,
                        reason: lem_record::FinishReason::Length,
                        at_ns: at(45),
                    },
                    Event::Phase {
                        phase: None,
                        at_ns: at(50),
                    },
                ],
                at(60),
            );
        }
        assert!(tally.phased);
        assert_eq!((tally.prefill_ns, tally.decode_ns), (40, 40));
        assert_eq!((tally.answered, tally.output_tokens), (2, 4));
    }
}
