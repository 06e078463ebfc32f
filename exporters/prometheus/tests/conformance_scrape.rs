//! What every sink must do. The other end holds what it scraped last: after every batch
//! and, as `--linger` has it, once more before the end.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod asking;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lem_prometheus::scrape::{PrometheusConfig, PrometheusExporter};
use lem_record::{
    Check, Envelope, ExportError, Exporter, Receipt, RunContext, RunStatus, Secret, Written,
};
use lem_testkit::conformance::{self, Subject};
use serde_json::Value;

#[derive(Clone, Default)]
struct Scraped(Arc<Mutex<Vec<String>>>);

/// The sink, with a Prometheus that scrapes it at every turn.
struct Watched {
    sink: PrometheusExporter,
    scraped: Scraped,
}

impl Watched {
    fn scrape(&self) {
        let Some(address) = self.sink.listens_at() else {
            return;
        };
        let basic = format!("Basic {}", STANDARD.encode("ann:hunter2-password"));
        let reply = asking::ask(address, "/metrics", &[("Authorization", &basic)]);
        assert_eq!(reply.status, 200);
        *self.scraped.0.lock().unwrap() = reply.text().lines().map(str::to_owned).collect();
    }
}

#[async_trait]
impl Exporter for Watched {
    fn name(&self) -> &'static str {
        self.sink.name()
    }

    fn destination(&self) -> String {
        self.sink.destination()
    }

    async fn check(&self) -> Check {
        self.sink.check().await
    }

    async fn open(&mut self, run: &RunContext, state: &Value) -> Result<(), ExportError> {
        self.sink.open(run, state).await
    }

    async fn write(&mut self, batch: &[Arc<Envelope>]) -> Result<Written, ExportError> {
        let written = self.sink.write(batch).await?;
        self.scrape();
        Ok(written)
    }

    fn waits(&self, run: &RunContext) -> Duration {
        self.sink.waits(run)
    }

    async fn finish(&mut self, status: RunStatus, by: Duration) -> Result<Receipt, ExportError> {
        // the endpoint answers from a thread of its own, also before anybody waits
        self.scrape();
        self.sink.finish(status, by).await
    }

    fn state(&self) -> Value {
        self.sink.state()
    }
}

#[async_trait]
impl Subject for Scraped {
    fn exporter(&self) -> Box<dyn Exporter> {
        let config = PrometheusConfig {
            address: "127.0.0.1:0".into(),
            username: Some("ann".into()),
            password: Some(Secret::new("hunter2-password")),
            linger_s: Some(0.0),
            ..PrometheusConfig::default()
        };
        Box::new(Watched {
            sink: PrometheusExporter::new(config).unwrap(),
            scraped: self.clone(),
        })
    }

    async fn remote(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    fn secrets(&self) -> Vec<String> {
        vec![
            "hunter2-password".into(),
            STANDARD.encode("ann:hunter2-password"),
        ]
    }
}

#[tokio::test]
async fn it_conforms() {
    conformance::run(Scraped::default).await;
}
