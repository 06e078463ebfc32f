//! Questions to a server outside the measured windows: is it there, which model, which version,
//! tokens of a text, metrics. One at a time, blocking. What is measured goes another way.

use std::fmt;
use std::time::Duration;

use lem_record::Secret;
use reqwest::{Method, Url};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::engine::EngineError;

/// The largest answer that is read: metrics of a large server have a few hundred KiB.
const MOST_BYTES: usize = 64 << 20;
/// Enough of an error's text to know what is wrong.
const TOLD: usize = 400;

/// Why there is no good answer.
#[derive(Debug)]
pub enum Fault {
    /// Nobody answers there, or not in time.
    Unreachable(String),
    /// It answered, but not with success: the status and what it said.
    Status(u16, String),
    /// The answer is not what it should be.
    Garbage(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(why) => write!(f, "it cannot be reached: {why}"),
            Self::Status(status, said) if said.is_empty() => write!(f, "it answered {status}"),
            Self::Status(status, said) => write!(f, "it answered {status}: {said}"),
            Self::Garbage(why) => write!(f, "its answer is not understood: {why}"),
        }
    }
}

impl Fault {
    /// The same for the user, with what to do about it.
    pub fn told(&self, what: &str, server: &Control) -> EngineError {
        let remedy = match self {
            Self::Unreachable(_) => {
                "Start the server, or correct server.url; a name that does not resolve and a closed port look the same from here"
            }
            Self::Status(401 | 403, _) => {
                "Put the server's API key into an environment variable and name that variable in server.api_key_env"
            }
            Self::Status(404, _) => {
                "Check that server.url has no path but the server's own, and that backend names the kind of server that is there"
            }
            Self::Status(429, _) => {
                "The server refuses so many requests: lower traffic.concurrency or the rate"
            }
            Self::Status(500.., _) => "Look into the server's own log",
            Self::Status(..) | Self::Garbage(_) => {
                "Check that backend names the kind of server that is there"
            }
        };
        EngineError::new(format!("{what} at {}: {self}", server.shown()), remedy)
    }
}

/// The way to one server.
pub struct Control {
    client: reqwest::Client,
    runtime: Runtime,
    root: Url,
    key: Option<Secret>,
}

impl Control {
    /// `address` with or without `/v1` at its end.
    pub fn new(address: &str, key: Option<Secret>) -> Result<Self, EngineError> {
        let wrong = |why: &str| {
            EngineError::new(
                format!("The server's address {why}"),
                "Write server.url as http://127.0.0.1:8000",
            )
        };
        let mut root =
            Url::parse(address.trim()).map_err(|error| wrong(&format!("is none: {error}")))?;
        if !matches!(root.scheme(), "http" | "https") || root.host_str().is_none() {
            return Err(wrong("begins with neither http:// nor https://"));
        }
        let path = root.path().trim_end_matches('/');
        let path = path.strip_suffix("/v1").unwrap_or(path).to_owned();
        root.set_path(&path);
        root.set_query(None);
        root.set_fragment(None);
        let broken = |error: &dyn fmt::Display| {
            EngineError::new(
                format!("No connection can be made to any server: {error}"),
                "Check the limits on open files and processes (ulimit -n, ulimit -u)",
            )
        };
        // refused only where the program has chosen a provider already, which then serves
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder();
        let here = root.host_str().is_some_and(|host| {
            let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
            host == "localhost" || address.is_ok_and(|address| address.is_loopback())
        });
        if here {
            // A proxy for the world has no way back to this machine.
            builder = builder.no_proxy();
        }
        let client = builder
            .user_agent(concat!("lem/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(Duration::from_secs(10))
            // Between two questions nobody here would see that the server closed the connection.
            .pool_idle_timeout(Duration::from_secs(1))
            // a redirect would carry the key to a stranger
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| broken(&error))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| broken(&error))?;
        Ok(Self {
            client,
            runtime,
            root,
            key,
        })
    }

    /// The address without user and password.
    pub fn shown(&self) -> String {
        let mut url = self.root.clone();
        let _ = url.set_username("");
        let _ = url.set_password(None);
        url.as_str().trim_end_matches('/').to_owned()
    }

    pub fn root(&self) -> &Url {
        &self.root
    }

    pub fn key(&self) -> Option<&Secret> {
        self.key.as_ref()
    }

    pub fn get(&self, path: &str, longest: Duration) -> Result<Vec<u8>, Fault> {
        let url = self.url(path);
        self.ask(Method::GET, url, None, longest)
    }

    /// From an address that the configuration names: without the server's key.
    pub fn get_elsewhere(&self, url: &Url, longest: Duration) -> Result<Vec<u8>, Fault> {
        if url.host_str() == self.root.host_str()
            && url.port_or_known_default() == self.root.port_or_known_default()
        {
            return self.ask(Method::GET, Ok(url.clone()), None, longest);
        }
        let request = self.client.get(url.clone()).timeout(longest);
        self.runtime.block_on(send(request))
    }

    pub fn get_json(&self, path: &str, longest: Duration) -> Result<Value, Fault> {
        json(&self.get(path, longest)?)
    }

    pub fn post_json(&self, path: &str, body: &Value, longest: Duration) -> Result<Value, Fault> {
        let url = self.url(path);
        json(&self.ask(Method::POST, url, Some(body), longest)?)
    }

    fn url(&self, path: &str) -> Result<Url, Fault> {
        let text = format!("{}{path}", self.root.as_str().trim_end_matches('/'));
        Url::parse(&text).map_err(|error| Fault::Garbage(error.to_string()))
    }

    fn ask(
        &self,
        method: Method,
        url: Result<Url, Fault>,
        body: Option<&Value>,
        longest: Duration,
    ) -> Result<Vec<u8>, Fault> {
        let mut request = self.client.request(method, url?).timeout(longest);
        if let Some(key) = &self.key {
            request = request.bearer_auth(key.expose());
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        self.runtime
            .block_on(send(request))
            .map_err(|fault| match (fault, &self.key) {
                // A server may repeat the key that it refuses.
                (Fault::Status(status, said), Some(key)) => {
                    Fault::Status(status, said.replace(key.expose(), "***"))
                }
                (other, _) => other,
            })
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control")
            .field("root", &self.shown())
            .finish_non_exhaustive()
    }
}

fn json(bytes: &[u8]) -> Result<Value, Fault> {
    serde_json::from_slice(bytes).map_err(|error| Fault::Garbage(error.to_string()))
}

async fn send(request: reqwest::RequestBuilder) -> Result<Vec<u8>, Fault> {
    // The innermost cause says what it is; an address with a password is not repeated.
    let lost = |error: reqwest::Error| {
        let error = error.without_url();
        let mut cause: &dyn std::error::Error = &error;
        while let Some(inner) = cause.source() {
            cause = inner;
        }
        Fault::Unreachable(if error.is_timeout() {
            "no answer in time".to_owned()
        } else {
            cause.to_string()
        })
    };
    let mut response = request.send().await.map_err(lost)?;
    let status = response.status();
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(lost)? {
        if bytes.len() + chunk.len() > MOST_BYTES {
            return Err(Fault::Garbage(format!(
                "it is longer than {MOST_BYTES} bytes"
            )));
        }
        bytes.extend_from_slice(&chunk);
    }
    if status.is_success() {
        Ok(bytes)
    } else {
        Err(Fault::Status(status.as_u16(), said(&bytes)))
    }
}

/// The message of an error's body: OpenAI's form, FastAPI's, or its beginning.
pub fn said(body: &[u8]) -> String {
    let value: Option<Value> = serde_json::from_slice(body).ok();
    let message = value.as_ref().and_then(|value| {
        let at = ["/error/message", "/message", "/error", "/detail"];
        at.iter().find_map(|at| value.pointer(at)?.as_str())
    });
    let text = match message {
        Some(message) => message.to_owned(),
        None => String::from_utf8_lossy(body.get(..TOLD * 4).unwrap_or(body)).into_owned(),
    };
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match text.char_indices().nth(TOLD) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_with_and_without_the_version() {
        for (written, path) in [
            ("http://h:1", "http://h:1/health"),
            ("http://h:1/", "http://h:1/health"),
            ("http://h:1/v1", "http://h:1/health"),
            ("http://h:1/some/v1/", "http://h:1/some/health"),
            (" http://h:1/some?x=1#y ", "http://h:1/some/health"),
        ] {
            let control = Control::new(written, None).unwrap();
            assert_eq!(control.url("/health").unwrap().as_str(), path, "{written}");
        }
        for wrong in ["h:1", "ftp://h", "", "http://"] {
            assert!(Control::new(wrong, None).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_password_and_a_key_are_never_shown() {
        let key = Secret::new("hunter2");
        let control = Control::new("http://ada:hunter2@h:1/v1", Some(key)).unwrap();
        let fault = Fault::Status(401, "no".into());
        let shown = format!("{control:?} {}", fault.told("The list of models", &control));
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(
            shown.contains("http://h:1") && shown.contains("api_key_env"),
            "{shown}"
        );
    }

    #[test]
    fn what_a_server_says_is_found_in_its_answer() {
        assert_eq!(
            said(br#"{"error":{"message":"no such\n model"}}"#),
            "no such model"
        );
        assert_eq!(said(br#"{"detail":"Not Found"}"#), "Not Found");
        assert_eq!(said(b"<html> oops </html>"), "<html> oops </html>");
        assert!(said(&vec![b'x'; 10_000]).chars().count() <= TOLD + 1);
    }
}
