//! What machine this is.

mod cpu;
mod fact;
mod root;

pub use cpu::{Cpu, CpuInfo};
pub use fact::Fact;
pub use root::{Root, why};
