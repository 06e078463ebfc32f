use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// The databases behind W&B keep no NUL.
pub(super) fn clean(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// One line of at most `most` characters; that something is missing is visible at its end.
pub(super) fn short(text: &str, most: usize) -> String {
    let line: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if line.chars().count() <= most {
        return line;
    }
    let kept = line.chars().take(most.saturating_sub(1));
    kept.chain(['…']).collect()
}

/// Part of a key, of a file's or an artifact's name. What is not allowed becomes `_`,
/// and leaves a hash of the whole behind, as what is cut off does.
pub(super) fn word(name: &str, most: usize) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let dots = name.chars().all(|c| c == '.');
    if !dots && name.len() <= most && name.chars().all(allowed) {
        return name.to_owned();
    }
    let mapped = name.chars().map(|c| if allowed(c) { c } else { '_' });
    let kept: String = mapped.take(most.saturating_sub(9)).collect();
    let mut hash = hex::encode(Sha256::digest(name.as_bytes()));
    hash.truncate(8);
    match dots {
        true => hash,
        false => format!("{kept}-{hash}"),
    }
}

/// A value as W&B's databases take it: no NUL, no empty key.
pub(super) fn json(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(clean(text)),
        Value::Array(list) => list.iter().map(json).collect(),
        Value::Object(fields) => {
            let mut kept = Map::new();
            for (key, value) in fields {
                let key = match clean(key) {
                    key if key.trim().is_empty() => "_".to_owned(),
                    key => key,
                };
                kept.insert(key, json(value));
            }
            Value::Object(kept)
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::{short, word};

    #[test]
    fn a_name_is_made_legal_and_stays_apart() {
        assert_eq!(word("power_2.svg", 64), "power_2.svg");
        for name in ["", "..", "a/b", "a b", "é", "\0", &"x".repeat(65)] {
            let word = word(name, 64);
            assert!((1..=64).contains(&word.len()), "{name:?} became {word:?}");
            assert!(
                word.chars()
                    .all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c))
            );
        }
        assert_ne!(word("a/b", 64), word("a b", 64));
    }

    #[test]
    fn a_cut_is_visible() {
        assert_eq!(short("a\nb", 5), "a b");
        assert_eq!(short(&"é".repeat(9), 4), "ééé…");
    }
}
