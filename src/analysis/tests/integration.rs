//! Properties of integration, phases and uncertainty.

use proptest::prelude::*;

use super::super::data::{CycleData, Window};
use super::super::integrate::EnergyCurve;
use super::super::phases::{PhaseWindows, seconds, total_ns, union, without};
use super::super::uncertainty::{Budget, counter_edges, effective_samples, gain, sampling};

/// Knots with gaps from 1 ms to 1 s, and powers.
fn knots() -> impl Strategy<Value = (Vec<u64>, Vec<f64>)> {
    proptest::collection::vec((1_000_000..1_000_000_000u64, 0.0..1000.0f64), 2..40).prop_map(
        |steps| {
            let mut t = 1_000_000_000_000;
            steps
                .into_iter()
                .map(|(gap, watts)| {
                    t += gap;
                    (t, watts)
                })
                .unzip()
        },
    )
}

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-7 * (1.0 + a.abs().max(b.abs()))
}

/// The trapezoid rule written out again: the sum over pieces between all cuts.
fn by_hand(t: &[u64], w: &[f64], window: Window) -> f64 {
    let at = |x: u64| {
        let i = t.iter().rposition(|k| *k <= x);
        match i {
            None => w[0],
            Some(i) if i + 1 == t.len() => w[i],
            Some(i) => w[i] + (w[i + 1] - w[i]) * (x - t[i]) as f64 / (t[i + 1] - t[i]) as f64,
        }
    };
    let mut cuts: Vec<u64> = t
        .iter()
        .copied()
        .filter(|k| window.start_ns < *k && *k < window.end_ns)
        .collect();
    cuts.insert(0, window.start_ns);
    cuts.push(window.end_ns);
    cuts.windows(2)
        .map(|c| 0.5 * (at(c[0]) + at(c[1])) * (c[1] - c[0]) as f64 / 1e9)
        .sum()
}

fn place(t: &[u64], share: f64) -> u64 {
    let (first, last) = (t[0] - 500_000_000, t[t.len() - 1] + 500_000_000);
    first + ((last - first) as f64 * share) as u64
}

proptest! {
    #[test]
    fn energy_is_the_trapezoid_of_the_samples((t, w) in knots(), a in 0.0..1.0f64, b in 0.0..1.0f64) {
        let curve = EnergyCurve::from_power(t.clone(), w.clone()).unwrap();
        let window = Window::new(place(&t, a.min(b)), place(&t, a.max(b)));
        prop_assert!(near(curve.between(window), by_hand(&t, &w, window)));
    }

    #[test]
    fn energy_adds_up_over_any_split((t, w) in knots(), mut cuts in proptest::collection::vec(0.0..1.0f64, 2..12)) {
        cuts.sort_by(f64::total_cmp);
        let times: Vec<u64> = cuts.iter().map(|c| place(&t, *c)).collect();
        let whole = Window::new(times[0], times[times.len() - 1]);
        // Of power, and of a counter that only rises.
        let rising: Vec<f64> = w.iter().scan(0.0, |sum, w| { *sum += w; Some(*sum) }).collect();
        let power = EnergyCurve::from_power(t.clone(), w).unwrap();
        let counter = EnergyCurve::from_counter(t, rising).unwrap();
        for curve in [power, counter] {
            let parts: f64 = times.windows(2).map(|c| curve.between(Window::new(c[0], c[1]))).sum();
            prop_assert!(near(parts, curve.between(whole)));
        }
    }

    #[test]
    fn more_samples_of_the_same_signal_change_nothing((t, w) in knots(), more in proptest::collection::vec(0.0..1.0f64, 1..20), a in 0.0..1.0f64, b in 0.0..1.0f64) {
        let curve = EnergyCurve::from_power(t.clone(), w).unwrap();
        let inner = |share: &f64| t[0] + ((t[t.len() - 1] - t[0]) as f64 * share) as u64;
        let mut finer: Vec<u64> = t.iter().copied().chain(more.iter().map(inner)).collect();
        finer.sort_unstable();
        finer.dedup();
        let watts = finer.iter().map(|t| curve.power_at(*t)).collect();
        let resampled = EnergyCurve::from_power(finer, watts).unwrap();
        let window = Window::new(place(&t, a.min(b)), place(&t, a.max(b)));
        prop_assert!(near(curve.between(window), resampled.between(window)));
    }

    #[test]
    fn phases_are_disjoint_and_sum_to_the_cycle(
        spans in proptest::collection::vec((any::<bool>(), 0..2_000u64, 0..500u64), 1..30),
    ) {
        let window = Window::new(100, 1_900);
        let phases = spans.iter().map(|(prefill, start, len)| {
            let name = if *prefill { "prefill" } else { "decode" };
            (name.to_owned(), Window::new(*start, start + len))
        });
        let cycle = CycleData {
            index: 0, window, complete: true, phases: phases.collect(), requests: Vec::new(), failed: 0, samples_missed: 0,
            command: Default::default(),
        };
        let found = PhaseWindows::of(&cycle).unwrap();
        let sum = total_ns(&found.prefill) + total_ns(&found.decode) + found.other_ns;
        prop_assert_eq!(sum, window.len_ns());
        prop_assert_eq!(total_ns(&found.rest_of(window)), found.other_ns);
        for p in &found.prefill {
            prop_assert!(found.decode.iter().all(|d| d.clip(p).is_none()));
            prop_assert!(window.contains(p));
        }
    }

    #[test]
    fn union_and_difference_agree_with_counting(
        a in proptest::collection::vec((0..200u64, 0..50u64), 0..10),
        b in proptest::collection::vec((0..200u64, 0..50u64), 0..10),
    ) {
        let windows = |of: &[(u64, u64)]| -> Vec<Window> { of.iter().map(|(s, l)| Window::new(*s, s + l)).collect() };
        let holds = |of: &[Window], x: u64| of.iter().any(|w| w.start_ns <= x && x < w.end_ns);
        let (ua, ub) = (union(windows(&a)), union(windows(&b)));
        let left = without(ua.clone(), &ub);
        for x in 0..260 {
            prop_assert_eq!(holds(&ua, x), holds(&windows(&a), x));
            prop_assert_eq!(holds(&left, x), holds(&ua, x) && !holds(&ub, x));
        }
        prop_assert!(seconds(&left) <= seconds(&ua));
    }

    #[test]
    fn an_uncertainty_is_never_below_its_parts(
        parts in proptest::collection::vec((proptest::option::of(0.0..1e3f64), 0.0..1e3f64, 0.0..1e3f64), 1..6),
    ) {
        let budgets: Vec<Budget> = parts.iter().map(|(systematic, statistical, shared)| Budget { systematic: *systematic, statistical: *statistical, shared: *shared }).collect();
        let sum = budgets.iter().copied().reduce(Budget::plus).unwrap();
        for budget in &budgets {
            prop_assert!(sum.standard() + 1e-9 >= budget.standard());
            let u = budget.expanded().unwrap();
            prop_assert!(u.expanded + 1e-9 >= 2.0 * u.systematic.unwrap_or(0.0));
            prop_assert!(u.expanded + 1e-9 >= 2.0 * u.statistical.unwrap());
        }
    }
}

#[test]
fn the_terms_of_the_budget_are_those_of_the_guide() {
    assert!(near(gain(Some(0.05), 1000.0).unwrap(), 50.0 / 3f64.sqrt()));
    assert_eq!(gain(None, 1000.0), None);
    assert!(near(counter_edges(700.0, 0.1, 0.0), 70.0 / 6f64.sqrt()));
    assert!(
        near(counter_edges(0.0, 0.1, 11.0), 11.0 / 6f64.sqrt()),
        "a coarse counter"
    );
    assert!(near(
        sampling(30.0, 0.025, 0.1, 100.0, 10.0),
        30.0 * 0.75f64.sqrt()
    ));
    assert_eq!(
        sampling(30.0, 0.1, 0.1, 100.0, 10.0),
        0.0,
        "a sensor that sees all misses nothing"
    );
    // Neighbours that are alike tell less: ρ₁ of a slow ramp is near 1.
    let ramp: Vec<f64> = (0..100).map(f64::from).collect();
    assert!(effective_samples(&ramp) < 10.0);
    let flip: Vec<f64> = (0..100).map(|i| f64::from(i % 2)).collect();
    assert_eq!(effective_samples(&flip), 100.0);
}

#[test]
fn a_window_without_samples_is_not_covered() {
    let s = 1_000_000_000;
    let curve = EnergyCurve::from_power(vec![0, s, 2 * s, 60 * s, 61 * s], vec![1.0; 5]).unwrap();
    assert!(curve.covers(Window::new(0, 2 * s)).is_ok());
    assert!(
        curve.covers(Window::new(20 * s, 40 * s)).is_err(),
        "a gap is not a measurement"
    );
    assert!(curve.covers(Window::new(0, 30 * s)).is_err());
    assert!(curve.covers(Window::new(70 * s, 80 * s)).is_err());
}

#[test]
fn a_counter_that_falls_is_refused() {
    assert!(EnergyCurve::from_counter(vec![1, 2, 3], vec![5.0, 4.0, 6.0]).is_none());
    assert!(EnergyCurve::from_power(vec![1, 1], vec![5.0, 4.0]).is_none());
    assert!(
        EnergyCurve::from_power(vec![1, 2], vec![f64::MAX, f64::MAX]).is_none(),
        "overflow"
    );
}
