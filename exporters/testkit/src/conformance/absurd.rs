//! The checks with runs that no good measurement would give.

use super::Subject;
use super::checks::{Bench, remote, same};
use super::walk::{Pace, Progress, Walk};
use crate::golden::{self, Golden};
use crate::{Fault, Response, Rule};

/// Bytes of a state that a cursor file can well carry at each acknowledgement.
const STATE: usize = 1 << 20;

/// Delivers a run twice to one other end, which then holds the same as after the first
/// time. Gives back the first walk and what is there.
async fn twice<S: Subject>(
    bench: &Bench<'_, S>,
    subject: &S,
    golden: &Golden,
    what: &str,
) -> Result<(Walk, Vec<String>), String> {
    let first = bench
        .walk_run(subject, golden, Progress::default(), Pace::default())
        .await?;
    bench.goes_on(subject)?;
    let end = remote(subject).await;
    bench
        .walk_run(subject, golden, Progress::default(), Pace::default())
        .await?;
    same(
        &end,
        &remote(subject).await,
        &format!("after {what} came twice"),
    )?;
    bench.obeys(subject, &format!("of {what}"))?;
    if first.largest_state > STATE {
        return Err(format!(
            "of {what}, the state has {} bytes",
            first.largest_state
        ));
    }
    match first
        .rejected
        .iter()
        .find(|rejected| rejected.reason.trim().is_empty())
    {
        Some(rejected) => Err(format!("no reason is given for {rejected:?}")),
        None => Ok((first, end)),
    }
}

/// Absurd records are taken or rejected, the same ones each time.
pub(super) async fn hostile<S: Subject>(bench: &Bench<'_, S>) -> Result<(), String> {
    let subject = bench.subject();
    let golden = golden::hostile(&bench.folder.path().join("hostile"));
    twice(bench, &subject, &golden, "a hostile run")
        .await
        .map(drop)
}

/// What is one short of, at, or one beyond what a service takes is cut, split or
/// rejected, and no tag vanishes without a word.
pub(super) async fn limits<S: Subject>(bench: &Bench<'_, S>) -> Result<(), String> {
    let subject = bench.subject();
    let (golden, marks) = golden::limits(&bench.folder.path().join("limits"));
    let (walk, end) = twice(bench, &subject, &golden, "a run at the limits").await?;
    // not every sink has tags
    let tagged = bench.control.iter().any(|fact| fact.contains("gr\u{fc}n"));
    for mark in marks.iter().filter(|_| tagged) {
        let told = walk
            .rejected
            .iter()
            .any(|rejected| rejected.reason.contains(mark));
        if !told && !end.iter().any(|fact| fact.contains(mark)) {
            return Err(format!("the tag {mark} vanished without a word"));
        }
    }
    Ok(())
}

/// Numbers that are none are never sent; what was to be is told, and all others arrive.
pub(super) async fn not_finite<S: Subject>(bench: &Bench<'_, S>) -> Result<(), String> {
    let subject = bench.subject();
    let golden = golden::not_finite(&bench.folder.path().join("not-finite"));
    let (walk, end) = twice(bench, &subject, &golden, "a run with NaN and infinities").await?;
    let (lost, extra) = differences(&bench.control, &end);
    let number = |fact: &&&String| {
        let mut words = fact.split(|c: char| !c.is_ascii_alphanumeric());
        words.any(|word| ["nan", "inf", "infinity"].contains(&&*word.to_ascii_lowercase()))
    };
    if let Some(fact) = extra.iter().find(number) {
        return Err(format!("a number that is none arrived: {}", short(fact)));
    }
    // records after the odd ones have other numbers and times here: these facts changed
    if lost.len() > extra.len() {
        let lost: Vec<_> = lost.iter().take(3).map(|fact| short(fact)).collect();
        return Err(format!(
            "what came with NaN and infinities is lost: {lost:?}"
        ));
    }
    if subject.server().is_some() && walk.rejected.is_empty() {
        return Err("nothing is said of the numbers that were left out".to_owned());
    }
    Ok(())
}

/// The other end refuses large bodies, and some things alone are larger: these are
/// rejected by name, and all the rest arrives.
pub(super) async fn oversized<S: Subject>(bench: &Bench<'_, S>) -> Result<(), String> {
    let golden = golden::oversized(&bench.folder.path().join("oversized"));
    let mut ends = Vec::new();
    let mut told = String::new();
    for limited in [false, true] {
        let subject = bench.subject();
        if let Some(server) = subject.server().filter(|_| limited) {
            let no = Fault::Answer(Response::text(413, "too large"));
            let too_large = |request: &crate::Request| request.body.len() > golden::ONE_BODY;
            server.script(Rule::new(no).matching(too_large));
        }
        let walk = bench
            .walk_run(&subject, &golden, Progress::default(), Pace::default())
            .await?;
        told = format!("{:?} {:?}", walk.rejected, walk.progress.receipt);
        ends.push(remote(&subject).await);
    }
    let facts_of = |end: &[String], name| end.iter().filter(|fact| fact.contains(name)).count();
    for name in golden::OVERSIZED {
        if facts_of(&ends[1], name) < facts_of(&ends[0], name) && !told.contains(name) {
            return Err(format!(
                "{name} is too large, and what is told names it not: {told}"
            ));
        }
    }
    let (lost, extra) = differences(&ends[0], &ends[1]);
    // a file, a table or a message each, and perhaps a list of them
    if lost.len() > extra.len() + 2 * golden::OVERSIZED.len() {
        let some: Vec<_> = lost.iter().take(10).map(|fact| short(fact)).collect();
        return Err(format!(
            "{} facts are lost with what is too large: {some:?}",
            lost.len()
        ));
    }
    Ok(())
}

/// What only the first has, and what only the second has.
fn differences<'a>(
    expected: &'a [String],
    found: &'a [String],
) -> (Vec<&'a String>, Vec<&'a String>) {
    let without = |all: &'a [String], these: &'a [String]| {
        let these: std::collections::BTreeSet<_> = these.iter().collect();
        all.iter().filter(|fact| !these.contains(fact)).collect()
    };
    (without(expected, found), without(found, expected))
}

fn short(fact: &str) -> String {
    fact.chars().take(200).collect()
}
