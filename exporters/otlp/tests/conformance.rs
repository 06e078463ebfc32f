//! What every sink must do.
//!
//! OTLP gives a receiver no key, so what `remote` tells is the set of distinct points,
//! spans and log records (identity, time and value). That a resend is byte for byte the
//! same, which makes it one fact, is what the suite proves here; that it is counted is
//! in `resend.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod fake;

use async_trait::async_trait;
use fake::Fake;
use lem_otlp::{Compression, OtlpConfig, OtlpExporter, Temporality};
use lem_record::{Exporter, Secret};
use lem_testkit::FakeServer;
use lem_testkit::conformance::{self, Subject};

struct Receiver {
    fake: Fake,
    config: OtlpConfig,
}

#[async_trait]
impl Subject for Receiver {
    fn exporter(&self) -> Box<dyn Exporter> {
        self.at(&self.fake.server.url())
    }

    async fn remote(&self) -> Vec<String> {
        self.fake.facts()
    }

    fn server(&self) -> Option<&FakeServer> {
        Some(&self.fake.server)
    }

    fn secrets(&self) -> Vec<String> {
        ["hunter2-url", "hunter2-token"].map(str::to_owned).into()
    }
}

impl Receiver {
    fn at(&self, url: &str) -> Box<dyn Exporter> {
        let mut config = self.config.clone();
        config.transport.endpoint = Some(url.replace("://", "://ann:hunter2-url@"));
        let token = Secret::new("Bearer hunter2-token");
        config
            .transport
            .headers
            .insert("authorization".into(), token);
        Box::new(OtlpExporter::new(config).unwrap())
    }
}

#[tokio::test]
async fn a_receiver() {
    conformance::run(|| Receiver {
        fake: Fake::start(),
        config: OtlpConfig::default(),
    })
    .await;
}

/// What the encoding remembers between batches differs here.
#[tokio::test]
async fn a_receiver_of_compressed_deltas() {
    let mut config = OtlpConfig {
        temporality: Temporality::Delta,
        ..OtlpConfig::default()
    };
    config.transport.compression = Some(Compression::Gzip);
    config.limits.span_batch = 3;
    let make = || Receiver {
        fake: Fake::start(),
        config: config.clone(),
    };
    let checks = ["replay", "lost-cursor", "batch-size", "crash", "state"];
    let failures = conformance::examine_for(make, &checks).await;
    assert!(failures.is_empty(), "{failures:#?}");
}
