//! The story that events tell, and how requests end.

use lem::engine::{Cancel, Engine, Event, Phase, Sampling};
use lem_record::{FinishReason, Stamp};

use crate::support::*;

fn times(events: &[Event]) -> Vec<u64> {
    events
        .iter()
        .map(|event| match event {
            Event::Started { at_ns, .. }
            | Event::Phase { at_ns, .. }
            | Event::Tokens { at_ns, .. }
            | Event::Finished { at_ns, .. }
            | Event::Due { at_ns, .. }
            | Event::Answer { at_ns, .. }
            | Event::Failed { at_ns, .. } => *at_ns,
            // Of servers alone.
            Event::Told { .. } => 0,
        })
        .collect()
}

#[test]
fn a_batch_tells_its_story_in_order() {
    let (_folder, mut engine) = tiny("llama");
    let requests = vec![request(4, &[1, 2, 3], 3, 3), request(9, &[5; 20], 5, 5)];
    let before = Stamp::mono_ns();
    let events = run(&mut engine, &work(requests, 2, Sampling::default())).unwrap();
    let after = Stamp::mono_ns();
    let story: Vec<String> = events
        .all
        .iter()
        .map(|event| match event {
            Event::Started { request, .. } => format!("started {request}"),
            Event::Phase { phase, .. } => format!("phase {}", phase.map_or("-", Phase::as_str)),
            Event::Tokens { request, .. } => format!("token {request}"),
            Event::Finished {
                request, reason, ..
            } => format!("finished {request} {reason:?}"),
            Event::Failed { request, .. } => format!("failed {request}"),
            other => format!("{other:?}"),
        })
        .collect();
    let expected = [
        "phase prefill",
        "started 4",
        "started 9",
        "token 4",
        "token 9",
        "phase decode",
        "token 4",
        "token 9",
        "token 4",
        "finished 4 Length",
        "token 9",
        "token 9",
        "token 9",
        "finished 9 Length",
        "phase -",
    ];
    assert_eq!(story, expected);
    let times = times(&events.all);
    assert!(times.is_sorted() && times[0] >= before && *times.last().unwrap() <= after);
}

#[test]
fn each_batch_has_its_own_phases() {
    let (_folder, mut engine) = tiny("llama");
    let requests = (0..5).map(|id| request(id, &[1, 2], 2, 2)).collect();
    let events = run(&mut engine, &work(requests, 2, Sampling::default())).unwrap();
    let prefills = events.all.iter().filter(|e| {
        matches!(
            e,
            Event::Phase {
                phase: Some(Phase::Prefill),
                ..
            }
        )
    });
    assert_eq!(prefills.count(), 3);
}

#[test]
fn one_token_of_output_is_no_decode() {
    let (_folder, mut engine) = tiny("llama");
    let events = run(
        &mut engine,
        &work(vec![request(0, &[1], 1, 1)], 1, Sampling::default()),
    )
    .unwrap();
    let decodes = |e: &Event| {
        matches!(
            e,
            Event::Phase {
                phase: Some(Phase::Decode),
                ..
            }
        )
    };
    assert!(!events.all.iter().any(decodes));
    assert_eq!(events.reason(0), Some(FinishReason::Length));
}

#[test]
fn the_end_of_text_ends_an_answer_unless_it_is_too_soon() {
    let (_folder, mut engine) = tiny("llama");
    // Hot enough that every token comes up, the end of text among them.
    let sampling = Sampling {
        temperature: 50.0,
        ..Sampling::default()
    };
    let free: Vec<_> = (0..20).map(|id| request(id, &[1, 2, 3], 0, 400)).collect();
    let events = run(&mut engine, &work(free, 20, sampling.clone())).unwrap();
    let mut stopped = 0;
    for id in 0..20 {
        let tokens = events.tokens(id);
        let ends = tokens.iter().filter(|&&t| t == END).count();
        match events.reason(id) {
            Some(FinishReason::Stop) => {
                stopped += 1;
                assert!(ends == 1 && tokens.last() == Some(&END));
            }
            Some(FinishReason::Length) => assert!(ends == 0 && tokens.len() == 400),
            other => panic!("request {id} ended with {other:?}"),
        }
    }
    assert!(stopped > 5, "only {stopped} of 20 stopped");

    let exact = (0..20)
        .map(|id| request(id, &[1, 2, 3], 400, 400))
        .collect();
    let events = run(&mut engine, &work(exact, 20, sampling)).unwrap();
    for id in 0..20 {
        assert_eq!(events.tokens(id).len(), 400);
        assert!(!events.tokens(id).contains(&END));
    }
}

#[test]
fn what_cannot_be_answered_fails_alone() {
    let (_folder, mut engine) = tiny("llama");
    let requests = vec![
        request(0, &[1; 500], 0, 100),
        request(1, &[], 0, 10),
        request(2, &[1, 300], 0, 10),
        request(3, &[1], 0, 0),
        request(4, &[1; 500], 12, 12),
    ];
    let events = run(&mut engine, &work(requests, 5, Sampling::default())).unwrap();
    for (id, part) in [
        (0, "512"),
        (1, "no tokens"),
        (2, "300"),
        (3, "max_output_tokens"),
    ] {
        let failure = events.failure(id).unwrap();
        assert!(failure.contains(part), "{failure}");
        assert!(events.tokens(id).is_empty() && events.reason(id).is_none());
    }
    // Exactly as long as the context.
    assert_eq!(events.tokens(4).len(), 12);
}

#[test]
fn a_cancelled_generation_ends_at_the_next_step() {
    let (_folder, mut engine) = tiny("llama");
    let requests: Vec<_> = (0..4).map(|id| request(id, &[1, 2, 3], 400, 400)).collect();
    let work = work(requests, 2, Sampling::default());
    let cancel = Cancel::default();
    let mut events = Events {
        cancel_after: Some((10, cancel.clone())),
        ..Events::default()
    };
    engine.generate(&work, &mut events, &cancel).unwrap();
    for id in 0..4 {
        assert_eq!(events.reason(id), Some(FinishReason::Cancelled));
    }
    assert_eq!(events.tokens(0).len() + events.tokens(1).len(), 10);
    assert!(matches!(
        events
            .all
            .iter()
            .rfind(|e| matches!(e, Event::Phase { .. })),
        Some(Event::Phase { phase: None, .. })
    ));
    // The engine is none the worse.
    let again = run(
        &mut engine,
        &crate::support::work(vec![request(0, &[1], 3, 3)], 1, Sampling::default()),
    )
    .unwrap();
    assert_eq!(again.tokens(0).len(), 3);
}

#[test]
fn schedules_and_empty_batches_are_refused() {
    let (_folder, mut engine) = tiny("llama");
    let mut scheduled = work(vec![request(0, &[1], 1, 1)], 1, Sampling::default());
    scheduled.due_ns = vec![0];
    assert!(run(&mut engine, &scheduled).is_err());
    let none = work(vec![request(0, &[1], 1, 1)], 0, Sampling::default());
    assert!(run(&mut engine, &none).is_err());
}
