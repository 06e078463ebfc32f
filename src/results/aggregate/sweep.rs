//! The points of a sweep that were measured on several machines, in one table.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::results::grid::Grid;
use crate::results::index::{Index, RESULT_SUFFIX};
use crate::results::query::plain;

/// The tag that every point carries.
pub const SWEEP_ID: &str = "lem.sweep_id";
/// The tag that tells a sweep's parent, which is no point.
pub const KIND: &str = "lem.kind";
/// Of the folder of a sweep: what it is to measure.
pub const PLAN_FILE: &str = "plan.json";

/// What was found of a sweep.
#[derive(Clone, Debug)]
pub struct Sweep {
    pub grid: Grid,
    /// The runs of its points.
    pub points: Vec<PathBuf>,
    /// Points of the plan that have no run, by their run ids.
    pub missing: Vec<String>,
    /// Runs of one point that were found more than once.
    pub twice: Vec<String>,
    /// Points that did not finish.
    pub unfinished: usize,
}

const METRICS: &[&str] = &[
    "throughput.total_tokens_per_sec",
    "total_energy_j",
    "energy_per_output_token_j",
];

/// Looks for the points in folders of runs. A plan that lies there tells which are missing,
/// and what each set.
pub fn find(id: &str, folders: &[PathBuf], many: &mut dyn FnMut(usize)) -> Result<Sweep, String> {
    let mut plan = BTreeMap::new();
    let mut found: BTreeMap<String, (PathBuf, Vec<Value>)> = BTreeMap::new();
    let mut twice = Vec::new();
    let tag = format!("tags.{SWEEP_ID}");
    let mut paths: Vec<String> = vec![
        tag,
        format!("tags.{KIND}"),
        "run_id".into(),
        "status".into(),
        "num_cycles".into(),
    ];
    paths.extend(METRICS.iter().map(|m| (*m).to_owned()));
    for folder in folders {
        plan.extend(planned(id, folder));
        let cannot = |error| {
            format!(
                "the folder {} cannot be read: {error}. Give folders of runs",
                folder.display()
            )
        };
        let mut index = Index::open(folder, many).map_err(cannot)?;
        let read = index.rows(&paths, &mut |row| {
            let of = |at: usize| row.values.get(at).map(plain).unwrap_or_default();
            // A file is an aggregate or a migrated result: a point has a folder.
            if of(0) != id || of(1) == "sweep" || row.path.ends_with(RESULT_SUFFIX) {
                return;
            }
            let run = of(2);
            let values = row.values.iter().skip(3).cloned().collect();
            if found
                .insert(run.clone(), (folder.join(&row.path), values))
                .is_some()
            {
                twice.push(run);
            }
        });
        read.map_err(|error| format!("the index of {} cannot be read: {error}", folder.display()))?;
    }
    if found.is_empty() {
        return Err(format!(
            "no point of a sweep {id} is in these folders. Give the folders that hold its runs"
        ));
    }
    let mut parameters: Vec<&String> = plan.values().flat_map(Map::keys).collect();
    parameters.sort_unstable();
    parameters.dedup();
    let mut grid = Grid::new(format!("Sweep {id}"), &["run_id"]);
    grid.columns.extend(parameters.iter().map(|p| (*p).clone()));
    grid.columns.extend(["status", "cycles"].map(str::to_owned));
    grid.columns.extend(METRICS.iter().map(|m| (*m).to_owned()));
    let mut unfinished = 0;
    for (run, (_, values)) in &found {
        let set = plan.get(run);
        let mut row = vec![json!(run)];
        row.extend(
            parameters
                .iter()
                .map(|p| set.and_then(|s| s.get(*p)).cloned().unwrap_or_default()),
        );
        unfinished += usize::from(values.first().map(plain).as_deref() != Some("finished"));
        row.extend(values.iter().cloned());
        grid.rows.push(row);
    }
    Ok(Sweep {
        grid,
        missing: plan
            .keys()
            .filter(|run| !found.contains_key(*run))
            .cloned()
            .collect(),
        points: found.into_values().map(|(path, _)| path).collect(),
        twice,
        unfinished,
    })
}

/// The points of a plan: run id, and what it sets.
fn planned(id: &str, folder: &Path) -> BTreeMap<String, Map<String, Value>> {
    let read = |path: PathBuf| {
        let text = fs::read(path).ok()?;
        let plan: Value = serde_json::from_slice(&text).ok()?;
        (plan.get("sweep_id").and_then(Value::as_str) == Some(id)).then_some(plan)
    };
    let plan = [folder.join(PLAN_FILE), folder.join(id).join(PLAN_FILE)]
        .into_iter()
        .find_map(read);
    let points = plan
        .as_ref()
        .and_then(|p| p.get("points"))
        .and_then(Value::as_array);
    let of = |point: &Value| {
        let run = point.get("run_id")?.as_str()?.to_owned();
        let set = point.get("parameters").and_then(Value::as_object).cloned();
        Some((run, set.unwrap_or_default()))
    };
    points.into_iter().flatten().filter_map(of).collect()
}
