//! An artifact: made, its manifest, its file, the manifest again with its content,
//! committed. The same content again is the same artifact: W&B knows it by its digest.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lem_http::Client;
use lem_record::{Artifact, ExportError};
use md5::{Digest as _, Md5};
use serde::Deserialize;
use serde_json::{Value, json};

use super::graphql::{
    self, COMMIT_ARTIFACT, CREATE_ARTIFACT, CREATE_ARTIFACT_FILES, CREATE_ARTIFACT_MANIFEST,
};
use super::{Remote, files};
use crate::encode::ArtifactSpec;
use crate::local;

#[derive(Deserialize)]
struct CreatedArtifact {
    #[serde(rename = "createArtifact")]
    inner: OfArtifact,
}

#[derive(Deserialize)]
struct OfArtifact {
    artifact: Made,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Made {
    id: String,
    #[serde(default)]
    state: Option<String>,
    #[serde(default)]
    artifact_sequence: Option<Sequence>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sequence {
    #[serde(default)]
    latest_artifact: Option<Latest>,
}

#[derive(Deserialize)]
struct Latest {
    id: String,
}

#[derive(Deserialize)]
struct CreatedManifest {
    #[serde(rename = "createArtifactManifest")]
    inner: OfManifest,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OfManifest {
    artifact_manifest: Manifest,
}

#[derive(Deserialize)]
struct Manifest {
    id: String,
    file: Place,
}

/// Where bytes go.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Place {
    #[serde(default)]
    upload_url: Option<String>,
    #[serde(default)]
    upload_headers: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct CreatedFiles {
    #[serde(rename = "createArtifactFiles")]
    inner: OfFiles,
}

#[derive(Deserialize)]
struct OfFiles {
    files: Edges,
}

#[derive(Deserialize)]
struct Edges {
    edges: Vec<Edge>,
}

#[derive(Deserialize)]
struct Edge {
    node: Place,
}

/// The inner error says why the file is not one to send.
pub(super) async fn put(
    client: &Client,
    remote: &Remote,
    folder: &Path,
    artifact: &Artifact,
) -> Result<Result<(), String>, ExportError> {
    let (of, folder) = (artifact.clone(), folder.to_owned());
    let read = tokio::task::spawn_blocking(move || local::read(&folder, &of)).await;
    let file = match read {
        Ok(Ok(file)) => file,
        Ok(Err(why)) => return Ok(Err(why)),
        Err(_) => return Err(ExportError::retry("the thread that reads files stopped")),
    };
    let spec = ArtifactSpec::new(&remote.run, artifact, file.bytes, file.md5);
    let input = create_input(remote, &spec);
    let made: CreatedArtifact =
        graphql::ask(client, CREATE_ARTIFACT, json!({ "input": input })).await?;
    let made = made.inner.artifact;
    if made.state.as_deref() == Some("COMMITTED") {
        return Ok(Ok(()));
    }
    let latest = made.artifact_sequence.and_then(|s| s.latest_artifact);
    let base = latest.map(|latest| latest.id).filter(|id| *id != made.id);
    // the file is asked for with the id of a manifest, which is yet to be written
    let first = manifest_variables(remote, &made.id, base.as_deref(), "", false);
    let first: CreatedManifest = graphql::ask(client, CREATE_ARTIFACT_MANIFEST, first).await?;
    let wanted = files_input(&made.id, &first.inner.artifact_manifest.id, &spec);
    let wanted = json!({ "input": wanted });
    let place: CreatedFiles = graphql::ask(client, CREATE_ARTIFACT_FILES, wanted).await?;
    let node = place.inner.files.edges.into_iter().next().map(|e| e.node);
    let node = node.ok_or_else(|| no_address(&spec))?;
    // no address: the very bytes are there already
    if let Some(url) = &node.upload_url {
        let headers = node.upload_headers.unwrap_or_default();
        let reply = files::put(client, url, &headers)
            .file(&file.path, file.bytes, "application/octet-stream")
            .send()
            .await?;
        if reply.status == 413 {
            return Ok(Err(files::too_large(&artifact.path)));
        }
        if !reply.is_success() {
            return Err(graphql::upload_refused(client, &reply));
        }
    }
    let manifest = spec.manifest(Some(&made.id)).to_string().into_bytes();
    let digest = STANDARD.encode(Md5::digest(&manifest));
    let second = manifest_variables(remote, &made.id, base.as_deref(), &digest, true);
    let second: CreatedManifest = graphql::ask(client, CREATE_ARTIFACT_MANIFEST, second).await?;
    let place = second.inner.artifact_manifest.file;
    let url = place.upload_url.ok_or_else(|| no_address(&spec))?;
    let reply = files::put(client, &url, &place.upload_headers.unwrap_or_default())
        .body(manifest, "application/json")
        .send()
        .await?;
    if !reply.is_success() {
        return Err(graphql::upload_refused(client, &reply));
    }
    let commit = json!({"artifactID": made.id});
    let _: Value = graphql::ask(client, COMMIT_ARTIFACT, commit).await?;
    Ok(Ok(()))
}

fn create_input(remote: &Remote, spec: &ArtifactSpec) -> Value {
    json!({
        "entityName": remote.entity,
        "projectName": remote.project,
        "runName": remote.run,
        "artifactTypeName": spec.kind,
        "artifactCollectionName": spec.name,
        "description": spec.description,
        "metadata": spec.metadata,
        "digest": spec.digest(),
        "digestAlgorithm": "MANIFEST_MD5",
        "aliases": [{"alias": "latest", "artifactCollectionName": spec.name}],
        "clientID": spec.client_id,
        "sequenceClientID": spec.sequence_client_id,
        "enableDigestDeduplication": true,
    })
}

fn manifest_variables(
    remote: &Remote,
    id: &str,
    base: Option<&str>,
    digest: &str,
    upload: bool,
) -> Value {
    json!({
        "artifactID": id,
        "baseArtifactID": base,
        "name": "wandb_manifest.json",
        "digest": digest,
        "entityName": remote.entity,
        "projectName": remote.project,
        "runName": remote.run,
        "manifestType": "FULL",
        "includeUpload": upload,
    })
}

fn files_input(id: &str, manifest: &str, spec: &ArtifactSpec) -> Value {
    let file = json!({
        "artifactID": id,
        "artifactManifestID": manifest,
        "name": spec.entry.path,
        "md5": spec.entry.md5,
    });
    json!({"artifactFiles": [file], "storageLayout": "V2"})
}

fn no_address(spec: &ArtifactSpec) -> ExportError {
    ExportError::retry(format!(
        "W&B gave no address for the artifact {}",
        spec.name
    ))
}
