use std::fmt::Write as _;

use super::{Bound, Kind, MetricDef};
use crate::Attributes;

impl MetricDef {
    /// The MLflow and W&B key of a point.
    ///
    /// It carries every attribute that varies within the run: those of the
    /// template always, the others where `varying` names them, as words before
    /// the name (`energy/gpu1_closure_ratio`). `quantile` is for histograms.
    pub fn key(
        &self,
        attributes: &Attributes,
        varying: &[String],
        quantile: Option<&str>,
        bound: Option<Bound>,
    ) -> String {
        let (group, stem) = self.key_stem.split_once('/').unwrap_or(("", self.key_stem));
        let mut key = String::with_capacity(48);
        if !group.is_empty() {
            let _ = write!(key, "{group}/");
        }
        for &name in self.attributes {
            let placed = stem.contains(&format!("{{{name}}}"));
            let varies = !placed && varying.iter().any(|v| v == name);
            if let Some(value) = attributes.get(name).filter(|_| varies) {
                let _ = write!(key, "{}_", word(value));
            }
        }
        key.push_str(&fill(stem, attributes, quantile));
        if let Some(bound) = bound {
            let _ = write!(key, "_{}", bound.as_str());
        }
        if !self.key_unit.is_empty() {
            let _ = write!(key, "_{}", self.key_unit);
        }
        key
    }

    pub fn otel_name(&self, bound: Option<Bound>) -> String {
        match bound {
            Some(bound) => format!("{}.{}", self.otel, bound.as_str()),
            None => self.otel.to_owned(),
        }
    }

    pub fn prometheus_name(&self, bound: Option<Bound>) -> String {
        prometheus_name(&self.otel_name(bound), self.unit, self.kind)
    }

    /// The fixed attributes and the point's own.
    pub fn all_attributes(&self, own: &Attributes) -> Attributes {
        let mut all = own.clone();
        all.extend(
            self.fixed
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned())),
        );
        all
    }

    /// The key as documentation shows it, placeholders and all.
    pub fn key_template(&self) -> String {
        match self.key_unit {
            "" => self.key_stem.to_owned(),
            unit => format!("{}_{unit}", self.key_stem),
        }
    }
}

fn fill(stem: &str, attributes: &Attributes, quantile: Option<&str>) -> String {
    let mut out = String::with_capacity(stem.len());
    let mut rest = stem;
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        let (name, tail) = after.split_once('}').unwrap_or((after, ""));
        match name {
            "q" => out.push_str(quantile.unwrap_or("mean")),
            _ => out.push_str(
                &attributes
                    .get(name)
                    .map_or_else(|| "unknown".into(), |v| word(v)),
            ),
        }
        rest = tail;
    }
    out.push_str(rest);
    out
}

/// A value as part of a key: what every sink allows, in snake case.
fn word(value: &str) -> String {
    let mapped = |c: char| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_lowercase()
        } else {
            '_'
        }
    };
    value.chars().take(64).map(mapped).collect()
}

/// What the OpenTelemetry-to-Prometheus translation (underscore escaping with
/// suffixes) makes of an OTel name, unit and kind.
pub fn prometheus_name(otel: &str, unit: &str, kind: Kind) -> String {
    let mut tokens: Vec<String> = otel
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':')
        .flat_map(|part| part.split('_'))
        .filter(|part| !part.is_empty())
        .map(str::to_owned)
        .collect();
    let (main, per) = unit
        .split_once('/')
        .map_or((unit, None), |(m, p)| (m, Some(p)));
    let mut add = |suffix: String| {
        if !suffix.is_empty() && !tokens.contains(&suffix) {
            tokens.push(suffix);
        }
    };
    if !main.contains('{') && main != "1" {
        add(unit_word(main));
    }
    if let Some(per) = per.filter(|per| !per.contains('{')) {
        let word = per_word(per);
        if !word.is_empty() {
            add("per".into());
            add(word);
        }
    }
    if unit == "1" && kind == Kind::Gauge {
        tokens.retain(|t| t != "ratio");
        tokens.push("ratio".into());
    }
    if kind == Kind::Counter {
        tokens.retain(|t| t != "total");
        tokens.push("total".into());
    }
    let name = tokens.join("_");
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        format!("_{name}")
    } else {
        name
    }
}

fn unit_word(unit: &str) -> String {
    match unit {
        "s" => "seconds",
        "ms" => "milliseconds",
        "J" => "joules",
        "W" => "watts",
        "By" => "bytes",
        "Hz" => "hertz",
        "Cel" => "celsius",
        "g" => "grams",
        "%" => "percent",
        other => return other.replace(|c: char| !c.is_ascii_alphanumeric(), "_"),
    }
    .to_owned()
}

fn per_word(unit: &str) -> String {
    match unit {
        "s" => "second".into(),
        "h" => "hour".into(),
        other => unit_word(other),
    }
}
