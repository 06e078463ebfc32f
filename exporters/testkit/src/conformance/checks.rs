//! The checks that need no fault at the other end.

use std::sync::Mutex;

use lem_record::{CheckOutcome, RunStatus};
use serde_json::Value;
use tempfile::TempDir;

use super::Subject;
use super::walk::{Pace, Progress, Walk};
use crate::golden::{self, Golden};

/// A sink under test, the run it is given, and what the other end should then hold.
pub(super) struct Bench<'a, S> {
    make: &'a dyn Fn() -> S,
    folder: TempDir,
    pub(super) golden: Golden,
    pub(super) control: Vec<String>,
    /// Requests of one good delivery, where a server counts them.
    pub(super) requests: usize,
    /// Bytes of the largest body of that delivery.
    pub(super) largest: usize,
    said: Mutex<Vec<String>>,
    secrets: Vec<String>,
}

impl<'a, S: Subject> Bench<'a, S> {
    pub(super) async fn new(make: &'a dyn Fn() -> S) -> Result<Self, String> {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let golden = golden::run(&folder.path().join("golden"));
        let subject = make();
        let mut bench = Self {
            make,
            folder,
            golden,
            control: Vec::new(),
            requests: 0,
            largest: 0,
            said: Mutex::default(),
            secrets: subject.secrets(),
        };
        let walk = bench
            .walk(&subject, Progress::default(), Pace::default())
            .await?;
        if walk.rejected > 0 {
            return Err(format!(
                "{} records of a good run were rejected",
                walk.rejected
            ));
        }
        bench.requests = subject.server().map_or(0, |server| server.request_count());
        let bodies = |server: &crate::FakeServer| {
            let requests = server.requests();
            requests.iter().map(|r| r.body.len()).max().unwrap_or(0)
        };
        bench.largest = subject.server().map_or(0, bodies);
        bench.control = remote(&subject).await;
        match bench.control.is_empty() {
            true => Err("after a whole run the other end holds nothing".to_owned()),
            false => Ok(bench),
        }
    }

    pub(super) fn subject(&self) -> S {
        (self.make)()
    }

    pub(super) fn has_server(&self) -> bool {
        self.requests > 0
    }

    /// Delivers the golden run, from where the progress stands.
    pub(super) async fn walk(
        &self,
        subject: &S,
        from: Progress,
        pace: Pace,
    ) -> Result<Walk, String> {
        self.walk_run(subject, &self.golden, from, pace).await
    }

    async fn walk_run(
        &self,
        subject: &S,
        golden: &Golden,
        from: Progress,
        pace: Pace,
    ) -> Result<Walk, String> {
        let mut walk = Walk::from(from);
        let done = walk.go(&|| subject.exporter(), golden, pace).await;
        self.heard(&walk.said);
        done.map(|()| walk)
    }

    pub(super) fn heard(&self, said: &[String]) {
        self.said.lock().expect("no panic").extend_from_slice(said);
    }

    /// The other end must hold what one good delivery leaves there.
    pub(super) async fn same(&self, subject: &S, when: &str) -> Result<(), String> {
        same(&self.control, &remote(subject).await, when)
    }

    pub(super) fn no_secrets(&self) -> Result<(), String> {
        let said = self.said.lock().expect("no panic");
        for (place, secret) in self.secrets.iter().enumerate() {
            if let Some(text) = said.iter().find(|text| text.contains(secret.as_str())) {
                let text = text.replace(secret.as_str(), "<THE SECRET>");
                return Err(format!("secret {place} is shown in: {text}"));
            }
        }
        Ok(())
    }
}

pub(super) async fn remote<S: Subject>(subject: &S) -> Vec<String> {
    let mut facts = subject.remote().await;
    facts.sort_unstable();
    facts
}

/// The first differences of two sorted lists.
pub(super) fn same(expected: &[String], found: &[String], when: &str) -> Result<(), String> {
    if expected == found {
        return Ok(());
    }
    let without = |all: &[String], these: &[String]| -> Vec<String> {
        let mut these = these.to_vec();
        let mut left = Vec::new();
        for fact in all {
            match these.iter().position(|other| other == fact) {
                Some(at) => drop(these.swap_remove(at)),
                None => left.push(fact.chars().take(200).collect()),
            }
        }
        left
    };
    let (lost, extra) = (without(expected, found), without(found, expected));
    Err(format!(
        "{when}, the other end lacks {} facts {:?} and has {} too many {:?}",
        lost.len(),
        lost.iter().take(3).collect::<Vec<_>>(),
        extra.len(),
        extra.iter().take(3).collect::<Vec<_>>(),
    ))
}

/// A delivered run delivered again, from its cursor and from the first record.
pub(super) async fn replay<S: Subject>(bench: &Bench<'_, S>) -> Result<(), String> {
    let subject = bench.subject();
    let first = bench
        .walk(&subject, Progress::default(), Pace::default())
        .await?;
    let second = bench
        .walk(&subject, first.progress, Pace::default())
        .await?;
    bench.same(&subject, "after finishing twice").await?;
    let again = Progress {
        next: 0,
        ..second.progress
    };
    bench.walk(&subject, again, Pace::default()).await?;
    bench.same(&subject, "after every record came twice").await
}

/// The cursor is lost, and with it all that the sink remembered.
pub(super) async fn lost_cursor<S: Subject>(bench: &Bench<'_, S>) -> Result<(), String> {
    let subject = bench.subject();
    for _ in 0..2 {
        bench
            .walk(&subject, Progress::default(), Pace::default())
            .await?;
    }
    bench
        .same(&subject, "after a replay without a cursor")
        .await
}

pub(super) async fn batch_sizes<S: Subject>(bench: &Bench<'_, S>) -> Result<(), String> {
    for batch in [1, usize::MAX] {
        let subject = bench.subject();
        bench
            .walk(
                &subject,
                Progress::default(),
                Pace {
                    batch,
                    ..Pace::default()
                },
            )
            .await?;
        bench
            .same(&subject, &format!("with batches of {batch}"))
            .await?;
    }
    Ok(())
}

/// The process dies after every call, before it kept the answer.
pub(super) async fn crash<S: Subject>(bench: &Bench<'_, S>) -> Result<(), String> {
    let subject = bench.subject();
    let pace = Pace {
        crashing: true,
        ..Pace::default()
    };
    bench.walk(&subject, Progress::default(), pace).await?;
    bench
        .same(
            &subject,
            "after a crash between every sending and its acknowledgement",
        )
        .await
}

/// What `state` says is what `open` takes.
pub(super) async fn state<S: Subject>(bench: &Bench<'_, S>) -> Result<(), String> {
    let subject = bench.subject();
    let walk = bench
        .walk(&subject, Progress::default(), Pace::default())
        .await?;
    let state = walk.progress.state.clone();
    let mut second = Walk::from(walk.progress);
    let exporter = second
        .open(&|| subject.exporter(), &bench.golden, Pace::default())
        .await?;
    if exporter.state() != state {
        return Err(format!(
            "{state} became {} by opening with it",
            exporter.state()
        ));
    }
    drop(exporter);
    // a cursor of another version, or one that somebody edited
    for garbage in [
        serde_json::json!([1]),
        serde_json::json!({"x": {"y": null}}),
        Value::from("x"),
    ] {
        let from = Progress {
            state: garbage.clone(),
            ..Progress::default()
        };
        bench
            .walk(&subject, from, Pace::default())
            .await
            .map_err(|why| {
                format!("a state that is not its own ({garbage}) should be as none: {why}")
            })?;
    }
    bench
        .same(&subject, "after opening with states that were not its own")
        .await
}

/// `check` finds nothing wrong, and leaves nothing behind.
pub(super) async fn check<S: Subject>(bench: &Bench<'_, S>) -> Result<(), String> {
    let subject = bench.subject();
    let before = remote(&subject).await;
    let check = subject.exporter().check().await;
    bench.heard(&[format!("{check:?}")]);
    if check.items.is_empty() {
        return Err("it says nothing of a healthy other end".to_owned());
    }
    if check.failed() {
        return Err(format!("it finds a healthy other end wanting: {check:?}"));
    }
    same(&before, &remote(&subject).await, "after a check")?;
    if let Some(server) = subject.server() {
        server.go_down();
        let check = subject.exporter().check().await;
        bench.heard(&[format!("{check:?}")]);
        let remedied = check.items.iter().any(|item| {
            matches!(&item.outcome, CheckOutcome::Failed { remedy, .. } if !remedy.is_empty())
        });
        if !remedied {
            return Err(format!(
                "of a closed port it should fail with a remedy: {check:?}"
            ));
        }
    }
    Ok(())
}

/// A run without an end arrives, and its end later.
pub(super) async fn killed<S: Subject>(bench: &Bench<'_, S>) -> Result<(), String> {
    let subject = bench.subject();
    let golden = golden::killed(&bench.folder.path().join("killed"));
    let walk = bench
        .walk_run(&subject, &golden, Progress::default(), Pace::default())
        .await?;
    let mut last = Walk::from(walk.progress);
    let mut ends = Vec::new();
    for _ in 0..2 {
        let mut exporter = last
            .open(&|| subject.exporter(), &golden, Pace::default())
            .await?;
        last.finish(&mut *exporter, RunStatus::Killed, Pace::default())
            .await?;
        ends.push(remote(&subject).await);
    }
    bench.heard(&last.said);
    same(&ends[0], &ends[1], "after finishing a killed run twice")
}

/// The wall clock was stepped while the run was measured, forth and far back: every
/// record is taken, and again without a double.
pub(super) async fn clock<S: Subject>(bench: &Bench<'_, S>) -> Result<(), String> {
    let subject = bench.subject();
    let golden = golden::stepped(&bench.folder.path().join("stepped"));
    let mut ends = Vec::new();
    for _ in 0..2 {
        let walk = bench
            .walk_run(&subject, &golden, Progress::default(), Pace::default())
            .await?;
        if walk.rejected > 0 {
            return Err(format!("{} records were rejected", walk.rejected));
        }
        ends.push(remote(&subject).await);
    }
    if ends[0].len() != bench.control.len() {
        return Err(format!(
            "the other end holds {} facts, and without the steps {}",
            ends[0].len(),
            bench.control.len()
        ));
    }
    same(
        &ends[0],
        &ends[1],
        "after a run with clock steps came twice",
    )
}

/// Absurd records are taken or rejected, the same ones each time.
pub(super) async fn hostile<S: Subject>(bench: &Bench<'_, S>) -> Result<(), String> {
    let subject = bench.subject();
    let golden = golden::hostile(&bench.folder.path().join("hostile"));
    let mut ends = Vec::new();
    for _ in 0..2 {
        bench
            .walk_run(&subject, &golden, Progress::default(), Pace::default())
            .await?;
        ends.push(remote(&subject).await);
    }
    same(&ends[0], &ends[1], "after a hostile run came twice")
}
