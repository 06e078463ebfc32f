//! What the reader of a result must know, each with a remedy.

use std::collections::BTreeMap;

use lem_record::{How, Warning};

use super::baseline::{Baselines, Idle};
use super::data::RunData;
use super::estimators::DISAGREE;
use super::sensors::Sensor;
use super::statistics::cv;
use super::{Analysis, CycleAnalysis};

/// Every code that the analysis gives. A log that was analysed before holds some: they are
/// told anew, so those are dropped.
pub const CODES: &[&str] = &[
    "cycles.none",
    "cycles.single",
    "cycles.partial",
    "cycles.spread",
    "cycles.outlier",
    "energy.none",
    "energy.modelled",
    "energy.not_resolvable",
    "energy.closure",
    "phases.disagree",
    "throttle.cycles",
    "baseline.unstable",
    "baseline.drift",
    "baseline.cached",
    "requests.failed",
    "requests.short",
    "sampling.missed",
    "sampling.gap",
    "clock.stepped",
    "log.contradiction",
];

/// Cycles that scatter more than this deserve a look.
const SPREAD: f64 = 0.05;
/// Counter and integral of one sensor that differ by more than this contradict each other: in
/// a short cycle, where a counter's edges count for much, and in one of ten seconds or more.
const CLOSURE_SHORT: f64 = 0.05;
const CLOSURE: f64 = 0.02;
const CLOSURE_LONG_S: f64 = 10.0;
const MISSED: f64 = 0.01;
/// A baseline that moves by more than this of its mean was not idle.
const DRIFT: f64 = 0.01;
/// Degrees a minute: a device that warms or cools faster was not idle long enough.
const WARMING: f64 = 0.5;
/// The wall clock is corrected by less than this in a run, unless it is stepped.
const STEP_NS: i128 = 100_000_000;

pub fn of(
    data: &RunData,
    sensors: &[Sensor],
    baselines: &Baselines,
    analysis: &Analysis,
) -> Vec<Warning> {
    let mut told = Vec::new();
    let mut tell = |code: &'static str, message: String, remedy: &str| {
        debug_assert!(CODES.contains(&code), "{code}");
        told.push(Warning {
            code: code.into(),
            message,
            remedy: remedy.into(),
        });
    };
    let complete: Vec<&CycleAnalysis> = analysis.complete().collect();
    match complete.len() {
        0 => tell(
            "cycles.none",
            "No cycle was finished: there is nothing to average".into(),
            "Run it again, and let at least one cycle finish",
        ),
        1 if !data.is_command() => tell(
            "cycles.single",
            "A single cycle has no confidence interval".into(),
            "Set num_cycles to 3 or more",
        ),
        _ => {}
    }
    for cycle in analysis.cycles.iter().filter(|c| !c.complete) {
        tell(
            "cycles.partial",
            format!(
                "Cycle {} was cut off after {:.1} s and is not counted",
                cycle.index,
                cycle.seconds()
            ),
            "Run it again for all cycles",
        );
    }
    for (what, id) in [
        ("duration", "run.duration"),
        ("energy", "energy.total"),
        ("decode speed", "throughput.decode"),
    ] {
        let values: Vec<f64> = complete.iter().filter_map(|c| c.sheet.value(id)).collect();
        if let Some(spread) = cv(&values).filter(|spread| *spread > SPREAD) {
            tell(
                "cycles.spread",
                format!(
                    "The {what} varies by {:.1} % between cycles (coefficient of variation)",
                    spread * 100.0
                ),
                "Look for other work on this machine, raise measurement.warmup.min_rounds, or measure more cycles",
            );
        }
    }
    outliers(&complete, &mut tell);
    energy(sensors, &complete, &mut tell);
    resolved(analysis, &complete, &mut tell);
    phases(analysis, &mut tell);
    throttled(analysis, &mut tell);
    idle(sensors, baselines, &mut tell);
    requests(data, &complete, &mut tell);
    sampling(&complete, &mut tell);
    clock(data, &mut tell);
    for note in &data.notes {
        tell(
            "log.contradiction",
            format!("The run's log contradicts itself: {note}"),
            "If records.jsonl was not edited or damaged, report this as a fault of lem",
        );
    }
    told
}

fn outliers(complete: &[&CycleAnalysis], tell: &mut Tell<'_>) {
    let found = super::outliers::of(complete);
    if found.is_empty() {
        return;
    }
    let one = |(index, apart): (&u32, &Vec<super::outliers::Apart>)| {
        let by: Vec<String> = apart
            .iter()
            .map(|a| format!("{} {:+.1} %", a.id, (a.value / a.median - 1.0) * 100.0))
            .collect();
        format!("{index} ({})", by.join(", "))
    };
    let told: Vec<String> = found.iter().map(one).collect();
    tell(
        "cycles.outlier",
        format!(
            "Apart from the median of all cycles lie: {}. They are counted like the others",
            told.join("; ")
        ),
        "Look what else the machine did then (throttling, other work); report the run with them, or measure again",
    );
}

type Tell<'a> = dyn FnMut(&'static str, String, &str) + 'a;

fn energy(sensors: &[Sensor], complete: &[&CycleAnalysis], tell: &mut Tell<'_>) {
    let totals: Vec<_> = complete
        .iter()
        .map(|c| c.sheet.reading("energy.total"))
        .collect();
    if let Some(Err(why)) = totals.iter().find(|total| total.is_err()) {
        let all = totals.iter().all(Result::is_err);
        let where_ = if all {
            "No cycle has"
        } else {
            "Not every cycle has"
        };
        tell(
            "energy.none",
            format!("{where_} an energy: {why}"),
            "lem env says which sensors this machine has and how to allow reading them",
        );
    }
    if totals
        .iter()
        .flatten()
        .any(|total| total.how == How::Modelled)
    {
        tell(
            "energy.modelled",
            "The energy is modelled from the load, not measured: no power sensor can be read here"
                .into(),
            "Use it to compare runs on one machine only; lem env says how to allow reading a sensor",
        );
    }
    for sensor in sensors {
        let closure = complete.iter().find_map(|c| {
            let allowed = if c.seconds() >= CLOSURE_LONG_S {
                CLOSURE
            } else {
                CLOSURE_SHORT
            };
            let of = |e: &&super::Entry| {
                let here = e.attributes.get("hw.id") == Some(&sensor.id);
                e.id == "energy.closure" && here
            };
            let ratio = c.sheet.entries.iter().find(of)?.reading.as_ref().ok()?;
            ((ratio.value - 1.0).abs() > allowed).then_some((c, ratio.value))
        });
        if let Some((cycle, ratio)) = closure {
            tell(
                "energy.closure",
                format!(
                    "The power samples of {} give {ratio:.3} times the energy of its counter in cycle {} ({:.1} s)",
                    sensor.id,
                    cycle.index,
                    cycle.seconds()
                ),
                "Measure longer cycles; if it stays, distrust this sensor",
            );
        }
    }
}

/// A phase whose energy no estimator tells.
fn resolved(analysis: &Analysis, complete: &[&CycleAnalysis], tell: &mut Tell<'_>) {
    // What single cycles do not resolve, extra rounds may have told of the run.
    if analysis.phases.chosen.is_some() {
        return;
    }
    for (what, id) in [("prefill", "energy.prefill"), ("decode", "energy.decode")] {
        let whys = complete.iter().filter_map(|c| c.sheet.reading(id).err());
        if let Some(why) = whys
            .into_iter()
            .find(|why| why.starts_with("not resolvable"))
        {
            tell(
                "energy.not_resolvable",
                format!("The {what} energy is {why}"),
                "Make the phase longer: longer prompts, larger batches, more output tokens",
            );
        }
    }
}

/// Why an idle power was not steady: power, temperature or performance state moved.
pub fn unsteady(idle: &Idle) -> Option<String> {
    // The line through a short noisy series has a slope too: what the noise explains is no drift.
    let moved = idle.drift.filter(|drift| {
        drift.abs() > DRIFT && drift.abs() * idle.watts.abs() > 12f64.sqrt() * 2.0 * idle.u
    });
    if let Some(drift) = moved {
        return Some(format!(
            "moved by {:.1} % while it was observed",
            drift * 100.0
        ));
    }
    if let Some(warming) = idle.warming.filter(|w| w.abs() > WARMING) {
        return Some(format!(
            "was observed while the temperature moved by {warming:.1} °C a minute"
        ));
    }
    (idle.states.len() > 1).then(|| {
        let states: Vec<String> = idle.states.iter().map(|s| format!("P{s}")).collect();
        format!(
            "was observed in several performance states ({})",
            states.join(", ")
        )
    })
}

/// Estimators of the phases' energies that contradict each other.
fn phases(analysis: &Analysis, tell: &mut Tell<'_>) {
    let Some(chosen) = analysis.phases.chosen() else {
        return;
    };
    for found in analysis.phases.differences() {
        if found.relative.abs() <= DISAGREE {
            continue;
        }
        let other = analysis
            .phases
            .estimates
            .iter()
            .find(|e| e.method == found.method);
        let note = other.and_then(|e| e.note.as_ref());
        let note = note.map_or_else(String::new, |note| format!("; {note}"));
        tell(
            "phases.disagree",
            format!(
                "The {} energy is {:+.1} % by {} against {} (their statistics allow {:.1} %){note}",
                found.phase,
                found.relative * 100.0,
                found.method.as_str(),
                chosen.method.as_str(),
                found.allowed * 100.0
            ),
            "Compare clocks and throttling; longer phases and more cycles make the windows surer, a higher measurement.loop_s the rounds",
        );
    }
}

/// What held the clocks down in the cycles, by device and reason.
fn throttled(analysis: &Analysis, tell: &mut Tell<'_>) {
    let mut ledger: BTreeMap<(&str, &str), Vec<String>> = BTreeMap::new();
    for cycle in &analysis.cycles {
        for one in cycle.throttled.iter().flatten().filter(|t| t.seconds > 0.0) {
            let told = ledger.entry((&one.source, &one.reason)).or_default();
            told.push(format!(
                "cycle {} for {:.2} of {:.1} s",
                cycle.index,
                one.seconds,
                cycle.seconds()
            ));
        }
    }
    for ((source, reason), mut told) in ledger {
        if let Some(more) = told.len().checked_sub(5).filter(|more| *more > 0) {
            told.truncate(5);
            told.push(format!("{more} more"));
        }
        tell(
            "throttle.cycles",
            format!("{source} was held down ({reason}) in {}", told.join(", ")),
            "Such cycles are slower and cost another energy: raise the power limit or cool it, or say so with the result",
        );
    }
}

fn idle(sensors: &[Sensor], baselines: &Baselines, tell: &mut Tell<'_>) {
    let kinds = [
        ("bare", &baselines.bare),
        ("loaded", &baselines.loaded),
        ("after", &baselines.after),
    ];
    for (kind, idles) in kinds {
        for (sensor, idle) in sensors.iter().zip(idles) {
            let Some(idle) = idle else { continue };
            if let Some(why) = unsteady(idle) {
                tell(
                    "baseline.unstable",
                    format!("The {kind} baseline of {} {why}", sensor.id),
                    "Raise measurement.baseline.settle_s, and end other work on this machine",
                );
            }
            if let Some(cached) = &idle.cached {
                tell(
                    "baseline.cached",
                    format!(
                        "The {kind} idle power of {} ({:.1} W) is that of an earlier run, {:.1} h old ({})",
                        sensor.id, idle.watts, cached.age_h, cached.run
                    ),
                    "Its uncertainty is enlarged for that; --measure-baseline measures it now",
                );
            }
        }
    }
    for (sensor, pair) in sensors
        .iter()
        .zip(baselines.loaded.iter().zip(&baselines.after))
    {
        let (Some(before), Some(after)) = pair else {
            continue;
        };
        if (after.watts - before.watts).abs() > f64::max(2.0, 0.02 * before.watts.abs()) {
            tell(
                "baseline.drift",
                format!(
                    "{} idles at {:.1} W before the cycles and at {:.1} W after them",
                    sensor.id, before.watts, after.watts
                ),
                "Both were used, on a line between them; for less, let the machine warm up or cool down first",
            );
        }
    }
}

fn requests(data: &RunData, complete: &[&CycleAnalysis], tell: &mut Tell<'_>) {
    let failed = complete
        .iter()
        .fold(0u64, |n, c| n.saturating_add(c.counts.failed));
    if failed > 0 {
        let error = data
            .complete_cycles()
            .flat_map(|c| &c.requests)
            .find_map(|r| r.timeline.error.as_deref());
        let error = error.map_or_else(String::new, |e| {
            format!(": {}", e.chars().take(200).collect::<String>())
        });
        tell(
            "requests.failed",
            format!("{failed} requests failed or were cancelled{error}"),
            "Their tokens are not counted, but their energy is: mend the cause and measure again",
        );
    }
    let asked = data
        .config("/max_output_tokens")
        .and_then(serde_json::Value::as_u64);
    let Some(asked) = asked.filter(|_| data.config("/prompts/output_tokens").is_none()) else {
        return;
    };
    let (mut short, mut all) = (0u64, 0u64);
    for request in data.complete_cycles().flat_map(|c| &c.requests) {
        if super::latency::answered(request) {
            all += 1;
            short += u64::from(request.timeline.output_tokens < asked);
        }
    }
    if short > 0 {
        tell(
            "requests.short",
            format!("{short} of {all} answers ended before max_output_tokens ({asked})"),
            "Set min_output_tokens to the same number where runs must do equal work",
        );
    }
}

fn sampling(complete: &[&CycleAnalysis], tell: &mut Tell<'_>) {
    let count = |status: &str| -> f64 {
        let entries = complete.iter().flat_map(|c| &c.sheet.entries);
        entries
            .filter(|e| e.id == "sampling.samples")
            .filter(|e| e.attributes.get("lem.status").is_some_and(|s| s == status))
            .filter_map(|e| e.reading.as_ref().ok())
            .map(|r| r.value)
            .sum()
    };
    let (ok, missed) = (count("ok"), count("missed"));
    if missed > MISSED * (ok + missed) {
        tell(
            "sampling.missed",
            format!(
                "{missed:.0} of {:.0} samples came late or not at all",
                ok + missed
            ),
            "Raise measurement.interval_ms, or leave a processor core free",
        );
    }
    for cycle in complete {
        let gap = cycle.sheet.value("sampling.max_gap").unwrap_or(0.0);
        let share = gap / cycle.seconds().max(f64::MIN_POSITIVE);
        if gap > 2.0 && share > 0.1 {
            tell(
                "sampling.gap",
                format!(
                    "Cycle {} has a gap of {gap:.1} s without a sample",
                    cycle.index
                ),
                "Its energy is interpolated there: look for what held the sampler up",
            );
        }
    }
}

fn clock(data: &RunData, tell: &mut Tell<'_>) {
    let offset = |(mono, unix): &(u64, i64)| i128::from(*unix) - i128::from(*mono);
    let step = data
        .clock
        .windows(2)
        .map(|p| offset(&p[1]) - offset(&p[0]))
        .max_by_key(|d| d.abs());
    if let Some(step) = step.filter(|step| step.abs() > STEP_NS) {
        tell(
            "clock.stepped",
            format!(
                "The wall clock was set by {:.3} s during the run",
                step as f64 / 1e9
            ),
            "Durations are not affected; times of day before and after do not compare",
        );
    }
}
