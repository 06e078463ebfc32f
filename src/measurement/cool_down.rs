//! Equal starts: a wait before a cycle until the devices are as cool as before the first.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use lem_record::{Record, Warning};

use super::{Probe, Session, pause};
use crate::config::CoolDown;
use crate::engine::Cancel;

/// A look at the sensors takes so long: several of their updates.
const LOOK: Duration = Duration::from_millis(200);
/// Between two looks.
const BETWEEN: Duration = Duration::from_secs(1);

/// Degrees, by source.
pub type Temperatures = BTreeMap<String, f64>;

/// What the devices' temperatures are now. What is sampled meanwhile is for nobody else.
pub(super) fn look(probe: &dyn Probe, cancel: &Cancel) -> Temperatures {
    probe.begin_window();
    pause(LOOK, cancel);
    let window = probe.end_window();
    let last = |samples: &lem_record::Samples| {
        let columns = samples.columns.iter();
        let hottest = columns
            .filter(|c| c.metric == "sample.temperature")
            .filter_map(|c| c.values.iter().rev().flatten().next().copied())
            .reduce(f64::max)?;
        Some((samples.source.clone(), hottest))
    };
    // Later segments of a source replace earlier ones.
    window.samples.iter().filter_map(last).collect()
}

/// Waits as the rule says; tells what is still warmer when the time is over.
pub(super) fn wait(session: &mut Session<'_>, rule: &CoolDown, first: &Temperatures, cycle: u32) {
    if !rule.enabled || first.is_empty() {
        return;
    }
    let end = Instant::now() + Duration::from_secs_f64(rule.max_wait_s);
    let mut told = false;
    while !session.cancel.is_cancelled() {
        let now = look(session.probe, session.cancel);
        let warmer = warmer(first, &now, rule.tolerance_c);
        if warmer.is_empty() {
            return;
        }
        if Instant::now() >= end {
            session
                .recorder
                .record(Record::Warning(still_warm(cycle, rule, &warmer)));
            return;
        }
        if !std::mem::replace(&mut told, true) {
            session
                .observer
                .stage("Waiting until the devices are as cool as before the first cycle");
        }
        pause(BETWEEN, session.cancel);
    }
}

/// Source, degrees at first and now.
fn warmer(first: &Temperatures, now: &Temperatures, tolerance: f64) -> Vec<(String, f64, f64)> {
    let one = |(source, then): (&String, &f64)| {
        let now = *now.get(source)?;
        (now > then + tolerance).then(|| (source.clone(), *then, now))
    };
    first.iter().filter_map(one).collect()
}

fn still_warm(cycle: u32, rule: &CoolDown, warmer: &[(String, f64, f64)]) -> Warning {
    let told: Vec<String> = warmer
        .iter()
        .map(|(source, then, now)| format!("{source} {now:.0} °C instead of {then:.0} °C"))
        .collect();
    Warning {
        code: "cycles.warm_start".into(),
        message: format!(
            "After {:.0} s of waiting cycle {cycle} began warmer than the first: {}",
            rule.max_wait_s,
            told.join(", ")
        ),
        remedy: "Raise measurement.cool_down.max_wait_s or tolerance_c, or warm up longer so that the first cycle starts warm".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_warmer_than_at_first_is_waited_for_and_nothing_else() {
        let of = |pairs: &[(&str, f64)]| -> Temperatures {
            pairs.iter().map(|(s, t)| ((*s).to_owned(), *t)).collect()
        };
        let first = of(&[("gpu0", 50.0), ("gpu1", 60.0)]);
        let told = warmer(&first, &of(&[("gpu0", 53.0), ("gpu1", 61.9)]), 2.0);
        assert_eq!(told, [("gpu0".to_owned(), 50.0, 53.0)]);
        // One that is not read any more holds nothing up.
        assert!(warmer(&first, &of(&[("gpu0", 40.0)]), 2.0).is_empty());
        let told = still_warm(3, &CoolDown::default(), &told);
        assert!(
            told.message.contains("gpu0 53 °C instead of 50 °C"),
            "{}",
            told.message
        );
    }
}
