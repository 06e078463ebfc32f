//! What is true right now, for sinks that show a run while it goes on.
//!
//! Records reach sinks between cycles only. A scrape endpoint or a live stream that
//! the user asked for looks at the [`Board`] instead, whenever it likes: the sampler
//! and the engine's events write single atomics there, and wait for no reader.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crate::record::Attributes;
use crate::value::How;

/// Present values, by metric and attributes.
#[derive(Debug, Default)]
pub struct Board {
    series: RwLock<Vec<Arc<Live>>>,
}

/// One present value. Never set: not shown.
#[derive(Debug)]
pub struct Live {
    /// Catalogue id.
    pub metric: String,
    pub attributes: Attributes,
    pub how: How,
    bits: AtomicU64,
    t_ns: AtomicU64,
}

/// A value as the board showed it.
#[derive(Clone, Debug, PartialEq)]
pub struct Present {
    /// Catalogue id.
    pub metric: String,
    pub attributes: Attributes,
    pub how: How,
    pub value: f64,
    /// When it was true: CLOCK_MONOTONIC.
    pub t_ns: u64,
}

/// A NaN that no computation makes: nothing is shown.
const NOTHING: u64 = 0x7ff8_6c65_6d00_0000;

impl Board {
    /// The series of this metric and these attributes, made where it is missing. Not
    /// for hot paths: keep what it gives.
    pub fn series(&self, metric: &str, attributes: &Attributes, how: How) -> Arc<Live> {
        let mut all = self.series.write().unwrap_or_else(PoisonError::into_inner);
        let found = all
            .iter()
            .find(|live| live.metric == metric && live.attributes == *attributes);
        if let Some(live) = found {
            return Arc::clone(live);
        }
        let live = Arc::new(Live {
            metric: metric.to_owned(),
            attributes: attributes.clone(),
            how,
            bits: AtomicU64::new(NOTHING),
            t_ns: AtomicU64::new(0),
        });
        all.push(Arc::clone(&live));
        live
    }

    /// Everything that is shown at this moment, in the order in which it was first shown.
    pub fn now(&self) -> Vec<Present> {
        let all = self.series.read().unwrap_or_else(PoisonError::into_inner);
        all.iter().filter_map(|live| live.present()).collect()
    }
}

impl Live {
    pub fn set(&self, value: f64, t_ns: u64) {
        self.t_ns.store(t_ns, Ordering::Relaxed);
        self.bits.store(value.to_bits(), Ordering::Relaxed);
    }

    /// Adds to what is shown, from nothing as from 0. For one writer at a time.
    pub fn add(&self, more: f64, t_ns: u64) {
        let bits = self.bits.load(Ordering::Relaxed);
        let so_far = if bits == NOTHING {
            0.0
        } else {
            f64::from_bits(bits)
        };
        self.set(so_far + more, t_ns);
    }

    /// Shows nothing: the value is not known any more.
    pub fn clear(&self) {
        self.bits.store(NOTHING, Ordering::Relaxed);
    }

    fn present(&self) -> Option<Present> {
        let bits = self.bits.load(Ordering::Relaxed);
        (bits != NOTHING).then(|| Present {
            metric: self.metric.clone(),
            attributes: self.attributes.clone(),
            how: self.how,
            value: f64::from_bits(bits),
            t_ns: self.t_ns.load(Ordering::Relaxed),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_what_was_set_and_nothing_else() {
        let board = Board::default();
        let gpu = |id: &str| Attributes::from([("hw.id".to_owned(), id.to_owned())]);
        let first = board.series("sample.power", &gpu("gpu0"), How::Measured);
        let second = board.series("sample.power", &gpu("gpu1"), How::Measured);
        assert!(board.now().is_empty());
        first.set(250.5, 7);
        second.add(1.0, 8);
        second.add(2.0, 9);
        let told: Vec<_> = board.now().iter().map(|p| (p.value, p.t_ns)).collect();
        assert_eq!(told, [(250.5, 7), (3.0, 9)]);
        second.clear();
        assert_eq!(board.now().len(), 1);
        let again = board.series("sample.power", &gpu("gpu0"), How::Measured);
        assert!(Arc::ptr_eq(&first, &again));
    }
}
