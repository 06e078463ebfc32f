//! Recorded traces of an H100 through the whole analysis, as logs a run would have written.
//!
//! The Llama trace is described in `real_trace`; its loop of 25 prefills gave 168.2 to 168.5 J
//! each, with 5 % more time for each than single ones took: it ran at the power limit.

use lem_record::{
    Attributes, FinishReason, How, Record, RequestTimeline, RoundsFinished, Span, SpanKind,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::testing::{TestLog, source};
use super::super::{Analysis, RunData, analyse};
use crate::config::PhaseMethod;

#[derive(Clone, Deserialize)]
struct Llama {
    samples: Vec<(f64, f64)>,
    ticks: Vec<(f64, f64)>,
    spans: Vec<Mark>,
}

#[derive(Clone, Deserialize)]
struct Mark {
    name: String,
    t0: f64,
    t1: f64,
    #[serde(default)]
    set: String,
    #[serde(default)]
    tokens: u64,
}

#[derive(Deserialize)]
struct Waves {
    runs: Vec<Wave>,
}

#[derive(Deserialize)]
struct Wave {
    period_s: f64,
    busy: Vec<(f64, f64)>,
    samples: Vec<(f64, f64)>,
}

fn llama() -> Llama {
    let text = include_str!(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/data/power/h100-llama8b-phases.json"
    ));
    serde_json::from_str(text).unwrap()
}

fn waves() -> Waves {
    let text = include_str!(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/data/power/h100-square-waves.json"
    ));
    serde_json::from_str(text).unwrap()
}

fn ns(seconds: f64) -> u64 {
    ((seconds + 1_000.0) * 1e9).round() as u64
}

/// The ring and the counter as lem's NVML meter describes them.
fn h100() -> Value {
    let ring = json!({"window_s": 0.02, "update_s": 0.02, "lag_s": 0.015, "gain_relative": 0.05});
    let counter = json!({"update_s": 0.1, "gain_relative": 0.05, "resolution_j": 0.001});
    let mut sources = [
        source("gpu0", "gpu", "measured", &["sample.power"], &ring),
        source(
            "gpu0_counter",
            "gpu",
            "measured",
            &["sample.energy"],
            &counter,
        ),
    ];
    for source in &mut sources {
        source["device"] = json!("GPU-1");
        source["name"] = json!("NVIDIA H100 80GB HBM3");
    }
    json!(sources)
}

fn log_of(samples: &[(f64, f64)], ticks: &[(f64, f64)], method: &str) -> TestLog {
    let mut log = TestLog::started(h100());
    if let Record::RunStarted(started) = &mut log.envelopes[0].record {
        started.config["measurement"]["phase_method"] = json!(method);
    }
    let points = |of: &[(f64, f64)]| of.iter().map(|(t, v)| (ns(*t), *v)).collect::<Vec<_>>();
    log.samples("gpu0", "sample.power", How::Measured, &points(samples));
    if !ticks.is_empty() {
        log.samples(
            "gpu0_counter",
            "sample.energy",
            How::Measured,
            &points(ticks),
        );
    }
    log
}

/// Pairs of a prefill and the decode after it; the warm-up is left out.
fn generations(trace: &Llama) -> Vec<(&Mark, &Mark)> {
    trace
        .spans
        .windows(2)
        .filter(|p| p[0].name == "prefill" && p[1].name == "decode" && p[0].set != "warm")
        .map(|p| (&p[0], &p[1]))
        .collect()
}

/// Eight requests of 1024 tokens, which began with the prefill and ended with the decode.
fn batch(log: &mut TestLog, cycle: u32, prefill: &Mark, decode: &Mark) {
    for id in 0..8 {
        let span = Span {
            span: SpanKind::Request,
            name: format!("request-{id}"),
            cycle: Some(cycle),
            start_ns: ns(prefill.t0),
            end_ns: ns(decode.t1),
            attributes: Attributes::new(),
            request: Some(RequestTimeline {
                id,
                input_tokens: 1024,
                output_tokens: 1 + decode.tokens / 8,
                scheduled_ns: None,
                token_ns: vec![ns(prefill.t1), ns(decode.t1)],
                chunk_tokens: vec![1, u32::try_from(decode.tokens / 8).unwrap()],
                true_token_times: false,
                answer_ns: None,
                engine: Default::default(),
                finish: FinishReason::Length,
                error: None,
            }),
        };
        log.push(Record::Span(span), ns(decode.t1));
    }
}

/// Each generation is a cycle; then the loop of prefills as extra rounds.
fn llama_log(trace: &Llama, method: &str) -> TestLog {
    let mut log = log_of(&trace.samples, &trace.ticks, method);
    for mark in &trace.spans {
        let kind = match mark.name.as_str() {
            "B0" => "bare",
            "B1" => "loaded",
            "B1after" => "after",
            _ => continue,
        };
        log.span(SpanKind::Baseline, kind, None, ns(mark.t0), ns(mark.t1));
    }
    for (cycle, (prefill, decode)) in generations(trace).into_iter().enumerate() {
        let cycle = cycle as u32;
        for mark in [prefill, decode] {
            log.span(
                SpanKind::Phase,
                &mark.name,
                Some(cycle),
                ns(mark.t0),
                ns(mark.t1),
            );
        }
        batch(&mut log, cycle, prefill, decode);
        log.finished(cycle, ns(prefill.t0), ns(decode.t1));
    }
    log
}

fn rounds(method: &str, window: u32, t0: f64, ends: &[f64], output: u64) -> Record {
    let n = ends.len() as u64;
    Record::RoundsFinished(RoundsFinished {
        method: method.into(),
        window,
        start_ns: ns(t0),
        end_ns: ns(*ends.last().unwrap()),
        round_ends_ns: ends.iter().map(|t| ns(*t)).collect(),
        requests: 8 * n,
        failed: 0,
        input_tokens: 8192 * n,
        output_tokens: output * n,
        prefill_ns: None,
        decode_ns: None,
        rest_ns: None,
    })
}

fn looped(trace: &Llama) -> Record {
    let mark = trace
        .spans
        .iter()
        .find(|s| s.name == "looped_prefill")
        .unwrap();
    let each = (mark.t1 - mark.t0) / 25.0;
    let ends: Vec<f64> = (1..=25).map(|i| mark.t0 + each * f64::from(i)).collect();
    rounds("looped", 0, mark.t0, &ends, 8)
}

fn analysed(log: &TestLog) -> Analysis {
    analyse(&RunData::from_log(&log.envelopes))
}

fn value(analysis: &Analysis, id: &str) -> f64 {
    let quantity = analysis.run.quantity(id);
    quantity
        .value
        .unwrap_or_else(|| panic!("{id}: {:?}", quantity.reason))
}

fn near(a: f64, b: f64, relative: f64, what: &str) {
    assert!(
        (a - b).abs() <= relative * b.abs(),
        "{what}: {a} against {b}"
    );
}

fn codes(analysis: &Analysis) -> Vec<&str> {
    analysis.warnings.iter().map(|w| w.code.as_str()).collect()
}

#[test]
fn windows_are_chosen_and_the_loop_agrees() {
    let trace = llama();
    let mut log = llama_log(&trace, "auto");
    log.push(looped(&trace), ns(90.2));
    let analysis = analysed(&log);
    let estimates = &analysis.phases;
    assert_eq!(estimates.chosen().unwrap().method, PhaseMethod::Windows);
    let prefill = analysis.run.quantity("energy.prefill");
    near(prefill.value.unwrap(), 168.2, 0.03, "prefill by windows");
    assert!(prefill.method.unwrap().starts_with("windows: "));
    let by_loop = estimates
        .estimates
        .iter()
        .find(|e| e.method == PhaseMethod::Looped)
        .unwrap();
    near(
        by_loop.prefill.as_ref().unwrap().value,
        168.4,
        0.003,
        "prefill by the loop",
    );
    let steps: f64 = generations(&trace)
        .iter()
        .map(|(_, d)| d.tokens as f64 / 8.0)
        .sum();
    let step = value(&analysis, "energy.decode") * 24.0 / steps;
    assert!((6.83..=6.97).contains(&step), "{step} J a step by windows");
    let step = by_loop.decode.as_ref().unwrap().value * 24.0 / steps;
    near(step, 6.96, 0.03, "a step by the loop");
    for difference in estimates.differences() {
        assert!(difference.relative.abs() < 0.03, "{difference:?}");
    }
    assert!(
        !codes(&analysis).contains(&"phases.disagree"),
        "{:?}",
        analysis.warnings
    );
    let sum = value(&analysis, "energy.prefill")
        + value(&analysis, "energy.decode")
        + value(&analysis, "energy.other");
    near(
        sum,
        value(&analysis, "energy.total"),
        1e-9,
        "the phases' sum",
    );
    // 2 % of a prefill is what single ones scatter by; the gain is 5 %, rectangular.
    let u = prefill.uncertainty.unwrap();
    near(
        u.systematic.unwrap(),
        0.05 * 172.8 / 3f64.sqrt(),
        0.01,
        "gain",
    );
    assert!((0.3..6.0).contains(&u.statistical.unwrap()), "{u:?}");
}

#[test]
fn what_is_asked_for_is_what_the_run_s_numbers_are() {
    let trace = llama();
    let mut log = llama_log(&trace, "looped");
    log.push(looped(&trace), ns(90.2));
    let analysis = analysed(&log);
    let prefill = analysis.run.quantity("energy.prefill");
    near(prefill.value.unwrap(), 168.4, 0.003, "prefill");
    assert!(prefill.method.unwrap().starts_with("looped: "));
    assert!(prefill.interval.is_some(), "single rounds scatter");
    for id in [
        "energy.decode",
        "energy.other",
        "energy.prefill_corrected",
        "energy.decode_corrected",
    ] {
        let told = analysis.run.quantity(id);
        assert!(
            told.method.as_ref().unwrap().starts_with("looped: "),
            "{id}: {told:?}"
        );
    }
    let sum = value(&analysis, "energy.prefill")
        + value(&analysis, "energy.decode")
        + value(&analysis, "energy.other");
    near(
        sum,
        value(&analysis, "energy.total"),
        1e-9,
        "the phases' sum",
    );
    let tokens = value(&analysis, "energy.per_input_token");
    near(
        tokens,
        value(&analysis, "energy.prefill") / 8192.0,
        1e-9,
        "a token",
    );
    // Single cycles keep their own.
    let own = analysis.cycles[0].sheet.quantity("energy.prefill");
    assert!(own.method.unwrap().starts_with("windows: "));
    // And without rounds there is nothing of that method, and a reason.
    let analysis = analysed(&llama_log(&trace, "looped"));
    let prefill = analysis.run.quantity("energy.prefill");
    assert_eq!(prefill.value, None);
    assert!(prefill.reason.unwrap().contains("phase_method: looped"));
}

#[test]
fn the_slope_over_output_lengths_agrees_with_the_windows() {
    let trace = llama();
    let mut log = llama_log(&trace, "slope");
    // Six generations of each length, the idle gaps between them included: above idle those
    // are nothing.
    let ends = ["n16", "n32", "n64", "n128"];
    for (window, set) in ends.iter().enumerate() {
        let of: Vec<_> = generations(&trace)
            .into_iter()
            .filter(|(p, _)| p.set == *set)
            .collect();
        let tick = |at: f64| {
            trace
                .ticks
                .iter()
                .map(|t| t.0)
                .min_by(|a, b| (a - at).abs().total_cmp(&(b - at).abs()))
                .unwrap()
        };
        let start = tick(of[0].0.t0);
        let mut each: Vec<f64> = of.iter().map(|(_, d)| d.t1).collect();
        *each.last_mut().unwrap() = tick(of.last().unwrap().1.t1 + 0.3);
        log.push(
            rounds("slope", window as u32, start, &each, 8 + of[0].1.tokens),
            ns(*each.last().unwrap()),
        );
    }
    let analysis = analysed(&log);
    let phases = &analysis.phases;
    let [windows, slope] = [PhaseMethod::Windows, PhaseMethod::Slope]
        .map(|m| phases.estimates.iter().find(|e| e.method == m).unwrap());
    assert_eq!(phases.chosen().unwrap().method, PhaseMethod::Slope);
    let of = |r: &super::super::Obtained| r.as_ref().unwrap().value;
    near(
        of(&slope.prefill_corrected),
        of(&windows.prefill_corrected),
        0.03,
        "prefill above idle",
    );
    near(
        of(&slope.decode_corrected),
        of(&windows.decode_corrected),
        0.03,
        "decode above idle",
    );
    let steps: f64 = generations(&trace)
        .iter()
        .map(|(_, d)| d.tokens as f64 / 8.0)
        .sum();
    near(of(&slope.decode) * 24.0 / steps, 6.96, 0.01, "a step");
}

fn wave_log(wave: &Wave, cut_s: Option<f64>) -> TestLog {
    let mut log = log_of(&wave.samples, &[], "auto");
    // The first phase began before the first sample.
    let busy = &wave.busy[1..];
    let end = busy.last().unwrap().1 + 0.08;
    for (i, (t0, t1)) in busy.iter().enumerate() {
        let next = busy.get(i + 1).map_or(end, |b| b.0);
        match cut_s {
            None => {
                log.span(SpanKind::Phase, "prefill", Some(0), ns(*t0), ns(*t1));
                log.span(SpanKind::Phase, "decode", Some(0), ns(*t1), ns(next));
            }
            Some(cut) => {
                log.span(SpanKind::Phase, "prefill", Some(0), ns(*t0), ns(*t0 + cut));
                log.span(SpanKind::Phase, "decode", Some(0), ns(*t0 + cut), ns(*t1));
            }
        }
    }
    log.finished(0, ns(busy[0].0), ns(end));
    log
}

fn wave(period_s: f64) -> Wave {
    waves()
        .runs
        .into_iter()
        .find(|w| w.period_s == period_s)
        .unwrap()
}

/// Mean of the samples that are at least 60 ms into a phase and 5 ms before its end.
fn steady(wave: &Wave, heavy: bool) -> f64 {
    let mut inside = Vec::new();
    for pair in wave.busy.windows(2) {
        let (from, to) = if heavy {
            pair[0]
        } else {
            (pair[0].1, pair[1].0)
        };
        let of = |(t, _): &&(f64, f64)| from + 0.075 < *t && *t < to + 0.005;
        inside.extend(wave.samples.iter().filter(of).map(|s| s.1));
    }
    assert!(inside.len() > 10);
    inside.iter().sum::<f64>() / inside.len() as f64
}

#[test]
fn the_phases_of_a_square_wave_are_its_steady_levels_times_their_time() {
    let wide = wave(0.5);
    let light = steady(&wide, false);
    let told = analysed(&wave_log(&wide, None));
    near(
        value(&told, "power.decode"),
        light,
        0.03,
        "light phases of 250 ms",
    );
    // The kernel begins with a burst: within 5 % of its later level, and exactly that of its first
    // 100 ms in the wave of 100 ms.
    near(
        value(&told, "power.prefill"),
        steady(&wide, true),
        0.05,
        "heavy phases of 250 ms",
    );
    let narrow = wave(0.2);
    let told = analysed(&wave_log(&narrow, None));
    near(
        value(&told, "power.decode"),
        steady(&narrow, false),
        0.03,
        "light phases of 100 ms",
    );
    let first = analysed(&wave_log(&wide, Some(0.1009)));
    near(
        value(&told, "power.prefill"),
        value(&first, "power.prefill"),
        0.03,
        "heavy phases of 100 ms",
    );
    for short in [0.1, 0.05] {
        let told = analysed(&wave_log(&wave(short), None));
        let reason = told.run.quantity("energy.prefill").reason.unwrap();
        assert!(
            reason.starts_with("not resolvable: a prefill phase lasts"),
            "{reason}"
        );
        assert!(codes(&told).contains(&"energy.not_resolvable"));
        assert!(told.run.value("energy.total").is_some());
        assert_eq!(told.phases.reason.as_deref(), Some(reason.as_str()));
    }
}

#[test]
fn where_windows_do_not_resolve_the_loop_does() {
    // The same board, told by a field that is averaged over a second.
    let trace = llama();
    let mut log = llama_log(&trace, "auto");
    if let Record::RunStarted(started) = &mut log.envelopes[0].record {
        started.sources[0]["sensor"]["window_s"] = json!(1.0);
    }
    log.push(looped(&trace), ns(90.2));
    let analysis = analysed(&log);
    assert_eq!(
        analysis.phases.chosen().unwrap().method,
        PhaseMethod::Looped
    );
    near(value(&analysis, "energy.prefill"), 168.4, 0.003, "prefill");
    assert!(!codes(&analysis).contains(&"energy.not_resolvable"));
    // Each request has its share by the run's phases, and its cycle's shares sum to those.
    let data = RunData::from_log(&log.envelopes);
    let tables = super::super::records(&data, &analysis);
    let requests = tables.iter().find_map(|r| match r {
        Record::Table(t) if t.name == "requests" => Some(t),
        _ => None,
    });
    let requests = requests.unwrap();
    let place = requests
        .columns
        .iter()
        .position(|c| c == "modelled_joules")
        .unwrap();
    let sum: f64 = requests.rows[..8]
        .iter()
        .map(|r| r[place].as_f64().unwrap())
        .sum();
    near(sum, value(&analysis, "energy.total"), 1e-9, "shares");
    let methods = tables
        .iter()
        .any(|r| matches!(r, Record::Table(t) if t.name == "phase_methods" && t.rows.len() == 4));
    assert!(methods);
}

#[test]
fn rounds_of_other_work_are_refused_with_the_reason() {
    let trace = llama();
    let mut log = llama_log(&trace, "looped");
    let Record::RoundsFinished(mut record) = looped(&trace) else {
        unreachable!()
    };
    record.input_tokens /= 2;
    log.push(Record::RoundsFinished(record.clone()), ns(90.2));
    let reason = analysed(&log)
        .run
        .quantity("energy.prefill")
        .reason
        .unwrap();
    assert!(reason.contains("other prompts"), "{reason}");
    record.round_ends_ns.reverse();
    let mut log = llama_log(&trace, "auto");
    log.push(Record::RoundsFinished(record), ns(90.2));
    let data = RunData::from_log(&log.envelopes);
    assert!(
        data.rounds.is_empty() && data.notes.iter().any(|n| n.contains("extra rounds")),
        "{:?}",
        data.notes
    );
}

#[test]
fn a_gap_in_the_ring_is_interpolated_and_a_long_one_told() {
    let mut trace = llama();
    // 100 ms are missing within a decode of a second: 2 % of one cycle's energy at most.
    trace.samples.retain(|(t, _)| !(61.0..61.1).contains(t));
    let with = analysed(&llama_log(&trace, "auto"));
    let without = analysed(&llama_log(&llama(), "auto"));
    near(
        value(&with, "energy.decode"),
        value(&without, "energy.decode"),
        0.001,
        "decode",
    );
    near(value(&with, "sampling.max_gap"), 0.12, 0.2, "the gap");
    // The GPU fell off the bus for good in the middle of the cycles.
    trace.samples.retain(|(t, _)| *t < 60.0);
    trace.ticks.retain(|(t, _)| *t < 60.0);
    let lost = analysed(&llama_log(&trace, "auto"));
    let total = lost.run.quantity("energy.total").reason.unwrap();
    assert!(total.contains("of 24 cycles: gpu0 was not read"), "{total}");
    assert!(codes(&lost).contains(&"energy.none"));
    let told = lost.cycles.last().unwrap().sheet.quantity("energy.prefill");
    assert_eq!(told.value, None);
}

#[test]
fn a_counter_that_wraps_or_is_reset_is_not_believed() {
    let trace = llama();
    let good = analysed(&with_loop(&trace));
    for reset in [0.0, -1e6] {
        let mut trace = trace.clone();
        for (t, joules) in &mut trace.ticks {
            if *t > 60.0 {
                *joules = *joules - 11_000.0 + reset;
            }
        }
        let told = analysed(&with_loop(&trace));
        // The ring still tells the energy; the loop's comes from it too.
        near(
            value(&told, "energy.total"),
            value(&good, "energy.total"),
            0.003,
            "total",
        );
        let by_loop = &told.phases.estimates[1];
        near(
            by_loop.prefill.as_ref().unwrap().value,
            168.4,
            0.01,
            "the loop",
        );
        let trouble = told.sensors.iter().find_map(|s| s.trouble.as_deref());
        assert!(trouble.unwrap().contains("went backwards"));
    }
}

fn with_loop(trace: &Llama) -> TestLog {
    let mut log = llama_log(trace, "auto");
    log.push(looped(trace), ns(90.2));
    log
}

#[test]
fn a_step_of_the_wall_clock_moves_no_joule() {
    let trace = llama();
    let mut log = llama_log(&trace, "auto");
    let before = analysed(&log);
    for (i, envelope) in log.envelopes.iter_mut().enumerate() {
        envelope.at.unix_ns += if i > 20 { 3_600_000_000_000 } else { 0 };
    }
    let pairs = vec![
        (ns(0.0), 1_000),
        (ns(50.0), 50_000_001_000 - 3_600_000_000_000),
    ];
    log.push(Record::Clock(lem_record::ClockPairs { pairs }), ns(106.0));
    let after = analysed(&log);
    for id in [
        "energy.total",
        "energy.prefill",
        "energy.decode",
        "time.decode",
    ] {
        assert_eq!(before.run.value(id), after.run.value(id), "{id}");
    }
    assert!(codes(&after).contains(&"clock.stepped"));
}

#[test]
fn samples_that_come_late_and_twice_are_put_in_their_place() {
    let trace = llama();
    let whole = analysed(&llama_log(&trace, "auto"));
    let mut mixed = trace.clone();
    let late: Vec<(f64, f64)> = mixed.samples.drain(2_000..3_000).collect();
    mixed
        .samples
        .extend(late.iter().chain(&late[..200]).copied());
    let mut log = llama_log(
        &Llama {
            samples: mixed.samples[..4_000].to_vec(),
            ..mixed.clone()
        },
        "auto",
    );
    let points: Vec<(u64, f64)> = mixed.samples[4_000..]
        .iter()
        .map(|(t, w)| (ns(*t), *w))
        .collect();
    log.samples("gpu0", "sample.power", How::Measured, &points);
    let told = analysed(&log);
    near(
        value(&told, "energy.total"),
        value(&whole, "energy.total"),
        1e-12,
        "total",
    );
    near(
        value(&told, "energy.prefill"),
        value(&whole, "energy.prefill"),
        1e-12,
        "prefill",
    );
}

#[test]
fn the_idle_powers_and_what_is_above_them() {
    let analysis = analysed(&llama_log(&llama(), "auto"));
    let power = |kind: &str| {
        let is = |e: &&super::super::Entry| {
            e.id == "baseline.power" && e.attributes["lem.baseline.kind"] == kind
        };
        analysis
            .run
            .entries
            .iter()
            .find(is)
            .unwrap()
            .reading
            .clone()
            .unwrap()
    };
    near(power("bare").value, 70.0, 0.02, "B0");
    near(power("loaded").value, 116.0, 0.02, "B1");
    near(power("after").value, 120.0, 0.02, "B1'");
    let parking = analysis.run.quantity("baseline.parking");
    near(
        parking.value.unwrap(),
        power("loaded").value - power("bare").value,
        1e-9,
        "parking",
    );
    assert!(parking.uncertainty.is_some());
    assert!(
        codes(&analysis).contains(&"baseline.drift"),
        "116 and 120 W differ by more than 2 %"
    );
    let (gross, marginal, parked) = (
        value(&analysis, "energy.total"),
        value(&analysis, "energy.total_corrected"),
        value(&analysis, "energy.total_above_bare"),
    );
    assert!(marginal < parked && parked < gross);
}

#[test]
fn rounds_at_other_clocks_than_the_cycles_say_so() {
    let trace = llama();
    let mut log = llama_log(&trace, "auto");
    log.push(looped(&trace), ns(90.2));
    let t_ns: Vec<u64> = (4_500..9_100)
        .step_by(10)
        .map(|i| ns(f64::from(i) / 100.0))
        .collect();
    let column =
        |metric: &str, key: &str, of: &str, value: &dyn Fn(u64) -> f64| lem_record::Column {
            metric: metric.into(),
            attributes: Attributes::from([(key.into(), of.into())]),
            how: How::Measured,
            values: t_ns.iter().map(|t| Some(value(*t))).collect(),
        };
    let in_loop = |t: u64| t > ns(84.0);
    let columns = vec![
        column("sample.clock", "lem.clock", "sm", &|t| {
            if in_loop(t) { 1.7e9 } else { 1.9e9 }
        }),
        column(
            "sample.throttled",
            "lem.throttle.reason",
            "power_cap",
            &|t| f64::from(u8::from(in_loop(t))),
        ),
    ];
    let samples = lem_record::Samples {
        source: "gpu0".into(),
        t_ns: t_ns.clone(),
        columns,
    };
    log.push(Record::Samples(samples), ns(91.0));
    let analysis = analysed(&log);
    let note = analysis.phases.estimates[1].note.clone().unwrap();
    assert_eq!(
        note,
        "the clock was 1700 MHz in the rounds and 1900 MHz in the cycles' prefill (-10.5 %); \
         something held the clocks down for 6.1 of the rounds' 6.1 s"
    );
}
