//! What is written from the table of keys: reference pages, the editors' schema, the
//! starter file. A test keeps the files equal to it.

mod env_md;
mod keys_md;
mod schema;
mod starter;

pub use env_md::env_md;
pub use keys_md::config_md;
pub(crate) use keys_md::version_2_keys;
pub use schema::schema_json;
pub use starter::starter;

pub(crate) use super::legacy::VARIABLES as VARIABLES_OF_VERSION_2;

const GENERATED: &str =
    "<!-- Generated from src/config by `LEM_UPDATE=1 cargo test --test config`; do not edit. -->";

/// A cell of a Markdown table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}
