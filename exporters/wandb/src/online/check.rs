//! What can be known without leaving anything behind.

use lem_http::Client;
use lem_record::{Check, CheckOutcome, ExportError};
use serde::Deserialize;
use serde_json::{Value, json};

use super::graphql::{self, SERVER_INFO, VIEWER};
use super::run;
use crate::config::Resume;
use crate::{WandbConfig, limits};

#[derive(Deserialize)]
struct OfViewer {
    viewer: Option<Viewer>,
}

#[derive(Deserialize)]
struct Viewer {
    #[serde(default)]
    entity: Option<String>,
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    teams: Option<Teams>,
}

#[derive(Deserialize)]
struct Teams {
    #[serde(default)]
    edges: Vec<Edge>,
}

#[derive(Deserialize)]
struct Edge {
    node: Team,
}

#[derive(Deserialize)]
struct Team {
    name: String,
}

pub(crate) async fn check(client: &Client, config: &WandbConfig) -> Check {
    let mut check = Check::default();
    let viewer: Result<OfViewer, _> = graphql::ask(client, VIEWER, json!({})).await;
    let viewer = match viewer {
        Ok(OfViewer {
            viewer: Some(viewer),
        }) => viewer,
        Ok(OfViewer { viewer: None }) => {
            let detail = client.base().to_owned();
            check.push("reachable", CheckOutcome::Ok { detail });
            let why = "the server does not know the key".to_owned();
            let remedy = "Set WANDB_API_KEY to a key of this server (https://wandb.ai/authorize shows yours)".to_owned();
            check.push("credentials", CheckOutcome::Failed { why, remedy });
            return check;
        }
        Err(error) => {
            let refused = matches!(&error, ExportError::GiveUp { remedy, .. } if remedy.contains("WANDB_API_KEY"));
            let what = if refused { "credentials" } else { "reachable" };
            check.push(what, failed(error));
            return check;
        }
    };
    let detail = client.base().to_owned();
    check.push("reachable", CheckOutcome::Ok { detail });
    let user = viewer.username.or_else(|| viewer.entity.clone());
    let detail = format!(
        "the key of {}",
        user.as_deref().unwrap_or("a service account")
    );
    check.push("credentials", CheckOutcome::Ok { detail });
    check.push("version", version(client).await);
    let teams = viewer.teams.map(|teams| teams.edges).unwrap_or_default();
    let mut own: Vec<String> = teams.into_iter().map(|edge| edge.node.name).collect();
    own.extend(user);
    own.extend(viewer.entity.clone());
    let entity = config.entity.clone().or(viewer.entity);
    let outcome = match &config.entity {
        Some(entity) if !own.contains(entity) => CheckOutcome::Unknown {
            why: format!(
                "{entity} is neither the key's user nor a team of theirs: whether it may write there is seen only by writing"
            ),
        },
        _ => CheckOutcome::Ok {
            detail: entity
                .clone()
                .unwrap_or_else(|| "the server's choice".to_owned()),
        },
    };
    check.push("entity", outcome);
    if let Some(id) = &config.run_id {
        let found = run::exists(client, entity.as_deref(), config.project(), id).await;
        check.push("run", of_run(id, found, config.resume));
    }
    let detail = format!(
        "{} MiB in a request, {} rows in a table, {} metrics",
        limits::STREAM_BYTES >> 20,
        limits::TABLE_ROWS,
        limits::METRICS
    );
    check.push("limits", CheckOutcome::Ok { detail });
    let project = config.project();
    let why =
        format!("whether this key may write to the project {project} is seen only by writing");
    check.push("write access", CheckOutcome::Unknown { why });
    check
}

async fn version(client: &Client) -> CheckOutcome {
    let info: Result<Value, _> = graphql::ask(client, SERVER_INFO, json!({})).await;
    let place = "/serverInfo/latestLocalVersionInfo/versionOnThisInstanceString";
    match info {
        Ok(info) => match info.pointer(place).and_then(Value::as_str) {
            Some(version) => CheckOutcome::Ok {
                detail: format!("W&B server {version}"),
            },
            // the service of W&B itself has none
            None => CheckOutcome::Ok {
                detail: "a server without a version of its own, as W&B's service is".to_owned(),
            },
        },
        Err(error) => CheckOutcome::Unknown {
            why: error.to_string(),
        },
    }
}

fn of_run(id: &str, found: Result<bool, ExportError>, resume: Option<Resume>) -> CheckOutcome {
    match (found, resume) {
        (Err(error), _) => failed(error),
        (Ok(true), Some(Resume::Never)) => CheckOutcome::Failed {
            why: format!("the run {id} exists, and WANDB_RESUME=never"),
            remedy: "Set WANDB_RESUME=allow to add to it, or WANDB_RUN_ID to another id".to_owned(),
        },
        (Ok(false), Some(Resume::Must)) => CheckOutcome::Failed {
            why: format!("the run {id} does not exist, and WANDB_RESUME=must"),
            remedy: "Check WANDB_RUN_ID, or set WANDB_RESUME=allow".to_owned(),
        },
        (Ok(true), _) => CheckOutcome::Ok {
            detail: format!("{id} exists and will be added to"),
        },
        (Ok(false), _) => CheckOutcome::Ok {
            detail: format!("{id} will be made"),
        },
    }
}

fn failed(error: ExportError) -> CheckOutcome {
    match error {
        ExportError::Retry { reason, .. } => CheckOutcome::Failed {
            why: reason,
            remedy: "The run will be measured all the same; deliver it later with `lem export RUN --to wandb`, or set WANDB_MODE=offline".to_owned(),
        },
        ExportError::GiveUp { reason, remedy } => CheckOutcome::Failed { why: reason, remedy },
    }
}
