//! What every sink must do, online.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use async_trait::async_trait;
use lem_record::{Exporter, Secret};
use lem_testkit::FakeServer;
use lem_testkit::conformance::{self, Subject};
use lem_testkit::wandb::FakeWandb;
use lem_wandb::{WandbConfig, WandbExporter};

const KEY: &str = "hunter2-key";

struct Online(FakeWandb);

fn at(url: &str) -> Box<dyn Exporter> {
    let config = WandbConfig {
        base_url: Some(url.to_owned()),
        api_key: Some(Secret::new(KEY)),
        ..WandbConfig::default()
    };
    Box::new(WandbExporter::new(config).unwrap())
}

#[async_trait]
impl Subject for Online {
    fn exporter(&self) -> Box<dyn Exporter> {
        at(&self.0.server.url())
    }

    async fn remote(&self) -> Vec<String> {
        self.0.facts()
    }

    fn server(&self) -> Option<&FakeServer> {
        Some(&self.0.server)
    }

    fn secrets(&self) -> Vec<String> {
        vec![KEY.to_owned()]
    }
}

#[tokio::test]
async fn online() {
    conformance::run(|| Online(FakeWandb::start(KEY))).await;
}
