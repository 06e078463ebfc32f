//! lem measures what LLM inference costs, and hands the numbers to the tools that people use.
//!
//! ```text
//! config ─► plan ─► measurement ─► RECORDS (append-only, numbered) ─► analysis (pure) ─► result.json
//!                    ▲      ▲         │
//!                 engine  meter       └─► delivery: one cursor per sink ─► files · MLflow · …
//! ```
//!
//! A run is a log: nothing but `records.jsonl` carries data from measuring to
//! exporting. [`config`] is the only module that reads the environment's variables;
//! [`measurement`] is the only place where an [`engine`] and a [`meter`] meet, and
//! it knows sinks only as a `dyn Recorder`; [`analysis`] has no I/O and no clock;
//! [`sinks`] is the only place that names the sinks.

pub mod analysis;
pub mod calibrate;
pub mod cli;
pub mod command;
pub mod config;
pub mod engine;
pub mod environment;
pub mod exec;
pub mod measurement;
pub mod meter;
pub mod model;
pub mod monitor;
pub mod processor;
pub mod results;
pub mod sinks;
pub mod sweep;
pub mod workload;
