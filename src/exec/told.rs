//! What the log keeps of a command besides its samples: attributes of the cycle's span and
//! of its phases' spans.

use lem_record::Attributes;

use crate::analysis::Window;

pub const INPUT_TOKENS: &str = "lem.tokens.input";
pub const OUTPUT_TOKENS: &str = "lem.tokens.output";
/// `sent` where both edges of a phase are the sender's, else `arrival`.
pub const TIME: &str = "lem.mark.time";
const EXIT_CODE: &str = "process.exit.code";
const SIGNAL: &str = "lem.command.signal";
const CPU_SECONDS: &str = "lem.command.cpu_seconds";
const PEAK_MEMORY: &str = "lem.command.peak_memory_bytes";
const MARKS: &str = "lem.marks.accepted";
const REFUSED: &str = "lem.marks.refused";
const BY_ARRIVAL: &str = "lem.marks.by_arrival";

/// How a command ended, and what it said of itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Told {
    pub exit_code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Processor time of it and of all its children that were waited for.
    pub cpu_seconds: Option<f64>,
    /// Highest resident memory of the largest of these processes.
    pub peak_memory_bytes: Option<u64>,
    /// `None`: it told of none.
    pub input_tokens: Option<u64>,
    pub output_tokens: Option<u64>,
    pub marks: u64,
    pub marks_refused: u64,
    /// Marks without a time of their own.
    pub marks_by_arrival: u64,
}

impl Told {
    pub fn attributes(&self) -> Attributes {
        let number = |n: Option<u64>| n.map(|n| n.to_string());
        let all = [
            (EXIT_CODE, self.exit_code.map(|n| n.to_string())),
            (SIGNAL, self.signal.map(|n| n.to_string())),
            (CPU_SECONDS, self.cpu_seconds.map(|s| s.to_string())),
            (PEAK_MEMORY, number(self.peak_memory_bytes)),
            (INPUT_TOKENS, number(self.input_tokens)),
            (OUTPUT_TOKENS, number(self.output_tokens)),
            (MARKS, Some(self.marks.to_string())),
            (REFUSED, Some(self.marks_refused.to_string())),
            (BY_ARRIVAL, Some(self.marks_by_arrival.to_string())),
        ];
        all.into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?)))
            .collect()
    }

    /// `None` where the span is not that of a command.
    pub fn of(attributes: &Attributes) -> Option<Self> {
        attributes.get(MARKS)?;
        let text = |name: &str| attributes.get(name).map(String::as_str);
        let count = |name: &str| text(name)?.parse::<u64>().ok();
        Some(Self {
            exit_code: text(EXIT_CODE).and_then(|v| v.parse().ok()),
            signal: text(SIGNAL).and_then(|v| v.parse().ok()),
            cpu_seconds: text(CPU_SECONDS)
                .and_then(|v| v.parse().ok())
                .filter(|s: &f64| s.is_finite() && *s >= 0.0),
            peak_memory_bytes: count(PEAK_MEMORY),
            input_tokens: count(INPUT_TOKENS),
            output_tokens: count(OUTPUT_TOKENS),
            marks: count(MARKS).unwrap_or(0),
            marks_refused: count(REFUSED).unwrap_or(0),
            marks_by_arrival: count(BY_ARRIVAL).unwrap_or(0),
        })
    }
}

/// A phase or a mark as the command sent it.
#[derive(Clone, Debug, PartialEq)]
pub struct Marked {
    pub name: String,
    /// Without length: a mark.
    pub window: Window,
    pub input_tokens: u64,
    pub output_tokens: u64,
}

impl Marked {
    pub fn of(name: &str, window: Window, attributes: &Attributes) -> Self {
        let count = |key: &str| attributes.get(key).and_then(|v| v.parse().ok());
        Self {
            name: name.to_owned(),
            window,
            input_tokens: count(INPUT_TOKENS).unwrap_or(0),
            output_tokens: count(OUTPUT_TOKENS).unwrap_or(0),
        }
    }
}

/// What a cycle has besides, where it is a command's life.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CommandCycle {
    pub told: Option<Told>,
    /// In order of time.
    pub marked: Vec<Marked>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_reads_back() {
        let told = Told {
            exit_code: Some(3),
            cpu_seconds: Some(1.25),
            peak_memory_bytes: Some(1 << 30),
            output_tokens: Some(7),
            marks: 9,
            marks_refused: 1,
            ..Told::default()
        };
        assert_eq!(Told::of(&told.attributes()), Some(told));
        assert_eq!(Told::of(&Attributes::new()), None);
    }
}
