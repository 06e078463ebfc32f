//! From a result of version 2 to one of version 3: pure, one file at a time.
//!
//! ```text
//! bytes ─► read ─► shape ─► facts of each process ─► together, a cycle each ─► numbers ─► RunResult
//!            │                        │
//!            │                        └─► notes: what is absent, distrusted, computed anew
//!            └─► the whole document, as it was, under `legacy`
//! ```
//!
//! Nothing is lost because the original stands in the result whole. What version 3 says
//! beside it is only what the original can bear: every doubt has a row in [`notes`], every
//! field a row in [`super::legacy_names`].

mod count;
mod cycles;
mod facts;
mod latencies;
mod notes;
mod numbers;
mod old;
mod read;
mod refused;
mod said;
mod shape;
#[cfg(test)]
mod tests;
mod times;
mod together;

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use lem_record::{Quantity, RunStatus};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::*;
use facts::Facts;
use notes::Notes;
use old::Old;

pub use refused::{Refused, Why};

/// Every reason that a note can have, for the documentation: its code, what it makes of the
/// number, why, and what a reader can do.
pub(crate) fn reasons() -> impl Iterator<
    Item = (
        &'static str,
        &'static str,
        &'static str,
        Option<&'static str>,
    ),
> {
    notes::REASONS.iter().map(|reason| {
        let kind = match reason.kind {
            NoteKind::Flagged => "flagged",
            NoteKind::Absent => "absent",
            NoteKind::Recomputed => "recomputed",
            NoteKind::Told => "told",
        };
        (reason.code, kind, reason.why, reason.remedy)
    })
}

/// What the file itself does not say.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Of the machine that wrote the times.
    pub zone: Option<TimeZone>,
}

/// Migrates one file. `source` is what it is called in the result.
pub fn migrate(bytes: &[u8], source: &str, options: &Options) -> Result<RunResult, Refused> {
    let document = read::read(bytes)?;
    let shape = shape::shape(&document.value)?;
    let sha256 = hex::encode(Sha256::digest(bytes));
    let notes = Notes::default();
    for path in &document.too_large {
        let path = format!("legacy.{path}");
        notes.push(
            &path,
            notes::NUMBER_TOO_LARGE,
            format!("{path} is a number that stands as text"),
        );
    }
    let mut result = result(&document.value, shape, &sha256, options, &notes);
    let notes = notes.into_inner();
    result.warnings.extend(notes::warnings(&notes));
    result.migration = Some(Migration {
        shape,
        told_version: document
            .value
            .get("schema_version")
            .and_then(Value::as_str)
            .map(str::to_owned),
        source: source.to_owned(),
        source_sha256: sha256,
        counts: count::count(&document.value, &notes),
        notes,
    });
    result.legacy = Some(document.value);
    Ok(result)
}

fn result(
    document: &Value,
    shape: OldShape,
    sha256: &str,
    options: &Options,
    notes: &Notes,
) -> RunResult {
    let old = Old::new(document, notes);
    let levels = said::Levels::of(&old);
    let cycles = cycles::of(&old, shape);
    let all: Vec<&Facts> = cycles.iter().map(|cycle| &cycle.facts).collect();
    let mut made = numbers::of(&all);
    if shape == OldShape::MultiCycle {
        cycles::check_statistics(&old, &made);
    }
    if shape == OldShape::LaterExperiment {
        notes.push(
            "legacy",
            notes::LATER_UNKNOWN,
            "the file has a measurement_config_hash",
        );
    }
    let (started, ended) = moments(&old, &all, options, &mut made.numbers.absent);
    let absent = || Quantity::absent("version 2 observed no idle power");
    let experiment = levels.text("experiment_id").unwrap_or("unknown");
    let name = levels
        .text("config_name")
        .or(levels.text("effective_config.config_name"));
    let process = match shape {
        OldShape::Raw => old
            .at("process_index")
            .count()
            .map(|index| format!("p{index}-")),
        _ => None,
    };
    RunResult {
        schema_version: SCHEMA_VERSION.into(),
        producer: Producer {
            name: "lem".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            analysis: crate::analysis::VERSION,
            energy_boundary: boundary(&made.numbers),
        },
        run_id: format!(
            "v2-{}-{}{}",
            slug(experiment),
            process.unwrap_or_default(),
            sha256.get(..12).unwrap_or(sha256)
        ),
        run_dir: String::new(),
        name: name.unwrap_or(experiment).to_owned(),
        // Version 2 wrote results of what had ended well only.
        status: RunStatus::Finished,
        status_reason: None,
        started,
        ended,
        backend: levels.text("backend").map(str::to_owned),
        model_name: levels
            .text("model_name")
            .or(levels.text("effective_config.model_name"))
            .map(str::to_owned),
        model: None,
        command: None,
        marked_phases: Vec::new(),
        config: levels.config(),
        provenance: levels.provenance(),
        environment: levels.environment(),
        thermal: None,
        tags: BTreeMap::new(),
        sources: Vec::new(),
        aggregation: None,
        num_cycles: u32::try_from(cycles.len()).unwrap_or(u32::MAX),
        numbers: made.numbers,
        phase_estimates: PhaseEstimates {
            reason: Some("version 2 did not tell prefill from decode".into()),
            ..PhaseEstimates::default()
        },
        throttling: Vec::new(),
        baseline_power_w: absent(),
        baseline: Baseline {
            bare_w: absent(),
            loaded_w: absent(),
            after_w: absent(),
            parking_w: absent(),
            stddev_w: absent(),
            energy_j: absent(),
            ratio: absent(),
            duration_s: None,
        },
        time_series: TimeSeries {
            power: "version 2 kept no sampled series".into(),
            memory: "version 2 kept no sampled series".into(),
            ..TimeSeries::default()
        },
        quality: Quality {
            perplexity: Quantity::absent("version 2 measured no quality"),
            scores: BTreeMap::new(),
        },
        cycles: cycles
            .iter()
            .enumerate()
            .map(|(index, cycle)| cycles::result(index, cycle))
            .collect(),
        intervals: made.intervals,
        cycle_statistics: made.statistics,
        warnings: levels.warnings(),
        exports: Vec::new(),
        migration: None,
        legacy: None,
    }
}

/// When it began and ended, in UTC where that is known.
fn moments(
    old: &Old<'_>,
    cycles: &[&Facts],
    options: &Options,
    absent: &mut BTreeMap<String, String>,
) -> (Option<String>, Option<String>) {
    let outer = |path: &str| old.at(path).text().and_then(times::read);
    let start = outer("start_time").or(cycles.first().and_then(|one| one.start));
    let end = outer("end_time").or(cycles.last().and_then(|one| one.end));
    let mut of = |path: &str, moment: Option<times::Moment>| {
        let Some(moment) = moment else {
            absent.insert(
                path.to_owned(),
                "the file of version 2 does not tell".to_owned(),
            );
            return None;
        };
        let known = moment.rfc3339(options.zone.as_ref());
        if known.is_none() {
            let what = "version 2 wrote a time without a zone; --zone gives it";
            old.notes().push(path, notes::TIME_NO_ZONE, what);
            absent.insert(path.to_owned(), notes::TIME_NO_ZONE.why.to_owned());
        }
        known
    };
    (of("started", start), of("ended", end))
}

/// What the total sums.
fn boundary(numbers: &Numbers) -> String {
    let parts = &numbers.energy_components;
    let there: Vec<&str> = [
        ("gpu", &parts.gpu),
        ("cpu", &parts.cpu),
        ("memory", &parts.memory),
    ]
    .into_iter()
    .filter(|(_, quantity)| quantity.value.is_some())
    .map(|(name, _)| name)
    .collect();
    match there.is_empty() {
        true => "reported by version 2: nothing".to_owned(),
        false => format!("reported by version 2: {}", there.join(", ")),
    }
}

/// An id that may stand in a path and a URL.
fn slug(text: &str) -> String {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') {
            c
        } else {
            '-'
        }
    };
    text.chars().take(80).map(plain).collect()
}
