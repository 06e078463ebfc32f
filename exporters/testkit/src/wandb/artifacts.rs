use std::collections::BTreeMap;

use md5::{Digest as _, Md5};
use serde_json::{Map, Value, json};

use super::{World, runs, upload};

/// A version of an artifact.
#[derive(Clone, Debug, Default)]
pub struct Artifact {
    /// `entity/project/name`.
    pub run: String,
    pub collection: String,
    pub kind: String,
    /// Hexadecimal.
    pub digest: String,
    pub client_id: String,
    pub sequence_client_id: String,
    pub description: Option<String>,
    pub metadata: Option<String>,
    pub aliases: Vec<String>,
    /// By name, as announced.
    pub files: BTreeMap<String, Upload>,
    pub manifest: Upload,
    pub committed: bool,
}

/// Bytes that were announced, and came.
#[derive(Clone, Debug, Default)]
pub struct Upload {
    /// Base64.
    pub md5: String,
    pub bytes: Option<Vec<u8>>,
}

impl Artifact {
    /// Whether the files that came are those of the manifest, and the manifest is the
    /// one of the digest.
    fn check(&self) -> Result<(), String> {
        let manifest = self.manifest.bytes.as_ref().ok_or("there is no manifest")?;
        let manifest: Value = serde_json::from_slice(manifest)
            .map_err(|error| format!("the manifest is no JSON: {error}"))?;
        let contents = manifest["contents"].as_object();
        let contents = contents.ok_or("the manifest has no contents")?;
        let mut hash = Md5::new();
        hash.update("wandb-artifact-manifest-v1\n");
        let sorted: BTreeMap<_, _> = contents.iter().collect();
        for (path, entry) in sorted {
            let md5 = entry["digest"].as_str().unwrap_or_default();
            hash.update(format!("{path}:{md5}\n"));
            let bytes = self.files.get(path).and_then(|file| file.bytes.as_ref());
            let bytes = bytes.ok_or_else(|| format!("{path} was not uploaded"))?;
            if super::md5(bytes) != md5 || entry["size"].as_u64() != Some(bytes.len() as u64) {
                return Err(format!("{path} is not as the manifest says"));
            }
        }
        match hex::encode(hash.finalize()) == self.digest {
            true => Ok(()),
            false => Err("the digest is not that of the manifest".to_owned()),
        }
    }
}

fn id(place: usize) -> String {
    format!("artifact-{place}")
}

fn text(input: &Map<String, Value>, name: &str) -> String {
    let text = input.get(name).and_then(Value::as_str);
    text.unwrap_or_default().to_owned()
}

impl World {
    fn place_of(&self, id: &str) -> Result<usize, String> {
        let place = id.strip_prefix("artifact-");
        let place = place.and_then(|place| place.parse::<usize>().ok());
        let place = place.filter(|place| *place < self.artifacts.len());
        place.ok_or_else(|| format!("there is no artifact {id:?}"))
    }

    fn artifact_mut(&mut self, id: &str) -> Result<&mut Artifact, String> {
        let place = self.place_of(id)?;
        Ok(&mut self.artifacts[place])
    }

    /// `collection:alias`.
    pub(super) fn artifact_named(&self, entity: &str, project: &str, name: &str) -> Option<Value> {
        let (collection, alias) = name.split_once(':')?;
        let of = format!("{entity}/{project}/");
        let fits = |artifact: &&Artifact| {
            artifact.committed
                && artifact.run.starts_with(&of)
                && artifact.collection == collection
                && artifact.aliases.iter().any(|other| other == alias)
        };
        let found = self.artifacts.iter().rfind(fits)?;
        Some(json!({"artifactType": {"name": found.kind}, "digest": found.digest}))
    }

    /// The same client id, or the same content in the same collection, is the same artifact.
    pub(super) fn create_artifact(&mut self, input: &Map<String, Value>) -> Result<Value, String> {
        let run = runs::run_key(input).unwrap_or_default();
        if !self.runs.contains_key(&run) {
            return Err(format!("there is no run {run}"));
        }
        let mut made = Artifact {
            run,
            collection: text(input, "artifactCollectionName"),
            kind: text(input, "artifactTypeName"),
            digest: text(input, "digest"),
            client_id: text(input, "clientID"),
            sequence_client_id: text(input, "sequenceClientID"),
            description: input
                .get("description")
                .and_then(Value::as_str)
                .map(str::to_owned),
            metadata: input
                .get("metadata")
                .and_then(Value::as_str)
                .map(str::to_owned),
            ..Artifact::default()
        };
        for alias in input
            .get("aliases")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            made.aliases
                .extend(alias["alias"].as_str().map(str::to_owned));
        }
        for (name, id) in [
            ("clientID", &made.client_id),
            ("sequenceClientID", &made.sequence_client_id),
        ] {
            if id.len() != 128 {
                return Err(format!("{name} has {} characters, not 128", id.len()));
            }
        }
        if input.get("digestAlgorithm") != Some(&json!("MANIFEST_MD5")) {
            return Err("the digest is of an unknown kind".to_owned());
        }
        let in_collection = |other: &Artifact| {
            other.collection == made.collection && project_of(&other.run) == project_of(&made.run)
        };
        let all = self.artifacts.iter();
        let latest = all
            .clone()
            .rposition(|other| in_collection(other) && other.committed);
        let same = all.clone().position(|other| {
            let content = other.committed && other.digest == made.digest;
            in_collection(other) && (content || other.client_id == made.client_id)
        });
        let other_kind = all
            .clone()
            .find(|other| in_collection(other) && other.kind != made.kind);
        if let Some(other) = other_kind {
            return Err(format!(
                "{} is of the type {}",
                other.collection, other.kind
            ));
        }
        let place = match same {
            Some(place) => place,
            None => {
                self.artifacts.push(made);
                self.artifacts.len() - 1
            }
        };
        let state = if self.artifacts[place].committed {
            "COMMITTED"
        } else {
            "PENDING"
        };
        let latest = latest.map(|place| json!({"id": id(place)}));
        let sequence = json!({"id": "sequence", "latestArtifact": latest});
        Ok(json!({"artifact": {"id": id(place), "state": state, "artifactSequence": sequence}}))
    }

    /// Comes twice: for an id to announce files with, and for a place to put it.
    pub(super) fn create_manifest(
        &mut self,
        input: &Map<String, Value>,
        base: &str,
    ) -> Result<Value, String> {
        let of = text(input, "artifactID");
        let artifact = self.artifact_mut(&of)?;
        let md5 = text(input, "digest");
        artifact.manifest.md5.clone_from(&md5);
        let file = json!({
            "id": format!("manifest-file-{of}"),
            "uploadUrl": upload::address(base, &["manifest", &of, "wandb_manifest.json"]),
            "uploadHeaders": upload::headers(&md5),
        });
        Ok(json!({"artifactManifest": {"id": format!("manifest-{of}"), "file": file}}))
    }

    pub(super) fn create_artifact_files(
        &mut self,
        input: &Map<String, Value>,
        base: &str,
    ) -> Result<Value, String> {
        let mut edges = Vec::new();
        for file in input
            .get("artifactFiles")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            let file = file.as_object().ok_or("a file is no object")?;
            let (of, name, md5) = (
                text(file, "artifactID"),
                text(file, "name"),
                text(file, "md5"),
            );
            if text(file, "artifactManifestID") != format!("manifest-{of}") {
                return Err(format!("the manifest of {name} is another artifact's"));
            }
            let announced = Upload {
                md5: md5.clone(),
                bytes: None,
            };
            self.artifact_mut(&of)?
                .files
                .insert(name.clone(), announced);
            edges.push(json!({"node": {
                "id": format!("file-{name}"),
                "name": name,
                "displayName": name,
                "storagePath": format!("wandb_artifacts/{of}/{name}"),
                "uploadUrl": upload::address(base, &["artifact", &of, &name]),
                "uploadHeaders": upload::headers(&md5),
                "uploadMultipartUrls": null,
                "artifact": {"id": of},
            }}));
        }
        Ok(json!({"files": {"edges": edges}}))
    }

    pub(super) fn commit_artifact(&mut self, input: &Map<String, Value>) -> Result<Value, String> {
        let of = text(input, "artifactID");
        let place = self.place_of(&of)?;
        self.artifacts[place].check()?;
        self.artifacts[place].committed = true;
        let digest = &self.artifacts[place].digest;
        Ok(json!({"artifact": {"id": of, "digest": digest}}))
    }
}

fn project_of(run: &str) -> Option<&str> {
    run.rsplit_once('/').map(|(project, _)| project)
}
