//! Several logs as one: what the analysis then reads as it reads any run.

use std::collections::BTreeMap;

use lem_record::{RunStarted, RunStatus, Table, Warning};
use serde_json::{Value, json};

use super::checks;
use super::devices::Merged;
use super::part::Part;
use crate::analysis::{
    CACHED_BASELINES, CACHED_COLUMNS, CycleData, RequestData, RunData, Window, union,
};
use crate::engine::ModelDescription;

/// Requests of different processes have different ids.
const APART: u64 = 1 << 40;

/// One run of all parts. A cycle of it is a stretch in which at least one process was in a
/// cycle: where all begin and end together, that is a cycle of theirs.
pub fn merge(id: &str, parts: &[Part], merged: &Merged, warnings: Vec<Warning>) -> RunData {
    let stretches = union(parts.iter().flat_map(Part::windows).collect());
    let cycles = stretches
        .iter()
        .enumerate()
        .map(|(index, window)| cycle(index, *window, parts));
    let first = parts.first().map(|part| &part.data);
    let started_at = parts
        .iter()
        .filter_map(|p| p.data.started_at)
        .min_by_key(|at| at.mono_ns);
    let last_at = parts
        .iter()
        .filter_map(|p| p.data.last_at)
        .max_by_key(|at| at.mono_ns);
    let statuses = parts
        .iter()
        .map(|p| p.data.status.unwrap_or(RunStatus::Killed));
    let status = statuses.max_by_key(|status| worse(*status));
    RunData {
        run_id: id.to_owned(),
        started: first
            .and_then(|f| f.started.as_deref())
            .map(|s| Box::new(started(s, parts, merged))),
        started_at,
        last_at,
        model: model(parts),
        sources: merged.sources.clone(),
        samples: merged.samples.clone(),
        read_in: merged.read_in.clone(),
        cycles: cycles.collect(),
        clock: first.map(|f| f.clock.clone()).unwrap_or_default(),
        warnings,
        cached_baselines: baselines(parts, merged),
        status,
        ..RunData::default()
    }
}

/// The first's, where all have the same weights and engine: of a mixture nothing may be
/// computed from one of them.
fn model(parts: &[Part]) -> Option<ModelDescription> {
    let all = || parts.iter().map(|part| part.data.model.as_ref());
    let first = all().next()??;
    let alike = |other: Option<&ModelDescription>| {
        other.is_some_and(|m| {
            (&m.name, m.parameters, &m.weight_type, &m.engine)
                == (
                    &first.name,
                    first.parameters,
                    &first.weight_type,
                    &first.engine,
                )
        })
    };
    all().all(alike).then(|| first.clone())
}

const fn worse(status: RunStatus) -> u8 {
    match status {
        RunStatus::Finished => 0,
        RunStatus::Interrupted => 1,
        RunStatus::Killed => 2,
        RunStatus::Failed => 3,
    }
}

fn cycle(index: usize, window: Window, parts: &[Part]) -> CycleData {
    let mut cycle = CycleData {
        index: u32::try_from(index).unwrap_or(u32::MAX),
        window,
        complete: true,
        phases: Vec::new(),
        requests: Vec::new(),
        failed: 0,
        samples_missed: 0,
        command: Default::default(),
    };
    let mut alone = Vec::new();
    for (n, part) in parts.iter().enumerate() {
        let within = part
            .data
            .complete_cycles()
            .filter(|c| window.contains(&c.window));
        for theirs in within {
            let requests = theirs.requests.iter().cloned().map(|request| RequestData {
                timeline: lem_record::RequestTimeline {
                    id: request
                        .timeline
                        .id
                        .wrapping_add(APART.wrapping_mul(n as u64)),
                    ..request.timeline
                },
                ..request
            });
            cycle.requests.extend(requests);
            cycle.failed += theirs.failed;
            cycle.samples_missed += theirs.samples_missed;
            alone.push(theirs);
        }
    }
    // The phases of processes that work together lie across each other: no energy is of one.
    if let [one] = alone.as_slice() {
        cycle.phases.clone_from(&one.phases);
    }
    cycle
        .requests
        .sort_by_key(|r| (r.window.start_ns, r.timeline.id));
    cycle
}

fn started(first: &RunStarted, parts: &[Part], merged: &Merged) -> RunStarted {
    let all = || parts.iter().filter_map(|part| part.data.started.as_deref());
    let mut config = first.config.clone();
    for key in checks::differing(parts) {
        forget(&mut config, &key);
    }
    let tags = first
        .tags
        .iter()
        // What lem itself says of a run, such as of which sweep it is a point, it says of that run.
        .filter(|(key, _)| !key.starts_with("lem."))
        .filter(|(key, value)| all().all(|s| s.tags.get(*key) == Some(*value)));
    let tags: BTreeMap<String, String> = tags.map(|(k, v)| (k.clone(), v.clone())).collect();
    let environment = if all().all(|s| {
        s.environment.pointer("/host/hostname") == first.environment.pointer("/host/hostname")
    }) {
        first.environment.clone()
    } else {
        json!({"hosts": all().map(|s| &s.environment).collect::<Vec<_>>()})
    };
    RunStarted {
        name: format!("aggregate of {} processes", parts.len()),
        config,
        tags,
        environment,
        boot_id: first
            .boot_id
            .clone()
            .filter(|boot| all().all(|s| s.boot_id.as_ref() == Some(boot))),
        pid: 0,
        sinks: BTreeMap::new(),
        provenance: BTreeMap::new(),
        varying: Vec::new(),
        sources: serde_json::to_value(&merged.sources).unwrap_or_default(),
        ..first.clone()
    }
}

/// Makes a value that is not the same in all runs absent.
fn forget(config: &mut Value, dotted: &str) {
    let pointer = format!("/{}", dotted.replace('.', "/"));
    if let Some(node) = config.pointer_mut(&pointer) {
        *node = Value::Null;
    }
}

/// The idle powers of devices that served one process only: of a shared one, what a process
/// saw before its own work may have been the work of another.
fn baselines(parts: &[Part], merged: &Merged) -> Option<Table> {
    let mut rows = Vec::new();
    for (part, names) in parts.iter().zip(&merged.names) {
        for idle in &part.idles {
            let Some(name) = names.get(&idle.source) else {
                continue;
            };
            let shared = merged
                .devices
                .iter()
                .any(|d| d.id == *name && d.runs.len() > 1);
            if !shared {
                rows.push(vec![
                    json!(idle.kind),
                    json!(name),
                    json!(idle.watts),
                    json!(idle.stddev),
                    json!(idle.uncertainty),
                    json!(0.0),
                    json!(part.id()),
                ]);
            }
        }
    }
    (!rows.is_empty()).then(|| Table {
        name: CACHED_BASELINES.into(),
        columns: CACHED_COLUMNS.iter().map(|c| (*c).to_owned()).collect(),
        rows,
    })
}
