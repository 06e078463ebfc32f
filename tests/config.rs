//! The configuration as its users meet it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "config/errors.rs"]
mod errors;
#[path = "config/examples.rs"]
mod examples;
#[path = "config/files.rs"]
mod files;
#[path = "config/generated.rs"]
mod generated;
#[path = "config/hostile.rs"]
mod hostile;
#[path = "config/layers.rs"]
mod layers;
#[path = "config/secrets.rs"]
mod secrets;
#[path = "config/support.rs"]
mod support;
#[path = "config/unbuilt.rs"]
mod unbuilt;
#[path = "config/version_2.rs"]
mod version_2;
#[path = "config/workers.rs"]
mod workers;
