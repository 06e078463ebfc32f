//! The loop that holds all streams.
//!
//! A turn waits for the kernel, reads every socket that is ready into one buffer, each read
//! with its stamp, and then parses. Parsing stops after a slice to look at the sockets again,
//! so that in a burst the bytes of one stream do not wait for the parsing of another's.

mod connect;
mod incoming;
mod late;
mod requests;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::time::Duration;

use mio::{Events, Interest, Poll, Token};
use slab::Slab;

use crate::body::Conversation;
use crate::clock::now_ns;
use crate::connection::{Connection, Phase};
use crate::histogram::Histogram;
use crate::receive::{Clocks, receive};
use crate::schedule::{Ready, Schedule};
use crate::timer::Timer;
use crate::wire::Wire;
use crate::{EventSink, Plan, Report, Target, TargetError};

const TIMER: Token = Token(usize::MAX - 1);
/// One read takes no more.
const READ: usize = 32 << 10;
const BUFFER: usize = 1 << 20;
/// Bytes parsed before the sockets are looked at again: a few tens of microseconds.
const SLICE: usize = 16 << 10;
/// In this time the distance of the clocks changes by less than a microsecond.
const CLOCKS_NS: u64 = 1_000_000;

pub struct Runner<'a> {
    target: &'a Target,
    plan: &'a Plan,
    sink: &'a mut dyn EventSink,
    wire: Wire,
    poll: Poll,
    events: Option<Events>,
    timer: Timer,
    schedule: Schedule,
    /// Nothing is let go before the clock starts.
    started: bool,
    connections: Slab<Connection>,
    serial: u64,
    /// Open connections without a request.
    idle: Vec<usize>,
    connecting: usize,
    /// The address that last took a connection.
    address: usize,
    /// Requests that may go and wait for a connection to be opened.
    waiting: VecDeque<Ready>,
    /// Requests that go or wait for a connection.
    in_flight: u64,
    bodies: Vec<Option<Vec<u8>>>,
    /// Conversations that go on, by their last request, and how many go on from each.
    conversations: HashMap<usize, (Conversation, usize)>,
    buffer: Vec<u8>,
    filled: usize,
    plain: Vec<u8>,
    backlog: VecDeque<Piece>,
    /// Sockets that may hold more than was read.
    again: Vec<usize>,
    reads: u64,
    sweep_every_ns: u64,
    next_sweep_ns: u64,
    clocks: Clocks,
    lag: Histogram,
    delay: Histogram,
    turns: Histogram,
    report: Report,
}

/// Bytes that were read and not yet parsed.
#[derive(Clone, Copy, Debug)]
struct Piece {
    connection: usize,
    serial: u64,
    from: usize,
    to: usize,
    at_ns: u64,
    number: u64,
    end: Option<End>,
}

#[derive(Clone, Copy, Debug)]
enum End {
    Closed,
    Error(io::ErrorKind),
}

impl<'a> Runner<'a> {
    pub fn new(
        target: &'a Target,
        plan: &'a Plan,
        sink: &'a mut dyn EventSink,
    ) -> Result<Self, TargetError> {
        let wire = Wire::new(target)?;
        let poll = Poll::new().map_err(no_queue)?;
        let timer = Timer::new(poll.registry(), TIMER).map_err(no_queue)?;
        let limits = &plan.limits;
        let shortest = limits.idle.min(limits.total).min(target.connect_timeout);
        let sweep = (shortest / 10).clamp(Duration::from_millis(5), Duration::from_millis(250));
        Ok(Self {
            target,
            plan,
            sink,
            wire,
            poll,
            events: Some(Events::with_capacity(1024)),
            timer,
            schedule: Schedule::new(plan, 0),
            started: false,
            connections: Slab::new(),
            serial: 0,
            idle: Vec::new(),
            connecting: 0,
            address: 0,
            waiting: VecDeque::new(),
            in_flight: 0,
            bodies: requests::encode_ahead(target, plan),
            conversations: HashMap::new(),
            buffer: vec![0; BUFFER],
            filled: 0,
            plain: Vec::new(),
            backlog: VecDeque::new(),
            again: Vec::new(),
            reads: 0,
            sweep_every_ns: crate::schedule::nanos(sweep),
            next_sweep_ns: 0,
            clocks: Clocks::read(),
            lag: Histogram::new(),
            delay: Histogram::new(),
            turns: Histogram::new(),
            report: Report::default(),
        })
    }

    /// Due times count from here.
    pub fn start(&mut self, now: u64) {
        self.report = Report {
            start_ns: now,
            connections: self.report.connections,
            ..Report::default()
        };
        self.turns = Histogram::new();
        self.delay = Histogram::new();
        self.schedule = Schedule::new(self.plan, now);
        self.started = true;
        self.release(now);
    }

    pub fn is_done(&self) -> bool {
        self.in_flight == 0 && self.schedule.is_empty()
    }

    /// Waits at most this long for something to do, and does it.
    pub fn turn(&mut self, most: Duration) -> Result<(), TargetError> {
        let busy = !self.backlog.is_empty() || !self.again.is_empty();
        let wait = if busy {
            Duration::ZERO
        } else {
            self.wait(most).map_err(no_queue)?
        };
        let mut events = self
            .events
            .take()
            .unwrap_or_else(|| Events::with_capacity(1024));
        let polled = self.poll.poll(&mut events, Some(wait));
        let woke = now_ns();
        if woke > self.clocks.read_ns + CLOCKS_NS {
            self.clocks = Clocks::read();
        }
        match polled {
            Err(why) if why.kind() != io::ErrorKind::Interrupted => return Err(no_queue(why)),
            Err(_) => {}
            Ok(()) => self.ready(&events),
        }
        let idle = events.is_empty() && !busy;
        self.events = Some(events);
        for connection in std::mem::take(&mut self.again) {
            self.read(connection);
        }
        self.parse(SLICE);
        let now = now_ns();
        if now >= self.next_sweep_ns {
            self.sweep(now);
            self.next_sweep_ns = now + self.sweep_every_ns;
        }
        if self.started {
            self.release(now);
        }
        if !idle {
            self.turns.record(now_ns().saturating_sub(woke));
        }
        Ok(())
    }

    fn wait(&mut self, most: Duration) -> io::Result<Duration> {
        let now = now_ns();
        let due = self.schedule.next_due_ns().filter(|_| self.started);
        if due.is_some_and(|due| due <= now) {
            return Ok(Duration::ZERO);
        }
        let by_timer = self.timer.set(due, now)?;
        let sweep = Duration::from_nanos(self.next_sweep_ns.saturating_sub(now));
        let wait = if self.connections.is_empty() {
            most
        } else {
            most.min(sweep)
        };
        Ok(by_timer.map_or(wait, |ns| wait.min(Duration::from_nanos(ns))))
    }

    fn ready(&mut self, events: &Events) {
        for event in events {
            if event.token() == TIMER {
                continue;
            }
            let key = event.token().0;
            let Some(phase) = self.connections.get(key).map(|c| c.phase) else {
                continue;
            };
            match phase {
                Phase::Connecting if event.is_writable() || event.is_error() => {
                    self.connect_settled(key);
                }
                Phase::Connecting => {}
                _ if event.is_writable() => self.flush(key),
                _ => {}
            }
            let Some(connection) = self.connections.get_mut(key) else {
                continue;
            };
            connection.closing |= event.is_read_closed();
            let readable = event.is_readable() || event.is_read_closed() || event.is_error();
            if readable && connection.phase != Phase::Connecting {
                self.read(key);
            }
        }
    }

    /// Takes what a socket holds, with its stamp.
    fn read(&mut self, key: usize) {
        if BUFFER - self.filled < READ {
            self.parse(usize::MAX);
        }
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let from = self.filled;
        let got = loop {
            match receive(&connection.socket, &mut self.buffer[from..from + READ]) {
                Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        // Not before the read: bytes may have come between the wake-up and now.
        let read_ns = now_ns();
        let (to, at_ns, end) = match got {
            Ok((0, _)) => (from, read_ns, Some(End::Closed)),
            Ok((n, real_ns)) => {
                let stamp =
                    real_ns.and_then(|real| self.clocks.stamp(real, connection.last_ns, read_ns));
                if let Some(at_ns) = stamp {
                    self.delay.record(read_ns - at_ns);
                }
                let at_ns = stamp.unwrap_or(read_ns);
                connection.last_ns = at_ns;
                (from + n, at_ns, None)
            }
            Err(why) if why.kind() == io::ErrorKind::WouldBlock => match connection.write_error {
                Some(kind) => (from, read_ns, Some(End::Error(kind))),
                None => return,
            },
            Err(why) => (from, read_ns, Some(End::Error(why.kind()))),
        };
        self.filled = to;
        self.reads += 1;
        self.report.reads += u64::from(to > from);
        self.report.bytes_in += (to - from) as u64;
        // A short read has emptied the socket, and the next bytes wake us; an end that came
        // with these bytes does not.
        let more = to - from == READ || connection.closing || connection.write_error.is_some();
        if more && end.is_none() {
            self.again.push(key);
        }
        self.backlog.push_back(Piece {
            connection: key,
            serial: connection.serial,
            from,
            to,
            at_ns,
            number: self.reads,
            end,
        });
    }

    /// Parses what was read, up to about so many bytes.
    fn parse(&mut self, slice: usize) {
        let mut done = 0;
        let buffer = std::mem::take(&mut self.buffer);
        while done < slice {
            let Some(piece) = self.backlog.pop_front() else {
                self.filled = 0;
                break;
            };
            done += piece.to - piece.from;
            self.piece(piece, &buffer[piece.from..piece.to]);
        }
        self.buffer = buffer;
    }

    pub fn report(mut self) -> Report {
        self.report.end_ns = now_ns();
        self.report.lag = self.lag.quantiles();
        self.report.read_delay = self.delay.quantiles();
        self.report.turn = self.turns.quantiles();
        self.report
    }
}

fn interest() -> Interest {
    Interest::READABLE | Interest::WRITABLE
}

fn no_queue(why: io::Error) -> TargetError {
    TargetError::new(
        format!("the kernel gives no queue for the streams: {why}"),
        "Allow this process more open files (ulimit -n)",
    )
}
