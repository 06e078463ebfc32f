use std::collections::VecDeque;

use async_trait::async_trait;
use lem_http::Client;
use lem_record::{Check, CheckOutcome, Envelope, ExportError, Receipt, RunContext};
use reqwest::Method;
use serde::Deserialize;
use serde_json::json;

use super::config::{ADDRESS_REMEDY, PushgatewayConfig};
use super::group::group;
use crate::ConfigError;
use crate::at_end::{AtEnd, Ending, Told, blocking};
use crate::service::failed;
use crate::summary::{self, Summary};

/// The sink `pushgateway`.
pub type PushgatewayExporter = AtEnd<Gateway>;

/// A Pushgateway. A run is one group there; each push replaces it whole.
#[derive(Debug)]
pub struct Gateway {
    client: Client,
}

impl PushgatewayExporter {
    /// Connects to nothing. All that is wrong with the configuration is told at once.
    #[allow(clippy::needless_pass_by_value)] // as the other sinks take theirs
    pub fn pushgateway(config: PushgatewayConfig) -> Result<Self, Vec<ConfigError>> {
        Ok(Self::new(Gateway {
            client: config.client()?,
        }))
    }
}

#[async_trait]
impl Ending for Gateway {
    fn name(&self) -> &'static str {
        "pushgateway"
    }

    fn destination(&self) -> String {
        self.client.base().to_owned()
    }

    async fn check(&self) -> Check {
        let mut check = Check::default();
        let ready = match self.client.get("/-/ready").send().await {
            Ok(reply) if reply.is_success() => Ok(()),
            Ok(reply) => Err(self.client.error(&reply)),
            Err(error) => Err(error),
        };
        if let Err(error) = ready {
            failed(&mut check, "reachable", error, ADDRESS_REMEDY);
            return check;
        }
        check.push(
            "reachable",
            CheckOutcome::Ok {
                detail: format!("{} is ready", self.client.base()),
            },
        );
        match self.client.get("/api/v1/status").send().await {
            Ok(reply) if reply.is_success() => {
                let status = reply.json::<Status>().unwrap_or_default();
                let version = status.data.build_information.version;
                let outcome = match version.is_empty() {
                    false => CheckOutcome::Ok {
                        detail: format!("Pushgateway {version}"),
                    },
                    true => CheckOutcome::Unknown {
                        why: "it does not tell its version".to_owned(),
                    },
                };
                check.push("version", outcome);
            }
            Ok(reply) => {
                failed(
                    &mut check,
                    "version",
                    self.client.error(&reply),
                    ADDRESS_REMEDY,
                );
            }
            Err(error) => failed(&mut check, "version", error, ADDRESS_REMEDY),
        }
        check
    }

    fn refuses(&self, run: &RunContext, envelope: &Envelope) -> Vec<String> {
        summary::refuses(run, envelope)
    }

    async fn tell(&self, run: &RunContext) -> Result<Told, ExportError> {
        let context = run.clone();
        let (points, families) = blocking(move || {
            let summary = Summary::read(&context)?;
            Ok((summary.points(), summary.families()))
        })
        .await?;
        let path = group(crate::encode::JOB, &run.run_id);
        let left_out = self.push(&path, &families).await?;
        Ok(Told {
            points,
            receipt: Receipt {
                look_at: Some(self.client.base().to_owned()),
                details: json!({ "group": path, "points": points }),
            },
            left_out,
        })
    }
}

impl Gateway {
    /// Replaces the group. What a limit on the size of requests keeps from being pushed
    /// at once is pushed in parts; what is too large by itself is given back.
    async fn push(
        &self,
        path: &str,
        families: &[(String, String)],
    ) -> Result<Vec<String>, ExportError> {
        let mut parts = VecDeque::from([families]);
        // PUT replaces the whole group: what an earlier push left there goes. POST
        // replaces the families that it has, and leaves the others.
        let mut method = Method::PUT;
        let mut left_out = Vec::new();
        while let Some(part) = parts.pop_front() {
            let body: String = part.iter().map(|(_, text)| text.as_str()).collect();
            let request = self.client.request(method.clone(), path);
            let reply = request
                .body(body, "text/plain; version=0.0.4")
                .send()
                .await?;
            match (reply.status, part) {
                (200..=299, _) => method = Method::POST,
                (413, [(name, _)]) => left_out.push(format!(
                    "{name} is larger than the gateway takes; raise the limit on the size of requests of the proxy before it"
                )),
                (413, part) => {
                    let (first, second) = part.split_at(part.len() / 2);
                    parts.push_front(second);
                    parts.push_front(first);
                }
                _ => return Err(self.error(&reply)),
            }
        }
        Ok(left_out)
    }

    fn error(&self, reply: &lem_http::Reply) -> ExportError {
        let error = self.client.error(reply);
        match (reply.status, error) {
            (400, ExportError::GiveUp { reason, .. }) => ExportError::GiveUp {
                reason,
                remedy:
                    "If another group has a metric of this name and another type, delete that group"
                        .to_owned(),
            },
            (_, error) => error,
        }
    }
}

#[derive(Default, Deserialize)]
struct Status {
    data: StatusData,
}

#[derive(Default, Deserialize)]
struct StatusData {
    build_information: BuildInformation,
}

#[derive(Default, Deserialize)]
struct BuildInformation {
    #[serde(default)]
    version: String,
}
