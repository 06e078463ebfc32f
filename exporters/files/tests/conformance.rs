//! The suite that every sink passes.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use lem_files::Files;
use lem_record::Exporter;
use lem_testkit::conformance::{self, Subject};
use tempfile::TempDir;

struct Folder(TempDir);

#[async_trait]
impl Subject for Folder {
    fn exporter(&self) -> Box<dyn Exporter> {
        Box::new(Files::new(self.0.path().join("copies")))
    }

    fn writes_files(&self) -> bool {
        true
    }

    async fn remote(&self) -> Vec<String> {
        let mut facts = Vec::new();
        walk(self.0.path(), &mut |path| {
            let bytes = fs::read(path).unwrap();
            let sum: u64 = bytes
                .iter()
                .enumerate()
                .map(|(i, b)| (i as u64 + 1) * u64::from(*b))
                .sum();
            facts.push(format!("{} {} {sum}", path.display(), bytes.len()));
            // a log that doubled a line would have other bytes, but say which
            if path.ends_with("records.jsonl") {
                facts.extend(String::from_utf8(bytes).unwrap().lines().map(str::to_owned));
            }
        });
        let root = self.0.path().display().to_string();
        facts
            .into_iter()
            .map(|fact| fact.replace(&root, ""))
            .collect()
    }
}

fn walk(folder: &Path, visit: &mut impl FnMut(&Path)) {
    let mut entries: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            walk(&path, visit)
        } else {
            visit(&path)
        }
    }
}

#[tokio::test]
async fn it_conforms() {
    conformance::run(|| Folder(tempfile::tempdir().unwrap())).await;
}
