//! What each family of sensors tells when it is looked for.

use std::collections::BTreeMap;

use lem_record::Attributes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Component, Meter, SourceColumn};

/// Something that cannot be had on this machine, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Absent {
    pub component: Component,
    /// `power of the processor`, …
    pub what: String,
    pub reason: String,
    pub remedy: String,
}

impl Absent {
    pub fn new(
        component: Component,
        what: impl Into<String>,
        reason: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            component,
            what: what.into(),
            reason: reason.into(),
            remedy: remedy.into(),
        }
    }
}

/// The outcome of looking for one family of sensors.
#[derive(Default)]
pub(super) struct Found {
    pub meter: Option<Box<dyn Meter>>,
    pub absent: Vec<Absent>,
}

/// Gives sources their ids: `cpu0`, `cpu1`, `memory0`. An id is given once.
#[derive(Debug, Default)]
pub(super) struct Ids(BTreeMap<&'static str, u32>);

impl Ids {
    pub fn next(&mut self, component: Component) -> String {
        let word = component.word();
        let next = self.0.entry(word).or_default();
        let id = format!("{word}{next}");
        *next += 1;
        id
    }

    /// Ids that others have numbered themselves end below this.
    pub fn reserve(&mut self, component: Component, up_to: u32) {
        let next = self.0.entry(component.word()).or_default();
        *next = (*next).max(up_to);
    }
}

impl Component {
    /// As in ids, and in the attribute `hw.type`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Gpu => "gpu",
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Module => "module",
            Self::State => "state",
        }
    }
}

/// A column of the source `id`; the attributes are those that the catalogue lists for it.
pub(super) fn column(
    metric: &str,
    id: &str,
    component: Component,
    more: &[(&str, &str)],
) -> SourceColumn {
    let known = lem_record::catalogue::find(metric).map_or(&[][..], |def| def.attributes);
    let own = [("hw.id", id), ("hw.type", component.word())];
    let attributes: Attributes = own
        .iter()
        .chain(more)
        .filter(|(name, _)| known.contains(name))
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    SourceColumn {
        metric: metric.to_owned(),
        attributes,
        how: None,
    }
}
