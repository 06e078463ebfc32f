//! The configuration: the model, the layers, the origin of every value.

pub mod model;

pub use model::*;
