use serde::Serialize;
use serde_json::{Value, json};

use super::Plan;
use super::key::cut;
use crate::limits;

/// The data that a run was fed with, as MLflow keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Dataset {
    pub name: String,
    pub digest: String,
    pub source_type: String,
    /// JSON text.
    pub source: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// What it was used for: `eval`, `benchmark`, …
    #[serde(skip)]
    pub context: Option<String>,
}

impl Dataset {
    /// The body of `runs/log-inputs`.
    pub fn body(&self, run: &str) -> Value {
        let context = self.context.as_ref();
        let tags: Vec<Value> = context
            .map(|context| json!({"key": "mlflow.data.context", "value": context}))
            .into_iter()
            .collect();
        json!({"run_id": run, "datasets": [{"tags": tags, "dataset": self}]})
    }
}

/// `environment.dataset`, one object or a list of them: `name` and `digest`, and where
/// known `source_type`, `source`, `schema`, `profile` (text or JSON) and `context`.
pub(super) fn of_environment(n: u64, environment: &Value, plan: &mut Plan<'_>) {
    let found = match environment.get("dataset") {
        None | Some(Value::Null) => return,
        Some(Value::Array(list)) => list.as_slice(),
        Some(one) => std::slice::from_ref(one),
    };
    for dataset in found {
        match read(dataset) {
            Ok((dataset, left_out)) => {
                for field in left_out {
                    let why = format!("the {field} of the dataset {} is too long", dataset.name);
                    plan.reject(n, why);
                }
                plan.datasets.push(dataset);
            }
            Err(why) => plan.reject(n, format!("a dataset {why}")),
        }
    }
}

fn read(dataset: &Value) -> Result<(Dataset, Vec<&'static str>), &'static str> {
    let text = |field: &str| match dataset.get(field) {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text.replace('\0', "\u{fffd}")),
        Some(other) => Some(other.to_string()),
    };
    let name = text("name")
        .filter(|name| !name.is_empty())
        .ok_or("has no name")?;
    let digest = text("digest")
        .filter(|digest| !digest.is_empty())
        .ok_or("has no digest")?;
    // MLflow reads it as JSON; a plain path or address goes where its own datasets have it
    let source = match text("source") {
        None => "{}".to_owned(),
        Some(source) if serde_json::from_str::<Value>(&source).is_ok_and(|v| v.is_object()) => {
            source
        }
        Some(source) => json!({"uri": source}).to_string(),
    };
    if source.len() > limits::DATASET_SOURCE {
        return Err("has a source that is longer than MLflow takes");
    }
    let mut left_out = Vec::new();
    let mut within = |field, limit| {
        let kept = text(field).filter(|text| text.len() <= limit);
        if kept.is_none() && text(field).is_some() {
            left_out.push(field);
        }
        kept
    };
    let schema = within("schema", limits::DATASET_SCHEMA);
    let profile = within("profile", limits::DATASET_PROFILE);
    let dataset = Dataset {
        name: cut(&name, limits::DATASET_NAME, ""),
        // a prefix of a digest is still one
        digest: digest.chars().take(limits::DATASET_DIGEST).collect(),
        source_type: cut(
            &text("source_type").unwrap_or_else(|| "local".to_owned()),
            36,
            "",
        ),
        source,
        schema,
        profile,
        context: text("context").map(|context| cut(&context, 500, "")),
    };
    Ok((dataset, left_out))
}
