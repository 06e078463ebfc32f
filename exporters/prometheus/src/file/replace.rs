//! A file that is whole or not there.

use std::fs::{self, File, Permissions};
use std::io::{self, BufWriter, ErrorKind, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use lem_record::{Check, CheckOutcome, ExportError};

/// Writes beside the target and renames. Everybody may read the file: it is made for
/// another program, which runs as another user.
pub(super) fn replace(
    target: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> io::Result<u64> {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let beside = target.with_file_name(format!(".{name}.{}", std::process::id()));
    let whole = || {
        let mut out = BufWriter::with_capacity(1 << 18, File::create(&beside)?);
        write(&mut out)?;
        out.flush()?;
        let file = out.get_ref();
        file.set_permissions(Permissions::from_mode(0o644))?;
        file.sync_all()?;
        let bytes = file.metadata()?.len();
        fs::rename(&beside, target)?;
        Ok(bytes)
    };
    let done = whole();
    if done.is_err() {
        let _ = fs::remove_file(&beside); // it may not be there, and the first error is told
    }
    done
}

/// A run id as part of a file's name.
pub(super) fn file_name(run_id: &str, before: &str, after: &str) -> Result<String, ExportError> {
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    if run_id.is_empty() || run_id.len() > 200 || !run_id.chars().all(plain) {
        return Err(ExportError::give_up(
            format!("the run id {run_id:?} cannot be part of a file's name"),
            "Give the run another --name",
        ));
    }
    Ok(format!("{before}{run_id}{after}"))
}

/// What to do about a failed operation: some pass, some need a person.
pub(super) fn trouble(path: &Path, error: &io::Error, key: &str) -> ExportError {
    let reason = format!("{} cannot be written: {error}", path.display());
    match error.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => ExportError::give_up(
            reason,
            format!("Allow writing there, or set {key} to another folder"),
        ),
        ErrorKind::NotADirectory | ErrorKind::IsADirectory | ErrorKind::AlreadyExists => {
            ExportError::give_up(reason, format!("Move what is in the way, or set {key}"))
        }
        // a full disk, a network file system that is away
        _ => ExportError::retry(reason),
    }
}

/// Whether the folder, or the one that it would be made in, may be written to.
pub(super) fn check(folder: &Path, key: &str) -> Check {
    let there = folder
        .ancestors()
        .find(|path| !path.as_os_str().is_empty() && path.exists())
        .map_or_else(|| PathBuf::from("."), Path::to_owned);
    let failed = |why: String, remedy: String| CheckOutcome::Failed { why, remedy };
    let outcome = match fs::metadata(&there) {
        Ok(meta) if !meta.is_dir() => failed(
            format!("{} is a file", there.display()),
            format!("Set {key} to a folder"),
        ),
        Ok(_) if rustix::fs::access(&there, rustix::fs::Access::WRITE_OK).is_err() => failed(
            format!("{} may not be written to", there.display()),
            format!("Change its permissions, or set {key}"),
        ),
        Ok(_) => CheckOutcome::Ok {
            detail: format!("{} may be written to", there.display()),
        },
        Err(error) => failed(
            format!("{}: {error}", there.display()),
            format!("Set {key} to a folder that you may write to"),
        ),
    };
    let mut check = Check::default();
    check.push("folder", outcome);
    check
}
