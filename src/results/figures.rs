//! Numbers as a person reads them; what is absent is a dash.

use lem_record::Interval;

/// Four significant figures, without an exponent where a person would not write one.
pub fn figure(value: f64) -> String {
    // Rounded first: 9.9999 is 10.00 and not 10.000.
    let value: f64 = format!("{value:.3e}").parse().unwrap_or(value);
    if value == 0.0 {
        return "0".into();
    }
    let magnitude = value.abs().log10().floor();
    if !(-5.0..9.0).contains(&magnitude) {
        return format!("{value:.3e}");
    }
    let decimals = (3.0 - magnitude).clamp(0.0, 8.0) as usize;
    format!("{value:.decimals$}")
}

pub fn plain(value: Option<f64>) -> String {
    value.map_or_else(|| "–".into(), figure)
}

pub fn unit(value: Option<f64>, of: &str) -> String {
    value.map_or_else(|| "–".into(), |v| format!("{} {of}", figure(v)))
}

pub fn range(interval: Option<&Interval>) -> String {
    interval.map_or_else(String::new, |i| {
        format!("{} … {}", figure(i.low), figure(i.high))
    })
}

pub fn percent(value: Option<f64>) -> String {
    value.map_or_else(|| "–".into(), |v| format!("{:.1} %", v * 100.0))
}

pub fn si(value: Option<f64>, of: &str) -> String {
    let Some(value) = value else {
        return "–".into();
    };
    let prefixes = ["", "k", "M", "G", "T", "P", "E"];
    let step = (value.abs().max(1.0).log10() / 3.0).floor().clamp(0.0, 6.0);
    let prefix = prefixes.get(step as usize).copied().unwrap_or("");
    format!("{} {prefix}{of}", figure(value / 1000f64.powf(step)))
}

#[cfg(test)]
mod tests {
    use super::{figure, percent, plain, si, unit};

    #[test]
    fn figures_are_four() {
        for (value, told) in [
            (0.0, "0"),
            (9.9999, "10.00"),
            (1234.5, "1234"),
            (0.000_123_4, "0.0001234"),
            (-12.345, "-12.35"),
            (1.5e12, "1.500e12"),
        ] {
            assert_eq!(figure(value), told);
        }
        assert_eq!(si(Some(3.773e9), "FLOP"), "3.773 GFLOP");
        assert_eq!(unit(Some(1.0), "J"), "1.000 J");
        assert_eq!(percent(Some(0.0199)), "2.0 %");
        assert_eq!((plain(None), si(None, "B")), ("–".into(), "–".into()));
    }
}
