//! Finding the run, or making it.

use lem_http::Client;
use lem_record::ExportError;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Remote;
use super::graphql::{self, RUN_RESUME_STATUS, UPSERT_BUCKET};
use crate::config::Resume;
use crate::encode::{self, Base, RunSettings, Scope, State};

/// What the run held when it was opened.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Theirs {
    /// Somebody else began it.
    pub foreign: bool,
    pub config: Map<String, Value>,
    /// Where it is foreign.
    pub summary: Map<String, Value>,
}

/// Which of a run's settings are sent. A name or a tag that somebody changed at W&B is
/// not changed back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Send {
    /// All of them: the run is new.
    All,
    /// What the user chose for W&B: the run was somebody else's so far.
    Chosen,
    /// The configuration, which grows with the run.
    Config,
}

#[derive(Debug, Deserialize)]
struct ResumeStatus {
    #[serde(default)]
    model: Option<Model>,
}

#[derive(Debug, Deserialize)]
struct Model {
    #[serde(default)]
    bucket: Option<Bucket>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Bucket {
    summary_metrics: Option<String>,
    log_line_count: Option<u64>,
    history_line_count: Option<u64>,
    events_line_count: Option<u64>,
    history_tail: Option<String>,
    config: Option<String>,
}

impl Bucket {
    fn config(&self) -> Map<String, Value> {
        object(self.config.as_deref())
    }

    fn summary(&self) -> Map<String, Value> {
        object(self.summary_metrics.as_deref())
    }

    /// Where lem's lines begin, if lem wrote to it before, for this run.
    fn base_of(&self, run: &str) -> Option<Base> {
        let config = self.config();
        let base = config.get("lem")?.get("value")?.get("bases")?.get(run)?;
        serde_json::from_value(base.clone()).ok()
    }

    /// Where new lines go.
    fn end(&self) -> Base {
        let rows = self.history_line_count.unwrap_or_default();
        Base {
            rows,
            step: self.last_step().map_or(rows, |step| rows.max(step + 1)),
            events: self.events_line_count.unwrap_or_default(),
            lines: self.log_line_count.unwrap_or_default(),
        }
    }

    /// The tail is JSON text of a list of JSON texts.
    fn last_step(&self) -> Option<u64> {
        let tail: Vec<String> = serde_json::from_str(self.history_tail.as_deref()?).ok()?;
        let last: Value = serde_json::from_str(tail.last()?).ok()?;
        last.get("_step")?.as_u64()
    }
}

fn object(text: Option<&str>) -> Map<String, Value> {
    let read = text.and_then(|text| serde_json::from_str(text).ok());
    read.unwrap_or_default()
}

async fn existing(
    client: &Client,
    entity: Option<&str>,
    project: &str,
    run: &str,
) -> Result<Option<Bucket>, ExportError> {
    let variables = json!({"project": project, "entity": entity, "name": run});
    let status: ResumeStatus = graphql::ask(client, RUN_RESUME_STATUS, variables).await?;
    Ok(status.model.and_then(|model| model.bucket))
}

/// Whether the run is there.
pub(super) async fn exists(
    client: &Client,
    entity: Option<&str>,
    project: &str,
    run: &str,
) -> Result<bool, ExportError> {
    Ok(existing(client, entity, project, run).await?.is_some())
}

/// The run that the cursor knows, or else the one with the id that lem's own gives; it
/// is made where it is not there.
pub(crate) async fn open(
    client: &Client,
    scope: &Scope<'_>,
    known: Option<(&Remote, Base)>,
    state: &State,
) -> Result<(Remote, Base, Theirs), ExportError> {
    let id = encode::run_id(scope);
    let (entity, project, run) = match known {
        Some((remote, _)) => (
            Some(remote.entity.as_str()),
            remote.project.as_str(),
            remote.run.as_str(),
        ),
        None => (
            scope.config.entity.as_deref(),
            scope.config.project(),
            id.as_str(),
        ),
    };
    let found = existing(client, entity, project, run).await?;
    let ours = found.as_ref().and_then(|found| found.base_of(scope.run_id));
    let send = match (&found, known.is_some() || ours.is_some()) {
        (None, _) => Send::All,
        (Some(_), false) => Send::Chosen,
        (Some(_), true) => Send::Config,
    };
    let named = format!("the run {run} in the project {project}");
    let base = match (&found, known, ours) {
        (None, Some(_), _) => {
            return Err(ExportError::give_up(
                format!("{named} is no longer at {}", client.base()),
                "Set WANDB_RUN_ID to an id that was never used to send it again: W&B does not take the id of a deleted run twice",
            ));
        }
        (Some(_), Some((_, base)), _) => base,
        (Some(_), None, Some(base)) => base,
        (Some(_), None, None) if scope.config.resume == Some(Resume::Never) => {
            return Err(ExportError::give_up(
                format!("{named} exists already, and WANDB_RESUME=never"),
                "Set WANDB_RESUME=allow to add to it, or WANDB_RUN_ID to another id",
            ));
        }
        (Some(found), None, None) => found.end(),
        (None, None, _) if scope.config.resume == Some(Resume::Must) => {
            return Err(ExportError::give_up(
                format!("{named} does not exist, and WANDB_RESUME=must"),
                "Check WANDB_RUN_ID, WANDB_PROJECT and WANDB_ENTITY, or set WANDB_RESUME=allow",
            ));
        }
        (None, None, _) => Base::default(),
    };
    let foreign = base != Base::default();
    let theirs = Theirs {
        foreign,
        config: found.as_ref().map(Bucket::config).unwrap_or_default(),
        summary: match &found {
            Some(found) if foreign => found.summary(),
            _ => Map::new(),
        },
    };
    let settings = encode::run_settings(&Scope { base, ..*scope }, state);
    let known = known.map(|(remote, _)| remote);
    // What is left out here is left out again, and told, with the first metrics.
    let (remote, _) = upsert(client, known, &settings, send, &theirs).await?;
    Ok((remote, base, theirs))
}

/// Makes the run, or brings it up to date. Where that is too large for the other end, the
/// largest parts of the configuration are left out, one after the other: their keys.
pub(super) async fn upsert(
    client: &Client,
    known: Option<&Remote>,
    settings: &RunSettings,
    send: Send,
    theirs: &Theirs,
) -> Result<(Remote, Vec<String>), ExportError> {
    #[derive(Deserialize)]
    struct Upserted {
        #[serde(rename = "upsertBucket")]
        inner: OfBucket,
    }
    #[derive(Deserialize)]
    struct OfBucket {
        bucket: Named,
    }
    #[derive(Deserialize)]
    struct Named {
        name: String,
        project: Option<Project>,
    }
    #[derive(Deserialize)]
    struct Project {
        name: String,
        entity: Entity,
    }
    #[derive(Deserialize)]
    struct Entity {
        name: String,
    }
    let mut config = merged(&settings.config, theirs);
    let mut left_out = Vec::new();
    let upserted: Upserted = loop {
        let variables = variables(known, settings, send, &config);
        if let Some(upserted) = graphql::ask_if_it_fits(client, UPSERT_BUCKET, &variables).await? {
            break upserted;
        }
        match largest(&config) {
            Some(key) => {
                config.remove(&key);
                left_out.push(key);
            }
            None if only_bases(&mut config) => left_out.push("lem".to_owned()),
            // nothing is left to leave out: asked again for its error
            None => break graphql::ask(client, UPSERT_BUCKET, variables).await?,
        }
    };
    let bucket = upserted.inner.bucket;
    let Some(project) = bucket.project else {
        return Err(ExportError::retry("W&B did not say whose run it made"));
    };
    let remote = Remote {
        entity: project.entity.name,
        project: project.name,
        run: bucket.name,
    };
    Ok((remote, left_out))
}

/// Leaves of lem's own part what a later export needs; whether there was more.
fn only_bases(config: &mut Map<String, Value>) -> bool {
    let part = config.get_mut("lem").and_then(|lem| lem.get_mut("value"));
    let Some(Value::Object(part)) = part else {
        return false;
    };
    let before = part.len();
    part.retain(|key, _| key == "bases");
    part.len() < before
}

/// The key of the largest part; `lem` says where lem's lines begin and is never left out,
/// `_wandb` has the step metrics and goes last.
fn largest(config: &Map<String, Value>) -> Option<String> {
    let parts = config.iter().filter(|(key, _)| *key != "lem");
    parts
        .max_by_key(|(key, value)| (*key != "_wandb", value.to_string().len()))
        .map(|(key, _)| key.clone())
}

fn variables(
    known: Option<&Remote>,
    settings: &RunSettings,
    send: Send,
    config: &Map<String, Value>,
) -> Value {
    let (entity, project, name) = match known {
        Some(remote) => (
            Some(remote.entity.as_str()),
            remote.project.as_str(),
            remote.run.as_str(),
        ),
        None => (
            settings.entity.as_deref(),
            settings.project.as_str(),
            settings.id.as_str(),
        ),
    };
    let mut variables = json!({
        "entity": entity,
        "project": project,
        "name": name,
        "config": Value::Object(config.clone()).to_string(),
    });
    let new = send == Send::All;
    let chosen = [
        ("displayName", json!(settings.name), new || settings.named),
        ("notes", json!(settings.notes), true),
        ("tags", json!(settings.tags), !settings.tags.is_empty()),
        ("groupName", json!(settings.group), true),
        ("jobType", json!(settings.job_type), true),
        ("host", json!(settings.host), new),
        ("commit", json!(settings.commit), new),
        ("repo", json!(settings.repo), new),
        ("program", json!("lem"), new),
    ];
    if let (Some(fields), true) = (variables.as_object_mut(), send != Send::Config) {
        let wanted = chosen
            .into_iter()
            .filter(|(_, value, send)| *send && !value.is_null());
        fields.extend(wanted.map(|(name, value, _)| (name.to_owned(), value)));
    }
    variables
}

/// Ours over what is there. Of a run that somebody else began their `_wandb` stays, by
/// whose step metrics their charts are drawn, and where other runs of lem began in it.
fn merged(ours: &Map<String, Value>, theirs: &Theirs) -> Map<String, Value> {
    let mut all = theirs.config.clone();
    for (key, value) in ours {
        let mut value = value.clone();
        if key == "_wandb" && theirs.foreign && all.contains_key(key) {
            continue;
        }
        if key == "lem"
            && let Some(Value::Object(before)) =
                all.get(key).and_then(|v| v.pointer("/value/bases"))
            && let Some(Value::Object(bases)) = value.pointer_mut("/value/bases")
        {
            for (run, base) in before {
                bases.entry(run.clone()).or_insert_with(|| base.clone());
            }
        }
        all.insert(key.clone(), value);
    }
    all
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::{Bucket, Theirs, merged};
    use crate::encode::Base;

    #[test]
    fn where_lines_go_is_read_from_the_run() {
        let bucket: Bucket = serde_json::from_value(json!({
            "historyLineCount": 3, "eventsLineCount": 2, "logLineCount": null,
            "historyTail": "[\"{\\\"_step\\\": 8}\", \"{\\\"_step\\\": 9}\"]",
            "config": "{\"lem\": {\"value\": {\"bases\": {\"r1\": {\"rows\": 1, \"step\": 5}}}}}",
        }))
        .unwrap();
        let end = Base {
            rows: 3,
            step: 10,
            events: 2,
            lines: 0,
        };
        assert_eq!(bucket.end(), end);
        let r1 = Base {
            rows: 1,
            step: 5,
            ..Base::default()
        };
        assert_eq!(bucket.base_of("r1"), Some(r1));
        assert_eq!(bucket.base_of("r2"), None);
        for tail in ["", "[]", "[1]", "[\"x\"]", "[\"{}\"]"] {
            let history_tail = Some(tail.to_owned());
            let bucket = Bucket {
                history_tail,
                ..Bucket::default()
            };
            assert_eq!(bucket.end(), Base::default(), "{tail}");
        }
    }

    #[test]
    fn what_others_configured_stays() {
        let map = |value: Value| value.as_object().unwrap().clone();
        let config = map(json!({
            "lr": {"value": 1}, "_wandb": {"value": {"m": [1]}},
            "lem": {"value": {"run_id": "r1", "bases": {"r1": {"rows": 1}}}},
        }));
        let ours = map(json!({
            "batch": {"value": 2}, "_wandb": {"value": {"m": []}},
            "lem": {"value": {"run_id": "r2", "bases": {"r2": {"rows": 2}}}},
        }));
        let expected = json!({
            "lr": {"value": 1}, "batch": {"value": 2}, "_wandb": {"value": {"m": [1]}},
            "lem": {"value": {"run_id": "r2", "bases": {"r2": {"rows": 2}, "r1": {"rows": 1}}}},
        });
        let mut theirs = Theirs {
            foreign: true,
            config,
            summary: Default::default(),
        };
        assert_eq!(Value::Object(merged(&ours, &theirs)), expected);
        theirs.foreign = false;
        assert_eq!(merged(&ours, &theirs)["_wandb"], ours["_wandb"]);
    }
}
