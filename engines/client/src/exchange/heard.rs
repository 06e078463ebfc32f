//! What the body's objects say.

use super::Read;
use super::pattern::Pattern;
use crate::account::Account;
use crate::answer::{self, Chunk, Told};
use crate::head::{Head, shorten};
use crate::lines::Lines;
use crate::sse::{Sse, SseEvent, TooLarge};
use crate::{Api, Event, EventSink, Failure, Limits, Usage};

/// Error bodies are read up to here.
const ERROR_BYTES: usize = 64 << 10;

/// How the body is cut into objects.
#[derive(Debug)]
pub enum Form {
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
    pub(super) api: Api,
    pub(super) limits: Limits,
    max_tokens: u64,
    pub account: Account,
    usage: Option<Usage>,
    timings: String,
    pattern: Pattern,
    objects: u64,
    pub(super) last_ns: u64,
    pub(super) ended_ns: Option<u64>,
    pub(super) failure: Option<Failure>,
    /// Kept where another request goes on from this one.
    pub kept: Option<Kept>,
}

/// The answer itself.
#[derive(Debug, Default)]
pub struct Kept {
    pub text: String,
    pub ids: Vec<u32>,
}

impl Heard {
    pub fn new(request: usize, api: Api, max_tokens: u32, limits: Limits, keep: bool) -> Self {
        Self {
            request,
            api,
            limits,
            max_tokens: u64::from(max_tokens) + u64::from(limits.extra_tokens),
            account: Account::default(),
            usage: None,
            timings: String::new(),
            pattern: Pattern::default(),
            objects: 0,
            last_ns: 0,
            ended_ns: None,
            failure: None,
            kept: keep.then(Kept::default),
        }
    }

    pub fn piece(&mut self, form: &mut Form, read: Read<'_>, sink: &mut dyn EventSink) {
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
        if let Some(chunk) = self.pattern.read(json) {
            return self.chunk(json, &chunk, read, sink);
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
        self.pattern.learn(json, &chunk);
        self.chunk(json, &chunk, read, sink);
    }

    fn chunk(&mut self, json: &[u8], chunk: &Chunk<'_>, read: Read<'_>, sink: &mut dyn EventSink) {
        if let Some(Told { message, code }) = &chunk.error {
            return self.fail(Failure::InStream {
                message: shorten(message),
                code: code.clone(),
            });
        }
        self.objects += 1;
        self.last_ns = read.at_ns;
        self.account
            .chunk(self.request, read.at_ns, read.number, chunk, sink);
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
    pub fn complete(
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

    pub fn close(&mut self, at_ns: u64, complete: bool, sink: &mut dyn EventSink) {
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
