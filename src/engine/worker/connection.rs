//! Questions to a worker and its answers, each within its time.

use std::io::Write as _;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel, sync_channel};
use std::time::{Duration, Instant};

use lem_record::Stamp;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::process::{Launch, Process, told};
use super::protocol::{Ask, Cancel, Hello, HelloBack, Nothing, Pong, Said, VERSION};
use super::reader::{self, Heard, LONGEST_LINE};
use crate::engine::EngineError;

/// Lines that are no message: so many are borne, because a library prints a banner somewhere.
const MOST_RUBBISH: usize = 20;
const PINGS: usize = 8;
const DOCS: &str = "docs/worker-protocol.md says what a worker sends";

/// How far the worker's clock may be from ours, from the pings: nanoseconds to add to our time
/// to get the worker's. Zero lies between them, or the clock is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ClockBounds {
    pub low_ns: i64,
    pub high_ns: i64,
}

impl ClockBounds {
    /// From `(sent, said, received)`.
    pub fn of(pings: &[(u64, u64, u64)]) -> Self {
        let signed = |a: u64, b: u64| {
            i64::try_from(i128::from(a) - i128::from(b)).unwrap_or(if a > b {
                i64::MAX
            } else {
                i64::MIN
            })
        };
        Self {
            low_ns: pings
                .iter()
                .map(|(_, said, received)| signed(*said, *received))
                .max()
                .unwrap_or(i64::MIN),
            high_ns: pings
                .iter()
                .map(|(sent, said, _)| signed(*said, *sent))
                .min()
                .unwrap_or(i64::MAX),
        }
    }

    pub const fn is_ours(self) -> bool {
        self.low_ns <= 0 && self.high_ns >= 0
    }
}

pub struct Connection {
    process: Process,
    heard: Receiver<Heard>,
    /// `None` once nothing more is to be said: the worker's standard input closes.
    say: Option<Sender<Vec<u8>>>,
    next_id: u64,
    /// Its answer may come before the end of what it cancels, or after it.
    cancel: Option<u64>,
    /// Lines that were no message, the first ones.
    pub rubbish: Vec<String>,
    /// Why it is over.
    over: Option<String>,
}

impl Connection {
    pub fn start(launch: Launch) -> Result<Self, EngineError> {
        let (process, mut stdin, stdout) = Process::start(launch)?;
        let (tell, heard) = sync_channel(4096);
        let (say, said) = channel::<Vec<u8>>();
        let no_thread = |error: std::io::Error| {
            EngineError::new(
                format!("A thread for the worker cannot be started: {error}"),
                "Raise the limit on processes (ulimit -u)",
            )
        };
        std::thread::Builder::new()
            .name("lem-worker-stdout".into())
            .spawn(move || reader::read(stdout, &tell))
            .map_err(no_thread)?;
        // A worker that does not read must not hold us up: what hangs is this thread.
        std::thread::Builder::new()
            .name("lem-worker-stdin".into())
            .spawn(move || {
                for line in said {
                    if stdin.write_all(&line).and_then(|()| stdin.flush()).is_err() {
                        return;
                    }
                }
            })
            .map_err(no_thread)?;
        Ok(Self {
            process,
            heard,
            say: Some(say),
            next_id: 1,
            cancel: None,
            rubbish: Vec::new(),
            over: None,
        })
    }

    pub fn program(&self) -> &str {
        self.process.program()
    }

    pub const fn is_over(&self) -> bool {
        self.over.is_some()
    }

    /// Greets; refuses another protocol.
    pub fn hello(&mut self, timeout: Duration) -> Result<HelloBack, EngineError> {
        let hello = Hello {
            protocol: VERSION,
            host: concat!("lem ", env!("CARGO_PKG_VERSION")),
        };
        let back: HelloBack = self.ask("hello", &hello, timeout)?;
        if back.protocol != VERSION {
            let what = format!(
                "The worker {:?} speaks version {} of the protocol, and this lem version {VERSION}",
                back.name, back.protocol
            );
            return Err(self.fail(&what, "Take a worker and a lem that go together"));
        }
        Ok(back)
    }

    /// Compares the clocks; refuses one that is not ours.
    pub fn check_clock(&mut self, timeout: Duration) -> Result<ClockBounds, EngineError> {
        let mut pings = Vec::with_capacity(PINGS);
        for _ in 0..PINGS {
            let sent = Stamp::mono_ns();
            let (pong, received) = self.ask_timed::<Pong>("ping", &Nothing {}, timeout)?;
            pings.push((sent, Stamp::of_clock(pong.at_ns), received));
        }
        let bounds = ClockBounds::of(&pings);
        if bounds.is_ours() {
            return Ok(bounds);
        }
        let off = if bounds.low_ns > 0 {
            bounds.low_ns
        } else {
            bounds.high_ns
        };
        let what = format!(
            "The worker's clock is not CLOCK_MONOTONIC of this machine: it is {} ms from it at least",
            off as f64 / 1e6
        );
        Err(self.fail(
            &what,
            "Let the worker take at_ns from CLOCK_MONOTONIC (Python: time.monotonic_ns()), on this machine and in no other time namespace",
        ))
    }

    /// Sends; gives the id that the answer will have.
    pub fn send<T: Serialize>(&mut self, verb: &str, body: &T) -> Result<u64, EngineError> {
        if let Some(why) = &self.over {
            return Err(EngineError::new(
                format!("The worker is no longer there: {why}"),
                "Correct that and run again",
            ));
        }
        let id = self.next_id;
        self.next_id += 1;
        let mut line = serde_json::to_vec(&Ask { id, verb, body }).map_err(|error| {
            EngineError::new(
                format!("The question {verb:?} cannot be put into JSON: {error}"),
                "Report this as a defect",
            )
        })?;
        line.push(b'\n');
        if let Some(say) = &self.say {
            // A worker that is gone is met where its answer is waited for.
            let _ = say.send(line);
        }
        Ok(id)
    }

    /// Asks it to stop what it does for the question `of`.
    pub fn cancel(&mut self, of: u64) -> Result<(), EngineError> {
        self.cancel = Some(self.send("cancel", &Cancel { of })?);
        Ok(())
    }

    pub fn ask<T: DeserializeOwned>(
        &mut self,
        verb: &str,
        body: &impl Serialize,
        timeout: Duration,
    ) -> Result<T, EngineError> {
        Ok(self.ask_timed(verb, body, timeout)?.0)
    }

    /// The answer, and when it came. Each sign of life extends the time.
    pub fn ask_timed<T: DeserializeOwned>(
        &mut self,
        verb: &str,
        body: &impl Serialize,
        timeout: Duration,
    ) -> Result<(T, u64), EngineError> {
        let id = self.send(verb, body)?;
        let mut until = Instant::now() + timeout;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let Some((said, arrived_ns)) = self.next(verb, left)? else {
                return Err(self.hangs(verb, timeout));
            };
            if said.id != Some(id) {
                return Err(self.stray(&said, verb, id));
            }
            if let Some(fault) = said.error {
                return Err(self.refused(verb, &fault.what, &fault.remedy));
            }
            let Some(answer) = said.ok else {
                // An event: it is at work.
                until = Instant::now() + timeout;
                continue;
            };
            return match self.read_answer(verb, answer.get()) {
                Ok(answer) => Ok((answer, arrived_ns)),
                Err(error) => Err(error),
            };
        }
    }

    pub fn read_answer<T: DeserializeOwned>(
        &mut self,
        verb: &str,
        answer: &str,
    ) -> Result<T, EngineError> {
        serde_json::from_str(answer).map_err(|error| {
            let what = format!("The worker's answer to {verb:?} cannot be read: {error}");
            self.fail(&what, DOCS)
        })
    }

    /// What the worker says next, or `None` where it says nothing in this time.
    pub fn next(
        &mut self,
        doing: &str,
        within: Duration,
    ) -> Result<Option<(Said, u64)>, EngineError> {
        loop {
            return match self.heard.recv_timeout(within) {
                Ok(Heard::Said { said, .. }) if said.id.is_some() && said.id == self.cancel => {
                    continue;
                }
                Ok(Heard::Said { said, arrived_ns }) => Ok(Some((*said, arrived_ns))),
                Ok(Heard::Rubbish { line, why }) => {
                    self.rubbish.push(line);
                    if self.rubbish.len() <= MOST_RUBBISH {
                        continue;
                    }
                    let first: Vec<&str> =
                        self.rubbish.iter().take(3).map(String::as_str).collect();
                    let what = format!(
                        "The worker wrote more than {MOST_RUBBISH} lines to standard output that are no messages; the first:\n  {}\nOf the last one: {why}",
                        first.join("\n  ")
                    );
                    Err(self.fail(&what, "Let it write only messages to standard output, and everything else to standard error"))
                }
                Ok(Heard::TooLong) => {
                    let what = format!(
                        "The worker wrote a line of more than {} MiB to standard output",
                        LONGEST_LINE >> 20
                    );
                    Err(self.fail(&what, "Each message is one line, which ends with a newline"))
                }
                Ok(Heard::Ended) | Err(RecvTimeoutError::Disconnected) => Err(self.ended(doing)),
                Err(RecvTimeoutError::Timeout) => Ok(None),
            };
        }
    }

    fn ended(&mut self, doing: &str) -> EngineError {
        let how = self.process.ended(Duration::from_secs(2));
        let what = match how {
            Some(status) => format!(
                "The worker {:?} ended ({}) when asked to {doing}",
                self.process.program(),
                told(status)
            ),
            None => format!(
                "The worker {:?} closed its standard output when asked to {doing}",
                self.process.program()
            ),
        };
        let remedy = self
            .process
            .with_last_words("Correct what it says there, or try it alone with lem worker check");
        self.fail(&what, &remedy)
    }

    pub fn hangs(&mut self, doing: &str, timeout: Duration) -> EngineError {
        let what = format!(
            "The worker {:?} said nothing for {} s when asked to {doing}, and was ended",
            self.process.program(),
            timeout.as_secs_f64()
        );
        let remedy = self.process.with_last_words(
            "If it only takes long, raise worker.timeout_s (worker.load_timeout_s for loading), or let it send \"busy\" events",
        );
        self.fail(&what, &remedy)
    }

    pub fn stray(&mut self, said: &Said, doing: &str, id: u64) -> EngineError {
        let what = format!(
            "The worker answered question {} when asked to {doing} in question {id}",
            said.id.unwrap_or(0)
        );
        self.fail(&what, DOCS)
    }

    /// The worker's own error: it goes on.
    pub fn refused(&self, verb: &str, what: &str, remedy: &str) -> EngineError {
        let shown = |text: &str| reader::shown_to(text.as_bytes(), 600);
        let what = match what.trim() {
            "" => "it gave no reason".into(),
            what => shown(what),
        };
        let remedy = match remedy.trim() {
            "" => self
                .process
                .with_last_words("Its standard error may say more"),
            remedy => shown(remedy),
        };
        EngineError::new(
            format!("The worker {:?} could not {verb}: {what}", self.program()),
            remedy,
        )
    }

    /// Ends it: what it says cannot be relied on any more.
    pub fn fail(&mut self, what: &str, remedy: &str) -> EngineError {
        self.over.get_or_insert_with(|| what.to_owned());
        self.say = None;
        self.process.kill();
        EngineError::new(what, remedy)
    }

    /// Asks it to end, and sees to it. Gives how it ended where it did so by itself.
    pub fn unload(&mut self, patience: Duration) -> Option<std::process::ExitStatus> {
        if self.over.is_none() && self.send("unload", &Nothing {}).is_ok() {
            // Closed: one that does not know the word sees the end of its input.
            self.say = None;
            self.over = Some("it was unloaded".into());
            let ended = self.process.ended(patience);
            if ended.is_some() {
                return ended;
            }
        }
        self.process.stop();
        None
    }
}

#[cfg(test)]
mod tests {
    use super::ClockBounds;

    #[test]
    fn a_clock_is_ours_where_every_ping_is_said_between_sent_and_received() {
        let ours = ClockBounds::of(&[(100, 140, 200), (300, 301, 310)]);
        assert_eq!((ours.low_ns, ours.high_ns), (-9, 1));
        assert!(ours.is_ours());
        let ahead = ClockBounds::of(&[(100, 140, 200), (300, 311, 310)]);
        assert!(!ahead.is_ours());
        let behind = ClockBounds::of(&[(100, 99, 200)]);
        assert!(!behind.is_ours());
        // Seconds of the epoch instead of nanoseconds since boot.
        assert!(!ClockBounds::of(&[(100, u64::MAX, 200)]).is_ours());
    }
}
