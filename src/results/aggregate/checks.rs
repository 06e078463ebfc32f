//! What must be alike, what must be there, and what a reader must know.

use std::collections::BTreeSet;

use lem_record::{RunStatus, Warning};
use serde_json::Value;

use super::part::Part;
use super::types::{Completeness, Device, Overlap};
use super::{Options, clock::Joined};
use crate::analysis::{Window, union};
use crate::results::fields::of_value;

/// Readings of one sensor that differ by more than this are not of one time, or not of one
/// sensor.
const DIFFERENCE: f64 = 0.05;

/// Names a part of the runs that differs, and refuses or lets it pass.
pub fn alike(parts: &[Part], allow_mixed: bool) -> Result<Vec<Warning>, String> {
    let mut ids = BTreeSet::new();
    for part in parts {
        if !ids.insert(part.id()) {
            return Err(format!(
                "the run {} is given twice, perhaps as a copy. Name each run once",
                part.id()
            ));
        }
    }
    type Of = fn(&Part) -> Option<String>;
    let rules: [(&str, Of); 4] = [
        ("engines", |p| {
            p.data.config_str("/backend").map(str::to_owned)
        }),
        ("models", |p| {
            p.data.config_str("/model_name").map(str::to_owned)
        }),
        ("weights", |p| {
            let model = p.data.model.as_ref()?;
            Some(format!("{:?} in {:?}", model.parameters, model.weight_type))
        }),
        ("energies", |p| Some(p.boundary.clone())),
    ];
    let mut warnings = Vec::new();
    for (what, of) in rules {
        let values: BTreeSet<String> = parts
            .iter()
            .map(|p| of(p).unwrap_or_else(|| "unknown".into()))
            .collect();
        if values.len() < 2 {
            continue;
        }
        let told: Vec<&str> = values.iter().map(String::as_str).collect();
        let told = told.join("; ");
        if !allow_mixed {
            return Err(format!(
                "the runs have different {what} ({told}), whose numbers make no sense together. Aggregate those that belong together, or say --allow-mixed"
            ));
        }
        warnings.push(warning(
            "aggregate.mixed",
            format!("The runs have different {what}: {told}"),
            "Aggregate those apart that do not belong together; measured and modelled energies are never added, only the measured count",
        ));
    }
    Ok(warnings)
}

fn warning(code: &str, message: String, remedy: &str) -> Warning {
    Warning {
        code: code.into(),
        message,
        remedy: remedy.into(),
    }
}

/// Whether every process is there, has finished, and has the cycles of the others.
pub fn completeness(parts: &[Part], options: &Options) -> Completeness {
    let mut missing = Vec::new();
    let found = parts.len();
    if let Some(expected) = options.expect.filter(|expected| *expected != found) {
        missing.push(format!(
            "{expected} processes were expected, and {found} are there"
        ));
    }
    let all: BTreeSet<u32> = parts
        .iter()
        .flat_map(|p| p.data.complete_cycles().map(|c| c.index))
        .collect();
    for part in parts {
        let id = part.id();
        let status = part.data.status.unwrap_or(RunStatus::Killed);
        if status != RunStatus::Finished {
            missing.push(format!("{id} did not finish: it is {}", status.as_str()));
        }
        let has: BTreeSet<u32> = part.data.complete_cycles().map(|c| c.index).collect();
        let lacks: Vec<String> = all.difference(&has).map(|c| (c + 1).to_string()).collect();
        if !lacks.is_empty() {
            missing.push(format!(
                "{id} lacks the cycles {} of others",
                lacks.join(", ")
            ));
        }
        let wanted = part.data.config("/num_cycles").and_then(Value::as_u64);
        if let Some(wanted) = wanted.filter(|wanted| *wanted > all.len() as u64) {
            missing.push(format!(
                "{id} was to have {wanted} cycles and has {}",
                has.len()
            ));
        }
    }
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Completeness {
        complete: missing.is_empty(),
        expected: options.expect.map(count),
        found: count(found),
        missing,
    }
}

pub fn overlap(parts: &[Part], joined: &Joined) -> Overlap {
    let all: Vec<Vec<Window>> = parts.iter().map(|p| union(p.windows())).collect();
    let seconds = |windows: &[Window]| windows.iter().map(Window::seconds).sum::<f64>();
    let common = all.iter().skip(1).fold(
        all.first().cloned().unwrap_or_default(),
        |common, windows| {
            common
                .iter()
                .flat_map(|a| windows.iter().filter_map(|b| a.clip(b)))
                .collect()
        },
    );
    Overlap {
        clock: joined.told.clone(),
        clock_moved_s: joined.moved_s,
        some_s: seconds(&union(all.concat())),
        all_s: seconds(&common),
    }
}

/// What the aggregate's reader must know.
pub fn warnings(
    parts: &[Part],
    completeness: &Completeness,
    overlap: &Overlap,
    devices: &[Device],
) -> Vec<Warning> {
    let mut told = Vec::new();
    for missing in &completeness.missing {
        told.push(warning(
            "aggregate.incomplete",
            format!("The aggregate is not complete: {missing}"),
            "Measure what is missing, or aggregate without the run that lacks it",
        ));
    }
    if parts.len() > 1 && overlap.all_s <= 0.0 {
        told.push(warning(
            "aggregate.apart",
            "The processes never all worked at the same time: rates are those of one after the other".into(),
            "Start them together, if they are meant to work together",
        ));
    } else if overlap.all_s < 0.5 * overlap.some_s {
        told.push(warning(
            "aggregate.little_overlap",
            format!(
                "All processes worked together for {:.1} s of {:.1} s only",
                overlap.all_s, overlap.some_s
            ),
            "Start them together, and give them the same work",
        ));
    }
    if let Some(moved) = overlap.clock_moved_s {
        told.push(warning(
            "aggregate.wall_clock",
            format!("The runs are of several boots: their times are joined by wall clocks, which moved by up to {:.3} s within a run; how far the hosts' clocks are apart is not known", moved),
            "Keep the hosts' clocks together with NTP or PTP; energies do not depend on it, overlap and rates do",
        ));
    }
    for device in devices
        .iter()
        .filter(|d| d.difference.is_some_and(|d| d > DIFFERENCE))
    {
        told.push(warning(
            "aggregate.readings_differ",
            format!("Two processes read {} at the same time and found energies that differ by {:.1} %", device.id, 100.0 * device.difference.unwrap_or(0.0)),
            "Look for missed samples in the runs; if their clocks were joined by wall time, for a step of it",
        ));
    }
    let differing = differing(parts);
    if !differing.is_empty() {
        let shown: Vec<&str> = differing.iter().take(8).map(String::as_str).collect();
        told.push(warning(
            "aggregate.configurations",
            format!("The runs were configured differently: {}", shown.join(", ")),
            "Those values are absent in the aggregate's configuration; each run has its own",
        ));
    }
    for part in parts {
        let own = &part.data.warnings;
        told.extend(own.iter().take(20).map(|w| Warning {
            message: format!("{}: {}", part.id(), w.message),
            ..w.clone()
        }));
    }
    told
}

/// Dotted keys of the configuration whose values are not alike, but names and places.
pub fn differing(parts: &[Part]) -> Vec<String> {
    let of = |part: &Part| {
        let mut all = Vec::new();
        if let Some(started) = &part.data.started {
            of_value(&started.config, false, &mut |path, value| {
                all.push((path.to_owned(), value.clone()))
            });
        }
        all
    };
    let configs: Vec<Vec<(String, Value)>> = parts.iter().map(of).collect();
    let mut keys: BTreeSet<&str> = BTreeSet::new();
    for config in &configs {
        for (path, value) in config {
            let elsewhere =
                |c: &Vec<(String, Value)>| c.iter().any(|(p, v)| p == path && v == value);
            if !configs.iter().all(elsewhere) {
                keys.insert(path);
            }
        }
    }
    let about = ["io.", "integrations.", "tags.", "experiment_name", "name"];
    let keys = keys
        .into_iter()
        .filter(|key| !about.iter().any(|a| key == a || key.starts_with(a)));
    keys.map(str::to_owned).collect()
}
