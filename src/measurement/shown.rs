//! What the board shows of a run while it goes on: phase, cycle, tokens, progress.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lem_record::{Attributes, Board, How, Live, Stamp};

use crate::engine::{Event, Phase, TokenIds};

const PHASES: [&str; 6] = ["warmup", "baseline", "prefill", "decode", "other", "ended"];

/// Writes single atomics, also on the engine's hot path: nobody is waited for.
#[derive(Debug)]
pub struct Shown {
    phases: [Arc<Live>; PHASES.len()],
    cycle: Arc<Live>,
    tokens: Arc<Live>,
    progress: Arc<Live>,
    planned: u64,
    answered: AtomicU64,
}

impl Shown {
    /// `planned` is the number of requests of all measured cycles.
    pub fn new(board: &Board, planned: u64) -> Self {
        let none = Attributes::new();
        let phase = |name: &str| {
            let attributes = Attributes::from([("lem.phase".to_owned(), name.to_owned())]);
            board.series("live.phase", &attributes, How::Measured)
        };
        Self {
            phases: PHASES.map(phase),
            cycle: board.series("live.cycle", &none, How::Measured),
            tokens: board.series("live.output_tokens", &none, How::Measured),
            progress: board.series("live.progress", &none, How::Measured),
            planned,
            answered: AtomicU64::new(0),
        }
    }

    /// What the run does now: one of `warmup`, `baseline`, `prefill`, `decode`, `other`, `ended`.
    pub fn phase(&self, now: &str) {
        let t_ns = Stamp::mono_ns();
        self.change_phase(now, t_ns);
    }

    fn change_phase(&self, now: &str, t_ns: u64) {
        for (name, live) in PHASES.iter().zip(&self.phases) {
            live.set(f64::from(u8::from(*name == now)), t_ns);
        }
    }

    pub fn cycle(&self, cycle: u32) {
        let t_ns = Stamp::mono_ns();
        self.cycle.set(f64::from(cycle), t_ns);
        self.change_phase("other", t_ns);
    }

    /// Of a measured cycle, or (`measured` false) of warm-up, which makes no progress.
    pub fn event(&self, event: &Event, measured: bool) {
        match event {
            Event::Tokens { ids, at_ns, .. } => {
                let count = match ids {
                    TokenIds::One(_) => 1.0,
                    TokenIds::Many(ids) => ids.len() as f64,
                    TokenIds::Count(count) => f64::from(*count),
                };
                self.tokens.add(count, *at_ns);
            }
            Event::Phase { phase, at_ns } if measured => {
                self.change_phase(phase.map_or("other", Phase::as_str), *at_ns);
            }
            Event::Finished { at_ns, .. } | Event::Failed { at_ns, .. } if measured => {
                let answered = self.answered.fetch_add(1, Ordering::Relaxed) + 1;
                let share = answered as f64 / self.planned.max(1) as f64;
                self.progress.set(share.min(1.0), *at_ns);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use lem_record::FinishReason;

    use super::*;

    #[test]
    fn events_become_phase_tokens_and_progress() {
        let board = Board::default();
        let shown = Shown::new(&board, 4);
        assert!(board.now().is_empty());
        shown.cycle(1);
        for event in [
            Event::Phase {
                phase: Some(Phase::Decode),
                at_ns: 5,
            },
            Event::Tokens {
                request: 0,
                ids: TokenIds::Count(3),
                at_ns: 6,
            },
            Event::Finished {
                request: 0,
                reason: FinishReason::Stop,
                at_ns: 7,
            },
        ] {
            shown.event(&event, true);
            shown.event(&event, false);
        }
        let now = board.now();
        let value = |metric: &str| now.iter().find(|p| p.metric == metric).map(|p| p.value);
        assert_eq!(value("live.output_tokens"), Some(6.0));
        assert_eq!(value("live.progress"), Some(0.25));
        assert_eq!(value("live.cycle"), Some(1.0));
        let on: Vec<_> = now
            .iter()
            .filter(|p| p.metric == "live.phase" && p.value == 1.0)
            .map(|p| p.attributes["lem.phase"].as_str())
            .collect();
        assert_eq!(on, ["decode"]);
    }
}
