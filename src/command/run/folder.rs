//! A run's id and its folder.

use std::path::{Path, PathBuf};

use rand::Rng as _;

/// Sorts by time, readable, and different between machines that start together:
/// `20261124-083000-9f3c2a`.
pub fn new_run_id(now: jiff::Timestamp) -> String {
    let time = now.to_zoned(jiff::tz::TimeZone::UTC).strftime("%Y%m%d-%H%M%S");
    format!("{time}-{:06x}", rand::rng().random_range(0..1u32 << 24))
}

/// Makes sure, before anything is measured, that the folder can be written.
pub fn create(parent: &Path, run_id: &str) -> Result<PathBuf, String> {
    let cannot = |error: std::io::Error| {
        format!(
            "the run's folder cannot be made under {}: {error}. Choose another parent folder with --output",
            parent.display()
        )
    };
    std::fs::create_dir_all(parent).map_err(cannot)?;
    let folder = parent.canonicalize().map_err(cannot)?.join(run_id);
    Ok(folder)
}
