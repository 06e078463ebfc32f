//! What takes too long, and what is no longer wanted.

use super::Runner;
use crate::Failure;
use crate::connection::Phase;
use crate::schedule::nanos;

/// How long the body of an answer may outlive its end mark.
const ENDING_NS: u64 = 100_000_000;

impl Runner<'_> {
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
