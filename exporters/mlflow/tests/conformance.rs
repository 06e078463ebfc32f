//! What every sink must do, for the server and for the file store.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod fake;

use async_trait::async_trait;
use fake::Fake;
use lem_mlflow::{MlflowConfig, MlflowExporter};
use lem_record::{Exporter, Secret};
use lem_testkit::FakeServer;
use lem_testkit::conformance::{self, Subject};
use tempfile::TempDir;

struct Server(Fake);

#[async_trait]
impl Subject for Server {
    fn exporter(&self) -> Box<dyn Exporter> {
        self.exporter_at(&self.0.server.url()).unwrap()
    }

    fn exporter_at(&self, url: &str) -> Option<Box<dyn Exporter>> {
        let config = MlflowConfig {
            tracking_uri: Some(url.replace("://", "://ann:hunter2-url@")),
            username: Some("ann".into()),
            password: Some(Secret::new("hunter2-password")),
            token: Some(Secret::new("hunter2-token")),
            ..MlflowConfig::default()
        };
        Some(Box::new(MlflowExporter::new(config).unwrap()))
    }

    async fn remote(&self) -> Vec<String> {
        self.0.facts()
    }

    fn server(&self) -> Option<&FakeServer> {
        Some(&self.0.server)
    }

    fn secrets(&self) -> Vec<String> {
        ["hunter2-url", "hunter2-password", "hunter2-token"]
            .map(str::to_owned)
            .into()
    }
}

#[tokio::test]
async fn a_server() {
    conformance::run(|| Server(Fake::start())).await;
}

struct Files(TempDir);

#[async_trait]
impl Subject for Files {
    fn exporter(&self) -> Box<dyn Exporter> {
        let config = MlflowConfig {
            tracking_uri: Some(self.0.path().join("mlruns").display().to_string()),
            ..MlflowConfig::default()
        };
        Box::new(MlflowExporter::new(config).unwrap())
    }

    fn writes_files(&self) -> bool {
        true
    }

    async fn remote(&self) -> Vec<String> {
        let mut facts = Vec::new();
        walk(self.0.path(), &mut |path| {
            let text = String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned();
            let name = path
                .strip_prefix(self.0.path())
                .unwrap()
                .display()
                .to_string();
            for line in text.lines() {
                // where it lies, and when it was made, differ between two good deliveries
                if !["creation_time", "last_update", "artifact_"]
                    .iter()
                    .any(|k| line.starts_with(k))
                {
                    facts.push(format!("{name}: {line}"));
                }
            }
            facts.push(format!(
                "{name}: {} bytes",
                if name.ends_with("meta.yaml") {
                    0
                } else {
                    text.len()
                }
            ));
        });
        facts
    }
}

fn walk(folder: &std::path::Path, see: &mut dyn FnMut(&std::path::Path)) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            walk(&path, see)
        } else {
            see(&path)
        }
    }
}

#[tokio::test]
async fn a_file_store() {
    conformance::run(|| Files(tempfile::tempdir().unwrap())).await;
}
