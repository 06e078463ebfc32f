//! What a run came to: its own metrics, without those of its cycles and without times.

use std::collections::BTreeMap;

use lem_record::{Attributes, Envelope, ExportError, Metric, Record, RunContext};

use crate::encode::{self, Format, Series, Times};
use crate::log;

/// The last word on every metric of the whole run.
pub(crate) struct Summary {
    series: Vec<Series>,
}

impl Summary {
    /// From the run's own log.
    pub fn read(run: &RunContext) -> Result<Self, ExportError> {
        // by id and attributes: an analysis that was made again has the last word, also
        // where it finds that a number is absent
        let mut last: BTreeMap<(String, Attributes), Envelope> = BTreeMap::new();
        log::read(&run.folder, &run.run_id, |envelope| {
            if let Some(metric) = of_run(envelope) {
                let key = (metric.id.clone(), metric.attributes.clone());
                last.insert(key, envelope.clone());
            }
        })?;
        let told = |name: &str| last.keys().any(|(id, _)| id == name);
        let early = encode::early_info(run).filter(|_| !told("run.info"));
        let target = encode::target(run, run.started_at.mono_ns);
        let metrics = last
            .values()
            .flat_map(|envelope| encode::record(run, envelope).series);
        Ok(Self {
            series: encode::merge(metrics.chain(early).chain([target])),
        })
    }

    /// How many series.
    pub fn points(&self) -> u64 {
        self.series.len() as u64
    }

    /// Format 0.0.4, which ends in a line feed.
    pub fn text(&self) -> String {
        encode::text(&self.series, Format::Text, Times::Left)
    }

    /// The same in parts: the name of each family, and its text.
    pub fn families(&self) -> Vec<(String, String)> {
        let families = self.series.chunk_by(|a, b| a.family.name == b.family.name);
        let told = families.filter_map(|family| {
            let name = family.first()?.family.name.clone();
            Some((name, encode::text(family, Format::Text, Times::Left)))
        });
        told.collect()
    }
}

/// What of a record a summary cannot say, and why.
pub(crate) fn refuses(run: &RunContext, envelope: &Envelope) -> Vec<String> {
    match of_run(envelope) {
        Some(_) => encode::record(run, envelope).rejected,
        None => Vec::new(),
    }
}

fn of_run(envelope: &Envelope) -> Option<&Metric> {
    match &envelope.record {
        Record::Metric(metric) if metric.cycle.is_none() => Some(metric),
        _ => None,
    }
}
