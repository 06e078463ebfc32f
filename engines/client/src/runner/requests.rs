//! What becomes of the requests.

use super::Runner;
use crate::body::{self, Conversation};
use crate::clock::now_ns;
use crate::connection::{Carried, Phase};
use crate::exchange::Exchange;
use crate::schedule::Ready;
use crate::{Event, Failure, Plan, Summary, Target};

/// Bodies beyond so many bytes are made when they are sent.
const AHEAD: usize = 256 << 20;

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
        let mut carried = self.carry(ready);
        match idle {
            Some(key) => {
                self.report.reused += 1;
                if let Some(connection) = self.connections.get_mut(key) {
                    carried.reused = true;
                    connection.carried = Some(carried);
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

    fn carry(&mut self, ready: Ready) -> Box<Carried> {
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
        Box::new(Carried {
            exchange,
            due_ns: ready.due_ns,
            sent_ns: None,
            attempt: 1,
            reused: false,
            bytes: self.wire.request(&body),
            written: 0,
            last_read_ns: 0,
            ending_ns: None,
        })
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

    pub(super) fn finished(&mut self, key: usize, reusable: bool, at_ns: u64) {
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
    pub(super) fn connection_failed(&mut self, key: usize, failure: Failure, _at_ns: u64) {
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

    pub(super) fn failed(&mut self, mut carried: Box<Carried>, failure: Failure) {
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
}
