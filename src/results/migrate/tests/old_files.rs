//! The files that version 2 left, one kind after another.

use jiff::tz::TimeZone;
use serde_json::json;

use super::*;

#[test]
fn every_fixture_migrates_and_gives_every_value_back() {
    for name in names() {
        sound(&migrated(&name), &fixture(&name));
    }
}

#[test]
fn it_is_told_by_its_shape_what_a_file_is() {
    for (name, shape) in [
        ("raw.json", OldShape::Raw),
        ("early.json", OldShape::Raw),
        ("agg.json", OldShape::Aggregated),
        ("multi_cycle.json", OldShape::MultiCycle),
        ("later.json", OldShape::LaterExperiment),
    ] {
        let mut value = fixture(name);
        // The numbers of versions say nothing.
        value["schema_version"] = json!("4.0");
        assert_eq!(of(&value).migration.unwrap().shape, shape, "{name}");
    }
    let again = serde_json::to_vec(&migrated("raw.json")).unwrap();
    let refused = migrate(&again, "x", &Options::default()).unwrap_err();
    assert_eq!(refused.why, Why::Already);
    for foreign in [
        json!([1]),
        json!("text"),
        json!({}),
        json!({"process_index": 0}),
        json!({"name": "a package", "version": "1.0.0", "dependencies": {}}),
        json!({"statistics": 3, "cycle_results": []}),
    ] {
        let refused =
            migrate(foreign.to_string().as_bytes(), "x", &Options::default()).unwrap_err();
        assert_eq!(refused.why, Why::Foreign, "{foreign}");
    }
}

#[test]
fn a_process_is_one_cycle_with_its_numbers_and_their_doubts() {
    let result = migrated("raw.json");
    assert_eq!((result.num_cycles, result.cycles.len()), (1, 1));
    let numbers = &result.numbers;
    assert_eq!(numbers.total_energy_j.value, Some(1450.5));
    assert_eq!(numbers.total_energy_j.how, Some(lem_record::How::Reported));
    assert!(
        numbers
            .total_energy_j
            .method
            .as_ref()
            .unwrap()
            .contains("CodeCarbon")
    );
    assert_eq!(numbers.energy_components.gpu.value, Some(1100.0));
    assert_eq!(
        numbers.energy_per_output_token_j.value,
        Some(1450.5 / 640.0)
    );
    assert_eq!(numbers.energy_per_request_j.value, Some(1450.5 / 2.0));
    assert_eq!(numbers.carbon.emissions_g.value, Some(0.15));
    assert_eq!(numbers.tokens.output, 640);
    assert_eq!(numbers.throughput.total_tokens_per_sec, Some(640.0 / 4.3));
    assert!((numbers.latency.ttft_ms.p90.unwrap() - 41.16).abs() < 1e-9);
    assert_eq!(
        numbers.latency.itl_ms.count, 4,
        "the gaps that were not trimmed"
    );
    assert_eq!(numbers.latency.e2e_ms.mean, Some(859.2));
    assert_eq!(numbers.memory.gpu_peak_bytes, Some(2300 << 20));
    assert_eq!(result.cycles[0].numbers, result.numbers_without_moments());
    assert_eq!(result.config["batching"]["batch_size"], 8);
    assert_eq!(result.config["backend"], "transformers");
    assert_eq!(result.provenance["num_cycles"].source, "flag");
    assert_eq!(
        result.provenance["decoder.preset"].detail.as_deref(),
        Some("configs/x.yaml")
    );
    // 1, 2, 4, 7, 10 and 11 of the list of doubts.
    note(&result, "flops.estimated", "flops.formula");
    assert!(
        note(
            &result,
            "throughput.total_tokens_per_sec",
            "throughput.counted-anew"
        )
        .what
        .contains("it counted output tokens")
    );
    note(&result, "power.mean_w", "energy.no-duration");
    note(
        &result,
        "energy_per_output_token_j",
        "energy.per-token-anew",
    );
    note(
        &result,
        "legacy.timestamps.duration_sec",
        "time.includes-loading",
    );
    note(
        &result,
        "legacy.compute_metrics.model_memory_mb",
        "memory.zero",
    );
    note(&result, "total_energy_j", "energy.warm-up-inside");
    note(&result, "total_energy_j", "energy.idle-inside");
    let reason = result.numbers.total_energy_j.reason.unwrap();
    assert!(
        reason.contains("idle power") && reason.contains("warm-up"),
        "{reason}"
    );
    let warned: Vec<&str> = result.warnings.iter().map(|w| w.code.as_str()).collect();
    assert!(
        warned.contains(&"v2.energy.idle-inside") && warned.contains(&"v2.config"),
        "{warned:?}"
    );
}

impl RunResult {
    /// A cycle says nothing of when the run began and ended.
    fn numbers_without_moments(&self) -> super::super::super::Numbers {
        let mut numbers = self.numbers.clone();
        numbers.absent.remove("started");
        numbers.absent.remove("ended");
        numbers
    }
}

#[test]
fn times_are_known_only_with_their_zone() {
    let without = migrated("raw.json");
    assert_eq!(without.started, None);
    note(&without, "started", "time.no-zone");
    let zone = Some(TimeZone::fixed(jiff::tz::offset(1)));
    let with = migrate(&bytes("raw.json"), "raw.json", &Options { zone }).unwrap();
    assert_eq!(with.started.as_deref(), Some("2026-01-24T14:00:00.123Z"));
    assert!(!has(&with, "time.no-zone"));
    assert_eq!(
        migrated("later.json").ended.as_deref(),
        Some("2026-03-02T10:00:30.000Z")
    );
}

#[test]
fn processes_are_put_together_by_what_their_numbers_are() {
    let result = migrated("two_processes.json");
    let numbers = &result.numbers;
    assert_eq!(numbers.duration_s, Some(4.7), "the longest, not the sum");
    // From 15:00:00.123456 to 15:00:21.123456, with the loading in it.
    assert_eq!(numbers.throughput.total_tokens_per_sec, Some(1280.0 / 21.0));
    note(
        &result,
        "throughput.total_tokens_per_sec",
        "throughput.mean-of-rates",
    );
    note(&result, "duration_s", "time.summed");
    note(
        &result,
        "throughput.total_tokens_per_sec",
        "processes.overlap-unverified",
    );
    assert_eq!(numbers.tokens.output, 1280);
    // Every tracker saw both GPUs.
    assert_eq!(numbers.total_energy_j.value, Some(2911.0));
    assert!(
        note(&result, "total_energy_j", "energy.over-counted")
            .what
            .contains("1460.5 J")
    );
    assert!(
        numbers
            .total_energy_j
            .reason
            .as_ref()
            .unwrap()
            .contains("counted once a process")
    );
    // 40.8, 41.2, 39, 44, 50: pooled, as numpy's percentile.
    let ttft = &numbers.latency.ttft_ms;
    assert_eq!(
        (ttft.count, ttft.p50, ttft.min, ttft.max),
        (5, Some(41.2), Some(39.0), Some(50.0))
    );
    assert!((ttft.p90.unwrap() - 47.6).abs() < 1e-12 && (ttft.p99.unwrap() - 49.76).abs() < 1e-12);
    assert_eq!(result.environment["processes"][1]["gpu_id"], 1);
    assert!(has(&result, "provenance.first-process"));
    assert!(result.warnings.iter().any(|w| w.code == "v2.aggregation"));
}

#[test]
fn energy_that_is_all_zero_is_none() {
    let result = migrated("tracker_failed.json");
    let numbers = &result.numbers;
    for quantity in [
        &numbers.total_energy_j,
        &numbers.energy_components.gpu,
        &numbers.energy_per_output_token_j,
        &numbers.efficiency.tokens_per_joule,
        &numbers.carbon.emissions_g,
    ] {
        assert_eq!(quantity.value, None);
        assert!(
            quantity.reason.as_ref().unwrap().contains("tracker failed"),
            "{quantity:?}"
        );
    }
    assert_eq!(
        note(&result, "total_energy_j", "energy.tracker-failed").kind,
        NoteKind::Absent
    );
    assert_eq!(numbers.memory.gpu_peak_bytes, None);
    assert_eq!(
        numbers.throughput.total_tokens_per_sec,
        Some(640.0 / 4.3),
        "the times are good"
    );
    let mut told = fixture("raw.json");
    told["energy_tracking_failed"] = json!(true);
    assert_eq!(of(&told).numbers.total_energy_j.value, None);
    let mut partly = fixture("raw.json");
    partly["energy_metrics"]["cpu_energy_j"] = json!(0.0);
    let partly = of(&partly);
    assert_eq!(partly.numbers.energy_components.cpu.value, None);
    assert_eq!(partly.numbers.total_energy_j.value, Some(1450.5));
    note(&partly, "total_energy_j", "energy.sum-differs");
}

#[test]
fn gaps_of_vllm_are_made_up_whatever_the_file_says() {
    let result = migrated("vllm_mig.json");
    note(&result, "latency.itl_ms", "latency.proportional");
    assert_eq!(result.numbers.latency.itl_ms.count, 0);
    note(&result, "latency.ttft_ms", "latency.not-streamed");
    note(&result, "total_energy_j", "energy.mig");
    note(&result, "total_energy_j", "energy.warned");
    assert!(
        note(
            &result,
            "throughput.total_tokens_per_sec",
            "throughput.counted-anew"
        )
        .what
        .contains("input and output")
    );
    let mut streamed = fixture("vllm_mig.json");
    streamed["inference_metrics"]["latency_measurements"]["measurement_mode"] =
        json!("true_streaming");
    assert_eq!(of(&streamed).numbers.latency.itl_ms.count, 0);
    streamed["backend"] = json!("pytorch");
    assert_eq!(of(&streamed).numbers.latency.itl_ms.count, 4);
}

#[test]
fn an_early_file_gives_what_it_has_and_keeps_what_nobody_knows() {
    let result = migrated("early.json");
    assert_eq!(result.numbers.total_energy_j.value, Some(1450.5));
    assert_eq!(result.numbers.latency.ttft_ms.mean, Some(41.0));
    note(&result, "latency.ttft_ms", "latency.summary");
    assert_eq!(result.numbers.requests.answered, 0);
    assert!(result.numbers.absent.contains_key("requests.answered"));
    assert_eq!(
        result.legacy.unwrap()["notes_of_somebody"]["runs"],
        json!([1, 2, 3])
    );
    let sums = migrated("sums_only.json");
    assert_eq!(sums.numbers.total_energy_j.value, Some(1450.5));
    note(&sums, "total_energy_j", "energy.over-counted");
    assert!(sums.numbers.absent["tokens.output"].contains("only together"));
    assert_eq!(sums.numbers.energy_per_output_token_j.value, None);
    assert_eq!(
        sums.numbers.latency.ttft_ms.p99,
        Some(41.2),
        "of its own summary"
    );
}

#[test]
fn cycles_are_counted_anew() {
    let result = migrated("multi_cycle.json");
    assert_eq!(result.num_cycles, 3);
    let energies: Vec<f64> = result
        .cycles
        .iter()
        .map(|c| c.numbers.total_energy_j.value.unwrap())
        .collect();
    assert_eq!(result.cycles[2].start_s, 120.0);
    let mean = energies.iter().sum::<f64>() / 3.0;
    let stddev = (energies.iter().map(|e| (e - mean).powi(2)).sum::<f64>() / 2.0).sqrt();
    let told = &result.numbers.total_energy_j;
    assert!((told.value.unwrap() - mean).abs() < 1e-9);
    let spread = &result.cycle_statistics["energy.total"];
    assert!((spread.stddev - stddev).abs() < 1e-9 && spread.n == 3);
    // With two degrees of freedom the quantile has a closed form: a·√(2 / (1 − a²)).
    let half = 0.95 * (2.0_f64 / (1.0 - 0.95_f64.powi(2))).sqrt() * stddev / 3.0_f64.sqrt();
    let interval = told.interval.unwrap();
    assert!(
        (interval.low - (mean - half)).abs() < 1e-9 && (interval.high - (mean + half)).abs() < 1e-9
    );
    assert_eq!(result.numbers.tokens.output, 3 * 640);
    note(&result, "total_energy_j", "cycles.statistics-anew");
    let rate = note(
        &result,
        "throughput.total_tokens_per_sec",
        "cycles.statistics-anew",
    );
    assert!(
        rate.what.contains("148.535") && !has(&result, "cycles.statistics-differ"),
        "{}",
        rate.what
    );

    let torn = migrated("multi_cycle_torn.json");
    note(&torn, "num_cycles", "cycles.count-differs");
    note(&torn, "total_energy_j", "cycles.statistics-differ");
    note(&torn, "total_energy_j", "energy.tracker-partly-failed");
    assert_eq!(torn.cycle_statistics["energy.total"].n, 2);
    assert_eq!(torn.cycles[1].numbers.total_energy_j.value, None);
    assert!(
        torn.numbers
            .total_energy_j
            .reason
            .as_ref()
            .unwrap()
            .contains("some processes or cycles failed")
    );
}

#[test]
fn numbers_that_cannot_be_are_absent_and_kept_as_they_were() {
    let text = String::from_utf8(bytes("raw.json")).unwrap();
    let huge = text
        .replace("\"total_energy_j\": 1450.5", "\"total_energy_j\": 1e999")
        .replace(
            "\"input_tokens\": 1280",
            "\"input_tokens\": 123456789012345678901234567890",
        )
        .replace(
            "\"inference_time_sec\": 4.3",
            "\"inference_time_sec\": -4.3",
        )
        .replace(
            "\"emissions_kg_co2\": 0.00015",
            "\"emissions_kg_co2\": 1e300",
        )
        .replace("\"peak_memory_mb\": 2300.0", "\"peak_memory_mb\": 1e29");
    let result = migrate(huge.as_bytes(), "x", &Options::default()).unwrap();
    assert_valid(&result);
    let legacy = result.legacy.as_ref().unwrap();
    assert_eq!(legacy["energy_metrics"]["total_energy_j"], "1e999");
    assert_eq!(
        legacy["inference_metrics"]["input_tokens"],
        "123456789012345678901234567890"
    );
    note(
        &result,
        "legacy.energy_metrics.total_energy_j",
        "number.as-text",
    );
    note(
        &result,
        "legacy.inference_metrics.inference_time_sec",
        "value.impossible",
    );
    assert_eq!(result.numbers.duration_s, None);
    assert_eq!(result.numbers.total_energy_j.value, None);
    assert_eq!(result.numbers.memory.gpu_peak_bytes, None);
    let mut odd = fixture("raw.json");
    odd["per_request_latencies_ms"] = json!([860.1, -1.0, null, "soon"]);
    odd["inference_metrics"]["output_tokens"] = json!(640.5);
    odd["config_warnings"] = json!({"no": "list"});
    let odd = of(&odd);
    assert_eq!(odd.numbers.latency.e2e_ms.count, 1);
    note(&odd, "latency.e2e_ms", "latency.impossible");
    note(
        &odd,
        "legacy.per_request_latencies_ms",
        "value.unexpected-type",
    );
    note(
        &odd,
        "legacy.inference_metrics.output_tokens",
        "value.unexpected-type",
    );
    note(&odd, "legacy.config_warnings", "value.unexpected-type");
}

#[test]
fn the_same_file_gives_the_same_result() {
    assert_eq!(migrated("multi_cycle.json"), migrated("multi_cycle.json"));
    let raw = migrated("raw.json");
    assert!(raw.run_id.starts_with("v2-0042-p0-"), "{}", raw.run_id);
    let mut hostile = fixture("raw.json");
    hostile["experiment_id"] = json!("../../etc/passwd\u{0}");
    assert!(
        of(&hostile).run_id.starts_with("v2-..-..-etc-passwd-"),
        "{}",
        of(&hostile).run_id
    );
}
