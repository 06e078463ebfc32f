//! Where a model is: URIs to files.

pub mod files;

pub use files::{ModelFiles, ModelFormat};
