use super::super::show::render;
use super::{golden_data, result_of};
use crate::analysis::RunData;
use crate::analysis::testing::{MS, T0, TestLog};

fn fits(text: &str) {
    for line in text.lines() {
        assert!(
            line.chars().count() <= 100,
            "{} columns: {line}",
            line.chars().count()
        );
        assert!(!line.contains('\x1b'));
    }
}

#[test]
fn a_measured_run() {
    let text = render(&result_of(&golden_data()));
    fits(&text);
    insta::assert_snapshot!(text);
}

#[test]
fn a_modelled_run() {
    let mut log = TestLog::modelled();
    let mut t = T0;
    for cycle in 0..3 {
        t = log.cycle(cycle, t, 50.0 + f64::from(cycle)) + 200 * MS;
    }
    let text = render(&result_of(&RunData::from_log(&log.envelopes)));
    fits(&text);
    insta::assert_snapshot!(text);
}

#[test]
fn a_run_without_a_cycle() {
    let text = render(&result_of(&RunData::from_log(
        &TestLog::modelled().envelopes,
    )));
    fits(&text);
    insta::assert_snapshot!(text);
}

#[test]
fn what_the_engine_says_stands_in_the_report() {
    let mut result = result_of(&golden_data());
    let before = render(&result);
    assert!(!before.contains("What the engine says"), "it says nothing");
    let engine = &mut result.numbers.engine;
    let said = |value| lem_record::Quantity::new(value, lem_record::How::Reported);
    engine.insert("engine.acceptance".into(), said(0.625));
    engine.insert("engine.preemptions".into(), said(3.0));
    engine.insert("engine.queue".into(), said(0.0125));
    engine.insert(
        "engine.prefix_hits".into(),
        lem_record::Quantity::absent("the server does not tell it"),
    );
    let lag = crate::results::Distribution {
        mean: Some(0.25),
        count: 7,
        ..Default::default()
    };
    result
        .numbers
        .engine_latency
        .insert("client.lag".into(), lag);
    let told = render(&result);
    fits(&told);
    for line in [
        "engine.acceptance",
        "62.5 %",
        "12.50 ms",
        "3.000",
        "reported",
        "engine.prefix_hits: the server does not tell it",
        "client.lag",
        "0.2500 ms",
    ] {
        assert!(told.contains(line), "{line}: {told}");
    }
}
