//! What a server says of a cycle: its counters before and after it, and the difference.

mod table;
mod text;

use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use reqwest::Url;

use super::control::{Control, Fault};
use super::kind::Kind;
use crate::config::Backend;
use table::{From, Names, REQUESTS};
use text::Page;

const LONGEST: Duration = Duration::from_secs(10);
/// A server counts a request a moment after its last token: so long is waited for that.
const SETTLE: Duration = Duration::from_millis(1500);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Where the page is, and what was on it before the cycle.
#[derive(Debug)]
pub struct Metrics {
    backend: Backend,
    /// `Err` says why there is none.
    place: Result<Place, String>,
    before: Result<Page, String>,
    /// The highest gauges that were seen within the cycle.
    within: Vec<Page>,
}

#[derive(Debug)]
enum Place {
    Path(&'static str),
    Elsewhere(Url),
}

/// A quantity of a cycle.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    pub id: &'static str,
    pub value: Result<f64, String>,
    /// The server's name for it.
    pub source: String,
}

impl Metrics {
    pub fn new(kind: &Kind, elsewhere: Option<Url>) -> Self {
        let place = match (elsewhere, kind.metrics) {
            (Some(url), _) => Ok(Place::Elsewhere(url)),
            (None, Some(path)) => Ok(Place::Path(path)),
            (None, None) => Err(format!("{} tells no metrics", kind.name)),
        };
        Self {
            backend: kind.backend,
            place,
            before: Err("there is no page from before the cycle".into()),
            within: Vec::new(),
        }
    }

    /// Right before a cycle.
    pub fn before(&mut self, server: &Control) {
        self.within.clear();
        self.before = self.page(server);
    }

    /// Does the work; where asked for, a thread of its own reads the page every so often beside it.
    pub fn beside<T>(
        &mut self,
        server: &Control,
        every: Option<Duration>,
        work: impl FnOnce() -> T,
    ) -> T {
        let Some(every) = every.filter(|_| self.place.is_ok()) else {
            return work();
        };
        let this = &*self;
        let (ended, end) = std::sync::mpsc::channel::<()>();
        let (done, pages) = std::thread::scope(|scope| {
            let reader = scope.spawn(move || {
                let mut pages = Vec::new();
                // Until the other end is gone.
                while end.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                    pages.extend(this.page(server));
                }
                pages
            });
            let done = work();
            drop(ended);
            (done, reader.join().unwrap_or_default())
        });
        self.within.extend(pages);
        done
    }

    fn page(&self, server: &Control) -> Result<Page, String> {
        let place = self.place.as_ref().map_err(Clone::clone)?;
        let bytes = match place {
            Place::Path(path) => server.get(path, LONGEST),
            Place::Elsewhere(url) => server.get_elsewhere(url, LONGEST),
        };
        let bytes = bytes.map_err(|fault| match (&fault, self.backend) {
            (Fault::Status(404 | 501, _), Backend::LlamaCpp) => {
                "the server was started without --metrics".to_owned()
            }
            (Fault::Status(404, _), Backend::Sglang) => {
                "the server was started without --enable-metrics".to_owned()
            }
            (Fault::Status(404, _), Backend::TensorrtLlm) => {
                "the server was started without return_perf_metrics".to_owned()
            }
            _ => format!("the page of metrics was not had: {fault}"),
        })?;
        let page = Page::parse(&String::from_utf8_lossy(&bytes));
        if page.is_empty() {
            return Err("the page of metrics is empty, or not in Prometheus's text format".into());
        }
        Ok(page)
    }

    /// Right after a cycle in which `requests` were answered. Gives the quantities, and how many
    /// requests the server itself counted where that is another number.
    pub fn after(&mut self, server: &Control, requests: u64) -> (Vec<Told>, Option<u64>) {
        let rows = table::rows(self.backend);
        let before = match &self.before {
            Ok(page) => page.clone(),
            Err(why) => {
                let absent = |(id, _): &table::Row| Told {
                    id,
                    value: Err(why.clone()),
                    source: String::new(),
                };
                let rows = rows.iter().filter(|(id, _)| *id != REQUESTS);
                return (rows.map(absent).collect(), None);
            }
        };
        let counted = |after: &Page| {
            let (_, from) = rows.iter().find(|(id, _)| *id == REQUESTS)?;
            let counted = value(*from, &before, after, &[]).ok()?;
            Some(counted.round() as u64)
        };
        let end = Instant::now() + SETTLE;
        let mut after = self.page(server);
        while let Ok(page) = &after
            && counted(page).is_some_and(|counted| counted < requests)
            && Instant::now() < end
        {
            std::thread::sleep(LOOK_AGAIN);
            after = self.page(server);
        }
        let all = rows.iter().filter(|(id, _)| *id != REQUESTS);
        let told = all.map(|(id, from)| Told {
            id,
            value: match &after {
                Ok(after) => value(*from, &before, after, &self.within),
                Err(why) => Err(why.clone()),
            },
            source: source(*from, after.as_ref().ok()),
        });
        let other = after.as_ref().ok().and_then(counted);
        (told.collect(), other.filter(|counted| *counted != requests))
    }
}

fn known(names: Names, page: &Page, suffix: &str) -> Option<String> {
    let all = names.names.iter().map(|name| format!("{name}{suffix}"));
    let mut there = all.filter(|name| page.sum(name, names.label).is_some());
    there.next()
}

fn source(from: From, page: Option<&Page>) -> String {
    let (names, suffix) = match from {
        From::Rise(names) | From::Peak(names) | From::Share(names, _) => (names, ""),
        From::Mean(names) | From::Count(names) => (names, "_count"),
        From::Sum(names) => (names, "_sum"),
    };
    let name = page.and_then(|page| known(names, page, suffix));
    let name = name.unwrap_or_else(|| names.names.first().copied().unwrap_or_default().to_owned());
    let name = name.strip_suffix("_count").unwrap_or(&name);
    match names.label {
        Some((key, value)) => format!("{name}{{{key}=\"{value}\"}}"),
        None => name.to_owned(),
    }
}

fn rise(names: Names, suffix: &str, before: &Page, after: &Page) -> Result<f64, String> {
    let name = known(names, after, suffix).ok_or_else(|| {
        let name = names.names.first().copied().unwrap_or_default();
        format!("this version of the server tells no {name}{suffix}")
    })?;
    let now = after.sum(&name, names.label).unwrap_or(0.0);
    // A series appears with its first value.
    let rise = now - before.sum(&name, names.label).unwrap_or(0.0);
    if rise < 0.0 {
        return Err(format!(
            "{name} fell: the server was started again within the cycle"
        ));
    }
    Ok(rise)
}

fn value(from: From, before: &Page, after: &Page, within: &[Page]) -> Result<f64, String> {
    match from {
        From::Rise(names) => rise(names, "", before, after),
        From::Sum(names) => rise(names, "_sum", before, after),
        From::Count(names) => rise(names, "_count", before, after),
        From::Mean(names) => {
            let count = rise(names, "_count", before, after)?;
            if count == 0.0 {
                return Err("the server counted no request in the cycle".into());
            }
            Ok(rise(names, "_sum", before, after)? / count)
        }
        From::Share(part, whole) => {
            let whole = rise(whole, "", before, after)?;
            if whole == 0.0 {
                return Err("there was nothing to have a share of in the cycle".into());
            }
            Ok(rise(part, "", before, after)? / whole)
        }
        From::Peak(names) => {
            let seen = std::iter::once(before).chain(within).chain([after]);
            let values = seen.filter_map(|page| {
                let name = known(names, page, "")?;
                page.max(&name, names.label)
            });
            values.reduce(f64::max).ok_or_else(|| {
                let name = names.names.first().copied().unwrap_or_default();
                format!("this version of the server tells no {name}")
            })
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn n(name: &'static [&'static str]) -> Names {
        Names {
            names: name,
            label: None,
        }
    }

    #[test]
    fn a_cycle_is_the_difference_of_two_pages() {
        let before = Page::parse("c_total 10\nh_sum 4\nh_count 2\ng 0.3\n");
        let after = Page::parse("c_total 15\nh_sum 10\nh_count 5\ng 0.1\nnew_total 2\n");
        let of = |from| value(from, &before, &after, &[Page::parse("g 0.9")]);
        assert_eq!(of(From::Rise(n(&["newer_total", "c_total"]))), Ok(5.0));
        assert_eq!(
            of(From::Rise(n(&["new_total"]))),
            Ok(2.0),
            "appeared within it"
        );
        assert_eq!(of(From::Mean(n(&["h"]))), Ok(2.0));
        assert_eq!(of(From::Count(n(&["h"]))), Ok(3.0));
        assert_eq!(of(From::Share(n(&["new_total"]), n(&["c_total"]))), Ok(0.4));
        assert_eq!(of(From::Peak(n(&["g"]))), Ok(0.9));
    }

    #[test]
    fn what_is_not_told_or_fell_is_absent_with_the_reason() {
        let before = Page::parse("c_total 10\nh_sum 4\nh_count 2\n");
        let after = Page::parse("c_total 1\nh_sum 4\nh_count 2\n");
        let of = |from| value(from, &before, &after, &[]).unwrap_err();
        assert!(of(From::Rise(n(&["c_total"]))).contains("fell"));
        assert!(of(From::Rise(n(&["x_total"]))).contains("tells no x_total"));
        assert!(of(From::Mean(n(&["h"]))).contains("no request"));
        assert!(of(From::Peak(n(&["g"]))).contains("tells no g"));
    }
}
