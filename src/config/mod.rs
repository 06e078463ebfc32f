//! The configuration: from YAML text, variables and flags to one [`Config`] and the
//! origin of each of its values.
//!
//! ```text
//! file ─► yaml ─► legacy ─┐
//! variables ────► legacy ─┼─► merge ─► presets ─► check ─► Config ─► rules ─► Resolved
//! --set, flags ─► legacy ─┘              ▲          ▲
//!                                        └── keys ──┘   the table of all keys, from the model's schema
//! ```
//!
//! A later layer beats an earlier one: default, the chain of `_extends`, the file, the
//! ecosystem's variables (`MLFLOW_TRACKING_URI`), `LEM_…` variables, `--set`, flags.
//! Every layer is a tree of [`tree::Node`]s, and each node keeps the place where it was
//! written, so an error can point at it and the result can say where a value came from.
//!
//! This is the only module that reads the process's environment ([`Environment::of_process`]);
//! the rest of lem gets its part through [`Ecosystem`].

mod check;
mod ecosystem;
mod environment;
mod files;
mod finding;
mod flags;
pub mod generate;
pub mod keys;
mod legacy;
mod load;
mod merge;
pub mod model;
mod place;
mod presets;
pub mod redact;
mod render;
mod rules;
mod show;
pub(crate) mod suggest;
mod tree;
mod unbuilt;
mod yaml;

#[cfg(test)]
pub(crate) use ecosystem::ecosystem_variables;
pub use ecosystem::{Ecosystem, Owner, Part};
pub use environment::Environment;
pub use finding::{ConfigErrors, Finding, Severity};
pub use flags::FlagValue;
pub(crate) use legacy::{new_key as key_of_version_2, renamed as renamed_from_version_2};
pub use load::{Resolved, Sources, load};
pub use model::*;
pub use place::Place;
pub(crate) use presets::decoders as decoder_presets;
pub use show::{Format, show};
pub use unbuilt::{Built, unbuilt};
