//! The embedded engine, against transformers' numbers and against itself.
#![cfg(feature = "candle")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

mod batches;
mod events;
mod loading;
mod sampling;
mod smollm2;
mod support;
mod tiny;
#[cfg(feature = "torch")]
mod torch;
mod transformers;
mod worker;
