use std::collections::BTreeMap;

use lem_record::RunStarted;
use serde_json::{Map, Value, json};

use super::key::{cut, legal};
use super::{Scope, State};
use crate::limits;

/// What MLflow's UI calls what lem calls otherwise.
const NAMES: &[(&str, &str)] = &[
    ("user", "mlflow.user"),
    ("source", "mlflow.source.name"),
    ("source.name", "mlflow.source.name"),
    ("source.type", "mlflow.source.type"),
    ("git.commit", "mlflow.source.git.commit"),
    ("git.branch", "mlflow.source.git.branch"),
    ("git.repo", "mlflow.source.git.repoURL"),
    ("git.url", "mlflow.source.git.repoURL"),
    ("git.remote", "mlflow.source.git.repoURL"),
];

/// The tag by which a run is found again.
pub(crate) const RUN_ID: &str = "lem.run_id";
const NOTE: &str = "mlflow.note.content";

/// The run's tags, from its first record and from the configuration of this sink.
pub(super) fn of_run(scope: &Scope<'_>, started: &RunStarted, tags: &mut BTreeMap<String, String>) {
    let mut set = |key: &str, value: &str| {
        tags.insert(legal(key), cut(value, limits::TAG_VALUE, ""));
    };
    set("mlflow.source.type", "LOCAL");
    set("mlflow.source.name", "lem");
    for (key, value) in started.tags.iter().chain(&scope.config.tags) {
        let known = NAMES.iter().find(|(name, _)| name == key);
        set(known.map_or(key.as_str(), |(_, theirs)| theirs), value);
    }
    // by these lem finds its way: they are not the user's
    set(RUN_ID, scope.run_id);
    set("lem.version", started.producer.trim_start_matches("lem "));
    tags.remove("mlflow.runName"); // it is given when the run is made
}

/// The tags that grow with the run, where they changed.
pub(super) fn of_state(
    scope: &Scope<'_>,
    before: &State,
    now: &State,
    tags: &mut BTreeMap<String, String>,
) {
    let mut set = |key: &str, value: String| tags.insert(key.to_owned(), value);
    if now.absent != before.absent {
        let pairs = now
            .absent
            .iter()
            .map(|(key, reason)| (key.as_str(), json!(reason)));
        set("lem.absent", capped(pairs));
    }
    if now.how != before.how {
        let pairs = now.how.iter().map(|(key, how)| (key.as_str(), json!(how)));
        set("lem.how", capped(pairs));
    }
    if now.tables != before.tables {
        let logged = now
            .tables
            .iter()
            .map(|path| json!({"path": path, "type": "table"}));
        let mut list: Vec<Value> = logged.collect();
        while json!(list).to_string().chars().count() > limits::TAG_VALUE {
            list.pop();
        }
        set("mlflow.loggedArtifacts", json!(list).to_string());
    }
    let own = [&scope.started.tags, &scope.config.tags];
    if now.note != before.note && !own.iter().any(|tags| tags.contains_key(NOTE)) {
        set(NOTE, cut(&now.note.markdown(), limits::TAG_VALUE, ""));
    }
}

/// An object of as many of the pairs as a tag holds, which says how many are missing.
fn capped<'a>(pairs: impl Iterator<Item = (&'a str, Value)>) -> String {
    let mut object = Map::new();
    let mut room = limits::TAG_VALUE - 40;
    let mut missing = 0;
    for (key, value) in pairs {
        // `"key":value,`, in characters, escapes included
        let size = json!(key).to_string().len() + value.to_string().chars().count() + 2;
        if missing == 0 && size <= room {
            room -= size;
            object.insert(key.to_owned(), value);
        } else {
            missing += 1;
        }
    }
    if missing > 0 {
        object.insert("…".to_owned(), json!(format!("{missing} more")));
    }
    Value::Object(object).to_string()
}
