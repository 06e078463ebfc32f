use std::collections::HashMap;
use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use lem_record::{Check, CheckOutcome, Envelope, ExportError, Receipt, RunContext, Stamp};
use serde_json::json;

use super::config::OpenMetricsConfig;
use super::replace::{check, file_name, replace, trouble};
use crate::ConfigError;
use crate::at_end::{AtEnd, Ending, Told, blocking};
use crate::encode::{self, Family, Format, Labels, Series, Times};
use crate::log;
use crate::points::{MOST_AHEAD, MOST_POINTS, thin};

const KEY: &str = "integrations.openmetrics.path";

/// The sink `openmetrics`.
pub type OpenMetricsExporter = AtEnd<OpenMetricsFile>;

/// A folder of OpenMetrics files. A run is one file there, of every sample at its own
/// time, replaced whole when the run has ended.
#[derive(Debug)]
pub struct OpenMetricsFile {
    /// None: in the run's own folder.
    folder: Option<PathBuf>,
}

impl OpenMetricsExporter {
    #[allow(clippy::needless_pass_by_value)] // as the other sinks take theirs
    pub fn openmetrics(config: OpenMetricsConfig) -> Result<Self, Vec<ConfigError>> {
        config.check()?;
        Ok(Self::new(OpenMetricsFile {
            folder: config.path,
        }))
    }
}

#[async_trait]
impl Ending for OpenMetricsFile {
    fn name(&self) -> &'static str {
        "openmetrics"
    }

    fn destination(&self) -> String {
        match &self.folder {
            None => "the run's own folder".to_owned(),
            Some(folder) => std::path::absolute(folder)
                .unwrap_or_else(|_| folder.clone())
                .display()
                .to_string(),
        }
    }

    async fn check(&self) -> Check {
        match &self.folder {
            Some(folder) => check(folder, KEY),
            None => {
                let mut check = Check::default();
                let detail = "the file will lie among the run's artifacts".to_owned();
                check.push("folder", CheckOutcome::Ok { detail });
                check
            }
        }
    }

    fn refuses(&self, run: &RunContext, envelope: &Envelope) -> Vec<String> {
        encode::record(run, envelope).rejected
    }

    async fn tell(&self, run: &RunContext) -> Result<Told, ExportError> {
        let own = run.folder.join("artifacts");
        let folder = self.folder.clone().unwrap_or(own);
        let path = folder.join(file_name(&run.run_id, "", ".om")?);
        let run = run.clone();
        blocking(move || {
            let latest = Stamp::now().unix_ms().saturating_add(MOST_AHEAD);
            let series = collect(&run, latest)?;
            let points = series.iter().map(|series| series.points.len() as u64).sum();
            fs::create_dir_all(&folder).map_err(|error| trouble(&folder, &error, KEY))?;
            let bytes = replace(&path, |out| write(out, &series));
            let bytes = bytes.map_err(|error| trouble(&path, &error, KEY))?;
            Ok(Told {
                points,
                receipt: Receipt {
                    look_at: Some(path.display().to_string()),
                    details: json!({
                        "series": series.len(),
                        "points": points,
                        "bytes": bytes,
                        "load": format!("promtool tsdb create-blocks-from openmetrics {} DATA_FOLDER", path.display()),
                    }),
                },
                left_out: Vec::new(),
            })
        })
        .await
    }
}

/// Every series of the run, sorted. Held in memory are at most twice as many points of
/// each as will be written.
fn collect(run: &RunContext, latest: i64) -> Result<Vec<Series>, ExportError> {
    let mut all: HashMap<(Arc<Family>, Labels), Series> = HashMap::new();
    log::read(&run.folder, &run.run_id, |envelope| {
        for mut series in encode::record(run, envelope).series {
            series.points.retain(|point| point.unix_ms <= latest);
            if series.points.is_empty() {
                continue;
            }
            let identity = (Arc::clone(&series.family), series.labels.clone());
            match all.get_mut(&identity) {
                Some(before) => {
                    before.points.append(&mut series.points);
                    if before.points.len() > 2 * MOST_POINTS {
                        before.points.sort_by_key(|point| point.unix_ms); // stable
                        thin(&mut before.points);
                    }
                }
                None => drop(all.insert(identity, series)),
            }
        }
    })?;
    let mut series = encode::merge(all.into_values());
    for series in &mut series {
        thin(&mut series.points);
    }
    Ok(series)
}

/// A family at a time, so that not all of the text is held at once.
fn write(out: &mut impl Write, series: &[Series]) -> io::Result<()> {
    let mut text = String::new();
    for family in series.chunk_by(|a, b| a.family.name == b.family.name) {
        text.clear();
        encode::write(&mut text, family, Format::OpenMetrics, Times::Told);
        out.write_all(text.as_bytes())?;
    }
    text.clear();
    encode::end(&mut text, Format::OpenMetrics);
    out.write_all(text.as_bytes())
}
