//! One HTTP client for every sink.
//!
//! A sink says [`Client::post`], gets a [`Reply`] whatever its status, and turns
//! one that it does not like into an [`ExportError`](lem_record::ExportError)
//! with [`Client::error`], after its own look at the service's error codes. What
//! went wrong below HTTP (names, connections, TLS, time) comes classified from
//! [`Request::send`]. No text that leaves this crate holds a credential.

mod client;
mod config;
mod redact;
mod reply;
mod request;
mod retry_after;
mod status;
mod transport;

pub use client::Client;
pub use config::{Auth, Config, Remedies, Tls};
pub use redact::{Redactor, url_without_secrets};
pub use reply::Reply;
pub use request::Request;
pub use retry_after::retry_after;
pub use status::is_retryable;
