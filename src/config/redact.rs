//! What must not be shown, found by its form and its name, and replaced by `***`.

use std::ops::Range;

use serde_json::Value;

const SHOWN: &str = "***";

const SECRET_WORDS: &[&str] = &[
    "apikey",
    "auth",
    "authorization",
    "bearer",
    "cookie",
    "credential",
    "credentials",
    "passphrase",
    "passwd",
    "password",
    "secret",
    "secrets",
    "token",
];

/// Words that make a secret of the word `key` behind them.
const KEY_WORDS: &[&str] = &["access", "api", "private", "secret", "signing"];

/// Whether a key or variable of this name holds a secret: `HF_TOKEN`, `api_key`,
/// `X-Api-Key`; not `max_input_tokens`, nor `HF_TOKEN_PATH`, which is only where one lies.
pub fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let words: Vec<&str> = name
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .collect();
    if matches!(words.last(), Some(&("path" | "file" | "dir" | "text"))) {
        return false;
    }
    words.iter().any(|word| SECRET_WORDS.contains(word))
        || words
            .windows(2)
            .any(|pair| matches!(pair, [before, "key"] if KEY_WORDS.contains(before)))
}

/// A section all of whose values may be secrets.
fn is_secret_section(name: &str) -> bool {
    name.eq_ignore_ascii_case("headers")
}

/// The text without the credentials in its URLs.
pub fn text(text: &str) -> String {
    replace(text, &url_ranges(text))
}

/// The text without the credentials in its URLs and without the values that stand
/// behind secret names, as in a line of YAML or a `--set`.
pub fn line(text: &str) -> String {
    replace(text, &line_ranges(text))
}

/// A value, as it may be shown under this name.
pub fn value(name: &str, value: &Value) -> Value {
    match value {
        Value::String(_) | Value::Number(_) if is_secret_name(name) => SHOWN.into(),
        Value::String(string) => text(string).into(),
        Value::Array(items) => items.iter().map(|item| self::value(name, item)).collect(),
        Value::Object(map) => Value::Object(
            map.iter()
                .map(|(key, item)| {
                    let name = if is_secret_section(name) {
                        "secret"
                    } else {
                        key
                    };
                    (key.clone(), self::value(name, item))
                })
                .collect(),
        ),
        other => other.clone(),
    }
}

fn replace(text: &str, ranges: &[Range<usize>]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut from = 0;
    for range in ranges {
        out.push_str(text.get(from..range.start).unwrap_or_default());
        out.push_str(SHOWN);
        from = range.end;
    }
    out.push_str(text.get(from..).unwrap_or_default());
    out
}

/// Byte ranges to hide in a line, in order, apart from one another.
pub(crate) fn line_ranges(line: &str) -> Vec<Range<usize>> {
    let mut ranges = url_ranges(line);
    ranges.extend(named_ranges(line));
    ranges.sort_by_key(|range| range.start);
    let mut apart: Vec<Range<usize>> = Vec::new();
    for range in ranges {
        match apart.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => apart.push(range),
        }
    }
    apart
}

fn ends_url(c: char) -> bool {
    c.is_whitespace() || matches!(c, '"' | '\'' | '`' | '<' | '>' | ',' | '}' | ']')
}

/// `user:password` before the `@` of a URL, and the values of its secret parameters.
fn url_ranges(text: &str) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let mut from = 0;
    while let Some(at) = text.get(from..).and_then(|rest| rest.find("://")) {
        let start = from + at + 3;
        let rest = text.get(start..).unwrap_or_default();
        let url = rest
            .get(..rest.find(ends_url).unwrap_or(rest.len()))
            .unwrap_or_default();
        from = start;
        let authority = url.split(['/', '?', '#']).next().unwrap_or_default();
        // A password with an unescaped slash ends the authority too early: what stands
        // behind the colon is then no port.
        let torn = authority
            .rsplit_once(':')
            .is_some_and(|(_, port)| !port.bytes().all(|b| b.is_ascii_digit()));
        let within = if authority.contains('@') {
            authority
        } else if torn {
            url
        } else {
            ""
        };
        if let Some(end) = within.rfind('@') {
            if end > 0 {
                ranges.push(start..start + end);
            }
            from = start + end;
        }
        if let Some(query) = url.find('?') {
            let mut at = start + query + 1;
            for pair in url.get(query + 1..).unwrap_or_default().split('&') {
                if let Some((name, value)) = pair.split_once('=')
                    && !value.is_empty()
                    && is_secret_name(name)
                    && at + name.len() + 1 >= from
                {
                    let value_at = at + name.len() + 1;
                    ranges.push(value_at..value_at + value.len());
                }
                at += pair.len() + 1;
            }
        }
    }
    ranges.sort_by_key(|range| range.start);
    ranges.dedup_by(|next, last| next.start < last.end);
    ranges
}

/// The values behind `name:` and `name=` where the name is a secret's.
fn named_ranges(line: &str) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
    let mut from = 0;
    while let Some(at) = line.get(from..).and_then(|rest| rest.find([':', '='])) {
        let colon = from + at;
        from = colon + 1;
        let before = line.get(..colon).unwrap_or_default();
        let before = before.trim_end().trim_end_matches(['"', '\'']);
        let name_at = before.rfind(|c| !is_name(c)).map_or(0, |n| {
            n + before
                .get(n..)
                .and_then(|s| s.chars().next())
                .map_or(1, char::len_utf8)
        });
        let name = before.get(name_at..).unwrap_or_default();
        let name = name.rsplit('.').next().unwrap_or_default();
        if !(is_secret_name(name) || is_secret_section(name)) {
            continue;
        }
        let after = line.get(from..).unwrap_or_default();
        let value = after.trim_start();
        let start = from + (after.len() - value.len());
        let end = match value.chars().next() {
            None | Some('#') => continue,
            Some('{' | '[' | '|' | '>') => value.len(),
            Some(quote @ ('"' | '\'')) => value
                .get(1..)
                .and_then(|rest| rest.find(quote))
                .map_or(value.len(), |n| n + 2),
            Some(_) => value.find([',', '}']).unwrap_or(value.len()),
        };
        let end = start + value.get(..end).unwrap_or(value).trim_end().len();
        ranges.push(start..end);
        from = end;
    }
    ranges
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{is_secret_name, line, text, value};

    #[test]
    fn names_of_secrets_are_told_from_names_with_tokens_in_them() {
        for name in [
            "HF_TOKEN",
            "MLFLOW_TRACKING_PASSWORD",
            "api_key",
            "X-Api-Key",
            "WANDB_API_KEY",
            "apiKey",
            "authorization",
            "AWS_SECRET_ACCESS_KEY",
            "client_secret",
        ] {
            assert!(is_secret_name(name), "{name}");
        }
        for name in [
            "max_input_tokens",
            "HF_TOKEN_PATH",
            "decode_token_to_text",
            "key",
            "keyboard",
            "experiment_name",
            "num_tokens",
        ] {
            assert!(!is_secret_name(name), "{name}");
        }
    }

    #[test]
    fn credentials_leave_urls_and_nothing_else_does() {
        for (from, to) in [
            ("http://u:pw@host:1/x", "http://***@host:1/x"),
            (
                "see http://pw@h and https://a:b@c/d",
                "see http://***@h and https://***@c/d",
            ),
            ("http://u:p@w@host/", "http://***@host/"),
            ("http://u:p/w@host/", "http://***@host/"),
            ("http://host:5000/@user", "http://host:5000/@user"),
            ("https://h/x?token=abc&y=1", "https://h/x?token=***&y=1"),
            (
                "https://h/x?y=1&api_key=abc#f",
                "https://h/x?y=1&api_key=***",
            ),
            ("file:///a/b", "file:///a/b"),
            ("no url: a@b", "no url: a@b"),
            ("http://é:ü@ö/", "http://***@ö/"),
        ] {
            assert_eq!(text(from), to);
        }
    }

    #[test]
    fn values_of_secret_names_leave_lines() {
        for (from, to) in [
            ("  api_key: abc # c", "  api_key: ***"),
            ("{api_key: 'a, b', x: 1}", "{api_key: ***, x: 1}"),
            (
                "--set integrations.wandb.api_key=abc",
                "--set integrations.wandb.api_key=***",
            ),
            ("headers: {a: b}", "headers: ***"),
            ("max_input_tokens: 5", "max_input_tokens: 5"),
            ("\"password\": \"x\"", "\"password\": ***"),
            ("token:", "token:"),
        ] {
            assert_eq!(line(from), to);
        }
    }

    #[test]
    fn values_are_hidden_by_name_at_any_depth() {
        let shown = value(
            "",
            &json!({"otlp": {"headers": {"x": "1"}, "password": 12345, "url": "http://a:b@c", "n": 3}}),
        );
        assert_eq!(
            shown,
            json!({"otlp": {"headers": {"x": "***"}, "password": "***", "url": "http://***@c", "n": 3}})
        );
    }
}
