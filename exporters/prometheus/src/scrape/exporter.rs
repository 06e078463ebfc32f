use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lem_record::{
    Check, CheckOutcome, Envelope, ExportError, Exporter, Receipt, Rejected, RunContext, RunStatus,
    Written,
};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use super::auth::Auth;
use super::linger::linger;
use super::page::Page;
use super::served::Served;
use super::server::Server;
use super::site::Site;
use super::{PrometheusConfig, tls};
use crate::{ConfigError, log};

/// The sink `prometheus`: it waits to be asked.
#[derive(Debug)]
pub struct PrometheusExporter {
    config: Arc<PrometheusConfig>,
    address: SocketAddr,
    serving: Option<Serving>,
}

struct Serving {
    server: Server,
    site: Arc<Site>,
    /// Since when `finish` waits for a scrape.
    lingers: Option<Instant>,
}

impl std::fmt::Debug for Serving {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Serving")
            .field(&self.server.address)
            .finish()
    }
}

impl PrometheusExporter {
    /// Listens nowhere yet. All that is wrong with the configuration is told at once.
    pub fn new(config: PrometheusConfig) -> Result<Self, Vec<ConfigError>> {
        let address = config.validate()?;
        Ok(Self {
            config: Arc::new(config),
            address,
            serving: None,
        })
    }

    /// Where it listens: none before `open`. It differs from the configuration where
    /// that leaves the port open.
    pub fn listens_at(&self) -> Option<SocketAddr> {
        self.serving.as_ref().map(|serving| serving.server.address)
    }

    fn url(&self, address: SocketAddr) -> String {
        let scheme = if self.config.tls.cert.is_some() {
            "https"
        } else {
            "http"
        };
        format!("{scheme}://{address}/metrics")
    }

    fn lost(&self, error: &io::Error) -> ExportError {
        let address = self.address;
        let (why, remedy) = match error.kind() {
            ErrorKind::AddrInUse => (
                "another process listens there already".to_owned(),
                format!(
                    "Stop that process (ss -ltnp shows it), or take another port: --prometheus={}",
                    SocketAddr::new(address.ip(), address.port().checked_add(1).unwrap_or(9464))
                ),
            ),
            ErrorKind::AddrNotAvailable => (
                "no interface of this machine has that address".to_owned(),
                "Set integrations.prometheus.address to one that has (ip addr shows them)"
                    .to_owned(),
            ),
            ErrorKind::PermissionDenied => (
                "this user may not listen there".to_owned(),
                "Take a port from 1024 up".to_owned(),
            ),
            _ => (
                error.to_string(),
                "Set integrations.prometheus.address to another IP:PORT".to_owned(),
            ),
        };
        ExportError::give_up(format!("{address} cannot be listened on: {why}"), remedy)
    }
}

#[async_trait]
impl Exporter for PrometheusExporter {
    fn name(&self) -> &'static str {
        "prometheus"
    }

    fn destination(&self) -> String {
        self.url(self.address)
    }

    async fn check(&self) -> Check {
        let mut check = Check::default();
        let failed = |error: ExportError| match error {
            ExportError::GiveUp { reason, remedy } => CheckOutcome::Failed {
                why: reason,
                remedy,
            },
            ExportError::Retry { reason, .. } => CheckOutcome::Unknown { why: reason },
        };
        let bound = TcpListener::bind(self.address);
        check.push(
            "address",
            match bound {
                Ok(_) => CheckOutcome::Ok {
                    detail: format!("{} is free to listen on", self.address),
                },
                Err(error) => failed(self.lost(&error)),
            },
        );
        match tls::load(&self.config.tls) {
            Ok(None) => {}
            Ok(Some(_)) => check.push(
                "certificate",
                CheckOutcome::Ok {
                    detail: "it and its key are read, and fit together".to_owned(),
                },
            ),
            Err(error) => check.push("certificate", failed(error)),
        }
        for (_, what, remedy) in self.config.cautions() {
            let detail = format!("{what}. {remedy}");
            check.push("caution", CheckOutcome::Ok { detail });
        }
        check.push(
            "scraped",
            CheckOutcome::Unknown {
                why: "whether a Prometheus scrapes it is seen when it does".to_owned(),
            },
        );
        check
    }

    async fn open(&mut self, run: &RunContext, _: &Value) -> Result<(), ExportError> {
        let same = |serving: &Serving| serving.site.page.run().run_id == run.run_id;
        if self.serving.as_ref().is_some_and(same) {
            return Ok(());
        }
        self.serving = None;
        let tls = tls::load(&self.config.tls)?;
        let page = Page::new(run);
        // What an earlier process was given stands in the log.
        let (folder, run_id) = (run.folder.clone(), run.run_id.clone());
        let read = tokio::task::spawn_blocking(move || {
            log::read(&folder, &run_id, |envelope| {
                page.take(envelope);
            })?;
            Ok(page)
        });
        let page = read
            .await
            .map_err(|_| ExportError::retry("the thread that reads the log stopped"))??;
        let site = Arc::new(Site {
            page,
            served: Arc::new(Served::new(run.live.as_ref())),
            auth: Auth::of(&self.config),
        });
        let listener = TcpListener::bind(self.address).map_err(|error| self.lost(&error))?;
        let server = Server::start(listener, tls, Arc::clone(&site)).map_err(|error| {
            ExportError::retry(format!("the scrape endpoint cannot be started: {error}"))
        })?;
        self.serving = Some(Serving {
            server,
            site,
            lingers: None,
        });
        Ok(())
    }

    async fn write(&mut self, batch: &[Arc<Envelope>]) -> Result<Written, ExportError> {
        let serving = self.serving.as_ref().ok_or_else(not_open)?;
        let mut written = Written {
            through: batch.last().map_or(0, |envelope| envelope.n),
            rejected: Vec::new(),
            accepted: 0,
        };
        for envelope in batch {
            let (shown, refused) = serving.site.page.take(envelope);
            written.accepted += shown;
            let n = envelope.n;
            let refused = refused.into_iter().map(|reason| Rejected { n, reason });
            written.rejected.extend(refused);
        }
        Ok(written)
    }

    fn waits(&self, run: &RunContext) -> Duration {
        match (self.config.linger_s, run.live.is_some()) {
            (None, true) => Duration::ZERO, // no longer than any other sink
            (asked, live) => linger(asked, live, 0, None),
        }
    }

    async fn finish(&mut self, _: RunStatus, deadline: Duration) -> Result<Receipt, ExportError> {
        let asked = self.config.linger_s;
        let url = self.url(self.listens_at().unwrap_or(self.address));
        let serving = self.serving.as_mut().ok_or_else(not_open)?;
        let site = &serving.site;
        site.page.end();
        let live = site.page.run().live.is_some();
        let longest = linger(asked, live, site.served.scrapes(), site.served.gap());
        let since = *serving.lingers.get_or_insert_with(Instant::now);
        let left = longest.saturating_sub(since.elapsed());
        // the answer has to come before the deadline
        let left = left.min(deadline.saturating_sub(Duration::from_millis(200)));
        let mut whole = site.served.whole();
        let scraped = timeout(left, whole.wait_for(|whole| *whole)).await.is_ok();
        if !scraped && asked != Some(0.0) {
            let seconds = since.elapsed().as_secs_f64();
            let scrapes = site.served.scrapes();
            return Err(ExportError::give_up(
                match scrapes {
                    0 => format!("nobody scraped {url}"),
                    _ => format!(
                        "of {scrapes} scrapes of {url} none came in the {seconds:.0} s after the summary was there"
                    ),
                },
                "Have Prometheus scrape that address, and give --linger=SECONDS, more than its scrape_interval. Later: lem export RUN_DIR --to prometheus serves the summary until it is scraped",
            ));
        }
        Ok(Receipt {
            look_at: None, // nothing listens there when this is read
            details: json!({
                "address": url,
                "scrapes": site.served.scrapes(),
                "cpu_seconds": site.served.cpu_seconds(),
                "summary_scraped": scraped,
            }),
        })
    }

    fn state(&self) -> Value {
        Value::Null // the run's log says all there is to know
    }
}

fn not_open() -> ExportError {
    ExportError::retry("the scrape endpoint is not open")
}
