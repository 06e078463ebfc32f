//! What every sink must do, for those that push and those that write files.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod receiver;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use lem_prometheus::file::{
    OpenMetricsConfig, OpenMetricsExporter, TextfileConfig, TextfileExporter,
};
use lem_prometheus::push::{PushgatewayConfig, PushgatewayExporter};
use lem_prometheus::remote_write::{Protocol, RemoteWriteConfig, RemoteWriteExporter};
use lem_record::{Exporter, Secret};
use lem_testkit::conformance::{self, Subject};
use lem_testkit::{FakeServer, Response};
use receiver::{Habits, Receiver};
use tempfile::TempDir;

struct RemoteWrite {
    receiver: Receiver,
    protocol: Protocol,
}

impl RemoteWrite {
    fn with(habits: Habits, protocol: Protocol) -> Self {
        Self {
            receiver: Receiver::start(habits),
            protocol,
        }
    }
}

#[async_trait]
impl Subject for RemoteWrite {
    fn exporter(&self) -> Box<dyn Exporter> {
        let config = RemoteWriteConfig {
            url: Some(self.receiver.url().replace("://", "://ann:hunter2-url@")),
            protocol: self.protocol,
            username: Some("ann".into()),
            password: Some(Secret::new("hunter2-password")),
            headers: BTreeMap::from([("x-scope".into(), Secret::new("hunter2-header"))]),
            ..RemoteWriteConfig::default()
        };
        Box::new(RemoteWriteExporter::new(config).unwrap())
    }

    async fn remote(&self) -> Vec<String> {
        self.receiver.facts()
    }

    fn server(&self) -> Option<&FakeServer> {
        Some(&self.receiver.server)
    }

    fn secrets(&self) -> Vec<String> {
        ["hunter2-url", "hunter2-password", "hunter2-header"]
            .map(str::to_owned)
            .into()
    }
}

#[tokio::test]
async fn remote_write_without_a_window() {
    conformance::run(|| RemoteWrite::with(Habits::default(), Protocol::V1)).await;
}

#[tokio::test]
async fn remote_write_with_a_window() {
    let habits = Habits {
        window: Some(86_400_000),
        ..Habits::default()
    };
    conformance::run(|| RemoteWrite::with(habits, Protocol::V1)).await;
}

#[tokio::test]
async fn remote_write_by_version_2() {
    let habits = Habits {
        two: true,
        ..Habits::default()
    };
    conformance::run(|| RemoteWrite::with(habits, Protocol::Auto)).await;
}

#[tokio::test]
async fn remote_write_by_version_2_to_one_that_only_seems_to_take_it() {
    let quick = [
        "replay",
        "lost-cursor",
        "batch-size",
        "crash",
        "check",
        "secrets",
    ];
    let failures = conformance::examine_for(
        || RemoteWrite::with(Habits::default(), Protocol::Auto),
        &quick,
    )
    .await;
    assert_eq!(failures, []);
}

/// A Pushgateway: groups by their path, each replaced whole.
struct Pushgateway {
    server: FakeServer,
    groups: Arc<Mutex<BTreeMap<String, Group>>>,
}

/// The lines of each family.
type Group = BTreeMap<String, String>;

fn families(text: &str) -> Group {
    let mut group = Group::new();
    let mut name = String::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            name = rest.split(' ').next().unwrap().to_owned();
        }
        let lines = group.entry(name.clone()).or_default();
        lines.push_str(line);
        lines.push('\n');
    }
    group
}

impl Pushgateway {
    fn start() -> Self {
        let groups: Arc<Mutex<BTreeMap<String, Group>>> = Arc::default();
        let server = FakeServer::start({
            let groups = Arc::clone(&groups);
            move |request| match (request.method.as_str(), request.path.as_str()) {
                ("GET", "/-/ready") => Response::text(200, "OK"),
                ("GET", "/api/v1/status") => Response::json(
                    200,
                    &serde_json::json!({"status": "success", "data": {"build_information": {"version": "1.5.1"}}}),
                ),
                (method @ ("PUT" | "POST"), path)
                    if path.starts_with("/metrics/job/lem/instance") =>
                {
                    let text = request.text();
                    assert!(text.ends_with('\n') && !text.contains("# EOF"), "{text}");
                    let mut groups = groups.lock().unwrap();
                    let group: &mut Group = groups.entry(path.to_owned()).or_default();
                    if method == "PUT" {
                        group.clear();
                    }
                    group.extend(families(&text));
                    Response::new(200)
                }
                _ => Response::text(404, "not found"),
            }
        });
        Self { server, groups }
    }
}

#[async_trait]
impl Subject for Pushgateway {
    fn exporter(&self) -> Box<dyn Exporter> {
        let config = PushgatewayConfig {
            url: Some(self.server.url().replace("://", "://ann:hunter2-url@")),
            token: Some(Secret::new("hunter2-token")),
            ..PushgatewayConfig::default()
        };
        Box::new(PushgatewayExporter::pushgateway(config).unwrap())
    }

    async fn remote(&self) -> Vec<String> {
        let groups = self.groups.lock().unwrap();
        let texts = groups
            .iter()
            .flat_map(|(path, group)| group.values().map(move |text| (path, text)));
        let lines =
            texts.flat_map(|(path, text)| text.lines().map(move |line| format!("{path} {line}")));
        lines.collect()
    }

    fn server(&self) -> Option<&FakeServer> {
        Some(&self.server)
    }

    fn secrets(&self) -> Vec<String> {
        ["hunter2-url", "hunter2-token"].map(str::to_owned).into()
    }
}

#[tokio::test]
async fn pushgateway() {
    conformance::run(Pushgateway::start).await;
}

struct Folder {
    folder: TempDir,
    make: fn(&Path) -> Box<dyn Exporter>,
}

impl Folder {
    fn new(make: fn(&Path) -> Box<dyn Exporter>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { folder, make }
    }
}

#[async_trait]
impl Subject for Folder {
    fn exporter(&self) -> Box<dyn Exporter> {
        (self.make)(self.folder.path())
    }

    async fn remote(&self) -> Vec<String> {
        let mut facts = Vec::new();
        for entry in std::fs::read_dir(self.folder.path()).unwrap().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let text = std::fs::read_to_string(entry.path()).unwrap();
            facts.extend(text.lines().map(|line| format!("{name}: {line}")));
        }
        facts
    }

    fn writes_files(&self) -> bool {
        true
    }
}

#[tokio::test]
async fn textfile() {
    conformance::run(|| {
        Folder::new(|folder| {
            let config = TextfileConfig {
                path: Some(folder.to_owned()),
                ..TextfileConfig::default()
            };
            Box::new(TextfileExporter::textfile(config).unwrap())
        })
    })
    .await;
}

#[tokio::test]
async fn openmetrics() {
    conformance::run(|| {
        Folder::new(|folder| {
            let config = OpenMetricsConfig {
                path: Some(folder.to_owned()),
                ..OpenMetricsConfig::default()
            };
            Box::new(OpenMetricsExporter::openmetrics(config).unwrap())
        })
    })
    .await;
}
