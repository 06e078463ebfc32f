use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use lem_record::{Check, CheckOutcome, Envelope, ExportError, Receipt, RunContext};
use serde_json::json;

use super::config::TextfileConfig;
use super::replace::{check, file_name, replace, trouble};
use crate::ConfigError;
use crate::at_end::{AtEnd, Ending, Told, blocking};
use crate::summary::{self, Summary};

const KEY: &str = "integrations.textfile.path";

/// The sink `textfile`.
pub type TextfileExporter = AtEnd<Textfile>;

/// The folder of node_exporter's textfile collector. A run is one file there, without
/// times: the collector skips a file that has any.
#[derive(Debug)]
pub struct Textfile {
    folder: PathBuf,
}

impl TextfileExporter {
    #[allow(clippy::needless_pass_by_value)] // as the other sinks take theirs
    pub fn textfile(config: TextfileConfig) -> Result<Self, Vec<ConfigError>> {
        Ok(Self::new(Textfile {
            folder: config.folder()?,
        }))
    }
}

#[async_trait]
impl Ending for Textfile {
    fn name(&self) -> &'static str {
        "textfile"
    }

    fn destination(&self) -> String {
        std::path::absolute(&self.folder)
            .unwrap_or_else(|_| self.folder.clone())
            .display()
            .to_string()
    }

    async fn check(&self) -> Check {
        let mut check = check(&self.folder, KEY);
        if !check.failed() && !self.folder.is_dir() {
            check = Check::default();
            check.push(
                "folder",
                CheckOutcome::Failed {
                    why: format!("{} is not there", self.folder.display()),
                    remedy: format!("Make it, or set {KEY} to the folder that node_exporter was given as --collector.textfile.directory"),
                },
            );
        }
        check
    }

    fn refuses(&self, run: &RunContext, envelope: &Envelope) -> Vec<String> {
        summary::refuses(run, envelope)
    }

    async fn tell(&self, run: &RunContext) -> Result<Told, ExportError> {
        let path = self.folder.join(file_name(&run.run_id, "lem_", ".prom")?);
        let run = run.clone();
        blocking(move || {
            let summary = Summary::read(&run)?;
            write(&path, &summary.text())?;
            Ok(Told {
                points: summary.points(),
                receipt: Receipt {
                    look_at: Some(path.display().to_string()),
                    details: json!({ "points": summary.points() }),
                },
                left_out: Vec::new(),
            })
        })
        .await
    }
}

fn write(path: &Path, text: &str) -> Result<(), ExportError> {
    // it is node_exporter's: made here, it would be read by nobody
    let folder = path.parent().unwrap_or(Path::new("."));
    if !fs::metadata(folder).is_ok_and(|meta| meta.is_dir()) {
        return Err(ExportError::give_up(
            format!("the folder {} is not there", folder.display()),
            format!(
                "Make it, or set {KEY} to the folder that node_exporter was given as --collector.textfile.directory"
            ),
        ));
    }
    replace(path, |out| out.write_all(text.as_bytes()))
        .map(drop)
        .map_err(|error| trouble(path, &error, KEY))
}
