//! Cutting what was typed into its parts: not within quotes, brackets or braces.

use super::{SweepError, shown};

/// The parts between separators that stand outside quotes and brackets. Quotes stay: the
/// configuration reads them as YAML does.
pub fn split(text: &str, separates: impl Fn(char) -> bool) -> Result<Vec<&str>, SweepError> {
    let mut parts = Vec::new();
    let mut open = Vec::new();
    let mut quote = None;
    let mut from = 0;
    let mut before = None;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (Some(_), _) => {}
            // An apostrophe within a word is none that opens.
            (None, '"' | '\'') if before.is_none_or(|b: char| !b.is_alphanumeric()) => {
                quote = Some(c);
            }
            (None, '[') => open.push(']'),
            (None, '{') => open.push('}'),
            (None, c) if open.last() == Some(&c) => {
                open.pop();
            }
            (None, c) if open.is_empty() && separates(c) => {
                parts.push(text.get(from..at).unwrap_or_default().trim());
                from = at + c.len_utf8();
            }
            _ => {}
        }
        before = Some(c);
    }
    let missing = quote.or(open.pop());
    if let Some(missing) = missing {
        return Err(SweepError::new(
            format!("{} lacks its closing `{missing}`", shown(text)),
            "Close it, or quote the whole value for the shell: --vary 'KEY=\"a,b\",c'",
        ));
    }
    parts.push(text.get(from..).unwrap_or_default().trim());
    Ok(parts)
}

/// `KEY=REST`.
pub fn pair<'a>(text: &'a str, flag: &str) -> Result<(&'a str, &'a str), SweepError> {
    match text.split_once('=') {
        Some((key, rest)) if !key.trim().is_empty() => Ok((key.trim(), rest.trim())),
        _ => Err(SweepError::new(
            format!("{flag} {} is not KEY=…", shown(text)),
            format!("Write the key's dotted path and its value: {}", like(flag)),
        )),
    }
}

fn like(flag: &str) -> &'static str {
    match flag {
        "--zip" => "--zip 'batching.batch_size=1,8 max_output_tokens=256,32'",
        "--point" => "--point batching.batch_size=4,max_output_tokens=64",
        _ => "--vary batching.batch_size=1,2,4",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::{pair, split};

    fn commas(text: &str) -> Vec<&str> {
        split(text, |c| c == ',').unwrap()
    }

    #[test]
    fn quotes_and_brackets_hold_together() {
        assert_eq!(commas("1, 2,4"), ["1", "2", "4"]);
        assert_eq!(commas("'a,b',c"), ["'a,b'", "c"]);
        assert_eq!(commas("[0,1],[2]"), ["[0,1]", "[2]"]);
        assert_eq!(commas("{a: [1,2]},{b: 3}"), ["{a: [1,2]}", "{b: 3}"]);
        assert_eq!(commas(""), [""]);
        assert_eq!(commas("it's,b"), ["it's", "b"]);
        let words = split("a=1,2  b=3", char::is_whitespace).unwrap();
        assert_eq!(words, ["a=1,2", "", "b=3"]);
    }

    #[test]
    fn what_is_not_closed_is_told() {
        for open in ["'a", "[1,2", "{a", "a,\"b"] {
            let error = split(open, |c| c == ',').unwrap_err();
            assert!(error.what.contains("closing"), "{error}");
        }
    }

    #[test]
    fn a_pair_has_a_key() {
        assert_eq!(pair("a.b = 1,2", "--vary").unwrap(), ("a.b", "1,2"));
        assert_eq!(pair("a==", "--vary").unwrap(), ("a", "="));
        for wrong in ["", "=1", "abc", " = "] {
            assert!(pair(wrong, "--vary").is_err(), "{wrong}");
        }
    }
}
