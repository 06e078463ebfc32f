//! How a request can end without an answer.

/// Each belongs to one request. The text says what happened and what to do; no text holds
/// a secret of the target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    #[error(
        "{host} has no address: {why}. Check the host of the URL and the name service of this machine"
    )]
    Dns { host: String, why: String },
    #[error("{address} refused the connection. Is the server up, and is the port right?")]
    Refused { address: String },
    #[error("{address} cannot be reached: {why}. Check the network between here and the server")]
    Unreachable { address: String, why: String },
    #[error(
        "{address} did not take the connection within {after_ms} ms. It may be overloaded (too short a backlog) or behind a filter; allow more time or fewer connections at once"
    )]
    ConnectTimeout { address: String, after_ms: u64 },
    #[error(
        "no TLS with {host}: {why}. Check the certificate's name and authority, or give the authority's file"
    )]
    Tls { host: String, why: String },
    /// The server answered with a status other than success.
    #[error("HTTP {status}{}{}. {}", retry_note(*retry_after_ms), colon(message), status_remedy(*status))]
    Http {
        status: u16,
        /// What the body says, shortened.
        message: String,
        /// From `Retry-After`.
        retry_after_ms: Option<u64>,
        /// Where a redirection points to.
        location: Option<String>,
    },
    /// An error object within a stream that had begun with success.
    #[error(
        "the server broke off with an error in the stream{}{}. Its log tells more",
        code_note(code),
        colon(message)
    )]
    InStream {
        message: String,
        code: Option<String>,
    },
    #[error(
        "the connection ended in the middle of the answer: {why}. The server may have been stopped or killed: see its log"
    )]
    Broken { why: String },
    #[error(
        "nothing came for {idle_ms} ms. The server hangs or is overloaded; allow more time if it is merely slow"
    )]
    Stalled { idle_ms: u64 },
    #[error("not finished after {after_ms} ms. Allow more time, or ask for fewer tokens")]
    TimedOut { after_ms: u64 },
    /// More output than was asked for, or than a limit allows.
    #[error(
        "the answer does not end: {what}. Does the server heed the maximum of tokens that it is sent?"
    )]
    Endless { what: String },
    #[error(
        "{what} is larger than {limit} bytes. This is no answer of an inference server, or the limit is too low"
    )]
    Oversized { what: &'static str, limit: usize },
    #[error(
        "the answer makes no sense: {what}. Does the URL point to an inference server of this kind?"
    )]
    Garbage { what: String },
    #[error("cancelled")]
    Cancelled,
    #[error("not sent, because request {after} which it follows {why}")]
    NotSent { after: usize, why: String },
    #[error("this machine ran out of {what}. {remedy}")]
    Resources { what: String, remedy: String },
}

impl Failure {
    /// A word for a label: bounded, never a message.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Dns { .. } => "dns",
            Self::Refused { .. } => "refused",
            Self::Unreachable { .. } => "unreachable",
            Self::ConnectTimeout { .. } => "connect_timeout",
            Self::Tls { .. } => "tls",
            Self::Http { .. } => "http",
            Self::InStream { .. } => "in_stream",
            Self::Broken { .. } => "broken",
            Self::Stalled { .. } => "stalled",
            Self::TimedOut { .. } => "timed_out",
            Self::Endless { .. } => "endless",
            Self::Oversized { .. } => "oversized",
            Self::Garbage { .. } => "garbage",
            Self::Cancelled => "cancelled",
            Self::NotSent { .. } => "not_sent",
            Self::Resources { .. } => "resources",
        }
    }
}

fn colon(message: &str) -> String {
    if message.is_empty() {
        String::new()
    } else {
        format!(": {message}")
    }
}

fn code_note(code: &Option<String>) -> String {
    code.as_ref()
        .map_or_else(String::new, |c| format!(" ({c})"))
}

fn retry_note(retry_after_ms: Option<u64>) -> String {
    retry_after_ms.map_or_else(String::new, |ms| {
        format!(" (retry after {} s)", ms.div_ceil(1000))
    })
}

fn status_remedy(status: u16) -> &'static str {
    match status {
        300..=399 => "The server points elsewhere: use the address that it gives",
        400 | 422 => {
            "The server refuses the request as it is: a field that it does not know, or a prompt that is too long"
        }
        401 | 403 => "Check the API key",
        404 => "Check the path of the URL and the name of the model",
        405 => "Check the kind of API: this path does not take such requests",
        413 => "The prompt is too long for the server",
        429 => "The server limits the rate: ask for less at once",
        500..=599 => "The server failed: see its log",
        _ => "See the server's documentation",
    }
}
