//! `--profile`: one more round after the measured ones, under the engine's own profiler.
//!
//! The cycles are measured without it, so that it costs none of their joules. The same
//! work is done twice, without and with the profiler, which tells what the profiler costs.

use std::collections::HashMap;
use std::path::Path;
use std::time::Instant;

use lem_delivery::Spool;
use lem_record::{Artifact, ArtifactKind, Record, Recorder as _, Table, Warning};
use serde_json::{Value, json};

use crate::analysis::{FlopsCost, PROFILE};
use crate::command::{close, say};
use crate::engine::{Cancel, Engine, EngineError, Event, EventSink, Profile, TokenIds, Work};

/// Decoding steps that are profiled at most: a trace has some hundred events a step, and a
/// browser has to hold it.
const MOST_STEPS: u64 = 64;
const TRACE: &str = "artifacts/profile-trace.json";
const SUMMARY: &str = "artifacts/profile.json";
/// Rows of the tables that sinks get; the artifact has all.
const MOST_ROWS: usize = 200;

/// Profiles and records. What fails here is a warning: the measured run stands.
pub fn run(engine: &mut dyn Engine, work: &Work, spool: &Spool, cancel: &Cancel) {
    say("Profiling one round");
    let (part, whole) = part(work);
    match profiled(engine, &part, whole, spool.folder(), cancel) {
        Ok(records) => {
            records.into_iter().for_each(|record| spool.record(record));
            // The analysis reads the log. A disk that is full is met again there.
            let _ = spool.commit();
        }
        Err(error) => spool.record(Record::Warning(Warning {
            code: "profile.failed".into(),
            message: format!("The profiled round failed: {}", error.what),
            remedy: error.remedy,
        })),
    }
}

/// What of the work is profiled, and whether that is all of it.
fn part(work: &Work) -> (Work, bool) {
    let steps: u64 = work
        .requests
        .chunks(work.batch_size.max(1))
        .map(|batch| u64::from(batch.iter().map(|r| r.max_output_tokens).max().unwrap_or(0)))
        .sum();
    if steps <= MOST_STEPS {
        return (work.clone(), true);
    }
    let mut part = work.clone();
    part.requests.truncate(work.batch_size.max(1));
    part.due_ns.clear();
    for request in &mut part.requests {
        request.max_output_tokens = request.max_output_tokens.min(MOST_STEPS as u32);
        request.min_output_tokens = request.min_output_tokens.min(MOST_STEPS as u32);
    }
    (part, false)
}

fn profiled(
    engine: &mut dyn Engine,
    work: &Work,
    whole: bool,
    folder: &Path,
    cancel: &Cancel,
) -> Result<Vec<Record>, EngineError> {
    let mut outputs = Outputs::default();
    let begun = Instant::now();
    engine.generate(work, &mut outputs, cancel)?;
    let plain_s = begun.elapsed().as_secs_f64();
    let Some(profile) = engine.profile(work, &folder.join(TRACE), cancel) else {
        return Err(EngineError::new(
            "the engine has no profiler",
            "Set profiling.enabled to false",
        ));
    };
    let profile = profile?;
    let profiled_s = profile.seconds;
    let estimated = FlopsCost::of(engine.describe()).map(|cost| {
        let of = |r: &crate::engine::Request| {
            let output = outputs.0.get(&r.id).copied().unwrap_or(0);
            if output == 0 {
                0.0
            } else {
                cost.request(r.tokens.len() as u64, output)
            }
        };
        work.requests.iter().map(of).sum::<f64>()
    });
    let overhead = profiled_s / plain_s - 1.0;
    let mut rows = vec![
        ("profiler", json!(profile.profiler)),
        (
            "work",
            json!(if whole {
                "a whole cycle"
            } else {
                "the first batch, its answers cut"
            }),
        ),
        ("requests", json!(work.requests.len())),
        ("output tokens", json!(outputs.0.values().sum::<u64>())),
        ("flops", json!(profile.flops)),
        ("attention flops", json!(profile.attention_flops)),
        ("estimated flops", json!(estimated)),
        ("seconds without profiler", json!(plain_s)),
        ("seconds with profiler", json!(profiled_s)),
        ("overhead", json!(overhead)),
        (
            "operators",
            json!(profile.operators.iter().map(|o| o.calls).sum::<u64>()),
        ),
        (
            "kernels",
            json!(profile.kernels.iter().map(|k| k.calls).sum::<u64>()),
        ),
        ("peak bytes above start", json!(profile.peak_bytes)),
    ];
    if let Some(estimated) = estimated.filter(|_| profile.flops > 0.0) {
        rows.push((
            "discrepancy",
            json!((estimated - profile.flops) / profile.flops),
        ));
    }
    let mut records = vec![Record::Table(Table {
        name: PROFILE.into(),
        columns: ["what", "value"].map(String::from).into(),
        rows: rows
            .iter()
            .map(|(what, value)| vec![json!(what), value.clone()])
            .collect(),
    })];
    records.extend(tables(&profile).map(Record::Table));
    let summary: serde_json::Map<String, Value> = rows
        .into_iter()
        .map(|(what, value)| (what.to_owned(), value))
        .chain([("profile".to_owned(), json!(profile))])
        .collect();
    let written = serde_json::to_vec_pretty(&summary)
        .map_err(std::io::Error::other)
        .and_then(|text| std::fs::write(folder.join(SUMMARY), text));
    written.map_err(|error| {
        EngineError::new(
            format!(
                "{} cannot be written: {error}",
                folder.join(SUMMARY).display()
            ),
            "Free some space",
        )
    })?;
    for path in [SUMMARY, TRACE] {
        // A profiler may have no trace to write.
        if let Ok((sha256, bytes)) = close::hash(&folder.join(path)) {
            records.push(Record::Artifact(Artifact {
                path: path.into(),
                artifact: ArtifactKind::Profile,
                sha256,
                bytes,
            }));
        }
    }
    records.push(Record::Warning(Warning {
        code: "profile.no_energy_benchmark".into(),
        message: format!(
            "The profiled round is no energy benchmark: with the profiler the same work took {:+.0} % time",
            overhead * 100.0
        ),
        remedy: "None of its time or energy is in the result; leave --profile out for runs whose device should rest after the cycles".into(),
    }));
    Ok(records)
}

fn tables(profile: &Profile) -> impl Iterator<Item = Table> {
    let operators = Table {
        name: "profile_operators".into(),
        columns: ["operator", "calls", "host s", "own host s", "flops"]
            .map(String::from)
            .into(),
        rows: profile
            .operators
            .iter()
            .take(MOST_ROWS)
            .map(|o| {
                vec![
                    json!(o.name),
                    json!(o.calls),
                    json!(o.total_s),
                    json!(o.own_s),
                    json!(o.flops),
                ]
            })
            .collect(),
    };
    let kernels = Table {
        name: "profile_kernels".into(),
        columns: ["kernel", "calls", "device s"].map(String::from).into(),
        rows: profile
            .kernels
            .iter()
            .take(MOST_ROWS)
            .map(|k| vec![json!(k.name), json!(k.calls), json!(k.seconds)])
            .collect(),
    };
    [operators, kernels]
        .into_iter()
        .filter(|t| !t.rows.is_empty())
}

/// Output tokens of each request.
#[derive(Default)]
struct Outputs(HashMap<u64, u64>);

impl EventSink for Outputs {
    fn event(&mut self, event: Event) {
        if let Event::Tokens { request, ids, .. } = event {
            *self.0.entry(request).or_default() += match ids {
                TokenIds::One(_) => 1,
                TokenIds::Many(ids) => ids.len() as u64,
                TokenIds::Count(count) => u64::from(count),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::engine::{Request, Sampling};

    fn work(requests: u64, batch_size: usize, outputs: u32) -> Work {
        let request = |id| Request {
            id,
            tokens: Arc::from([1]),
            text: None,
            max_output_tokens: outputs,
            min_output_tokens: outputs,
        };
        Work {
            requests: (0..requests).map(request).collect(),
            batch_size,
            sampling: Sampling::default(),
            due_ns: Vec::new(),
        }
    }

    #[test]
    fn little_work_is_profiled_whole_and_much_is_cut() {
        assert!(part(&work(4, 2, 32)).1);
        let (cut, whole) = part(&work(4, 2, 128));
        assert!(!whole);
        assert_eq!(cut.requests.len(), 2);
        assert!(
            cut.requests
                .iter()
                .all(|r| r.max_output_tokens == 64 && r.min_output_tokens == 64)
        );
    }
}
