use super::*;

fn gaps(arrivals: &Arrivals, n: usize, seed: u64) -> Vec<f64> {
    let due = arrivals.due(n, seed).unwrap();
    let mut before = Duration::ZERO;
    due.iter()
        .map(|at| {
            let gap = at.checked_sub(before).expect("ascending").as_secs_f64();
            before = *at;
            gap
        })
        .collect()
}

fn mean_and_cv(gaps: &[f64]) -> (f64, f64) {
    let n = gaps.len() as f64;
    let mean = gaps.iter().sum::<f64>() / n;
    let variance = gaps.iter().map(|g| (g - mean).powi(2)).sum::<f64>() / (n - 1.0);
    (mean, variance.sqrt() / mean)
}

#[test]
fn constant_is_even() {
    let due = Arrivals::Constant { rate: 4.0 }.due(5, 1).unwrap();
    let ms: Vec<_> = due.iter().map(Duration::as_millis).collect();
    assert_eq!(ms, [0, 250, 500, 750, 1000]);
}

#[test]
fn gaps_of_a_poisson_process_are_exponential() {
    let mut gaps = gaps(&Arrivals::Poisson { rate: 50.0 }, 20_000, 7);
    let (mean, cv) = mean_and_cv(&gaps);
    assert!((mean * 50.0 - 1.0).abs() < 0.03, "{mean}");
    assert!((cv - 1.0).abs() < 0.03, "{cv}");
    // Kolmogorov and Smirnov: 1.95 / sqrt(n) is passed once in a thousand seeds; this is one.
    gaps.sort_by(f64::total_cmp);
    let n = gaps.len() as f64;
    let worst = gaps
        .iter()
        .enumerate()
        .map(|(i, gap)| ((i as f64 + 0.5) / n - (1.0 - (-50.0 * gap).exp())).abs())
        .fold(0.0, f64::max);
    assert!(worst < 1.95 / n.sqrt(), "{worst}");
    // and the counts of one second are as spread as their mean
    let due = Arrivals::Poisson { rate: 50.0 }.due(20_000, 8).unwrap();
    let mut counts = vec![0.0; 300];
    for at in due {
        if let Some(count) = counts.get_mut(at.as_secs() as usize) {
            *count += 1.0;
        }
    }
    let (mean, cv) = mean_and_cv(&counts);
    let dispersion = cv * cv * mean;
    assert!((dispersion - 1.0).abs() < 0.3, "{dispersion}");
}

#[test]
fn the_shape_of_gamma_sets_the_burstiness() {
    for shape in [0.25, 1.0, 4.0] {
        let gaps = gaps(&Arrivals::Gamma { rate: 10.0, shape }, 40_000, 3);
        let (mean, cv) = mean_and_cv(&gaps);
        assert!((mean * 10.0 - 1.0).abs() < 0.05, "{shape}: {mean}");
        assert!((cv * shape.sqrt() - 1.0).abs() < 0.05, "{shape}: {cv}");
    }
}

#[test]
fn a_ramp_follows_its_rate() {
    let ramp = |poisson| Arrivals::Ramp {
        from: 10.0,
        to: 30.0,
        over: Duration::from_secs(10),
        poisson,
    };
    // 200 within the ramp: 75 in its first half, 125 in its second; then 30 a second.
    let due = ramp(false).due(500, 0).unwrap();
    let before = |s: u64| {
        due.iter()
            .filter(|at| **at < Duration::from_secs(s))
            .count()
    };
    assert_eq!((before(5), before(10), before(20)), (75, 200, 500));
    let due = ramp(true).due(20_000, 5).unwrap();
    let late = due[19_999].as_secs_f64();
    assert!(
        (late / (10.0 + 19_800.0 / 30.0) - 1.0).abs() < 0.05,
        "{late}"
    );
    let down = Arrivals::Ramp {
        from: 30.0,
        to: 10.0,
        over: Duration::from_secs(10),
        poisson: false,
    };
    let due = down.due(200, 0).unwrap();
    assert!(due.is_sorted() && due[199] < Duration::from_secs(10));
    let flat = Arrivals::Ramp {
        from: 5.0,
        to: 5.0,
        over: Duration::from_secs(1),
        poisson: false,
    };
    assert_eq!(flat.due(11, 0).unwrap()[10], Duration::from_secs(2));
    let from_zero = Arrivals::Ramp {
        from: 0.0,
        to: 5.0,
        over: Duration::from_secs(2),
        poisson: false,
    };
    assert_eq!(from_zero.due(6, 0).unwrap()[5], Duration::from_secs(2));
}

#[test]
fn a_seed_is_a_schedule() {
    let poisson = Arrivals::Poisson { rate: 3.0 };
    assert_eq!(poisson.due(50, 9), poisson.due(50, 9));
    assert_ne!(poisson.due(50, 9), poisson.due(50, 10));
    // a longer run begins as a shorter one does
    assert_eq!(
        poisson.due(80, 9).unwrap()[..50],
        poisson.due(50, 9).unwrap()
    );
}

#[test]
fn traces_are_read_and_repeated() {
    let trace = Arrivals::trace("time,tokens\n10.0,5\n10.5,7\n# a comment\n12,9\n").unwrap();
    let due: Vec<_> = trace
        .due(5, 0)
        .unwrap()
        .iter()
        .map(Duration::as_millis)
        .collect();
    assert_eq!(due, [0, 500, 2000, 3000, 3500]);
    let json = Arrivals::trace("{\"timestamp_ms\": 100}\n{\"timestamp_ms\": 350}\n").unwrap();
    assert_eq!(json.due(2, 0).unwrap()[1], Duration::from_millis(250));
    for (text, why) in [
        ("", "empty"),
        ("time\n", "empty"),
        ("1\n0.5\n", "line 2 of the trace goes back"),
        ("1\nx\n", "line 2 of the trace has no time"),
        ("a\nb\n1\n", "line 2"),
    ] {
        let error = Arrivals::trace(text).unwrap_err().to_string();
        assert!(error.contains(why), "{text:?}: {error}");
    }
}

#[test]
fn numbers_that_make_no_process_are_refused() {
    for arrivals in [
        Arrivals::Constant { rate: 0.0 },
        Arrivals::Poisson { rate: f64::NAN },
        Arrivals::Gamma {
            rate: 1.0,
            shape: -1.0,
        },
        Arrivals::Constant { rate: 1e-12 },
        Arrivals::Ramp {
            from: -1.0,
            to: 1.0,
            over: Duration::from_secs(1),
            poisson: false,
        },
        Arrivals::Ramp {
            from: 1.0,
            to: 1.0,
            over: Duration::ZERO,
            poisson: false,
        },
        Arrivals::Trace { at: Vec::new() },
    ] {
        assert!(arrivals.due(10, 0).is_err(), "{arrivals:?}");
    }
}
