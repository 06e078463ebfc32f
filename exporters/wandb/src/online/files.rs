//! Files of the run: `CreateRunFiles` gives an address for each, and the bytes go there.

use lem_http::{Client, Request};
use lem_record::{ExportError, Rejected};
use reqwest::Method;
use serde::Deserialize;
use serde_json::json;

use super::Remote;
use super::graphql::{self, CREATE_RUN_FILES};

/// A file, with the record that it comes from.
pub(super) struct File {
    pub n: u64,
    pub name: String,
    pub bytes: Vec<u8>,
}

/// The names of those that are there now, for the file stream; of the others the
/// record and the reason.
pub(super) async fn upload(
    client: &Client,
    remote: &Remote,
    files: Vec<File>,
) -> Result<(Vec<String>, Vec<Rejected>), ExportError> {
    #[derive(Deserialize)]
    struct Created {
        #[serde(rename = "createRunFiles")]
        inner: Files,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Files {
        #[serde(default)]
        upload_headers: Option<Vec<String>>,
        files: Vec<Place>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Place {
        name: String,
        upload_url: Option<String>,
    }
    let names: Vec<&String> = files.iter().map(|file| &file.name).collect();
    let variables = json!({
        "entity": remote.entity, "project": remote.project, "run": remote.run, "files": names,
    });
    let created: Created = graphql::ask(client, CREATE_RUN_FILES, variables).await?;
    let headers = created.inner.upload_headers.unwrap_or_default();
    let (mut uploaded, mut rejected) = (Vec::new(), Vec::new());
    for File { n, name, bytes } in files {
        let mut places = created.inner.files.iter();
        let place = places.find(|file| file.name == name);
        let Some(url) = place.and_then(|file| file.upload_url.as_ref()) else {
            let why = format!("W&B gave no address for the file {name}");
            return Err(ExportError::retry(why));
        };
        let reply = put(client, url, &headers)
            .body(bytes, "application/octet-stream")
            .send()
            .await?;
        if reply.status == 413 {
            let reason = too_large(&name);
            rejected.push(Rejected { n, reason });
            continue;
        }
        if !reply.is_success() {
            return Err(graphql::upload_refused(client, &reply));
        }
        uploaded.push(name);
    }
    Ok((uploaded, rejected))
}

/// Where a file is refused with a 413: no other file is worse off for it.
pub(super) fn too_large(name: &str) -> String {
    format!("the file {name} is too large for W&B, or for a proxy before it (413)")
}

/// An upload to an address that W&B gave, without our key. `headers` are `name:value`.
pub(super) fn put<'a>(client: &'a Client, url: &str, headers: &[String]) -> Request<'a> {
    // a server of one's own may leave its own address out
    let url = match url.starts_with('/') {
        true => format!("{}{url}", client.base()),
        false => url.to_owned(),
    };
    let mut request = client.elsewhere(Method::PUT, &url);
    for header in headers {
        if let Some((name, value)) = header.split_once(':') {
            request = request.header(name.trim(), value.trim());
        }
    }
    request
}
