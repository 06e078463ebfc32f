//! Finding the run at the server, or making it; and proving that this would work.

use lem_http::Client;
use lem_record::{Check, CheckOutcome, ExportError, RunContext};
use serde_json::json;

use super::{Api, Remote, ServerInfo};
use crate::config::Experiment;
use crate::{MlflowConfig, limits};

pub(crate) async fn connect(
    client: &Client,
    config: &MlflowConfig,
) -> Result<(Api, ServerInfo), ExportError> {
    let mut api = Api {
        client: client.clone(),
        workspace: None,
    };
    let info = api.server_info().await?;
    match config.workspace.as_deref() {
        None | Some("default") if !info.workspaces_enabled => {}
        Some(workspace) if !info.workspaces_enabled => {
            return Err(ExportError::give_up(
                format!(
                    "{} has no workspaces, but {workspace} is asked for",
                    client.base()
                ),
                "Unset MLFLOW_WORKSPACE, or start the server with --enable-workspaces",
            ));
        }
        workspace => api.workspace = workspace.map(str::to_owned),
    }
    Ok((api, info))
}

/// The run that the cursor knows, that the configuration names, that carries lem's
/// id, or a new one: in this order.
pub(crate) async fn open(
    client: &Client,
    config: &MlflowConfig,
    run: &RunContext,
    known: Option<&Remote>,
) -> Result<(Api, ServerInfo, Remote), ExportError> {
    let (api, info) = connect(client, config).await?;
    let named = known
        .map(|remote| remote.run_id.as_str())
        .or(config.run_id.as_deref());
    if let Some(id) = named {
        let remote = existing(&api, id, known.is_some()).await?;
        return Ok((api, info, remote));
    }
    let experiment = experiment(&api, config).await?;
    if let Some(found) = first(&api, &experiment, &run.run_id).await? {
        return Ok((api, info, found));
    }
    let body = body_of_new(config, run, &experiment);
    let made = api.create_run(&body).await?.remote();
    // another process may have made one at the same moment: all keep the same one
    match first(&api, &experiment, &run.run_id).await? {
        Some(found) if found.run_id != made.run_id => {
            api.delete_run(&made.run_id).await?;
            Ok((api, info, found))
        }
        _ => Ok((api, info, made)),
    }
}

fn body_of_new(config: &MlflowConfig, run: &RunContext, experiment: &str) -> serde_json::Value {
    let name = config.run_name.as_ref().unwrap_or(&run.started.name);
    let name: String = name
        .chars()
        .filter(|c| !c.is_control())
        .take(limits::RUN_NAME)
        .collect();
    let user = run
        .started
        .tags
        .get("user")
        .or_else(|| run.started.tags.get("mlflow.user"));
    json!({
        "experiment_id": experiment,
        "run_name": name,
        // without it the run would start in 1970
        "start_time": run.started_at.unix_ms().max(1),
        "user_id": user.map(|user| user.chars().take(250).collect::<String>()),
        "tags": [{"key": "lem.run_id", "value": run.run_id}],
    })
}

async fn existing(api: &Api, id: &str, ours: bool) -> Result<Remote, ExportError> {
    let again = "delete delivery/mlflow.json in the run's folder and export again for a new one";
    let other = match ours {
        true => format!("or {again}"),
        false => "or unset MLFLOW_RUN_ID".to_owned(),
    };
    match api.run(id).await? {
        None => Err(ExportError::give_up(
            format!("{} has no run {id}", api.client.base()),
            format!("Check MLFLOW_TRACKING_URI, {other}"),
        )),
        Some(run) if run.info.lifecycle_stage == "deleted" => Err(ExportError::give_up(
            format!("the run {id} was deleted at {}", api.client.base()),
            format!("Restore it with `mlflow runs restore --run-id {id}`, {other}"),
        )),
        Some(run) => Ok(run.remote()),
    }
}

async fn first(api: &Api, experiment: &str, run: &str) -> Result<Option<Remote>, ExportError> {
    let found = api.runs_tagged(experiment, run).await?;
    Ok(found
        .iter()
        .min_by_key(|run| run.id())
        .map(super::types::Run::remote))
}

async fn experiment(api: &Api, config: &MlflowConfig) -> Result<String, ExportError> {
    let found = match config.experiment() {
        Experiment::Id(id) => api.experiment(id).await?.ok_or_else(|| {
            ExportError::give_up(
                format!("{} has no experiment {id}", api.client.base()),
                "Check MLFLOW_EXPERIMENT_ID, or set MLFLOW_EXPERIMENT_NAME instead, which is created where it does not exist",
            )
        })?,
        Experiment::Name(name) => match api.experiment_named(name).await? {
            Some(found) => found,
            None => match api.create_experiment(name).await? {
                Some(id) => return Ok(id),
                None => api.experiment_named(name).await?.ok_or_else(|| {
                    ExportError::retry(format!("the experiment {name} came and went"))
                })?,
            },
        },
    };
    if found.lifecycle_stage == "deleted" {
        let id = &found.experiment_id;
        return Err(ExportError::give_up(
            format!(
                "the experiment {} (id {id}) was deleted at {}",
                found.name,
                api.client.base()
            ),
            format!(
                "Restore it with `mlflow experiments restore --experiment-id {id}`, or set MLFLOW_EXPERIMENT_NAME to another name"
            ),
        ));
    }
    Ok(found.experiment_id)
}

/// Asks, and leaves nothing behind.
pub(crate) async fn check(client: &Client, config: &MlflowConfig) -> Check {
    let mut check = Check::default();
    let version = Api {
        client: client.clone(),
        workspace: None,
    }
    .version()
    .await;
    match version {
        Err(error) => {
            check.push("reachable", failed(error));
            return check;
        }
        Ok(reply) if reply.is_success() => {
            let detail = format!("MLflow {} at {}", reply.excerpt(), client.base());
            check.push("reachable", CheckOutcome::Ok { detail });
        }
        Ok(reply) if matches!(reply.status, 401 | 403) => {
            check.push("credentials", failed(client.error(&reply)));
            return check;
        }
        Ok(reply) => {
            check.push("reachable", failed(client.error(&reply)));
            return check;
        }
    }
    let api = match connect(client, config).await {
        Ok((api, info)) => {
            if let Some(workspace) = &api.workspace {
                let detail = format!("workspaces are on; {workspace} is asked for");
                check.push("workspace", CheckOutcome::Ok { detail });
            }
            let detail = info.store_type.unwrap_or_else(|| "unknown".to_owned());
            check.push("store", CheckOutcome::Ok { detail });
            api
        }
        Err(error) => {
            check.push("server", failed(error));
            return check;
        }
    };
    let found = match config.experiment() {
        Experiment::Id(_) => experiment(&api, config).await.map(Some),
        Experiment::Name(name) => match api.experiment_named(name).await {
            Ok(None) => Ok(None),
            Ok(Some(_)) => experiment(&api, config).await.map(Some),
            Err(error) => Err(error),
        },
    };
    let outcome = match found {
        Ok(Some(id)) => CheckOutcome::Ok {
            detail: format!("experiment id {id}"),
        },
        Ok(None) => CheckOutcome::Ok {
            detail: "the experiment will be created".to_owned(),
        },
        Err(error) => failed(error),
    };
    check.push("experiment", outcome);
    if let Some(id) = &config.run_id {
        let outcome = match existing(&api, id, false).await {
            Ok(_) => CheckOutcome::Ok {
                detail: format!("run {id}"),
            },
            Err(error) => failed(error),
        };
        check.push("run", outcome);
    }
    let why = "whether these credentials may write is seen only by writing".to_owned();
    check.push("write access", CheckOutcome::Unknown { why });
    check
}

fn failed(error: ExportError) -> CheckOutcome {
    match error {
        ExportError::Retry { reason, .. } => CheckOutcome::Failed {
            why: reason,
            remedy: "The run will be measured all the same; deliver it later with `lem export RUN --to mlflow`".to_owned(),
        },
        ExportError::GiveUp { reason, remedy } => CheckOutcome::Failed { why: reason, remedy },
    }
}
