//! Answers requests in static batches.

use lem_record::{FinishReason, Stamp};

use super::llama::{Cache, Segment};
use super::sampling::{Sampler, Scratch as SamplingScratch};
use super::{CandleEngine, failed};
use crate::engine::admit::cancelled;
use crate::engine::{Cancel, EngineError, Event, EventSink, Phase, Request, TokenIds, Work};

/// Prompt tokens in one step: enough that every weight is well used, few enough that the
/// memory of a step stays small and that a cancellation is soon seen.
const PREFILL_ROWS: usize = 256;
/// Rows of logits at a time, which bounds their memory.
const LOGIT_ROWS: usize = 64;

struct Sequence<'a> {
    request: &'a Request,
    sampler: Sampler,
    /// Output tokens so far.
    outputs: u32,
    /// The last one: input of the next step.
    last: u32,
}

pub(super) fn generate(
    engine: &mut CandleEngine,
    work: &Work,
    events: &mut dyn EventSink,
    cancel: &Cancel,
) -> Result<(), EngineError> {
    if !work.due_ns.is_empty() {
        return Err(EngineError::new(
            "the embedded engine answers closed batches, not a schedule of arrivals",
            "Set traffic.mode to closed, or use a server as the backend",
        ));
    }
    if work.batch_size == 0 {
        return Err(EngineError::new(
            "the batch size is 0",
            "Set batching.batch_size to 1 or more",
        ));
    }
    for requests in work.requests.chunks(work.batch_size) {
        Batch::new(engine, work, requests, events).run(cancel)?;
    }
    Ok(())
}

struct Batch<'a> {
    engine: &'a mut CandleEngine,
    events: &'a mut dyn EventSink,
    sequences: Vec<Sequence<'a>>,
    /// One for each of `sequences`.
    caches: Vec<Cache>,
    sampling: SamplingScratch,
}

impl<'a> Batch<'a> {
    /// Takes up the requests that can be answered; the others fail here.
    fn new(
        engine: &'a mut CandleEngine,
        work: &Work,
        requests: &'a [Request],
        events: &'a mut dyn EventSink,
    ) -> Self {
        let mut sequences = Vec::with_capacity(requests.len());
        let mut caches = Vec::with_capacity(requests.len());
        for request in requests {
            let positions = request.tokens.len() + request.max_output_tokens as usize;
            let cache = engine
                .model
                .shape
                .limits()
                .answerable(request)
                .and_then(|()| Cache::new(&engine.model.shape, positions));
            match cache {
                Ok(cache) => {
                    caches.push(cache);
                    sequences.push(Sequence {
                        request,
                        sampler: Sampler::new(&work.sampling, request),
                        outputs: 0,
                        last: 0,
                    });
                }
                Err(error) => events.event(Event::Failed {
                    request: request.id,
                    error,
                    at_ns: Stamp::mono_ns(),
                }),
            }
        }
        Self {
            engine,
            events,
            sequences,
            caches,
            sampling: SamplingScratch::default(),
        }
    }

    fn run(mut self, cancel: &Cancel) -> Result<(), EngineError> {
        if cancel.is_cancelled() || self.sequences.is_empty() {
            self.cancel();
            return Ok(());
        }
        self.phase(Some(Phase::Prefill));
        let ended = self.phases(cancel);
        // Also after an error: what comes next is in no phase.
        self.phase(None);
        ended
    }

    fn phases(&mut self, cancel: &Cancel) -> Result<(), EngineError> {
        for sequence in &self.sequences {
            self.events.event(Event::Started {
                request: sequence.request.id,
                at_ns: Stamp::mono_ns(),
            });
        }
        self.prefill(cancel)?;
        if !self.sequences.is_empty() {
            self.phase(Some(Phase::Decode));
        }
        while !self.sequences.is_empty() {
            if cancel.is_cancelled() {
                self.cancel();
                break;
            }
            self.decode()?;
        }
        Ok(())
    }

    /// Runs all prompts, in order, and takes each sequence's first token as soon as its
    /// prompt is through.
    fn prefill(&mut self, cancel: &Cancel) -> Result<(), EngineError> {
        let mut tokens = Vec::with_capacity(PREFILL_ROWS);
        let mut segments: Vec<Segment> = Vec::new();
        let mut finished = vec![false; self.sequences.len()];
        let (mut sequence, mut position) = (0, 0);
        while sequence < self.sequences.len() {
            if cancel.is_cancelled() {
                for (sequence, _) in self.sequences.iter().zip(&finished).filter(|(_, f)| !**f) {
                    self.events.event(cancelled(sequence.request));
                }
                self.sequences.clear();
                self.caches.clear();
                return Ok(());
            }
            tokens.clear();
            segments.clear();
            // Rows whose next token is the first of an answer, with their sequence.
            let mut through = Vec::new();
            while tokens.len() < PREFILL_ROWS && sequence < self.sequences.len() {
                let prompt = &self.sequences[sequence].request.tokens;
                let length = (PREFILL_ROWS - tokens.len()).min(prompt.len() - position);
                tokens.extend_from_slice(&prompt[position..position + length]);
                segments.push(Segment {
                    cache: sequence,
                    position,
                    length,
                });
                position += length;
                if position == prompt.len() {
                    through.push((tokens.len() - 1, sequence));
                    sequence += 1;
                    position = 0;
                }
            }
            self.step(&tokens, &segments)?;
            self.sample(&through, &mut finished)?;
        }
        self.drop_finished(&finished);
        Ok(())
    }

    /// One token more of every sequence.
    fn decode(&mut self) -> Result<(), EngineError> {
        let tokens: Vec<u32> = self.sequences.iter().map(|s| s.last).collect();
        let segments: Vec<Segment> = self
            .sequences
            .iter()
            .enumerate()
            .map(|(cache, s)| Segment {
                cache,
                position: s.request.tokens.len() + s.outputs as usize - 1,
                length: 1,
            })
            .collect();
        self.step(&tokens, &segments)?;
        let rows: Vec<(usize, usize)> = (0..self.sequences.len()).map(|i| (i, i)).collect();
        let mut finished = vec![false; self.sequences.len()];
        self.sample(&rows, &mut finished)?;
        self.drop_finished(&finished);
        Ok(())
    }

    fn step(&mut self, tokens: &[u32], segments: &[Segment]) -> Result<(), EngineError> {
        let CandleEngine {
            model,
            pool,
            scratch,
            ..
        } = &mut *self.engine;
        let caches = &mut self.caches;
        pool.install(|| model.step(tokens, segments, caches, scratch))
            .map_err(failed)
    }

    /// Draws the next token of each `(row, sequence)`.
    fn sample(
        &mut self,
        rows: &[(usize, usize)],
        finished: &mut [bool],
    ) -> Result<(), EngineError> {
        for rows in rows.chunks(LOGIT_ROWS) {
            let CandleEngine {
                model,
                pool,
                scratch,
                text,
                ..
            } = &mut *self.engine;
            let of_step: Vec<usize> = rows.iter().map(|(row, _)| *row).collect();
            let logits = pool
                .install(|| model.logits(&of_step, scratch))
                .map_err(failed)?;
            let ends = text.as_ref().map_or(&[][..], |t| &t.end_of_text);
            let vocabulary = model.shape.vocabulary;
            for ((_, index), logits) in rows.iter().zip(logits.chunks_mut(vocabulary)) {
                let sequence = &mut self.sequences[*index];
                let request = sequence.request;
                if sequence.outputs < request.min_output_tokens {
                    for &end in ends {
                        if let Some(logit) = logits.get_mut(end as usize) {
                            *logit = f32::NEG_INFINITY;
                        }
                    }
                }
                let token = sequence.sampler.draw(logits, &mut self.sampling);
                let at_ns = Stamp::mono_ns();
                sequence.last = token;
                sequence.outputs += 1;
                self.events.event(Event::Tokens {
                    request: request.id,
                    ids: TokenIds::One(token),
                    at_ns,
                });
                let reason = if ends.binary_search(&token).is_ok() {
                    Some(FinishReason::Stop)
                } else if sequence.outputs >= request.max_output_tokens {
                    Some(FinishReason::Length)
                } else {
                    None
                };
                if let Some(reason) = reason {
                    finished[*index] = true;
                    self.events.event(Event::Finished {
                        request: request.id,
                        reason,
                        at_ns,
                    });
                }
            }
        }
        Ok(())
    }

    fn drop_finished(&mut self, finished: &[bool]) {
        if finished.contains(&true) {
            let mut keep = finished.iter().map(|f| !f);
            self.sequences.retain(|_| keep.next().unwrap_or(true));
            let mut keep = finished.iter().map(|f| !f);
            self.caches.retain(|_| keep.next().unwrap_or(true));
        }
    }

    fn cancel(&mut self) {
        for sequence in self.sequences.drain(..) {
            self.events.event(cancelled(sequence.request));
        }
        self.caches.clear();
    }

    fn phase(&mut self, phase: Option<Phase>) {
        self.events.event(Event::Phase {
            phase,
            at_ns: Stamp::mono_ns(),
        });
    }
}
