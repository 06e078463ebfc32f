use crate::limits;

/// A key that every MLflow store takes: ASCII letters, digits and `_-. :/` (so that
/// it is also a file name), no path tricks, at most 250 characters. What is not
/// allowed becomes `_`; what is cut off leaves a hash of the whole behind.
pub fn legal(key: &str) -> String {
    let mapped = |c: char| match c {
        c if c.is_ascii_alphanumeric() => c,
        '_' | '-' | '.' | ' ' | ':' | '/' => c,
        _ => '_',
    };
    let mapped: String = key.chars().map(mapped).collect();
    // a part that a path would swallow
    let parts = mapped.split('/').map(|part| match part {
        "" | "." => "_",
        ".." => "__",
        part => part,
    });
    let joined = parts.collect::<Vec<_>>().join("/");
    if joined.len() <= limits::KEY {
        return joined;
    }
    let hash = hash8(key);
    let kept = joined
        .get(..limits::KEY - hash.len() - 1)
        .unwrap_or_default();
    format!("{}-{hash}", kept.trim_end_matches('/'))
}

/// An artifact's path as MLflow takes it: it refuses `#`, and undoes percent-encoding
/// before it looks.
pub fn artifact_path(path: &str) -> String {
    let mapped = |c: char| {
        if c.is_control() || matches!(c, '#' | '%' | '?' | '\\') {
            '_'
        } else {
            c
        }
    };
    path.chars().map(mapped).collect()
}

/// Part of a file name.
pub(super) fn word(name: &str) -> String {
    legal(name).replace(['/', ' ', ':'], "_")
}

fn hash8(text: &str) -> String {
    use md5::{Digest, Md5};
    let mut hash = hex::encode(Md5::digest(text.as_bytes()));
    hash.truncate(8);
    hash
}

/// At most `limit` characters; that something is missing is visible at its end.
pub(super) fn cut(text: &str, limit: usize, rest: &str) -> String {
    let count = text.chars().count();
    if count <= limit {
        // PostgreSQL keeps no NUL
        return text.replace('\0', "\u{fffd}");
    }
    let mark = format!("… [{count} characters{rest}]");
    let kept = text
        .chars()
        .take(limit.saturating_sub(mark.chars().count()));
    kept.chain(mark.chars())
        .map(|c| if c == '\0' { '\u{fffd}' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{cut, legal};

    /// What MLflow's own validation says: its pattern, and that a path made of the key is the key.
    fn accepted(key: &str) -> bool {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "/_.- :".contains(c);
        !key.is_empty()
            && key.len() <= 250
            && key.chars().all(allowed)
            && key.split('/').all(|part| !matches!(part, "" | "." | ".."))
    }

    proptest! {
        #[test]
        fn any_key_becomes_one_that_is_accepted(key in "\\PC{0,20}|[./a]{0,300}|[a-z/]{240,300}") {
            prop_assert!(accepted(&legal(&key)), "{key:?} -> {:?}", legal(&key));
            prop_assert_eq!(legal(&legal(&key)), legal(&key));
        }
    }

    #[test]
    fn a_good_key_stays() {
        for key in [
            "energy/total_joules",
            "a.b-c d:e",
            "sample/gpu1_power_watts",
        ] {
            assert_eq!(legal(key), key);
        }
        assert_eq!(legal("/../x//y%"), "_/__/x/_/y_");
        assert_ne!(legal(&"k".repeat(251)), legal(&"k".repeat(252)));
    }

    #[test]
    fn a_cut_is_visible_and_within_the_limit() {
        let long = "é".repeat(9000);
        let short = cut(&long, 6000, "; see x");
        assert_eq!(short.chars().count(), 6000);
        assert!(short.ends_with("é… [9000 characters; see x]"));
        assert_eq!(cut("a\0b", 5, ""), "a\u{fffd}b");
    }
}
