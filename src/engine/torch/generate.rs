//! Answers requests in static batches.
//!
//! Prompts of like length go through together, without padding; then all sequences take
//! one token a step. Tokens are chosen on the device and stay there: the host hears of
//! them a step or more later, with the device's own times, and never makes it wait. It
//! waits for the device only where a phase ends.

use std::collections::VecDeque;

use lem_record::{FinishReason, Stamp};
use tch::Tensor;

use super::TorchEngine;
use super::cache::Cache;
use super::device::{Clock, Mark};
use super::failure::Doing;
use super::model::{Keep, Positions};
use super::places::Places;
use super::sampling::{Sampler, ids};
use super::shim::{self, Inference};
use crate::engine::admit::cancelled;
use crate::engine::{Cancel, EngineError, Event, EventSink, Phase, Request, TokenIds, Work};

/// Prompt tokens in one pass: bounds the memory of what a pass computes in between.
const PASS_TOKENS: usize = 16_384;
/// Steps that the host may be ahead of what it has heard, where the lengths are known.
/// Where a token may end an answer it is one: each step ahead is one too many then.
const AHEAD: usize = 3;

struct Sequence<'a> {
    request: &'a Request,
    /// Tokens that the device was given to compute.
    issued: u32,
    /// Tokens that the listener was told.
    told: u32,
    finished: bool,
}

/// Tokens on their way from the device.
struct Flight {
    mark: Mark,
    ids: Tensor,
    /// Of each of `ids`.
    sequences: Vec<usize>,
}

pub(super) fn generate(
    engine: &mut TorchEngine,
    work: &Work,
    events: &mut dyn EventSink,
    cancel: &Cancel,
) -> Result<(), EngineError> {
    if !work.due_ns.is_empty() {
        return Err(EngineError::new(
            "the torch engine answers closed batches, not a schedule of arrivals",
            "Set traffic.mode to closed, or use a server as the backend",
        ));
    }
    if work.batch_size == 0 {
        return Err(EngineError::new(
            "the batch size is 0",
            "Set batching.batch_size to 1 or more",
        ));
    }
    let _inference = Inference::begin()?;
    for requests in work.requests.chunks(work.batch_size) {
        let mut taken = Vec::with_capacity(requests.len());
        for request in requests {
            match engine.model.shape.limits().answerable(request) {
                Ok(()) => taken.push(request),
                Err(error) => events.event(Event::Failed {
                    request: request.id,
                    error,
                    at_ns: Stamp::mono_ns(),
                }),
            }
        }
        if taken.is_empty() {
            continue;
        }
        if cancel.is_cancelled() {
            for request in taken {
                events.event(cancelled(request));
            }
            continue;
        }
        // Like lengths together: they go through in one pass.
        taken.sort_by_key(|request| request.tokens.len());
        let mut batch = Batch::new(engine, work, &taken, events)?;
        let ended = batch.run(cancel);
        batch.events.event(Event::Phase {
            phase: None,
            at_ns: Stamp::mono_ns(),
        });
        ended?;
        batch.give_back();
    }
    Ok(())
}

struct Batch<'a> {
    engine: &'a mut TorchEngine,
    events: &'a mut dyn EventSink,
    sequences: Vec<Sequence<'a>>,
    /// The sequence of each row of the cache.
    rows: Vec<usize>,
    cache: Cache,
    sampler: Sampler,
    ends: Vec<u32>,
    clock: Clock,
    /// The last token of each row, on the device.
    last: Option<Tensor>,
    /// Where the rows' places differ, they lie on the device.
    places: Option<Places>,
    /// No graph has run in this batch: it must be told where the rows stand.
    graphs_begin: bool,
    /// Pinned, steps × rows: where tokens arrive from a GPU.
    arrivals: Option<Tensor>,
    steps: usize,
    flights: VecDeque<Flight>,
}

impl<'a> Batch<'a> {
    fn new(
        engine: &'a mut TorchEngine,
        work: &Work,
        requests: &[&'a Request],
        events: &'a mut dyn EventSink,
    ) -> Result<Self, EngineError> {
        let device = engine.place.device;
        let positions = |r: &&Request| r.tokens.len() + r.max_output_tokens as usize;
        let needed = requests.iter().map(positions).max().unwrap_or(1) + AHEAD;
        engine.reserve_positions(needed)?;
        let cache = engine.take_cache(requests.len(), needed)?;
        let ends = engine
            .text
            .as_ref()
            .map_or_else(Vec::new, |text| text.end_of_text.clone());
        let vocabulary = engine.model.shape.vocabulary;
        let sampler = Sampler::new(&work.sampling, requests, vocabulary, &ends, device)?;
        let arrivals = if engine.place.is_cuda() {
            let most = requests.iter().map(|r| r.max_output_tokens).max();
            let size = [
                i64::from(most.unwrap_or(1)) + AHEAD as i64,
                requests.len() as i64,
            ];
            let mut room = Tensor::f_zeros(size, (tch::Kind::Int64, tch::Device::Cpu))
                .doing("making room for the tokens")?;
            shim::pin(&mut room)?;
            Some(room)
        } else {
            None
        };
        engine.place.synchronize()?;
        let clock = Clock::start(engine.place)?;
        Ok(Self {
            sequences: requests
                .iter()
                .map(|request| Sequence {
                    request,
                    issued: 0,
                    told: 0,
                    finished: false,
                })
                .collect(),
            rows: (0..requests.len()).collect(),
            engine,
            events,
            cache,
            sampler,
            ends,
            clock,
            last: None,
            places: None,
            graphs_begin: true,
            arrivals,
            steps: 0,
            flights: VecDeque::new(),
        })
    }

    fn run(&mut self, cancel: &Cancel) -> Result<(), EngineError> {
        self.phase(Phase::Prefill);
        for sequence in &self.sequences {
            self.events.event(Event::Started {
                request: sequence.request.id,
                at_ns: Stamp::mono_ns(),
            });
        }
        let through = self.prefill(cancel)?;
        self.engine.place.synchronize()?;
        self.settle(0)?;
        if through && self.sequences.iter().any(|s| !s.finished) {
            self.phase(Phase::Decode);
            self.decode(cancel)?;
            self.engine.place.synchronize()?;
            self.settle(0)?;
        }
        for sequence in self.sequences.iter_mut().filter(|s| !s.finished) {
            sequence.finished = true;
            self.events.event(cancelled(sequence.request));
        }
        Ok(())
    }

    /// All prompts; false where it was cancelled.
    fn prefill(&mut self, cancel: &Cancel) -> Result<bool, EngineError> {
        let mut first = 0;
        let mut chosen = Vec::new();
        while first < self.rows.len() {
            if cancel.is_cancelled() {
                return Ok(false);
            }
            let length = self.sequences[first].request.tokens.len();
            let alike = self.sequences[first..]
                .iter()
                .take_while(|s| s.request.tokens.len() == length)
                .count();
            let count = alike.min((PASS_TOKENS / length).max(1));
            let tokens: Vec<u32> = self.sequences[first..first + count]
                .iter()
                .flat_map(|s| s.request.tokens.iter().copied())
                .collect();
            let device = self.engine.place.device;
            let tokens = ids(&tokens)
                .and_then(|t| t.f_to_device(device))
                .and_then(|t| t.f_view([count as i64, length as i64]))
                .doing("sending the prompts")?;
            let model = &self.engine.model;
            let keep = Keep::Prompt(Some((&mut self.cache, first)));
            let hidden = model.pass(&tokens, keep)?;
            let hidden = hidden
                .f_view([count as i64, length as i64, -1])
                .and_then(|h| h.f_select(1, length as i64 - 1))
                .doing("taking the last tokens")?;
            let logits = model.logits(&hidden)?;
            chosen.push(self.choose(&logits, first, count)?);
            first += count;
        }
        self.last = Some(Tensor::f_cat(&chosen, 0).doing("joining the first tokens")?);
        Ok(true)
    }

    fn decode(&mut self, cancel: &Cancel) -> Result<(), EngineError> {
        let may_end = !self.ends.is_empty()
            && self
                .sequences
                .iter()
                .any(|s| s.request.min_output_tokens < s.request.max_output_tokens);
        let ahead = if may_end { 1 } else { AHEAD };
        loop {
            self.drop_finished()?;
            if self.rows.is_empty() || cancel.is_cancelled() {
                return Ok(());
            }
            let logits = self.step()?;
            self.last = Some(self.choose(&logits, 0, self.rows.len())?);
            self.settle(ahead)?;
        }
    }

    /// Logits of all rows after their last tokens.
    fn step(&mut self) -> Result<Tensor, EngineError> {
        let Some(last) = &self.last else {
            return Err(super::failure::failed("finding the last tokens", ""));
        };
        let positions: Vec<usize> = self
            .rows
            .iter()
            .map(|&i| self.sequences[i].place())
            .collect();
        let furthest = positions.iter().copied().max().unwrap_or(0);
        if let Some(logits) =
            self.engine
                .graph_step(&mut self.cache, last, &positions, self.graphs_begin)?
        {
            self.graphs_begin = false;
            return Ok(logits);
        }
        let same = positions.iter().all(|&p| p == furthest);
        let place = if same {
            self.places = None;
            Positions::Same(furthest as i64)
        } else {
            let places = match self.places.take() {
                Some(places) => places,
                None => Places::new(&positions, self.engine.place.device)?,
            };
            let length = (furthest + 1)
                .next_multiple_of(64)
                .min(self.cache.positions) as i64;
            let each = Positions::Each {
                at: places.at.shallow_clone(),
                rows: places.rows.shallow_clone(),
                length,
                mask: places.mask(length, self.engine.model.kind)?,
            };
            self.places = Some(places);
            each
        };
        let model = &self.engine.model;
        let tokens = last.f_view([-1, 1]).doing("passing the tokens on")?;
        let hidden = model.pass(&tokens, Keep::Next(&mut self.cache, &place))?;
        if let Some(places) = &mut self.places {
            places.advance()?;
        }
        model.logits(&hidden)
    }

    /// Chooses the next token of rows from their logits, and sends it on its way.
    fn choose(
        &mut self,
        logits: &Tensor,
        first: usize,
        count: usize,
    ) -> Result<Tensor, EngineError> {
        let sequences: Vec<usize> = self.rows[first..first + count].to_vec();
        let short: Vec<bool> = sequences
            .iter()
            .map(|&i| self.sequences[i].issued < self.sequences[i].request.min_output_tokens)
            .collect();
        let draw = sequences
            .first()
            .map_or(0, |&i| self.sequences[i].issued as usize);
        let chosen = self.sampler.next(logits, first, draw, &short)?;
        let ids = match &self.arrivals {
            None => chosen.shallow_clone(),
            Some(room) => {
                let mut place = room
                    .f_select(0, self.steps as i64)
                    .and_then(|row| row.f_narrow(0, first as i64, count as i64))
                    .doing("passing the tokens on")?;
                shim::copy_async(&mut place, &chosen)?;
                place
            }
        };
        if first + count == self.rows.len() {
            self.steps += 1;
        }
        for &i in &sequences {
            self.sequences[i].issued += 1;
        }
        self.flights.push_back(Flight {
            mark: self.clock.mark()?,
            ids,
            sequences,
        });
        Ok(chosen)
    }

    /// Hears of tokens until no more than `ahead` steps are still on their way.
    fn settle(&mut self, ahead: usize) -> Result<(), EngineError> {
        while self.flights.len() > ahead {
            let Some(flight) = self.flights.pop_front() else {
                break;
            };
            let at_ns = self.clock.reached(&flight.mark)?;
            let tokens = Vec::<i64>::try_from(&flight.ids).doing("reading the tokens")?;
            for (index, token) in flight.sequences.into_iter().zip(tokens) {
                self.tell(index, u32::try_from(token).unwrap_or(0), at_ns);
            }
        }
        Ok(())
    }

    fn tell(&mut self, index: usize, token: u32, at_ns: u64) {
        let sequence = &mut self.sequences[index];
        // Computed before it was known that the answer had ended.
        if sequence.finished {
            return;
        }
        let request = sequence.request;
        sequence.told += 1;
        self.events.event(Event::Tokens {
            request: request.id,
            ids: TokenIds::One(token),
            at_ns,
        });
        let reason = if self.ends.binary_search(&token).is_ok() {
            FinishReason::Stop
        } else if sequence.told >= request.max_output_tokens {
            FinishReason::Length
        } else {
            return;
        };
        sequence.finished = true;
        self.events.event(Event::Finished {
            request: request.id,
            reason,
            at_ns,
        });
    }

    /// Rows whose answer has ended, or will with what is on its way, leave.
    fn drop_finished(&mut self) -> Result<(), EngineError> {
        let goes_on = |&row: &usize| {
            let sequence = &self.sequences[self.rows[row]];
            !sequence.finished && sequence.issued < sequence.request.max_output_tokens
        };
        let keep: Vec<usize> = (0..self.rows.len()).filter(goes_on).collect();
        if keep.len() == self.rows.len() {
            return Ok(());
        }
        self.rows = keep.iter().map(|&row| self.rows[row]).collect();
        self.places = None;
        if keep.is_empty() {
            return Ok(());
        }
        let wide: Vec<u32> = keep.iter().map(|&row| row as u32).collect();
        let device = self.engine.place.device;
        let rows = ids(&wide)
            .and_then(|t| t.f_to_device(device))
            .doing("letting finished sequences go")?;
        self.engine.forget_graphs()?;
        self.cache.keep(&rows)?;
        self.sampler.keep(&rows)?;
        if let Some(last) = &mut self.last {
            *last = last
                .f_index_select(0, &rows)
                .doing("letting finished sequences go")?;
        }
        Ok(())
    }

    fn phase(&mut self, phase: Phase) {
        self.events.event(Event::Phase {
            phase: Some(phase),
            at_ns: Stamp::mono_ns(),
        });
    }

    /// The next batch may use the cache.
    fn give_back(self) {
        self.engine.cache = Some(self.cache);
    }
}

impl Sequence<'_> {
    /// Position of the next token.
    fn place(&self) -> usize {
        (self.request.tokens.len() + self.issued as usize).saturating_sub(1)
    }
}
