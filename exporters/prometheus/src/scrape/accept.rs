//! Which form an answer gets.

use crate::encode::Format;

/// Of the forms that there are, what an `Accept` header prefers.
pub(super) fn format(accept: Option<&str>) -> Format {
    let (mut open, mut text) = (0.0_f64, 0.0_f64);
    for range in accept.unwrap_or("*/*").split(',') {
        let mut parts = range.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
        let (mut weight, mut version) = (1.0, None);
        for part in parts {
            match part.split_once('=') {
                Some(("q", value)) => weight = value.parse().unwrap_or(0.0),
                Some(("version", value)) => version = Some(value.trim_matches('"')),
                _ => {}
            }
        }
        match (kind.as_str(), version) {
            ("application/openmetrics-text", None | Some("1.0.0" | "0.0.1")) => {
                open = open.max(weight);
            }
            ("text/plain", None | Some("0.0.4")) | ("text/*" | "*/*", _) => {
                text = text.max(weight);
            }
            _ => {}
        }
    }
    match open > 0.0 && open >= text {
        true => Format::OpenMetrics,
        false => Format::Text,
    }
}

/// Whether an `Accept-Encoding` header takes gzip.
pub(super) fn gzip(accept: Option<&str>) -> bool {
    accept.unwrap_or_default().split(',').any(|range| {
        let (coding, rest) = range.split_once(';').unwrap_or((range, ""));
        let weight = rest.trim().strip_prefix("q=");
        let refused = weight.is_some_and(|weight| weight.trim().parse() == Ok(0.0));
        coding.trim().eq_ignore_ascii_case("gzip") && !refused
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_that_is_liked_best() {
        // what Prometheus 2.42 sends
        let prometheus = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        for (accept, format_) in [
            (Some(prometheus), Format::OpenMetrics),
            (None, Format::Text),
            (Some("*/*"), Format::Text),
            (
                Some("text/html,application/xhtml+xml,*/*;q=0.8"),
                Format::Text,
            ),
            (
                Some("application/openmetrics-text; version=\"1.0.0\""),
                Format::OpenMetrics,
            ),
            (
                Some("application/openmetrics-text;version=2.0.0,text/plain;q=0.1"),
                Format::Text,
            ),
            (
                Some("application/openmetrics-text;q=0.2,text/plain"),
                Format::Text,
            ),
            (Some("application/openmetrics-text;q=0"), Format::Text),
            (Some("application/openmetrics-text;q=x,;;,="), Format::Text),
            (Some("application/json"), Format::Text),
        ] {
            assert_eq!(format(accept), format_, "{accept:?}");
        }
        assert!(gzip(Some("deflate, GZIP;q=0.5")) && gzip(Some("gzip")));
        assert!(!gzip(None) && !gzip(Some("gzip;q=0")) && !gzip(Some("br")));
    }
}
