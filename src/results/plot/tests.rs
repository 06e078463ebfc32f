#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use lem_record::{Envelope, How, RunStatus};

use super::{Options, Picture, Span, What, picture, png, svg, text};
use crate::analysis::RunData;
use crate::analysis::testing::{MS, T0, TestLog};

fn golden() -> RunData {
    let text = include_str!(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/data/analysis/run.jsonl"
    ));
    let log = text.lines().map(|line| Envelope::decode(line).unwrap());
    RunData::from_log(log).with_status(RunStatus::Finished, None)
}

fn golden_picture(span: Span) -> Picture {
    let options = Options {
        span,
        ..Options::default()
    };
    picture(&golden(), &options).unwrap()
}

#[test]
fn the_golden_run_as_svg() {
    insta::assert_snapshot!("cycles_svg", svg(&golden_picture(Span::Cycles)));
}

#[test]
fn the_golden_run_in_a_terminal() {
    insta::assert_snapshot!("cycles_text", text(&golden_picture(Span::Cycles), 100));
    insta::assert_snapshot!("run_text", text(&golden_picture(Span::Run), 72));
    for columns in [0, 40, 61, 5_000] {
        let drawn = text(&golden_picture(Span::Cycle(1)), columns);
        let widest = drawn.lines().map(|l| l.chars().count()).max().unwrap();
        assert!(widest <= columns.clamp(40, 400), "{drawn}");
    }
}

#[test]
fn a_png_has_the_asked_width_and_something_on_it() {
    let bytes = png(&golden_picture(Span::Cycles), 720).unwrap();
    let page = tiny_skia::Pixmap::decode_png(&bytes).unwrap();
    assert_eq!(page.width(), 720);
    let colour = |r, g, b| {
        let near =
            |p: &tiny_skia::PremultipliedColorU8| (p.red(), p.green(), p.blue()) == (r, g, b);
        page.pixels().iter().filter(|p| near(p)).count()
    };
    // Paper, ink of the axes and letters, and the sensor's line.
    assert!(colour(255, 255, 255) > page.pixels().len() / 3);
    assert!(colour(34, 34, 34) > 300);
    assert!(colour(20, 60, 105) > 300);
}

#[test]
fn the_picture_is_what_the_analysis_says() {
    let picture = golden_picture(Span::Cycles);
    assert_eq!((picture.prefill.len(), picture.decode.len()), (6, 6));
    let levels: Vec<(&str, f64)> = picture
        .idle
        .iter()
        .map(|i| (i.name, i.watts.round()))
        .collect();
    assert_eq!(levels, [("B0", 75.0), ("B1", 124.0), ("B1′", 126.0)]);
    // The lag is taken out: the first sample of prefill lies in its band.
    let prefill = picture.prefill[0];
    let inside = |(t, _): &&(u64, Option<f64>)| (prefill.start_ns..prefill.end_ns).contains(t);
    let powers: Vec<f64> = picture.power[0]
        .points
        .iter()
        .filter(inside)
        .filter_map(|(_, w)| *w)
        .collect();
    let high = powers.iter().filter(|w| **w > 600.0).count();
    assert!(high + 1 >= powers.len(), "{powers:?}");
    let one = golden_picture(Span::Cycle(1));
    assert_eq!((one.cycles.len(), one.seconds(one.zero_ns)), (1, 0.0));
    assert!(
        one.facts[0].starts_with("Energy of cycle 1: "),
        "{:?}",
        one.facts
    );
    let missing = super::picture(
        &golden(),
        &Options {
            span: Span::Cycle(9),
            ..Options::default()
        },
    );
    assert_eq!(
        missing.unwrap_err(),
        "the run has no cycle 9; its cycles are 0 to 2"
    );
}

/// A log with more phases than a page has room for, two devices, temperatures and
/// throttling.
fn long_run() -> RunData {
    let sources = serde_json::json!([
        crate::analysis::testing::source(
            "gpu0",
            "gpu",
            "measured",
            &["sample.power"],
            &serde_json::json!({})
        ),
        crate::analysis::testing::source(
            "gpu1",
            "gpu",
            "measured",
            &["sample.power"],
            &serde_json::json!({})
        ),
    ]);
    let mut log = TestLog::started(sources);
    let end = T0 + 120_000 * MS;
    for (gpu, watts) in [("gpu0", 300.0), ("gpu1", 310.0)] {
        log.constant(
            gpu,
            "sample.power",
            How::Measured,
            (T0, end),
            20 * MS,
            watts,
        );
        log.constant(
            gpu,
            "sample.temperature",
            How::Measured,
            (T0, end),
            500 * MS,
            61.0,
        );
    }
    log.samples(
        "gpu0",
        "sample.throttled",
        How::Measured,
        &[
            (T0, 0.0),
            (T0 + 9_000 * MS, 1.0),
            (T0 + 12_000 * MS, 0.0),
            (end, 0.0),
        ],
    );
    for i in 0..1_000 {
        let start = T0 + i * 120 * MS;
        log.span(
            lem_record::SpanKind::Phase,
            "prefill",
            Some(0),
            start,
            start + 30 * MS,
        );
        log.span(
            lem_record::SpanKind::Phase,
            "decode",
            Some(0),
            start + 30 * MS,
            start + 120 * MS,
        );
    }
    log.finished(0, T0, end);
    RunData::from_log(&log.envelopes)
}

#[test]
fn a_long_run_stays_a_small_figure() {
    let options = Options {
        span: Span::Cycles,
        what: vec![What::Power, What::Devices, What::Temperature, What::Tokens],
    };
    let picture = picture(&long_run(), &options).unwrap();
    assert_eq!(picture.power.len(), 3);
    assert!(picture.notes[0].contains("shares of the time"));
    assert_eq!(picture.power[0].range(), Some((610.0, 610.0)));
    assert_eq!(picture.panels[0].series.len(), 2);
    assert_eq!(picture.tokens, None);
    let throttled = picture.throttled[0];
    assert_eq!(throttled.len_ns(), 3_000 * MS);
    let drawn = svg(&picture);
    assert!(drawn.len() < 200_000, "{} bytes", drawn.len());
    assert!(drawn.contains("clock held down"));
    assert!(text(&picture, 80).contains('▒'));
    png(&picture, 400).unwrap();
}

#[test]
fn hostile_names_stay_text() {
    let mut data = golden();
    let mut started = data.started.clone().unwrap();
    started.config["model_name"] = "</text><script>alert(1)</script>\u{1b}[31m\u{0}\n&".into();
    data.started = Some(started);
    let picture = picture(&data, &Options::default()).unwrap();
    let drawn = svg(&picture);
    assert!(!drawn.contains("<script>") && !drawn.contains('\u{1b}') && !drawn.contains('\u{0}'));
    assert!(drawn.contains("&lt;/text&gt;&lt;script&gt;"));
    assert!(!text(&picture, 80).contains('\u{1b}'));
}

#[test]
fn an_empty_run_says_why_there_is_no_figure() {
    let none = picture(&RunData::default(), &Options::default()).unwrap_err();
    assert!(none.contains("no cycle was measured"), "{none}");
    let mut log = TestLog::modelled();
    log.cycle(0, T0, 50.0);
    let data = RunData::from_log(&log.envelopes);
    let clock = Options {
        span: Span::Cycles,
        what: vec![What::Clock],
    };
    let nothing = picture(&data, &clock).unwrap_err();
    assert!(
        nothing.contains("nothing of what is to be drawn"),
        "{nothing}"
    );
    // Modelled power is drawn, and says so.
    let modelled = picture(&data, &Options::default()).unwrap();
    assert!(
        modelled.notes[0].contains("modelled, not measured"),
        "{:?}",
        modelled.notes
    );
}
