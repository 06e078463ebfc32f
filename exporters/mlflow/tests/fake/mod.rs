//! A tracking server that keeps what it is told, with the rules of a real one that
//! matter here. It is for the tests that need a server which misbehaves; what a real
//! one holds in the end is in `live.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used, dead_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use lem_testkit::{FakeServer, Request, Response};
use serde_json::{Value, json};

#[derive(Debug, Default)]
pub struct World {
    /// Name and stage, by id from 1.
    pub experiments: Vec<(String, String)>,
    pub runs: Vec<Run>,
    pub artifacts: BTreeMap<String, Vec<u8>>,
    pub workspaces: bool,
    pub artifacts_off: bool,
    pub multipart: bool,
    /// Root of the artifacts of new runs, `mlflow-artifacts:` where it is empty.
    pub root: String,
}

#[derive(Debug, Default, Clone)]
pub struct Run {
    pub id: String,
    pub experiment: String,
    pub name: String,
    pub start: i64,
    pub end: Option<i64>,
    pub status: String,
    pub stage: String,
    pub uri: String,
    pub params: BTreeMap<String, String>,
    pub tags: BTreeMap<String, String>,
    /// Key, time, step, value: what a real one takes for one point.
    pub metrics: BTreeSet<String>,
    pub inputs: BTreeSet<String>,
}

pub struct Fake {
    pub server: FakeServer,
    pub world: Arc<Mutex<World>>,
}

impl Fake {
    pub fn start() -> Self {
        let world = Arc::new(Mutex::new(World::default()));
        let shared = Arc::clone(&world);
        let server = FakeServer::start(move |request| shared.lock().unwrap().answer(request));
        Self { server, world }
    }

    pub fn change(&self, change: impl FnOnce(&mut World)) {
        change(&mut self.world.lock().unwrap());
    }

    /// The run, where there is exactly one.
    pub fn run(&self) -> Run {
        let world = self.world.lock().unwrap();
        assert_eq!(world.runs.len(), 1, "{:?}", world.runs);
        world.runs[0].clone()
    }

    pub fn facts(&self) -> Vec<String> {
        let world = self.world.lock().unwrap();
        let mut facts: Vec<String> = world
            .experiments
            .iter()
            .map(|(name, stage)| format!("experiment {name} {stage}"))
            .collect();
        for run in world.runs.iter().filter(|run| run.stage == "active") {
            facts.push(format!(
                "run {} {} {} {:?}",
                run.name, run.start, run.status, run.end
            ));
            facts.extend(run.params.iter().map(|(k, v)| format!("param {k}={v}")));
            facts.extend(run.tags.iter().map(|(k, v)| format!("tag {k}={v}")));
            facts.extend(run.metrics.iter().map(|m| format!("metric {m}")));
            facts.extend(run.inputs.iter().map(|i| format!("input {i}")));
        }
        for (path, bytes) in &world.artifacts {
            facts.push(
                format!("artifact {path} {bytes:?}")
                    .chars()
                    .take(300)
                    .collect(),
            );
        }
        facts
    }
}

fn error(status: u16, code: &str, message: &str) -> Response {
    Response::json(status, &json!({"error_code": code, "message": message}))
}

fn legal(key: &str) -> bool {
    let allowed = |c: char| c.is_alphanumeric() || "_/.- :".contains(c);
    key.len() <= 250
        && key.chars().all(allowed)
        && key.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

impl World {
    fn answer(&mut self, request: &Request) -> Response {
        if request.header("x-mlflow-workspace").is_some() && !self.workspaces {
            return error(500, "FEATURE_DISABLED", "Workspace APIs are not available");
        }
        let path = request.decoded_path();
        if let Some(call) = path.strip_prefix("/api/2.0/mlflow/") {
            if request.method == "POST"
                && request.header("content-type") != Some("application/json")
            {
                return error(400, "BAD_REQUEST", "not JSON");
            }
            return self.call(call, request);
        }
        if let Some(path) = path.strip_prefix("/api/2.0/mlflow-artifacts/artifacts/") {
            return match self.artifacts_off {
                true => Response::text(
                    503,
                    "Endpoint disabled due to the mlflow server running with `--no-serve-artifacts`.",
                ),
                false => self.keep(path.to_owned(), &request.body),
            };
        }
        if let Some(rest) = path.strip_prefix("/api/2.0/mlflow-artifacts/mpu/") {
            return self.multipart(rest, request);
        }
        if let Some(part) = path.strip_prefix("/s3/") {
            assert_eq!(request.header("authorization"), None);
            self.artifacts
                .insert(format!("part {part}"), request.body.clone());
            return Response::new(200).header("etag", format!("e{part}"));
        }
        match path.as_str() {
            "/version" => Response::text(200, "3.17.2"),
            "/api/3.0/mlflow/server-info" => Response::json(
                200,
                &json!({
                    "store_type": "SqlStore",
                    "workspaces_enabled": self.workspaces,
                    "multipart_uploads_enabled": self.multipart,
                }),
            ),
            "/ajax-api/2.0/mlflow/upload-artifact" if request.body.is_empty() => {
                error(400, "INVALID_PARAMETER_VALUE", "Request must specify data.")
            }
            "/ajax-api/2.0/mlflow/upload-artifact" => {
                let path = request.param("path").unwrap();
                self.keep(format!("uploaded/{path}"), &request.body)
            }
            _ => Response::text(404, "Not Found"),
        }
    }

    fn keep(&mut self, path: String, body: &[u8]) -> Response {
        // the ids differ between two good deliveries
        let parts: Vec<&str> = path.split('/').filter(|part| part.len() != 32).collect();
        self.artifacts.insert(parts.join("/"), body.to_vec());
        Response::bytes(200, "")
    }

    fn call(&mut self, call: &str, request: &Request) -> Response {
        let body = request.json();
        let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
        let missing =
            |what: &str| error(404, "RESOURCE_DOES_NOT_EXIST", &format!("{what} not found"));
        match call {
            "experiments/get-by-name" => {
                let name = request.param("experiment_name").unwrap();
                match self.experiments.iter().position(|(n, _)| *n == name) {
                    Some(at) => self.experiment(at),
                    None => missing("experiment"),
                }
            }
            "experiments/get" => {
                let id: usize = request.param("experiment_id").unwrap().parse().unwrap_or(0);
                match id.checked_sub(1).filter(|at| *at < self.experiments.len()) {
                    Some(at) => self.experiment(at),
                    None => missing("experiment"),
                }
            }
            "experiments/create" => {
                if self
                    .experiments
                    .iter()
                    .any(|(name, _)| *name == text("name"))
                {
                    return error(400, "RESOURCE_ALREADY_EXISTS", "already exists");
                }
                self.experiments.push((text("name"), "active".into()));
                Response::json(
                    200,
                    &json!({"experiment_id": self.experiments.len().to_string()}),
                )
            }
            "runs/create" => {
                let id = format!("{:032x}", 0xabc + self.runs.len());
                let experiment = text("experiment_id");
                let root = match self.root.as_str() {
                    "" => "mlflow-artifacts:",
                    root => root,
                };
                let mut run = Run {
                    uri: format!("{root}/{experiment}/{id}/artifacts"),
                    id,
                    experiment,
                    name: text("run_name"),
                    start: body["start_time"].as_i64().unwrap_or_default(),
                    status: "RUNNING".into(),
                    stage: "active".into(),
                    ..Run::default()
                };
                for tag in body["tags"].as_array().unwrap() {
                    run.tags.insert(
                        tag["key"].as_str().unwrap().into(),
                        tag["value"].as_str().unwrap().into(),
                    );
                }
                self.runs.push(run.clone());
                Response::json(200, &json!({"run": run.json()}))
            }
            "runs/search" => {
                let filter = text("filter");
                let found = self.runs.iter().filter(|run| {
                    run.stage == "active"
                        && body["experiment_ids"][0] == run.experiment.as_str()
                        && run
                            .tags
                            .get("lem.run_id")
                            .is_some_and(|id| filter.contains(&format!("'{id}'")))
                });
                let runs: Vec<Value> = found.map(Run::json).collect();
                Response::json(200, &json!({"runs": runs}))
            }
            "runs/get" => {
                let id = request.param("run_id").unwrap();
                match self.runs.iter().find(|run| run.id == id) {
                    Some(run) => Response::json(200, &json!({"run": run.json()})),
                    None => missing("run"),
                }
            }
            "artifacts/list" => Response::json(200, &json!({"files": []})),
            _ => {
                let Some(run) = self.runs.iter_mut().find(|run| run.id == text("run_id")) else {
                    return missing("run");
                };
                if call == "runs/delete" {
                    run.stage = "deleted".into();
                    return Response::json(200, &json!({}));
                }
                if run.stage != "active" {
                    let message = format!(
                        "The run {} must be in the 'active' state. Current state is deleted.",
                        run.id
                    );
                    return error(400, "INVALID_PARAMETER_VALUE", &message);
                }
                match run.change(call, &body) {
                    Ok(()) => Response::json(200, &json!({})),
                    Err(why) => error(400, "INVALID_PARAMETER_VALUE", &why),
                }
            }
        }
    }

    fn experiment(&self, at: usize) -> Response {
        let (name, stage) = &self.experiments[at];
        Response::json(
            200,
            &json!({"experiment": {
                "experiment_id": (at + 1).to_string(), "name": name, "lifecycle_stage": stage,
            }}),
        )
    }

    fn multipart(&mut self, rest: &str, request: &Request) -> Response {
        let body = request.json();
        let host = request.header("host").unwrap();
        let name = body["path"].as_str().unwrap();
        if rest.starts_with("create/") {
            let count = body["num_parts"].as_u64().unwrap();
            let credentials: Vec<Value> = (1..=count)
                .map(|n| json!({"url": format!("http://{host}/s3/{n}?X-Sig=s"), "part_number": n, "headers": {"x-part": n.to_string()}}))
                .collect();
            return Response::json(200, &json!({"upload_id": "u1", "credentials": credentials}));
        }
        if rest.starts_with("complete/") {
            assert_eq!(body["upload_id"], "u1");
            let mut whole = Vec::new();
            for part in body["parts"].as_array().unwrap() {
                let n = part["part_number"].as_u64().unwrap();
                assert_eq!(part["etag"], format!("e{n}"));
                whole.extend(self.artifacts.remove(&format!("part {n}")).unwrap());
            }
            self.artifacts.insert(format!("whole {name}"), whole);
        }
        Response::json(200, &json!({}))
    }
}

impl Run {
    fn json(&self) -> Value {
        let params: Vec<Value> = self
            .params
            .iter()
            .map(|(key, value)| json!({"key": key, "value": value}))
            .collect();
        json!({
            "info": {
                "run_id": self.id, "run_uuid": self.id, "experiment_id": self.experiment,
                "artifact_uri": self.uri, "lifecycle_stage": self.stage, "status": self.status,
            },
            "data": {"params": params},
            "inputs": {},
        })
    }

    fn change(&mut self, call: &str, body: &Value) -> Result<(), String> {
        let list = |name: &str| body[name].as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().map(str::to_owned).ok_or("not a string");
        match call {
            "runs/update" => {
                self.status = text(&body["status"])?;
                self.end = body["end_time"].as_i64();
            }
            "runs/log-inputs" => self
                .inputs
                .extend(list("datasets").iter().map(Value::to_string)),
            "runs/log-batch" => {
                let (metrics, params, tags) = (list("metrics"), list("params"), list("tags"));
                if metrics.len() > 1000 || params.len() > 100 || tags.len() > 100 {
                    return Err("too many".into());
                }
                let keys = || {
                    metrics
                        .iter()
                        .chain(&params)
                        .chain(&tags)
                        .map(|e| &e["key"])
                };
                if let Some(key) = keys().find(|key| !key.as_str().is_some_and(legal)) {
                    return Err(format!("invalid name {key}"));
                }
                for param in &params {
                    let (key, value) = (text(&param["key"])?, text(&param["value"])?);
                    if value.chars().count() > 6000 {
                        return Err("param value too long".into());
                    }
                    if self.params.get(&key).is_some_and(|old| *old != value) {
                        return Err(format!("Changing param values is not allowed: {key}"));
                    }
                }
                for param in &params {
                    self.params
                        .insert(text(&param["key"])?, text(&param["value"])?);
                }
                for metric in &metrics {
                    if !metric["value"].is_f64() && !metric["value"].is_i64() {
                        return Err(format!("no number: {metric}"));
                    }
                    if metric["timestamp"].as_i64().is_none_or(|t| t < 0)
                        || !metric["step"].is_i64()
                    {
                        return Err(format!("no time: {metric}"));
                    }
                    self.metrics.insert(metric.to_string());
                }
                for tag in &tags {
                    let value = text(&tag["value"])?;
                    if value.chars().count() > 8000 {
                        return Err("tag value too long".into());
                    }
                    self.tags.insert(text(&tag["key"])?, value);
                }
            }
            other => return Err(format!("no call {other}")),
        }
        Ok(())
    }
}
