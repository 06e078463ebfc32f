//! What a run's shape makes of the numbers: modelled, measured, cut off, chunked.

use lem_record::{FinishReason, How, MetricValue, Record, SpanKind, Warning, catalogue};
use proptest::prelude::*;
use serde_json::json;

use super::super::testing::{MS, T0, TestLog, source};
use super::super::{Analysis, CODES, RunData, analyse, records};

fn analysed(log: &TestLog) -> Analysis {
    analyse(&RunData::from_log(&log.envelopes))
}

fn codes(analysis: &Analysis) -> Vec<&str> {
    analysis.warnings.iter().map(|w| w.code.as_str()).collect()
}

fn three_cycles() -> TestLog {
    let mut log = TestLog::modelled();
    let mut t = T0 + 1_000 * MS;
    for cycle in 0..3 {
        t = log.cycle(cycle, t, 50.0) + 200 * MS;
    }
    log
}

#[test]
fn a_modelled_run_has_every_energy_and_says_that_it_is_modelled() {
    let analysis = analysed(&three_cycles());
    let total = analysis.run.quantity("energy.total");
    assert!((total.value.unwrap() - 60.0).abs() < 1e-9);
    assert_eq!(total.how, Some(How::Modelled));
    let prefill = analysis.run.quantity("energy.prefill");
    assert!((prefill.value.unwrap() - 60.0 * 0.29).abs() < 1e-9);
    assert!(prefill.reason.unwrap().starts_with("modelled"), "labelled");
    assert!((analysis.run.value("energy.decode").unwrap() - 60.0 * 0.4).abs() < 1e-9);
    assert!((analysis.run.value("energy.other").unwrap() - 60.0 * 0.31).abs() < 1e-9);
    assert!((analysis.run.value("throughput.decode").unwrap() - 10.0).abs() < 1e-9);
    assert!(codes(&analysis).contains(&"energy.modelled"));
    assert!(
        analysis
            .run
            .quantity("flops.mfu")
            .reason
            .unwrap()
            .contains("CPU")
    );
    assert!(
        analysis
            .run
            .quantity("energy.total_corrected")
            .reason
            .unwrap()
            .contains("--measure-baseline")
    );
}

#[test]
fn a_slow_sensor_does_not_resolve_a_short_phase() {
    let sensor = json!({"update_s": 0.1, "gain_relative": 0.05});
    let mut log = TestLog::started(json!([source(
        "cpu0",
        "cpu",
        "measured",
        &["sample.energy"],
        &sensor
    )]));
    let mut t = T0;
    for cycle in 0..3u32 {
        let points: Vec<(u64, f64)> = (0..=50u64)
            .map(|i| (t + i * 100 * MS, (t - T0 + i * 100 * MS) as f64 * 50e-9))
            .collect();
        log.samples("cpu0", "sample.energy", How::Measured, &points);
        log.span(SpanKind::Phase, "prefill", Some(cycle), t, t + 30 * MS);
        log.span(
            SpanKind::Phase,
            "decode",
            Some(cycle),
            t + 30 * MS,
            t + 5_000 * MS,
        );
        log.finished(cycle, t, t + 5_000 * MS);
        t += 6_000 * MS;
    }
    let analysis = analysed(&log);
    let prefill = analysis.run.quantity("energy.prefill");
    assert_eq!(prefill.value, None);
    assert!(
        prefill
            .reason
            .unwrap()
            .starts_with("not resolvable: a prefill phase lasts 30 ms")
    );
    let decode = analysis.run.quantity("energy.decode");
    assert!((decode.value.unwrap() - 4.97 * 50.0).abs() < 1e-6);
    assert!((analysis.run.value("energy.total").unwrap() - 250.0).abs() < 1e-6);
    assert!(codes(&analysis).contains(&"energy.not_resolvable"));
    assert!(
        analysis
            .run
            .quantity("energy.total")
            .method
            .unwrap()
            .contains("energy counter")
    );
}

#[test]
fn the_phases_of_a_counter_and_power_sum_to_the_counter() {
    let sensor = json!({"update_s": 0.02});
    let metrics = ["sample.power", "sample.energy"];
    let mut log = TestLog::started(json!([source(
        "gpu0", "gpu", "measured", &metrics, &sensor
    )]));
    let end = T0 + 4_000 * MS;
    log.constant(
        "gpu0",
        "sample.power",
        How::Measured,
        (T0, end),
        20 * MS,
        100.0,
    );
    log.samples(
        "gpu0",
        "sample.energy",
        How::Measured,
        &[(T0, 0.0), (end, 404.0)],
    );
    log.span(SpanKind::Phase, "prefill", Some(0), T0, T0 + 1_000 * MS);
    log.span(SpanKind::Phase, "decode", Some(0), T0 + 1_000 * MS, end);
    log.finished(0, T0, end);
    let analysis = analysed(&log);
    let sheet = &analysis.run;
    assert!(
        (sheet.value("energy.total").unwrap() - 404.0).abs() < 1e-9,
        "the counter is preferred"
    );
    assert!((sheet.value("energy.prefill").unwrap() - 101.0).abs() < 1e-9);
    assert!((sheet.value("energy.decode").unwrap() - 303.0).abs() < 1e-9);
    assert!((sheet.value("energy.closure").unwrap() - 400.0 / 404.0).abs() < 1e-9);
    assert_eq!(
        sheet.quantity("energy.total").interval,
        None,
        "a single cycle has no interval"
    );
    assert!(codes(&analysis).contains(&"cycles.single"));
}

#[test]
fn a_model_that_counts_is_integrated_exactly_and_not_compared_with_itself() {
    let spec = json!({"window_s": 0.1, "update_s": 0.1, "lag_s": 0.05, "gain_relative": 0.5});
    let metrics = ["sample.power", "sample.energy"];
    let mut log = TestLog::started(json!([source("cpu0", "cpu", "modelled", &metrics, &spec)]));
    // 20 W for half of a second, then 80 W: each power is the mean since the row before.
    let steps: Vec<(u64, f64)> = (0..=10)
        .map(|i| (T0 + i * 100 * MS, if i <= 5 { 20.0 } else { 80.0 }))
        .collect();
    let joules: Vec<(u64, f64)> = steps
        .iter()
        .scan(-2.0, |sum, (t, w)| {
            *sum += w * 0.1;
            Some((*t, *sum))
        })
        .collect();
    log.samples("cpu0", "sample.power", How::Modelled, &steps);
    log.samples("cpu0", "sample.energy", How::Modelled, &joules);
    log.span(SpanKind::Phase, "prefill", Some(0), T0, T0 + 500 * MS);
    log.span(
        SpanKind::Phase,
        "decode",
        Some(0),
        T0 + 500 * MS,
        T0 + 1_000 * MS,
    );
    log.finished(0, T0, T0 + 1_000 * MS);
    let analysis = analysed(&log);
    let value = |id: &str| analysis.run.value(id);
    assert!((value("energy.total").unwrap() - 50.0).abs() < 1e-9);
    assert!((value("energy.prefill").unwrap() - 10.0).abs() < 1e-9);
    assert!((value("energy.decode").unwrap() - 40.0).abs() < 1e-9);
    assert_eq!(value("energy.closure"), None);
    assert!(!codes(&analysis).contains(&"energy.closure"));
}

#[test]
fn two_rails_of_one_chip_are_two_sensors_and_a_counter_apart_is_none() {
    let mut sources: Vec<serde_json::Value> = [("cpu0", "VDD_A"), ("cpu1", "VDD_B")]
        .map(|(id, _)| source(id, "cpu", "measured", &["sample.power"], &json!({})))
        .into();
    sources.push(source(
        "cpu2",
        "cpu",
        "measured",
        &["sample.energy"],
        &json!({}),
    ));
    for (source, name) in sources.iter_mut().zip(["VDD_A", "VDD_B", "VDD_B"]) {
        source["device"] = json!("/sys/class/hwmon/hwmon0");
        source["name"] = json!(name);
    }
    let mut log = TestLog::started(json!(sources));
    let end = T0 + 1_000 * MS;
    for id in ["cpu0", "cpu1"] {
        log.constant(id, "sample.power", How::Measured, (T0, end), 20 * MS, 5.0);
    }
    log.samples(
        "cpu2",
        "sample.energy",
        How::Measured,
        &[(T0, 0.0), (end, 5.0)],
    );
    log.finished(0, T0, end);
    let analysis = analysed(&log);
    assert_eq!(analysis.sensors.len(), 2);
    assert!((analysis.run.value("energy.total").unwrap() - 10.0).abs() < 1e-9);
}

#[test]
fn a_sensor_that_averages_over_a_second_does_not_resolve_half_of_one() {
    let spec = json!({"window_s": 1.0, "update_s": 0.1, "lag_s": 0.5});
    let mut log = TestLog::started(json!([source(
        "gpu0",
        "gpu",
        "measured",
        &["sample.power"],
        &spec
    )]));
    let end = T0 + 10_000 * MS;
    log.constant(
        "gpu0",
        "sample.power",
        How::Measured,
        (T0, end),
        100 * MS,
        100.0,
    );
    log.span(SpanKind::Phase, "prefill", Some(0), T0, T0 + 500 * MS);
    log.span(SpanKind::Phase, "decode", Some(0), T0 + 500 * MS, end);
    log.finished(0, T0, end);
    let analysis = analysed(&log);
    assert_eq!(analysis.run.value("energy.prefill"), None);
    assert!((analysis.run.value("energy.decode").unwrap() - 950.0).abs() < 1e-6);
}

#[test]
fn a_sensor_that_lost_a_cycle_costs_that_cycle_only() {
    let mut log = TestLog::started(json!([source(
        "gpu0",
        "gpu",
        "measured",
        &["sample.power"],
        &json!({})
    )]));
    let mut t = T0;
    for cycle in 0..3 {
        let end = t + 2_000 * MS;
        if cycle != 1 {
            log.constant(
                "gpu0",
                "sample.power",
                How::Measured,
                (t, end),
                20 * MS,
                100.0,
            );
        }
        log.finished(cycle, t, end);
        t = end + 1_000 * MS;
    }
    let analysis = analysed(&log);
    let energy: Vec<Option<f64>> = analysis
        .cycles
        .iter()
        .map(|c| c.sheet.value("energy.total"))
        .collect();
    assert!(
        energy[0].is_some() && energy[1].is_none() && energy[2].is_some(),
        "{energy:?}"
    );
    let total = analysis.run.quantity("energy.total");
    assert!((total.value.unwrap() - 200.0).abs() < 1e-9);
    assert!(
        total
            .reason
            .unwrap()
            .starts_with("from 2 of 3 cycles: gpu0 was not read")
    );
    assert!(codes(&analysis).contains(&"energy.none"));
}

#[test]
fn a_cycle_that_was_cut_off_is_shown_and_not_counted() {
    let mut log = three_cycles();
    let t = T0 + 10_000 * MS;
    log.modelled_samples(t, t + 60_000 * MS, 50.0);
    log.segment(3, 0, t, t + 30_000 * MS);
    log.segment(3, 1, t + 30_000 * MS, t + 60_000 * MS);
    // Records of a segment that never reached the disk whole.
    log.span(SpanKind::Phase, "prefill", Some(3), t, t + 290 * MS);
    let analysis = analysed(&log);
    assert_eq!(analysis.cycles.len(), 4);
    let partial = &analysis.cycles[3];
    assert!(!partial.complete);
    assert!((partial.seconds() - 60.0).abs() < 1e-9);
    assert!((partial.sheet.value("energy.total").unwrap() - 3600.0).abs() < 1e-6);
    assert_eq!(
        partial.sheet.value("energy.prefill"),
        None,
        "its phases are not all known"
    );
    assert_eq!(analysis.run.value("run.cycles"), Some(3.0));
    assert!((analysis.run.value("energy.total").unwrap() - 60.0).abs() < 1e-9);
    assert!(codes(&analysis).contains(&"cycles.partial"));
}

#[test]
fn the_spans_of_a_failed_attempt_do_not_count_for_its_repetition() {
    let mut log = TestLog::modelled();
    let t = T0 + 1_000 * MS;
    log.span(SpanKind::Phase, "prefill", Some(0), t, t + 290 * MS);
    log.request(0, 99, t, vec![t + 290 * MS], FinishReason::Cancelled);
    log.cycle(0, t + 5_000 * MS, 50.0);
    let data = RunData::from_log(&log.envelopes);
    assert_eq!(data.cycles[0].requests.len(), 1);
    assert_eq!(data.cycles[0].phases.len(), 2);
}

#[test]
fn the_baseline_is_taken_between_before_and_after() {
    let mut log = TestLog::modelled();
    let mut t = T0;
    for (kind, watts) in [("bare", 10.0), ("loaded", 20.0)] {
        log.modelled_samples(t, t + 10_000 * MS, watts);
        log.span(SpanKind::Baseline, kind, None, t, t + 10_000 * MS);
        t += 20_000 * MS;
    }
    log.cycle(0, t + 4_500 * MS, 50.0);
    t += 20_000 * MS;
    log.modelled_samples(t, t + 10_000 * MS, 24.0);
    log.span(SpanKind::Baseline, "after", None, t, t + 10_000 * MS);
    let analysis = analysed(&log);
    // 60 W of which the memory's 10 idle too; the line from 30 to 34 W is at 32 W midway... less
    // what the cycle lies before the middle.
    let middle = 30.0 + 4.0 * 20.0 / 40.0;
    let corrected = analysis.run.value("energy.total_corrected").unwrap();
    assert!((corrected - (60.0 - middle)).abs() < 1e-6, "{corrected}");
    assert!((analysis.run.value("energy.total_above_bare").unwrap() - 40.0).abs() < 1e-6);
    assert!((analysis.run.value("baseline.ratio").unwrap() - middle / 60.0).abs() < 1e-9);
    assert!(codes(&analysis).contains(&"baseline.drift"));
}

#[test]
fn a_run_without_a_cycle_has_reasons_instead_of_numbers() {
    for log in [TestLog::empty(), TestLog::modelled()] {
        let analysis = analysed(&log);
        assert!(codes(&analysis).contains(&"cycles.none"));
        for id in [
            "energy.total",
            "time.prefill",
            "throughput.decode",
            "flops.estimated",
        ] {
            let quantity = analysis.run.quantity(id);
            assert_eq!(quantity.value, None, "{id}");
            assert_eq!(
                quantity.reason.as_deref(),
                Some("no cycle was finished"),
                "{id}"
            );
        }
    }
}

#[test]
fn chunks_give_no_gaps_between_tokens() {
    let mut log = three_cycles();
    for envelope in &mut log.envelopes {
        if let Record::Span(span) = &mut envelope.record
            && let Some(request) = &mut span.request
        {
            request.true_token_times = false;
            request.chunk_tokens = vec![2; request.token_ns.len()];
            request.output_tokens = 10;
        }
    }
    let analysis = analysed(&log);
    assert!(
        analysis
            .run
            .histogram("latency.itl")
            .unwrap_err()
            .contains("chunks")
    );
    // 400 ms for the 8 tokens after the first chunk of two.
    assert!((analysis.run.histogram("latency.tpot").unwrap().mean - 0.05).abs() < 1e-12);
}

#[test]
fn records_use_the_catalogue_and_hold_every_number_once() {
    let mut data = RunData::from_log(super::golden::golden_log());
    data = data.with_status(lem_record::RunStatus::Finished, None);
    let analysis = analyse(&data);
    let records = records(&data, &analysis);
    let mut keys = std::collections::BTreeSet::new();
    let mut ids = std::collections::BTreeSet::new();
    let varying = vec!["hw.id".to_owned()];
    for record in &records {
        let Record::Metric(metric) = record else {
            continue;
        };
        let def = catalogue::find(&metric.id)
            .unwrap_or_else(|| panic!("{} is not in the catalogue", metric.id));
        for name in metric.attributes.keys() {
            assert!(
                def.attributes.contains(&name.as_str()),
                "{} has no {name}",
                metric.id
            );
        }
        let key = (
            metric.cycle,
            def.key(&metric.attributes, &varying, None, None),
        );
        assert!(keys.insert(key.clone()), "{key:?} stands twice");
        let histogram = matches!(metric.value, MetricValue::Histogram(_));
        assert!(
            !histogram || def.kind == lem_record::Kind::Histogram,
            "{}",
            metric.id
        );
        ids.insert(metric.id.clone());
    }
    // Samples and what is live go by themselves; the rest is of parts that are not built yet.
    let later = [
        "live.",
        "quality.",
        "sample.",
        "export.",
        "monitor.",
        "throttle.",
        "throughput.goodput",
        "flops.discrepancy",
        // of servers
        "engine.",
        "client.",
        "latency.engine_",
        "latency.ttft_outside",
        "latency.answer",
    ];
    for def in catalogue::METRICS {
        let of_commands = def.id.contains(".marked");
        let expected = !of_commands && !later.iter().any(|p| def.id.starts_with(p));
        assert_eq!(ids.contains(def.id), expected, "{}", def.id);
    }
    let tables: Vec<_> = records
        .iter()
        .filter_map(|r| match r {
            Record::Table(table) => Some((table.name.as_str(), table.rows.len())),
            _ => None,
        })
        .collect();
    let numbers = whole_run_numbers(&records);
    let expected = [("metrics", numbers), ("cycles", 3), ("requests", 12)];
    assert_eq!(tables, expected);
    let metrics = records.iter().find_map(|r| match r {
        Record::Table(table) if table.name == "metrics" => Some(table),
        _ => None,
    });
    let metrics = metrics.unwrap();
    let row = |id: &str| metrics.rows.iter().find(|row| row[0] == id).unwrap();
    let total = metric(&records, "energy.total");
    let (uncertainty, interval) = (total.uncertainty.unwrap(), total.interval.unwrap());
    let MetricValue::Number(joules) = total.value else {
        panic!("{total:?}");
    };
    assert_eq!(
        row("energy.total")[..10],
        [
            json!("energy.total"),
            json!(""),
            json!(joules),
            json!("J"),
            json!(total.how.as_str()),
            json!(uncertainty.expanded),
            json!(uncertainty.k),
            json!(interval.low),
            json!(interval.high),
            json!(interval.level),
        ]
    );
    let gone = metrics.rows.iter().find(|row| !row[11].is_null());
    let gone = gone.expect("something is absent in every run");
    assert_eq!((&gone[2], &gone[4]), (&json!(null), &json!(null)));
    for record in &records {
        let line = serde_json::to_string(record).unwrap();
        assert!(serde_json::from_str::<serde_json::Value>(&line).is_ok());
    }
}

#[test]
fn a_log_that_was_analysed_before_gives_the_same_again() {
    let mut log = three_cycles();
    let foreign = Warning {
        code: "warmup.unsteady".into(),
        message: "m".into(),
        remedy: "r".into(),
    };
    log.push(Record::Warning(foreign), T0);
    let first = RunData::from_log(&log.envelopes);
    let analysis = analyse(&first);
    for record in records(&first, &analysis) {
        log.push(record, T0 + 100_000 * MS);
    }
    let second = RunData::from_log(&log.envelopes);
    assert!(second.metrics_seen > 0);
    let again = analyse(&second);
    assert_eq!(again.warnings.len(), analysis.warnings.len());
    assert_eq!(
        again.run.quantity("energy.total"),
        analysis.run.quantity("energy.total")
    );
    assert!(again.warnings.iter().any(|w| w.code == "warmup.unsteady"));
    let new = records(&second, &again);
    assert!(
        !new.iter().any(|r| matches!(r, Record::Warning(_))),
        "none is told twice"
    );
    assert!(CODES.iter().all(|code| code.contains('.')));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever the powers: phases sum to the total, and the total is the mean of the cycles.
    #[test]
    fn a_run_adds_up(watts in proptest::collection::vec(1.0..500.0f64, 1..20)) {
        let mut log = TestLog::modelled();
        let mut t = T0;
        for (cycle, watts) in watts.iter().enumerate() {
            t = log.cycle(cycle as u32, t, *watts) + 500 * MS;
        }
        let analysis = analysed(&log);
        let value = |id: &str| analysis.run.value(id).unwrap();
        let sum = value("energy.prefill") + value("energy.decode") + value("energy.other");
        prop_assert!((sum - value("energy.total")).abs() < 1e-9 * sum);
        let mean = watts.iter().sum::<f64>() / watts.len() as f64 + 10.0;
        prop_assert!((value("energy.total") - mean).abs() < 1e-6 * mean);
        let total = analysis.run.quantity("energy.total");
        prop_assert_eq!(total.interval.is_some(), watts.len() > 1);
        let u = total.uncertainty.unwrap();
        prop_assert!(u.expanded >= 2.0 * u.systematic.unwrap().max(u.statistical.unwrap()) - 1e-9);
        prop_assert!((value("energy.uncertainty") - u.expanded).abs() < 1e-9);
    }
}

fn whole_run_numbers(records: &[Record]) -> usize {
    let counts = |r: &&Record| match r {
        Record::Metric(m) => m.cycle.is_none() && !matches!(m.value, MetricValue::Histogram(_)),
        _ => false,
    };
    records.iter().filter(counts).count()
}

fn metric<'a>(records: &'a [Record], id: &str) -> &'a lem_record::Metric {
    let found = records.iter().find_map(|r| match r {
        Record::Metric(m) if m.id == id && m.cycle.is_none() => Some(m),
        _ => None,
    });
    found.unwrap()
}

/// Three and twelve seconds in which samples give 3 % more than the counter.
#[test]
fn a_counter_and_its_samples_must_close_better_over_a_long_cycle() {
    for (seconds, warned) in [(3u64, false), (12, true)] {
        let metrics = ["sample.power", "sample.energy"];
        let sensor = json!({"update_s": 0.02});
        let mut log = TestLog::started(json!([source(
            "gpu0", "gpu", "measured", &metrics, &sensor
        )]));
        let end = T0 + seconds * 1_000 * MS;
        log.constant(
            "gpu0",
            "sample.power",
            How::Measured,
            (T0, end),
            20 * MS,
            103.0,
        );
        let joules = seconds as f64 * 100.0;
        log.samples(
            "gpu0",
            "sample.energy",
            How::Measured,
            &[(T0, 0.0), (end, joules)],
        );
        log.finished(0, T0, end);
        let analysis = analysed(&log);
        assert_eq!(
            codes(&analysis).contains(&"energy.closure"),
            warned,
            "{seconds} s: {:?}",
            analysis.warnings
        );
    }
}
