use lem_record::RunStatus;
use serde_json::{Map, Value, json};

use super::text::{self, clean, word};
use super::{Axis, Scope, State};
use crate::limits;

/// What a W&B run is made with.
#[derive(Clone, Debug, PartialEq)]
pub struct RunSettings {
    /// At W&B.
    pub id: String,
    pub project: String,
    pub entity: Option<String>,
    pub name: String,
    /// The name is one that the user chose for W&B.
    pub named: bool,
    pub notes: Option<String>,
    pub tags: Vec<String>,
    pub group: Option<String>,
    pub job_type: Option<String>,
    pub host: Option<String>,
    pub commit: Option<String>,
    pub repo: Option<String>,
    /// `{"batching": {"value": {…}}, …, "_wandb": {"value": {…}}}`
    pub config: Map<String, Value>,
}

/// The run's id at W&B.
pub fn run_id(scope: &Scope<'_>) -> String {
    match &scope.config.run_id {
        Some(id) => id.clone(),
        None => word(scope.run_id, 64),
    }
}

/// `state` grows with the run: what it knows of keys and how they were obtained is in
/// the configuration too.
pub fn run_settings(scope: &Scope<'_>, state: &State) -> RunSettings {
    let tag = |name: &str| scope.started.tags.get(name).map(|value| clean(value));
    let own = scope.config;
    let name = own.name.as_deref().unwrap_or(&scope.started.name);
    let name = text::short(name, limits::NAME);
    let host = of_environment(scope, &["/host/hostname", "/hostname"]);
    RunSettings {
        id: run_id(scope),
        project: own.project().to_owned(),
        entity: own.entity.clone(),
        name: match name.trim() {
            "" => run_id(scope),
            _ => name,
        },
        named: own.name.is_some(),
        notes: own.notes.as_deref().map(clean),
        tags: own.tags.iter().map(|tag| clean(tag)).collect(),
        // the points of a sweep, and the sweep, are one group
        group: own
            .group
            .as_deref()
            .map(clean)
            .or_else(|| tag("lem.sweep_id")),
        job_type: own
            .job_type
            .as_deref()
            .map(clean)
            .or_else(|| tag("lem.kind")),
        host: own
            .host
            .as_deref()
            .or_else(|| host.and_then(Value::as_str))
            .map(clean),
        commit: tag("git.commit"),
        repo: tag("git.remote"),
        config: config(scope, state),
    }
}

/// What of the configuration W&B does not take, and why.
pub(super) fn left_out(scope: &Scope<'_>) -> Vec<String> {
    own_config(scope).1
}

/// The configuration's own keys, `lem` with what lem knows besides, and `_wandb` with
/// what W&B's pages need.
fn config(scope: &Scope<'_>, state: &State) -> Map<String, Value> {
    let mut config = own_config(scope).0;
    config.insert("lem".to_owned(), json!({ "value": about(scope, state) }));
    let version = scope.started.producer.replace(' ', "-");
    let own = json!({"t": {"12": clean(&version)}, "m": definitions(state)});
    config.insert("_wandb".to_owned(), json!({ "value": own }));
    config
}

/// With the reasons for what is missing.
fn own_config(scope: &Scope<'_>) -> (Map<String, Value>, Vec<String>) {
    let mut config = Map::new();
    let mut left_out = Vec::new();
    let Value::Object(fields) = &scope.started.config else {
        return (config, left_out);
    };
    for (key, value) in fields {
        let value = text::json(value);
        let size = value.to_string().len();
        if size > limits::VALUE_BYTES {
            let key = text::short(key, 100);
            let why = format!("{key} of the configuration has {size} bytes: W&B takes 1 MB");
            left_out.push(why);
            continue;
        }
        let key = match text::short(&clean(key), limits::CONFIG_KEY) {
            key if matches!(key.trim(), "" | "_wandb" | "lem") => {
                format!("config.{}", key.trim())
            }
            key => key,
        };
        config.insert(key, json!({ "value": value }));
    }
    (config, left_out)
}

fn about(scope: &Scope<'_>, state: &State) -> Value {
    let started = scope.started;
    let mut about = Map::new();
    let mut put = |key: &str, value: Value| {
        let empty = match &value {
            Value::Null => true,
            Value::Object(fields) => fields.is_empty(),
            Value::Array(list) => list.is_empty(),
            _ => false,
        };
        if !empty && value.to_string().len() <= limits::VALUE_BYTES {
            about.insert(key.to_owned(), text::json(&value));
        }
    };
    put("run_id", json!(scope.run_id));
    put("version", json!(started.producer));
    put("tags", json!(started.tags));
    put("environment", started.environment.clone());
    put("model", started.model.clone());
    put("info", json!(state.info));
    put("how", json!(state.how));
    put("absent", json!(state.absent));
    put("status", json!(state.status.map(RunStatus::as_str)));
    // by it a later export knows where this run's lines begin
    put("bases", json!({scope.run_id: scope.base}));
    Value::Object(about)
}

/// The step metric of each key, in W&B's own numbers: 1 name, 5 the place of the step
/// metric in this list, from 1; 6 options (1: the step comes along, 3: defined by a
/// user); 7 how to sum up.
fn definitions(state: &State) -> Value {
    let mut list: Vec<Value> = Axis::ALL
        .iter()
        .map(|axis| json!({"1": axis.key(), "6": [3], "7": []}))
        .collect();
    for (place, axis) in Axis::ALL.iter().enumerate() {
        let keys = state.keys.get(axis).into_iter().flatten();
        list.extend(keys.map(|key| json!({"1": key, "5": place + 1, "6": [1, 3], "7": []})));
    }
    Value::Array(list)
}

/// What `wandb-metadata.json` says, from which W&B's overview page shows the machine.
pub fn metadata(scope: &Scope<'_>) -> Value {
    let environment = &scope.started.environment;
    let settings = run_settings(scope, &State::default());
    let at = scope.started_at.unix_ns;
    let at = jiff::Timestamp::from_nanosecond(i128::from(at)).unwrap_or_default();
    let mut metadata = json!({
        "program": "lem",
        "startedAt": at.to_string(),
    });
    let Some(fields) = metadata.as_object_mut() else {
        return metadata;
    };
    let gpus = environment.pointer("/gpus").and_then(Value::as_array);
    let names: Vec<&str> = gpus
        .into_iter()
        .flatten()
        .filter_map(|gpu| gpu.pointer("/name")?.as_str())
        .collect();
    let known = [
        ("host", json!(settings.host)),
        ("os", json!(of_environment(scope, &["/host/os", "/os"]))),
        ("cpu_count", json!(of_environment(scope, &["/cpu/cores"]))),
        ("gpu", json!(names.first())),
        (
            "gpu_count",
            json!((!names.is_empty()).then_some(names.len())),
        ),
        ("git", git(&settings)),
    ];
    for (key, value) in known {
        if !value.is_null() {
            fields.insert(key.to_owned(), text::json(&value));
        }
    }
    metadata
}

fn git(settings: &RunSettings) -> Value {
    let known = [("commit", &settings.commit), ("remote", &settings.repo)];
    let known = known
        .into_iter()
        .filter_map(|(key, value)| Some((key, value.as_ref()?)));
    let fields: Map<String, Value> = known
        .map(|(key, value)| (key.to_owned(), json!(value)))
        .collect();
    match fields.is_empty() {
        true => Value::Null,
        false => Value::Object(fields),
    }
}

/// The first of these facts that is known: one that is not is an object with the reason.
fn of_environment<'a>(scope: &Scope<'a>, places: &[&str]) -> Option<&'a Value> {
    let environment = &scope.started.environment;
    let mut found = places.iter().filter_map(|place| environment.pointer(place));
    found.find(|fact| fact.is_string() || fact.is_number())
}

/// What W&B takes for the end of a process: it shows 0 as finished, others as failed.
pub const fn exit_code(status: RunStatus) -> i32 {
    match status {
        RunStatus::Finished => 0,
        RunStatus::Failed => 1,
        // as a shell reports SIGINT and SIGKILL
        RunStatus::Interrupted => 130,
        RunStatus::Killed => 137,
    }
}
