//! Draws: reproducible, and with the frequencies that the scores ask for.

use lem::engine::{Engine, Sampling};

use crate::support::*;

fn draws(
    engine: &mut lem::engine::candle::CandleEngine,
    sampling: Sampling,
    ids: std::ops::Range<u64>,
) -> Vec<u32> {
    let requests = ids
        .clone()
        .map(|id| request(id, &[7, 8, 9], 1, 1))
        .collect();
    let events = run(engine, &work(requests, 64, sampling)).unwrap();
    ids.map(|id| events.tokens(id)[0]).collect()
}

#[test]
fn a_seed_gives_the_same_draws_and_another_gives_others() {
    let (_folder, mut engine) = tiny("llama");
    let sampling = |seed| Sampling {
        temperature: 1.0,
        seed,
        ..Sampling::default()
    };
    let first = draws(&mut engine, sampling(1), 0..100);
    assert_eq!(draws(&mut engine, sampling(1), 0..100), first);
    assert_ne!(draws(&mut engine, sampling(2), 0..100), first);
    // Other requests are other draws; the same request is the same in any company.
    assert_ne!(draws(&mut engine, sampling(1), 100..200), first);
    assert_eq!(draws(&mut engine, sampling(1), 40..60), first[40..60]);
}

/// Probabilities of each next token, by scoring.
fn probabilities(engine: &mut lem::engine::candle::CandleEngine) -> Vec<f64> {
    (0..300)
        .map(|t| f64::from(engine.score(&[7, 8, 9, t]).unwrap()[2]).exp())
        .collect()
}

#[test]
fn draws_come_as_often_as_they_are_likely() {
    let (_folder, mut engine) = tiny("llama");
    let p = probabilities(&mut engine);
    assert!((p.iter().sum::<f64>() - 1.0).abs() < 1e-4);
    let count = 3000;
    let sampling = Sampling {
        temperature: 1.0,
        ..Sampling::default()
    };
    let drawn = draws(&mut engine, sampling, 0..count);
    // Tokens in two halves by likelihood: each half comes as often as it should, within
    // five standard deviations.
    let mut order: Vec<usize> = (0..300).collect();
    order.sort_by(|a, b| p[*b].total_cmp(&p[*a]));
    for cut in [1, 5, 30, 100] {
        let share: f64 = order[..cut].iter().map(|&t| p[t]).sum();
        let seen = drawn
            .iter()
            .filter(|&&t| order[..cut].contains(&(t as usize)))
            .count() as f64;
        let deviation = (share * (1.0 - share) * count as f64).sqrt();
        assert!(
            (seen - share * count as f64).abs() < 5.0 * deviation + 1.0,
            "{cut}: {seen}, {share}"
        );
    }
}

#[test]
fn top_k_and_top_p_leave_only_the_likeliest() {
    let (_folder, mut engine) = tiny("llama");
    let p = probabilities(&mut engine);
    let mut order: Vec<u32> = (0..300).collect();
    order.sort_by(|a, b| p[*b as usize].total_cmp(&p[*a as usize]));
    let sampling = Sampling {
        temperature: 1.0,
        top_k: Some(4),
        ..Sampling::default()
    };
    let drawn = draws(&mut engine, sampling.clone(), 0..500);
    assert!(drawn.iter().all(|t| order[..4].contains(t)));
    assert!(order[..4].iter().all(|t| drawn.contains(t)));

    let mut sum = 0.0;
    let nucleus: Vec<u32> = order
        .iter()
        .copied()
        .take_while(|&t| {
            let before = sum;
            sum += p[t as usize];
            before < 0.3
        })
        .collect();
    assert!(nucleus.len() > 1 && nucleus.len() < 250);
    let sampling = Sampling {
        top_k: None,
        top_p: Some(0.3),
        ..sampling
    };
    let drawn = draws(&mut engine, sampling.clone(), 0..500);
    assert!(drawn.iter().all(|t| nucleus.contains(t)), "{nucleus:?}");
    // The nucleus of nothing is the likeliest alone.
    let sampling = Sampling {
        top_p: Some(0.0),
        ..sampling
    };
    assert!(
        draws(&mut engine, sampling, 0..50)
            .iter()
            .all(|t| *t == order[0])
    );
}

#[test]
fn a_repetition_penalty_makes_repetition_rarer() {
    let (_folder, mut engine) = tiny("llama");
    let repeated = |engine: &mut _, repetition_penalty| {
        let sampling = Sampling {
            repetition_penalty,
            ..Sampling::default()
        };
        let events = run(
            engine,
            &work(vec![request(0, &[1, 2], 200, 200)], 1, sampling),
        )
        .unwrap();
        let mut tokens = events.tokens(0);
        tokens.sort_unstable();
        tokens.dedup();
        200 - tokens.len()
    };
    let (without, with) = (repeated(&mut engine, 1.0), repeated(&mut engine, 3.0));
    assert!(with < without, "{with} and {without}");
}
