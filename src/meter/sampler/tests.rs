#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use lem_record::{How, Stamp};

use super::{Options, Sampler};
use crate::meter::{Component, Meter, SampleSink, Sensor, Source, SourceColumn};

type Script = Box<dyn FnMut(u64, &mut dyn SampleSink) + Send>;

/// Does what the test says, at each call with the call's number.
struct Scripted {
    sources: Vec<Source>,
    calls: u64,
    read: Script,
    edges: Script,
}

impl Scripted {
    fn new(id: &str, read: impl FnMut(u64, &mut dyn SampleSink) + Send + 'static) -> Box<Self> {
        Box::new(Self {
            sources: vec![source(id)],
            calls: 0,
            read: Box::new(read),
            edges: Box::new(|_, _| ()),
        })
    }
}

impl Meter for Scripted {
    fn name(&self) -> &'static str {
        "scripted"
    }

    fn sources(&self) -> &[Source] {
        &self.sources
    }

    fn read(&mut self, out: &mut dyn SampleSink) {
        self.calls += 1;
        (self.read)(self.calls, out);
    }

    fn read_edges(&mut self, out: &mut dyn SampleSink) {
        (self.edges)(self.calls, out);
    }
}

fn source(id: &str) -> Source {
    Source {
        id: id.into(),
        component: Component::Cpu,
        name: id.into(),
        meter: "scripted".into(),
        how: How::Measured,
        method: "a script".into(),
        device: None,
        columns: vec![SourceColumn {
            metric: "sample.power".into(),
            attributes: [("hw.id".to_owned(), id.to_owned())].into(),
            how: None,
        }],
        sensor: Sensor::default(),
    }
}

fn steady(out: &mut dyn SampleSink) {
    out.row(0, Stamp::mono_ns(), &[Some(5.0)]);
}

fn options(interval_ms: u64, blocked_ms: u64) -> Options {
    Options {
        interval: Duration::from_millis(interval_ms),
        blocked_after: Duration::from_millis(blocked_ms),
        expected_window: Duration::from_secs(1),
    }
}

#[test]
fn readings_enclose_what_is_measured_and_columns_say_whose_they_are() {
    let mut sampler = Sampler::start(
        vec![Scripted::new("cpu0", |_, out| steady(out))],
        Duration::from_millis(10),
    )
    .unwrap();
    sampler.begin_window();
    let start = Stamp::mono_ns();
    std::thread::sleep(Duration::from_millis(55));
    let end = Stamp::mono_ns();
    let window = sampler.end_window();

    let samples = &window.samples[0];
    samples.check().unwrap();
    assert_eq!(samples.source, "cpu0");
    assert!(samples.t_ns[0] <= start, "the first reading lies before");
    assert!(*samples.t_ns.last().unwrap() >= end, "the last one after");
    assert!(samples.t_ns.is_sorted());
    let column = &samples.columns[0];
    assert_eq!((column.metric.as_str(), column.how), ("sample.power", How::Measured));
    assert_eq!(column.attributes["hw.id"], "cpu0");
    let stats = &window.stats;
    assert_eq!(samples.t_ns.len() as u64, stats.taken + 2, "ticks and two edges");
    assert!(stats.taken + stats.missed >= 4, "{stats:?}");
    assert!(stats.max_gap_ns >= 9_000_000 && stats.cpu_ns > 0, "{stats:?}");
    assert!(window.clock.pairs.len() >= 2);
    assert!(window.stats.missed_by_source.is_empty());
}

#[test]
fn nothing_is_read_between_windows_and_each_window_has_only_its_own() {
    let calls = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&calls);
    let meter = Scripted::new("cpu0", move |_, out| {
        counted.fetch_add(1, Ordering::SeqCst);
        steady(out);
    });
    let mut sampler = Sampler::start(vec![meter], Duration::from_millis(5)).unwrap();
    sampler.begin_window();
    let first = sampler.end_window();
    let before = calls.load(Ordering::SeqCst);
    std::thread::sleep(Duration::from_millis(30));
    assert_eq!(calls.load(Ordering::SeqCst), before);
    sampler.begin_window();
    let second = sampler.end_window();
    assert!(second.samples[0].t_ns[0] > *first.samples[0].t_ns.last().unwrap());
}

#[test]
fn segments_are_one_series_and_their_statistics_add_up() {
    let mut sampler = Sampler::start(
        vec![Scripted::new("cpu0", |_, out| steady(out))],
        Duration::from_millis(5),
    )
    .unwrap();
    sampler.begin_window();
    let mut rows = Vec::new();
    let mut stats = super::WindowStats::default();
    for _ in 0..3 {
        std::thread::sleep(Duration::from_millis(20));
        let segment = sampler.take_segment();
        rows.extend(segment.samples.into_iter().flat_map(|s| s.t_ns));
        stats.add(&segment.stats);
    }
    let last = sampler.end_window();
    rows.extend(last.samples.into_iter().flat_map(|s| s.t_ns));
    stats.add(&last.stats);
    assert!(rows.is_sorted());
    assert_eq!(rows.len() as u64, stats.taken + 5, "begin, three segments, end");
}

#[test]
fn a_meter_that_panics_is_dropped_and_the_others_go_on() {
    let panicking = Scripted::new("cpu0", |call, out| {
        assert!(call < 3, "the sensor burnt");
        steady(out);
    });
    let well = Scripted::new("memory0", |_, out| steady(out));
    let mut sampler = Sampler::start(vec![panicking, well], Duration::from_millis(5)).unwrap();
    sampler.begin_window();
    std::thread::sleep(Duration::from_millis(50));
    let window = sampler.end_window();
    let rows = |id: &str| {
        window.samples.iter().find(|s| s.source == id).map_or(0, |s| s.t_ns.len())
    };
    assert_eq!(rows("cpu0"), 2, "what it gave before is kept");
    assert!(rows("memory0") as u64 == window.stats.taken + 2);
    let dropped = &window.stats.dropped[0];
    assert_eq!(dropped.sources, ["cpu0"]);
    assert!(dropped.reason.contains("the sensor burnt"), "{dropped:?}");
    let missed = &window.stats.missed_by_source[0];
    assert_eq!((missed.source.as_str(), missed.count), ("cpu0", window.stats.taken));
}

#[test]
fn a_meter_that_hangs_is_given_up_and_the_others_go_on() {
    let release = Arc::new(AtomicBool::new(false));
    let held = Arc::clone(&release);
    let hanging = Scripted::new("gpu0", move |call, out| {
        while call == 2 && !held.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
        steady(out);
    });
    let well = Scripted::new("memory0", |_, out| steady(out));
    let mut sampler = Sampler::with_options(vec![hanging, well], options(5, 40)).unwrap();
    sampler.begin_window();
    std::thread::sleep(Duration::from_millis(250));
    let window = sampler.end_window();
    let memory = window.samples.iter().find(|s| s.source == "memory0").unwrap();
    assert!(memory.t_ns.len() > 3, "it is read again");
    assert!(window.stats.dropped[0].reason.contains("did not answer within 0.04 s"));
    assert!(window.stats.missed >= 5, "the time that it hung is counted");
    assert!(window.stats.max_gap_ns >= 40_000_000);
    // It returns: too late, and its thread is out of date.
    release.store(true, Ordering::SeqCst);
    std::thread::sleep(Duration::from_millis(20));
    sampler.begin_window();
    let later = sampler.end_window();
    assert_eq!(later.samples.len(), 1);
    assert_eq!(later.samples[0].source, "memory0");
    assert_eq!(later.samples[0].t_ns.len() as u64, later.stats.taken + 2);
}

#[test]
fn a_hang_at_an_edge_does_not_hold_the_caller() {
    let hanging = Scripted::new("gpu0", |_, _| loop {
        std::thread::park();
    });
    let well = Scripted::new("memory0", |_, out| steady(out));
    let mut sampler = Sampler::with_options(vec![hanging, well], options(5, 30)).unwrap();
    sampler.begin_window();
    let window = sampler.end_window();
    assert_eq!(window.samples[0].source, "memory0");
    assert_eq!(window.stats.dropped.len(), 1);
}

#[test]
fn gaps_of_a_sensor_are_counted_with_bounded_reasons() {
    let meter = Scripted::new("cpu0", |call, out| match call {
        1 | 2 => steady(out),
        3 => out.row(0, Stamp::mono_ns(), &[Some(f64::NAN)]),
        4 => out.row(0, Stamp::mono_ns(), &[]),
        _ => out.missed(0, &format!("reason {call}")),
    });
    let mut sampler = Sampler::start(vec![meter], Duration::from_millis(1)).unwrap();
    sampler.begin_window();
    std::thread::sleep(Duration::from_millis(60));
    let window = sampler.end_window();
    let values = &window.samples[0].columns[0].values;
    assert_eq!(values.as_slice(), [Some(5.0), Some(5.0), None]);
    let missed = &window.stats.missed_by_source[0];
    assert!(missed.count > 10 && missed.reasons.len() <= 8, "{missed:?}");
    assert_eq!(missed.reasons.iter().map(|r| r.count).sum::<u64>(), missed.count);
}

#[test]
fn samples_that_come_after_later_ones_are_put_in_order() {
    let mut meter = Scripted::new("gpu0", |_, out| steady(out));
    meter.edges = Box::new(|_, out| {
        let now = Stamp::mono_ns();
        for age in [3_000_000, 2_000_000, 1_000_000] {
            out.row(0, now - age, &[Some(age as f64)]);
        }
    });
    let mut sampler = Sampler::start(vec![meter], Duration::from_millis(5)).unwrap();
    sampler.begin_window();
    std::thread::sleep(Duration::from_millis(12));
    let window = sampler.end_window();
    let samples = &window.samples[0];
    assert!(samples.t_ns.is_sorted());
    let values = &samples.columns[0].values;
    let old = values.iter().flatten().filter(|v| **v > 100.0).count();
    assert_eq!(old, 6, "three at each edge, none lost");
}

#[test]
fn no_meter_at_all_is_a_window_without_samples() {
    let mut sampler = Sampler::start(Vec::new(), Duration::from_millis(5)).unwrap();
    sampler.begin_window();
    assert!(sampler.end_window().samples.is_empty());
}
