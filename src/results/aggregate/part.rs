//! One process's run, as an aggregate needs it.

use std::path::{Path, PathBuf};

use lem_delivery::{Log, Standing};
use lem_record::RunStatus;
use serde_json::Value;

use super::types::Process;
use crate::analysis::{IdlePower, RunData, Window, analyse};
use crate::results::store;

/// A log that was read, on a common clock once [`super::clock::join`] has moved it.
pub struct Part {
    pub folder: PathBuf,
    pub data: RunData,
    /// What its total energy sums.
    pub boundary: String,
    pub idles: Vec<IdlePower>,
}

impl Part {
    pub fn read(folder: &Path) -> Result<Self, String> {
        let log = Log::read(folder).map_err(|error| error.to_string())?;
        let status = match log.standing {
            Standing::Running { .. } => {
                return Err(format!(
                    "the run in {} is still going on. Aggregate when all have ended",
                    folder.display()
                ));
            }
            Standing::Killed => RunStatus::Killed,
            Standing::Ended(status) => status,
        };
        let data = store::load(folder).map_err(|error| error.to_string())?;
        let reason = data.status_reason.clone();
        let data = data.with_status(status, reason);
        Self::of(folder, data)
    }

    pub fn of(folder: &Path, data: RunData) -> Result<Self, String> {
        if data.is_command() {
            return Err(format!(
                "the run in {} measured a command (lem exec): this version aggregates runs of engines only",
                folder.display()
            ));
        }
        if data.complete_cycles().next().is_none() {
            return Err(format!(
                "the run in {} has no finished cycle: there is nothing of it to count. Leave it out",
                folder.display()
            ));
        }
        let analysis = analyse(&data);
        Ok(Self {
            folder: folder.to_owned(),
            boundary: analysis.boundary.told,
            idles: analysis.idles,
            data,
        })
    }

    pub fn id(&self) -> &str {
        &self.data.run_id
    }

    pub fn host(&self) -> Option<&str> {
        let started = self.data.started.as_ref()?;
        started
            .environment
            .pointer("/host/hostname")
            .and_then(Value::as_str)
    }

    /// Two runs of one boot share a clock, and its devices are the same.
    pub fn boot(&self) -> Option<&str> {
        self.data.started.as_ref()?.boot_id.as_deref()
    }

    /// Windows of the finished cycles.
    pub fn windows(&self) -> Vec<Window> {
        self.data
            .complete_cycles()
            .map(|cycle| cycle.window)
            .collect()
    }

    pub fn process(&self) -> Process {
        let started = self.data.started.as_ref();
        let windows = self.windows();
        let at = |ns: Option<u64>| {
            let unix = self.data.unix_ns(ns?)?;
            let time = jiff::Timestamp::from_nanosecond(i128::from(unix)).ok()?;
            Some(format!("{time:.3}"))
        };
        let answered = self
            .data
            .complete_cycles()
            .flat_map(|cycle| &cycle.requests);
        let answered = answered.filter(|r| crate::analysis::answered(r));
        Process {
            run_id: self.id().to_owned(),
            name: started.map(|s| s.name.clone()).unwrap_or_default(),
            host: self.host().map(str::to_owned),
            boot_id: self.boot().map(str::to_owned),
            pid: started.map_or(0, |s| s.pid),
            status: self.data.status.unwrap_or(RunStatus::Killed),
            backend: self.data.config_str("/backend").map(str::to_owned),
            model_name: self.data.config_str("/model_name").map(str::to_owned),
            cycles: u32::try_from(windows.len()).unwrap_or(u32::MAX),
            output_tokens: answered
                .map(|r| r.timeline.output_tokens)
                .fold(0, u64::saturating_add),
            start: at(windows.iter().map(|w| w.start_ns).min()),
            end: at(windows.iter().map(|w| w.end_ns).max()),
        }
    }
}
