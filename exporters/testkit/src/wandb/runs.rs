use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::query::Field;
use super::{ENTITY, World, upload};

/// A run, with what clients told of it.
#[derive(Clone, Debug, Default)]
pub struct Run {
    pub entity: String,
    pub project: String,
    pub name: String,
    /// `displayName`, `groupName`, `jobType`, `tags`, … as they were sent last.
    pub settings: BTreeMap<String, Value>,
    pub config: Map<String, Value>,
    /// Lines by file and place.
    pub lines: BTreeMap<String, BTreeMap<u64, String>>,
    pub files: BTreeMap<String, Vec<u8>>,
    /// Files that the client said are there.
    pub uploaded: BTreeSet<String>,
    pub exit_code: Option<i64>,
    pub heartbeats: usize,
}

impl Run {
    /// The lines of a file of the stream, as JSON where they are.
    pub fn list(&self, file: &str) -> Vec<Value> {
        let lines = self.lines.get(file).into_iter().flatten();
        lines
            .map(|(_, line)| serde_json::from_str(line).unwrap_or_else(|_| json!(line)))
            .collect()
    }

    pub fn history(&self) -> Vec<Value> {
        self.list("wandb-history.jsonl")
    }

    pub fn events(&self) -> Vec<Value> {
        self.list("wandb-events.jsonl")
    }

    /// Lines without the time before them.
    pub fn console(&self) -> Vec<String> {
        let lines = self.lines.get("output.log").into_iter().flatten();
        lines
            .map(|(_, line)| match line.split_once(' ') {
                Some((_, text)) => text.trim_end().to_owned(),
                None => line.clone(),
            })
            .collect()
    }

    pub fn summary(&self) -> Value {
        self.list("wandb-summary.json").pop().unwrap_or_default()
    }

    fn bucket(&self) -> Value {
        let lines = |file: &str| self.lines.get(file);
        let count = |file: &str| lines(file).map_or(0, BTreeMap::len);
        // the last line, as JSON text of a list of JSON texts
        let tail = |file: &str| {
            let last = lines(file).and_then(|lines| lines.values().next_back());
            json!(last.into_iter().collect::<Vec<_>>()).to_string()
        };
        let summary = match self.summary() {
            Value::Null => json!("{}"),
            summary => json!(summary.to_string()),
        };
        let of = |name: &str| self.settings.get(name).cloned().unwrap_or(Value::Null);
        json!({
            "id": self.id(),
            "name": self.name,
            "displayName": self.settings.get("displayName").unwrap_or(&json!(self.name)),
            "description": of("description"),
            "notes": of("notes"),
            "tags": self.settings.get("tags").unwrap_or(&json!([])),
            "group": of("groupName"),
            "jobType": of("jobType"),
            "sweepName": of("sweep"),
            "state": match self.exit_code {
                None => "running",
                Some(0) => "finished",
                Some(_) => "failed",
            },
            "config": Value::Object(self.config.clone()).to_string(),
            // the SDK takes a run without a telemetry entry for one that never began
            "wandbConfig": self.config.get("_wandb").map(|own| own["value"].to_string()),
            "summaryMetrics": summary,
            "historyLineCount": count("wandb-history.jsonl"),
            "eventsLineCount": count("wandb-events.jsonl"),
            "logLineCount": count("output.log"),
            "historyTail": tail("wandb-history.jsonl"),
            "eventsTail": tail("wandb-events.jsonl"),
            "project": project(&self.entity, &self.project),
        })
    }

    fn id(&self) -> String {
        format!("bucket-{}", self.name)
    }
}

fn project(entity: &str, name: &str) -> Value {
    json!({
        "id": format!("project-{name}"),
        "name": name,
        "entity": {"id": format!("entity-{entity}"), "name": entity},
    })
}

fn text<'a>(input: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    input.get(name)?.as_str().filter(|text| !text.is_empty())
}

/// Of the input of a mutation, with whose run it is where that is left out.
pub(super) fn run_key(input: &Map<String, Value>) -> Option<String> {
    let entity = text(input, "entityName").unwrap_or(ENTITY);
    let project = text(input, "projectName").or_else(|| text(input, "modelName"));
    let run = text(input, "runName").or_else(|| text(input, "name"))?;
    Some(format!(
        "{entity}/{}/{run}",
        project.unwrap_or("uncategorized")
    ))
}

impl World {
    /// A project with the run or artifact of it that is asked for; null where nothing
    /// is known of it.
    pub(super) fn project(&mut self, field: &Field, argument: &str) -> Result<Value, String> {
        let entity = field.text("entityName").filter(|name| !name.is_empty());
        let entity = entity.unwrap_or(ENTITY);
        let name = field.text(argument).unwrap_or_default();
        let known = self.runs.values();
        if !known
            .into_iter()
            .any(|run| run.entity == entity && run.project == name)
        {
            return Ok(Value::Null);
        }
        let mut whole = project(entity, name);
        let Some(fields) = whole.as_object_mut() else {
            return Ok(whole);
        };
        let run = field.child("bucket").and_then(|bucket| bucket.text("name"));
        let key = format!("{entity}/{name}/{}", run.unwrap_or_default());
        let run = self.runs.get(&key).map(Run::bucket);
        fields.insert("bucket".to_owned(), json!(run));
        let artifact = field.child("artifact").and_then(|field| field.text("name"));
        let artifact = artifact.and_then(|named| self.artifact_named(entity, name, named));
        fields.insert("artifact".to_owned(), artifact.unwrap_or(Value::Null));
        Ok(whole)
    }

    /// What is null stays as it was.
    pub(super) fn upsert_bucket(&mut self, input: &Map<String, Value>) -> Result<Value, String> {
        let key = run_key(input).ok_or("a run without a name")?;
        let inserted = !self.runs.contains_key(&key);
        let run = self.runs.entry(key.clone()).or_default();
        let parts: Vec<&str> = key.splitn(3, '/').collect();
        if let [entity, project, name] = parts.as_slice() {
            run.entity = (*entity).to_owned();
            run.project = (*project).to_owned();
            run.name = (*name).to_owned();
        }
        for (name, value) in input {
            match (name.as_str(), value) {
                (_, Value::Null) | ("entityName" | "modelName" | "name" | "id", _) => {}
                ("config", config) => {
                    let config = config.as_str().ok_or("config is no JSON text")?;
                    run.config = serde_json::from_str(config)
                        .map_err(|error| format!("config is no JSON object: {error}"))?;
                }
                ("summaryMetrics", summary) => {
                    let summary = summary.as_str().unwrap_or_default().to_owned();
                    let lines = run.lines.entry("wandb-summary.json".to_owned());
                    lines.or_default().insert(0, summary);
                }
                (name, value) => {
                    run.settings.insert(name.to_owned(), value.clone());
                }
            }
        }
        Ok(json!({"bucket": run.bucket(), "inserted": inserted}))
    }

    pub(super) fn create_run_files(
        &mut self,
        input: &Map<String, Value>,
        base: &str,
    ) -> Result<Value, String> {
        let key = run_key(input).unwrap_or_default();
        let run = self.runs.get(&key).ok_or("there is no such run")?;
        let names = input.get("files").and_then(Value::as_array);
        let names = names.into_iter().flatten().filter_map(Value::as_str);
        let files: Vec<Value> = names
            .map(|name| {
                let url = upload::address(base, &["run", &key, name]);
                json!({"name": name, "uploadUrl": url})
            })
            .collect();
        Ok(json!({"runID": run.id(), "uploadHeaders": [], "files": files}))
    }
}
