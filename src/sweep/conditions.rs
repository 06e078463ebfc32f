//! Conditions on a point's keys, as `--skip` takes them.
//!
//! ```text
//! condition  = term {"or" term}
//! term       = factor {"and" factor}
//! factor     = "not" factor | "(" condition ")" | comparison
//! comparison = key ("==" | "=" | "!=" | "<" | "<=" | ">" | ">=") operand
//!            | key ["not"] "in" "[" literal {"," literal} "]"
//! operand    = literal | key
//! literal    = number | "true" | "false" | "null" | 'text' | "text" | text
//! ```
//!
//! A word on the right that is a key with a plain value stands for that value, else for itself.

use std::cmp::Ordering;
use std::fmt;

use serde_json::Value;

use super::{SweepError, shown};

const MOST_CHARACTERS: usize = 4_000;
const MOST_DEPTH: usize = 64;

/// A condition that was read.
#[derive(Clone, PartialEq)]
pub struct Condition {
    text: String,
    root: Node,
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Condition({})", self.text)
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Node {
    Any(Vec<Node>),
    All(Vec<Node>),
    Not(Box<Node>),
    Compare(String, Comparison, Operand),
    In(String, Vec<Operand>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Clone, Debug, PartialEq)]
enum Operand {
    Value(Value),
    /// A key, or text.
    Word(String),
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    Text(String),
    Symbol(&'static str),
}

/// Longest first: `<` must not be taken of `<=`.
const SYMBOLS: &[&str] = &[
    "==", "!=", "<=", ">=", "<", ">", "=", "(", ")", "[", "]", ",",
];

impl Condition {
    pub fn parse(text: &str) -> Result<Self, SweepError> {
        let refused = |why: String| {
            SweepError::new(
                format!("the condition {} cannot be read: {why}", shown(text)),
                "Write it as --skip 'batching.batch_size > 4 and max_output_tokens >= 256'",
            )
        };
        if text.chars().count() > MOST_CHARACTERS {
            return Err(refused(format!(
                "it is longer than {MOST_CHARACTERS} characters"
            )));
        }
        let tokens = tokens(text).map_err(refused)?;
        let mut parser = Parser {
            tokens: &tokens,
            depth: 0,
        };
        let root = parser.any().map_err(refused)?;
        if let Some(left) = parser.tokens.first() {
            return Err(refused(format!("it should end before {}", told(left))));
        }
        Ok(Self {
            text: text.to_owned(),
            root,
        })
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it holds for a point; `look_up` gives the value of a key, or `None` where there
    /// is no such key.
    pub fn holds(&self, look_up: &dyn Fn(&str) -> Option<Value>) -> Result<bool, SweepError> {
        self.root.holds(look_up).map_err(|why| {
            SweepError::new(
                format!(
                    "the condition {} cannot be decided: {why}",
                    shown(&self.text)
                ),
                "Compare a key with a value of its own kind; `lem config show` lists the keys",
            )
        })
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        if let Some(symbol) = SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol)) {
            tokens.push(Token::Symbol(symbol));
            rest = rest.get(symbol.len()..).unwrap_or_default();
        } else if matches!(first, '"' | '\'') {
            let inner = rest.get(1..).unwrap_or_default();
            let Some(end) = inner.find(first) else {
                return Err(format!("a {first} is not closed"));
            };
            tokens.push(Token::Text(inner.get(..end).unwrap_or_default().to_owned()));
            rest = inner.get(end + 1..).unwrap_or_default();
        } else {
            let ends = |c: char| c.is_whitespace() || "=!<>()[],\"'".contains(c);
            let end = rest.find(ends).unwrap_or(rest.len());
            if end == 0 {
                return Err(format!("{first:?} is not expected"));
            }
            tokens.push(Token::Word(rest.get(..end).unwrap_or_default().to_owned()));
            rest = rest.get(end..).unwrap_or_default();
        }
        rest = rest.trim_start();
    }
    Ok(tokens)
}

fn told(token: &Token) -> String {
    match token {
        Token::Word(text) | Token::Text(text) => shown(text),
        Token::Symbol(symbol) => format!("`{symbol}`"),
    }
}

struct Parser<'a> {
    tokens: &'a [Token],
    depth: usize,
}

impl Parser<'_> {
    fn next(&mut self) -> Option<&Token> {
        let (first, rest) = self.tokens.split_first()?;
        self.tokens = rest;
        Some(first)
    }

    fn word(&mut self, wanted: &str) -> bool {
        let found =
            matches!(self.tokens.first(), Some(Token::Word(w)) if w.eq_ignore_ascii_case(wanted));
        if found {
            self.next();
        }
        found
    }

    fn symbol(&mut self, wanted: &str) -> bool {
        let found = matches!(self.tokens.first(), Some(Token::Symbol(s)) if *s == wanted);
        if found {
            self.next();
        }
        found
    }

    fn wanted(&self, what: &str) -> String {
        match self.tokens.first() {
            Some(token) => format!("{what} is expected where {} stands", told(token)),
            None => format!("{what} is expected at its end"),
        }
    }

    fn any(&mut self) -> Result<Node, String> {
        self.depth += 1;
        if self.depth > MOST_DEPTH {
            return Err(format!("it is nested deeper than {MOST_DEPTH}"));
        }
        let mut parts = vec![self.all()?];
        while self.word("or") {
            parts.push(self.all()?);
        }
        self.depth -= 1;
        Ok(match parts.len() {
            1 => parts.remove(0),
            _ => Node::Any(parts),
        })
    }

    fn all(&mut self) -> Result<Node, String> {
        let mut parts = vec![self.factor()?];
        while self.word("and") {
            parts.push(self.factor()?);
        }
        Ok(match parts.len() {
            1 => parts.remove(0),
            _ => Node::All(parts),
        })
    }

    fn factor(&mut self) -> Result<Node, String> {
        let mut negated = false;
        while self.word("not") {
            negated = !negated;
        }
        let node = if self.symbol("(") {
            let inner = self.any()?;
            if !self.symbol(")") {
                return Err(self.wanted("`)`"));
            }
            inner
        } else {
            self.comparison()?
        };
        Ok(match negated {
            true => Node::Not(Box::new(node)),
            false => node,
        })
    }

    fn comparison(&mut self) -> Result<Node, String> {
        let wanted = self.wanted("a key");
        let key = match self.next() {
            Some(Token::Word(key)) if literal(key).is_none() => key.clone(),
            _ => return Err(wanted),
        };
        if self.word("in") {
            return Ok(Node::In(key, self.list()?));
        }
        if self.word("not") {
            return match self.word("in") {
                true => Ok(Node::Not(Box::new(Node::In(key, self.list()?)))),
                false => Err(self.wanted("`in`")),
            };
        }
        let wanted = self.wanted("a comparison (==, !=, <, <=, >, >= or in)");
        let comparison = match self.next() {
            Some(Token::Symbol("==" | "=")) => Comparison::Equal,
            Some(Token::Symbol("!=")) => Comparison::Unequal,
            Some(Token::Symbol("<")) => Comparison::Less,
            Some(Token::Symbol("<=")) => Comparison::LessOrEqual,
            Some(Token::Symbol(">")) => Comparison::Greater,
            Some(Token::Symbol(">=")) => Comparison::GreaterOrEqual,
            _ => return Err(wanted),
        };
        Ok(Node::Compare(key, comparison, self.operand()?))
    }

    fn list(&mut self) -> Result<Vec<Operand>, String> {
        if !self.symbol("[") {
            return Err(self.wanted("`[`"));
        }
        let mut items = vec![self.operand()?];
        while self.symbol(",") {
            items.push(self.operand()?);
        }
        match self.symbol("]") {
            true => Ok(items),
            false => Err(self.wanted("`]`")),
        }
    }

    fn operand(&mut self) -> Result<Operand, String> {
        let wanted = self.wanted("a value");
        match self.next() {
            Some(Token::Text(text)) => Ok(Operand::Value(text.clone().into())),
            Some(Token::Word(word)) => Ok(match literal(word) {
                Some(value) => Operand::Value(value),
                None => Operand::Word(word.clone()),
            }),
            _ => Err(wanted),
        }
    }
}

/// What a word is, where it is neither a key nor text.
fn literal(word: &str) -> Option<Value> {
    match word {
        "true" => Some(true.into()),
        "false" => Some(false.into()),
        "null" => Some(Value::Null),
        _ if word.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c)) => {
            word.parse::<i64>().map(Value::from).ok().or_else(|| {
                word.parse::<f64>()
                    .ok()
                    .filter(|n| n.is_finite())
                    .map(Value::from)
            })
        }
        _ => None,
    }
}

type LookUp<'a> = &'a dyn Fn(&str) -> Option<Value>;

impl Node {
    fn holds(&self, look_up: LookUp<'_>) -> Result<bool, String> {
        match self {
            Self::Any(parts) => {
                for part in parts {
                    if part.holds(look_up)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Self::All(parts) => {
                for part in parts {
                    if !part.holds(look_up)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Self::Not(inner) => Ok(!inner.holds(look_up)?),
            Self::Compare(key, comparison, operand) => {
                let value = of_key(key, look_up)?;
                compare(key, &value, *comparison, &operand.value(look_up))
            }
            Self::In(key, items) => {
                let value = of_key(key, look_up)?;
                for item in items {
                    if compare(key, &value, Comparison::Equal, &item.value(look_up))? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
        }
    }
}

fn of_key(key: &str, look_up: LookUp<'_>) -> Result<Value, String> {
    match look_up(key) {
        Some(Value::Object(_)) => Err(format!("{} is a section, not a key", shown(key))),
        Some(value) => Ok(value),
        None => Err(format!("there is no key {}", shown(key))),
    }
}

impl Operand {
    fn value(&self, look_up: LookUp<'_>) -> Value {
        match self {
            Self::Value(value) => value.clone(),
            Self::Word(word) => match look_up(word) {
                Some(value) if !value.is_object() && !value.is_array() => value,
                _ => word.clone().into(),
            },
        }
    }
}

/// Nothing (`null`) equals nothing and is neither less nor greater than anything.
fn compare(key: &str, a: &Value, by: Comparison, b: &Value) -> Result<bool, String> {
    let kinds = |a: &Value, b: &Value| {
        format!(
            "{} is {}, which does not compare with {}",
            shown(key),
            kind(a),
            kind(b)
        )
    };
    let order = match (a, b) {
        (Value::Null, Value::Null) => Some(Ordering::Equal),
        (Value::Null, _) | (_, Value::Null) => None,
        (Value::Number(a), Value::Number(b)) => match (a.as_i128(), b.as_i128()) {
            (Some(a), Some(b)) => Some(a.cmp(&b)),
            _ => a
                .as_f64()
                .zip(b.as_f64())
                .and_then(|(a, b)| a.partial_cmp(&b)),
        },
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        _ => return Err(kinds(a, b)),
    };
    let ordered =
        matches!((a, b), (Value::Number(_), Value::Number(_))) || a.is_null() || b.is_null();
    Ok(match by {
        Comparison::Equal => order == Some(Ordering::Equal),
        Comparison::Unequal => order != Some(Ordering::Equal),
        _ if !ordered => {
            return Err(format!(
                "{} is {}: only numbers are less or greater",
                shown(key),
                kind(a)
            ));
        }
        Comparison::Less => order == Some(Ordering::Less),
        Comparison::LessOrEqual => order.is_some_and(Ordering::is_le),
        Comparison::Greater => order == Some(Ordering::Greater),
        Comparison::GreaterOrEqual => order.is_some_and(Ordering::is_ge),
    })
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a section",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn point() -> Value {
        json!({
            "batching.batch_size": 8, "max_output_tokens": 256, "fp_precision": "bf16",
            "adapter": null, "streaming": true, "decoder.temperature": 0.7, "torch": {"threads": 1},
            "max_input_tokens": 256, "big": u64::MAX,
        })
    }

    fn holds(text: &str) -> Result<bool, SweepError> {
        let point = point();
        Condition::parse(text)?.holds(&|key| point.get(key).cloned())
    }

    #[test]
    fn they_mean_what_they_say() {
        for (text, expected) in [
            ("batching.batch_size > 4 and max_output_tokens >= 256", true),
            ("batching.batch_size > 4 and max_output_tokens > 256", false),
            ("batching.batch_size>4 or max_output_tokens>256", true),
            ("not batching.batch_size == 8", false),
            ("not not streaming == true", true),
            ("NOT (streaming = false OR adapter != null)", true),
            ("fp_precision == bf16", true),
            ("fp_precision != 'bf16'", false),
            ("fp_precision in [f16, \"bf16\"]", true),
            ("batching.batch_size not in [1, 2, 4]", true),
            ("adapter == null", true),
            ("adapter in [null]", true),
            ("batching.batch_size < null", false),
            ("decoder.temperature <= 0.7", true),
            ("decoder.temperature > -1e3", true),
            ("max_input_tokens == max_output_tokens", true),
            ("fp_precision == torch", false), // a section is no value
            ("big > 9223372036854775807", true),
            // `and` binds more tightly than `or`.
            (
                "streaming == true or streaming == true and streaming == false",
                true,
            ),
            (
                "(streaming == true or streaming == true) and streaming == false",
                false,
            ),
        ] {
            assert_eq!(holds(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_read_or_decided_is_told() {
        for (text, part) in [
            ("", "a key is expected at its end"),
            ("a", "a comparison"),
            ("a ==", "a value is expected at its end"),
            ("a == 1 b", "should end before `b`"),
            ("(a == 1", "`)`"),
            ("a == 1)", "should end before `)`"),
            ("a in 1", "`[`"),
            ("a in []", "a value"),
            ("a in [1", "`]`"),
            ("a not 1", "`in`"),
            ("3 > a", "a key"),
            ("'a' == 1", "a key"),
            ("a == 'b", "is not closed"),
            ("a == 1 and", "a key"),
            ("a ! 1", "is not expected"),
            ("nowhere == 1", "no key `nowhere`"),
            ("torch == 1", "a section"),
            ("batching.batch_size == four", "does not compare with text"),
            ("fp_precision > a", "only numbers"),
            ("streaming < true", "only numbers"),
        ] {
            let told = holds(text).unwrap_err().to_string();
            assert!(told.contains(part), "{text}: {told}");
        }
    }

    #[test]
    fn hostile_texts_are_refused_and_cost_little() {
        let deep = "(".repeat(3000) + "a == 1" + &")".repeat(900);
        for text in [
            &deep,
            &"a == 1 and ".repeat(1000),
            &"not ".repeat(1000),
            "\0",
            "a == \u{202e}\u{0}",
            "é ß ]",
            "[[[[",
        ] {
            assert!(holds(text).is_err(), "{}", shown(text));
        }
        let nots = "not ".repeat(500) + "streaming == true";
        assert!(holds(&nots).unwrap());
    }

    proptest! {
        #[test]
        fn no_text_breaks_it(text in "[a-z0-9 =!<>()\\[\\],'\"andornti.]{0,60}") {
            let _ = holds(&text);
        }

        #[test]
        fn nor_does_any_other(text: String) {
            let _ = holds(&text);
        }

        #[test]
        fn and_or_and_not_are_the_logical_ones(a in 0_i64..4, b in 0_i64..4, x in 0_i64..4, y in 0_i64..4) {
            let point = json!({"a": a, "b": b});
            let holds = |text: String| {
                Condition::parse(&text).unwrap().holds(&|key| point.get(key).cloned()).unwrap()
            };
            let (left, right) = (a > x, b <= y);
            prop_assert_eq!(holds(format!("a > {x} and b <= {y}")), left && right);
            prop_assert_eq!(holds(format!("a > {x} or b <= {y}")), left || right);
            prop_assert_eq!(holds(format!("not (a > {x} and b <= {y})")), !(left && right));
            prop_assert_eq!(holds(format!("a not in [{x}, {y}]")), a != x && a != y);
        }
    }
}
