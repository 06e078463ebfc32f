//! What every sink must do, offline; and what a folder may hold that lem did not put there.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use lem_record::{CheckOutcome, ExportError, Exporter, RunStatus};
use lem_testkit::conformance::{self, Subject};
use lem_testkit::golden::{self, Golden};
use lem_wandb::{Mode, WandbConfig, WandbExporter};
use md5::{Digest as _, Md5};
use serde_json::Value;
use tempfile::TempDir;

struct Offline(TempDir);

fn exporter(folder: &Path) -> WandbExporter {
    let config = WandbConfig {
        mode: Some(Mode::Offline),
        dir: Some(folder.to_owned()),
        ..WandbConfig::default()
    };
    WandbExporter::new(config).unwrap()
}

#[async_trait]
impl Subject for Offline {
    fn exporter(&self) -> Box<dyn Exporter> {
        Box::new(exporter(self.0.path()))
    }

    async fn remote(&self) -> Vec<String> {
        let root = self.0.path();
        let mut facts = Vec::new();
        for path in files(root) {
            let bytes = fs::read(&path).unwrap();
            let name = path.strip_prefix(root).unwrap().display().to_string();
            if !name.ends_with(".wandb") {
                facts.push(format!("{name} {}", hex::encode(Md5::digest(&bytes))));
                continue;
            }
            // a scratch folder's name has always the same length
            let root = root.display().to_string();
            let told = contents(&bytes).into_iter();
            facts.extend(told.map(|fact| format!("{name} {}", fact.replace(&root, "ROOT"))));
        }
        facts
    }

    fn writes_files(&self) -> bool {
        true
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(folder) else {
        return found;
    };
    for entry in entries {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push(path),
        }
    }
    found.sort();
    found
}

/// Of the chunks in a `.wandb` file. Their sums are looked at by the crate's own tests,
/// and by `wandb sync`.
fn payloads(file: &[u8]) -> Vec<Vec<u8>> {
    let (mut at, mut all, mut part) = (7, Vec::new(), Vec::new());
    while at < file.len() {
        let left = 32768 - at % 32768;
        if left < 7 {
            at += left;
            continue;
        }
        let length = usize::from(u16::from_le_bytes([file[at + 4], file[at + 5]]));
        part.extend_from_slice(&file[at + 7..at + 7 + length]);
        if matches!(file[at + 6], 1 | 4) {
            all.push(std::mem::take(&mut part));
        }
        at += 7 + length;
    }
    all
}

/// What the records of a `.wandb` file come to: the summary and the configuration are
/// written bit by bit, a bit for each batch, and count as they stand at the end.
fn contents(file: &[u8]) -> Vec<String> {
    const SUMMARY: u64 = 3;
    const CONFIG: u64 = 5;
    let mut facts = Vec::new();
    let mut merged = BTreeMap::new();
    for payload in payloads(file) {
        for (kind, record) in fields(&payload) {
            if !matches!(kind, SUMMARY | CONFIG) {
                let text = String::from_utf8_lossy(record);
                facts.push(format!("{kind} {}", text.escape_debug()));
                continue;
            }
            for (_, item) in fields(record) {
                let item = fields(item);
                let text = |at: usize| String::from_utf8_lossy(item[at].1).into_owned();
                merged.insert((kind, text(0)), text(1));
            }
        }
    }
    facts.extend(merged.iter().map(|entry| format!("{entry:?}")));
    facts
}

/// The fields of a protobuf message that have a length; the numbers are left out.
fn fields(mut message: &[u8]) -> Vec<(u64, &[u8])> {
    let mut found = Vec::new();
    let varint = |message: &mut &[u8]| {
        let (mut value, mut shift) = (0, 0);
        loop {
            let byte = message[0];
            *message = &message[1..];
            value |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                return value;
            }
        }
    };
    while !message.is_empty() {
        let tag = varint(&mut message);
        let value = varint(&mut message);
        match tag & 7 {
            0 => {}
            2 => {
                let (field, rest) = message.split_at(value as usize);
                found.push((tag >> 3, field));
                message = rest;
            }
            other => panic!("wire type {other}"),
        }
    }
    found
}

#[tokio::test]
async fn offline() {
    conformance::run(|| Offline(tempfile::tempdir().unwrap())).await;
}

async fn deliver(folder: &Path, golden: &Golden) -> (Value, PathBuf) {
    let mut exporter = exporter(folder);
    exporter
        .open(&golden.context(), &Value::Null)
        .await
        .unwrap();
    exporter.write(&golden.envelopes).await.unwrap();
    let receipt = exporter
        .finish(RunStatus::Finished, Duration::from_secs(9))
        .await
        .unwrap();
    (exporter.state(), receipt.look_at.unwrap().into())
}

fn given_up<T: std::fmt::Debug>(result: Result<T, ExportError>) -> String {
    match result {
        Err(ExportError::GiveUp { reason, remedy }) => format!("{reason}. {remedy}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_folder_is_named_as_wandb_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let golden = golden::run(&folder.path().join("run"));
    let (_, path) = deliver(folder.path(), &golden).await;
    let expected = "wandb/offline-run-20250615_150640-golden-0001";
    assert_eq!(path, folder.path().join(expected));
    assert!(path.join("run-golden-0001.wandb").is_file());
    assert!(path.join("files/wandb-metadata.json").is_file());
    let data = fs::read(path.join("run-golden-0001.wandb")).unwrap();
    assert!(data.len() > 32768, "more than a block");
}

#[tokio::test]
async fn a_folder_that_was_removed_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let golden = golden::run(&folder.path().join("run"));
    let (state, path) = deliver(folder.path(), &golden).await;
    fs::remove_dir_all(&path).unwrap();
    let error = given_up(
        exporter(folder.path())
            .open(&golden.context(), &state)
            .await,
    );
    assert!(
        error.contains("it has 0 of the") && error.contains("delivery/wandb.json"),
        "{error}"
    );
    // without the cursor it is written again
    deliver(folder.path(), &golden).await;
    assert!(path.join("run-golden-0001.wandb").is_file());
}

#[tokio::test]
async fn a_folder_of_another_run_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let golden = golden::run(&folder.path().join("run"));
    let path = folder
        .path()
        .join("wandb/offline-run-20250615_150640-golden-0001");
    fs::create_dir_all(&path).unwrap();
    let data = path.join("run-golden-0001.wandb");
    fs::write(&data, "the SDK's").unwrap();
    let error = given_up(
        exporter(folder.path())
            .open(&golden.context(), &Value::Null)
            .await,
    );
    assert!(error.contains("holds another run"), "{error}");
    assert_eq!(fs::read(&data).unwrap(), b"the SDK's");
}

#[tokio::test]
async fn nothing_is_added_after_an_upload() {
    let folder = tempfile::tempdir().unwrap();
    let golden = golden::run(&folder.path().join("run"));
    let (state, path) = deliver(folder.path(), &golden).await;
    fs::write(path.join("run-golden-0001.wandb.synced"), "").unwrap();
    let before = fs::read(path.join("run-golden-0001.wandb")).unwrap();
    // the same again is no addition
    deliver(folder.path(), &golden).await;
    assert_eq!(
        fs::read(path.join("run-golden-0001.wandb")).unwrap(),
        before
    );
    let mut later = (**golden.envelopes.last().unwrap()).clone();
    later.n += 1;
    let mut exporter = exporter(folder.path());
    exporter.open(&golden.context(), &state).await.unwrap();
    let error = given_up(exporter.write(&[later.into()]).await);
    assert!(error.contains("WANDB_MODE=online"), "{error}");
    assert_eq!(
        fs::read(path.join("run-golden-0001.wandb")).unwrap(),
        before
    );
}

#[tokio::test]
async fn an_artifact_is_kept_with_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let golden = golden::run(&folder.path().join("run"));
    let (_, path) = deliver(folder.path(), &golden).await;
    fs::remove_dir_all(&golden.folder).unwrap();
    let mut kept = files(&path.join("artifacts"));
    assert_eq!(kept.len(), 6);
    kept.retain(|path| {
        let name = path.file_name().unwrap().to_str().unwrap();
        let bytes = fs::read(path).unwrap();
        hex::encode(sha2::Sha256::digest(bytes)) != name
    });
    assert_eq!(kept, [] as [PathBuf; 0]);
}

#[tokio::test]
async fn a_check_makes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let check = exporter(folder.path()).check().await;
    assert!(!check.failed(), "{check:?}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let check = exporter(&file).check().await;
    let CheckOutcome::Failed { why, remedy } = &check.items[0].outcome else {
        panic!("{check:?}");
    };
    assert!(
        why.contains("is no folder") && remedy.contains("WANDB_DIR"),
        "{why}. {remedy}"
    );
}
