//! One batch to the receivers.

use std::collections::{BTreeMap, VecDeque};

use lem_record::{ExportError, Rejected};
use sha2::{Digest, Sha256};

use crate::Signal;
use crate::encode::{Envelopes, Request};
use crate::memory::{Counts, InFlight, Memory};
use crate::wire::{Line, Refusal};

/// So many refusals in a row, with nothing ever accepted: it is not the content.
const REFUSALS: usize = 8;

/// Sends what was not acknowledged before. Where it fails, `in_flight` knows what was.
pub(crate) async fn send(
    lines: &[Line],
    wrapped: &Envelopes,
    requests: Vec<Request>,
    in_flight: &mut InFlight,
    counts: &mut BTreeMap<Signal, Counts>,
    hints: &mut Vec<String>,
) -> Result<(), ExportError> {
    let mut queue = VecDeque::from(requests);
    // only counts where the rest is delivered
    let mut refused: Vec<(Signal, u64, Rejected)> = Vec::new();
    while let Some(request) = queue.pop_front() {
        let signal = request.signal;
        let Some(line) = lines.iter().find(|line| line.signal == signal) else {
            continue;
        };
        let body = request.encode(wrapped);
        let digest = digest(&body);
        if in_flight.answered.contains(&digest) {
            continue;
        }
        let (items, n, what) = (request.items(), request.first(), signal.items());
        let counts = counts.entry(signal).or_default();
        let why = match line.send(&body).await {
            Ok(answer) => {
                let rejected = answer.rejected.min(items);
                counts.requests += 1;
                counts.accepted += items - rejected;
                counts.rejected += rejected;
                in_flight.accepted += items - rejected;
                if in_flight.answered.len() < InFlight::MOST_ANSWERS {
                    in_flight.answered.insert(digest);
                }
                let said = line.redactor().clean(&answer.message);
                if rejected > 0 {
                    let reason = format!(
                        "{rejected} of {items} {what} from this record on were rejected by {}: {said}",
                        line.shown
                    );
                    in_flight.rejected.push(Rejected { n, reason });
                } else if !said.is_empty()
                    && hints.len() < Memory::MOST_HINTS
                    && !hints.contains(&said)
                {
                    hints.push(said);
                }
                continue;
            }
            Err(Refusal::Error(error)) => return Err(error),
            Err(Refusal::TooLarge(why) | Refusal::Invalid(why)) => why,
        };
        match request.halves() {
            Ok([first, second]) => {
                queue.push_front(second);
                queue.push_front(first);
            }
            Err(_) => {
                let reason = format!("{items} {what} of this record were refused: {why}");
                refused.push((signal, items, Rejected { n, reason }));
                if counts.accepted == 0 && refused.len() >= REFUSALS {
                    return Err(ExportError::give_up(why, line.remedies().address));
                }
            }
        }
    }
    for (signal, items, rejected) in refused {
        counts.entry(signal).or_default().rejected += items;
        in_flight.rejected.push(rejected);
    }
    Ok(())
}

/// Enough to tell the messages of one batch apart.
fn digest(body: &[u8]) -> String {
    use std::fmt::Write as _;
    let hash = Sha256::digest(body);
    let mut text = String::with_capacity(24);
    for byte in hash.iter().take(12) {
        let _ = write!(text, "{byte:02x}");
    }
    text
}
