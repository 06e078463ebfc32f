//! Whether the extra rounds ran at the clocks of the cycles: sustained prefill can hit the
//! power limit, and then costs another energy.

use crate::analysis::data::{RoundsData, RunData, Window};
use crate::analysis::phases::PhaseWindows;
use crate::analysis::throttle;

/// Below this the clocks are the same.
const DIFFERENT: f64 = 0.01;

/// Says so where the mean clock of the rounds is another than that of the cycles' prefill, and
/// where something held the clocks down in the rounds.
pub fn note(data: &RunData, rounds: &[&RoundsData]) -> Option<String> {
    let told: Vec<String> = [clock(data, rounds), held(data, rounds)]
        .into_iter()
        .flatten()
        .collect();
    (!told.is_empty()).then(|| told.join("; "))
}

fn held(data: &RunData, rounds: &[&RoundsData]) -> Option<String> {
    let (mut held_s, mut all_s) = (0.0, 0.0);
    for one in rounds {
        let throttled = throttle::of(data, one.window).ok()?;
        held_s += throttle::longest(&throttled);
        all_s += one.busy_ns() as f64 / 1e9;
    }
    (held_s > 0.01 * all_s).then(|| {
        format!("something held the clocks down for {held_s:.1} of the rounds' {all_s:.1} s")
    })
}

fn clock(data: &RunData, rounds: &[&RoundsData]) -> Option<String> {
    // A resting board's clock is not that of its work.
    let unrested = rounds.iter().filter(|r| r.record.rest_ns.is_none());
    let loops: Vec<Window> = unrested.map(|r| r.window).collect();
    let phases = data
        .complete_cycles()
        .filter_map(|c| PhaseWindows::of(c).ok());
    let prefills: Vec<Window> = phases.flat_map(|p| p.prefill).collect();
    let (looped, prefill) = (mean(data, &loops)?, mean(data, &prefills)?);
    let relative = looped / prefill - 1.0;
    (relative.abs() > DIFFERENT).then(|| {
        format!(
            "the clock was {:.0} MHz in the rounds and {:.0} MHz in the cycles' prefill ({:+.1} %)",
            looped / 1e6,
            prefill / 1e6,
            relative * 100.0
        )
    })
}

/// Mean of the samples of every GPU's clock in the windows, hertz.
fn mean(data: &RunData, windows: &[Window]) -> Option<f64> {
    let (mut sum, mut n) = (0.0, 0u64);
    for samples in data.samples.values() {
        let is_sm = |c: &&crate::analysis::ColumnSamples| {
            c.metric == "sample.clock" && c.attributes.get("lem.clock").is_some_and(|c| c == "sm")
        };
        let Some(clock) = samples.columns.iter().find(is_sm) else {
            continue;
        };
        for window in windows {
            let rows = samples.rows(window.start_ns, window.end_ns);
            let values = clock.values.get(rows).unwrap_or_default();
            for hertz in values.iter().filter(|v| v.is_finite()) {
                sum += hertz;
                n += 1;
            }
        }
    }
    (n > 0 && sum > 0.0).then(|| sum / n as f64)
}
