//! What to send, and when.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

/// The requests of one run, and what lets each go.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Taken in order.
    pub jobs: Vec<Job>,
    pub load: Load,
    pub limits: Limits,
    /// Connections opened before the clock starts, so that the first requests do not pay for
    /// them; at most one is used a request in flight.
    pub preconnect: usize,
}

impl Plan {
    pub fn new(jobs: Vec<Job>, load: Load) -> Self {
        Self {
            jobs,
            load,
            limits: Limits::default(),
            preconnect: 0,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// This many requests are in flight; the next goes when one ends. A follow-up whose think
    /// time is over goes before one that starts afresh, and nobody holds a place while thinking.
    Closed { concurrency: usize },
    /// This many conversations are under way; a place is held until the last turn's end.
    Users { users: usize },
    /// Each request goes at its [`Job::due`], whatever became of the others.
    Open,
}

#[derive(Clone, Debug)]
pub struct Job {
    pub prompt: Prompt,
    pub max_tokens: u32,
    /// Below this length the output must not end, where [`Features`](crate::Features) has a
    /// way to say so.
    pub min_tokens: u32,
    /// After the start of the run. For [`Load::Open`]; ignored by the others, and by follow-ups.
    pub due: Duration,
    /// This job goes on from another one's answer.
    pub after: Option<After>,
    /// Fields of the body for this request alone, over those of the target.
    pub extra_body: Option<Arc<Map<String, Value>>>,
}

impl Job {
    pub fn new(prompt: Prompt, max_tokens: u32) -> Self {
        Self {
            prompt,
            max_tokens,
            min_tokens: 0,
            due: Duration::ZERO,
            after: None,
            extra_body: None,
        }
    }
}

/// The job's prompt is put behind the prompt and the answer of an earlier job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct After {
    /// Index of the earlier job; must be smaller than this job's own.
    pub job: usize,
    /// From the end of the answer to the next request.
    pub think: Duration,
}

/// Cheap to clone: many jobs may share one prompt.
#[derive(Clone, Debug, PartialEq)]
pub enum Prompt {
    /// As it is; one user message for a chat API.
    Text(Arc<str>),
    /// For [`Api::Completions`](crate::Api::Completions) and llama.cpp.
    Tokens(Arc<[u32]>),
    /// For the chat APIs.
    Messages(Arc<[Message]>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// `system`, `user`, `assistant`, …
    pub role: String,
    pub content: String,
}

impl Message {
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self {
            role: role.into(),
            content: content.into(),
        }
    }
}

/// Bounds on each request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Nothing came for this long: [`Stalled`](crate::Failure::Stalled). Must be longer than
    /// the longest wait in the server's queue.
    pub idle: Duration,
    /// From sent to finished.
    pub total: Duration,
    /// Most bytes of one event of a stream.
    pub event_bytes: usize,
    /// Most bytes of an HTTP head.
    pub head_bytes: usize,
    /// Most bytes of an answer in one piece, and of an error's body that is read.
    pub body_bytes: usize,
    /// Most bytes of a whole stream.
    pub stream_bytes: u64,
    /// Tokens beyond `max_tokens` after which the stream is cut.
    pub extra_tokens: u32,
    /// Connections being opened at one time: more would overflow a server's backlog, whose
    /// remedy is a second of waiting.
    pub connecting: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(120),
            total: Duration::from_secs(3600),
            event_bytes: 4 << 20,
            head_bytes: 64 << 10,
            body_bytes: 64 << 20,
            stream_bytes: 1 << 30,
            extra_tokens: 64,
            connecting: 128,
        }
    }
}
