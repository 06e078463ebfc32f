//! From bytes to JSON values, strictly: what would be lost on the way is refused, or kept
//! as text and told.

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Number, Value};

use super::refused::{Refused, Why};

/// No file of version 2 is nearly as deep.
const MAX_DEPTH: usize = 64;

/// A file's content, and the paths of the numbers that had to stay text.
pub(super) struct Document {
    pub value: Value,
    pub too_large: Vec<String>,
}

pub(super) fn read(bytes: &[u8]) -> Result<Document, Refused> {
    // A byte order mark is no part of the text.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(Refused::new(Why::Torn, "it is empty"));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let at = error.valid_up_to();
        match error.error_len() {
            None => Refused::new(
                Why::Torn,
                format!("it ends within a character, at byte {at}"),
            ),
            Some(_) => Refused::new(Why::Text, format!("it is not UTF-8 text from byte {at} on")),
        }
    })?;
    shallow(text)?;
    let raw: &RawValue = serde_json::from_str(text).map_err(|error| syntax(&error, text))?;
    let mut document = Document {
        value: Value::Null,
        too_large: Vec::new(),
    };
    document.value = value(raw, &Place::Root, &mut document.too_large)?;
    Ok(document)
}

/// Counted before anything goes down into it.
fn shallow(text: &str) -> Result<(), Refused> {
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    for byte in text.bytes() {
        if quoted {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => quoted = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => quoted = true,
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            let why = format!("its lists and objects are nested deeper than {MAX_DEPTH}");
            return Err(Refused::new(Why::Hostile, why));
        }
    }
    Ok(())
}

fn syntax(error: &serde_json::Error, text: &str) -> Refused {
    let place = format!("line {}, column {}", error.line(), error.column());
    let line = text.lines().nth(error.line().saturating_sub(1));
    let bytes = line.unwrap_or_default().as_bytes();
    // A number that is cut after its sign or point is told as a wrong one.
    let last = error.line() >= text.lines().count()
        && error.column() >= bytes.len()
        && !text.trim_end().ends_with(['}', ']']);
    if error.is_eof() || (last && error.to_string().starts_with("invalid number")) {
        return Refused::new(Why::Torn, format!("it ends early, at {place}"));
    }
    // The column counts bytes, and may point behind the sign.
    let at = error.column().saturating_sub(1);
    for name in ["NaN", "Infinity", "-Infinity"] {
        let here = |from: usize| {
            bytes
                .get(from..)
                .is_some_and(|b| b.starts_with(name.as_bytes()))
        };
        if here(at) || (name.starts_with('-') && here(at.saturating_sub(1))) {
            let why = format!("it holds {name} at {place}, which JSON has not");
            return Refused::new(Why::NotANumber, why);
        }
    }
    Refused::new(Why::Text, format!("it is no JSON: {error}"))
}

/// The pairs of an object, in order, each value unread.
struct Pairs<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Pairs<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Pairs<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

/// Where in the document; put into words only where something is to be told of it, since
/// names may be long and many.
enum Place<'a> {
    Root,
    Key(&'a Place<'a>, &'a str),
    Item(&'a Place<'a>, usize),
}

/// Of a path that is told.
const MOST_SHOWN: usize = 200;
/// So many numbers that stay text are told one by one.
const MOST_TOLD: usize = 50;

impl Place<'_> {
    fn dotted(&self) -> String {
        let mut steps = Vec::new();
        let mut at = self;
        loop {
            at = match at {
                Self::Root => break,
                Self::Key(parent, key) => {
                    steps.push(key.chars().take(MOST_SHOWN).collect());
                    parent
                }
                Self::Item(parent, index) => {
                    steps.push(index.to_string());
                    parent
                }
            };
        }
        steps.reverse();
        let whole = steps.join(".");
        match whole.char_indices().nth(MOST_SHOWN) {
            Some((end, _)) => format!("{}…", whole.get(..end).unwrap_or_default()),
            None => whole,
        }
    }
}

fn value(raw: &RawValue, place: &Place<'_>, too_large: &mut Vec<String>) -> Result<Value, Refused> {
    let text = raw.get();
    let wrong = |error: serde_json::Error| {
        let named = match place {
            Place::Root => "its root".to_owned(),
            _ => place.dotted(),
        };
        Refused::new(Why::Text, format!("{named} is no JSON: {error}"))
    };
    Ok(match text.as_bytes().first() {
        Some(b'{') => {
            let pairs: Pairs<'_> = serde_json::from_str(text).map_err(wrong)?;
            let mut map = Map::with_capacity(pairs.0.len());
            for (key, raw) in pairs.0 {
                let below = Place::Key(place, &key);
                if map.contains_key(&key) {
                    let why = format!(
                        "`{}` stands there twice: which one holds cannot be told",
                        below.dotted()
                    );
                    return Err(Refused::new(Why::Ambiguous, why));
                }
                let item = value(raw, &below, too_large)?;
                map.insert(key, item);
            }
            Value::Object(map)
        }
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(text).map_err(wrong)?;
            let mut values = Vec::with_capacity(items.len());
            for (index, raw) in items.into_iter().enumerate() {
                values.push(value(raw, &Place::Item(place, index), too_large)?);
            }
            Value::Array(values)
        }
        Some(b'-' | b'0'..=b'9') => match number(text) {
            Some(number) => Value::Number(number),
            None => {
                if too_large.len() < MOST_TOLD {
                    too_large.push(place.dotted());
                }
                Value::String(text.to_owned())
            }
        },
        _ => serde_json::from_str(text).map_err(wrong)?,
    })
}

/// A number, where 64 bits hold it.
fn number(text: &str) -> Option<Number> {
    let whole = !text.contains(['.', 'e', 'E']);
    if whole && text != "-0" {
        let unsigned = text.parse::<u64>().map(Number::from);
        return unsigned
            .or_else(|_| text.parse::<i64>().map(Number::from))
            .ok();
    }
    let value: f64 = text.parse().ok()?;
    let mantissa = text.split(['e', 'E']).next().unwrap_or_default();
    let vanished = value == 0.0 && mantissa.contains(|c: char| matches!(c, '1'..='9'));
    (!vanished).then(|| Number::from_f64(value)).flatten()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn refused(bytes: &[u8]) -> Refused {
        match read(bytes) {
            Err(refused) => refused,
            Ok(document) => panic!("read: {}", document.value),
        }
    }

    #[test]
    fn good_json_is_read_as_serde_json_reads_it() {
        for text in [
            r#"{"a": [1, -2, 3.5, 1e5, -0, -0.0, 18446744073709551615], "b": {"c": null, "d": true}}"#,
            "\n [ ] ",
            r#""A\n\u00e9\ud83d\ude00""#,
            "0.1",
        ] {
            let expected: Value = serde_json::from_str(text).unwrap();
            let document = read(text.as_bytes()).unwrap();
            assert_eq!(document.value, expected, "{text}");
            assert!(document.too_large.is_empty());
        }
        assert_eq!(
            read(b"\xef\xbb\xbf[1]").unwrap().value,
            serde_json::json!([1])
        );
    }

    #[test]
    fn a_number_that_64_bits_do_not_hold_stays_as_it_was_written() {
        let document = read(
            br#"{"a": [123456789012345678901234567890], "b": 1e400, "c": 1e-400, "d": 0e-400}"#,
        )
        .unwrap();
        assert_eq!(document.value["a"][0], "123456789012345678901234567890");
        assert_eq!(document.value["b"], "1e400");
        assert_eq!(document.value["c"], "1e-400");
        assert_eq!(document.value["d"], 0.0);
        assert_eq!(document.too_large, ["a.0", "b", "c"]);
    }

    #[test]
    fn what_is_wrong_is_told_apart() {
        let cases: &[(&[u8], Why, &str)] = &[
            (b"", Why::Torn, "empty"),
            (b"  \n", Why::Torn, "empty"),
            (br#"{"a": [1, 2"#, Why::Torn, "line 1"),
            (br#"{"a": "x"#, Why::Torn, "ends early"),
            (br#"{"a": -"#, Why::Torn, "ends early"),
            (b"{\"a\":\n[1, 2.", Why::Torn, "line 2"),
            (b"[1, 2.]", Why::Text, "no JSON"),
            (b"{\"a\": \"\xc3", Why::Torn, "within a character"),
            (b"{\"a\": \"\xff\"}", Why::Text, "UTF-8"),
            (b"{\"a\":\n NaN}", Why::NotANumber, "NaN at line 2"),
            (b"[1, -Infinity]", Why::NotANumber, "Infinity"),
            (b"[Infinity]", Why::NotANumber, "Infinity"),
            (b"{'a': 1}", Why::Text, "no JSON"),
            (b"[1] [2]", Why::Text, "no JSON"),
            (br#"{"a": {"b": 1, "b": 1}}"#, Why::Ambiguous, "`a.b`"),
            (br#"{"a": "\ud800"}"#, Why::Text, "a is no JSON"),
        ];
        for (bytes, why, told) in cases {
            let refused = refused(bytes);
            let text = String::from_utf8_lossy(bytes);
            assert_eq!(refused.why, *why, "{text}: {refused}");
            assert!(refused.to_string().contains(told), "{text}: {refused}");
        }
    }

    #[test]
    fn deep_nesting_is_refused_before_anything_goes_down_into_it() {
        let deep = "[".repeat(5_000_000) + &"]".repeat(5_000_000);
        assert_eq!(refused(deep.as_bytes()).why, Why::Hostile);
        let open = r#"{"a":"#.repeat(1_000_000);
        assert_eq!(refused(open.as_bytes()).why, Why::Hostile);
        let long = "k".repeat(1_000_000);
        let told =
            refused(format!("{{\"{long}\": {{\"a\": 1, \"a\": 2}}}}").as_bytes()).to_string();
        assert!(told.len() < 1_000, "{}", told.len());
        let quoted = format!("[\"{}\\\"[\"]", "[".repeat(1000));
        assert!(read(quoted.as_bytes()).is_ok());
    }
}
