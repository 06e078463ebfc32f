//! The catalogue against the agreed names.
#![allow(clippy::expect_used)]

use std::collections::HashSet;

use lem_record::catalogue::{Bound, METRICS, find};
use lem_record::{Attributes, Kind};

fn attributes(pairs: &[(&str, &str)]) -> Attributes {
    pairs
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect()
}

/// Rows copied from the agreed list: id, attributes, flat key, OTel name, Prometheus name.
type Agreed = (
    &'static str,
    &'static [(&'static str, &'static str)],
    &'static str,
    &'static str,
    &'static str,
);

const AGREED: &[Agreed] = &[
    (
        "run.duration",
        &[],
        "run/duration_seconds",
        "lem.run.duration",
        "lem_run_duration_seconds",
    ),
    (
        "run.requests",
        &[],
        "run/requests",
        "lem.run.requests",
        "lem_run_requests_total",
    ),
    ("run.info", &[], "run/info", "lem.run.info", "lem_run_info"),
    (
        "run.completed",
        &[],
        "run/completed_timestamp_seconds",
        "lem.run.completed.timestamp",
        "lem_run_completed_timestamp_seconds",
    ),
    (
        "time.prefill",
        &[],
        "time/prefill_seconds",
        "lem.phase.duration",
        "lem_phase_duration_seconds",
    ),
    (
        "energy.decode_corrected",
        &[],
        "energy/decode_corrected_joules",
        "lem.phase.energy.corrected",
        "lem_phase_energy_corrected_joules",
    ),
    (
        "energy.total",
        &[],
        "energy/total_joules",
        "lem.run.energy",
        "lem_run_energy_joules",
    ),
    (
        "energy.total_above_bare",
        &[],
        "energy/total_above_bare_joules",
        "lem.run.energy.above_bare",
        "lem_run_energy_above_bare_joules",
    ),
    (
        "energy.closure",
        &[],
        "energy/closure_ratio",
        "lem.run.energy.closure",
        "lem_run_energy_closure_ratio",
    ),
    (
        "energy.delay_product",
        &[],
        "energy/delay_product_joule_seconds",
        "lem.run.energy_delay",
        "lem_run_energy_delay_J_s",
    ),
    (
        "energy.gpu",
        &[],
        "energy/gpu_joules",
        "lem.component.energy",
        "lem_component_energy_joules",
    ),
    (
        "energy.per_output_token",
        &[],
        "energy/per_output_token_joules",
        "lem.run.energy.per_output_token",
        "lem_run_energy_per_output_token_joules",
    ),
    (
        "efficiency.tokens_per_joule",
        &[],
        "efficiency/tokens_per_joule",
        "lem.efficiency.tokens_per_joule",
        "lem_efficiency_tokens_per_joule",
    ),
    (
        "baseline.power",
        &[("lem.baseline.kind", "loaded")],
        "baseline/loaded_power_watts",
        "lem.baseline.power",
        "lem_baseline_power_watts",
    ),
    (
        "baseline.ratio",
        &[],
        "baseline/ratio",
        "lem.baseline.ratio",
        "lem_baseline_ratio",
    ),
    (
        "power.peak",
        &[],
        "power/peak_watts",
        "lem.run.power.peak",
        "lem_run_power_peak_watts",
    ),
    (
        "latency.ttft",
        &[],
        "latency/ttft_p99_seconds",
        "gen_ai.server.time_to_first_token",
        "gen_ai_server_time_to_first_token_seconds",
    ),
    (
        "tokens.output",
        &[],
        "tokens/output",
        "lem.tokens",
        "lem_tokens_total",
    ),
    (
        "tokens.per_request",
        &[("gen_ai.token.type", "input")],
        "tokens/per_request_input_p99",
        "gen_ai.client.token.usage",
        "gen_ai_client_token_usage",
    ),
    (
        "throughput.decode",
        &[],
        "throughput/decode_tokens_per_second",
        "lem.phase.throughput.tokens",
        "lem_phase_throughput_tokens_per_second",
    ),
    (
        "throughput.goodput",
        &[],
        "throughput/goodput_requests_per_second",
        "lem.run.goodput",
        "lem_run_goodput_per_second",
    ),
    (
        "throughput.requests",
        &[],
        "throughput/requests_per_second",
        "lem.run.throughput.requests",
        "lem_run_throughput_requests_per_second",
    ),
    (
        "sample.power",
        &[("hw.id", "gpu0")],
        "sample/gpu0_power_watts",
        "hw.power",
        "hw_power_watts",
    ),
    (
        "sample.energy",
        &[("hw.id", "gpu0")],
        "sample/gpu0_energy_joules",
        "hw.energy",
        "hw_energy_joules_total",
    ),
    (
        "sample.gpu_utilization",
        &[("hw.id", "gpu0")],
        "sample/gpu0_utilization_ratio",
        "hw.gpu.utilization",
        "hw_gpu_utilization_ratio",
    ),
    (
        "sample.gpu_memory_used",
        &[("hw.id", "gpu0")],
        "sample/gpu0_memory_used_bytes",
        "hw.gpu.memory.usage",
        "hw_gpu_memory_usage_bytes",
    ),
    (
        "sample.clock",
        &[("hw.id", "gpu0"), ("lem.clock", "sm")],
        "sample/gpu0_sm_clock_hertz",
        "lem.gpu.clock",
        "lem_gpu_clock_hertz",
    ),
    (
        "sample.throttled",
        &[("hw.id", "gpu0"), ("lem.throttle.reason", "thermal")],
        "sample/gpu0_throttled_thermal",
        "lem.gpu.throttled",
        "lem_gpu_throttled",
    ),
    (
        "throttle.time",
        &[("lem.throttle.reason", "thermal")],
        "throttle/thermal_seconds",
        "lem.gpu.throttle.duration",
        "lem_gpu_throttle_duration_seconds_total",
    ),
    (
        "sampling.samples",
        &[("lem.status", "missed")],
        "sampling/samples_missed",
        "lem.sampling.samples",
        "lem_sampling_samples_total",
    ),
    (
        "flops.rate",
        &[],
        "flops/flops_per_second",
        "lem.run.throughput.flops",
        "lem_run_throughput_flops_per_second",
    ),
    (
        "flops.mfu",
        &[],
        "flops/mfu_ratio",
        "lem.flops.mfu",
        "lem_flops_mfu_ratio",
    ),
    (
        "quality.perplexity",
        &[("lem.quality.source", "wikitext")],
        "quality/perplexity_wikitext",
        "lem.quality.perplexity",
        "lem_quality_perplexity",
    ),
    (
        "quality.score",
        &[("lem.quality.metric", "rouge")],
        "quality/rouge",
        "lem.quality.score",
        "lem_quality_score",
    ),
    (
        "carbon.emissions",
        &[],
        "carbon/emissions_grams",
        "lem.carbon.emissions",
        "lem_carbon_emissions_grams",
    ),
    (
        "carbon.intensity",
        &[],
        "carbon/grams_per_kwh",
        "lem.carbon.grams_per_kwh",
        "lem_carbon_grams_per_kwh",
    ),
    (
        "cost.total",
        &[("lem.cost.kind", "energy")],
        "cost/energy_usd",
        "lem.cost.usd",
        "lem_cost_usd",
    ),
    (
        "cost.per_mtoken",
        &[],
        "cost/usd_per_million_tokens",
        "lem.cost.usd_per_million_tokens",
        "lem_cost_usd_per_million_tokens",
    ),
    (
        "export.failures",
        &[],
        "export/failures",
        "lem.export.failures",
        "lem_export_failures_total",
    ),
];

#[test]
fn names_are_the_agreed_ones() {
    for (id, own, key, otel, prometheus) in AGREED {
        let def = find(id).unwrap_or_else(|| panic!("{id} is missing"));
        assert_eq!(
            &def.key(&attributes(own), &[], Some("p99"), None),
            key,
            "{id}"
        );
        assert_eq!(&def.otel_name(None), otel, "{id}");
        assert_eq!(&def.prometheus_name(None), prometheus, "{id}");
    }
}

#[test]
fn the_words_of_an_interval_stand_before_the_unit() {
    let def = find("energy.total").expect("is there");
    assert_eq!(
        def.key(&Attributes::new(), &[], None, Some(Bound::Low)),
        "energy/total_ci_low_joules"
    );
    assert_eq!(def.otel_name(Some(Bound::Low)), "lem.run.energy.ci_low");
    assert_eq!(
        def.prometheus_name(Some(Bound::High)),
        "lem_run_energy_ci_high_joules"
    );
}

#[test]
fn a_key_carries_what_varies_within_the_run() {
    let def = find("energy.closure").expect("is there");
    let own = attributes(&[("hw.id", "gpu1")]);
    assert_eq!(def.key(&own, &[], None, None), "energy/closure_ratio");
    assert_eq!(
        def.key(&own, &["hw.id".into()], None, None),
        "energy/gpu1_closure_ratio"
    );
}

#[test]
fn no_two_rows_share_a_name() {
    let (mut ids, mut keys, mut otel) = (HashSet::new(), HashSet::new(), HashSet::new());
    for def in METRICS {
        assert!(ids.insert(def.id), "{} twice", def.id);
        assert!(
            keys.insert(def.key_template()),
            "{} twice",
            def.key_template()
        );
        assert!(
            otel.insert((def.otel, def.fixed)),
            "{} {:?} twice",
            def.otel,
            def.fixed
        );
        assert!(def.help.ends_with('.'), "{}: help is a sentence", def.id);
    }
}

#[test]
fn rows_of_one_otel_name_agree() {
    for a in METRICS {
        for b in METRICS.iter().filter(|b| b.otel == a.otel) {
            assert_eq!((a.unit, a.kind), (b.unit, b.kind), "{} and {}", a.id, b.id);
        }
        assert!(
            a.kind != Kind::Counter || a.prometheus_name(None).ends_with("_total"),
            "{}",
            a.id
        );
    }
}
