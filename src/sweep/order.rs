//! In which order the points are visited.

use std::collections::BTreeMap;

use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::config::SweepOrder;

/// One measured cycle of one point. In JSON `[point, cycle]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "(u32, u32)", into = "(u32, u32)")]
pub struct Visit {
    pub point: u32,
    pub cycle: u32,
}

impl From<(u32, u32)> for Visit {
    fn from((point, cycle): (u32, u32)) -> Self {
        Self { point, cycle }
    }
}

impl From<Visit> for (u32, u32) {
    fn from(visit: Visit) -> Self {
        (visit.point, visit.cycle)
    }
}

/// What the order needs to know of a point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Visited {
    pub cycles: u32,
    /// Points of one key share a loaded model.
    pub load_key: String,
}

/// Every visit once. The same points and seed give the same order.
pub fn visits(points: &[Visited], order: SweepOrder, seed: u64) -> Vec<Visit> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let all: Vec<u32> = (0..u32::try_from(points.len()).unwrap_or(u32::MAX)).collect();
    let mut visits = Vec::new();
    match order {
        SweepOrder::Sequential => {
            for point in all {
                for cycle in 0..cycles(points, point) {
                    visits.push(Visit { point, cycle });
                }
            }
        }
        SweepOrder::Interleaved => blocks(points, &all, &mut visits, |_| {}),
        SweepOrder::Shuffled => {
            blocks(points, &all, &mut visits, |block| {
                block.shuffle(&mut random)
            });
        }
        SweepOrder::Blocks => {
            let mut groups = groups(points, &all);
            groups.shuffle(&mut random);
            for group in groups {
                blocks(points, &group, &mut visits, |block| {
                    block.shuffle(&mut random);
                });
            }
        }
    }
    visits
}

/// Points that share a load key, in the order in which the keys first occur.
fn groups(points: &[Visited], all: &[u32]) -> Vec<Vec<u32>> {
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    let mut groups: Vec<Vec<u32>> = Vec::new();
    for (index, point) in all.iter().zip(points) {
        let place = *places.entry(&point.load_key).or_insert(groups.len());
        match groups.get_mut(place) {
            Some(group) => group.push(*index),
            None => groups.push(vec![*index]),
        }
    }
    groups
}

/// A block a cycle: each point that has this cycle, once.
fn blocks(
    points: &[Visited],
    which: &[u32],
    visits: &mut Vec<Visit>,
    mut arrange: impl FnMut(&mut Vec<u32>),
) {
    let most = which.iter().map(|p| cycles(points, *p)).max().unwrap_or(0);
    for cycle in 0..most {
        let mut block: Vec<u32> = which
            .iter()
            .copied()
            .filter(|point| cycles(points, *point) > cycle)
            .collect();
        arrange(&mut block);
        visits.extend(block.into_iter().map(|point| Visit { point, cycle }));
    }
}

fn cycles(points: &[Visited], point: u32) -> u32 {
    points.get(point as usize).map_or(0, |point| point.cycles)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const ORDERS: [SweepOrder; 4] = [
        SweepOrder::Blocks,
        SweepOrder::Shuffled,
        SweepOrder::Interleaved,
        SweepOrder::Sequential,
    ];

    fn points() -> impl Strategy<Value = Vec<Visited>> {
        let point = (0_u32..5, 0_u8..3).prop_map(|(cycles, key)| Visited {
            cycles,
            load_key: key.to_string(),
        });
        prop::collection::vec(point, 0..12)
    }

    proptest! {
        #[test]
        fn every_visit_comes_once_and_cycles_in_order(points in points(), seed: u64) {
            let expected: BTreeSet<Visit> = points.iter().zip(0..)
                .flat_map(|(p, point)| (0..p.cycles).map(move |cycle| Visit { point, cycle }))
                .collect();
            for order in ORDERS {
                let all = visits(&points, order, seed);
                prop_assert_eq!(all.len(), expected.len());
                prop_assert_eq!(&all.iter().copied().collect::<BTreeSet<_>>(), &expected);
                for point in 0..points.len() as u32 {
                    let cycles: Vec<u32> = all.iter().filter(|v| v.point == point)
                        .map(|v| v.cycle).collect();
                    prop_assert!(cycles.is_sorted());
                }
                prop_assert_eq!(&all, &visits(&points, order, seed), "the same seed");
            }
        }

        #[test]
        fn blocks_load_each_model_once(points in points(), seed: u64) {
            let all = visits(&points, SweepOrder::Blocks, seed);
            let mut keys: Vec<&str> = all.iter()
                .map(|v| points[v.point as usize].load_key.as_str()).collect();
            keys.dedup();
            let distinct: BTreeSet<&str> = keys.iter().copied().collect();
            prop_assert_eq!(keys.len(), distinct.len());
        }
    }

    #[test]
    fn a_block_is_drawn_anew_each_cycle() {
        let points = vec![
            Visited {
                cycles: 20,
                load_key: String::new(),
            };
            6
        ];
        for order in [SweepOrder::Blocks, SweepOrder::Shuffled] {
            let all = visits(&points, order, 1);
            let blocks: BTreeSet<Vec<u32>> = all
                .chunks(6)
                .map(|block| block.iter().map(|v| v.point).collect())
                .collect();
            assert!(blocks.len() > 10, "{order:?}");
            assert_ne!(all, visits(&points, order, 2));
        }
    }
}
