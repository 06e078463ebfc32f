//! One condition on one field: `status=finished`, `energy.per_output_token<0.5`.

use std::cmp::Ordering;

use regex::Regex;
use serde_json::Value;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    Equal,
    Unequal,
    Less,
    AtMost,
    More,
    AtLeast,
    Like,
}

/// Longest first: `<=` is no `<`.
const OPS: &[(&str, Op)] = &[
    ("!=", Op::Unequal),
    ("<=", Op::AtMost),
    (">=", Op::AtLeast),
    ("==", Op::Equal),
    ("=", Op::Equal),
    ("<", Op::Less),
    (">", Op::More),
    ("~", Op::Like),
];

/// A condition. A field that a run does not have meets none, but `field=` (it is absent).
#[derive(Clone, Debug)]
pub struct Filter {
    /// As it was written, until it is resolved.
    pub field: String,
    op: Op,
    wanted: String,
    number: Option<f64>,
    pattern: Option<Regex>,
}

impl Filter {
    pub fn parse(text: &str) -> Result<Self, String> {
        let place = text.find(['=', '!', '<', '>', '~']);
        let found = place.and_then(|at| {
            let (field, rest) = text.split_at(at);
            let (sign, op) = OPS.iter().find(|(sign, _)| rest.starts_with(sign))?;
            Some((field.trim(), *op, rest.get(sign.len()..)?.trim()))
        });
        let Some((field, op, wanted)) = found.filter(|(field, ..)| !field.is_empty()) else {
            return Err(format!(
                "--filter {text}: not a condition. Write a field, one of = != < <= > >= ~, and a value, such as status=finished"
            ));
        };
        let pattern = if op == Op::Like {
            let pattern = regex::RegexBuilder::new(wanted)
                .case_insensitive(true)
                .size_limit(1 << 20)
                .build();
            Some(pattern.map_err(|error| format!("--filter {text}: {error}"))?)
        } else {
            None
        };
        Ok(Self {
            field: field.to_owned(),
            op,
            wanted: wanted.to_owned(),
            number: wanted.parse().ok().filter(|n: &f64| n.is_finite()),
            pattern,
        })
    }

    pub fn meets(&self, value: &Value) -> bool {
        if value.is_null() {
            return self.op == Op::Equal && self.wanted.is_empty();
        }
        if let Some(pattern) = &self.pattern {
            return pattern.is_match(&plain(value));
        }
        let order = match (value.as_f64(), self.number) {
            (Some(value), Some(wanted)) => value.partial_cmp(&wanted),
            // A number is neither above nor below a word.
            (Some(_), None) => None,
            (None, _) => Some(plain(value).as_str().cmp(&self.wanted)),
        };
        match self.op {
            Op::Equal => order == Some(Ordering::Equal),
            Op::Unequal => order != Some(Ordering::Equal),
            Op::Less => order == Some(Ordering::Less),
            Op::AtMost => matches!(order, Some(Ordering::Less | Ordering::Equal)),
            Op::More => order == Some(Ordering::Greater),
            Op::AtLeast => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
            Op::Like => false,
        }
    }
}

/// A scalar as text.
pub fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::{Value, json};

    use super::Filter;

    #[test]
    fn conditions_compare_numbers_as_numbers_and_words_as_words() {
        let meets = |text: &str, value: Value| Filter::parse(text).unwrap().meets(&value);
        assert!(
            meets("a.b = 8", json!(8)) && meets("a==8", json!(8.0)) && !meets("a=8", json!(80))
        );
        assert!(meets("a<10", json!(9)), "as words 9 would be above 10");
        assert!(meets("a<=9", json!(9)) && !meets("a<9", json!(9)) && meets("a>=9", json!(9.5)));
        assert!(meets("a!=x", json!("y")) && !meets("a!=x", json!("x")));
        assert!(meets("started>2026-01", json!("2026-02-03T00:00:00Z")));
        assert!(meets("name~^QW.n$", json!("qwen")) && !meets("name~^x", json!("qwen")));
        assert!(meets("on=true", json!(true)) && !meets("on=true", json!(false)));
        assert!(!meets("a>x", json!(3)) && meets("a!=x", json!(3)));
    }

    #[test]
    fn what_is_absent_meets_nothing_but_its_absence() {
        let meets = |text: &str| Filter::parse(text).unwrap().meets(&Value::Null);
        for text in ["a=0", "a!=0", "a<1", "a>-1", "a~."] {
            assert!(!meets(text), "{text}");
        }
        assert!(meets("a="));
    }

    #[test]
    fn what_is_no_condition_is_told() {
        for text in ["status", "=x", "", "a~(", "!"] {
            let why = Filter::parse(text).unwrap_err();
            assert!(why.starts_with(&format!("--filter {text}")), "{why}");
        }
    }
}
