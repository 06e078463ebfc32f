//! A disk that fills up while a sink writes, by a limit on the size of files that the
//! kernel enforces for a process: hence in one of its own.

use std::process::Command;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::Subject;
use super::checks::Bench;
use super::walk::{Pace, Progress, Walk};

const CHILD: &str = "LEM_TEST_CONFORMANCE_FULL_DISK";

/// Smaller than the golden run's largest file.
const LIMIT_BYTES: u64 = 4 << 10;

pub(super) fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

/// Runs this test again, as the child.
pub(super) fn parent() -> Result<(), String> {
    let test = std::thread::current();
    let Some(test) = test.name().filter(|name| *name != "main") else {
        return Err("the test's thread has no name, so that it cannot be run again".to_owned());
    };
    let this = std::env::current_exe().map_err(|error| error.to_string())?;
    // the signal must be ignored to get an error instead
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; exec \"$0\" --exact \"$1\" --nocapture"])
        .arg(this)
        .arg(test)
        .env(CHILD, "1")
        .output()
        .map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    match output.status.success() && said.contains("1 passed") {
        true => Ok(()),
        false => Err(format!("{said}{errors}")),
    }
}

/// Delivers to a full disk, then to one that has room again.
pub(super) async fn child<S: Subject>(make: &impl Fn() -> S) {
    let bench = Bench::new(make).await.expect("it delivers to a good disk");
    let subject = bench.subject();
    let before = getrlimit(Resource::Fsize);
    let full = Rlimit {
        current: Some(LIMIT_BYTES),
        maximum: before.maximum,
    };
    setrlimit(Resource::Fsize, full).expect("a limit on the size of files");
    let mut walk = Walk::default();
    let done = walk
        .go(&|| subject.exporter(), &bench.golden, Pace::default())
        .await;
    setrlimit(Resource::Fsize, before).expect("the limit as it was");
    assert!(
        done.is_err() || walk.rejected > 0,
        "a full disk is not told"
    );
    let retried = matches!(
        walk.errors.last(),
        None | Some(lem_record::ExportError::Retry { .. })
    );
    assert!(
        retried,
        "a disk may have room later, so that it is to be tried again: {:?}",
        walk.errors
    );
    let progress = match walk.rejected {
        0 => walk.progress,
        _ => Progress::default(),
    };
    let mended = bench.walk(&subject, progress, Pace::default()).await;
    mended.expect("it delivers once there is room");
    let same = bench.same(&subject, "after a full disk").await;
    same.expect("nothing is lost and nothing double");
}
