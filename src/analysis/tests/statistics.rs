//! Against numpy and scipy (scripts/golden/statistics.py).

use proptest::prelude::*;
use serde_json::Value;

use super::super::statistics::{self, Pairs};

fn golden() -> Value {
    let text = include_str!(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/data/analysis/statistics.json"
    ));
    serde_json::from_str(text).unwrap()
}

fn close(a: f64, b: f64, tolerance: f64, what: &str) {
    assert!(
        (a - b).abs() <= tolerance * b.abs().max(1e-9),
        "{what}: {a} is not {b}"
    );
}

#[test]
fn numbers_equal_those_of_numpy_and_scipy() {
    for (name, set) in golden()["sets"].as_object().unwrap() {
        let values: Vec<f64> = serde_json::from_value(set["values"].clone()).unwrap();
        let mut sorted = values.clone();
        sorted.sort_by(f64::total_cmp);
        close(
            statistics::mean(&values).unwrap(),
            set["mean"].as_f64().unwrap(),
            1e-12,
            name,
        );
        for pair in set["percentiles"].as_array().unwrap() {
            let (q, expected) = (pair[0].as_f64().unwrap(), pair[1].as_f64().unwrap());
            close(
                statistics::percentile(&sorted, q).unwrap(),
                expected,
                1e-13,
                name,
            );
        }
        let pairs = Pairs::of(values.iter().map(|v| (*v, 1.0)));
        let Some(sd) = set["sd"].as_f64() else {
            assert_eq!(pairs.interval(), None, "{name}: one value has no interval");
            continue;
        };
        close(statistics::stddev(&values).unwrap(), sd, 1e-12, name);
        close(
            pairs.standard_error().unwrap(),
            set["se"].as_f64().unwrap(),
            1e-12,
            name,
        );
        close(
            pairs.acceleration().unwrap(),
            set["acceleration"].as_f64().unwrap(),
            1e-9,
            name,
        );
        if let Some(cv) = set["cv"].as_f64() {
            close(statistics::cv(&values).unwrap(), cv, 1e-12, name);
        }
        if let Some(of) = set.get("bca_of") {
            let estimates: Vec<f64> = serde_json::from_value(of["estimates"].clone()).unwrap();
            let a = pairs.acceleration().unwrap();
            let told = statistics::bca_of(&estimates, pairs.value().unwrap(), a).unwrap();
            close(told.low, of["interval"][0].as_f64().unwrap(), 1e-9, name);
            close(told.high, of["interval"][1].as_f64().unwrap(), 1e-9, name);
        }
        let interval = pairs.interval().unwrap();
        match set["bca"].as_array() {
            None => {
                let Some(t) = set["t"].as_array() else {
                    continue;
                };
                close(interval.low, t[0].as_f64().unwrap(), 1e-9, name);
                close(interval.high, t[1].as_f64().unwrap(), 1e-9, name);
            }
            // Both draw: 10,000 resamples here, 400,000 there. Within 4 % of the width.
            Some(bca) => {
                let (low, high) = (bca[0].as_f64().unwrap(), bca[1].as_f64().unwrap());
                let width = high - low;
                assert!(
                    (interval.low - low).abs() < 0.04 * width,
                    "{name}: {interval:?} {low}"
                );
                assert!(
                    (interval.high - high).abs() < 0.04 * width,
                    "{name}: {interval:?} {high}"
                );
            }
        }
    }
}

#[test]
fn a_bootstrap_gives_the_same_interval_each_time() {
    let pairs = Pairs::of((0..20).map(|i| (f64::from(i % 7), 1.0)));
    assert_eq!(pairs.bca(), pairs.bca());
}

#[test]
fn equal_cycles_have_an_interval_of_no_width() {
    let pairs = Pairs::of((0..20).map(|_| (3.0, 1.0)));
    let interval = pairs.interval().unwrap();
    assert_eq!((interval.low, interval.high), (3.0, 3.0));
}

proptest! {
    #[test]
    fn percentiles_lie_in_the_range_and_rise(
        mut values in proptest::collection::vec(-1e9..1e9f64, 1..50),
        a in 0.0..1.0f64,
        b in 0.0..1.0f64,
    ) {
        values.sort_by(f64::total_cmp);
        let (low, high) = (a.min(b), a.max(b));
        let (p, q) = (statistics::percentile(&values, low).unwrap(), statistics::percentile(&values, high).unwrap());
        prop_assert!(values[0] <= p && p <= q + 1e-6 && q <= values[values.len() - 1]);
    }

    #[test]
    fn the_interval_of_a_ratio_holds_it(
        pairs in proptest::collection::vec((0.1..1e3f64, 0.1..1e3f64), 2..14),
    ) {
        let pairs = Pairs::of(pairs);
        let (value, interval) = (pairs.value().unwrap(), pairs.interval().unwrap());
        prop_assert!(interval.low <= value && value <= interval.high);
    }
}
