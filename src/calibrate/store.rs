//! Calibrations by board: one JSON file each.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::fit::Fit;

pub const FORMAT: u32 = 1;

/// What was identified of one board under one driver.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Calibration {
    pub format: u32,
    pub uuid: String,
    pub name: String,
    pub driver: String,
    /// RFC 3339.
    pub made_at: String,
    /// By field: `ring`, `instant`, `average`; absent where it could not be identified.
    pub fields: BTreeMap<String, Fit>,
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the calibration {} cannot be written: {source}. Check the folder's permissions and space", path.display())]
    Write { path: PathBuf, source: io::Error },
}

fn file(folder: &Path, uuid: &str) -> PathBuf {
    let safe = |c: char| {
        if c.is_ascii_alphanumeric() || c == '-' {
            c
        } else {
            '_'
        }
    };
    folder.join(format!(
        "{}.json",
        uuid.chars().map(safe).collect::<String>()
    ))
}

/// Replaces what there was of this board, in one step.
pub fn save(folder: &Path, calibration: &Calibration) -> Result<PathBuf, StoreError> {
    let path = file(folder, &calibration.uuid);
    let failed = |source| StoreError::Write {
        path: path.clone(),
        source,
    };
    fs::create_dir_all(folder).map_err(failed)?;
    let text = serde_json::to_string_pretty(calibration).map_err(|e| failed(e.into()))?;
    let new = path.with_extension(format!("new-{}", std::process::id()));
    fs::write(&new, text).map_err(failed)?;
    fs::rename(&new, &path).map_err(failed)?;
    Ok(path)
}

/// The calibration of a board under this driver. One of another driver, or a file that
/// cannot be read, is none: the error says which, for people.
pub fn load(folder: &Path, uuid: &str, driver: &str) -> Result<Calibration, String> {
    let path = file(folder, uuid);
    let text = fs::read_to_string(&path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => "it was never calibrated".to_owned(),
        _ => format!("{}: {error}", path.display()),
    })?;
    let known: Calibration = serde_json::from_str(&text)
        .map_err(|error| format!("{} is not a calibration: {error}", path.display()))?;
    if known.format != FORMAT || known.uuid != uuid {
        return Err(format!("{} is of another version or board", path.display()));
    }
    if known.driver != driver {
        return Err(format!(
            "its calibration is of driver {}, and this is {driver}",
            known.driver
        ));
    }
    Ok(known)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::meter::{Kernel, Shape};

    fn calibration() -> Calibration {
        let ring = Fit {
            kernel: Kernel {
                shape: Shape::LowPass,
                delay_s: 0.005,
                width_s: 0.01,
            },
            lag_s: 0.015,
            u_lag_s: Some(0.001),
            window_s: 0.02,
            u_window_s: None,
            update_s: 0.02,
            idle_watts: 120.0,
            busy_watts: 690.0,
            explained: 0.97,
        };
        Calibration {
            format: FORMAT,
            uuid: "GPU-0c0ffee".into(),
            name: "NVIDIA H100 80GB HBM3".into(),
            driver: "580.159.04".into(),
            made_at: "2026-11-24T14:00:00Z".into(),
            fields: BTreeMap::from([("ring".to_owned(), ring)]),
        }
    }

    #[test]
    fn what_was_saved_is_found_again_and_only_for_its_board_and_driver() {
        let scratch = tempfile::tempdir().unwrap();
        let path = save(scratch.path(), &calibration()).unwrap();
        save(scratch.path(), &calibration()).unwrap();
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 1);
        let of = |uuid: &str, driver: &str| load(scratch.path(), uuid, driver);
        assert_eq!(of("GPU-0c0ffee", "580.159.04"), Ok(calibration()));
        assert!(
            of("GPU-0c0ffee", "590.1")
                .unwrap_err()
                .contains("of driver 580.159.04")
        );
        assert!(of("GPU-1", "580.159.04").unwrap_err().contains("never"));
        fs::write(&path, "{").unwrap();
        assert!(
            of("GPU-0c0ffee", "580.159.04")
                .unwrap_err()
                .contains("not a calibration")
        );
    }

    #[test]
    fn no_name_of_a_board_leaves_the_folder() {
        assert_eq!(
            file(Path::new("/c"), "../../etc"),
            Path::new("/c/______etc.json")
        );
    }
}
