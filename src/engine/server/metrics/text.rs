//! A page of metrics in Prometheus's text format, as far as sums need it.

use std::collections::BTreeMap;

/// More series than any server has: a page that goes on for ever is cut here.
const MOST_SERIES: usize = 100_000;

/// The series of a page by name, each with its labels.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    series: BTreeMap<String, Vec<Series>>,
}

#[derive(Clone, Debug, PartialEq)]
struct Series {
    labels: Vec<(String, String)>,
    value: f64,
}

impl Page {
    /// Lines that are no series are passed over: a page is of use also where a part of it is odd.
    pub fn parse(text: &str) -> Self {
        let mut page = Self::default();
        for (name, series) in text.lines().filter_map(line).take(MOST_SERIES) {
            page.series.entry(name.to_owned()).or_default().push(series);
        }
        page
    }

    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// Whether there is a series of this name with this label, where one is asked for.
    fn found<'a>(
        &'a self,
        name: &str,
        label: Option<(&'a str, &'a str)>,
    ) -> Option<impl Iterator<Item = f64> + 'a> {
        let all = self.series.get(name)?;
        let fits = move |series: &&Series| {
            label.is_none_or(|(key, value)| {
                series.labels.iter().any(|(k, v)| k == key && v == value)
            })
        };
        let mut values = all
            .iter()
            .filter(fits)
            .map(|series| series.value)
            .peekable();
        values.peek()?;
        Some(values)
    }

    /// Over all engines, models and other labels.
    pub fn sum<'a>(&'a self, name: &str, label: Option<(&'a str, &'a str)>) -> Option<f64> {
        self.found(name, label).map(Iterator::sum)
    }

    pub fn max<'a>(&'a self, name: &str, label: Option<(&'a str, &'a str)>) -> Option<f64> {
        self.found(name, label)?.reduce(f64::max)
    }
}

/// `name{label="value",…} number [time]`.
fn line(line: &str) -> Option<(&str, Series)> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let end = line.find(|c: char| c == '{' || c.is_whitespace())?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = Vec::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            rest = rest.trim_start_matches([' ', ',']);
            if let Some(after) = rest.strip_prefix('}') {
                rest = after;
                break;
            }
            let (key, after) = rest.split_once("=\"")?;
            let (value, after) = quoted(after)?;
            labels.push((key.trim().to_owned(), value));
            rest = after;
        }
    }
    let value: f64 = rest.split_whitespace().next()?.parse().ok()?;
    // A histogram's last bucket has the bound +Inf, never such a value; NaN is no measurement.
    value
        .is_finite()
        .then_some((name, Series { labels, value }))
}

/// A value up to its closing quote, and what follows.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match (escaped, c) {
            (true, 'n') => value.push('\n'),
            (true, other) => value.push(other),
            (false, '\\') => {}
            (false, '"') => return Some((value, text.get(at + 1..)?)),
            (false, other) => value.push(other),
        }
        escaped = !escaped && c == '\\';
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_summed_over_what_does_not_matter() {
        let page = Page::parse(
            "# HELP a help\n# TYPE a counter\na_total{engine=\"0\",m=\"x,\\\"y\\\"}\"} 2\n\
             a_total{engine=\"1\"} 3.5 1700000000\nb 1e3\n  c{k=\"DECODE\",} 4\nc{k=\"EXTEND\"} 6\n",
        );
        assert_eq!(page.sum("a_total", None), Some(5.5));
        assert_eq!(page.max("a_total", None), Some(3.5));
        assert_eq!(page.sum("b", None), Some(1000.0));
        assert_eq!(page.sum("c", Some(("k", "DECODE"))), Some(4.0));
        assert_eq!(page.sum("c", Some(("k", "MIXED"))), None);
        assert_eq!(page.sum("d", None), None);
    }

    #[test]
    fn what_is_no_series_is_passed_over() {
        let page = Page::parse("a{x=\"open} 1\n<html>\nb\nc NaN\nd +Inf\n{} 1\ne 7\n\u{0}\n");
        assert_eq!(page.sum("e", None), Some(7.0));
        assert_eq!(page.sum("c", None), None);
        assert_eq!(page.sum("d", None), None);
        assert!(Page::parse("").is_empty());
    }
}
