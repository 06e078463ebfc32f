//! Who reads power and state.

mod api;

pub use api::*;
