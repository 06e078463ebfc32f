//! Sends requests to an inference server and tells when each token came.
//!
//! A [`Target`] says where and how to ask, a [`Plan`] says what and when, and
//! [`run`] does it on the calling thread: one loop over the kernel's readiness
//! queue holds every stream. Each event goes to an [`EventSink`] with a
//! CLOCK_MONOTONIC time, and a [`Report`] tells at the end how well the client
//! itself kept up.
//!
//! ```text
//! jobs ─► arrivals ─► connection ─► http ─► frames (sse, lines) ─► answer ─► EventSink
//!            │            └─ one stamp a read, before anything is parsed ─┘
//!            └─ lag: due to really sent
//! ```
//!
//! Rules that the modules keep:
//! - A stamp is never earlier than the arrival of the bytes that it belongs to. On Linux it is
//!   the kernel's own of the last segment read, so that a client that waits for a core is not
//!   late; elsewhere the clock is read after each read, and only then is anything parsed.
//! - A chunk is not a token. Tokens are counted from ids or from the server's own
//!   usage; where neither tells, the count of a chunk is unknown, not 1.
//! - Nothing that comes from a server is trusted with memory: lines, heads, bodies,
//!   tokens and times are bounded ([`Limits`]).
//! - What goes wrong ends the one request that it belongs to, as a [`Failure`].

mod account;
mod answer;
mod arrivals;
mod body;
mod check;
mod chunked;
mod clock;
mod connection;
mod event;
mod exchange;
mod failure;
mod head;
mod histogram;
mod lines;
mod open_files;
mod plan;
mod receive;
mod redact;
mod report;
mod run;
mod runner;
mod schedule;
mod sse;
mod target;
mod timer;
mod url;
mod wire;

pub use arrivals::{Arrivals, TraceError};
pub use event::{Counted, Event, EventSink, Gaps, Part, Summary, Tokens, Usage};
pub use failure::Failure;
pub use plan::{After, Job, Limits, Load, Message, Plan, Prompt};
pub use report::{Quantiles, Report};
pub use run::run;
pub use target::{Api, ExactLength, Features, Secret, Target, TargetError, Tls};
