//! What has been counted of one request, and what that is worth.

use crate::answer::Chunk;
use crate::{Counted, Event, EventSink, Gaps, Part, Summary, Tokens, Usage};

/// Whether the server counts on each chunk.
#[derive(Clone, Copy, Debug, Default)]
enum Running {
    #[default]
    Unsettled,
    /// It does; the count so far.
    At(u64),
    No,
}

/// Counts one request's chunks.
#[derive(Debug, Default)]
pub struct Account {
    pub summary: Summary,
    running: Running,
    reasoned: bool,
    /// Some chunk held more than one token.
    several: bool,
    last_read: Option<u64>,
}

impl Account {
    /// Takes up one chunk and tells it. `read` numbers the read that it came out of.
    pub fn chunk(
        &mut self,
        request: usize,
        at_ns: u64,
        read: u64,
        chunk: &Chunk<'_>,
        sink: &mut dyn EventSink,
    ) {
        let Some(tokens) = self.tokens(chunk) else {
            if chunk.has_output || chunk.usage.is_none() {
                self.summary.empty_chunks += 1;
                sink.event(Event::Empty { request, at_ns });
            }
            return;
        };
        let held = match tokens {
            Tokens::Ids(ids) => Some(ids.len() as u64),
            Tokens::Count(n) => Some(u64::from(n)),
            Tokens::Unknown => None,
        };
        let same_read = self.last_read == Some(read);
        let (reasoning, answer) = (chunk.reasoning.as_deref(), chunk.answer.as_ref());
        self.reasoned |= reasoning.is_some();
        let current_part = self.current_part();
        if held != Some(0) {
            self.last_read = Some(read);
            let s = &mut self.summary;
            s.chunks += 1;
            s.same_read += u64::from(same_read);
            s.last_token_ns = Some(at_ns);
            s.first_token_ns.get_or_insert(at_ns);
            if answer.is_some() {
                s.first_answer_ns.get_or_insert(at_ns);
            }
            match held {
                Some(n) => s.counted_tokens += n,
                None => s.uncounted_chunks += 1,
            }
            self.several |= held.is_some_and(|n| n > 1);
        }
        let mut tell = |tokens, part, text| {
            sink.event(Event::Tokens {
                request,
                at_ns,
                tokens,
                part,
                text,
                same_read,
            });
        };
        match (reasoning, answer) {
            (Some(text), None) => tell(tokens, Part::Reasoning, text),
            (None, Some((part, text))) => tell(tokens, *part, text),
            // Which of the tokens belong to which is not told: they go with the answer.
            (Some(thought), Some((part, text))) => {
                tell(Tokens::Count(0), Part::Reasoning, thought);
                tell(tokens, *part, text);
            }
            // A token without a text of its own: the end, or the start of a character.
            (None, None) => tell(tokens, current_part, ""),
        }
    }

    /// `None`: the chunk holds no output.
    fn tokens<'c>(&mut self, chunk: &'c Chunk<'_>) -> Option<Tokens<'c>> {
        let has_text = chunk.reasoning.is_some() || chunk.answer.is_some();
        let told = chunk
            .running
            .or_else(|| chunk.usage.filter(|_| chunk.has_output)?.output_tokens);
        let is_output = has_text || !chunk.ids.is_empty();
        let more = self.more(is_output, told);
        if !chunk.ids.is_empty() {
            return Some(Tokens::Ids(&chunk.ids));
        }
        match more {
            Some(0) if !has_text => None,
            Some(n) => Some(Tokens::Count(n)),
            None if has_text => Some(Tokens::Unknown),
            None => None,
        }
    }

    /// How many tokens more than at the chunk before, where the server counts on each chunk.
    /// One that tells a count for the first time late in its stream tells a total.
    fn more(&mut self, is_output: bool, told: Option<u64>) -> Option<u32> {
        match (self.running, told) {
            (Running::Unsettled, Some(now)) if is_output || now == 0 => {
                self.running = Running::At(now);
                Some(narrow(now))
            }
            (Running::Unsettled, None) if is_output => {
                self.running = Running::No;
                None
            }
            (Running::At(before), Some(now)) => {
                self.running = Running::At(now.max(before));
                Some(narrow(now.saturating_sub(before)))
            }
            (Running::At(_), None) if is_output => {
                self.running = Running::No;
                None
            }
            _ => None,
        }
    }

    /// Where a token without text belongs: to the part that came last.
    fn current_part(&self) -> Part {
        if self.reasoned && self.summary.first_answer_ns.is_none() {
            Part::Reasoning
        } else {
            Part::Answer
        }
    }

    /// Draws the sums, at the end of a request however it came.
    pub fn close(&mut self, usage: Usage, complete: bool) {
        let s = &mut self.summary;
        s.usage = usage;
        if !self.reasoned {
            s.first_answer_ns = s.first_token_ns;
        }
        (s.output_tokens, s.counted) = match usage.output_tokens {
            Some(total) => (Some(total), Counted::Usage),
            None if s.uncounted_chunks > 0 => (None, Counted::Unknown),
            None if s.chunks > 0 || !complete => (Some(s.counted_tokens), Counted::Chunks),
            None => (None, Counted::Unknown),
        };
        s.gaps = if self.several {
            Gaps::Chunked
        } else if s.chunks == 0 {
            Gaps::Unknown
        } else if s.uncounted_chunks == 0 {
            Gaps::True
        } else {
            match usage.output_tokens {
                Some(total) if total == s.chunks => Gaps::Likely,
                Some(total) if total > s.chunks => Gaps::Chunked,
                _ => Gaps::Unknown,
            }
        };
    }

    /// At least this many tokens have come.
    pub fn at_least(&self) -> u64 {
        self.summary.counted_tokens + self.summary.uncounted_chunks
    }
}

fn narrow(n: u64) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Api, answer};

    /// Feeds a chat stream, each object in a read of its own, 10 ns apart.
    fn account(objects: &[&str]) -> (Summary, Vec<String>) {
        let mut account = Account::default();
        let mut seen = Vec::new();
        let mut usage = Usage::default();
        for (i, object) in objects.iter().enumerate() {
            let chunk = answer::read(Api::Chat, object.as_bytes()).unwrap();
            usage = chunk.usage.unwrap_or(usage);
            let at = 10 * (i as u64 + 1);
            account.chunk(
                0,
                at,
                i as u64,
                &chunk,
                &mut |event: Event<'_>| match event {
                    Event::Tokens {
                        tokens, part, text, ..
                    } => seen.push(format!("{tokens:?} {part:?} {text}")),
                    _ => seen.push("-".to_owned()),
                },
            );
        }
        account.close(usage, true);
        (account.summary, seen)
    }

    const ROLE: &str = r#"{"choices":[{"delta":{"role":"assistant","content":""}}]}"#;
    const A: &str = r#"{"choices":[{"delta":{"content":"a"}}]}"#;
    const END: &str = r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#;

    fn usage(n: u32) -> String {
        format!(r#"{{"choices":[],"usage":{{"prompt_tokens":3,"completion_tokens":{n}}}}}"#)
    }

    #[test]
    fn chunks_are_not_tokens() {
        let (s, seen) = account(&[ROLE, A, A, END, &usage(5)]);
        assert_eq!(seen, ["-", "Unknown Answer a", "Unknown Answer a", "-"]);
        assert_eq!(
            (s.output_tokens, s.counted, s.gaps),
            (Some(5), Counted::Usage, Gaps::Chunked)
        );
        assert_eq!(
            (s.first_token_ns, s.last_token_ns, s.chunks),
            (Some(20), Some(30), 2)
        );
        assert_eq!(account(&[ROLE, A, A, END, &usage(2)]).0.gaps, Gaps::Likely);
        assert_eq!(account(&[ROLE, A, A, END, &usage(1)]).0.gaps, Gaps::Unknown);
        let (s, _) = account(&[ROLE, A, A, END]);
        assert_eq!(
            (s.output_tokens, s.counted, s.gaps),
            (None, Counted::Unknown, Gaps::Unknown)
        );
    }

    #[test]
    fn a_running_count_tells_each_chunk() {
        let with = |text: &str, n: u32| {
            format!(
                r#"{{"choices":[{{"delta":{{"content":"{text}"}}}}],"usage":{{"completion_tokens":{n}}}}}"#
            )
        };
        let (s, seen) = account(&[
            &with("", 0),
            &with("a", 1),
            &with("b", 4),
            &with("", 5),
            &usage(5),
        ]);
        assert_eq!(
            seen,
            [
                "-",
                "Count(1) Answer a",
                "Count(3) Answer b",
                "Count(1) Answer "
            ]
        );
        assert_eq!(
            (s.output_tokens, s.gaps, s.counted_tokens),
            (Some(5), Gaps::Chunked, 5)
        );
        let (s, _) = account(&[&with("a", 1), &with("b", 2)]);
        assert_eq!((s.output_tokens, s.gaps), (Some(2), Gaps::True));
    }

    #[test]
    fn a_total_on_the_last_chunk_is_no_running_count() {
        let last = r#"{"choices":[{"delta":{"content":""},"finish_reason":"stop"}],"usage":{"completion_tokens":2}}"#;
        let (s, seen) = account(&[ROLE, A, A, last]);
        assert_eq!(seen.last().unwrap(), "-");
        assert_eq!(
            (s.output_tokens, s.gaps, s.chunks),
            (Some(2), Gaps::Likely, 2)
        );
        // not even where the first chunk told a zero
        let zero = r#"{"choices":[{"delta":{"content":""}}],"usage":{"completion_tokens":0}}"#;
        let (s, _) = account(&[zero, A, A, last]);
        assert_eq!(
            (s.output_tokens, s.chunks, s.uncounted_chunks),
            (Some(2), 2, 2)
        );
    }

    #[test]
    fn ids_count_and_reasoning_is_no_answer() {
        let think = r#"{"choices":[{"delta":{"reasoning":"hm"},"token_ids":[1]}]}"#;
        let silent = r#"{"choices":[{"delta":{"content":""},"token_ids":[2]}]}"#;
        let answer = r#"{"choices":[{"delta":{"content":"a"},"token_ids":[3,4]}]}"#;
        let (s, seen) = account(&[ROLE, silent, think, silent, answer, silent]);
        assert_eq!(
            seen,
            [
                "-",
                "Ids([2]) Answer ",
                "Ids([1]) Reasoning hm",
                "Ids([2]) Reasoning ",
                "Ids([3, 4]) Answer a",
                "Ids([2]) Answer "
            ]
        );
        assert_eq!((s.first_token_ns, s.first_answer_ns), (Some(20), Some(50)));
        assert_eq!(
            (s.output_tokens, s.counted, s.gaps),
            (Some(6), Counted::Chunks, Gaps::Chunked)
        );
        // no reasoning at all: the first token is the answer's, with or without text
        let (s, _) = account(&[silent, answer]);
        assert_eq!(s.first_answer_ns, Some(10));
    }
}
