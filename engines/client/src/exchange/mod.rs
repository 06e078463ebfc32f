//! One request's answer, from its first byte to its end. Knows bytes and times, no socket.

mod heard;
mod pattern;

use heard::{Form, Heard};

pub use heard::Kept;

use crate::chunked::Chunked;
use crate::head::{self, Content, Framing, Head};
use crate::lines::Lines;
use crate::sse::Sse;
use crate::{Api, Event, EventSink, Failure, Limits};

/// Where an exchange stands after a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    More,
    /// The end of the answer was marked, but not that of its body, which should follow at once.
    Ending,
    /// All of it came. Whether the connection may be used again.
    Done {
        reusable: bool,
    },
}

#[derive(Debug)]
pub struct Exchange {
    pub request: usize,
    stage: Stage,
    pub heard: Heard,
}

#[derive(Debug)]
enum Stage {
    Head(Vec<u8>),
    Body {
        framing: Framing,
        keep_alive: bool,
        form: Form,
    },
}

/// One read from the socket.
#[derive(Clone, Copy, Debug)]
pub struct Read<'a> {
    pub bytes: &'a [u8],
    pub at_ns: u64,
    pub number: u64,
}

impl Exchange {
    pub fn new(request: usize, api: Api, max_tokens: u32, limits: Limits, keep: bool) -> Self {
        Self {
            request,
            stage: Stage::Head(Vec::new()),
            heard: Heard::new(request, api, max_tokens, limits, keep),
        }
    }

    /// No byte of an answer has come.
    pub fn is_silent(&self) -> bool {
        self.heard.account.summary.first_byte_ns.is_none()
    }

    pub fn read(&mut self, read: Read<'_>, sink: &mut dyn EventSink) -> Result<Step, Failure> {
        let Read {
            mut bytes, at_ns, ..
        } = read;
        let mut kept_head = Vec::new();
        if let Stage::Head(before) = &mut self.stage {
            if self.heard.account.summary.first_byte_ns.is_none() && !bytes.is_empty() {
                self.heard.account.summary.first_byte_ns = Some(at_ns);
                let request = self.request;
                sink.event(Event::FirstByte { request, at_ns });
            }
            let limit = self.heard.limits.head_bytes;
            if !before.is_empty() {
                let room = (limit + 1).saturating_sub(before.len());
                // What is behind the head in this read stays with it.
                before.extend_from_slice(bytes);
                if room == 0 {
                    return Err(Failure::Oversized {
                        what: "the HTTP head",
                        limit,
                    });
                }
                kept_head = std::mem::take(before);
                bytes = &kept_head;
            }
            let found = match head::read(bytes)? {
                Some(found) => found,
                None if bytes.len() > limit => {
                    return Err(Failure::Oversized {
                        what: "the HTTP head",
                        limit,
                    });
                }
                None => {
                    let kept = if kept_head.is_empty() {
                        bytes.to_vec()
                    } else {
                        kept_head
                    };
                    self.stage = Stage::Head(kept);
                    return Ok(Step::More);
                }
            };
            bytes = &bytes[found.1..];
            self.begin(found.0)?;
        }
        self.body(Read { bytes, ..read }, sink)
    }

    fn begin(&mut self, mut head: Head) -> Result<(), Failure> {
        let framing = std::mem::replace(&mut head.framing, Framing::ToEnd);
        let keep_alive = head.keep_alive;
        let limit = self.heard.limits.event_bytes;
        let lines = matches!(self.heard.api, Api::OllamaGenerate | Api::OllamaChat);
        let form = if !(200..300).contains(&head.status) {
            Form::Error(Box::new(head), Vec::new())
        } else {
            match head.content {
                Content::EventStream => Form::Sse(Sse::new(limit)),
                Content::JsonLines => Form::Lines(Lines::new(limit)),
                Content::Json if lines => Form::Lines(Lines::new(limit)),
                Content::Json => Form::Whole(Vec::new()),
                Content::Html => {
                    return Err(Failure::Garbage {
                        what: "it is a web page".into(),
                    });
                }
                // It does not say: what was asked for.
                Content::Other if lines => Form::Lines(Lines::new(limit)),
                Content::Other if self.heard.account.summary.streamed => Form::Sse(Sse::new(limit)),
                Content::Other => Form::Whole(Vec::new()),
            }
        };
        if let Form::Whole(_) = form {
            self.heard.account.summary.streamed = false;
        }
        self.stage = Stage::Body {
            framing,
            keep_alive,
            form,
        };
        Ok(())
    }

    fn body(&mut self, read: Read<'_>, sink: &mut dyn EventSink) -> Result<Step, Failure> {
        let Stage::Body {
            framing,
            keep_alive,
            form,
        } = &mut self.stage
        else {
            return Ok(Step::More);
        };
        let heard = &mut self.heard;
        let mut used = read.bytes.len();
        let ended = match framing {
            Framing::Length(left) => {
                used = usize::try_from(*left).map_or(used, |left| left.min(used));
                heard.piece(
                    form,
                    Read {
                        bytes: &read.bytes[..used],
                        ..read
                    },
                    sink,
                );
                *left -= used as u64;
                *left == 0
            }
            Framing::Chunked(decoder) => {
                let done = decoder.feed(read.bytes, |bytes| {
                    heard.piece(form, Read { bytes, ..read }, sink)
                });
                match done {
                    Ok(Chunked::More) => false,
                    Ok(Chunked::Done { used: end }) => {
                        used = end;
                        true
                    }
                    Err(why) => {
                        heard
                            .failure
                            .get_or_insert(Failure::Garbage { what: why.into() });
                        false
                    }
                }
            }
            Framing::ToEnd => {
                heard.piece(form, read, sink);
                false
            }
        };
        if let Some(failure) = heard.failure.take() {
            return Err(failure);
        }
        if !ended {
            return Ok(if heard.ended_ns.is_some() {
                Step::Ending
            } else {
                Step::More
            });
        }
        let reusable = *keep_alive && used == read.bytes.len();
        heard.complete(form, read, sink)?;
        Ok(Step::Done { reusable })
    }

    /// The server closed its side.
    pub fn end_of_input(&mut self, at_ns: u64, sink: &mut dyn EventSink) -> Result<(), Failure> {
        let read = Read {
            bytes: &[],
            at_ns,
            number: u64::MAX,
        };
        match &mut self.stage {
            Stage::Head(head) => Err(Failure::Broken {
                why: if head.is_empty() {
                    "the server closed it before any byte of an answer".into()
                } else {
                    "the server closed it within the HTTP head".into()
                },
            }),
            Stage::Body {
                framing: Framing::ToEnd,
                form,
                ..
            } => self.heard.complete(form, read, sink),
            Stage::Body { .. } if self.heard.ended_ns.is_some() => Ok(()),
            Stage::Body {
                form: form @ Form::Error(..),
                ..
            } => self.heard.complete(form, read, sink),
            Stage::Body { .. } => Err(Failure::Broken {
                why: "the server closed it before the body's end".into(),
            }),
        }
    }

    /// What a failure from outside (a reset, a timeout) amounts to, given what has come.
    pub fn interrupted(
        &mut self,
        failure: Failure,
        at_ns: u64,
        sink: &mut dyn EventSink,
    ) -> Result<(), Failure> {
        match &mut self.stage {
            _ if self.heard.ended_ns.is_some() => Ok(()),
            Stage::Body {
                form: form @ Form::Error(..),
                ..
            } => {
                let read = Read {
                    bytes: &[],
                    at_ns,
                    number: u64::MAX,
                };
                self.heard.complete(form, read, sink)
            }
            _ => Err(failure),
        }
    }

    /// Tells the end.
    pub fn finish(&mut self, at_ns: u64, sink: &mut dyn EventSink) {
        let heard = &mut self.heard;
        let request = self.request;
        let at_ns = heard
            .ended_ns
            .or((heard.last_ns > 0).then_some(heard.last_ns))
            .unwrap_or(at_ns);
        heard.close(at_ns, true, sink);
        let summary = &heard.account.summary;
        sink.event(Event::Finished {
            request,
            at_ns,
            summary,
        });
    }

    pub fn fail(&mut self, failure: &Failure, at_ns: u64, sink: &mut dyn EventSink) {
        let heard = &mut self.heard;
        let request = self.request;
        heard.close(at_ns, false, sink);
        let summary = &heard.account.summary;
        sink.event(Event::Failed {
            request,
            at_ns,
            failure,
            summary,
        });
    }
}

#[cfg(test)]
mod tests;
