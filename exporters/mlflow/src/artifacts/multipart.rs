//! Large files in parts, straight to the object store behind the server.

use std::collections::BTreeMap;
use std::path::Path;

use lem_http::Reply;
use lem_record::ExportError;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

use crate::rest::Api;

const ROOT: &str = "/api/2.0/mlflow-artifacts/mpu";
const PART: u64 = 16 << 20;
/// What S3 takes.
const MOST_PARTS: u64 = 10_000;

#[derive(Deserialize)]
struct Created {
    #[serde(default)]
    upload_id: Option<String>,
    credentials: Vec<Credential>,
}

#[derive(Deserialize)]
struct Credential {
    url: String,
    part_number: u64,
    #[serde(default)]
    headers: BTreeMap<String, String>,
}

/// `at` is the artifact's path at the server, encoded, from its slash on. Says no
/// where the server has no such way.
pub(super) async fn send(api: &Api, at: &str, path: &Path, len: u64) -> Result<bool, ExportError> {
    let (folder, name) = at.rsplit_once('/').unwrap_or(("", at));
    // in the body the name is not part of an address
    let name = percent_encoding::percent_decode_str(name)
        .decode_utf8_lossy()
        .into_owned();
    let part = PART.max(len.div_ceil(MOST_PARTS - 1));
    let count = len.div_ceil(part).max(1);
    let call = |verb: &str| api.post(&format!("{ROOT}/{verb}{folder}"));
    let reply = call("create")
        .json(&json!({"path": name, "num_parts": count}))
        .send()
        .await?;
    if matches!(reply.status, 404 | 405 | 501) {
        return Ok(false);
    }
    let created: Created = read(api, &reply)?;
    let sent = parts(api, path, part, len, &created).await;
    let finished = match sent {
        Ok(parts) => {
            let body = json!({"path": name, "upload_id": created.upload_id, "parts": parts});
            let reply = call("complete").json(&body).send().await?;
            if reply.is_success() {
                Ok(())
            } else {
                Err(api.error(&reply))
            }
        }
        Err(error) => Err(error),
    };
    if let Err(error) = finished {
        // else the store keeps the parts, and bills them
        let body = json!({"path": name, "upload_id": created.upload_id});
        let _ = call("abort").json(&body).send().await;
        return Err(error);
    }
    Ok(true)
}

async fn parts(
    api: &Api,
    path: &Path,
    part: u64,
    len: u64,
    created: &Created,
) -> Result<Vec<Value>, ExportError> {
    let unreadable = |error: std::io::Error| {
        ExportError::retry(format!("{} cannot be read: {error}", path.display()))
    };
    let mut file = tokio::fs::File::open(path).await.map_err(unreadable)?;
    let mut done = Vec::with_capacity(created.credentials.len());
    for (index, credential) in created.credentials.iter().enumerate() {
        let from = part.saturating_mul(index as u64);
        file.seek(std::io::SeekFrom::Start(from))
            .await
            .map_err(unreadable)?;
        let mut bytes = Vec::new();
        let mut piece = (&mut file).take(part.min(len.saturating_sub(from)));
        piece.read_to_end(&mut bytes).await.map_err(unreadable)?;
        let mut request = api.client.elsewhere(Method::PUT, &credential.url);
        for (name, value) in &credential.headers {
            request = request.header(name, value);
        }
        let reply = request
            .body(bytes, "application/octet-stream")
            .send()
            .await?;
        if !reply.is_success() {
            // an address of a part lives for a while only: all is begun again later
            return Err(ExportError::retry(format!(
                "part {} of {} was answered with {}",
                credential.part_number,
                path.display(),
                reply.status
            )));
        }
        done.push(json!({
            "part_number": credential.part_number,
            "etag": reply.header("etag").unwrap_or_default(),
            "url": credential.url,
        }));
    }
    Ok(done)
}

fn read(api: &Api, reply: &Reply) -> Result<Created, ExportError> {
    if reply.is_success() {
        reply.json()
    } else {
        Err(api.error(reply))
    }
}
