//! A disk that fills up in the middle of a commit, by a limit that the kernel enforces.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;

use lem_delivery::{Log, LogReader, RECORDS_FILE, Spool};
use lem_record::{Record, Recorder, Warning};
use rustix::process::{Resource, getrlimit, setrlimit};

const CHILD: &str = "LEM_TEST_FULL_DISK";

fn warning(text: String) -> Record {
    Record::Warning(Warning {
        code: "c".into(),
        message: text,
        remedy: String::new(),
    })
}

#[test]
fn a_commit_that_was_cut_short_is_cut_off_and_made_again() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path().join("r1");
    // ulimit counts in blocks of 512 or 1024 bytes; the signal must be ignored to get an error
    let output = Command::new("sh")
        .args([
            "-c",
            "trap '' XFSZ; ulimit -S -f 64; exec \"$0\" --exact child --nocapture",
        ])
        .arg(std::env::current_exe().unwrap())
        .env(CHILD, &folder)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && folder.exists(), "{text}");
    let log = Log::read(&folder).unwrap();
    assert!(log.facts.clean(), "{:?}", log.facts);
    assert_eq!(log.next, 402);
}

#[test]
fn child() {
    let Some(folder) = std::env::var_os(CHILD) else {
        return;
    };
    let folder = Path::new(&folder);
    let spool = Spool::create(folder, "r1", lem_testkit::golden::started()).unwrap();
    for n in 0..400 {
        spool.record(warning(format!("{n} {}", "x".repeat(1000))));
    }
    let before = std::fs::metadata(folder.join(RECORDS_FILE)).unwrap().len();
    let error = spool.commit().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::FileTooLarge, "{error}");
    // no half line stays
    assert_eq!(
        std::fs::metadata(folder.join(RECORDS_FILE)).unwrap().len(),
        before
    );

    let mut limit = getrlimit(Resource::Fsize);
    limit.current = limit.maximum;
    setrlimit(Resource::Fsize, limit).unwrap();
    spool.record(warning("the last".into()));
    spool.commit().unwrap();
    let count = LogReader::open(folder).unwrap().count();
    assert_eq!(count, 402);
}
