//! From samples to a request's body. Pure.

use std::collections::HashMap;

use prost::Message;

use super::atom::{Atom, Labels};
use super::proto::{
    Label, Metadata2, MetricMetadata, MetricType, Request2, Sample, TimeSeries, TimeSeries2,
    WriteRequest,
};
use crate::encode::{Family, FamilyKind};

/// One series of a request.
struct Merged<'a> {
    labels: &'a Labels,
    family: Option<&'a Family>,
    samples: Vec<Sample>,
}

/// What several atoms say of the same series, together; in the order in which they
/// were first met.
fn merged<'a>(atoms: &[&'a Atom]) -> Vec<Merged<'a>> {
    let mut all: Vec<Merged<'a>> = Vec::new();
    let mut places: HashMap<&Labels, usize> = HashMap::new();
    for row in atoms.iter().flat_map(|atom| &atom.rows) {
        let samples = row
            .points
            .iter()
            .map(|&(timestamp, value)| Sample { value, timestamp });
        let place = *places.entry(&row.labels).or_insert(all.len());
        match all.get_mut(place) {
            Some(series) => series.samples.extend(samples),
            None => all.push(Merged {
                labels: &row.labels,
                family: row.family.as_deref(),
                samples: samples.collect(),
            }),
        }
    }
    all
}

/// Version 1.0. Each family's metadata stands in the requests in which it has samples.
pub fn v1(atoms: &[&Atom]) -> WriteRequest {
    let merged = merged(atoms);
    let mut families: Vec<&Family> = merged.iter().filter_map(|series| series.family).collect();
    families.sort_unstable_by_key(|family| &family.name);
    families.dedup_by_key(|family| &family.name);
    let label = |(name, value): &(String, String)| Label {
        name: name.clone(),
        value: value.clone(),
    };
    WriteRequest {
        metadata: families
            .into_iter()
            .map(|family| MetricMetadata {
                kind: kind(family),
                metric_family_name: family.name.clone(),
                help: family.help.clone(),
                unit: family.unit.to_owned(),
            })
            .collect(),
        timeseries: merged
            .into_iter()
            .map(|series| TimeSeries {
                labels: series.labels.iter().map(label).collect(),
                samples: series.samples,
            })
            .collect(),
    }
}

fn kind(family: &Family) -> i32 {
    let kind = match family.kind {
        FamilyKind::Gauge => MetricType::Gauge,
        FamilyKind::Counter => MetricType::Counter,
        FamilyKind::Histogram => MetricType::Histogram,
        FamilyKind::Info => MetricType::Info,
    };
    kind.into()
}

/// Version 2.0: every text once.
pub fn v2(atoms: &[&Atom]) -> Request2 {
    let mut symbols = Symbols::default();
    symbols.place("");
    let timeseries = merged(atoms)
        .into_iter()
        .map(|series| TimeSeries2 {
            labels_refs: series
                .labels
                .iter()
                .flat_map(|(name, value)| [name, value])
                .map(|text| symbols.place(text))
                .collect(),
            samples: series.samples,
            metadata: series.family.map(|family| Metadata2 {
                kind: kind(family),
                help_ref: symbols.place(&family.help),
                unit_ref: symbols.place(family.unit),
            }),
        })
        .collect();
    Request2 {
        symbols: symbols.texts,
        timeseries,
    }
}

#[derive(Default)]
struct Symbols {
    places: HashMap<String, u32>,
    texts: Vec<String>,
}

impl Symbols {
    fn place(&mut self, text: &str) -> u32 {
        if let Some(place) = self.places.get(text) {
            return *place;
        }
        let place = u32::try_from(self.texts.len()).unwrap_or(u32::MAX);
        self.places.insert(text.to_owned(), place);
        self.texts.push(text.to_owned());
        place
    }
}

/// As it goes over the wire: snappy's block format.
pub(super) fn compressed(message: &impl Message) -> Result<Vec<u8>, snap::Error> {
    snap::raw::Encoder::new().compress_vec(&message.encode_to_vec())
}

/// An empty request: it proves that the receiver takes them, and leaves nothing.
pub(super) fn nothing() -> WriteRequest {
    WriteRequest::default()
}
