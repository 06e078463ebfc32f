#![allow(clippy::unwrap_used, clippy::expect_used)]

mod golden;
mod hostile;
mod integration;
mod real_trace;
mod run;
mod statistics;
