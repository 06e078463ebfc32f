//! The sink that is a folder: a copy of every run under a path of your choice.
//!
//! See the README for what it does; [`FilesConfig`] is its part of the
//! configuration, [`Files`] the exporter.

mod config;
mod copy;
mod encode;
mod exporter;

pub use config::FilesConfig;
pub use exporter::Files;
