//! The copy is the run, and nothing but the run.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::time::Duration;

use lem_files::Files;
use lem_record::{ExportError, Exporter, Receipt, Written};
use lem_testkit::golden::{self, Golden};
use serde_json::Value;

async fn deliver(sink: &mut Files, golden: &Golden) -> Result<(Written, Receipt), ExportError> {
    sink.open(&golden.context(), &Value::Null).await?;
    let written = sink.write(&golden.envelopes).await?;
    let status = golden.status.unwrap();
    Ok((written, sink.finish(status, Duration::from_secs(5)).await?))
}

fn same(a: &Path, b: &Path, file: &str) -> bool {
    fs::read(a.join(file)).unwrap() == fs::read(b.join(file)).unwrap()
}

#[tokio::test]
async fn the_whole_run_arrives_without_its_bookkeeping() {
    let scratch = tempfile::tempdir().unwrap();
    let golden = golden::run(&scratch.path().join("runs/r"));
    fs::write(golden.folder.join("lock"), "1").unwrap();
    fs::create_dir(golden.folder.join("delivery")).unwrap();
    fs::write(golden.folder.join("delivery/files.json"), "{}").unwrap();
    fs::write(golden.folder.join("artifacts/unannounced.txt"), "also").unwrap();
    fs::write(scratch.path().join("secret"), "outside").unwrap();
    std::os::unix::fs::symlink(scratch.path().join("secret"), golden.folder.join("link")).unwrap();

    let mut sink = Files::new(scratch.path().join("copies"));
    let (written, receipt) = deliver(&mut sink, &golden).await.unwrap();
    assert!(written.rejected.is_empty(), "{:?}", written.rejected);
    let copy = scratch.path().join("copies").join(golden::RUN_ID);
    assert_eq!(
        receipt.look_at,
        Some(fs::canonicalize(&copy).unwrap().display().to_string())
    );
    for file in [
        "records.jsonl",
        "result.json",
        "timeseries.parquet",
        "artifacts/empty.log",
        "artifacts/unannounced.txt",
    ] {
        assert!(same(&golden.folder, &copy, file), "{file}");
    }
    for file in ["lock", "delivery", "link"] {
        assert!(!copy.join(file).exists(), "{file}");
    }
}

#[tokio::test]
async fn a_changed_or_missing_artifact_is_rejected_by_name() {
    let scratch = tempfile::tempdir().unwrap();
    let golden = golden::run(&scratch.path().join("r"));
    fs::write(golden.folder.join("result.json"), "tampered").unwrap();
    fs::remove_file(golden.folder.join("artifacts/empty.log")).unwrap();
    let mut sink = Files::new(scratch.path().join("copies"));
    let (written, _) = deliver(&mut sink, &golden).await.unwrap();
    let reasons: Vec<_> = written.rejected.iter().map(|r| r.reason.as_str()).collect();
    assert_eq!(reasons.len(), 2, "{reasons:?}");
    assert!(
        reasons[0].contains("result.json") && reasons[0].contains("changed"),
        "{reasons:?}"
    );
    assert!(
        reasons[1].contains("empty.log") && reasons[1].contains("cannot be read"),
        "{reasons:?}"
    );
}

#[tokio::test]
async fn a_copy_that_was_damaged_is_mended() {
    let scratch = tempfile::tempdir().unwrap();
    let golden = golden::run(&scratch.path().join("r"));
    let mut sink = Files::new(scratch.path().join("copies"));
    deliver(&mut sink, &golden).await.unwrap();
    let copy = scratch.path().join("copies").join(golden::RUN_ID);
    for damage in [
        &b"{}"[..],
        b"",
        &[b'x'; 500_000],
        &golden.log()[..golden.log().len() / 2],
    ] {
        fs::write(copy.join("records.jsonl"), damage).unwrap();
        fs::write(copy.join("timeseries.parquet"), damage).unwrap();
        deliver(&mut sink, &golden).await.unwrap();
        assert!(same(&golden.folder, &copy, "records.jsonl"));
        assert!(same(&golden.folder, &copy, "timeseries.parquet"));
    }
}

#[tokio::test]
async fn a_torn_last_line_is_not_copied_while_the_run_goes_on() {
    let scratch = tempfile::tempdir().unwrap();
    let golden = golden::killed(&scratch.path().join("r"));
    let whole = golden.log();
    fs::write(
        golden.folder.join("records.jsonl"),
        [&whole[..], b"{\"run\":\"gol"].concat(),
    )
    .unwrap();
    let mut sink = Files::new(scratch.path().join("copies"));
    sink.open(&golden.context(), &Value::Null).await.unwrap();
    sink.write(&golden.envelopes).await.unwrap();
    let copy = scratch.path().join("copies").join(golden::RUN_ID);
    assert_eq!(fs::read(copy.join("records.jsonl")).unwrap(), whole);
}

#[tokio::test]
async fn it_never_copies_a_run_into_itself() {
    let scratch = tempfile::tempdir().unwrap();
    let golden = golden::run(&scratch.path().join(golden::RUN_ID));
    for path in [
        golden.folder.clone(),
        golden.folder.join("inner"),
        scratch.path().to_owned(),
    ] {
        let error = Files::new(path)
            .open(&golden.context(), &Value::Null)
            .await
            .unwrap_err();
        assert!(
            error.to_string().contains("integrations.files.path"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn what_is_in_the_way_is_told_with_a_remedy() {
    let scratch = tempfile::tempdir().unwrap();
    let golden = golden::run(&scratch.path().join("r"));
    let file = scratch.path().join("file");
    fs::write(&file, "").unwrap();
    let mut sink = Files::new(&file);
    assert!(sink.check().await.failed());
    let error = sink
        .open(&golden.context(), &Value::Null)
        .await
        .unwrap_err();
    assert!(matches!(error, ExportError::GiveUp { .. }), "{error:?}");
    assert!(error.to_string().contains("file"), "{error}");
}
