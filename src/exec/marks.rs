//! What a command's marks come to: spans, tokens, and lines that were not understood.

use std::collections::{BTreeMap, BTreeSet};

use lem_record::{Attributes, Span, SpanKind};

use super::line::{self, Line, MAX_LINE, Refused};
use super::told::{self, Told};

/// Different names of phases and marks in one run: each becomes a row and some metrics.
pub const MAX_NAMES: usize = 64;
/// Phases and marks in one run.
pub const MAX_SPANS: u64 = 200_000;

/// Takes in what comes through the pipe, in pieces of any length.
#[derive(Debug)]
pub struct Marks {
    /// When the command began: no mark is older.
    start_ns: u64,
    /// In the order in which they began.
    open: Vec<Open>,
    done: Vec<Span>,
    names: BTreeSet<String>,
    spans: u64,
    /// A line that has not come to its end.
    partial: Vec<u8>,
    /// The line that is being read is too long: the rest of it is skipped.
    skipping: bool,
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    accepted: u64,
    arrivals: u64,
    faults: Faults,
}

#[derive(Debug)]
struct Open {
    name: String,
    at_ns: u64,
    sent: bool,
    input: u64,
    output: u64,
}

/// Lines that were not taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// By reason: how many, and the number of the first such line, from 1.
    pub by_reason: BTreeMap<Refused, (u64, u64)>,
    /// Phases that were open when the command ended.
    pub left_open: Vec<String>,
    lines: u64,
}

impl Faults {
    pub fn count(&self) -> u64 {
        self.by_reason.values().map(|(count, _)| count).sum()
    }

    fn refuse(&mut self, why: Refused) {
        let line = self.lines;
        self.by_reason.entry(why).or_insert((0, line)).0 += 1;
    }
}

impl Marks {
    pub fn new(start_ns: u64) -> Self {
        Self {
            start_ns,
            open: Vec::new(),
            done: Vec::new(),
            names: BTreeSet::new(),
            spans: 0,
            partial: Vec::new(),
            skipping: false,
            input_tokens: None,
            output_tokens: None,
            accepted: 0,
            arrivals: 0,
            faults: Faults::default(),
        }
    }

    /// Takes in bytes that arrived at this time.
    pub fn feed(&mut self, bytes: &[u8], now_ns: u64) {
        let mut lines = bytes.split(|b| *b == b'\n');
        // What stands behind the last line break is no whole line yet.
        let rest = lines.next_back().unwrap_or_default();
        for piece in lines {
            if std::mem::take(&mut self.skipping) {
                continue;
            }
            if self.partial.is_empty() {
                self.line(piece, now_ns);
            } else {
                let mut line = std::mem::take(&mut self.partial);
                line.extend_from_slice(piece);
                self.line(&line, now_ns);
            }
        }
        if self.skipping {
            return;
        }
        self.partial.extend_from_slice(rest);
        if self.partial.len() > MAX_LINE {
            self.partial.clear();
            self.skipping = true;
            self.faults.lines += 1;
            self.faults.refuse(Refused::TooLong);
        }
    }

    fn line(&mut self, line: &[u8], now_ns: u64) {
        self.faults.lines += 1;
        let taken = line::parse(line).and_then(|line| self.take(line, now_ns));
        match taken {
            Ok(true) => self.accepted += 1,
            Ok(false) => {}
            Err(why) => self.faults.refuse(why),
        }
    }

    /// Whether the line said anything.
    fn take(&mut self, line: Line, now_ns: u64) -> Result<bool, Refused> {
        match line {
            Line::Nothing => return Ok(false),
            Line::Begin { name, t_ns } => {
                let at_ns = self.time(t_ns, now_ns)?;
                if self.open.iter().any(|open| open.name == name) {
                    return Err(Refused::BeginsTwice);
                }
                self.know(&name)?;
                self.open.push(Open {
                    name,
                    at_ns,
                    sent: t_ns.is_some(),
                    input: 0,
                    output: 0,
                });
            }
            Line::End { name, t_ns } => {
                let at_ns = self.time(t_ns, now_ns)?;
                let found = self.open.iter().position(|open| open.name == name);
                let open = self.open.remove(found.ok_or(Refused::NotBegun)?);
                if at_ns < open.at_ns {
                    return Err(Refused::EndsFirst);
                }
                self.close(open, at_ns, t_ns.is_some());
            }
            Line::Mark { name, t_ns } => {
                let at_ns = self.time(t_ns, now_ns)?;
                self.know(&name)?;
                let sent = t_ns.is_some();
                let mark = Open {
                    name,
                    at_ns,
                    sent,
                    input: 0,
                    output: 0,
                };
                self.close(mark, at_ns, sent);
            }
            Line::Tokens { count, input } => {
                let total = if input {
                    &mut self.input_tokens
                } else {
                    &mut self.output_tokens
                };
                *total = Some(total.unwrap_or(0).saturating_add(count));
                // Of every phase that is open: a step's tokens are those of its loop too.
                for open in &mut self.open {
                    let of_phase = if input {
                        &mut open.input
                    } else {
                        &mut open.output
                    };
                    *of_phase = of_phase.saturating_add(count);
                }
            }
        }
        Ok(true)
    }

    fn time(&mut self, t_ns: Option<u64>, now_ns: u64) -> Result<u64, Refused> {
        match t_ns {
            Some(t) if t < self.start_ns || t > now_ns => Err(Refused::TimeOutside),
            Some(t) => Ok(t),
            None => {
                self.arrivals += 1;
                Ok(now_ns.max(self.start_ns))
            }
        }
    }

    fn know(&mut self, name: &str) -> Result<(), Refused> {
        if self.spans >= MAX_SPANS {
            return Err(Refused::TooManySpans);
        }
        if !self.names.contains(name) {
            if self.names.len() >= MAX_NAMES {
                return Err(Refused::TooManyNames);
            }
            self.names.insert(name.to_owned());
        }
        self.spans += 1;
        Ok(())
    }

    fn close(&mut self, open: Open, end_ns: u64, sent: bool) {
        let mut attributes = Attributes::new();
        let time = if open.sent && sent { "sent" } else { "arrival" };
        attributes.insert(told::TIME.into(), time.into());
        for (name, count) in [
            (told::INPUT_TOKENS, open.input),
            (told::OUTPUT_TOKENS, open.output),
        ] {
            if count > 0 {
                attributes.insert(name.into(), count.to_string());
            }
        }
        self.done.push(Span {
            span: SpanKind::Phase,
            name: open.name,
            cycle: Some(0),
            start_ns: open.at_ns,
            end_ns,
            attributes,
            request: None,
        });
    }

    /// The phase that began last, of those that are open.
    pub fn now(&self) -> Option<&str> {
        self.open.last().map(|open| open.name.as_str())
    }

    /// Output tokens so far.
    pub fn output_tokens(&self) -> u64 {
        self.output_tokens.unwrap_or(0)
    }

    /// Takes out the spans that are complete.
    pub fn drain(&mut self) -> Vec<Span> {
        std::mem::take(&mut self.done)
    }

    /// The command has ended: what is open ends with it.
    pub fn finish(&mut self, end_ns: u64, into: &mut Told) -> Faults {
        if !self.partial.is_empty() {
            let line = std::mem::take(&mut self.partial);
            self.line(&line, end_ns);
        }
        for open in std::mem::take(&mut self.open) {
            self.faults.left_open.push(open.name.clone());
            let end_ns = end_ns.max(open.at_ns);
            self.close(open, end_ns, false);
        }
        // What was read after the end was written before it.
        for span in &mut self.done {
            span.end_ns = span.end_ns.min(end_ns);
            span.start_ns = span.start_ns.min(end_ns);
        }
        into.input_tokens = self.input_tokens;
        into.output_tokens = self.output_tokens;
        into.marks = self.accepted;
        into.marks_refused = self.faults.count();
        into.marks_by_arrival = self.arrivals;
        std::mem::take(&mut self.faults)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn told(spans: &[Span]) -> Vec<(&str, u64, u64)> {
        spans
            .iter()
            .map(|s| (s.name.as_str(), s.start_ns, s.end_ns))
            .collect()
    }

    #[test]
    fn marks_become_spans_by_their_own_time_or_that_of_arrival() {
        let mut marks = Marks::new(100);
        marks.feed(b"begin prefill 150\ntokens 64 inp", 200);
        assert_eq!(marks.now(), Some("prefill"));
        marks.feed(b"ut\nend prefill 190\nbegin decode\n", 210);
        marks.feed(b"tokens 3\nmark half\nend decode", 300);
        let spans = marks.drain();
        assert_eq!(told(&spans), [("prefill", 150, 190), ("half", 300, 300)]);
        assert_eq!(spans[0].attributes[told::TIME], "sent");
        assert_eq!(spans[0].attributes[told::INPUT_TOKENS], "64");
        let mut end = Told::default();
        // A last line without its break counts.
        let faults = marks.finish(400, &mut end);
        let spans = marks.drain();
        assert_eq!(told(&spans), [("decode", 210, 400)]);
        assert_eq!(spans[0].attributes[told::TIME], "arrival");
        assert_eq!(spans[0].attributes[told::OUTPUT_TOKENS], "3");
        assert_eq!((faults.count(), faults.left_open.len()), (0, 0));
        assert_eq!((end.input_tokens, end.output_tokens), (Some(64), Some(3)));
        assert_eq!((end.marks, end.marks_by_arrival), (7, 3));
    }

    #[test]
    fn what_cannot_be_is_counted_by_its_reason_and_harms_nothing() {
        let mut marks = Marks::new(100);
        marks.feed(b"begin a 50\nbegin a 999\nend a\nbegin a\nbegin a\n", 200);
        marks.feed(&[b'x'; 10_000], 200);
        marks.feed(b"\nend a 150\nbegin b\n\xff\n", 300);
        let mut end = Told::default();
        let faults = marks.finish(400, &mut end);
        assert_eq!(told(&marks.drain()), [("b", 300, 400)]);
        assert_eq!(faults.left_open, ["b"]);
        let by = |why| faults.by_reason.get(&why).copied();
        assert_eq!(by(Refused::TimeOutside), Some((2, 1)));
        assert_eq!(by(Refused::NotBegun), Some((1, 3)));
        assert_eq!(by(Refused::BeginsTwice), Some((1, 5)));
        assert_eq!(by(Refused::TooLong), Some((1, 6)));
        assert_eq!(by(Refused::EndsFirst), Some((1, 7)));
        assert_eq!(by(Refused::NotText), Some((1, 9)));
        assert_eq!((end.marks, end.marks_refused), (2, 7));
    }

    #[test]
    fn what_is_read_after_the_end_was_before_it() {
        let mut marks = Marks::new(100);
        marks.feed(b"begin a\n", 150);
        marks.feed(b"end a\nmark last\n", 450);
        let faults = marks.finish(400, &mut Told::default());
        assert_eq!(told(&marks.drain()), [("a", 150, 400), ("last", 400, 400)]);
        assert_eq!((faults.count(), faults.left_open.len()), (0, 0));
    }

    #[test]
    fn names_and_spans_are_bounded() {
        let mut marks = Marks::new(0);
        for n in 0..=MAX_NAMES {
            marks.feed(format!("mark n{n}\n").as_bytes(), 10);
        }
        for _ in 0..MAX_SPANS / 1000 {
            marks.feed("mark n1\n".repeat(1000).as_bytes(), 10);
            marks.drain();
        }
        let faults = marks.finish(20, &mut Told::default());
        assert_eq!(faults.by_reason[&Refused::TooManyNames].0, 1);
        assert_eq!(faults.by_reason[&Refused::TooManySpans].0, MAX_NAMES as u64);
    }

    proptest! {
        /// However the bytes are cut into pieces, the same lines come out.
        #[test]
        fn pieces_do_not_matter(cuts in prop::collection::vec(0..120usize, 0..8)) {
            let text = "begin a\ntokens 5 input\nbegin b\nbad\nend b\nend a\nmark c\nend d\n".repeat(2);
            let mut whole = Marks::new(0);
            whole.feed(text.as_bytes(), 9);
            let mut pieces = Marks::new(0);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(text.len())).collect();
            cuts.sort_unstable();
            let mut from = 0;
            for cut in cuts {
                pieces.feed(&text.as_bytes()[from..cut], 9);
                from = cut;
            }
            pieces.feed(&text.as_bytes()[from..], 9);
            prop_assert_eq!(whole.drain(), pieces.drain());
            let (mut one, mut two) = (Told::default(), Told::default());
            prop_assert_eq!(whole.finish(9, &mut one), pieces.finish(9, &mut two));
            prop_assert_eq!(one, two);
        }

        #[test]
        fn any_bytes_give_spans_inside_the_command(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let mut marks = Marks::new(5);
            marks.feed(&bytes, 9);
            marks.finish(20, &mut Told::default());
            for span in marks.drain() {
                prop_assert!(span.start_ns >= 5 && span.end_ns <= 20 && span.start_ns <= span.end_ns);
            }
        }
    }
}
