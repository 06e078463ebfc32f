//! Requests to the hub: patience, redirects, and where the token may go.

use std::time::Duration;

use jiff::Timestamp;
use lem_http::retry_after;
use lem_record::Secret;
use reqwest::header::{ACCEPT_ENCODING, AUTHORIZATION, HeaderValue, LOCATION, RANGE};
use reqwest::{Method, Response, StatusCode, Url};

use crate::engine::EngineError;
use crate::model::{Hub, Patience, Progress};

use super::said::{Asked, UNREACHABLE, refusal};

const MOST_REDIRECTS: usize = 10;

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Fault {
    /// The hub was not reached at all: what is in the cache may serve.
    Unreachable(EngineError),
    Refused(EngineError),
}

impl From<Fault> for EngineError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Unreachable(error) | Fault::Refused(error) => error,
        }
    }
}

impl From<EngineError> for Fault {
    fn from(error: EngineError) -> Self {
        Self::Refused(error)
    }
}

#[derive(Debug)]
pub(super) struct Http {
    client: reqwest::Client,
    endpoint: Url,
    host: String,
    token: Option<Secret>,
    patience: Patience,
}

/// One request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask<'a> {
    pub what: &'a str,
    pub url: &'a str,
    /// Bytes from here on.
    pub from: u64,
    /// Only the head: redirects to another host are not followed, since what is
    /// asked for stands on the way there.
    pub head: bool,
}

impl Http {
    pub fn new(hub: &Hub, token: Option<Secret>) -> Result<Self, EngineError> {
        let wrong = |why: &str| {
            EngineError::new(
                format!("HF_ENDPOINT is not the address of a hub: {why}"),
                "Unset it, or set it to something like https://huggingface.co",
            )
        };
        let endpoint = Url::parse(&hub.endpoint).map_err(|error| wrong(&error.to_string()))?;
        if !matches!(endpoint.scheme(), "http" | "https") || endpoint.host_str().is_none() {
            return Err(wrong("it begins with neither http:// nor https://"));
        }
        if !endpoint.username().is_empty() || endpoint.password().is_some() {
            return Err(wrong("it holds a user or a password"));
        }
        // refused only where the program has chosen a provider already, which then serves
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .user_agent(concat!("lem/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(hub.patience.silence)
            .read_timeout(hub.patience.silence)
            // by hand: the token must not follow to another host
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| {
                EngineError::new(format!("No HTTP client can be made: {error}"), UNREACHABLE)
            })?;
        let host = endpoint.host_str().unwrap_or_default().to_owned();
        Ok(Self {
            client,
            endpoint,
            host,
            token,
            patience: hub.patience,
        })
    }

    pub fn host(&self) -> &str {
        &self.host
    }

    pub fn patience(&self) -> Patience {
        self.patience
    }

    /// An answer with a status of success; asked again while that may help.
    pub async fn ask(&self, ask: Ask<'_>, progress: &mut dyn Progress) -> Result<Response, Fault> {
        let mut tried = 0;
        loop {
            tried += 1;
            let outcome = self.follow(ask).await?;
            let last = tried >= self.patience.tries;
            let (wait, why) = match outcome {
                Ok(response) if answers(ask, response.status()) => return Ok(response),
                Ok(response) if !is_passing(response.status()) => {
                    return Err(refusal(
                        self.asked(ask.what),
                        response.status(),
                        response.headers(),
                    )
                    .into());
                }
                Ok(response) => {
                    let status = response.status();
                    let told = retry_after(response.headers(), Timestamp::now());
                    let wait = told.unwrap_or_else(|| self.backoff(tried));
                    if last || wait > self.patience.longest_wait {
                        return Err(self.busy(ask.what, status, told).into());
                    }
                    (wait, format!("answered {status}"))
                }
                Err(error) if last || !is_passing_error(&error) => {
                    return Err(Fault::Unreachable(EngineError::new(
                        format!(
                            "{} could not be asked for {}: {}",
                            self.host,
                            ask.what,
                            innermost(&error)
                        ),
                        UNREACHABLE,
                    )));
                }
                Err(error) => (
                    self.backoff(tried),
                    format!("did not answer ({})", innermost(&error)),
                ),
            };
            progress.message(&format!(
                "{} {why}: asking again in {:.0} s",
                self.host,
                wait.as_secs_f64().ceil()
            ));
            tokio::time::sleep(wait).await;
        }
    }

    pub fn backoff(&self, tried: u32) -> Duration {
        let doubled = self
            .patience
            .first_wait
            .saturating_mul(1 << (tried.saturating_sub(1)).min(16));
        doubled.min(self.patience.longest_wait)
    }

    fn asked<'a>(&'a self, what: &'a str) -> Asked<'a> {
        Asked {
            what,
            host: &self.host,
            with_token: self.token.is_some(),
        }
    }

    fn busy(&self, what: &str, status: StatusCode, after: Option<Duration>) -> EngineError {
        let when = after.map_or_else(
            || "Try again later".to_owned(),
            |after| {
                format!(
                    "It asks to be left alone for {:.0} s: try again then",
                    after.as_secs_f64()
                )
            },
        );
        let token = if self.token.is_none() && status == StatusCode::TOO_MANY_REQUESTS {
            "; with HF_TOKEN set, more requests are allowed"
        } else {
            ""
        };
        EngineError::new(
            format!(
                "{} does not give {what} at the moment ({status})",
                self.host
            ),
            format!("{when}{token}"),
        )
    }

    /// Sends, and follows redirects. The outer error is final.
    async fn follow(&self, ask: Ask<'_>) -> Result<Result<Response, reqwest::Error>, Fault> {
        let refuse = |why: String| {
            Fault::Refused(EngineError::new(
                format!("{} cannot be fetched from {}: {why}", ask.what, self.host),
                "Check HF_ENDPOINT if you set it",
            ))
        };
        let mut url = Url::parse(ask.url).map_err(|error| refuse(error.to_string()))?;
        for _ in 0..MOST_REDIRECTS {
            let method = if ask.head { Method::HEAD } else { Method::GET };
            let mut request = self
                .client
                .request(method, url.clone())
                // bytes as they are: sizes and ranges count them
                .header(ACCEPT_ENCODING, "identity");
            if url.origin() == self.endpoint.origin()
                && let Some(token) = &self.token
            {
                request = request.header(AUTHORIZATION, bearer(token)?);
            }
            if ask.from > 0 {
                request = request.header(RANGE, format!("bytes={}-", ask.from));
            }
            let response = match request.send().await {
                Ok(response) => response,
                Err(error) => return Ok(Err(error)),
            };
            let next = match response.headers().get(LOCATION) {
                Some(location) if response.status().is_redirection() => location
                    .to_str()
                    .ok()
                    .and_then(|location| url.join(location).ok())
                    .ok_or_else(|| refuse("it redirects to no address".to_owned()))?,
                _ => return Ok(Ok(response)),
            };
            if !matches!(next.scheme(), "http" | "https")
                || (url.scheme() == "https" && next.scheme() == "http")
            {
                return Err(refuse(
                    "it redirects to an address that is not safe".to_owned(),
                ));
            }
            if ask.head && next.origin() != url.origin() {
                return Ok(Ok(response));
            }
            url = next;
        }
        Err(refuse("it redirects in a circle".to_owned()))
    }
}

/// Success, or what a question of that form takes for an answer.
fn answers(ask: Ask<'_>, status: StatusCode) -> bool {
    status.is_success()
        || (ask.head && matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308))
        || (ask.from > 0 && status == StatusCode::RANGE_NOT_SATISFIABLE)
}

/// What asking again may cure.
fn is_passing(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504)
}

fn is_passing_error(error: &reqwest::Error) -> bool {
    !error.is_builder() && !is_about_tls(error)
}

/// A certificate that is not trusted now will not be in a second.
fn is_about_tls(error: &reqwest::Error) -> bool {
    let text = innermost(error);
    text.contains("certificate") || text.contains("Certificate")
}

/// The reason below the layers that only say that a request failed.
pub(super) fn innermost(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    let mut at: &dyn std::error::Error = error;
    while let Some(source) = at.source() {
        at = source;
    }
    // an address may hold a signature
    if at.source().is_none() && at.to_string() == error.to_string() {
        return "the connection failed".to_owned();
    }
    at.to_string()
}

fn bearer(token: &Secret) -> Result<HeaderValue, Fault> {
    let header = HeaderValue::from_str(&format!("Bearer {}", token.expose()));
    let mut header = header.map_err(|_| {
        EngineError::new(
            "The token for the hub holds a character that no HTTP header can carry",
            "Look at HF_TOKEN, or at the token file, for a line break or a space that was copied along",
        )
    })?;
    header.set_sensitive(true);
    Ok(header)
}
