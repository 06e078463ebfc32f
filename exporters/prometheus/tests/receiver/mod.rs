//! A receiver of remote write that does what Prometheus 2.42 does, as the facts that
//! were found with the real one say: a request is stored wholly or not at all; within
//! one, a sample that goes back in time is dropped without a word.
#![allow(clippy::unwrap_used, clippy::expect_used, dead_code)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use lem_prometheus::remote_write::proto::{Request2, WriteRequest};
use lem_testkit::{FakeServer, Request, Response};
use prost::Message;

/// Unix ms and the value's bits, as a stale marker is a NaN of its own.
type Points = BTreeMap<i64, u64>;

#[derive(Clone, Copy, Debug, Default)]
pub struct Habits {
    /// `out_of_order_time_window`, ms.
    pub window: Option<i64>,
    /// Unix ms of the newest sample that it has from elsewhere.
    pub newest: Option<i64>,
    /// Speaks version 2.0, and proves it.
    pub two: bool,
    /// More samples in a request are too large for it.
    pub most: Option<usize>,
}

#[derive(Debug, Default)]
struct Store {
    series: BTreeMap<String, Points>,
    newest: Option<i64>,
}

pub struct Receiver {
    pub server: FakeServer,
    store: Arc<Mutex<Store>>,
}

/// A series and its samples, of either version.
type Rows = Vec<(String, Vec<(i64, f64)>)>;

impl Receiver {
    pub fn start(habits: Habits) -> Self {
        let store = Arc::new(Mutex::new(Store {
            newest: habits.newest,
            ..Store::default()
        }));
        let server = FakeServer::start({
            let store = Arc::clone(&store);
            move |request| answer(&mut store.lock().unwrap(), habits, request)
        });
        Self { server, store }
    }

    pub fn url(&self) -> String {
        format!("{}/api/v1/write", self.server.url())
    }

    /// A line a sample.
    pub fn facts(&self) -> Vec<String> {
        let store = self.store.lock().unwrap();
        let line = |series: &str, (t, bits): (&i64, &u64)| {
            match *bits {
                // a stale marker is no number, but a message
                0x7ff0_0000_0000_0002 => format!("{series} {t} stale"),
                _ => format!("{series} {t} {} {bits:x}", f64::from_bits(*bits)),
            }
        };
        let series = store.series.iter();
        series
            .flat_map(|(name, points)| points.iter().map(move |point| line(name, point)))
            .collect()
    }

    /// A sample that somebody else wrote.
    pub fn hold(&self, series: &str, t: i64, value: f64) {
        let mut store = self.store.lock().unwrap();
        let points = store.series.entry(series.to_owned()).or_default();
        points.insert(t, value.to_bits());
    }

    pub fn series(&self) -> BTreeMap<String, Vec<(i64, f64)>> {
        let store = self.store.lock().unwrap();
        let value = |(t, bits): (&i64, &u64)| (*t, f64::from_bits(*bits));
        let series = store.series.iter();
        series
            .map(|(name, all)| (name.clone(), all.iter().map(value).collect()))
            .collect()
    }
}

fn answer(store: &mut Store, habits: Habits, request: &Request) -> Response {
    match request.path.as_str() {
        "/api/v1/write" if request.method == "POST" => {}
        "/api/v1/status/buildinfo" => {
            let body = serde_json::json!({"status": "success", "data": {"version": "2.42.0"}});
            return Response::json(200, &body);
        }
        "/api/v1/status/config" => {
            let yaml = match habits.window {
                Some(ms) => format!("storage:\n  tsdb:\n    out_of_order_time_window: {ms}ms\n"),
                None => "global:\n  scrape_interval: 1m\n".to_owned(),
            };
            let body = serde_json::json!({"status": "success", "data": {"yaml": yaml}});
            return Response::json(200, &body);
        }
        _ => return Response::text(404, "404 page not found"),
    }
    assert_eq!(request.header("content-encoding"), Some("snappy"));
    let Ok(body) = snap::raw::Decoder::new().decompress_vec(&request.body) else {
        return Response::text(400, "snappy: corrupt input");
    };
    let two = request
        .header("content-type")
        .is_some_and(|kind| kind.contains("v2.Request"));
    assert_eq!(
        request.header("x-prometheus-remote-write-version"),
        Some(if two { "2.0.0" } else { "0.1.0" })
    );
    let rows = match two && habits.two {
        true => rows_2(&Request2::decode(&*body).expect("version 2.0")),
        // a request of 2.0 is an empty one to a receiver of 1.0
        false => rows_1(&WriteRequest::decode(&*body).expect("version 1.0")),
    };
    let samples: usize = rows.iter().map(|(_, points)| points.len()).sum();
    if habits.most.is_some_and(|most| samples > most) {
        return Response::text(413, "too large");
    }
    match append(store, habits.window, &rows) {
        Err((status, why)) => Response::text(status, why),
        Ok(()) if two && habits.two => Response::new(204).header(
            "X-Prometheus-Remote-Write-Samples-Written",
            samples.to_string(),
        ),
        Ok(()) => Response::new(204),
    }
}

fn append(store: &mut Store, window: Option<i64>, rows: &Rows) -> Result<(), (u16, &'static str)> {
    const HOUR: i64 = 3_600_000;
    for (series, points) in rows {
        let latest = store
            .series
            .get(series)
            .and_then(|points| points.last_key_value());
        for (t, value) in points {
            let newest = store.newest;
            let before = |window: i64| newest.is_some_and(|newest| *t < newest - window);
            match (latest, window) {
                (Some((last, bits)), _) if t == last && *bits == value.to_bits() => {}
                (Some((last, _)), _) if t == last => {
                    return Err((400, "duplicate sample for timestamp"));
                }
                (_, Some(window)) if before(window) => return Err((500, "too old sample")),
                (_, None) if before(HOUR) => return Err((400, "out of bounds")),
                (Some((last, _)), None) if t < last => return Err((400, "out of order sample")),
                _ => {}
            }
        }
    }
    for (series, points) in rows {
        for (t, value) in points {
            let all = store.series.entry(series.clone()).or_default();
            let back = all.last_key_value().is_some_and(|(last, _)| t < last);
            if !back || window.is_some() {
                all.entry(*t).or_insert(value.to_bits());
                store.newest = store.newest.max(Some(*t));
            }
        }
    }
    Ok(())
}

/// As Prometheus wants it: labels sorted, each once, none empty.
fn named(labels: &[(&str, &str)]) -> String {
    assert!(labels.is_sorted_by(|a, b| a.0 < b.0), "{labels:?}");
    assert!(
        labels.iter().all(|(name, _)| !name.is_empty()),
        "{labels:?}"
    );
    let text: Vec<String> = labels
        .iter()
        .map(|(name, value)| format!("{name}={value:?}"))
        .collect();
    text.join(",")
}

fn rows_1(request: &WriteRequest) -> Rows {
    let series = request.timeseries.iter().map(|series| {
        let labels: Vec<_> = series
            .labels
            .iter()
            .map(|label| (label.name.as_str(), label.value.as_str()))
            .collect();
        let samples = series.samples.iter().map(|s| (s.timestamp, s.value));
        (named(&labels), samples.collect())
    });
    series.collect()
}

fn rows_2(request: &Request2) -> Rows {
    assert_eq!(request.symbols.first().map(String::as_str), Some(""));
    let text = |place: &u32| request.symbols[*place as usize].as_str();
    let series = request.timeseries.iter().map(|series| {
        let pairs = series.labels_refs.chunks_exact(2);
        let labels: Vec<_> = pairs.map(|pair| (text(&pair[0]), text(&pair[1]))).collect();
        let samples = series.samples.iter().map(|s| (s.timestamp, s.value));
        (named(&labels), samples.collect())
    });
    series.collect()
}
