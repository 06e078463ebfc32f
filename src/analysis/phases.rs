//! Where in a cycle prefill and decode were; what is neither is «other».

use super::data::{CycleData, Window};

/// A phase must last this many sensor updates to be told from its neighbours.
pub const UPDATES_TO_RESOLVE: f64 = 3.0;

/// The windows of a cycle's phases: in order, disjoint, also of each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PhaseWindows {
    pub prefill: Vec<Window>,
    pub decode: Vec<Window>,
    /// What is left of the cycle, nanoseconds.
    pub other_ns: u64,
}

impl PhaseWindows {
    /// Prefill is the union of its spans, decode the union of its spans without prefill,
    /// other the rest: the three sum to the cycle exactly.
    pub fn of(cycle: &CycleData) -> Result<Self, String> {
        if !cycle.complete {
            return Err("the cycle was cut off".into());
        }
        if cycle.phases.is_empty() {
            return Err("the engine does not tell where prefill and decode begin and end".into());
        }
        let named = |name: &str| {
            let spans = cycle.phases.iter().filter(|(n, _)| n == name);
            union(
                spans
                    .filter_map(|(_, window)| window.clip(&cycle.window))
                    .collect(),
            )
        };
        let prefill = named("prefill");
        let decode = without(named("decode"), &prefill);
        let other_ns = cycle
            .window
            .len_ns()
            .saturating_sub(total_ns(&prefill))
            .saturating_sub(total_ns(&decode));
        Ok(Self {
            prefill,
            decode,
            other_ns,
        })
    }

    /// What of the cycle is neither.
    pub fn rest_of(&self, cycle: Window) -> Vec<Window> {
        without(without(vec![cycle], &self.prefill), &self.decode)
    }
}

pub fn total_ns(windows: &[Window]) -> u64 {
    windows.iter().map(Window::len_ns).sum()
}

pub fn seconds(windows: &[Window]) -> f64 {
    total_ns(windows) as f64 / 1e9
}

/// Windows merged where they touch or overlap.
pub fn union(mut windows: Vec<Window>) -> Vec<Window> {
    windows.retain(|window| window.len_ns() > 0);
    windows.sort_unstable();
    let mut merged: Vec<Window> = Vec::with_capacity(windows.len());
    for window in windows {
        match merged.last_mut() {
            Some(last) if window.start_ns <= last.end_ns => {
                last.end_ns = last.end_ns.max(window.end_ns);
            }
            _ => merged.push(window),
        }
    }
    merged
}

/// What of `windows` lies outside `holes`; both in order and disjoint.
pub fn without(windows: Vec<Window>, holes: &[Window]) -> Vec<Window> {
    let mut left = Vec::with_capacity(windows.len());
    for window in windows {
        let first = holes.partition_point(|hole| hole.end_ns <= window.start_ns);
        let mut start_ns = window.start_ns;
        for hole in holes
            .iter()
            .skip(first)
            .take_while(|h| h.start_ns < window.end_ns)
        {
            if hole.start_ns > start_ns {
                left.push(Window::new(start_ns, hole.start_ns));
            }
            start_ns = start_ns.max(hole.end_ns);
        }
        if start_ns < window.end_ns {
            left.push(Window::new(start_ns, window.end_ns));
        }
    }
    left
}

/// Whether a sensor that gives a new value, or averages, over `update_s` tells windows this long from
/// what is around them. Averaging many does not help: the error is a bias, not noise.
pub fn resolvable(
    windows: &[Window],
    update_s: f64,
    what: &str,
    sensor: &str,
) -> Result<(), String> {
    if lasts(windows, UPDATES_TO_RESOLVE * update_s) {
        return Ok(());
    }
    Err(format!(
        "not resolvable: a {what} phase lasts {:.0} ms on average, and {sensor} tells apart what is {:.0} ms apart; a phase must last three times that",
        mean_s(windows) * 1e3,
        update_s * 1e3
    ))
}

/// Whether windows are long enough for a calibrated sensor.
pub fn resolvable_from(
    windows: &[Window],
    shortest_s: f64,
    what: &str,
    sensor: &str,
) -> Result<(), String> {
    if lasts(windows, shortest_s) {
        return Ok(());
    }
    Err(format!(
        "not resolvable: a {what} phase lasts {:.0} ms on average; {sensor}, as it is calibrated, tells phases of {:.0} ms and more",
        mean_s(windows) * 1e3,
        shortest_s * 1e3
    ))
}

fn mean_s(windows: &[Window]) -> f64 {
    seconds(windows) / windows.len().max(1) as f64
}

/// A hundredth is for clocks and rounding.
fn lasts(windows: &[Window], at_least_s: f64) -> bool {
    windows.is_empty() || mean_s(windows) >= 0.99 * at_least_s
}
