//! What lem itself was built from.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Fact;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Build {
    pub version: String,
    /// Commit of lem's sources; ends in `-dirty` where they differed from it.
    pub commit: Fact<String>,
    /// `release` or `debug`.
    pub profile: String,
    pub target: Fact<String>,
    pub rustc: Fact<String>,
    /// Version of the embedded engine.
    pub candle: Fact<String>,
}

pub(super) fn collect() -> Build {
    let told =
        |value: Option<&str>, reason: &str| Fact::from_option(value.map(str::to_owned), reason);
    Build {
        version: env!("CARGO_PKG_VERSION").into(),
        commit: told(
            option_env!("LEM_BUILT_COMMIT"),
            "only a release build made in a git repository tells its commit",
        ),
        profile: if cfg!(debug_assertions) {
            "debug"
        } else {
            "release"
        }
        .into(),
        target: told(option_env!("LEM_BUILT_TARGET"), "the build did not tell it"),
        rustc: told(option_env!("LEM_BUILT_RUSTC"), "the build did not tell it"),
        candle: match cfg!(feature = "candle") {
            true => told(
                option_env!("LEM_BUILT_CANDLE"),
                "the build had no Cargo.lock",
            ),
            false => Fact::absent("this lem was built without the feature `candle`"),
        },
    }
}
