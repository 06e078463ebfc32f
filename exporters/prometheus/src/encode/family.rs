use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock};

use lem_record::catalogue::{Bound, METRICS};
use lem_record::{Kind, MetricDef};

/// What is said of all series of one name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Family {
    /// The Prometheus name, `_total` and `_info` included.
    pub name: String,
    pub kind: FamilyKind,
    pub help: String,
    /// The name's last word where that is its unit (`joules`), else empty.
    pub unit: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FamilyKind {
    Gauge,
    Counter,
    Histogram,
    /// Always 1: what is to be known stands in the labels.
    Info,
}

impl FamilyKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gauge => "gauge",
            Self::Counter => "counter",
            Self::Histogram => "histogram",
            Self::Info => "info",
        }
    }
}

impl Family {
    /// The family of a metric, or of an end of its interval.
    pub fn of(def: &MetricDef, bound: Option<Bound>) -> Option<Arc<Self>> {
        let [value, low, high] = FAMILIES.get(def.id)?;
        Some(Arc::clone(match bound {
            None => value,
            Some(Bound::Low) => low,
            Some(Bound::High) => high,
        }))
    }

    /// What the run's producer and host are, as the translation of OTel's resources has it.
    pub fn target() -> Arc<Self> {
        Arc::clone(&TARGET)
    }

    /// What OpenMetrics calls the family: the name without the suffix that the kind adds.
    pub fn stem(&self) -> &str {
        let suffix = match self.kind {
            FamilyKind::Counter => "_total",
            FamilyKind::Info => "_info",
            FamilyKind::Gauge | FamilyKind::Histogram => "",
        };
        self.name.strip_suffix(suffix).unwrap_or(&self.name)
    }
}

static TARGET: LazyLock<Arc<Family>> = LazyLock::new(|| {
    Arc::new(Family {
        name: "target_info".into(),
        kind: FamilyKind::Info,
        help: "What produced the run, and where.".into(),
        unit: "",
    })
});

/// By catalogue id: the value's, and those of the ends of its interval. Metrics that
/// differ in a fixed attribute only share them.
static FAMILIES: LazyLock<HashMap<&'static str, [Arc<Family>; 3]>> = LazyLock::new(|| {
    let mut shared: BTreeMap<&str, Vec<&'static MetricDef>> = BTreeMap::new();
    for def in METRICS {
        shared.entry(def.otel).or_default().push(def);
    }
    let bounds = [None, Some(Bound::Low), Some(Bound::High)];
    let families = shared.values().flat_map(|defs| {
        let families =
            bounds.map(|bound| defs.first().map(|def| Arc::new(family(def, defs, bound))));
        defs.iter().filter_map(move |def| {
            let [Some(value), Some(low), Some(high)] = families.clone() else {
                return None;
            };
            Some((def.id, [value, low, high]))
        })
    });
    families.collect()
});

fn family(def: &MetricDef, sharing: &[&MetricDef], bound: Option<Bound>) -> Family {
    let kind = match def.kind {
        _ if def.id == "run.info" => FamilyKind::Info,
        // the ends of an interval are numbers, those of a histogram's mean too
        Kind::Histogram if bound.is_none() => FamilyKind::Histogram,
        Kind::Counter => FamilyKind::Counter,
        Kind::Gauge | Kind::UpDown | Kind::Histogram => FamilyKind::Gauge,
    };
    let name = def.prometheus_name(bound);
    let stem = name.strip_suffix("_total").unwrap_or(&name);
    let unit = unit_word(def.unit);
    let ends_with_unit = stem
        .strip_suffix(unit)
        .is_some_and(|before| before.ends_with('_'));
    Family {
        kind,
        help: help(sharing, bound),
        unit: if ends_with_unit { unit } else { "" },
        name,
    }
}

fn help(sharing: &[&MetricDef], bound: Option<Bound>) -> String {
    let mut help = match bound {
        None => String::new(),
        Some(Bound::Low) => "Low end of the confidence interval. ".into(),
        Some(Bound::High) => "High end of the confidence interval. ".into(),
    };
    let one = |def: &&MetricDef| match (sharing, def.fixed) {
        ([_, _, ..], [(_, value), ..]) => format!("{value}: {}", def.help),
        _ => def.help.to_owned(),
    };
    help.push_str(&sharing.iter().map(one).collect::<Vec<_>>().join(" "));
    help
}

fn unit_word(unit: &str) -> &'static str {
    match unit {
        "s" => "seconds",
        "J" => "joules",
        "W" => "watts",
        "By" => "bytes",
        "Hz" => "hertz",
        "Cel" => "celsius",
        "g" => "grams",
        "1" => "ratio",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn every_metric_has_its_families_and_no_name_two_meanings() {
        let mut seen: HashMap<String, Arc<Family>> = HashMap::new();
        for def in METRICS {
            for bound in [None, Some(Bound::Low), Some(Bound::High)] {
                let family = Family::of(def, bound).unwrap();
                assert_eq!(family.name, def.prometheus_name(bound));
                let other = seen.insert(family.name.clone(), Arc::clone(&family));
                assert!(other.is_none_or(|other| other == family), "{}", family.name);
            }
        }
    }

    #[test]
    fn a_unit_is_told_where_the_name_ends_with_it() {
        let of = |id: &str, bound| {
            let def = lem_record::catalogue::find(id).unwrap();
            let family = Family::of(def, bound).unwrap();
            (family.name.clone(), family.unit)
        };
        assert_eq!(
            of("energy.total", None),
            ("lem_run_energy_joules".into(), "joules")
        );
        assert_eq!(
            of("energy.total", Some(Bound::Low)),
            ("lem_run_energy_ci_low_joules".into(), "joules")
        );
        assert_eq!(
            of("sample.energy", None),
            ("hw_energy_joules_total".into(), "joules")
        );
        assert_eq!(of("energy.closure", None).1, "ratio");
        assert_eq!(of("tokens.output", None), ("lem_tokens_total".into(), ""));
        assert_eq!(of("throughput.decode", None).1, "");
    }
}
