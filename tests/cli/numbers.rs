//! The numbers of a result against an independent computation from the log.

use serde_json::Value;

use crate::support::{Bench, of_kind, records, run_dir};

/// A value between two readings, on the straight line through them.
fn value_at(points: &[(f64, f64)], t: f64) -> f64 {
    let after = points
        .iter()
        .position(|p| p.0 >= t)
        .unwrap_or(points.len() - 1)
        .max(1);
    let (a, b) = (points[after - 1], points[after]);
    a.1 + (b.1 - a.1) * ((t - a.0) / (b.0 - a.0))
}

/// Trapezoids over a window, with the edges interpolated: written anew here, on purpose.
fn integral(points: &[(f64, f64)], from: f64, to: f64) -> f64 {
    let mut line = vec![(from, value_at(points, from))];
    line.extend(points.iter().copied().filter(|p| p.0 > from && p.0 < to));
    line.push((to, value_at(points, to)));
    line.windows(2)
        .map(|w| (w[1].0 - w[0].0) * (w[0].1 + w[1].1) / 2.0)
        .sum()
}

fn close(a: f64, b: f64, relative: f64) -> bool {
    (a - b).abs() <= relative * a.abs().max(b.abs())
}

#[test]
fn energy_is_the_integral_of_the_samples_and_phases_sum_to_the_whole() {
    let bench = Bench::new();
    let result = bench.result(
        &[
            "--set",
            "num_input_prompts=16",
            "--set",
            "prompts.output_tokens=64",
            "--set",
            "max_output_tokens=64",
        ],
        0,
    );
    let records = records(&run_dir(&result));
    let cycles: Vec<&Value> = of_kind(&records, "cycle_finished").collect();
    for (cycle, shown) in cycles.iter().zip(result["cycles"].as_array().unwrap()) {
        let (from, to) = (
            cycle["start_ns"].as_u64().unwrap(),
            cycle["end_ns"].as_u64().unwrap(),
        );
        let origin = from;
        let seconds = |ns: u64| (i128::from(ns) - i128::from(origin)) as f64 / 1e9;
        let mut joules = 0.0;
        for samples in of_kind(&records, "samples") {
            let times: Vec<u64> = samples["t_ns"]
                .as_array()
                .unwrap()
                .iter()
                .map(|t| t.as_u64().unwrap())
                .collect();
            if times.first().is_none_or(|t| *t > to) || times.last().is_none_or(|t| *t < from) {
                continue;
            }
            let column = |metric: &str| {
                let columns = samples["columns"].as_array().unwrap();
                let values =
                    columns.iter().find(|c| c["metric"] == metric)?["values"].as_array()?;
                let points = times.iter().zip(values);
                let points = points.filter_map(|(t, v)| Some((seconds(*t), v.as_f64()?)));
                Some(points.collect::<Vec<(f64, f64)>>())
            };
            // A counter of energy is read at the edges of the cycle; else power is integrated.
            joules += match (column("sample.energy"), column("sample.power")) {
                (Some(counter), _) => value_at(&counter, seconds(to)) - value_at(&counter, 0.0),
                (None, Some(power)) => integral(&power, 0.0, seconds(to)),
                (None, None) => 0.0,
            };
        }
        let total = shown["total_energy_j"]["value"].as_f64().unwrap();
        // A machine with counters (RAPL) gives its energy by them: there the series is another sensor.
        if shown["total_energy_j"]["how"] == "modelled" {
            assert!(
                close(total, joules, 1e-6),
                "{total} J, and {joules} J from the samples"
            );
        }
        let phase = |name: &str| shown[name].as_f64().unwrap();
        let whole = (to - from) as f64 / 1e6;
        let sum = phase("prefill_time_ms") + phase("decode_time_ms") + phase("other_time_ms");
        assert!(close(sum, whole, 1e-9), "{sum} ms of {whole}");
        let energy = |name: &str| shown[name]["value"].as_f64().unwrap();
        let sum = energy("prefill_energy_j") + energy("decode_energy_j") + energy("other_energy_j");
        assert!(close(sum, total, 1e-9), "{sum} J of {total}");
        assert!(
            phase("prefill_time_ms") > 0.0
                && phase("decode_time_ms") > 0.0
                && phase("other_time_ms") >= 0.0
        );
    }
}

#[test]
fn latencies_are_those_of_the_token_times() {
    let bench = Bench::new();
    let result = bench.result(&[], 0);
    let records = records(&run_dir(&result));
    let mut ttft = Vec::new();
    let mut itl = Vec::new();
    for span in of_kind(&records, "span").filter(|s| s["span"] == "request") {
        let start = span["start_ns"].as_u64().unwrap();
        let times: Vec<u64> = span["request"]["token_ns"]
            .as_array()
            .unwrap()
            .iter()
            .map(|t| t.as_u64().unwrap())
            .collect();
        assert_eq!(times.len(), 16);
        ttft.push((times[0] - start) as f64 / 1e6);
        itl.extend(times.windows(2).map(|w| (w[1] - w[0]) as f64 / 1e6));
    }
    let quantile = |values: &mut Vec<f64>, q: f64| {
        values.sort_by(f64::total_cmp);
        let place = q * (values.len() - 1) as f64;
        let (low, high) = (
            values[place.floor() as usize],
            values[place.ceil() as usize],
        );
        low + (high - low) * place.fract()
    };
    for (values, name) in [(&mut ttft, "ttft_ms"), (&mut itl, "itl_ms")] {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        assert!(
            close(
                result["latency"][name]["mean"].as_f64().unwrap(),
                mean,
                1e-9
            ),
            "{name}"
        );
        for (q, key) in [(0.5, "p50"), (0.9, "p90"), (0.99, "p99")] {
            let expected = quantile(values, q);
            assert!(
                close(
                    result["latency"][name][key].as_f64().unwrap(),
                    expected,
                    1e-9
                ),
                "{name}.{key}"
            );
        }
    }
}

#[test]
fn a_long_cycle_is_written_in_segments_that_make_one_series() {
    let bench = Bench::new();
    let long = [
        "--set",
        "measurement.segment_s=1",
        "--cycles",
        "1",
        "--set",
        "num_input_prompts=6000",
        "--set",
        "batching.batch_size=1",
    ];
    let result = bench.result(&long, 0);
    let records = records(&run_dir(&result));
    let segments: Vec<&Value> = of_kind(&records, "segment_written").collect();
    assert!(
        !segments.is_empty(),
        "the cycle took {} s",
        result["duration_s"]
    );
    for (i, pair) in segments.windows(2).enumerate() {
        assert_eq!(pair[0]["end_ns"], pair[1]["start_ns"]);
        assert_eq!(pair[0]["segment"], i);
    }
    let mut last = 0;
    for samples in of_kind(&records, "samples").filter(|s| s["source"] == "cpu0") {
        for t in samples["t_ns"].as_array().unwrap() {
            assert!(
                t.as_u64().unwrap() > last,
                "a sample came twice or too late"
            );
            last = t.as_u64().unwrap();
        }
    }
    let requests = of_kind(&records, "span").filter(|s| s["span"] == "request");
    assert_eq!(requests.count(), 6000);
    assert_eq!(result["tokens"]["output"], 6000 * 16);
}

#[test]
fn phases_by_extra_rounds_where_they_are_asked_for() {
    for method in ["looped", "slope"] {
        let bench = Bench::new();
        let asked = format!("measurement.phase_method={method}");
        let set = ["--set", &asked, "--set", "measurement.loop_s=0.5"];
        let result = bench.result(&set, 0);
        assert_eq!(result["phase_estimates"]["method"], method);
        assert_eq!(result["phase_estimates"]["resolvable"], true);
        let energy = |name: &str| result[name]["value"].as_f64().unwrap();
        for name in ["prefill_energy_j", "decode_energy_j"] {
            let told = result[name]["method"].as_str().unwrap();
            assert!(told.starts_with(&format!("{method}: ")), "{name}: {told}");
            assert!(result[name]["uncertainty"]["expanded"].as_f64().unwrap() > 0.0);
        }
        let sum = energy("prefill_energy_j") + energy("decode_energy_j") + energy("other_energy_j");
        assert!(close(sum, energy("total_energy_j"), 1e-9));
        // The rounds are in the log and nowhere else.
        let records = records(&run_dir(&result));
        let rounds: Vec<&Value> = of_kind(&records, "rounds_finished").collect();
        // On a slow machine each rest of a loop is measured once.
        let expected = if method == "looped" { 2..=4 } else { 8..=8 };
        assert!(expected.contains(&rounds.len()), "{}", rounds.len());
        for round in &rounds {
            let ends = round["round_ends_ns"].as_array().unwrap().len() as u64;
            let requests = result["requests"]["answered"].as_u64().unwrap()
                / result["num_cycles"].as_u64().unwrap();
            assert_eq!(round["requests"].as_u64().unwrap(), ends * requests);
            assert_eq!(round["failed"], 0);
        }
        let cycles = of_kind(&records, "cycle_finished").count() as u64;
        assert_eq!(cycles, result["num_cycles"].as_u64().unwrap());
        // What the phases sum to is shared out to the requests.
        let table = of_kind(&records, "table")
            .find(|t| t["name"] == "requests")
            .unwrap();
        let columns = table["columns"].as_array().unwrap();
        let place = columns.iter().position(|c| c == "modelled_joules").unwrap();
        let rows = table["rows"].as_array().unwrap();
        let shares: f64 = rows.iter().map(|row| row[place].as_f64().unwrap()).sum();
        let total: f64 = result["cycles"]
            .as_array()
            .unwrap()
            .iter()
            .map(|c| c["total_energy_j"]["value"].as_f64().unwrap())
            .sum();
        assert!(close(shares, total, 1e-6), "{shares} J of {total}");
    }
}
