//! `/graphql`: each root field has a row that says what its input may hold.

use serde_json::{Map, Value, json};

use super::query::{self, Field};
use super::{World, server_info};
use crate::{Request, Response};

type Resolve = fn(&mut World, &Field, &str) -> Result<Value, String>;

struct Root {
    name: &'static str,
    /// Fields of `input`, those that are required first.
    input: (&'static [&'static str], &'static [&'static str]),
    resolve: Resolve,
}

const NONE: (&[&str], &[&str]) = (&[], &[]);

const ROOTS: &[Root] = &[
    Root {
        name: "viewer",
        input: NONE,
        resolve: |_, _, _| Ok(server_info::viewer()),
    },
    Root {
        name: "serverInfo",
        input: NONE,
        resolve: |_, _, _| Ok(server_info::server()),
    },
    Root {
        name: "entity",
        input: NONE,
        resolve: |_, field, _| Ok(server_info::entity(field.text("name").unwrap_or_default())),
    },
    Root {
        name: "__type",
        input: NONE,
        resolve: |_, field, _| Ok(server_info::kind(field.text("name").unwrap_or_default())),
    },
    Root {
        name: "model",
        input: NONE,
        resolve: |world, field, _| world.project(field, "name"),
    },
    Root {
        name: "project",
        input: NONE,
        resolve: |world, field, _| world.project(field, "name"),
    },
    Root {
        name: "upsertBucket",
        input: (
            &[],
            &[
                "id",
                "name",
                "modelName",
                "entityName",
                "groupName",
                "description",
                "displayName",
                "notes",
                "commit",
                "config",
                "host",
                "debug",
                "jobProgram",
                "jobRepo",
                "jobType",
                "state",
                "sweep",
                "tags",
                "summaryMetrics",
            ],
        ),
        resolve: |world, field, _| world.upsert_bucket(&field.input()),
    },
    Root {
        name: "createRunFiles",
        input: (&["entityName", "projectName", "runName", "files"], &[]),
        resolve: |world, field, base| world.create_run_files(&field.input(), base),
    },
    Root {
        name: "createArtifact",
        input: (
            &[
                "entityName",
                "projectName",
                "artifactTypeName",
                "digest",
                "digestAlgorithm",
            ],
            &[
                "runName",
                "aliases",
                "artifactCollectionName",
                "artifactCollectionNames",
                "clientID",
                "clientMutationId",
                "description",
                "distributedID",
                "enableDigestDeduplication",
                "historyStep",
                "labels",
                "metadata",
                "sequenceClientID",
                "storageRegion",
                "tags",
                "ttlDurationSeconds",
            ],
        ),
        resolve: |world, field, _| world.create_artifact(&field.input()),
    },
    Root {
        name: "createArtifactManifest",
        input: (
            &[
                "artifactID",
                "name",
                "digest",
                "entityName",
                "projectName",
                "runName",
            ],
            &["baseArtifactID", "type"],
        ),
        resolve: |world, field, base| world.create_manifest(&field.input(), base),
    },
    Root {
        name: "createArtifactFiles",
        input: (
            &["artifactFiles"],
            &["clientMutationId", "cloudRegionID", "storageLayout"],
        ),
        resolve: |world, field, base| world.create_artifact_files(&field.input(), base),
    },
    Root {
        name: "commitArtifact",
        input: (&["artifactID"], &[]),
        resolve: |world, field, _| world.commit_artifact(&field.input()),
    },
];

pub(super) fn root_names() -> impl Iterator<Item = &'static str> {
    ROOTS.iter().map(|root| root.name)
}

impl World {
    pub(super) fn graphql(&mut self, request: &Request) -> Response {
        let host = request.header("host").unwrap_or_default();
        let base = format!("http://{host}");
        match self.resolve(&request.json(), &base) {
            Ok(data) => Response::json(200, &json!({ "data": data })),
            Err(why) => {
                self.complain(format!("a query was refused: {why}: {}", request.text()));
                Response::json(400, &json!({"errors": [{"message": why}]}))
            }
        }
    }

    fn resolve(&mut self, body: &Value, base: &str) -> Result<Value, String> {
        let mut data = Map::new();
        for field in query::read(body)? {
            let root = ROOTS.iter().find(|root| root.name == field.name);
            let root = root.ok_or_else(|| format!("Cannot query field \"{}\"", field.name))?;
            root.check(&field)?;
            let whole = (root.resolve)(self, &field, base)?;
            data.insert(field.key.clone(), query::select(&whole, &field.fields)?);
        }
        Ok(Value::Object(data))
    }
}

impl Root {
    fn check(&self, field: &Field) -> Result<(), String> {
        let (required, optional) = self.input;
        let input = field.input();
        for name in required {
            if input.get(*name).is_none_or(Value::is_null) {
                return Err(format!("{} lacks {name}", self.name));
            }
        }
        let known = |name: &str| required.contains(&name) || optional.contains(&name);
        match input.keys().find(|name| !known(name)) {
            Some(name) => Err(format!("{} takes no {name}", self.name)),
            None => Ok(()),
        }
    }
}
