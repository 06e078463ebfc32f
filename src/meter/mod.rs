//! Who reads power and state.
//!
//! [`detect()`] finds what this machine can measure, models the components that no
//! sensor measures, and says why the rest is absent; the [`Sampler`] reads it.

mod api;
mod counter;
mod file;
mod sampler;

pub use api::*;
pub use sampler::{
    DroppedMeter, MissedReason, Options, Sampler, SourceMissed, Window, WindowStats,
};
