//! What becomes of the requests.

use std::io;

use super::{End, Piece, Runner};
use crate::body::{self, Conversation};
use crate::clock::now_ns;
use crate::connection::{Carried, Phase};
use crate::exchange::{Exchange, Read, Step};
use crate::schedule::{Ready, nanos};
use crate::{Event, Failure, Plan, Summary, Target};

/// Bodies beyond so many bytes are made when they are sent.
const AHEAD: usize = 256 << 20;
/// How long the body of an answer may outlive its end mark.
const ENDING_NS: u64 = 100_000_000;

/// Makes the bodies before the clock starts.
pub fn encode_ahead(target: &Target, plan: &Plan) -> Vec<Option<Vec<u8>>> {
    let mut bytes = 0;
    let one = |job: &crate::Job| {
        if job.after.is_some() || bytes > AHEAD {
            return None;
        }
        let conversation = Conversation::start(target.api, &job.prompt);
        let body = body::encode(target, job, &conversation);
        bytes += body.len();
        Some(body)
    };
    plan.jobs.iter().map(one).collect()
}

impl Runner<'_> {
    /// Lets go what may go.
    pub(super) fn release(&mut self, now: u64) {
        while let Some(ready) = self.waiting.pop_front() {
            if !self.place(ready) {
                self.waiting.push_front(ready);
                return;
            }
        }
        while let Some(ready) = self.schedule.next(now) {
            self.in_flight += 1;
            self.report.peak_in_flight = self.report.peak_in_flight.max(self.in_flight);
            if !self.place(ready) {
                self.waiting.push_back(ready);
                // The others that may go wait too, and their places count.
                while let Some(ready) = self.schedule.next(now) {
                    self.in_flight += 1;
                    self.waiting.push_back(ready);
                }
                self.report.peak_in_flight = self.report.peak_in_flight.max(self.in_flight);
                return;
            }
        }
    }

    /// Gives a request a connection; `false`: too many are being opened.
    fn place(&mut self, ready: Ready) -> bool {
        let idle = self.idle.pop();
        if idle.is_none() && self.connecting >= self.plan.limits.connecting.max(1) {
            return false;
        }
        let carried = self.carry(ready);
        match idle {
            Some(key) => {
                self.report.reused += 1;
                if let Some(connection) = self.connections.get_mut(key) {
                    connection.carried = Some(Carried {
                        reused: true,
                        ..carried
                    });
                    self.send(key);
                }
            }
            None => {
                if let Err((failure, Some(carried))) = self.open(Some(carried), self.address) {
                    self.failed(carried, failure);
                }
            }
        }
        true
    }

    fn carry(&mut self, ready: Ready) -> Carried {
        let job = &self.plan.jobs[ready.job];
        let keep = self.schedule.has_followers(ready.job);
        let conversation = match job.after {
            Some(after) => {
                let mut conversation = self.go_on(after.job);
                conversation.ask(self.target.api, &job.prompt);
                Some(conversation)
            }
            None => None,
        };
        let made = self.bodies[ready.job].take();
        let body = match (made, &conversation) {
            (Some(body), _) => body,
            (None, Some(conversation)) => body::encode(self.target, job, conversation),
            (None, None) => {
                let conversation = Conversation::start(self.target.api, &job.prompt);
                body::encode(self.target, job, &conversation)
            }
        };
        if keep {
            let conversation =
                conversation.unwrap_or_else(|| Conversation::start(self.target.api, &job.prompt));
            self.conversations.insert(ready.job, (conversation, 0));
        }
        let mut exchange = Exchange::new(
            ready.job,
            self.target.api,
            job.max_tokens,
            self.plan.limits,
            keep,
        );
        let summary = &mut exchange.heard.account.summary;
        summary.due_ns = ready.due_ns;
        summary.streamed = self.target.stream;
        Carried {
            exchange,
            due_ns: ready.due_ns,
            sent_ns: None,
            attempt: 1,
            reused: false,
            bytes: self.wire.request(&body),
            written: 0,
            last_read_ns: 0,
            ending_ns: None,
        }
    }

    /// The conversation up to an answer, for one that goes on from it.
    fn go_on(&mut self, job: usize) -> Conversation {
        let Some((conversation, left)) = self.conversations.get_mut(&job) else {
            return Conversation::Text(String::new());
        };
        *left = left.saturating_sub(1);
        if *left > 0 {
            return conversation.clone();
        }
        self.conversations
            .remove(&job)
            .map_or_else(|| Conversation::Text(String::new()), |(c, _)| c)
    }

    /// Sends the request of an open connection.
    pub(super) fn send(&mut self, key: usize) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let Some(carried) = &mut connection.carried else {
            return;
        };
        let at_ns = now_ns();
        connection.last_ns = at_ns;
        carried.sent_ns = Some(at_ns);
        carried.exchange.heard.account.summary.sent_ns = Some(at_ns);
        self.lag.record(at_ns.saturating_sub(carried.due_ns));
        self.report.bytes_out += carried.bytes.len() as u64;
        let sent = Event::Sent {
            request: carried.exchange.request,
            at_ns,
            due_ns: carried.due_ns,
            connect_ns: (!carried.reused).then(|| at_ns.saturating_sub(connection.opened_ns)),
            attempt: carried.attempt,
        };
        // Told once the bytes are on their way: telling takes time too.
        self.flush(key);
        self.sink.event(sent);
    }

    pub(super) fn flush(&mut self, key: usize) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if let Err(why) = connection.flush() {
            // The server may have answered before it stopped listening: what the socket holds
            // tells more than this error.
            connection.write_error = Some(why.kind());
            self.again.push(key);
        }
    }

    /// Takes up what was read from one socket.
    pub(super) fn piece(&mut self, piece: Piece, raw: &[u8]) {
        let key = piece.connection;
        let Some(connection) = self
            .connections
            .get_mut(key)
            .filter(|c| c.serial == piece.serial)
        else {
            return;
        };
        let mut plain = std::mem::take(&mut self.plain);
        plain.clear();
        let mut bytes = raw;
        if connection.tls.is_some() {
            let opened = connection.open_bytes(raw, &mut plain);
            // Answers of the handshake, and alerts, go out in any case.
            self.flush(key);
            if let Err(why) = opened {
                let failure = self.wire.tls_failure(&why);
                self.plain = plain;
                return self.connection_failed(key, failure, piece.at_ns);
            }
            bytes = &plain;
            let Some(connection) = self.connections.get(key) else {
                return;
            };
            let shaken = connection
                .tls
                .as_ref()
                .is_none_or(|tls| !tls.is_handshaking());
            if connection.phase == Phase::Handshaking && shaken {
                self.opened(key);
            }
        }
        if !bytes.is_empty() {
            self.bytes(
                key,
                Read {
                    bytes,
                    at_ns: piece.at_ns,
                    number: piece.number,
                },
            );
        }
        self.plain = plain;
        if let Some(end) = piece.end {
            // The bytes before it may have ended the request, and another may use the place.
            if self
                .connections
                .get(key)
                .is_some_and(|c| c.serial == piece.serial)
            {
                self.ended(key, end, piece.at_ns);
            }
        }
    }

    fn bytes(&mut self, key: usize, read: Read<'_>) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let Some(carried) = connection.carried.as_mut().filter(|c| c.sent_ns.is_some()) else {
            // Nothing was asked.
            self.idle.retain(|idle| *idle != key);
            if let Some(carried) = self.drop_connection(key).and_then(|c| c.carried) {
                self.failed(
                    carried,
                    Failure::Garbage {
                        what: "it came before the request".into(),
                    },
                );
            }
            return;
        };
        carried.last_read_ns = read.at_ns;
        let step = carried.exchange.read(read, self.sink);
        let written = carried.is_written();
        match step {
            Ok(Step::More) => {}
            Ok(Step::Ending) => {
                carried.ending_ns.get_or_insert(read.at_ns);
            }
            Ok(Step::Done { reusable }) => self.finished(key, reusable && written, read.at_ns),
            Err(failure) => self.connection_failed(key, failure, read.at_ns),
        }
    }

    /// The connection has ended, by the server's will or an error.
    fn ended(&mut self, key: usize, end: End, at_ns: u64) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let why = match end {
            End::Closed => "the server closed it".to_owned(),
            End::Error(kind) => io::Error::from(kind).to_string(),
        };
        if connection.phase != Phase::Open {
            let failure = Failure::Tls {
                host: self.wire.host.clone(),
                why,
            };
            return self.connect_failed(key, failure);
        }
        let Some(carried) = &mut connection.carried else {
            self.idle.retain(|idle| *idle != key);
            self.drop_connection(key);
            return;
        };
        let result = match end {
            End::Closed => carried.exchange.end_of_input(at_ns, self.sink),
            End::Error(_) => {
                carried
                    .exchange
                    .interrupted(Failure::Broken { why }, at_ns, self.sink)
            }
        };
        match result {
            Ok(()) => self.finished(key, false, at_ns),
            Err(failure) => self.connection_failed(key, failure, at_ns),
        }
    }

    fn finished(&mut self, key: usize, reusable: bool, at_ns: u64) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let Some(mut carried) = connection.carried.take() else {
            return;
        };
        if reusable {
            self.idle.push(key);
        } else {
            self.drop_connection(key);
        }
        carried.exchange.finish(at_ns, self.sink);
        let job = carried.exchange.request;
        self.report.finished += 1;
        self.report.chunks += carried.exchange.heard.account.summary.chunks;
        self.in_flight -= 1;
        if let Some(kept) = carried.exchange.heard.kept.take() {
            let followers = self.schedule.followers(job);
            if let Some((conversation, left)) = self.conversations.get_mut(&job) {
                conversation.answered(&kept);
                *left = followers;
            }
        }
        self.schedule.finished(job, now_ns());
    }

    /// The request on a connection fails, and the connection with it; one that a kept connection
    /// lost before any byte of an answer is sent again.
    fn connection_failed(&mut self, key: usize, failure: Failure, _at_ns: u64) {
        if self
            .connections
            .get(key)
            .is_some_and(|c| c.phase != Phase::Open)
        {
            return self.connect_failed(key, failure);
        }
        self.idle.retain(|idle| *idle != key);
        let Some(mut carried) = self.drop_connection(key).and_then(|c| c.carried) else {
            return;
        };
        let stale = carried.reused && carried.attempt == 1 && carried.exchange.is_silent();
        if !(stale && matches!(failure, Failure::Broken { .. })) {
            return self.failed(carried, failure);
        }
        self.report.resent += 1;
        carried.attempt = 2;
        carried.reused = false;
        carried.written = 0;
        carried.sent_ns = None;
        if let Err((failure, Some(carried))) = self.open(Some(carried), self.address) {
            self.failed(carried, failure);
        }
    }

    pub(super) fn failed(&mut self, mut carried: Carried, failure: Failure) {
        let now = now_ns();
        let failure = self.wire.redactor.failure(failure);
        carried.exchange.fail(&failure, now, self.sink);
        let job = carried.exchange.request;
        self.report.failed += 1;
        self.report.chunks += carried.exchange.heard.account.summary.chunks;
        self.in_flight -= 1;
        self.conversations.remove(&job);
        for lost in self.schedule.failed(job, now) {
            self.report.failed += 1;
            let summary = Summary {
                due_ns: now,
                ..Summary::default()
            };
            let failure = Failure::NotSent {
                after: job,
                why: format!("failed ({})", failure.kind()),
            };
            self.sink.event(Event::Failed {
                request: lost,
                at_ns: now,
                failure: &failure,
                summary: &summary,
            });
        }
    }

    /// Looks for what takes too long.
    pub(super) fn sweep(&mut self, now: u64) {
        let limits = self.plan.limits;
        let (idle, total) = (nanos(limits.idle), nanos(limits.total));
        let connect = nanos(self.target.connect_timeout);
        let ms = |ns: u64| ns / 1_000_000;
        let late: Vec<(usize, Option<Failure>)> = self
            .connections
            .iter()
            .filter_map(|(key, connection)| {
                if connection.phase != Phase::Open {
                    let waited = now.saturating_sub(connection.opened_ns);
                    return (waited > connect).then_some((key, None));
                }
                let carried = connection.carried.as_ref()?;
                let sent = carried.sent_ns?;
                let quiet = now.saturating_sub(carried.last_read_ns.max(sent));
                let failure = if carried
                    .ending_ns
                    .is_some_and(|at| now.saturating_sub(at) > ENDING_NS)
                {
                    Failure::Cancelled
                } else if quiet > idle {
                    Failure::Stalled { idle_ms: ms(quiet) }
                } else if now.saturating_sub(sent) > total {
                    Failure::TimedOut {
                        after_ms: ms(now - sent),
                    }
                } else {
                    return None;
                };
                Some((key, Some(failure)))
            })
            .collect();
        for (key, failure) in late {
            match failure {
                None => self.connect_timeout(key),
                Some(failure) => self.too_late(key, failure, now),
            }
        }
    }

    fn too_late(&mut self, key: usize, failure: Failure, now: u64) {
        let Some(carried) = self
            .connections
            .get_mut(key)
            .and_then(|c| c.carried.as_mut())
        else {
            return;
        };
        match carried.exchange.interrupted(failure, now, self.sink) {
            Ok(()) => self.finished(key, false, now),
            Err(failure) => self.connection_failed(key, failure, now),
        }
    }

    /// Ends all that is in flight.
    pub fn cancel(&mut self) {
        self.parse(usize::MAX);
        self.waiting.clear();
        let keys: Vec<usize> = self.connections.iter().map(|(key, _)| key).collect();
        for key in keys {
            let Some(carried) = self.drop_connection(key).and_then(|c| c.carried) else {
                continue;
            };
            if carried.sent_ns.is_some() {
                self.failed(carried, Failure::Cancelled);
            }
        }
    }
}
