//! Most chunks of a stream differ from the one before in nothing but a text. Such a one is
//! recognised by its bytes and need not be parsed: that costs a tenth, and a client that shares
//! its cores with the server leaves them to it.

use std::borrow::Cow;
use std::ops::Range;

use crate::Part;
use crate::answer::Chunk;

/// A chunk that was parsed and said nothing but a text, and where the text lies in it.
#[derive(Debug, Default)]
pub struct Pattern {
    json: Vec<u8>,
    text: Range<usize>,
    part: Option<Part>,
}

impl Pattern {
    /// What the object says, if it is the pattern with another text.
    ///
    /// The bytes before the text end within a string; without a quote, a backslash or a control
    /// character in it the text ends that string where the bytes behind it begin, so that a
    /// parser would find the pattern's own structure.
    pub fn read<'a>(&self, json: &'a [u8]) -> Option<Chunk<'a>> {
        let part = self.part?;
        let (before, behind) = (&self.json[..self.text.start], &self.json[self.text.end..]);
        let text = json.strip_prefix(before)?.strip_suffix(behind)?;
        if text.is_empty() || text.iter().any(|b| *b < b' ' || *b == b'"' || *b == b'\\') {
            return None;
        }
        Some(plain(part, std::str::from_utf8(text).ok()?))
    }

    /// Takes the object as the pattern, if it is one.
    pub fn learn(&mut self, json: &[u8], chunk: &Chunk<'_>) {
        let (part, text) = match (&chunk.reasoning, &chunk.answer) {
            (Some(Cow::Borrowed(text)), None) => (Part::Reasoning, *text),
            (None, Some((part, Cow::Borrowed(text)))) => (*part, *text),
            _ => return,
        };
        if *chunk != plain(part, text) {
            return;
        }
        // Where in the object the borrowed text lies.
        let Some(start) = (text.as_ptr() as usize).checked_sub(json.as_ptr() as usize) else {
            return;
        };
        if json.get(start..start + text.len()) != Some(text.as_bytes()) {
            return;
        }
        self.json.clear();
        self.json.extend_from_slice(json);
        self.text = start..start + text.len();
        self.part = Some(part);
    }
}

fn plain(part: Part, text: &str) -> Chunk<'_> {
    let text = Cow::Borrowed(text);
    let (reasoning, answer) = match part {
        Part::Reasoning => (Some(text), None),
        part => (None, Some((part, text))),
    };
    Chunk {
        reasoning,
        answer,
        has_output: true,
        ..Chunk::default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Api, answer};

    const FORMS: [&str; 4] = [
        r#"{"id":"x","choices":[{"index":0,"delta":{"content":"@"},"finish_reason":null}],"usage":null}"#,
        r#"{"id":"x","choices":[{"index":0,"delta":{"role":"assistant","reasoning":"@"}}]}"#,
        r#"{"choices":[{"delta":{"tool_calls":[{"function":{"arguments":"@"}}]}}]}"#,
        r#"{"choices":[{"text":"@"}]}"#,
    ];

    fn learned(json: &str) -> Pattern {
        let mut pattern = Pattern::default();
        pattern.learn(
            json.as_bytes(),
            &answer::read(Api::Chat, json.as_bytes()).unwrap(),
        );
        pattern
    }

    #[test]
    fn another_text_is_recognised_and_nothing_else() {
        let pattern = learned(&FORMS[0].replace('@', " a"));
        let other = FORMS[0].replace('@', " lighthouse é");
        assert_eq!(
            pattern.read(other.as_bytes()),
            Some(plain(Part::Answer, " lighthouse é"))
        );
        for text in ["", "a\\n", "a\"}},{\"delta\":{\"content\":\"b", "tab\t"] {
            assert_eq!(
                pattern.read(FORMS[0].replace('@', text).as_bytes()),
                None,
                "{text:?}"
            );
        }
        assert_eq!(
            pattern.read(
                FORMS[0]
                    .replace('@', "a")
                    .replace("null}]", "\"stop\"}]")
                    .as_bytes()
            ),
            None
        );
    }

    #[test]
    fn what_says_more_than_a_text_is_no_pattern() {
        for json in [
            r#"{"choices":[{"delta":{"content":"a"},"token_ids":[1]}]}"#,
            r#"{"choices":[{"delta":{"content":"a"}}],"usage":{"completion_tokens":1}}"#,
            r#"{"choices":[{"delta":{"content":"a"},"finish_reason":"stop"}]}"#,
            r#"{"choices":[{"delta":{"content":"a\n"}}]}"#,
            r#"{"choices":[{"delta":{"content":"a","reasoning":"b"}}]}"#,
            r#"{"choices":[{"delta":{"content":"a"}}],"timings":{"predicted_n":1}}"#,
        ] {
            assert!(learned(json).part.is_none(), "{json}");
        }
    }

    proptest! {
        #[test]
        fn it_reads_as_the_parser_does(
            form in 0..FORMS.len(),
            first in "[a-z@ ]{1,8}",
            text in prop_oneof![any::<String>(), "[a-z\"\\\\{}:,é ]{0,12}"],
        ) {
            let pattern = learned(&FORMS[form].replacen('@', &first, 1));
            prop_assert!(pattern.part.is_some());
            // With and without the escapes that JSON asks for.
            let escaped = serde_json::to_string(&text).unwrap();
            for inner in [text.as_str(), &escaped[1..escaped.len() - 1]] {
                let json = FORMS[form].replacen('@', inner, 1);
                if let Some(chunk) = pattern.read(json.as_bytes()) {
                    prop_assert_eq!(chunk, answer::read(Api::Chat, json.as_bytes()).unwrap());
                }
            }
        }
    }
}
