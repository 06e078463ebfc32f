//! What a generation of the check is asked, and what was seen of it.

use lem_record::FinishReason;

use super::wrong;
use crate::engine::{EngineError, Event, EventSink, Phase, Request, Sampling, Work};

#[derive(Default)]
pub struct Seen {
    pub ids: Vec<u32>,
    pub tokens: Vec<(u64, u64)>,
    pub tokens_in_prefill: u64,
    pub phases: Vec<Option<Phase>>,
    pub ended: Vec<FinishReason>,
    pub failures: Vec<String>,
}

impl Seen {
    pub fn check(&self, requests: u64, length: u32) -> Result<(), EngineError> {
        if let Some(failure) = self.failures.first() {
            return Err(wrong(format!("a request failed: {failure}")));
        }
        for id in 0..requests {
            let of = |(request, count): &(u64, u64)| if *request == id { *count } else { 0 };
            let tokens: u64 = self.tokens.iter().map(of).sum();
            if tokens != u64::from(length) {
                return Err(wrong(format!(
                    "request {id} got {tokens} tokens, where min_output_tokens and max_output_tokens are {length}"
                )));
            }
        }
        Ok(())
    }
}

pub struct Watch<F> {
    pub seen: Seen,
    pub phase: Option<Phase>,
    pub tell: F,
}

impl<F: FnMut(u64)> EventSink for Watch<F> {
    fn event(&mut self, event: Event) {
        let seen = &mut self.seen;
        match event {
            Event::Phase { phase, .. } => {
                self.phase = phase;
                seen.phases.push(phase);
            }
            Event::Tokens { request, ids, .. } => {
                use crate::engine::TokenIds::{Count, Many, One};
                let count = match ids {
                    One(id) => {
                        seen.ids.push(id);
                        1
                    }
                    Many(ids) => {
                        seen.ids.extend(&ids);
                        ids.len() as u64
                    }
                    Count(count) => u64::from(count),
                };
                if self.phase == Some(Phase::Prefill) {
                    seen.tokens_in_prefill += count;
                }
                seen.tokens.push((request, count));
                (self.tell)(seen.tokens.iter().map(|(_, count)| count).sum());
            }
            Event::Finished { reason, .. } => seen.ended.push(reason),
            Event::Failed { error, .. } => seen.failures.push(error),
            // The others are of servers.
            _ => {}
        }
    }
}

/// Low ids, which every vocabulary has.
pub fn prompt() -> Vec<u32> {
    (40..56).collect()
}

pub fn work(requests: u64, length: u32, batch_size: usize) -> Work {
    let request = |id| Request {
        id,
        tokens: prompt().into(),
        text: None,
        max_output_tokens: length,
        min_output_tokens: length,
    };
    Work {
        requests: (0..requests).map(request).collect(),
        batch_size,
        sampling: Sampling::default(),
        due_ns: Vec::new(),
    }
}
