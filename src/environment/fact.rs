use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Something known of the machine, or why it is not: `"6.1"`, or `{"reason": "there is no …"}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Fact<T> {
    // First, so that a reason is never read as a value.
    Absent { reason: String },
    Value(T),
}

impl<T> Fact<T> {
    pub fn absent(reason: impl Into<String>) -> Self {
        Self::Absent {
            reason: reason.into(),
        }
    }

    pub fn value(&self) -> Option<&T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Absent { .. } => None,
        }
    }

    pub fn from_option(value: Option<T>, reason: &str) -> Self {
        value.map_or_else(|| Self::absent(reason), Self::Value)
    }
}

impl<T, E: ToString> From<Result<T, E>> for Fact<T> {
    fn from(result: Result<T, E>) -> Self {
        match result {
            Ok(value) => Self::Value(value),
            Err(reason) => Self::absent(reason.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)]

    use super::Fact;

    #[test]
    fn a_fact_is_its_value_or_its_reason_in_json() {
        for (fact, json) in [
            (Fact::Value("6.1".to_owned()), r#""6.1""#),
            (Fact::absent("no such file"), r#"{"reason":"no such file"}"#),
        ] {
            assert_eq!(serde_json::to_string(&fact).expect("encodes"), json);
            assert_eq!(
                serde_json::from_str::<Fact<String>>(json).expect("decodes"),
                fact
            );
        }
    }
}
