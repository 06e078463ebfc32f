//! What the tests of every sink share: a scripted HTTP server ([`FakeServer`]),
//! a W&B server for the official SDK ([`wandb`]), a small but complete run ([`golden`]) and the suite that each sink must pass
//! ([`conformance`]). Never part of a release.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a broken test should stop where it broke

pub mod conformance;
pub mod golden;
mod server;
pub mod wandb;

pub use server::{FakeServer, Fault, Request, Response, Rule, Tls};
