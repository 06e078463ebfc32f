//! What every sink must do, whatever it speaks.
//!
//! ```no_run
//! # use lem_testkit::{FakeServer, conformance::{self, Subject}};
//! # use lem_record::Exporter;
//! # struct MySubject;
//! # #[async_trait::async_trait]
//! # impl Subject for MySubject {
//! #     fn exporter(&self) -> Box<dyn Exporter> { unimplemented!() }
//! #     async fn remote(&self) -> Vec<String> { Vec::new() }
//! # }
//! # fn my_subject() -> MySubject { MySubject }
//! # async fn test() {
//! conformance::run(my_subject).await; // my_subject makes a fresh other end each time
//! # }
//! ```

mod checks;
mod faults;
mod full_disk;
mod walk;

use std::fmt;

use async_trait::async_trait;
use lem_record::Exporter;

use crate::FakeServer;

/// A sink and its other end, both fresh.
#[async_trait]
pub trait Subject: Send + Sync {
    /// An exporter as a new process would make it: without memory.
    fn exporter(&self) -> Box<dyn Exporter>;

    /// What the other end holds, a line a fact (a point, a tag, a file with its
    /// digest, the status). What doubles at the other end must be two lines. Leave
    /// out what differs between two good deliveries, such as the time of arrival.
    async fn remote(&self) -> Vec<String>;

    /// The other end, where it is scripted: without it, no faults are tried.
    fn server(&self) -> Option<&FakeServer> {
        None
    }

    /// The same sink for the same other end under another address, where it has one:
    /// without it, no missing TLS is tried.
    fn exporter_at(&self, _url: &str) -> Option<Box<dyn Exporter>> {
        None
    }

    /// Whether it writes files on this machine, which may fill its disk. The check runs
    /// the whole test again in a process of its own, by the name of the test's thread.
    fn writes_files(&self) -> bool {
        false
    }

    /// What must appear nowhere: the password and the token that were configured.
    fn secrets(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Where a sink does not conform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Name of the check.
    pub check: &'static str,
    pub what: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.check, self.what)
    }
}

/// Puts a sink through every check.
///
/// # Panics
/// With every failure, where there is one.
pub async fn run<S: Subject>(make: impl Fn() -> S) {
    if full_disk::is_child() {
        return full_disk::child(&make).await;
    }
    let failures = examine(make).await;
    let text: Vec<String> = failures.iter().map(ToString::to_string).collect();
    assert!(
        failures.is_empty(),
        "the sink does not conform:\n  {}",
        text.join("\n  ")
    );
}

/// As [`run`], for a caller that wants to see the failures.
pub async fn examine<S: Subject>(make: impl Fn() -> S) -> Vec<Failure> {
    examine_for(make, CHECKS).await
}

/// Every check by its name, in the order in which they run. `secrets` looks at what
/// was said in those before it.
pub const CHECKS: &[&str] = &[
    "replay",
    "lost-cursor",
    "batch-size",
    "crash",
    "state",
    "check",
    "killed",
    "hostile",
    "clock",
    "full-disk",
    "transient",
    "retry-after",
    "refused",
    "permanent",
    "too-large",
    "no-tls",
    "secrets",
];

/// Some of the [`CHECKS`] only. What keeps a sink from delivering at all is told as `delivers`.
///
/// # Panics
/// Where there is no such check.
pub async fn examine_for<S: Subject>(
    make: impl Fn() -> S,
    checks: &[&'static str],
) -> Vec<Failure> {
    let bench = match checks::Bench::new(&make).await {
        Ok(bench) => bench,
        Err(what) => {
            return vec![Failure {
                check: "delivers",
                what,
            }];
        }
    };
    let mut failures = Vec::new();
    for &check in checks {
        let result = match check {
            "replay" => checks::replay(&bench).await,
            "lost-cursor" => checks::lost_cursor(&bench).await,
            "batch-size" => checks::batch_sizes(&bench).await,
            "crash" => checks::crash(&bench).await,
            "state" => checks::state(&bench).await,
            "check" => checks::check(&bench).await,
            "killed" => checks::killed(&bench).await,
            "hostile" => checks::hostile(&bench).await,
            "clock" => checks::clock(&bench).await,
            "full-disk" if bench.subject().writes_files() => full_disk::parent(),
            "full-disk" => Ok(()),
            "secrets" => bench.no_secrets(),
            // the rest needs an other end that can be told to misbehave
            _ if !bench.has_server() => Ok(()),
            "transient" => faults::transient(&bench).await,
            "retry-after" => faults::retry_after(&bench).await,
            "refused" => faults::refused(&bench).await,
            "permanent" => faults::permanent(&bench).await,
            "too-large" => faults::too_large(&bench).await,
            "no-tls" => faults::no_tls(&bench).await,
            other => panic!("there is no check {other}"),
        };
        failures.extend(result.err().map(|what| Failure { check, what }));
    }
    failures
}
