//! The plan of a sweep: one file, from which any machine can measure any of its points.
//!
//! # Format of `plan.json` (format 1)
//!
//! One JSON object. `bases` holds what each configuration gives (its files, `--set`, flags and
//! `LEM_…` variables, laid over one another), without secrets and without defaults; `points`
//! what each point sets besides; `visits` every cycle of every point as `[point, cycle]` in the
//! order in which they are to be measured. Secrets are not in it: where one was left out, its
//! key is named in `left_out`, and every machine takes it from its own variables.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::order::{Visit, Visited, visits};
use super::vary::{MOST_POINTS, Settings, told};
use super::{SweepError, quantity, shown, stop};
use crate::config::{Resolved, SweepOrder};

/// More visits than these are no sweep that anybody waits for.
const MOST_VISITS: u64 = 1_000_000;

pub const PLAN_FILE: &str = "plan.json";
/// Below the sweep's folder: a folder a point.
pub const POINTS_FOLDER: &str = "points";

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Of this file: 1.
    pub format: u32,
    /// `lem` and its version.
    pub producer: String,
    pub sweep_id: String,
    /// What a person calls the sweep.
    pub name: String,
    pub order: SweepOrder,
    /// Of the order.
    pub seed: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_early: Option<String>,
    /// The quantity whose best value makes the best point.
    pub best: String,
    /// The parent folder of the sweep's.
    pub results_dir: String,
    pub bases: Vec<Base>,
    pub points: Vec<Point>,
    pub visits: Vec<Visit>,
}

/// A configuration, without secrets and defaults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Base {
    /// The file, as it was named.
    pub file: String,
    pub given: Map<String, Value>,
    /// Keys whose values hold a secret.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// From 0.
    pub index: u32,
    /// Of the point's run, and of its folder.
    pub run_id: String,
    /// Which of the bases.
    pub config: usize,
    /// What it sets besides.
    pub parameters: Map<String, Value>,
    pub cycles: u32,
    /// Of the resolved configuration.
    pub config_sha256: String,
    /// Points of one key share a loaded model.
    pub load_key: String,
}

impl Point {
    /// `batching.batch_size=4, max_output_tokens=64`
    pub fn told(&self) -> String {
        told(&self.settings())
    }

    pub fn settings(&self) -> Settings {
        let pairs = self.parameters.iter();
        pairs.map(|(k, v)| (k.clone(), v.clone())).collect()
    }
}

/// What the visits are made of, before they are in an order.
pub struct Making {
    pub sweep_id: String,
    pub name: String,
    pub order: SweepOrder,
    pub seed: u64,
    pub stop_early: Option<String>,
    pub best: String,
    pub results_dir: String,
    pub bases: Vec<Base>,
    pub points: Vec<Point>,
}

impl Plan {
    pub fn new(making: Making) -> Result<Self, SweepError> {
        let total: u64 = making.points.iter().map(|p| u64::from(p.cycles)).sum();
        if total > MOST_VISITS {
            return Err(SweepError::new(
                format!("the sweep has {total} cycles in all, more than {MOST_VISITS}"),
                "Take fewer points or fewer cycles (--cycles)",
            ));
        }
        let visited: Vec<Visited> = making
            .points
            .iter()
            .map(|point| Visited {
                cycles: point.cycles,
                load_key: point.load_key.clone(),
            })
            .collect();
        let visits = visits(&visited, making.order, making.seed);
        let plan = Self {
            format: 1,
            producer: format!("lem {}", env!("CARGO_PKG_VERSION")),
            sweep_id: making.sweep_id,
            name: making.name,
            order: making.order,
            seed: making.seed,
            stop_early: making.stop_early,
            best: making.best,
            results_dir: making.results_dir,
            bases: making.bases,
            points: making.points,
            visits,
        };
        plan.check()?;
        Ok(plan)
    }

    /// The run id of a sweep's point: the same on every machine, so that a second attempt
    /// continues the same run.
    pub fn run_id(sweep_id: &str, index: u32) -> String {
        format!("{sweep_id}-p{index:04}")
    }

    pub fn parse(text: &[u8], file: &str) -> Result<Self, SweepError> {
        let refused = |why: String| {
            SweepError::new(
                format!("{} is no plan of a sweep: {why}", shown(file)),
                "Make one with: lem sweep plan CONFIG --vary … --out plan.json",
            )
        };
        let plan: Self = serde_json::from_slice(text).map_err(|e| refused(e.to_string()))?;
        plan.check().map_err(|error| refused(error.what))?;
        Ok(plan)
    }

    /// Whatever was done to the file: every index leads somewhere, and no name out of the folder.
    fn check(&self) -> Result<(), SweepError> {
        let wrong = |what: String| SweepError::new(what, "Make the plan anew");
        if self.format != 1 {
            return Err(wrong(format!(
                "it has format {}, and this lem reads format 1",
                self.format
            )));
        }
        check_id(&self.sweep_id)?;
        if self.points.is_empty() || self.points.len() > MOST_POINTS {
            return Err(wrong(format!("it has {} points", self.points.len())));
        }
        for (index, point) in (0..).zip(&self.points) {
            if point.index != index || point.run_id != Self::run_id(&self.sweep_id, index) {
                return Err(wrong(format!("point {index} is not in its place")));
            }
            if point.config >= self.bases.len() {
                return Err(wrong(format!("point {index} has no configuration")));
            }
        }
        let mut expected: Vec<Visit> = Vec::new();
        for point in &self.points {
            if u64::from(point.cycles) > MOST_VISITS || expected.len() as u64 > MOST_VISITS {
                return Err(wrong("it has more cycles than anybody waits for".into()));
            }
            expected.extend((0..point.cycles).map(|cycle| Visit {
                point: point.index,
                cycle,
            }));
        }
        let mut there = self.visits.clone();
        there.sort_unstable();
        if there != expected {
            return Err(wrong(
                "its visits are not its points' cycles, each once".into(),
            ));
        }
        quantity::row(&self.best)?;
        if let Some(rule) = &self.stop_early {
            stop::Rule::parse(rule)?;
        }
        Ok(())
    }

    pub fn point(&self, index: u32) -> Result<&Point, SweepError> {
        self.points.get(index as usize).ok_or_else(|| {
            let last = self.points.len().saturating_sub(1);
            SweepError::new(
                format!("there is no point {index}"),
                format!("The plan has the points 0 to {last}: set the array's range to 0-{last}"),
            )
        })
    }

    /// The keys that differ between points, in the order in which they first occur.
    pub fn parameters(&self) -> Vec<&str> {
        let mut keys: Vec<&str> = Vec::new();
        for key in self.points.iter().flat_map(|point| point.parameters.keys()) {
            if !keys.contains(&key.as_str()) {
                keys.push(key);
            }
        }
        keys
    }

    /// How many models are to be loaded where the order is kept.
    pub fn loads(&self) -> usize {
        let keys = self.visits.iter().map(|visit| {
            let point = self.points.get(visit.point as usize);
            point.map(|point| point.load_key.as_str())
        });
        let mut keys: Vec<_> = keys.collect();
        keys.dedup();
        keys.len()
    }
}

/// It becomes a folder's name and part of run ids.
pub fn check_id(id: &str) -> Result<(), SweepError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let fits = !id.is_empty()
        && id.len() <= 100
        && id.starts_with(|c: char| c.is_ascii_alphanumeric())
        && id.chars().all(allowed);
    match fits {
        true => Ok(()),
        false => Err(SweepError::new(
            format!("the sweep's id {} cannot name a folder", shown(id)),
            "Use letters, digits, `.`, `_` and `-`, beginning with a letter or digit, at most 100",
        )),
    }
}

/// What a resolved configuration gives, to be written into a plan.
pub fn base(file: &str, resolved: &Resolved) -> Base {
    let mut base = Base {
        file: file.to_owned(),
        given: Map::new(),
        left_out: Vec::new(),
    };
    if let Value::Object(map) = &resolved.tree {
        base.given = given(map, "", resolved, &mut base.left_out);
    }
    // It is the sweep itself, whose points the plan lists one by one.
    base.given.remove("sweep");
    base
}

fn given(
    map: &Map<String, Value>,
    path: &str,
    resolved: &Resolved,
    left_out: &mut Vec<String>,
) -> Map<String, Value> {
    let mut kept = Map::new();
    for (key, value) in map {
        let path = match path {
            "" => key.clone(),
            path => format!("{path}.{key}"),
        };
        match value {
            Value::Object(inner) if !inner.is_empty() => {
                let inner = given(inner, &path, resolved, left_out);
                if !inner.is_empty() {
                    kept.insert(key.clone(), inner.into());
                }
            }
            _ if !is_given(resolved, &path) => {}
            value if value.to_string().contains("***") => left_out.push(path),
            value => {
                kept.insert(key.clone(), value.clone());
            }
        }
    }
    kept
}

/// By this configuration, and not by the default or by the surroundings of this machine.
fn is_given(resolved: &Resolved, path: &str) -> bool {
    let Some(origin) = resolved.origins.get(path) else {
        return false;
    };
    match origin.source.as_str() {
        "file" | "flag" => true,
        "environment" => origin
            .detail
            .as_deref()
            .is_some_and(|n| n.starts_with("LEM_")),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    pub fn plan(cycles: &[u32], order: SweepOrder, seed: u64) -> Plan {
        let point = |(index, cycles): (u32, &u32)| Point {
            index,
            run_id: Plan::run_id("s1", index),
            config: 0,
            parameters: Map::from_iter([("batching.batch_size".to_owned(), json!(index))]),
            cycles: *cycles,
            config_sha256: String::new(),
            load_key: (index % 2).to_string(),
        };
        Plan::new(Making {
            sweep_id: "s1".into(),
            name: "n".into(),
            order,
            seed,
            stop_early: None,
            best: quantity::ENERGY_PER_TOKEN.into(),
            results_dir: "lem-runs".into(),
            bases: vec![Base {
                file: "a.yaml".into(),
                given: Map::new(),
                left_out: Vec::new(),
            }],
            points: (0..).zip(cycles).map(point).collect(),
        })
        .unwrap()
    }

    proptest! {
        #[test]
        fn a_plan_reads_back_and_is_the_same_each_time(
            cycles in prop::collection::vec(0_u32..5, 1..20), seed: u64
        ) {
            let made = plan(&cycles, SweepOrder::Blocks, seed);
            let text = serde_json::to_vec(&made).unwrap();
            prop_assert_eq!(&Plan::parse(&text, "p").unwrap(), &made);
            let again = serde_json::to_vec(&plan(&cycles, SweepOrder::Blocks, seed)).unwrap();
            prop_assert_eq!(text, again);
        }
    }

    #[test]
    fn a_plan_that_was_tampered_with_is_refused() {
        let good = serde_json::to_value(plan(&[2, 2], SweepOrder::Shuffled, 1)).unwrap();
        for (pointer, value) in [
            ("/format", json!(2)),
            ("/sweep_id", json!("../../x")),
            ("/sweep_id", json!(".hidden")),
            ("/points", json!([])),
            ("/points/1/index", json!(7)),
            ("/points/1/run_id", json!("/etc/passwd")),
            ("/points/1/config", json!(9)),
            ("/points/1/cycles", json!(4_000_000_000_u32)),
            ("/points/1/cycles", json!(3)),
            ("/visits", json!([[0, 0], [0, 0], [1, 0], [1, 1]])),
            ("/visits", json!([[0, 0], [0, 1], [1, 0], [9, 1]])),
            ("/visits", json!([])),
            ("/best", json!("beauty")),
            ("/order", json!("random")),
        ] {
            let mut bad = good.clone();
            *bad.pointer_mut(pointer).unwrap() = value;
            let error = Plan::parse(bad.to_string().as_bytes(), "p.json").unwrap_err();
            assert!(error.what.contains("`p.json` is no plan"), "{error}");
        }
        assert!(Plan::parse(b"\0\xff", "p").is_err());
        assert!(Plan::parse(good.to_string().as_bytes(), "p").is_ok());
    }
}
