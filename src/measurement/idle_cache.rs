//! Idle powers that earlier runs measured on this board, for runs that measure none.
//!
//! One small file a board below lem's cache: `baseline/<key>.json`. The key is of what an idle
//! power depends on: host, devices, driver, power limits. The power with a model loaded counts
//! only for the same engine and model. A file that does not read is as if it were not there.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use lem_record::{How, Table};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::analysis::{CACHED_BASELINES, CACHED_COLUMNS, IdlePower};
use crate::environment::Environment;
use crate::meter::Source;

/// A file of ours is a hundredth of this.
const MOST_BYTES: u64 = 1 << 18;
const LOADED: &str = "loaded";

#[derive(Clone, Debug, PartialEq)]
pub struct IdleCache {
    path: PathBuf,
    board: Value,
    /// Engine and model.
    loaded: String,
}

#[derive(Default, Serialize, Deserialize)]
struct Kept {
    /// What the key is made of, for people.
    board: Value,
    idle: Vec<Idle>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Idle {
    kind: String,
    source: String,
    watts: f64,
    stddev_watts: f64,
    uncertainty_watts: f64,
    measured_unix_s: i64,
    run: String,
    /// Engine and model, of the power with a model loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    loaded: Option<String>,
}

impl IdleCache {
    /// `None` where nothing is measured: a model's idle power needs no cache.
    pub fn of(
        cache: &Path,
        environment: &Environment,
        sources: &[Source],
        loaded: String,
    ) -> Option<Self> {
        let devices = devices(sources);
        if devices.is_empty() {
            return None;
        }
        let gpus: Vec<Value> = environment
            .gpus
            .value()
            .into_iter()
            .flatten()
            .filter(|gpu| devices.iter().any(|d| d.contains(&gpu.uuid)))
            .map(|gpu| {
                json!({"uuid": gpu.uuid, "limit_watts": gpu.power_limit_watts.value(),
                       "ecc": gpu.ecc.value(), "persistence": gpu.persistence.value()})
            })
            .collect();
        let driver = environment.gpu_driver.value();
        let board = json!({
            "host": environment.host.hostname,
            "devices": devices,
            "driver": driver.and_then(|d| d.driver.value()),
            "gpus": gpus,
        });
        Some(Self::at(cache, board, loaded))
    }

    fn at(cache: &Path, board: Value, loaded: String) -> Self {
        let digest = hex::encode(Sha256::digest(board.to_string()));
        let name = digest.get(..32).unwrap_or(&digest);
        Self {
            path: cache.join("baseline").join(format!("{name}.json")),
            board,
            loaded,
        }
    }

    /// What is young enough, as the table that the analysis reads; `None` where nothing is.
    pub fn load(&self, max_age_h: f64, now_unix_s: i64) -> Option<Table> {
        let rows: Vec<Vec<Value>> = self
            .read()
            .idle
            .into_iter()
            .filter(|idle| idle.kind != LOADED || idle.loaded.as_ref() == Some(&self.loaded))
            .filter_map(|idle| {
                // One from the future is of a clock that was wrong.
                let age_s = now_unix_s.checked_sub(idle.measured_unix_s)?;
                let age_h = age_s as f64 / 3_600.0;
                (0.0..=max_age_h).contains(&age_h).then(|| {
                    vec![
                        json!(idle.kind),
                        json!(idle.source),
                        json!(idle.watts),
                        json!(idle.stddev_watts),
                        json!(idle.uncertainty_watts),
                        json!(age_h),
                        json!(idle.run),
                    ]
                })
            })
            .collect();
        (!rows.is_empty()).then(|| Table {
            name: CACHED_BASELINES.into(),
            columns: CACHED_COLUMNS.map(str::to_owned).into(),
            rows,
        })
    }

    /// Keeps what this run measured, in the place of what was known of the same.
    pub fn store(&self, idles: &[IdlePower], run: &str, now_unix_s: i64) -> std::io::Result<()> {
        if idles.is_empty() {
            return Ok(());
        }
        let mut kept = Kept {
            board: self.board.clone(),
            idle: self.read().idle,
        };
        for new in idles {
            kept.idle
                .retain(|old| old.kind != new.kind || old.source != new.source);
            kept.idle.push(Idle {
                kind: new.kind.into(),
                source: new.source.clone(),
                watts: new.watts,
                stddev_watts: new.stddev,
                uncertainty_watts: new.uncertainty,
                measured_unix_s: now_unix_s,
                run: run.to_owned(),
                loaded: (new.kind == LOADED).then(|| self.loaded.clone()),
            });
        }
        let folder = self.path.parent().unwrap_or(&self.path);
        std::fs::create_dir_all(folder)?;
        // Another lem may read it now: it sees the old file or the new one.
        let partial = self
            .path
            .with_extension(format!("{}.part", std::process::id()));
        std::fs::write(&partial, serde_json::to_vec_pretty(&kept)?)?;
        std::fs::rename(&partial, &self.path)
    }

    fn read(&self) -> Kept {
        let read = || {
            let mut text = Vec::new();
            let file = std::fs::File::open(&self.path).ok()?;
            file.take(MOST_BYTES).read_to_end(&mut text).ok()?;
            serde_json::from_slice::<Kept>(&text).ok()
        };
        // Two boards of one key are no more likely than a broken file, and as harmless.
        read()
            .filter(|kept| kept.board == self.board)
            .unwrap_or_default()
    }
}

/// The measured power sources, by what finds them again.
fn devices(sources: &[Source]) -> Vec<String> {
    let measured = sources
        .iter()
        .filter(|s| s.gives_energy() && s.how == How::Measured);
    measured
        .map(|s| format!("{} {}", s.id, s.device.as_deref().unwrap_or(&s.name)))
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn idle(kind: &'static str, watts: f64) -> IdlePower {
        IdlePower {
            kind,
            source: "gpu0".into(),
            watts,
            stddev: 1.0,
            uncertainty: 0.1,
        }
    }

    const NOW: i64 = 1_800_000_000;

    #[test]
    fn what_was_kept_is_found_until_it_is_old() {
        let folder = tempfile::tempdir().unwrap();
        let of = |limit: u32, loaded: &str| {
            IdleCache::at(folder.path(), json!({"limit": limit}), loaded.into())
        };
        let cache = of(700, "candle a");
        assert_eq!(cache.load(24.0, NOW), None);
        cache
            .store(&[idle("bare", 70.0), idle("loaded", 116.0)], "first", NOW)
            .unwrap();
        cache
            .store(&[idle("bare", 71.0)], "second", NOW + 3_600)
            .unwrap();
        let table = cache.load(24.0, NOW + 7_200).unwrap();
        let mut rows = table.rows.clone();
        rows.sort_by_key(|row| row[0].to_string());
        assert_eq!(
            rows[0][..4],
            [json!("bare"), json!("gpu0"), json!(71.0), json!(1.0)]
        );
        assert_eq!(rows[0][5..], [json!(1.0), json!("second")]);
        assert_eq!(rows[1][2], 116.0);
        // Another model is loaded; another limit; another day; a clock set back.
        let other = of(700, "candle b").load(24.0, NOW + 7_200).unwrap();
        assert_eq!(
            other.rows.len(),
            1,
            "only the bare power is that of any model"
        );
        assert_eq!(of(600, "candle a").load(24.0, NOW), None);
        assert_eq!(cache.load(24.0, NOW + 26 * 3_600), None);
        assert_eq!(cache.load(24.0, NOW - 10), None);
    }

    #[test]
    fn a_file_that_does_not_read_is_as_none_and_is_written_anew() {
        let folder = tempfile::tempdir().unwrap();
        let cache = IdleCache::at(folder.path(), json!({"host": "h"}), "m".into());
        std::fs::create_dir_all(cache.path.parent().unwrap()).unwrap();
        for text in [
            "",
            "{\"board\":",
            "[1]",
            "{\"board\":{\"host\":\"other\"},\"idle\":[]}",
        ] {
            std::fs::write(&cache.path, text).unwrap();
            assert_eq!(cache.load(24.0, NOW), None, "{text}");
            cache.store(&[idle("bare", 70.0)], "r", NOW).unwrap();
            assert_eq!(cache.load(24.0, NOW).unwrap().rows.len(), 1);
        }
        let files = std::fs::read_dir(cache.path.parent().unwrap()).unwrap();
        assert_eq!(files.count(), 1, "no partial file is left");
    }
}
