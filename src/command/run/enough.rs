//! `measurement.until`: whether a run knows a number well enough to stop.

use std::path::PathBuf;

use lem_record::{Record, Recorder as _, Warning};

use crate::analysis::{self, precision};
use crate::command::say;
use crate::config::Until;
use crate::results::store;

/// Looks at the run's log after each cycle.
pub struct Enough {
    rule: Until,
    folder: PathBuf,
    /// What the last look came to.
    last: Option<Result<f64, String>>,
}

impl Enough {
    /// None where `num_cycles` is all there is.
    pub fn of(rule: &Until, folder: PathBuf) -> Option<Self> {
        rule.metric.as_ref()?;
        Some(Self {
            rule: rule.clone(),
            folder,
            last: None,
        })
    }

    fn metric(&self) -> &str {
        self.rule.metric.as_deref().unwrap_or_default()
    }

    /// Whether to stop, with so many cycles done. A number that is not there after the fewest
    /// cycles does not come with more of them.
    pub fn look(&mut self, done: u32) -> bool {
        let width = store::load(&self.folder)
            .map_err(|error| error.to_string())
            .and_then(|data| {
                let analysis = analysis::analyse(&data);
                precision::relative_half_width(&analysis.run, self.metric())
            });
        let stop = match &width {
            Ok(width) => {
                say(&format!(
                    "{} after {done} cycles: ± {:.2} % (95 %), wanted ± {:.2} %",
                    self.metric(),
                    width * 100.0,
                    self.rule.relative_half_width * 100.0
                ));
                *width <= self.rule.relative_half_width
            }
            Err(_) => true,
        };
        self.last = Some(width);
        stop
    }

    /// What the reader of the result must know of it.
    pub fn tell(&self, spool: &lem_delivery::Spool, done: u32) {
        let metric = self.metric();
        let (code, message, remedy) = match &self.last {
            Some(Ok(width)) if *width > self.rule.relative_half_width => (
                "until.not_reached",
                format!(
                    "After {done} cycles {metric} is known to ± {:.2} % (95 %), not to ± {:.2} %",
                    width * 100.0,
                    self.rule.relative_half_width * 100.0
                ),
                "Raise measurement.until.max_cycles, or look why the cycles differ",
            ),
            Some(Err(why)) => (
                "until.unknown",
                format!("How exactly {metric} is known could not be told: {why}"),
                "Choose a metric of measurement.until that this run has",
            ),
            _ => return,
        };
        spool.record(Record::Warning(Warning {
            code: code.into(),
            message,
            remedy: remedy.into(),
        }));
    }
}
