//! Made-up loads of known alternation, seen as a sensor sees them: averaged, late, at uneven
//! times and with samples missing. What is attributed to a phase is its level times its time.

use lem_record::{How, SpanKind};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::json;

use super::super::estimate::{phase_energy, sensor_energy, split};
use super::super::testing::{MS, T0, TestLog, source};
use super::super::{Analysis, PhaseWindows, RunData, analyse, sensors};

const HEAVY: f64 = 690.0;
const LIGHT: f64 = 125.0;

/// What the sensor makes of a step that lies `s` seconds back, from 0 to 1.
type Response = fn(f64) -> f64;

/// An average of 20 ms that is told 5 ms late.
fn average(s: f64) -> f64 {
    ((s - 0.005) / 0.02).clamp(0.0, 1.0)
}

/// A filter of first order, as the fall of power in the recorded traces looks.
fn filter(s: f64) -> f64 {
    let s = s - 0.005;
    if s <= 0.0 {
        0.0
    } else {
        1.0 - (-s / 0.010).exp()
    }
}

/// Two hundred pairs of phases of about these lengths, as one cycle.
fn alternation(seed: u64, heavy_ms: u64, light_ms: u64, response: Response) -> Analysis {
    analyse(&data(seed, heavy_ms, light_ms, response))
}

fn data(seed: u64, heavy_ms: u64, light_ms: u64, response: Response) -> RunData {
    let sensor = json!({"window_s": 0.02, "update_s": 0.02, "lag_s": 0.015, "gain_relative": 0.05});
    seen_by(&sensor, seed, heavy_ms, light_ms, response)
}

/// The same, as a sensor that is described so.
fn seen_by(
    sensor: &serde_json::Value,
    seed: u64,
    heavy_ms: u64,
    light_ms: u64,
    response: Response,
) -> RunData {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut log = TestLog::started(json!([source(
        "gpu0",
        "gpu",
        "measured",
        &["sample.power"],
        sensor
    )]));
    let mut edges = Vec::new();
    let start = T0 + 500 * MS;
    let mut t = start;
    for _ in 0..200 {
        let jitter = |rng: &mut ChaCha8Rng| rng.random_range(0..5_000_000u64);
        let heavy = t + heavy_ms * MS + jitter(&mut rng);
        let light = heavy + light_ms * MS + jitter(&mut rng);
        log.span(SpanKind::Phase, "prefill", Some(0), t, heavy);
        log.span(SpanKind::Phase, "decode", Some(0), heavy, light);
        edges.extend([(t, HEAVY - LIGHT), (heavy, LIGHT - HEAVY)]);
        t = light;
    }
    log.finished(0, start, t);
    let mut points = Vec::new();
    let mut at = T0;
    while at < t + 100 * MS {
        let seconds = |edge: u64| (at as f64 - edge as f64) / 1e9;
        // Only the edges of the last half second still matter.
        let settled = edges.partition_point(|(edge, _)| edge + 500 * MS < at);
        let base: f64 = edges[..settled].iter().map(|e| e.1).sum();
        let near: f64 = edges[settled..]
            .iter()
            .map(|(e, step)| step * response(seconds(*e)))
            .sum();
        points.push((at, LIGHT + base + near + rng.random_range(-10.0..10.0)));
        at += match rng.random_range(0..20) {
            0 => 44 * MS,
            1 => 10 * MS,
            _ => 20 * MS,
        };
    }
    log.samples("gpu0", "sample.power", How::Measured, &points);
    RunData::from_log(&log.envelopes)
}

fn levels(analysis: &Analysis) -> (f64, f64) {
    let of = |id: &str| analysis.run.value(id).unwrap();
    (of("power.prefill"), of("power.decode"))
}

#[test]
fn phases_of_60_ms_and_more_are_told_within_3_percent() {
    for (seed, heavy_ms, light_ms) in [
        (1, 60, 60),
        (2, 60, 200),
        (3, 100, 100),
        (4, 200, 60),
        (5, 250, 250),
        (6, 500, 100),
    ] {
        let (heavy, light) = levels(&alternation(seed, heavy_ms, light_ms, average));
        assert!(
            (heavy / HEAVY - 1.0).abs() < 0.03,
            "{heavy_ms} ms heavy: {heavy} W"
        );
        assert!(
            (light / LIGHT - 1.0).abs() < 0.03,
            "{light_ms} ms light: {light} W"
        );
    }
}

#[test]
fn another_sensor_than_was_described_is_off_by_what_is_told() {
    for (seed, heavy_ms, light_ms) in [(7, 60, 60), (8, 100, 100), (9, 250, 250)] {
        let analysis = alternation(seed, heavy_ms, light_ms, filter);
        let (heavy, light) = levels(&analysis);
        assert!(
            (heavy / HEAVY - 1.0).abs() < 0.05,
            "{heavy_ms} ms heavy: {heavy} W"
        );
        for (id, told, true_w) in [
            ("power.prefill", heavy, HEAVY),
            ("power.decode", light, LIGHT),
        ] {
            let u = analysis.run.quantity(id).uncertainty.unwrap();
            assert!(
                (told - true_w).abs() < u.expanded,
                "{id} {heavy_ms}/{light_ms} ms: {told} W, U {}",
                u.expanded
            );
        }
    }
}

/// A sensor that was calibrated is seen through, whichever shape it has.
#[test]
fn a_calibrated_sensor_tells_short_phases_exactly() {
    for (shape, width, response) in [
        ("low_pass", 0.010, filter as Response),
        ("window", 0.02, average as Response),
    ] {
        let sensor = json!({
            "window_s": 0.035, "update_s": 0.02, "lag_s": 0.015, "gain_relative": 0.05,
            "kernel": {"shape": shape, "delay_s": 0.005, "width_s": width},
        });
        for (seed, heavy_ms, light_ms) in
            [(21, 60, 60), (22, 62, 150), (23, 250, 80), (24, 500, 500)]
        {
            let analysis = analyse(&seen_by(&sensor, seed, heavy_ms, light_ms, response));
            let (heavy, light) = levels(&analysis);
            for (id, told, true_w) in [
                ("power.prefill", heavy, HEAVY),
                ("power.decode", light, LIGHT),
            ] {
                let quantity = analysis.run.quantity(id);
                let u = quantity.uncertainty.unwrap();
                let error = told / true_w - 1.0;
                assert!(
                    error.abs() < 0.01,
                    "{shape} {id} {heavy_ms}/{light_ms}: {error}"
                );
                let statistical = 2.0 * u.statistical.unwrap();
                assert!(
                    (told - true_w).abs() < statistical.max(0.002 * true_w),
                    "{shape} {id} {heavy_ms}/{light_ms}: {told} W, 2u {statistical}"
                );
            }
        }
    }
}

#[test]
fn a_phase_of_any_name_is_told_alone_as_beside_the_others() {
    let data = data(11, 80, 120, average);
    let sensors = sensors::sensors(&data);
    let (sensor, cycle) = (&sensors[0], &data.cycles[0]);
    let energy = sensor_energy(sensor, cycle.window).unwrap();
    let windows = PhaseWindows::of(cycle).unwrap();
    let both = split(sensor, &energy, cycle.window, &windows);
    for (name, windows, told) in [
        ("heavy", &windows.prefill, both.prefill),
        ("light", &windows.decode, both.decode),
    ] {
        let alone = phase_energy(sensor, &energy, cycle.window, windows, &[], name).unwrap();
        assert!(
            (alone.value / told.unwrap().value - 1.0).abs() < 1e-9,
            "{name}"
        );
    }
    let short = phase_energy(
        sensor,
        &energy,
        cycle.window,
        &[cycle
            .window
            .clip(&super::super::Window::new(0, cycle.window.start_ns + MS))
            .unwrap()],
        &[],
        "blink",
    );
    assert!(
        short
            .unwrap_err()
            .starts_with("not resolvable: a blink phase lasts 1 ms")
    );
}

/// A real H100, as its own calibration of a minute before described it: the levels of 200
/// phases of 60 ms, and of 100 ms, against those held for 10 s.
#[test]
fn a_calibrated_h100_tells_phases_of_60_ms_within_3_percent() {
    let text = include_str!(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/data/power/h100-alternation.json"
    ));
    let recorded: serde_json::Value = serde_json::from_str(text).unwrap();
    let ns = |seconds: &serde_json::Value| T0 + (seconds.as_f64().unwrap() * 1e9) as u64;
    let sensor = json!({
        "window_s": 0.0453, "update_s": 0.02, "lag_s": 0.0176, "gain_relative": 0.05,
        "kernel": {"shape": "low_pass", "delay_s": 0.0045, "width_s": 0.0131},
    });
    for run in recorded["runs"].as_array().unwrap() {
        let gpu = source("gpu0", "gpu", "measured", &["sample.power"], &sensor);
        let mut log = TestLog::started(json!([gpu]));
        let phases = run["phases"].as_array().unwrap();
        assert_eq!(phases.len(), 400);
        for phase in phases {
            let name = if phase[2] == true {
                "prefill"
            } else {
                "decode"
            };
            log.span(SpanKind::Phase, name, Some(0), ns(&phase[0]), ns(&phase[1]));
        }
        log.finished(0, ns(&phases[0][0]), ns(&phases[399][1]));
        let samples = run["samples"].as_array().unwrap().iter();
        let points: Vec<_> = samples
            .map(|s| (ns(&s[0]), s[1].as_f64().unwrap()))
            .collect();
        log.samples("gpu0", "sample.power", How::Measured, &points);
        let (heavy, light) = levels(&analyse(&RunData::from_log(&log.envelopes)));
        for (told, held) in [
            (heavy, &recorded["steady_w"]),
            (light, &recorded["quiet_w"]),
        ] {
            let error = told / held.as_f64().unwrap() - 1.0;
            assert!(
                error.abs() < 0.03,
                "{} ms: {told} W, {held} W held",
                run["ms"]
            );
        }
    }
}
