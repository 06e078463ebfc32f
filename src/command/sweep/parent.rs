//! The sweep as a run of its own: what the sinks show its points under.
//!
//! It measures nothing. Its log begins with the sweep and ends with the table of points; only
//! the coordinator writes it, or whoever gathers the points of an array afterwards: points that
//! start together on several machines cannot race for it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lem_delivery::{
    Delivery, DeliveryState, Outcome as Delivered, Policy, RECORDS_FILE, Spool, SpoolError,
};
use lem_record::{
    Artifact, ArtifactKind, Exporter, Metric, MetricValue, Record, Recorder as _, Resumed,
    RunFinished, RunStarted, RunStatus, Seal, Stamp, Table,
};
use serde_json::{Map, Value, json};

use super::points::Report;
use crate::analysis;
use crate::command::run::{DEADLINE_S, prepare, started};
use crate::command::{Failure, close, export};
use crate::config::Resolved;
use crate::measurement::MeasureError;
use crate::results::store;
use crate::sinks;
use crate::sweep::plan::{PLAN_FILE, Plan, Point};
use crate::sweep::quantity::{Estimate, QUANTITIES};
use crate::sweep::{KIND, SWEEP, SWEEP_ID};

/// The report as a file, beside the plan.
pub const REPORT_FILE: &str = "sweep.json";

/// At the start the sinks get so long to make the sweep's run, so that its points can be shown
/// under it.
const AT_START: Duration = Duration::from_secs(5);

/// The sweep's log, open, and the lock on its folder: there is one coordinator at a time.
pub struct Parent {
    spool: Spool,
    delivery: Delivery,
    deadline: Duration,
}

/// The sweep's folder.
pub fn folder(results_dir: &str, plan: &Plan) -> PathBuf {
    Path::new(results_dir).join(&plan.sweep_id)
}

/// Makes the sweep's folder with its plan. A folder that holds a sweep is never overwritten.
pub fn write_plan(folder: &Path, plan: &Plan) -> Result<(), Failure> {
    let path = folder.join(PLAN_FILE);
    let cannot = |error: std::io::Error| {
        Failure::failed(format!(
            "{} cannot be written: {error}. Free some space, or choose another folder with --output",
            path.display()
        ))
    };
    if path.exists() {
        return Err(Failure::usage(format!(
            "{} holds a sweep already. Go on with it: lem sweep --resume {}; or choose another --id",
            folder.display(),
            folder.display()
        )));
    }
    fs::create_dir_all(folder).map_err(cannot)?;
    let text = text_of(plan)?;
    let own = std::process::id().to_string();
    match make_new(&path, &own, &text).map_err(cannot)? {
        true => Ok(()),
        false => Err(Failure::usage(format!(
            "another process has just begun a sweep in {}. Choose another --id",
            folder.display()
        ))),
    }
}

/// Makes a file whole or not at all, and never over another: of two that do so at the same
/// moment one gets `false`.
fn make_new(path: &Path, own: &str, text: &str) -> std::io::Result<bool> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!(".{own}.{name}"));
    let mut file = File::create(&temporary)?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())?;
    let linked = fs::hard_link(&temporary, path);
    // It is of no use any more, and its removal may fail as well.
    let _ = fs::remove_file(&temporary);
    match linked {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

/// Puts the plan where the points of an array come together, unless it is there.
pub fn keep_plan(folder: &Path, plan: &Plan, point: &Point) -> Result<(), Failure> {
    let path = folder.join(PLAN_FILE);
    let cannot = |doing: &str, error: std::io::Error| {
        Failure::failed(format!(
            "{} cannot be {doing}: {error}. Choose another folder with --output",
            path.display()
        ))
    };
    let text = text_of(plan)?;
    let made = fs::create_dir_all(folder).and_then(|()| make_new(&path, &point.run_id, &text));
    if made.map_err(|error| cannot("written", error))? {
        return Ok(());
    }
    let there = fs::read_to_string(&path).map_err(|error| cannot("read", error))?;
    if there == text {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "{} is another plan than this one. Choose another --id when the plan is made, or another --output",
        path.display()
    )))
}

pub fn text_of(plan: &Plan) -> Result<String, Failure> {
    crate::command::json(plan).map(|text| text + "\n")
}

/// Whole or not at all.
pub fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    store::replace(path, |file| file.write_all(bytes))
}

impl Parent {
    /// Begins the sweep's log, or goes on with it. `first` is the configuration of some point:
    /// all go to the same sinks.
    pub fn open(folder: &Path, plan: &Plan, first: &Resolved) -> Result<Self, Failure> {
        let refused = |error: SpoolError| Failure::failed(error.to_string());
        let spool = if folder.join(RECORDS_FILE).exists() {
            let (spool, log) = Spool::reopen(folder).map_err(refused)?;
            // An end that it tells is none.
            spool.record(Record::Resumed(Resumed {
                from_cycle: 0,
                cycles: 0,
                producer: started::producer(),
                pid: std::process::id(),
                boot_id: log.boot_id,
            }));
            let failed =
                |error: std::io::Error| Failure::failed(MeasureError::Log(error).to_string());
            spool.commit().map_err(failed)?;
            spool
        } else {
            Spool::create(folder, &plan.sweep_id, first_record(plan, first)?).map_err(refused)?
        };
        let delivery = Delivery::start(&spool, exporters(first)?, &Policy::default())
            .map_err(|error| Failure::failed(error.to_string()))?;
        let deadline = first.config.integrations.deadline_s.unwrap_or(DEADLINE_S);
        let parent = Self {
            spool,
            delivery,
            deadline: Duration::try_from_secs_f64(deadline).unwrap_or(Duration::MAX),
        };
        parent.wait(AT_START.min(parent.deadline));
        // From here on points are measured: it is silent until the end.
        parent.spool.quiet(true);
        Ok(parent)
    }

    fn wait(&self, longest: Duration) {
        let end = Instant::now() + longest;
        let busy = |outcome: &Delivered| {
            outcome.owed > 0
                && outcome.state == DeliveryState::Delivering
                && outcome.reason.is_none()
        };
        while Instant::now() < end && self.delivery.outcomes().iter().any(busy) {
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Writes what came of the sweep and delivers it.
    pub fn end(self, plan: &Plan, report: &Report) -> Result<Vec<Delivered>, Failure> {
        let Self {
            spool,
            delivery,
            deadline,
        } = self;
        spool.quiet(false);
        let folder = spool.folder().to_owned();
        let cannot = |path: &str, error: &std::io::Error| {
            Failure::failed(format!(
                "{} cannot be written: {error}. Free some space, then lem sweep --resume {}",
                folder.join(path).display(),
                folder.display()
            ))
        };
        for record in records(plan, report) {
            spool.record(record);
        }
        let text = crate::command::json(report)? + "\n";
        replace(&folder.join(REPORT_FILE), text.as_bytes())
            .map_err(|error| cannot(REPORT_FILE, &error))?;
        for (path, artifact) in [
            (PLAN_FILE, ArtifactKind::Config),
            (REPORT_FILE, ArtifactKind::Result),
        ] {
            let (sha256, bytes) =
                close::hash(&folder.join(path)).map_err(|error| cannot(path, &error))?;
            spool.record(Record::Artifact(Artifact {
                path: path.to_owned(),
                artifact,
                sha256,
                bytes,
            }));
        }
        let log = |error: std::io::Error| cannot(RECORDS_FILE, &error);
        spool.commit().map_err(log)?;
        let (sha256, bytes) = close::hash(&folder.join(RECORDS_FILE)).map_err(log)?;
        spool.record(Record::Seal(Seal { sha256, bytes }));
        let status = match report.status {
            "finished" => RunStatus::Finished,
            "failed" => RunStatus::Failed,
            _ => RunStatus::Interrupted,
        };
        let reason = match report.failed {
            0 => None,
            1 => Some("1 point failed".to_owned()),
            n => Some(format!("{n} points failed")),
        };
        spool.record(Record::RunFinished(RunFinished {
            status,
            reason,
            analysis: analysis::VERSION,
        }));
        spool.commit().map_err(log)?;
        let delivered = delivery.finish(status, deadline);
        drop(spool);
        close::write_result(&folder, &delivered)?;
        export::tell(&delivered, &folder, crate::cli::Format::Table);
        Ok(delivered)
    }
}

/// To the sinks that can show a sweep with its points.
pub fn exporters(resolved: &Resolved) -> Result<Vec<Box<dyn Exporter>>, Failure> {
    let mut made = Vec::new();
    for name in sinks::enabled(&resolved.config) {
        if sinks::shows_sweeps(name) {
            let sink = sinks::make(name, &resolved.config, &resolved.ecosystem, None);
            made.push(sink.map_err(|errors| Failure::usage(errors.to_string()))?);
        }
    }
    Ok(made)
}

fn first_record(plan: &Plan, resolved: &Resolved) -> Result<RunStarted, Failure> {
    let environment = prepare::surroundings(resolved);
    let mut tags = started::tags(resolved, &environment);
    tags.insert(SWEEP_ID.into(), plan.sweep_id.clone());
    tags.insert(KIND.into(), SWEEP.into());
    let environment = serde_json::to_value(&environment).map_err(|error| {
        Failure::failed(format!(
            "the sweep cannot be described: {error}. Please report it"
        ))
    })?;
    let boot_id = environment.pointer("/host/boot_id").and_then(Value::as_str);
    let mut to = sinks::to_record(&resolved.config, &resolved.ecosystem)
        .map_err(|e| Failure::usage(e.to_string()))?;
    to.retain(|name, _| sinks::shows_sweeps(name));
    Ok(RunStarted {
        format: 1,
        producer: started::producer(),
        name: plan.name.clone(),
        config: config(plan, resolved),
        provenance: BTreeMap::new(),
        tags,
        boot_id: boot_id.map(str::to_owned),
        environment,
        pid: std::process::id(),
        sinks: to,
        varying: Vec::new(),
        sources: Value::Array(Vec::new()),
        model: Value::Null,
    })
}

/// What all points share, and what the sweep is. The points themselves are a table.
fn config(plan: &Plan, resolved: &Resolved) -> Value {
    let mut config = resolved.tree.as_object().cloned().unwrap_or_default();
    for key in plan.parameters() {
        remove(&mut config, key);
    }
    let mut values: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for (key, value) in plan.points.iter().flat_map(|point| &point.parameters) {
        let known = values.entry(key).or_default();
        if !known.contains(value) {
            known.push(value.clone());
        }
    }
    let files: Vec<&str> = plan.bases.iter().map(|base| base.file.as_str()).collect();
    config.insert(
        "sweep".into(),
        json!({
            "configurations": files,
            "vary": values,
            "points": plan.points.len(),
            "cycles": plan.visits.len(),
            "order": plan.order,
            "seed": plan.seed,
            "stop_early": plan.stop_early,
            "best": plan.best,
        }),
    );
    config.into()
}

fn remove(map: &mut Map<String, Value>, path: &str) {
    if map.shift_remove(path).is_some() {
        return;
    }
    if let Some((first, rest)) = path.split_once('.')
        && let Some(Value::Object(inner)) = map.get_mut(first)
    {
        remove(inner, rest);
    }
}

/// The points as a table, and the numbers of the best one as the sweep's own.
fn records(plan: &Plan, report: &Report) -> Vec<Record> {
    let keys = plan.parameters();
    let mut columns: Vec<String> = ["point", "run_id", "configuration"]
        .map(String::from)
        .into();
    columns.extend(keys.iter().map(ToString::to_string));
    columns.extend(["state", "cycles"].map(String::from));
    for row in QUANTITIES {
        columns.extend([row.id.to_owned(), format!("{}.half_width", row.id)]);
    }
    columns.extend(["pareto", "best"].map(String::from));
    let rows = report.points.iter().map(|point| {
        let mut cells = vec![json!(point.index), json!(point.run_id), json!(point.config)];
        cells.extend(keys.iter().map(|key| match point.parameters.get(*key) {
            Some(value @ (Value::Array(_) | Value::Object(_))) => value.to_string().into(),
            Some(value) => value.clone(),
            None => Value::Null,
        }));
        let state = serde_json::to_value(&point.state).unwrap_or_default();
        cells.push(state.get("state").cloned().unwrap_or_default());
        cells.push(json!(point.state.cycles()));
        for row in QUANTITIES {
            let estimate = point.numbers.get(row.id);
            cells.push(json!(estimate.map(|e| e.value)));
            cells.push(json!(estimate.and_then(Estimate::half_width)));
        }
        cells.extend([json!(point.on_front), json!(point.best)]);
        cells
    });
    let mut records = vec![Record::Table(Table {
        name: "points".into(),
        columns,
        rows: rows.collect(),
    })];
    let Some(best) = report.points.iter().find(|point| point.best) else {
        return records;
    };
    for row in QUANTITIES.iter().filter(|row| row.gauge) {
        let Some(estimate) = best.numbers.get(row.id) else {
            continue;
        };
        let interval = estimate.low.zip(estimate.high);
        records.push(Record::Metric(Metric {
            id: row.id.to_owned(),
            attributes: BTreeMap::new(),
            value: MetricValue::Number(estimate.value),
            t_ns: Stamp::mono_ns(),
            cycle: None,
            how: how(row.id, best.energy_how),
            uncertainty: None,
            interval: interval.map(|(low, high)| lem_record::Interval {
                low,
                high,
                level: 0.95,
            }),
            method: Some(format!("of the best point, {}", best.index)),
        }));
    }
    records
}

fn how(id: &str, energy: Option<&str>) -> lem_record::How {
    match energy {
        Some("modelled") if !id.starts_with("throughput") => lem_record::How::Modelled,
        _ => lem_record::How::Measured,
    }
}
