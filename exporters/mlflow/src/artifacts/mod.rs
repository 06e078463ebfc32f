//! Files of a run, by the way that its server takes them: the proxy, the root
//! itself where it is a folder of this machine, or `upload-artifact`.

mod direct;
mod multipart;
mod path;

use std::path::{Path, PathBuf};

use lem_http::Reply;
use lem_record::ExportError;
use reqwest::Url;

pub(crate) use direct::copy;
pub(crate) use path::local;

use crate::limits;
use crate::rest::{Api, Remote};
use path::{content_type, encoded};

/// What is to be sent.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Content<'a> {
    File { path: &'a Path, len: u64 },
    Bytes(&'a [u8]),
}

impl Content<'_> {
    fn len(&self) -> u64 {
        match self {
            Self::File { len, .. } => *len,
            Self::Bytes(bytes) => bytes.len() as u64,
        }
    }
}

/// The way in. It may turn out while sending that another one is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Way {
    /// `PUT` below this path of the server.
    Proxy(String),
    /// Below this folder; `proved` once the server was seen to see what we wrote.
    Folder {
        root: PathBuf,
        proved: bool,
    },
    Upload,
}

#[derive(Debug)]
pub(crate) struct Artifacts {
    way: Way,
    multipart: bool,
    multipart_from: u64,
}

/// Why a file was not taken; the run goes on without it.
pub(crate) type Taken = Result<(), String>;

impl Artifacts {
    pub fn new(api: &Api, remote: &Remote, multipart: bool) -> Self {
        let way = way(api.client.base(), &remote.artifact_uri);
        Self {
            way,
            multipart,
            multipart_from: 100 << 20,
        }
    }

    pub async fn put(
        &mut self,
        api: &Api,
        remote: &Remote,
        name: &str,
        content: Content<'_>,
    ) -> Result<Taken, ExportError> {
        loop {
            match &mut self.way {
                Way::Proxy(root) => {
                    let at = format!("{root}/{}", encoded(name));
                    if let Content::File { path, len } = content
                        && self.multipart
                        && len >= self.multipart_from
                    {
                        if multipart::send(api, &at, path, len).await? {
                            return Ok(Ok(()));
                        }
                        self.multipart = false;
                    }
                    let request = api.put(&format!("{PROXY}{at}"));
                    let request = match content {
                        Content::File { path, len } => request.file(path, len, content_type(name)),
                        Content::Bytes(bytes) => request.body(bytes.to_vec(), content_type(name)),
                    };
                    let reply = request.send().await?;
                    if !is_off(&reply) {
                        return judge(api, name, &reply);
                    }
                    self.way = Way::Upload;
                }
                Way::Folder { root, proved } => {
                    let to = root.join(name);
                    if copy(content, &to).await.is_ok() {
                        if *proved || api.sees(&remote.run_id, name).await? {
                            *proved = true;
                            return Ok(Ok(()));
                        }
                        // a folder of the same name, but not the server's: leave nothing behind
                        let _ = tokio::fs::remove_file(&to).await;
                    }
                    self.way = Way::Upload;
                }
                Way::Upload => return upload(api, remote, name, content).await,
            }
        }
    }
}

const PROXY: &str = "/api/2.0/mlflow-artifacts/artifacts";

fn way(base: &str, uri: &str) -> Way {
    let host = Url::parse(base)
        .ok()
        .and_then(|url| url.host_str().map(str::to_owned));
    if uri.starts_with('/') && !uri.starts_with("//") {
        return folder(host.as_deref(), uri.into());
    }
    let Ok(url) = Url::parse(uri) else {
        return Way::Upload;
    };
    match url.scheme() {
        "mlflow-artifacts" => {
            // `mlflow-artifacts://HOST/…` of another host is a way that our credentials must not go
            let theirs = url.host_str().filter(|name| !name.is_empty());
            match theirs.is_none() || theirs == host.as_deref() {
                true => Way::Proxy(format!("/{}", url.path().trim_matches('/'))),
                false => Way::Upload,
            }
        }
        "http" | "https" => match uri
            .strip_prefix(base)
            .and_then(|rest| rest.strip_prefix(PROXY))
        {
            Some(root) => Way::Proxy(format!("/{}", root.trim_matches('/'))),
            None => Way::Upload,
        },
        "file" => match crate::config::file_path(uri) {
            Ok(path) => folder(host.as_deref(), path),
            Err(_) => Way::Upload,
        },
        _ => Way::Upload,
    }
}

/// A folder that the server names is ours only where the server is on this machine.
fn folder(host: Option<&str>, root: PathBuf) -> Way {
    let local = |host: &str| {
        let bare = host.trim_matches(['[', ']']);
        host == "localhost"
            || bare
                .parse::<std::net::IpAddr>()
                .is_ok_and(|address| address.is_loopback())
    };
    // the root of all artifacts, or where it is yet to be made the folder that it is to
    // be in; a server in a container has them elsewhere
    let near = root
        .ancestors()
        .skip(1)
        .take(4)
        .any(|folder| folder.parent().is_some() && folder.is_dir());
    match host.is_some_and(local) && root.is_absolute() && near {
        true => Way::Folder {
            root,
            proved: false,
        },
        false => Way::Upload,
    }
}

/// The server says that it does not serve artifacts. 503 would mean "later" otherwise.
fn is_off(reply: &Reply) -> bool {
    matches!(reply.status, 404 | 405 | 501)
        || (reply.status == 503
            && String::from_utf8_lossy(&reply.body).contains("--no-serve-artifacts"))
}

async fn upload(
    api: &Api,
    remote: &Remote,
    name: &str,
    content: Content<'_>,
) -> Result<Taken, ExportError> {
    let bytes = content.len();
    if bytes == 0 {
        return Ok(Err(format!(
            "{name} is empty, and this server takes no empty file"
        )));
    }
    if bytes > limits::UPLOAD_ARTIFACT {
        return Ok(Err(format!(
            "{name} has {bytes} bytes, and a server that does not serve artifacts takes {} at most: start it with --serve-artifacts",
            limits::UPLOAD_ARTIFACT
        )));
    }
    let request = api
        .post("/ajax-api/2.0/mlflow/upload-artifact")
        .query("run_uuid", &remote.run_id)
        .query("path", name);
    // a form's content type would make the server read it as one
    let kind = "application/octet-stream";
    let request = match content {
        Content::File { path, len } => request.file(path, len, kind),
        Content::Bytes(bytes) => request.body(bytes.to_vec(), kind),
    };
    judge(api, name, &request.send().await?)
}

/// A file that is refused is not the end of the delivery; credentials that are, are.
fn judge(api: &Api, name: &str, reply: &Reply) -> Result<Taken, ExportError> {
    if reply.is_success() {
        return Ok(Ok(()));
    }
    match api.error(reply) {
        ExportError::GiveUp { reason, remedy } if !matches!(reply.status, 401 | 403) => {
            Ok(Err(format!("{name}: {reason}. {remedy}")))
        }
        error => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::{Way, way};

    #[test]
    fn the_way_follows_from_the_root() {
        let here = "http://127.0.0.1:5000/prefix";
        let proxy = Way::Proxy("/1/r/artifacts".into());
        assert_eq!(way(here, "mlflow-artifacts:/1/r/artifacts"), proxy);
        assert_eq!(
            way(here, "mlflow-artifacts://127.0.0.1:5000/1/r/artifacts"),
            proxy
        );
        assert_eq!(
            way(here, "mlflow-artifacts://evil.example/1/r/artifacts"),
            Way::Upload
        );
        let over_http = format!("{here}/api/2.0/mlflow-artifacts/artifacts/1/r/artifacts");
        assert_eq!(way(here, &over_http), proxy);
        for uri in [
            "s3://b/1/r/artifacts",
            "",
            "dbfs:/x",
            "http://other/api",
            "C:\\x",
        ] {
            assert_eq!(way(here, uri), Way::Upload, "{uri}");
        }
    }

    #[test]
    fn a_folder_is_written_only_where_the_server_is_here() {
        let folder = std::env::temp_dir().join("1/r/artifacts");
        let uri = format!("file://{}", folder.display());
        assert!(matches!(
            way("http://localhost:5000", &uri),
            Way::Folder { .. }
        ));
        assert!(matches!(way("http://[::1]:5000", &uri), Way::Folder { .. }));
        assert_eq!(way("http://ml.example", &uri), Way::Upload);
        assert_eq!(
            way("http://localhost", "file:///no-such/1/r/artifacts"),
            Way::Upload
        );
    }
}
