//! Queries, and what an answer to one means. The queries are inline and name only the
//! fields that are used: servers of several years answer them.

use lem_http::{Client, Reply, is_retryable};
use lem_record::ExportError;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// A query with its name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Query {
    name: &'static str,
    text: &'static str,
}

macro_rules! query {
    ($id:ident, $name:literal, $text:literal) => {
        pub(super) const $id: Query = Query {
            name: $name,
            text: $text,
        };
    };
}

query!(
    VIEWER,
    "Viewer",
    "query Viewer { viewer { id entity username teams { edges { node { name } } } } }"
);
query!(
    SERVER_INFO,
    "ServerInfo",
    "query ServerInfo { serverInfo { cliVersionInfo latestLocalVersionInfo { versionOnThisInstanceString } } }"
);
query!(
    RUN_RESUME_STATUS,
    "RunResumeStatus",
    "query RunResumeStatus($project: String, $entity: String, $name: String!) { \
     model(name: $project, entityName: $entity) { id name entity { id name } \
     bucket(name: $name, missingOk: true) { id name summaryMetrics displayName logLineCount \
     historyLineCount eventsLineCount historyTail eventsTail config tags notes } } }"
);
query!(
    UPSERT_BUCKET,
    "UpsertBucket",
    "mutation UpsertBucket($name: String, $project: String, $entity: String, $groupName: String, \
     $displayName: String, $notes: String, $commit: String, $config: JSONString, $host: String, \
     $program: String, $repo: String, $jobType: String, $tags: [String!]) { \
     upsertBucket(input: {name: $name, modelName: $project, entityName: $entity, \
     groupName: $groupName, displayName: $displayName, notes: $notes, commit: $commit, \
     config: $config, host: $host, jobProgram: $program, jobRepo: $repo, jobType: $jobType, \
     tags: $tags}) { bucket { id name displayName project { id name entity { id name } } \
     historyLineCount } inserted } }"
);
query!(
    CREATE_RUN_FILES,
    "CreateRunFiles",
    "mutation CreateRunFiles($entity: String!, $project: String!, $run: String!, $files: [String!]!) { \
     createRunFiles(input: {entityName: $entity, projectName: $project, runName: $run, files: $files}) { \
     runID uploadHeaders files { name uploadUrl } } }"
);
query!(
    CREATE_ARTIFACT,
    "CreateArtifact",
    "mutation CreateArtifact($input: CreateArtifactInput!) { createArtifact(input: $input) { \
     artifact { id state artifactSequence { id latestArtifact { id } } } } }"
);
query!(
    CREATE_ARTIFACT_MANIFEST,
    "CreateArtifactManifest",
    "mutation CreateArtifactManifest($artifactID: ID!, $baseArtifactID: ID, $name: String!, \
     $digest: String!, $entityName: String!, $projectName: String!, $runName: String!, \
     $manifestType: ArtifactManifestType!, $includeUpload: Boolean!) { \
     createArtifactManifest(input: {artifactID: $artifactID, baseArtifactID: $baseArtifactID, \
     name: $name, digest: $digest, entityName: $entityName, projectName: $projectName, \
     runName: $runName, type: $manifestType}) { artifactManifest { id file { id \
     uploadUrl @include(if: $includeUpload) uploadHeaders @include(if: $includeUpload) } } } }"
);
query!(
    CREATE_ARTIFACT_FILES,
    "CreateArtifactFiles",
    "mutation CreateArtifactFiles($input: CreateArtifactFilesInput!) { \
     createArtifactFiles(input: $input) { files { edges { node { storagePath uploadUrl \
     uploadHeaders artifact { id } } } } } }"
);
query!(
    COMMIT_ARTIFACT,
    "CommitArtifact",
    "mutation CommitArtifact($artifactID: ID!) { commitArtifact(input: {artifactID: $artifactID}) { \
     artifact { id digest } } }"
);

/// Asks, and gives what the answer holds under `data`.
pub(super) async fn ask<T: DeserializeOwned>(
    client: &Client,
    query: Query,
    variables: Value,
) -> Result<T, ExportError> {
    let reply = post(client, query, &variables).await?;
    read(client, query, &reply)
}

/// As [`ask`]; nothing where the question is too large for the other end (413).
pub(super) async fn ask_if_it_fits<T: DeserializeOwned>(
    client: &Client,
    query: Query,
    variables: &Value,
) -> Result<Option<T>, ExportError> {
    let reply = post(client, query, variables).await?;
    match reply.status {
        413 => Ok(None),
        _ => read(client, query, &reply).map(Some),
    }
}

async fn post(client: &Client, query: Query, variables: &Value) -> Result<Reply, ExportError> {
    let body = json!({"operationName": query.name, "query": query.text, "variables": variables});
    client.post("/graphql").json(&body).send().await
}

fn read<T: DeserializeOwned>(
    client: &Client,
    query: Query,
    reply: &Reply,
) -> Result<T, ExportError> {
    #[derive(Deserialize)]
    struct Answer<T> {
        #[serde(default = "Option::default")]
        data: Option<T>,
        #[serde(default)]
        errors: Option<Vec<Trouble>>,
    }
    #[derive(Deserialize)]
    struct Trouble {
        #[serde(default)]
        message: String,
    }
    if !reply.is_success() {
        return Err(refused(client, query, reply));
    }
    // the data of an answer with errors may have another shape
    let answer: Answer<Value> = reply.json()?;
    if let Some(trouble) = answer.errors.as_ref().and_then(|errors| errors.first()) {
        return Err(told(client, query, &trouble.message));
    }
    let data = answer.data.unwrap_or_default();
    serde_json::from_value(data).map_err(|error| {
        ExportError::retry(format!(
            "the answer of {} to {} is not what W&B says ({error})",
            client.base(),
            query.name
        ))
    })
}

fn refused(client: &Client, query: Query, reply: &Reply) -> ExportError {
    let by_status = client.error(reply);
    let said = client.redactor().clean(&reply.excerpt());
    let named = format!(
        "{} answered {} to {}: {said}",
        client.base(),
        reply.status,
        query.name
    );
    match by_status {
        ExportError::Retry { after, .. } => ExportError::Retry {
            reason: named,
            after,
        },
        // two processes made the run at the same moment
        ExportError::GiveUp { .. } if reply.status == 409 && query.name == UPSERT_BUCKET.name => {
            ExportError::retry(named)
        }
        ExportError::GiveUp { remedy, .. } => match reply.status {
            400 | 404 | 409 | 410 | 422 => {
                ExportError::give_up(named, remedy_for(&said).unwrap_or(&remedy))
            }
            _ => ExportError::give_up(named, remedy),
        },
    }
}

/// An error in an answer that is a success by its status.
fn told(client: &Client, query: Query, message: &str) -> ExportError {
    let said: String = client
        .redactor()
        .clean(message)
        .chars()
        .filter(|c| !c.is_control())
        .take(300)
        .collect();
    let reason = format!("{} answered {}: {said}", client.base(), query.name);
    let lower = said.to_ascii_lowercase();
    let passing = [
        "rate limit",
        "timeout",
        "timed out",
        "try again",
        "internal",
    ];
    if passing.iter().any(|words| lower.contains(words)) {
        return ExportError::retry(reason);
    }
    let other = "Check WANDB_ENTITY and WANDB_PROJECT, and that WANDB_API_KEY may write there";
    ExportError::give_up(reason, remedy_for(&said).unwrap_or(other))
}

fn remedy_for(said: &str) -> Option<&'static str> {
    let said = said.to_ascii_lowercase();
    let remedies = [
        (
            "deleted",
            "Set WANDB_RUN_ID to an id that was never used: W&B does not take the id of a deleted run again",
        ),
        (
            "permission",
            "Set WANDB_API_KEY to a key that may write to the project, or WANDB_ENTITY to a team that it belongs to",
        ),
        (
            "entity",
            "Check WANDB_ENTITY: it is your user name or a team of yours",
        ),
        ("project", "Check WANDB_PROJECT and WANDB_ENTITY"),
    ];
    remedies
        .iter()
        .find(|(word, _)| said.contains(word))
        .map(|(_, remedy)| *remedy)
}

/// What an upload address answered that is no success. It is not W&B itself, so a 403
/// does not speak of the key.
pub(super) fn upload_refused(client: &Client, reply: &Reply) -> ExportError {
    match client.error(reply) {
        ExportError::GiveUp { reason, .. } if !is_retryable(reply.status) => ExportError::give_up(
            reason,
            "The address came from W&B for this upload: check the clock of this machine and the proxies before the object store, then export again",
        ),
        other => other,
    }
}
