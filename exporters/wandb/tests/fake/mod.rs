//! A W&B server that keeps what it is told, with the rules that matter to a client:
//! lines have a place, an artifact is one by its digest, bytes are checked. It is for
//! the tests that need a server which misbehaves.
#![allow(clippy::unwrap_used, clippy::expect_used, dead_code)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lem_testkit::{FakeServer, Request, Response};
use md5::{Digest as _, Md5};
use serde_json::{Map, Value, json};

pub const KEY: &str = "hunter2-key";

#[derive(Debug, Default)]
pub struct World {
    pub runs: BTreeMap<String, Run>,
    pub artifacts: Vec<Artifact>,
    /// Bodies of the file stream that are longer get a 413.
    pub most_bytes: Option<usize>,
    /// Headers of every answer of the file stream.
    pub headers: Vec<(String, String)>,
}

#[derive(Clone, Debug, Default)]
pub struct Run {
    pub settings: Map<String, Value>,
    /// By file, by place.
    pub lines: BTreeMap<String, BTreeMap<u64, String>>,
    pub files: BTreeMap<String, Vec<u8>>,
    pub exit_code: Option<i64>,
    pub heartbeats: usize,
}

impl Run {
    pub fn list(&self, file: &str) -> Vec<Value> {
        let lines = self.lines.get(file).into_iter().flatten();
        lines
            .map(|(_, line)| serde_json::from_str(line).unwrap_or_else(|_| json!(line)))
            .collect()
    }

    pub fn config(&self) -> Value {
        serde_json::from_str(self.settings["config"].as_str().unwrap()).unwrap()
    }

    pub fn summary(&self) -> Value {
        self.list("wandb-summary.json").pop().unwrap_or_default()
    }
}

#[derive(Clone, Debug, Default)]
pub struct Artifact {
    pub run: String,
    pub collection: String,
    pub kind: String,
    pub digest: String,
    pub client_id: String,
    /// The file's name and what it should be.
    pub wanted: Option<(String, String)>,
    pub files: BTreeMap<String, Vec<u8>>,
    pub manifest: Option<Value>,
    pub manifest_digest: String,
    pub committed: bool,
}

pub struct Fake {
    pub server: FakeServer,
    world: Arc<Mutex<World>>,
}

impl Fake {
    pub fn start() -> Self {
        let world = Arc::new(Mutex::new(World::default()));
        let shared = Arc::clone(&world);
        let server = FakeServer::start(move |request| shared.lock().unwrap().answer(request));
        Self { server, world }
    }

    pub fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    /// The run, where there is exactly one.
    pub fn run(&self) -> Run {
        let world = self.world();
        assert_eq!(world.runs.len(), 1, "{:?}", world.runs.keys());
        world.runs.values().next().unwrap().clone()
    }

    pub fn facts(&self) -> Vec<String> {
        let world = self.world();
        let mut facts = Vec::new();
        for (id, run) in &world.runs {
            facts.push(format!("run {id} ended {:?}", run.exit_code));
            for (name, value) in &run.settings {
                facts.push(format!("run {id} {name} = {value}"));
            }
            for (file, lines) in &run.lines {
                let lines = lines.iter();
                facts.extend(lines.map(|(at, line)| format!("{id} {file} {at}: {line}")));
            }
            for (name, bytes) in &run.files {
                facts.push(format!(
                    "{id} file {name} {}",
                    hex::encode(Md5::digest(bytes))
                ));
            }
        }
        for artifact in world.artifacts.iter().filter(|a| a.committed) {
            let Artifact {
                collection,
                kind,
                digest,
                files,
                ..
            } = artifact;
            let files: Vec<_> = files
                .iter()
                .map(|(name, bytes)| format!("{name} {}", hex::encode(Md5::digest(bytes))))
                .collect();
            facts.push(format!("artifact {collection} {kind} {digest} {files:?}"));
        }
        facts
    }
}

fn data(data: Value) -> Response {
    Response::json(200, &json!({ "data": data }))
}

fn wrong(why: &str) -> Response {
    Response::json(400, &json!({"errors": [{"message": why}]}))
}

impl World {
    fn answer(&mut self, request: &Request) -> Response {
        let path = request.decoded_path();
        if let Some(place) = path.strip_prefix("/up/") {
            assert_eq!(
                request.header("authorization"),
                None,
                "our key goes to nobody else"
            );
            return self.upload(place, request);
        }
        let key = STANDARD.encode(format!("api:{KEY}"));
        if request.header("authorization") != Some(&format!("Basic {key}")) {
            return Response::text(401, "who are you");
        }
        match path.strip_prefix("/files/") {
            Some(rest) => self.stream(rest, request),
            None if path == "/graphql" => self.graphql(request),
            None => Response::text(404, "no such page"),
        }
    }

    fn stream(&mut self, path: &str, request: &Request) -> Response {
        if self
            .most_bytes
            .is_some_and(|most| request.body.len() > most)
        {
            return Response::text(413, "too large");
        }
        let [_, _, run, "file_stream"] = path.split('/').collect::<Vec<_>>()[..] else {
            return Response::text(404, "no such page");
        };
        let Some(run) = self.runs.get_mut(run) else {
            return Response::text(404, "no such run");
        };
        let body = request.json();
        if body == json!({}) {
            run.heartbeats += 1;
        }
        for (file, chunk) in body["files"].as_object().into_iter().flatten() {
            let lines = run.lines.entry(file.clone()).or_default();
            let mut at = chunk["offset"].as_u64().unwrap();
            for line in chunk["content"].as_array().unwrap() {
                let line = line.as_str().unwrap();
                if file != "output.log" && serde_json::from_str::<Value>(line).is_err() {
                    return wrong("a line is no JSON");
                }
                lines.insert(at, line.to_owned());
                at += 1;
            }
        }
        for name in body["uploaded"].as_array().into_iter().flatten() {
            assert!(run.files.contains_key(name.as_str().unwrap()), "{name}");
        }
        if body["complete"] == true {
            run.exit_code = body["exitcode"].as_i64();
        }
        let answer = Response::json(200, &json!({"exitcode": null, "limits": {}}));
        let headers = self.headers.iter();
        headers.fold(answer, |answer, (name, value)| answer.header(name, value))
    }

    fn upload(&mut self, place: &str, request: &Request) -> Response {
        let (kind, rest) = place.split_once('/').unwrap();
        let (of, name) = rest.split_once('/').unwrap();
        if kind == "run" {
            let run = self.runs.get_mut(of).unwrap();
            run.files.insert(name.to_owned(), request.body.clone());
            return Response::new(200);
        }
        assert_eq!(request.header("x-given"), Some("yes"));
        let artifact = &mut self.artifacts[of.parse::<usize>().unwrap()];
        let md5 = STANDARD.encode(Md5::digest(&request.body));
        if kind == "manifest" {
            if md5 != artifact.manifest_digest {
                return Response::text(400, "the manifest is not what was told");
            }
            artifact.manifest = Some(request.json());
        } else {
            if artifact.wanted != Some((name.to_owned(), md5)) {
                return Response::text(400, "the bytes are not what was told");
            }
            artifact.files.insert(name.to_owned(), request.body.clone());
        }
        Response::new(200)
    }

    fn graphql(&mut self, request: &Request) -> Response {
        let body = request.json();
        let variables = &body["variables"];
        let text = |name: &str| variables[name].as_str().unwrap_or_default().to_owned();
        let base = format!("http://{}", request.header("host").unwrap());
        let headers = ["X-Given: yes"];
        match body["operationName"].as_str().unwrap() {
            "Viewer" => data(json!({"viewer": {
                "id": "u1", "entity": "ann", "username": "ann",
                "teams": {"edges": [{"node": {"name": "team"}}]},
            }})),
            "ServerInfo" => data(json!({"serverInfo": {
                "cliVersionInfo": {},
                "latestLocalVersionInfo": {"versionOnThisInstanceString": "0.77.1"},
            }})),
            "RunResumeStatus" => {
                let bucket = self.runs.get(&text("name")).map(Run::bucket);
                data(json!({"model": {"id": "p", "name": text("project"), "bucket": bucket}}))
            }
            "UpsertBucket" => {
                let id = text("name");
                let inserted = !self.runs.contains_key(&id);
                let run = self.runs.entry(id.clone()).or_default();
                for (name, value) in variables.as_object().unwrap() {
                    if !value.is_null() {
                        run.settings.insert(name.clone(), value.clone());
                    }
                }
                let entity = variables["entity"].as_str().unwrap_or("ann");
                data(json!({"upsertBucket": {"inserted": inserted, "bucket": {
                    "id": "b", "name": id, "historyLineCount": 0,
                    "project": {"id": "p", "name": text("project"), "entity": {"id": "e", "name": entity}},
                }}}))
            }
            "CreateRunFiles" => {
                let run = text("run");
                let names = variables["files"].as_array().unwrap().iter();
                let files: Vec<Value> = names
                    .map(|name| {
                        let name = name.as_str().unwrap();
                        json!({"name": name, "uploadUrl": format!("{base}/up/run/{run}/{name}")})
                    })
                    .collect();
                data(json!({"createRunFiles": {"runID": "b", "uploadHeaders": [], "files": files}}))
            }
            "CreateArtifact" => {
                let input = &variables["input"];
                let of = |name: &str| input[name].as_str().unwrap().to_owned();
                if !self.runs.contains_key(&of("runName")) || of("clientID").len() != 128 {
                    return wrong("no such run, or no client id");
                }
                let same = |a: &Artifact| {
                    a.collection == of("artifactCollectionName") && a.digest == of("digest")
                };
                let at = self.artifacts.iter().position(same).unwrap_or_else(|| {
                    self.artifacts.push(Artifact {
                        run: of("runName"),
                        collection: of("artifactCollectionName"),
                        kind: of("artifactTypeName"),
                        digest: of("digest"),
                        client_id: of("clientID"),
                        ..Artifact::default()
                    });
                    self.artifacts.len() - 1
                });
                let state = if self.artifacts[at].committed {
                    "COMMITTED"
                } else {
                    "PENDING"
                };
                data(json!({"createArtifact": {"artifact": {
                    "id": at.to_string(), "state": state, "artifactSequence": {"latestArtifact": null},
                }}}))
            }
            "CreateArtifactManifest" => {
                let id = text("artifactID");
                let artifact = &mut self.artifacts[id.parse::<usize>().unwrap()];
                artifact.manifest_digest = text("digest");
                let url = variables["includeUpload"]
                    .as_bool()
                    .unwrap()
                    .then(|| format!("{base}/up/manifest/{id}/m"));
                data(json!({"createArtifactManifest": {"artifactManifest": {
                    "id": "m", "file": {"id": "f", "uploadUrl": url, "uploadHeaders": headers},
                }}}))
            }
            "CreateArtifactFiles" => {
                let file = &variables["input"]["artifactFiles"][0];
                let (id, name) = (
                    file["artifactID"].as_str().unwrap(),
                    file["name"].as_str().unwrap(),
                );
                let md5 = file["md5"].as_str().unwrap();
                let artifact = &mut self.artifacts[id.parse::<usize>().unwrap()];
                artifact.wanted = Some((name.to_owned(), md5.to_owned()));
                // percent-encoded, as a real address would be
                let name: String = name.bytes().map(|byte| format!("%{byte:02X}")).collect();
                let url = format!("{base}/up/file/{id}/{name}");
                data(
                    json!({"createArtifactFiles": {"files": {"edges": [{"node": {
                        "storagePath": "x", "uploadUrl": url, "uploadHeaders": headers, "artifact": {"id": id},
                    }}]}}}),
                )
            }
            "CommitArtifact" => {
                let artifact = &mut self.artifacts[text("artifactID").parse::<usize>().unwrap()];
                let Some((name, md5)) = &artifact.wanted else {
                    return wrong("nothing was uploaded");
                };
                let listed = &artifact.manifest.as_ref().unwrap()["contents"][name];
                if !artifact.files.contains_key(name) || listed["digest"] != md5.as_str() {
                    return wrong("the manifest and the files differ");
                }
                artifact.committed = true;
                data(
                    json!({"commitArtifact": {"artifact": {"id": "x", "digest": artifact.digest}}}),
                )
            }
            other => wrong(&format!("unknown: {other}")),
        }
    }
}

impl Run {
    fn bucket(&self) -> Value {
        let count = |file: &str| self.lines.get(file).map_or(0, BTreeMap::len);
        let history = self.lines.get("wandb-history.jsonl");
        let tail: Vec<&String> = history
            .and_then(|lines| lines.values().last())
            .into_iter()
            .collect();
        let summary = self.lines.get("wandb-summary.json").map(|lines| &lines[&0]);
        json!({
            "id": "b", "name": "x",
            "config": self.settings.get("config"),
            "summaryMetrics": summary,
            "historyLineCount": count("wandb-history.jsonl"),
            "eventsLineCount": count("wandb-events.jsonl"),
            "logLineCount": count("output.log"),
            "historyTail": json!(tail).to_string(),
            "eventsTail": "[]",
        })
    }
}
