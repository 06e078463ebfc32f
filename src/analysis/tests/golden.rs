//! A whole log against an independent computation (scripts/golden/run_log.py, numpy).

use lem_record::{Envelope, How};
use serde_json::Value;

use super::super::{Analysis, RunData, analyse};

pub fn golden_log() -> Vec<Envelope> {
    let text = include_str!(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/data/analysis/run.jsonl"
    ));
    text.lines()
        .map(|line| Envelope::decode(line).unwrap())
        .collect()
}

fn expected() -> Value {
    let text = include_str!(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/data/analysis/run-expected.json"
    ));
    serde_json::from_str(text).unwrap()
}

fn analysis() -> Analysis {
    analyse(&RunData::from_log(golden_log()))
}

fn close(a: f64, b: &Value, what: &str) {
    let b = b.as_f64().unwrap();
    assert!((a - b).abs() <= 1e-8 * b.abs(), "{what}: {a} is not {b}");
}

#[test]
fn energies_of_each_cycle_equal_an_independent_integration() {
    let (analysis, expected) = (analysis(), expected());
    assert_eq!(analysis.cycles.len(), 3);
    for (cycle, told) in analysis
        .cycles
        .iter()
        .zip(expected["cycles"].as_array().unwrap())
    {
        let value = |id: &str| {
            cycle
                .sheet
                .value(id)
                .unwrap_or_else(|| panic!("{id} is absent"))
        };
        close(cycle.seconds(), &told["seconds"], "seconds");
        close(value("energy.total"), &told["integral"], "total");
        close(value("energy.gpu"), &told["integral"], "gpu");
        close(value("energy.cpu"), &told["cpu"], "cpu");
        close(value("energy.memory"), &told["memory"], "memory");
        close(value("energy.prefill"), &told["prefill_j"], "prefill");
        close(value("energy.decode"), &told["decode_j"], "decode");
        close(
            value("energy.total_corrected"),
            &told["corrected"],
            "corrected",
        );
        close(
            value("energy.total_above_bare"),
            &told["above_bare"],
            "above bare",
        );
        close(value("time.prefill"), &told["prefill_s"], "prefill time");
        close(value("time.decode"), &told["decode_s"], "decode time");
        close(value("tokens.output"), &told["output"], "output");
        close(value("flops.estimated"), &told["flops"], "flops");
        let phases = value("energy.prefill") + value("energy.decode") + value("energy.other");
        assert!((phases - value("energy.total")).abs() < 1e-9 * phases);
        let phases = value("energy.prefill_corrected")
            + value("energy.decode_corrected")
            + value("energy.other_corrected");
        assert!((phases - value("energy.total_corrected")).abs() < 1e-9 * phases);
        let times = value("time.prefill") + value("time.decode") + value("time.other");
        assert!((times - cycle.seconds()).abs() < 1e-12);
        let closure = told["integral"].as_f64().unwrap() / told["counter"].as_f64().unwrap();
        assert!((value("energy.closure") - closure).abs() < 1e-9);
        // And the truth that the samples were made from lies within the uncertainty.
        let u = cycle
            .sheet
            .quantity("energy.total")
            .uncertainty
            .unwrap()
            .expanded;
        assert!((value("energy.total") - told["true"].as_f64().unwrap()).abs() < u);
    }
}

#[test]
fn the_run_is_what_numpy_and_scipy_make_of_its_cycles() {
    let (analysis, expected) = (analysis(), expected());
    let run = &analysis.run;
    let value = |id: &str| run.value(id).unwrap_or_else(|| panic!("{id} is absent"));
    close(value("energy.total"), &expected["total"], "total");
    close(
        value("energy.per_output_token"),
        &expected["per_output_token"],
        "per token",
    );
    close(
        value("throughput.decode"),
        &expected["decode_rate"],
        "decode rate",
    );
    close(
        value("throughput.prefill"),
        &expected["prefill_rate"],
        "prefill rate",
    );
    close(value("carbon.emissions"), &expected["carbon_g"], "carbon");
    close(value("flops.mfu"), &expected["mfu"], "mfu");
    let total = run.quantity("energy.total");
    assert_eq!(total.how, Some(How::Measured));
    let interval = total.interval.unwrap();
    close(interval.low, &expected["total_interval"][0], "interval");
    close(interval.high, &expected["total_interval"][1], "interval");
    let uncertainty = total.uncertainty.unwrap();
    close(
        uncertainty.systematic.unwrap(),
        &expected["total_gain_u"],
        "gain",
    );
    let se = expected["total_se"].as_f64().unwrap();
    assert!(uncertainty.statistical.unwrap() >= se * (1.0 - 1e-9));
    let interval = run.quantity("time.prefill").interval.unwrap();
    close(
        interval.low,
        &expected["prefill_s_interval"][0],
        "prefill interval",
    );
    for (i, kind) in ["loaded", "bare", "after"].into_iter().enumerate() {
        let entry = run
            .entries
            .iter()
            .filter(|e| e.id == "baseline.power")
            .nth(i)
            .unwrap();
        assert_eq!(entry.attributes["lem.baseline.kind"], kind);
        close(
            entry.reading.as_ref().unwrap().value,
            &expected["baseline"][kind],
            kind,
        );
    }
    let cost = run.entries.iter().rfind(|e| e.id == "cost.total").unwrap();
    assert_eq!(cost.attributes["lem.cost.kind"], "total");
    close(
        cost.reading.as_ref().unwrap().value,
        &expected["cost_usd"],
        "cost",
    );
    for name in ["ttft", "e2e", "tpot", "itl"] {
        let (histogram, told) = (
            run.histogram(&format!("latency.{name}")).unwrap(),
            &expected["latency"][name],
        );
        close(histogram.mean, &told["mean"], name);
        close(histogram.p50, &told["p50"], name);
        close(histogram.p90, &told["p90"], name);
        close(histogram.p99, &told["p99"], name);
        assert_eq!(histogram.count, told["n"].as_u64().unwrap());
        assert_eq!(histogram.counts.iter().sum::<u64>(), histogram.count);
    }
}

#[test]
fn measured_and_modelled_joules_are_not_added() {
    let analysis = analysis();
    let value = |id: &str| analysis.run.value(id).unwrap();
    assert_eq!(value("energy.total"), value("energy.gpu"));
    assert_eq!(analysis.run.quantity("energy.cpu").how, Some(How::Modelled));
    assert_eq!(
        analysis.boundary.told,
        "measured: gpu (not added: cpu, memory)"
    );
}
