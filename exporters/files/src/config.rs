use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `integrations.files`: a copy of every run in a folder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FilesConfig {
    /// Copy every run.
    pub enabled: bool,
    /// The folder that gets a subfolder for each run, named by its id. It is made
    /// where it is not there.
    pub path: Option<PathBuf>,
}

impl FilesConfig {
    /// Everything that is wrong with it in itself: key, what is wrong, what to do.
    pub fn validate(&self) -> Vec<(&'static str, String, String)> {
        let missing = self
            .path
            .as_ref()
            .is_none_or(|path| path.as_os_str().is_empty());
        if self.enabled && missing {
            return vec![(
                "path",
                "the files sink has no folder to copy to".to_owned(),
                "Set integrations.files.path to a folder, for example ./lem-copies".to_owned(),
            )];
        }
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_needed_only_where_it_is_used() {
        assert!(FilesConfig::default().validate().is_empty());
        let on = FilesConfig {
            enabled: true,
            path: None,
        };
        assert_eq!(on.validate().first().map(|problem| problem.0), Some("path"));
        let good = FilesConfig {
            path: Some("copies".into()),
            ..on
        };
        assert!(good.validate().is_empty());
    }
}
