//! One request's answer, from its first byte to its end. Knows bytes and times, no socket.

use crate::account::Account;
use crate::answer::{self, Told};
use crate::chunked::Chunked;
use crate::head::{self, Content, Framing, Head, shorten};
use crate::lines::Lines;
use crate::sse::{Sse, SseEvent, TooLarge};
use crate::{Api, Event, EventSink, Failure, Limits, Usage};

/// Error bodies are read up to here.
const ERROR_BYTES: usize = 64 << 10;

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

/// How the body is cut into objects.
#[derive(Debug)]
enum Form {
    Sse(Sse),
    Lines(Lines),
    Whole(Vec<u8>),
    /// Of an answer with a bad status.
    Error(Box<Head>, Vec<u8>),
}

/// What the objects said.
#[derive(Debug)]
pub struct Heard {
    request: usize,
    api: Api,
    limits: Limits,
    max_tokens: u64,
    pub account: Account,
    usage: Option<Usage>,
    timings: String,
    objects: u64,
    last_ns: u64,
    ended_ns: Option<u64>,
    failure: Option<Failure>,
    /// Kept where another request goes on from this one.
    pub kept: Option<Kept>,
}

/// The answer itself.
#[derive(Debug, Default)]
pub struct Kept {
    pub text: String,
    pub ids: Vec<u32>,
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
            heard: Heard {
                request,
                api,
                limits,
                max_tokens: u64::from(max_tokens) + u64::from(limits.extra_tokens),
                account: Account::default(),
                usage: None,
                timings: String::new(),
                objects: 0,
                last_ns: 0,
                ended_ns: None,
                failure: None,
                kept: keep.then(Kept::default),
            },
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

impl Heard {
    fn piece(&mut self, form: &mut Form, read: Read<'_>, sink: &mut dyn EventSink) {
        self.account.summary.body_bytes += read.bytes.len() as u64;
        if self.failure.is_some() {
            return;
        }
        let bytes = read.bytes;
        let fed = match form {
            Form::Sse(sse) => sse.feed(bytes, |event| self.event(event, read, sink)),
            Form::Lines(lines) => lines.feed(bytes, |line| self.object(line, read, sink)),
            Form::Whole(body) => {
                let limit = self.limits.body_bytes;
                if body.len() + bytes.len() > limit {
                    self.fail(Failure::Oversized {
                        what: "the answer",
                        limit,
                    });
                } else {
                    body.extend_from_slice(bytes);
                }
                Ok(())
            }
            Form::Error(head, body) => {
                let room = ERROR_BYTES - body.len();
                body.extend_from_slice(&bytes[..bytes.len().min(room)]);
                if body.len() == ERROR_BYTES {
                    let failure = http_failure(head, body);
                    self.fail(failure);
                }
                Ok(())
            }
        };
        if let Err(TooLarge) = fed {
            let limit = self.limits.event_bytes;
            self.fail(Failure::Oversized {
                what: "an event of the stream",
                limit,
            });
        }
        if self.account.summary.body_bytes > self.limits.stream_bytes {
            let what = format!("more than {} bytes came", self.limits.stream_bytes);
            self.fail(Failure::Endless { what });
        }
    }

    /// The first failure is the cause.
    fn fail(&mut self, failure: Failure) {
        self.failure.get_or_insert(failure);
    }

    fn event(&mut self, event: SseEvent<'_>, read: Read<'_>, sink: &mut dyn EventSink) {
        let data = event.data.trim_ascii();
        if event.name == b"error" && self.failure.is_none() && self.ended_ns.is_none() {
            let Told { message, code } = answer::error_message(data).unwrap_or_else(|| Told {
                message: String::from_utf8_lossy(data).into_owned(),
                code: None,
            });
            let message = shorten(&message);
            self.fail(Failure::InStream { message, code });
        } else if data == b"[DONE]" {
            self.end(read.at_ns);
        } else if !data.is_empty() {
            self.object(data, read, sink);
        }
    }

    fn end(&mut self, at_ns: u64) {
        self.ended_ns.get_or_insert(at_ns);
        self.account.summary.done_mark = true;
    }

    fn object(&mut self, json: &[u8], read: Read<'_>, sink: &mut dyn EventSink) {
        if self.failure.is_some() || self.ended_ns.is_some() {
            return;
        }
        let repaired;
        // The standard decodes with replacement; but hardly any stream needs it.
        let read_json = match answer::read(self.api, json) {
            Err(_) if std::str::from_utf8(json).is_err() => {
                repaired = String::from_utf8_lossy(json).into_owned();
                answer::read(self.api, repaired.as_bytes())
            }
            read => read,
        };
        let chunk = match read_json {
            Ok(chunk) => chunk,
            Err(why) => {
                let text = shorten(&String::from_utf8_lossy(json));
                return self.fail(Failure::Garbage {
                    what: format!("{why}: {text:?}"),
                });
            }
        };
        if let Some(Told { message, code }) = chunk.error {
            let message = shorten(&message);
            return self.fail(Failure::InStream { message, code });
        }
        self.objects += 1;
        self.last_ns = read.at_ns;
        self.account
            .chunk(self.request, read.at_ns, read.number, &chunk, sink);
        if let Some(usage) = chunk.usage {
            self.usage = Some(usage);
        }
        if chunk.timings {
            self.timings.clear();
            self.timings.push_str(&String::from_utf8_lossy(json));
        }
        if let Some(kept) = &mut self.kept {
            if let Some((_, text)) = &chunk.answer {
                kept.text.push_str(text);
            }
            kept.ids.extend_from_slice(&chunk.ids);
        }
        if let Some(finish) = &chunk.finish {
            self.account.summary.finish_reason = Some(shorten(finish));
        }
        if chunk.last {
            self.end(read.at_ns);
        }
        let came = self.account.at_least();
        if came > self.max_tokens {
            let what = format!("{came} tokens came, far more than asked for");
            self.fail(Failure::Endless { what });
        }
    }

    /// The body has ended: was that all?
    fn complete(
        &mut self,
        form: &mut Form,
        read: Read<'_>,
        sink: &mut dyn EventSink,
    ) -> Result<(), Failure> {
        match form {
            Form::Error(head, body) => return Err(http_failure(head, body)),
            Form::Whole(body) => {
                let body = std::mem::take(body);
                self.object(&body, read, sink);
                if self.failure.is_none() {
                    self.end(read.at_ns);
                }
            }
            Form::Lines(lines) => lines.finish(|line| self.object(line, read, sink)),
            // The mark is taken even where the blank line behind it is missing.
            Form::Sse(sse) if sse.unfinished().trim_ascii() == b"[DONE]" => self.end(read.at_ns),
            Form::Sse(_) => {}
        }
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        if self.ended_ns.is_some() || self.account.summary.finish_reason.is_some() {
            Ok(())
        } else if self.objects == 0 {
            Err(Failure::Garbage {
                what: "it ended without a single event".into(),
            })
        } else {
            Err(Failure::Broken {
                why: "the body ended, and neither a finish reason nor an end mark had come".into(),
            })
        }
    }

    fn close(&mut self, at_ns: u64, complete: bool, sink: &mut dyn EventSink) {
        let request = self.request;
        if let Some(usage) = self.usage {
            sink.event(Event::Usage {
                request,
                at_ns,
                usage,
            });
        }
        if !self.timings.is_empty() {
            let json = &self.timings;
            sink.event(Event::Timings {
                request,
                at_ns,
                json,
            });
        }
        self.account.close(self.usage.unwrap_or_default(), complete);
    }
}

fn http_failure(head: &Head, body: &[u8]) -> Failure {
    let told = answer::error_message(body)
        .map(|told| told.message)
        .unwrap_or_else(|| String::from_utf8_lossy(body).into_owned());
    Failure::Http {
        status: head.status,
        message: shorten(&told),
        retry_after_ms: head
            .retry_after
            .map(|d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX)),
        location: head.location.clone(),
    }
}

#[cfg(test)]
mod tests;
