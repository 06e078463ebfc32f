//! From what a person calls a run to where it stands.

use std::path::{Path, PathBuf};

use super::index::{Index, RESULT_SUFFIX, of_folder};
use super::query::plain;
use super::store::RESULT_FILE;

/// The runs of folders, of files, of ids, of the beginnings of ids, or of names; the folder of
/// runs is asked once for all, and not at all where nothing has to be looked for.
pub fn runs(
    written: &[PathBuf],
    folder: &Path,
    many: &mut dyn FnMut(usize),
) -> Result<Vec<PathBuf>, String> {
    let here: Vec<Option<PathBuf>> = written.iter().map(|run| at_once(run, folder)).collect();
    let mut sought: Vec<Sought> = Vec::new();
    for (run, found) in written.iter().zip(&here) {
        if found.is_none() {
            sought.push(Sought::new(&run.to_string_lossy())?);
        }
    }
    if !sought.is_empty() {
        let cannot = |why: String| {
            let name = sought.first().map_or("", |s| s.name.as_str());
            none(
                name,
                &format!(
                    "the folder of runs {} cannot be read: {why}",
                    folder.display()
                ),
            )
        };
        let mut index = Index::open(folder, many).map_err(|e| cannot(e.to_string()))?;
        let paths = ["run_id", "name"].map(str::to_owned);
        let mut look = |row: super::index::Row| {
            let of = |at: usize| row.values.get(at).map(plain).unwrap_or_default();
            let (id, title) = (of(0), of(1));
            sought
                .iter_mut()
                .for_each(|sought| sought.look(&row.path, &id, &title));
        };
        let read = index.rows(&paths, &mut look);
        read.map_err(|e| format!("the index of {} cannot be read: {e}", folder.display()))?;
    }
    let mut sought = sought.into_iter();
    let mut next = || {
        sought
            .next()
            .map_or_else(|| Err(String::new()), |s| s.found(folder))
    };
    here.into_iter()
        .map(|found| found.map_or_else(&mut next, Ok))
        .collect()
}

/// Where the run stands, where nothing has to be read for that: a path, or the id that a
/// folder in the folder of runs has.
pub fn at_once(written: &Path, folder: &Path) -> Option<PathBuf> {
    let is_run = |path: &Path| of_folder(path).is_some() || path.join(RESULT_FILE).is_file();
    let is_file = || written.is_file() && written.to_string_lossy().ends_with(RESULT_SUFFIX);
    if is_run(written) || is_file() {
        return Some(written.to_owned());
    }
    let name = written.to_str().filter(|name| plausible(name))?;
    Some(folder.join(name)).filter(|path| is_run(path))
}

fn plausible(name: &str) -> bool {
    !name.is_empty() && !name.contains('/') && !name.starts_with('.')
}

fn none(name: &str, why: &str) -> String {
    format!(
        "{name} is no run: it is neither a run's folder nor a file that ends in {RESULT_SUFFIX}, and {why}. lem results list shows the runs there are"
    )
}

/// What was written, and what it may be: path and id of each.
struct Sought {
    name: String,
    exact: Vec<(String, String)>,
    named: Vec<(String, String)>,
    begins: Vec<(String, String)>,
}

impl Sought {
    fn new(name: &str) -> Result<Self, String> {
        if !plausible(name) {
            return Err(none(name, "no id or name of a run looks like that"));
        }
        Ok(Self {
            name: name.to_owned(),
            exact: Vec::new(),
            named: Vec::new(),
            begins: Vec::new(),
        })
    }

    fn look(&mut self, path: &str, id: &str, title: &str) {
        let folder = path.rsplit('/').next().unwrap_or_default();
        let place = if id == self.name || folder == self.name {
            &mut self.exact
        } else if title == self.name {
            &mut self.named
        } else if id.starts_with(&self.name) {
            &mut self.begins
        } else {
            return;
        };
        place.push((path.to_owned(), id.to_owned()));
    }

    /// An id beats a name, and a name the beginning of an id.
    fn found(self, folder: &Path) -> Result<PathBuf, String> {
        let all = [self.exact, self.named, self.begins];
        let found = all.into_iter().find(|found| !found.is_empty());
        match found.as_deref() {
            None => Err(none(
                &self.name,
                &format!("no run in {} has this id or name", folder.display()),
            )),
            Some([(path, _)]) => Ok(folder.join(path)),
            Some(several) => {
                let told = several.iter().map(|(path, id)| format!("  {id} ({path})"));
                let mut told: Vec<String> = told.collect();
                told.sort();
                let more = told.len().saturating_sub(10);
                told.truncate(10);
                if more > 0 {
                    told.push(format!("  and {more} more"));
                }
                Err(format!(
                    "{} may be any of these; give more of the id, or the folder:\n{}",
                    self.name,
                    told.join("\n")
                ))
            }
        }
    }
}
