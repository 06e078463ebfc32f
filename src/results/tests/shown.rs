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
