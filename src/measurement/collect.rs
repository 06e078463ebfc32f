//! From an engine's events to the spans of the log.

use std::collections::HashMap;

use lem_record::{Attributes, EngineTold, FinishReason, RequestTimeline, Span, SpanKind};

use crate::engine::{EngineError, Event, Phase, Request, TokenIds, Told};

/// Turns events into spans as they come, also when they come in several portions.
pub struct Collector {
    cycle: Option<u32>,
    true_token_times: bool,
    open: HashMap<u64, Open>,
    phase: Option<(Phase, u64)>,
    pub finished: u64,
    pub failed: u64,
    /// Why the first request that failed did; cancelled ones give no reason.
    first_failure: Option<String>,
    pub output_tokens: u64,
}

struct Open {
    input_tokens: u64,
    due_ns: Option<u64>,
    started_ns: Option<u64>,
    token_ns: Vec<u64>,
    chunk_tokens: Vec<u32>,
    tokens: u64,
    answer_ns: Option<u64>,
    told: Option<Box<Told>>,
}

impl Collector {
    pub fn new(cycle: Option<u32>, requests: &[Request], true_token_times: bool) -> Self {
        let open = requests.iter().map(|request| {
            let open = Open {
                input_tokens: request.tokens.len() as u64,
                due_ns: None,
                answer_ns: None,
                told: None,
                started_ns: None,
                token_ns: Vec::with_capacity(request.max_output_tokens.min(1 << 16) as usize),
                chunk_tokens: Vec::new(),
                tokens: 0,
            };
            (request.id, open)
        });
        Self {
            cycle,
            true_token_times,
            open: open.collect(),
            phase: None,
            finished: 0,
            failed: 0,
            first_failure: None,
            output_tokens: 0,
        }
    }

    /// Why nothing that was asked was answered, where that is so: no measurement of that work.
    pub fn refused(&self) -> Option<EngineError> {
        let why = self.first_failure.as_deref()?;
        (self.finished == 0).then(|| {
            EngineError::new(
                format!("Not one of {} requests was answered: {why}", self.failed),
                "Mend what it names and measure again; the run's folder has what there was",
            )
        })
    }

    /// Takes a portion of events; gives the spans that they complete.
    pub fn take(&mut self, events: impl IntoIterator<Item = Event>) -> Vec<Span> {
        let mut spans = Vec::new();
        for event in events {
            match event {
                Event::Started { request, at_ns } => {
                    // Sent again before anything came: the later time counts.
                    if let Some(open) = self.open.get_mut(&request)
                        && (open.started_ns.is_none() || open.token_ns.is_empty())
                    {
                        open.started_ns = Some(at_ns);
                    }
                }
                Event::Phase { phase, at_ns } => self.change_phase(phase, at_ns, &mut spans),
                Event::Tokens {
                    request,
                    ids,
                    at_ns,
                } => self.tokens(request, &ids, at_ns),
                Event::Due { request, at_ns } => {
                    if let Some(open) = self.open.get_mut(&request) {
                        open.due_ns.get_or_insert(at_ns);
                    }
                }
                Event::Answer { request, at_ns } => {
                    if let Some(open) = self.open.get_mut(&request) {
                        open.answer_ns.get_or_insert(at_ns);
                    }
                }
                Event::Told { request, told } => self.told(request, told),
                Event::Finished {
                    request,
                    reason,
                    at_ns,
                } => {
                    spans.extend(self.close(request, reason, None, at_ns));
                }
                Event::Failed {
                    request,
                    error,
                    at_ns,
                } => {
                    spans.extend(self.close(request, FinishReason::Error, Some(error), at_ns));
                }
            }
        }
        spans
    }

    /// Closes what is still open: a generation that was cut short ends here.
    pub fn end(&mut self, at_ns: u64) -> Vec<Span> {
        let mut spans = Vec::new();
        self.change_phase(None, at_ns, &mut spans);
        let mut ids: Vec<u64> = self.open.keys().copied().collect();
        ids.sort_unstable();
        for id in ids {
            if self
                .open
                .get(&id)
                .is_some_and(|open| open.started_ns.is_some())
            {
                spans.extend(self.close(id, FinishReason::Cancelled, None, at_ns));
            }
        }
        spans
    }

    fn tokens(&mut self, request: u64, ids: &TokenIds, at_ns: u64) {
        let Some(open) = self.open.get_mut(&request) else {
            return;
        };
        let count = match ids {
            TokenIds::One(_) => 1,
            TokenIds::Many(ids) => u32::try_from(ids.len()).unwrap_or(u32::MAX),
            TokenIds::Count(count) => *count,
        };
        if count == 0 {
            return;
        }
        open.token_ns.push(at_ns);
        if count > 1 || !open.chunk_tokens.is_empty() {
            open.chunk_tokens.resize(open.token_ns.len() - 1, 1);
            open.chunk_tokens.push(count);
        }
        open.tokens += u64::from(count);
        self.output_tokens += u64::from(count);
    }

    /// What the engine counts itself is right: chunks need not be tokens.
    fn told(&mut self, request: u64, told: Box<Told>) {
        let Some(open) = self.open.get_mut(&request) else {
            return;
        };
        if let Some(tokens) = told.output_tokens {
            self.output_tokens = (self.output_tokens + tokens).saturating_sub(open.tokens);
            open.tokens = tokens;
        }
        open.input_tokens = told.input_tokens.unwrap_or(open.input_tokens);
        open.told = Some(told);
    }

    fn change_phase(&mut self, phase: Option<Phase>, at_ns: u64, spans: &mut Vec<Span>) {
        if let Some((was, since)) = self.phase.take() {
            spans.push(Span {
                span: SpanKind::Phase,
                name: was.as_str().into(),
                cycle: self.cycle,
                start_ns: since,
                end_ns: at_ns.max(since),
                attributes: Attributes::new(),
                request: None,
            });
        }
        self.phase = phase.map(|phase| (phase, at_ns));
    }

    fn close(
        &mut self,
        id: u64,
        finish: FinishReason,
        error: Option<String>,
        at_ns: u64,
    ) -> Option<Span> {
        let open = self.open.remove(&id)?;
        match finish {
            FinishReason::Stop | FinishReason::Length => self.finished += 1,
            FinishReason::Cancelled | FinishReason::Error => {
                self.failed += 1;
                if self.first_failure.is_none() {
                    self.first_failure.clone_from(&error);
                }
            }
        }
        let start_ns = open.started_ns.unwrap_or(at_ns);
        let told = open.told.as_ref();
        let one_each = told.map_or(self.true_token_times, |told| told.one_token_each);
        let chunks: u64 = match open.chunk_tokens.as_slice() {
            [] => open.token_ns.len() as u64,
            chunks => chunks.iter().map(|n| u64::from(*n)).sum(),
        };
        Some(Span {
            span: SpanKind::Request,
            name: format!("request-{id}"),
            cycle: self.cycle,
            start_ns,
            end_ns: at_ns.max(start_ns),
            attributes: Attributes::new(),
            request: Some(RequestTimeline {
                id,
                input_tokens: open.input_tokens,
                output_tokens: open.tokens,
                scheduled_ns: open.due_ns,
                token_ns: open.token_ns,
                true_token_times: one_each && open.chunk_tokens.is_empty() && chunks == open.tokens,
                answer_ns: open.answer_ns,
                engine: told.map_or_else(EngineTold::default, |told| told.engine),
                // How the tokens lay in the chunks is not known where the sums differ.
                chunk_tokens: if chunks == open.tokens {
                    open.chunk_tokens
                } else {
                    Vec::new()
                },
                finish,
                error,
            }),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn request(id: u64, input: u32) -> Request {
        Request {
            id,
            tokens: (0..input).collect(),
            text: None,
            max_output_tokens: 8,
            min_output_tokens: 0,
        }
    }

    fn token(request: u64, at_ns: u64) -> Event {
        Event::Tokens {
            request,
            ids: TokenIds::One(5),
            at_ns,
        }
    }

    #[test]
    fn a_batch_becomes_phases_and_requests() {
        let mut collector = Collector::new(Some(2), &[request(1, 4), request(2, 6)], true);
        let spans = collector.take([
            Event::Started {
                request: 1,
                at_ns: 10,
            },
            Event::Started {
                request: 2,
                at_ns: 10,
            },
            Event::Phase {
                phase: Some(Phase::Prefill),
                at_ns: 11,
            },
            token(1, 20),
            token(2, 20),
            Event::Phase {
                phase: Some(Phase::Decode),
                at_ns: 21,
            },
            token(1, 30),
            Event::Finished {
                request: 1,
                reason: FinishReason::Stop,
                at_ns: 31,
            },
            token(2, 31),
            token(2, 40),
            Event::Finished {
                request: 2,
                reason: FinishReason::Length,
                at_ns: 41,
            },
            Event::Phase {
                phase: None,
                at_ns: 42,
            },
        ]);
        let told: Vec<_> = spans
            .iter()
            .map(|s| (s.name.as_str(), s.start_ns, s.end_ns))
            .collect();
        assert_eq!(
            told,
            [
                ("prefill", 11, 21),
                ("request-1", 10, 31),
                ("request-2", 10, 41),
                ("decode", 21, 42)
            ]
        );
        let second = spans[2].request.as_ref().unwrap();
        assert_eq!(second.token_ns, [20, 31, 40]);
        assert_eq!((second.input_tokens, second.output_tokens), (6, 3));
        assert!(second.true_token_times);
        assert!(spans.iter().all(|span| span.cycle == Some(2)));
        assert!(collector.end(50).is_empty());
    }

    #[test]
    fn chunks_are_told_from_tokens() {
        let mut collector = Collector::new(None, &[request(1, 1)], true);
        let chunk = |n, at_ns| Event::Tokens {
            request: 1,
            ids: TokenIds::Count(n),
            at_ns,
        };
        collector.take([
            Event::Started {
                request: 1,
                at_ns: 0,
            },
            chunk(1, 1),
            chunk(3, 2),
        ]);
        let spans = collector.take([
            chunk(0, 3),
            chunk(1, 4),
            Event::Finished {
                request: 1,
                reason: FinishReason::Stop,
                at_ns: 5,
            },
        ]);
        let timeline = spans[0].request.as_ref().unwrap();
        assert_eq!(timeline.chunk_tokens, [1, 3, 1]);
        assert_eq!(timeline.output_tokens, 5);
        assert!(
            !timeline.true_token_times,
            "a chunk's time is not that of each token"
        );
    }

    #[test]
    fn what_was_cut_short_is_cancelled_and_what_never_began_is_not_told() {
        let mut collector = Collector::new(Some(0), &[request(1, 1), request(2, 1)], true);
        collector.take([
            Event::Started {
                request: 1,
                at_ns: 1,
            },
            Event::Phase {
                phase: Some(Phase::Prefill),
                at_ns: 1,
            },
            token(1, 2),
        ]);
        let spans = collector.end(9);
        assert_eq!(spans.len(), 2);
        assert_eq!(
            spans[1].request.as_ref().unwrap().finish,
            FinishReason::Cancelled
        );
        assert_eq!((collector.finished, collector.failed), (0, 1));
    }

    #[test]
    fn an_engine_that_counts_for_itself_is_believed() {
        let count = |at_ns| Event::Tokens {
            request: 1,
            ids: TokenIds::Count(1),
            at_ns,
        };
        let told = |output, one_token_each| Event::Told {
            request: 1,
            told: Box::new(Told {
                input_tokens: Some(9),
                output_tokens: Some(output),
                one_token_each,
                engine: EngineTold {
                    queue_s: Some(0.5),
                    ..EngineTold::default()
                },
            }),
        };
        let finished = || Event::Finished {
            request: 1,
            reason: FinishReason::Stop,
            at_ns: 9,
        };
        let begin = || {
            let mut collector = Collector::new(None, &[request(1, 1)], true);
            let due = Event::Due {
                request: 1,
                at_ns: 1,
            };
            let started = Event::Started {
                request: 1,
                at_ns: 2,
            };
            collector.take([due, started, count(3), count(4)]);
            collector
        };

        let mut collector = begin();
        let spans = collector.take([told(2, true), finished()]);
        let timeline = spans[0].request.as_ref().unwrap();
        assert!(timeline.true_token_times, "two events, two tokens");
        assert_eq!(timeline.input_tokens, 9);
        assert_eq!(timeline.scheduled_ns, Some(1));
        assert_eq!(timeline.engine.queue_s, Some(0.5));

        let mut collector = begin();
        let spans = collector.take([told(5, true), finished()]);
        let timeline = spans[0].request.as_ref().unwrap();
        assert!(!timeline.true_token_times, "two events, five tokens");
        assert_eq!((timeline.output_tokens, collector.output_tokens), (5, 5));
        assert!(timeline.chunk_tokens.is_empty());
    }
}
