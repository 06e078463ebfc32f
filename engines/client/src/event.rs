//! What a run tells while it goes.

use crate::Failure;

/// Takes events on the hot path, on the thread of the run: append and return.
///
/// What an event borrows is gone when the call returns.
pub trait EventSink {
    fn event(&mut self, event: Event<'_>);
}

impl<F: FnMut(Event<'_>)> EventSink for F {
    fn event(&mut self, event: Event<'_>) {
        self(event);
    }
}

/// `request` is the index of the job in the plan; all times are CLOCK_MONOTONIC, in
/// nanoseconds. Of each request that was taken up, exactly one of `Finished` and
/// `Failed` comes, and it comes last.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Event<'a> {
    /// The first byte of the request went to the kernel right after `at_ns`.
    Sent {
        request: usize,
        at_ns: u64,
        /// When it should have gone: its arrival time, or when its slot or its think
        /// time let it go. `at_ns - due_ns` is the client's lag, connecting included.
        due_ns: u64,
        /// How long it took to open the connection; `None` where one was at hand.
        connect_ns: Option<u64>,
        /// 1, and 2 where a kept connection turned out to be closed before any byte of
        /// an answer came: the request then starts again and the later time counts.
        attempt: u32,
    },
    /// The first byte of the answer, its HTTP head.
    FirstByte { request: usize, at_ns: u64 },
    /// A chunk without tokens: the role, an empty delta, progress of the prompt, a comment's
    /// keep-alive is not told. No time to first token comes from here.
    Empty { request: usize, at_ns: u64 },
    /// One chunk of output.
    Tokens {
        request: usize,
        at_ns: u64,
        tokens: Tokens<'a>,
        part: Part,
        /// The text of the chunk; may be empty where a token has no text of its own yet.
        text: &'a str,
        /// An earlier chunk of this request came out of the same read, so that the time
        /// between the two was not seen.
        same_read: bool,
    },
    /// The server's own count, once, before the end.
    Usage {
        request: usize,
        at_ns: u64,
        usage: Usage,
    },
    /// A chunk in which the server tells times of its own (`timings`, `metrics`, durations),
    /// as it came.
    Timings {
        request: usize,
        at_ns: u64,
        json: &'a str,
    },
    /// The answer is complete. `at_ns` is when its end was told: `[DONE]`, the last chunk, or
    /// the end of the body, whichever came first.
    Finished {
        request: usize,
        at_ns: u64,
        summary: &'a Summary,
    },
    /// The request ended without a complete answer; what had come until then is kept.
    Failed {
        request: usize,
        at_ns: u64,
        failure: &'a Failure,
        summary: &'a Summary,
    },
}

/// The tokens of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tokens<'a> {
    Ids(&'a [u32]),
    /// From the server's running count (`continuous_usage_stats`).
    Count(u32),
    /// The server does not tell how many this chunk holds (at least one, where it has text).
    Unknown,
}

/// What a chunk's text is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// Thinking that comes before the answer.
    Reasoning,
    Answer,
    /// Arguments of a tool call; counts as answer.
    ToolCall,
}

impl Part {
    pub const fn is_answer(self) -> bool {
        matches!(self, Self::Answer | Self::ToolCall)
    }
}

/// What the server counted. Absent is what it did not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub prompt_tokens: Option<u64>,
    pub output_tokens: Option<u64>,
    /// Prompt tokens that came from a cache.
    pub cached_tokens: Option<u64>,
    pub reasoning_tokens: Option<u64>,
}

/// Where [`Summary::output_tokens`] comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Counted {
    /// Token ids in the chunks, or the server's running count after each of them.
    Chunks,
    /// The server's total at the end.
    Usage,
    /// Nobody told.
    #[default]
    Unknown,
}

/// Whether the times between chunks are times between tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Gaps {
    /// Each chunk is known to have held one token.
    True,
    /// The server's total equals the number of chunks with text; each holds one unless two
    /// errors cancel out.
    Likely,
    /// Some chunk holds several tokens: times between chunks are not between tokens.
    Chunked,
    /// Not known.
    #[default]
    Unknown,
}

/// One request in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    pub due_ns: u64,
    pub sent_ns: Option<u64>,
    pub first_byte_ns: Option<u64>,
    /// First chunk with a token, be it of reasoning.
    pub first_token_ns: Option<u64>,
    /// First chunk with a token of the answer itself.
    pub first_answer_ns: Option<u64>,
    pub last_token_ns: Option<u64>,
    /// Chunks with tokens.
    pub chunks: u64,
    pub empty_chunks: u64,
    /// Tokens of those chunks that told how many they held.
    pub counted_tokens: u64,
    /// Chunks with text that did not.
    pub uncounted_chunks: u64,
    /// Chunks that share a read with the one before: no time between them was seen.
    pub same_read: u64,
    pub output_tokens: Option<u64>,
    pub counted: Counted,
    pub gaps: Gaps,
    pub usage: Usage,
    /// As the server spells it: `stop`, `length`, …
    pub finish_reason: Option<String>,
    /// The end of the stream was marked (`[DONE]`, `done: true`, …). Always true of an answer
    /// in one piece.
    pub done_mark: bool,
    /// The answer came as a stream; else in one piece, and the token times are all the same.
    pub streamed: bool,
    /// Bytes of the body.
    pub body_bytes: u64,
}
