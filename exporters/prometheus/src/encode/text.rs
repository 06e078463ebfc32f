//! Series as text: what Prometheus scrapes, and what its tools read from files.
//!
//! Written here and not by `prometheus` or `prometheus-client`: the one has no
//! OpenMetrics, the other no times of samples, and with both there would be two
//! registries of one truth.

use std::fmt::Write as _;

use super::family::{Family, FamilyKind};
use super::series::{Point, Series};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Version 0.0.4 of Prometheus's own.
    Text,
    /// Version 1.0.0.
    OpenMetrics,
}

impl Format {
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// Every point with its time.
    Told,
    /// The last point of each series, without its time: it is true now.
    Left,
}

/// All of it. The series must be as [`super::merge`] leaves them: sorted, each once.
pub fn text(series: &[Series], format: Format, times: Times) -> String {
    let mut out = String::new();
    write(&mut out, series, format, times);
    end(&mut out, format);
    out
}

/// A part of it: whole families. [`end`] belongs after the last.
pub fn write(out: &mut String, series: &[Series], format: Format, times: Times) {
    let mut family: Option<&Family> = None;
    for series in series {
        if family.is_none_or(|family| family.name != series.family.name) {
            head(out, &series.family, format);
            family = Some(&series.family);
        }
        let labels = labels(series);
        let first = match times {
            Times::Told => 0,
            Times::Left => series.points.len().saturating_sub(1),
        };
        for point in series.points.iter().skip(first) {
            write_point(out, &series.family.name, &labels, point, format, times);
        }
    }
}

/// What stands after everything.
pub fn end(out: &mut String, format: Format) {
    if format == Format::OpenMetrics {
        out.push_str("# EOF\n");
    }
}

fn head(out: &mut String, family: &Family, format: Format) {
    let (name, kind) = match (format, family.kind) {
        (Format::OpenMetrics, kind) => (family.stem(), kind),
        // 0.0.4 has no such kind
        (Format::Text, FamilyKind::Info) => (family.name.as_str(), FamilyKind::Gauge),
        (Format::Text, kind) => (family.name.as_str(), kind),
    };
    let _ = write!(out, "# HELP {name} ");
    escape(out, &family.help, format == Format::OpenMetrics);
    let _ = write!(out, "\n# TYPE {name} {}\n", kind.as_str());
    if format == Format::OpenMetrics && !family.unit.is_empty() {
        let _ = writeln!(out, "# UNIT {name} {}", family.unit);
    }
}

/// `a="b",c="d"`
fn labels(series: &Series) -> String {
    let mut out = String::new();
    for (name, value) in &series.labels {
        if !out.is_empty() {
            out.push(',');
        }
        let _ = write!(out, "{name}=\"");
        escape(&mut out, value, true);
        out.push('"');
    }
    out
}

fn write_point(
    out: &mut String,
    name: &str,
    labels: &str,
    point: &Point,
    format: Format,
    times: Times,
) {
    for sample in point.value.samples() {
        let _ = write!(out, "{name}{}", sample.suffix);
        let comma = if labels.is_empty() { "" } else { "," };
        let _ = match &sample.le {
            Some(le) => write!(out, "{{{labels}{comma}le=\"{le}\"}} "),
            None if labels.is_empty() => write!(out, " "),
            None => write!(out, "{{{labels}}} "),
        };
        number(out, sample.value);
        if times == Times::Told {
            time(out, point.unix_ms, format);
        }
        out.push('\n');
    }
}

/// So that it reads back as the same number.
pub fn number(out: &mut String, value: f64) {
    let _ = match value {
        f64::INFINITY => write!(out, "+Inf"),
        f64::NEG_INFINITY => write!(out, "-Inf"),
        _ if value.is_nan() => write!(out, "NaN"),
        _ if value == 0.0 || (1e-5..1e17).contains(&value.abs()) => write!(out, "{value}"),
        _ => write!(out, "{value:e}"),
    };
}

/// OpenMetrics counts in seconds, the older format in ms.
fn time(out: &mut String, unix_ms: i64, format: Format) {
    let _ = match format {
        Format::Text => write!(out, " {unix_ms}"),
        Format::OpenMetrics => {
            let sign = if unix_ms < 0 { "-" } else { "" };
            let ms = unix_ms.unsigned_abs();
            write!(out, " {sign}{}.{:03}", ms / 1000, ms % 1000)
        }
    };
}

fn escape(out: &mut String, text: &str, quotes: bool) {
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if quotes => out.push_str("\\\""),
            // Prometheus's parsers take it for the end of the text
            '\0' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
}
