//! What is shown: the board while the run goes on, and the summary when it is known.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lem_record::{Attributes, Envelope, Metric, Record, RunContext};

use crate::encode::{self, Encoded, Format, Series, Times};

/// More would be no page for a Prometheus any more.
const MOST_SERIES: usize = 20_000;
/// Of names and labels, bytes.
const MOST_TEXT: usize = 16 << 20;

#[derive(Debug)]
pub(super) struct Page {
    run: RunContext,
    /// What is known from the start.
    known: Vec<Series>,
    summary: Mutex<Summary>,
}

/// The run's final numbers. Those of single cycles are not shown: without their times
/// they would all be of the moment of the scrape.
#[derive(Debug, Default)]
struct Summary {
    /// By id and attributes, each with the number of its record: of two the later
    /// stands, also where it says that the number is absent.
    metrics: BTreeMap<(String, Attributes), (u64, Vec<Series>)>,
    series: usize,
    text_bytes: usize,
    /// Of the families, as of the latest text.
    names: HashSet<String>,
    /// By format; emptied with every change.
    texts: [Option<Arc<str>>; 2],
    ended: bool,
}

/// One rendering.
#[derive(Debug)]
pub(super) struct Rendered {
    pub text: String,
    /// Nothing will be added any more.
    pub last: bool,
}

impl Page {
    pub fn new(run: &RunContext) -> Self {
        let target = encode::target(run, run.started_at.mono_ns);
        Self {
            run: run.clone(),
            known: std::iter::once(target)
                .chain(encode::early_info(run))
                .collect(),
            summary: Mutex::default(),
        }
    }

    pub const fn run(&self) -> &RunContext {
        &self.run
    }

    fn summary(&self) -> MutexGuard<'_, Summary> {
        self.summary.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in a record: how many series of it are shown, and what cannot be.
    pub fn take(&self, envelope: &Envelope) -> (u64, Vec<String>) {
        let metric = match &envelope.record {
            Record::Metric(metric) if metric.cycle.is_none() => metric,
            Record::RunFinished(_) => {
                self.end();
                return (0, Vec::new());
            }
            _ => return (0, Vec::new()),
        };
        let Encoded {
            series,
            mut rejected,
        } = encode::record(&self.run, envelope);
        let mut shown = series.len() as u64;
        if let Err(why) = self.summary().put(envelope.n, metric, series) {
            rejected.push(why);
            shown = 0;
        }
        (shown, rejected)
    }

    /// The summary is complete.
    pub fn end(&self) {
        self.summary().ended = true;
    }

    pub fn render(&self, format: Format) -> Rendered {
        let board = self.run.live.as_ref().map(|board| board.now());
        let present = board.iter().flatten();
        let present = present.filter_map(|present| encode::present(&self.run, present));
        let mut summary = self.summary();
        let text = summary.text(format);
        let names = &summary.names;
        // a family stands in one place; of what both know the summary knows more
        let now = self.known.iter().cloned().chain(present);
        let now = encode::merge(now.filter(|series| !names.contains(&series.family.name)));
        let last = summary.ended;
        drop(summary);
        let mut out = String::with_capacity(text.len() + 16_384);
        encode::write(&mut out, &now, format, Times::Left);
        out.push_str(&text);
        encode::end(&mut out, format);
        Rendered { text: out, last }
    }
}

impl Summary {
    fn put(&mut self, n: u64, metric: &Metric, series: Vec<Series>) -> Result<(), String> {
        let key = (metric.id.clone(), metric.attributes.clone());
        let before = self.metrics.get(&key);
        if before.is_some_and(|(before, _)| *before > n) {
            return Ok(());
        }
        let before = before.map_or(&[][..], |(_, series)| series);
        let series_after = self.series - before.len() + series.len();
        let bytes_after = self.text_bytes - bytes(before) + bytes(&series);
        if series_after > MOST_SERIES || bytes_after > MOST_TEXT {
            return Err(format!(
                "{}: the page is full ({MOST_SERIES} series, or {} MiB of labels)",
                series
                    .first()
                    .map_or("", |series| series.family.name.as_str()),
                MOST_TEXT >> 20
            ));
        }
        (self.series, self.text_bytes) = (series_after, bytes_after);
        self.metrics.insert(key, (n, series));
        self.texts = [None, None];
        Ok(())
    }

    fn all(&self) -> impl Iterator<Item = &Series> {
        self.metrics.values().flat_map(|(_, series)| series)
    }

    fn text(&mut self, format: Format) -> Arc<str> {
        let place = match format {
            Format::Text => 0,
            Format::OpenMetrics => 1,
        };
        if let Some(Some(text)) = self.texts.get(place) {
            return Arc::clone(text);
        }
        self.names = self
            .all()
            .map(|series| series.family.name.clone())
            .collect();
        let mut text = String::new();
        let series = encode::merge(self.all().cloned());
        encode::write(&mut text, &series, format, Times::Left);
        let text: Arc<str> = text.into();
        if let Some(kept) = self.texts.get_mut(place) {
            *kept = Some(Arc::clone(&text));
        }
        text
    }
}

fn bytes(series: &[Series]) -> usize {
    let label = |(name, value): &(String, String)| name.len() + value.len();
    let one = |series: &Series| series.labels.iter().map(label).sum::<usize>();
    series.iter().map(one).sum()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use lem_record::{How, MetricValue};
    use lem_testkit::golden::{self, STARTED_AT};

    use super::*;

    fn page() -> (tempfile::TempDir, Page) {
        let folder = tempfile::tempdir().unwrap();
        let page = Page::new(&golden::run(folder.path()).context());
        (folder, page)
    }

    fn metric(n: u64, device: &str, value: MetricValue) -> Envelope {
        Envelope {
            run: golden::RUN_ID.into(),
            n,
            at: STARTED_AT,
            record: Record::Metric(Metric {
                id: "energy.closure".into(),
                attributes: Attributes::from([("hw.id".into(), device.into())]),
                value,
                t_ns: STARTED_AT.mono_ns,
                cycle: None,
                how: How::Measured,
                uncertainty: None,
                interval: None,
                method: None,
            }),
        }
    }

    #[test]
    fn of_two_records_the_later_stands_whatever_comes_first() {
        let (_folder, page) = page();
        let shown = |page: &Page| page.render(Format::Text).text.contains("closure_ratio{");
        page.take(&metric(5, "gpu0", MetricValue::Number(1.0)));
        assert!(shown(&page));
        page.take(&metric(9, "gpu0", MetricValue::Absent("no sensor".into())));
        assert!(!shown(&page), "a later analysis knows better");
        page.take(&metric(5, "gpu0", MetricValue::Number(1.0)));
        assert!(
            !shown(&page),
            "and an earlier one that comes again does not"
        );
    }

    #[test]
    fn a_page_has_a_bound() {
        let (_folder, page) = page();
        let long = "x".repeat(1 << 20);
        let mut refused = Vec::new();
        for n in 0..40 {
            let value = MetricValue::Number(1.0);
            refused.extend(page.take(&metric(n, &format!("{n}{long}"), value)).1);
        }
        assert!(refused.len() > 20, "{}", refused.len());
        assert!(refused[0].contains("the page is full"), "{}", refused[0]);
        assert!(page.render(Format::Text).text.len() < 2 * MOST_TEXT);
    }
}
