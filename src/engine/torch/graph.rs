//! A decoding step as one CUDA graph: one launch in place of hundreds.
//!
//! A graph has fixed addresses and sizes. So tokens and positions lie in tensors of their
//! own, the cache is static, and there is a graph for each step of the length that
//! attention reads; what lies behind a sequence's place is masked.

use std::collections::BTreeMap;

use tch::{Device, Kind, Tensor};

use super::cache::Cache;
use super::device::Place;
use super::failure::Doing;
use super::model::{Keep, Model, Positions};
use super::places::Places;
use super::shim::CudaGraph;
use crate::engine::EngineError;

/// Attention's length grows by so much from graph to graph.
const LENGTH_STEP: usize = 256;

/// Captured for one cache; to be thrown away with it.
#[derive(Debug)]
pub struct Graphs {
    tokens: Tensor,
    places: Places,
    /// By length: the graph, and where it leaves its logits.
    captured: BTreeMap<i64, (CudaGraph, Tensor)>,
}

impl Graphs {
    pub fn new(rows: usize, device: Device) -> Result<Self, EngineError> {
        Ok(Self {
            tokens: Tensor::f_zeros([rows as i64, 1], (Kind::Int64, device))
                .doing("making room for tokens")?,
            places: Places::new(&vec![0; rows], device)?,
            captured: BTreeMap::new(),
        })
    }

    /// Takes up a batch: the places of its rows.
    pub fn begin(&mut self, positions: &[usize]) -> Result<(), EngineError> {
        let places = Places::new(positions, self.places.at.device())?;
        self.places
            .at
            .f_copy_(&places.at)
            .doing("sending the positions")
    }

    /// Logits after `tokens`, of which the furthest stands at `furthest`.
    pub fn step(
        &mut self,
        model: &Model,
        cache: &mut Cache,
        place: &Place,
        tokens: &Tensor,
        furthest: usize,
    ) -> Result<Tensor, EngineError> {
        self.tokens
            .f_copy_(&tokens.f_view([-1, 1]).doing("passing the tokens on")?)
            .doing("passing the tokens on")?;
        let length = (furthest + 1)
            .next_multiple_of(LENGTH_STEP)
            .min(cache.positions) as i64;
        if !self.captured.contains_key(&length) {
            let captured = self.capture(model, cache, place, length)?;
            self.captured.insert(length, captured);
        }
        let Some((graph, logits)) = self.captured.get(&length) else {
            return Err(super::failure::failed("finding a CUDA graph", ""));
        };
        graph.replay()?;
        Ok(logits.shallow_clone())
    }

    fn capture(
        &mut self,
        model: &Model,
        cache: &mut Cache,
        place: &Place,
        length: i64,
    ) -> Result<(CudaGraph, Tensor), EngineError> {
        let cuda = place.cuda.ok_or_else(|| {
            EngineError::new(
                "CUDA graphs need a CUDA device",
                "Set torch.cuda_graphs to false",
            )
        })?;
        let Self { tokens, places, .. } = self;
        let mut work = |places: &mut Places, advance: bool| {
            let positions = Positions::Each {
                at: places.at.shallow_clone(),
                rows: places.rows.shallow_clone(),
                length,
                mask: places.mask(length, model.kind)?,
            };
            let hidden = model.pass(tokens, Keep::Next(cache, &positions))?;
            let logits = model.logits(&hidden)?;
            if advance {
                places.advance()?;
            }
            Ok(logits)
        };
        // Once before, so that libraries have loaded their kernels and made their room.
        // It writes what the step itself will write again.
        drop(work(places, false)?);
        place.synchronize()?;
        CudaGraph::capture(&cuda, place.index(), || work(places, true))
    }
}
