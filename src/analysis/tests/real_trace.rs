//! A trace of an H100: samples of its 20 ms ring, its energy counter, and when the phases
//! of a Llama-3-8B shape really were. The loop of prefills alone gave 168.2 J each, the
//! slope over output lengths 6.96 J a decode step.

use serde::Deserialize;

use super::super::data::Window;
use super::super::integrate::EnergyCurve;

#[derive(Deserialize)]
struct Trace {
    samples: Vec<(f64, f64)>,
    ticks: Vec<(f64, f64)>,
    spans: Vec<Span>,
}

#[derive(Deserialize)]
struct Span {
    name: String,
    t0: f64,
    t1: f64,
    #[serde(default)]
    set: String,
    #[serde(default)]
    tokens: u64,
}

fn trace() -> Trace {
    let text = include_str!(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/data/power/h100-llama8b-phases.json"
    ));
    serde_json::from_str(text).unwrap()
}

fn ns(seconds: f64) -> u64 {
    ((seconds + 1_000.0) * 1e9) as u64
}

fn ring(trace: &Trace) -> EnergyCurve {
    let (t, w): (Vec<u64>, Vec<f64>) = trace.samples.iter().map(|(t, w)| (ns(*t), *w)).unzip();
    EnergyCurve::from_power(t, w).unwrap()
}

/// Mean energy of the spans of a name and set, joules, and of one token.
fn mean(trace: &Trace, curve: &EnergyCurve, name: &str, set: &str, lag: f64) -> (f64, f64) {
    let spans = trace
        .spans
        .iter()
        .filter(|s| s.name == name && s.set == set);
    let (mut sum, mut n, mut tokens) = (0.0, 0.0, 0u64);
    for span in spans {
        sum += curve.between(Window::new(ns(span.t0 + lag), ns(span.t1 + lag)));
        n += 1.0;
        tokens += span.tokens;
    }
    (sum / n, sum / tokens as f64)
}

#[test]
fn prefill_by_windows_agrees_with_the_loop_of_prefills() {
    let trace = trace();
    let curve = ring(&trace);
    for (set, expected) in [
        ("n16", 168.3),
        ("n32", 170.7),
        ("n64", 169.1),
        ("n128", 167.7),
    ] {
        let (joules, _) = mean(&trace, &curve, "prefill", set, 0.015);
        assert!(
            (joules - expected).abs() < 0.01 * expected,
            "{set}: {joules} J"
        );
        assert!((joules - 168.2).abs() < 0.02 * 168.2, "{set}: {joules} J");
        // The lag matters: without it, decode's lower power is taken for prefill's.
        let (late, _) = mean(&trace, &curve, "prefill", set, 0.0);
        assert!(late < joules, "{set}: {late} J");
    }
}

#[test]
fn decode_by_windows_agrees_with_the_slope() {
    let trace = trace();
    let curve = ring(&trace);
    for set in ["n32", "n64", "n128"] {
        // A step of the batch brings 8 tokens.
        let (_, token) = mean(&trace, &curve, "decode", set, 0.015);
        let step = token * 8.0;
        assert!((step - 6.96).abs() < 0.025 * 6.96, "{set}: {step} J a step");
    }
}

#[test]
fn the_counter_and_the_integral_agree() {
    let trace = trace();
    let curve = ring(&trace);
    let mut compared = 0;
    for pair in trace.ticks.windows(2) {
        let ((t0, e0), (t1, e1)) = (pair[0], pair[1]);
        if t1 - t0 < 2.0 || t1 - t0 > 25.0 {
            continue;
        }
        let window = Window::new(ns(t0 + 0.015), ns(t1 + 0.015));
        if curve.covers(window).is_err() || curve.max_gap(window).unwrap() > 0.1 {
            continue;
        }
        let ratio = curve.between(window) / (e1 - e0);
        assert!((ratio - 1.0).abs() < 0.01, "{t0} to {t1} s: {ratio}");
        compared += 1;
    }
    assert!(compared >= 5, "{compared} windows");
}
