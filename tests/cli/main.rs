//! The command line as scripts and people use it: the built binary, a tiny model with
//! random weights, real files.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr
)]

mod contract;
mod help;
mod interrupt;
mod killed;
mod mlflow;
mod numbers;
mod otlp;
mod secrets;
mod sinks;
mod support;
