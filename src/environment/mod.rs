//! What machine this is.

mod fact;
mod root;

pub use fact::Fact;
pub use root::{Root, why};
