//! A generation, from its question to its answer.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::connection::Connection;
use super::ledger::Ledger;
use super::protocol::Can;
use super::{Patience, WRONG};
use crate::engine::{Cancel, EngineError, EventSink};

/// How often it is looked whether it is cancelled.
const GLANCE: Duration = Duration::from_millis(50);

/// A question that is being answered.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    pub id: u64,
    pub verb: &'a str,
}

/// The answer to a generation, once all events before it are passed on.
pub fn follow(
    connection: &mut Connection,
    Asked { id, verb }: Asked<'_>,
    can: Can,
    patience: Patience,
    ledger: &mut Ledger,
    events: &mut dyn EventSink,
    cancel: &Cancel,
) -> Result<Value, EngineError> {
    let began = Instant::now();
    let mut heard = began;
    // Asked to stop: until when it may go on.
    let mut cancelled: Option<Instant> = None;
    loop {
        if cancelled.is_none() && cancel.is_cancelled() {
            let until = Instant::now() + patience.stop;
            if can.cancel {
                connection.cancel(id)?;
            }
            cancelled = Some(until);
        }
        if cancelled.is_some_and(|until| Instant::now() > until) {
            let what = format!(
                "The worker did not stop within {} s of being asked to, and was ended",
                patience.stop.as_secs_f64()
            );
            return Err(connection.fail(
                &what,
                "Raise worker.stop_timeout_s, or let it look for \"cancel\" more often",
            ));
        }
        if let Some(whole) = patience.whole.filter(|whole| began.elapsed() > *whole) {
            let what = format!(
                "The worker did not end in {} s what it was asked to {verb}",
                whole.as_secs_f64()
            );
            return Err(connection.fail(
                &what,
                "It sends events, but no answer: let it come to an end",
            ));
        }
        let Some((said, arrived_ns)) = connection.next(verb, GLANCE)? else {
            if heard.elapsed() > patience.answer {
                return Err(connection.hangs(verb, patience.answer));
            }
            continue;
        };
        heard = Instant::now();
        if said.id != Some(id) {
            return Err(connection.stray(&said, verb, id));
        }
        if let Some(fault) = &said.error {
            return Err(connection.refused(verb, &fault.what, &fault.remedy));
        }
        if let Some(answer) = &said.ok {
            let left = ledger.unfinished();
            if left.is_empty() {
                return connection.read_answer(verb, answer.get());
            }
            let what = format!(
                "The worker ended the generation with {} requests unfinished, the first of them {}",
                left.len(),
                left.first().copied().unwrap_or_default()
            );
            return Err(connection.fail(&what, WRONG));
        }
        if let Err(why) = ledger.take(&said, arrived_ns, events) {
            let what = format!("The worker tells what cannot be: {why}");
            return Err(connection.fail(&what, WRONG));
        }
    }
}
