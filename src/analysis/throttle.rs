//! The ledger of what held the clocks down within a measured window: power limit, temperature,
//! slowdown. From the driver's cumulative times where it keeps them, else from the bits that
//! were seen at each poll, which miss what is shorter than that.

use std::collections::BTreeMap;

use lem_record::How;

use super::data::{RunData, Window};
use super::integrate::EnergyCurve;
use super::samples::{ColumnSamples, SourceSamples};
use super::sheet::{Fold, Reading, Sheet};

const REASON: &str = "lem.throttle.reason";

/// One reason on one device.
#[derive(Clone, Debug, PartialEq)]
pub struct Throttled {
    /// The source's id.
    pub source: String,
    /// `power_cap`, `thermal`, `hw_slowdown`, …
    pub reason: String,
    pub seconds: f64,
    /// By the driver's cumulative time; else by polled bits.
    pub counted: bool,
}

/// Every reason that was watched in the window, also those of no duration. `Err` where none was.
pub fn of(data: &RunData, window: Window) -> Result<Vec<Throttled>, String> {
    let mut found: BTreeMap<(String, String), Throttled> = BTreeMap::new();
    for (id, samples) in &data.samples {
        for column in &samples.columns {
            let counted = match column.metric.as_str() {
                "throttle.time" => true,
                "sample.throttled" => false,
                _ => continue,
            };
            let Some(reason) = column.attributes.get(REASON) else {
                continue;
            };
            let Some(seconds) = seconds(samples, column, counted, window) else {
                continue;
            };
            let entry = Throttled {
                source: id.clone(),
                reason: reason.clone(),
                seconds,
                counted,
            };
            let key = (id.clone(), reason.clone());
            // What the driver counted is better than what was seen.
            if counted || !found.get(&key).is_some_and(|known| known.counted) {
                found.insert(key, entry);
            }
        }
    }
    if found.is_empty() {
        return Err("no device tells whether its clocks were held down".into());
    }
    Ok(found.into_values().collect())
}

fn seconds(
    samples: &SourceSamples,
    column: &ColumnSamples,
    counted: bool,
    window: Window,
) -> Option<f64> {
    let (t_ns, values) = samples.points_of(column);
    let curve = if counted {
        EnergyCurve::from_counter(t_ns, values)?
    } else {
        EnergyCurve::from_power(t_ns, values)?
    };
    curve.covers(window).ok()?;
    let seconds = curve.between(window);
    seconds
        .is_finite()
        .then_some(seconds.clamp(0.0, window.seconds()))
}

/// How long the clocks were held down at least: the longest of the reasons, because several may
/// hold at once.
pub fn longest(throttled: &[Throttled]) -> f64 {
    throttled.iter().map(|t| t.seconds).fold(0.0, f64::max)
}

/// Fills in a cycle's times by reason.
pub fn put(throttled: &Result<Vec<Throttled>, String>, sheet: &mut Sheet) {
    for one in throttled.iter().flatten() {
        let how = Reading::new(one.seconds, How::Measured).method(if one.counted {
            "the driver's cumulative time"
        } else {
            "polled bits"
        });
        sheet.summed("throttle.time", how, Fold::Sum);
        sheet.with(REASON, &one.reason);
        sheet.with("hw.id", &one.source);
    }
}
