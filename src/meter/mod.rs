//! Who reads power and state.
//!
//! [`detect()`] finds what this machine can measure, models the components that no
//! sensor measures, and says why the rest is absent; the [`Sampler`] reads it.
//!
//! Each component is measured by one family of sensors only, NVML, RAPL, hwmon in this
//! order, so that the energies of all sources may be summed. Every file under `/sys` and
//! `/proc` is found below a [`crate::environment::Root`], another folder in tests.

mod api;
mod counter;
mod detect;
mod file;
mod found;
pub mod gpu;
mod hwmon;
mod kernel;
mod load;
mod modelled;
mod process;
mod rapl;
pub mod sampler;
#[cfg(test)]
mod testing;

pub use api::*;
pub use detect::{
    Detected, Inventory, Outside, detect, detect_for_command, detect_for_run, detect_in,
};
pub use found::Absent;
pub use kernel::{Kernel, Shape};
pub use process::{peak_memory_bytes, reset_peak_memory};
pub use sampler::{
    DroppedMeter, MissedReason, Options, Sampler, SourceMissed, Window, WindowStats,
};
