/// What is wrong with a setting in itself, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("integrations.{section}.{key}: {problem}. {remedy}")]
pub struct ConfigError {
    pub section: &'static str,
    pub key: &'static str,
    pub problem: String,
    pub remedy: String,
}

impl ConfigError {
    pub(crate) fn new(
        section: &'static str,
        key: &'static str,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            section,
            key,
            problem: problem.into(),
            remedy: remedy.into(),
        }
    }
}
