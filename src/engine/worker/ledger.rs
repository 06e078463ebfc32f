//! What a worker says of a generation, held against what was asked and against our clock:
//! nothing is counted that cannot have happened.

use std::collections::HashMap;

use lem_record::{FinishReason, Stamp};
use serde_json::{Map, Value};

use super::protocol::{Can, Said};
use crate::engine::{Event, EventSink, Phase, TokenIds, Work};

/// Requests of which an engine tells its own times are remembered to this number.
const MOST_TOLD: usize = 100_000;

pub struct Ledger {
    requests: HashMap<u64, Request>,
    can: Can,
    /// No event can be older than the question, or than the event before it.
    last_ns: u64,
    phase: Option<Phase>,
    /// What the engine told of its requests.
    pub told: Vec<(u64, Map<String, Value>)>,
}

struct Request {
    min: u32,
    max: u32,
    tokens: u32,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    Started,
    Ended,
}

impl Ledger {
    pub fn new(work: &Work, can: Can, sent_ns: u64) -> Self {
        let requests = work.requests.iter().map(|request| {
            let asked = Request {
                min: request.min_output_tokens,
                max: request.max_output_tokens,
                tokens: 0,
                state: State::Waiting,
            };
            (request.id, asked)
        });
        Self {
            requests: requests.collect(),
            can,
            last_ns: sent_ns,
            phase: None,
            told: Vec::new(),
        }
    }

    /// Checks an event and passes it on; the error says what cannot be.
    pub fn take(
        &mut self,
        said: &Said,
        arrived_ns: u64,
        events: &mut dyn EventSink,
    ) -> Result<(), String> {
        let event = said.event.as_deref().unwrap_or_default();
        match event {
            "started" | "phase" | "tokens" | "finished" | "failed" => {}
            "told" => return self.told(said),
            // `busy`, and what a newer protocol may have: a sign of life.
            _ => return Ok(()),
        }
        let at_ns = self.time(event, said.at_ns, arrived_ns)?;
        let one = said.request.into_iter();
        let requests = one.chain(said.requests.iter().copied());
        match event {
            "started" => {
                for request in requests {
                    self.start(request)?;
                    events.event(Event::Started { request, at_ns });
                }
            }
            "phase" => {
                let phase = self.phase(said.phase.as_deref())?;
                if self.can.phase_boundaries {
                    events.event(Event::Phase { phase, at_ns });
                }
            }
            "tokens" => self.tokens(said, at_ns, events)?,
            "finished" => {
                let reason = reason(said.reason.as_deref())?;
                for request in requests {
                    self.finish(request, reason)?;
                    events.event(Event::Finished {
                        request,
                        reason,
                        at_ns,
                    });
                }
            }
            _ => {
                let error = match (said.fault.what.trim(), said.fault.remedy.trim()) {
                    ("", _) => "the worker gave no reason".to_owned(),
                    (what, "") => what.to_owned(),
                    (what, remedy) => format!("{what}. {remedy}"),
                };
                for request in requests {
                    self.open(request, "failed")?.state = State::Ended;
                    events.event(Event::Failed {
                        request,
                        error: error.clone(),
                        at_ns,
                    });
                }
            }
        }
        Ok(())
    }

    fn time(&mut self, event: &str, at_ns: Option<u64>, arrived_ns: u64) -> Result<u64, String> {
        let at_ns = at_ns.ok_or_else(|| format!("an event {event:?} has no time (at_ns)"))?;
        let at_ns = Stamp::of_clock(at_ns);
        let ms = |a: u64, b: u64| format!("{:.3}", (a - b) as f64 / 1e6);
        if at_ns > arrived_ns {
            return Err(format!(
                "an event {event:?} is said to have happened {} ms after it was told",
                ms(at_ns, arrived_ns)
            ));
        }
        if at_ns < self.last_ns {
            return Err(format!(
                "an event {event:?} is said to have happened {} ms before the one before it, or before the question",
                ms(self.last_ns, at_ns)
            ));
        }
        self.last_ns = at_ns;
        Ok(at_ns)
    }

    fn start(&mut self, id: u64) -> Result<(), String> {
        let request = self
            .requests
            .get_mut(&id)
            .ok_or_else(|| format!("request {id} is said to have started, but was never made"))?;
        if request.state != State::Waiting {
            return Err(format!("request {id} is said to have started twice"));
        }
        request.state = State::Started;
        Ok(())
    }

    fn open(&mut self, id: u64, what: &str) -> Result<&mut Request, String> {
        let request = self
            .requests
            .get_mut(&id)
            .ok_or_else(|| format!("request {id} is said to have {what}, but was never made"))?;
        match request.state {
            State::Ended => Err(format!(
                "request {id} is said to have {what}, but had ended already"
            )),
            // It may fail, or be cancelled, before it starts.
            State::Waiting if what.starts_with("output") => Err(format!(
                "request {id} is said to have {what}, but has not started"
            )),
            _ => Ok(request),
        }
    }

    fn phase(&mut self, phase: Option<&str>) -> Result<Option<Phase>, String> {
        self.phase = match phase {
            None => None,
            Some("prefill") => Some(Phase::Prefill),
            Some("decode") => Some(Phase::Decode),
            Some(other) => {
                return Err(format!(
                    "a phase is called {other:?}; there are \"prefill\", \"decode\" and null"
                ));
            }
        };
        Ok(self.phase)
    }

    fn tokens(
        &mut self,
        said: &Said,
        at_ns: u64,
        events: &mut dyn EventSink,
    ) -> Result<(), String> {
        if self.can.phase_boundaries && self.phase.is_none() {
            return Err("a token came in no phase, though the worker tells phases".into());
        }
        // Several tokens of one request in one event are a chunk: usually there is one.
        let mut rest = said.tokens.as_slice();
        while let Some(&(request, token)) = rest.first() {
            let same = rest.iter().take_while(|(id, _)| *id == request).count();
            let (chunk, others) = rest.split_at(same);
            self.count(request, chunk.len() as u64)?;
            let ids = match chunk {
                [_] => TokenIds::One(token),
                many => TokenIds::Many(many.iter().map(|(_, token)| *token).collect()),
            };
            events.event(Event::Tokens {
                request,
                ids,
                at_ns,
            });
            rest = others;
        }
        for &(request, count) in &said.counts {
            self.count(request, u64::from(count))?;
            events.event(Event::Tokens {
                request,
                ids: TokenIds::Count(count),
                at_ns,
            });
        }
        Ok(())
    }

    fn count(&mut self, id: u64, tokens: u64) -> Result<(), String> {
        let request = self.open(id, "output")?;
        let all = u64::from(request.tokens) + tokens;
        if all > u64::from(request.max) {
            return Err(format!(
                "request {id} is said to have {all} output tokens, but {} were asked for",
                request.max
            ));
        }
        request.tokens += u32::try_from(tokens).unwrap_or(u32::MAX);
        Ok(())
    }

    fn finish(&mut self, id: u64, reason: FinishReason) -> Result<(), String> {
        let request = self.open(id, "finished")?;
        let (tokens, min, max) = (request.tokens, request.min, request.max);
        if reason != FinishReason::Cancelled && request.state == State::Waiting {
            return Err(format!(
                "request {id} is said to have finished, but has not started"
            ));
        }
        match reason {
            FinishReason::Length if tokens != max => Err(format!(
                "request {id} is said to have reached its length with {tokens} output tokens, but {max} were asked for"
            )),
            FinishReason::Stop if tokens < min => Err(format!(
                "request {id} stopped after {tokens} output tokens, but at least {min} were asked for"
            )),
            _ => {
                request.state = State::Ended;
                Ok(())
            }
        }
    }

    fn told(&mut self, said: &Said) -> Result<(), String> {
        let id = said.request.ok_or("an event \"told\" names no request")?;
        if !self.requests.contains_key(&id) {
            return Err(format!("request {id} is told of, but was never made"));
        }
        if self.told.len() < MOST_TOLD {
            self.told.push((id, said.values.clone()));
        }
        Ok(())
    }

    /// Requests that have not ended, in order.
    pub fn unfinished(&self) -> Vec<u64> {
        let mut ids: Vec<u64> = self
            .requests
            .iter()
            .filter(|(_, request)| request.state != State::Ended)
            .map(|(id, _)| *id)
            .collect();
        ids.sort_unstable();
        ids
    }

    /// Ends what has not ended: with the error, or as cancelled.
    pub fn end(&mut self, error: Option<&str>, at_ns: u64, events: &mut dyn EventSink) {
        if self.can.phase_boundaries && self.phase.take().is_some() {
            events.event(Event::Phase { phase: None, at_ns });
        }
        for request in self.unfinished() {
            if let Some(asked) = self.requests.get_mut(&request) {
                asked.state = State::Ended;
            }
            events.event(match error {
                Some(error) => Event::Failed {
                    request,
                    error: error.to_owned(),
                    at_ns,
                },
                None => Event::Finished {
                    request,
                    reason: FinishReason::Cancelled,
                    at_ns,
                },
            });
        }
    }
}

fn reason(reason: Option<&str>) -> Result<FinishReason, String> {
    match reason {
        Some("stop") => Ok(FinishReason::Stop),
        Some("length") => Ok(FinishReason::Length),
        Some("cancelled") => Ok(FinishReason::Cancelled),
        other => Err(format!(
            "a request finished for the reason {other:?}; there are \"stop\", \"length\" and \"cancelled\""
        )),
    }
}
