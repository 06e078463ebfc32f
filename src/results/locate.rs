//! From what a person calls a run to where it stands.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::index::{Index, RESULT_SUFFIX, of_folder};
use super::query::plain;

/// The run of a folder, of an id, of the beginning of an id, or of a name.
pub fn run(written: &Path, runs: &Path, many: &mut dyn FnMut(usize)) -> Result<PathBuf, String> {
    if of_folder(written).is_some() || written.join(super::store::RESULT_FILE).is_file() {
        return Ok(written.to_owned());
    }
    let name = written.to_string_lossy();
    if written.is_file() && name.ends_with(RESULT_SUFFIX) {
        return Ok(written.to_owned());
    }
    let none = |why: String| {
        format!(
            "{name} is no run: it is neither a run's folder nor a file that ends in {RESULT_SUFFIX}, and {why}. lem results list shows the runs there are"
        )
    };
    if name.contains('/') || name.is_empty() {
        return Err(none("no id or name of a run looks like that".into()));
    }
    let mut index = Index::open(runs, many).map_err(|e| {
        none(format!(
            "the folder of runs {} cannot be read: {e}",
            runs.display()
        ))
    })?;
    let paths = ["run_id", "name"].map(str::to_owned);
    let (mut exact, mut begins, mut named) = (Vec::new(), Vec::new(), Vec::new());
    index
        .rows(&paths, &mut |row| {
            let [id, title] = [0, 1].map(|at| plain(row.values.get(at).unwrap_or(&Value::Null)));
            let folder = row.path.rsplit('/').next().unwrap_or_default();
            if id == *name || folder == name {
                exact.push((row.path, id));
            } else if title == *name {
                named.push((row.path, id));
            } else if id.starts_with(&*name) {
                begins.push((row.path, id));
            }
        })
        .map_err(|e| none(e.to_string()))?;
    // An id beats a name, and a whole one the beginning of one.
    let found = [exact, named, begins]
        .into_iter()
        .find(|found| !found.is_empty());
    match found.as_deref() {
        None => Err(none(format!(
            "no run in {} has this id or name",
            runs.display()
        ))),
        Some([(path, _)]) => Ok(runs.join(path)),
        Some(several) => {
            let mut told: Vec<String> = several
                .iter()
                .map(|(path, id)| format!("  {id} ({path})"))
                .collect();
            told.sort();
            let more = told.len().saturating_sub(10);
            told.truncate(10);
            if more > 0 {
                told.push(format!("  and {more} more"));
            }
            Err(format!(
                "{name} may be any of these; give more of the id, or the folder:\n{}",
                told.join("\n")
            ))
        }
    }
}
