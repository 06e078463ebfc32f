#![allow(clippy::unwrap_used, clippy::expect_used)]

mod alternation;
mod baselines;
mod golden;
mod hostile;
mod integration;
mod real_trace;
mod run;
mod statistics;
mod throttling;
mod traces;
mod uncertainties;
