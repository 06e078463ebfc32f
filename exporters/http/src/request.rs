use std::path::{Path, PathBuf};
use std::time::Duration;

use lem_record::ExportError;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE};
use reqwest::{Method, RequestBuilder};
use serde::Serialize;

use crate::{Client, Reply, transport, url_without_secrets};

/// One request, before it is sent.
#[derive(Debug)]
pub struct Request<'a> {
    client: &'a Client,
    method: Method,
    url: String,
    ours: bool,
    query: Vec<(String, String)>,
    headers: Vec<(String, String)>,
    payload: Payload,
    timeout: Duration,
    once: bool,
}

#[derive(Clone, Debug)]
enum Payload {
    None,
    Bytes {
        bytes: bytes::Bytes,
        content_type: &'static str,
    },
    File {
        path: PathBuf,
        len: u64,
        content_type: String,
    },
    /// What made a payload impossible; told when sending.
    Broken(String),
}

impl<'a> Request<'a> {
    pub(crate) fn new(client: &'a Client, method: Method, url: String, ours: bool) -> Self {
        Self {
            client,
            method,
            url,
            ours,
            query: Vec::new(),
            headers: Vec::new(),
            payload: Payload::None,
            timeout: client.timeout,
            once: false,
        }
    }

    #[must_use]
    pub fn query(mut self, name: &str, value: &str) -> Self {
        self.query.push((name.to_owned(), value.to_owned()));
        self
    }

    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    #[must_use]
    pub fn json(self, body: &impl Serialize) -> Self {
        match serde_json::to_vec(body) {
            Ok(bytes) => self.body(bytes, "application/json"),
            Err(error) => Self {
                payload: Payload::Broken(error.to_string()),
                ..self
            },
        }
    }

    #[must_use]
    pub fn body(mut self, bytes: impl Into<bytes::Bytes>, content_type: &'static str) -> Self {
        self.payload = Payload::Bytes {
            bytes: bytes.into(),
            content_type,
        };
        self
    }

    /// A file of `len` bytes, streamed from the disk. It gets a second more for
    /// each quarter of a mebibyte.
    #[must_use]
    pub fn file(mut self, path: &Path, len: u64, content_type: impl Into<String>) -> Self {
        self.timeout += Duration::from_secs(len >> 18);
        let content_type = content_type.into();
        self.payload = Payload::File {
            path: path.to_owned(),
            len,
            content_type,
        };
        self
    }

    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Not to be sent again by itself where the connection breaks: for a request
    /// that, done twice, leaves something behind twice.
    #[must_use]
    pub fn once(mut self) -> Self {
        self.once = true;
        self
    }

    /// The answer, whatever its status. Where a connection that was kept alive turns
    /// out to be dead, the request is sent once more at once.
    pub async fn send(self) -> Result<Reply, ExportError> {
        let first = self.attempt().await;
        match first {
            Err(Failure::Http(error)) if !self.once && broke(&error) => self.attempt().await,
            other => other,
        }
        .map_err(|failure| match failure {
            Failure::Error(error) => error,
            Failure::Http(error) => transport::explain(
                &error,
                &self.service(),
                self.timeout.as_secs_f64(),
                &self.client.remedies,
            ),
        })
    }

    fn service(&self) -> String {
        if self.ours {
            return self.client.base().to_owned();
        }
        let shown = url_without_secrets(&self.url);
        shown.split('?').next().unwrap_or_default().to_owned()
    }

    async fn attempt(&self) -> Result<Reply, Failure> {
        let mut builder = self.client.http.request(self.method.clone(), &self.url);
        if self.ours {
            builder = builder.headers(self.client.headers.clone());
        }
        if !self.query.is_empty() {
            builder = builder.query(&self.query);
        }
        for (name, value) in &self.headers {
            builder = builder.header(name, value);
        }
        let builder = self.with_payload(builder.timeout(self.timeout)).await?;
        let mut response = builder.send().await.map_err(Failure::Http)?;

        let mut body = Vec::new();
        let mut cut = false;
        while let Some(chunk) = response.chunk().await.map_err(Failure::Http)? {
            let room = self.client.max_reply_bytes.saturating_sub(body.len());
            cut = chunk.len() > room;
            body.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
            if cut {
                break;
            }
        }
        let path = response.url().path().to_owned();
        Ok(Reply {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body,
            cut,
            what: format!("{} {path}", self.method),
        })
    }

    async fn with_payload(&self, builder: RequestBuilder) -> Result<RequestBuilder, Failure> {
        match &self.payload {
            Payload::None => Ok(builder),
            Payload::Bytes {
                bytes,
                content_type,
            } => Ok(builder
                .header(CONTENT_TYPE, *content_type)
                .body(bytes.clone())),
            Payload::File {
                path,
                len,
                content_type,
            } => {
                let file = tokio::fs::File::open(path).await.map_err(|error| {
                    let reason = format!("{} cannot be read: {error}", path.display());
                    Failure::Error(ExportError::retry(reason))
                })?;
                Ok(builder
                    .header(CONTENT_TYPE, content_type)
                    .header(CONTENT_LENGTH, *len)
                    .body(file))
            }
            Payload::Broken(why) => Err(Failure::Error(ExportError::give_up(
                format!("a request cannot be encoded: {why}"),
                "Please report this",
            ))),
        }
    }
}

enum Failure {
    Http(reqwest::Error),
    Error(ExportError),
}

/// The connection was there and broke: what a server does to one that was idle for long.
fn broke(error: &reqwest::Error) -> bool {
    error.is_request() && !error.is_connect() && !error.is_timeout()
}
