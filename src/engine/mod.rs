//! Who generates tokens.

mod api;
#[cfg(feature = "candle")]
pub mod candle;

pub use api::*;
