//! What a receiver's answer means for the samples that were sent.

use lem_http::Reply;

/// Of one request, whose samples are stored together or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Stored,
    /// Prometheus takes no sample that is as old as the newest of its series.
    OutOfOrder(String),
    /// Older than the receiver's window.
    TooOld(String),
    /// For good, whatever the reason.
    Refused(String),
    /// The request, not the samples.
    TooLarge,
    /// The receiver does not speak this version.
    OtherVersion,
    /// None of these: by the status, as with every service.
    ByStatus,
}

const OUT_OF_ORDER: &[&str] = &[
    "out of order",
    "out-of-order",
    "duplicate sample",
    "duplicate-timestamp",
    "duplicate timestamp",
];

const TOO_OLD: &[&str] = &[
    "out of bounds",
    "too old",
    "too-old",
    "too far in the past",
    "too-far-in-past",
];

impl Verdict {
    pub fn of(reply: &Reply) -> Self {
        let said = reply.excerpt();
        match reply.status {
            200..=299 => Self::Stored,
            413 => Self::TooLarge,
            415 => Self::OtherVersion,
            // Prometheus answers 500 to a sample before its window, which no retry mends
            400 | 409 | 422 | 500 => {
                let lower = said.to_lowercase();
                let says = |words: &[&str]| words.iter().any(|word| lower.contains(word));
                if says(TOO_OLD) {
                    Self::TooOld(said)
                } else if says(OUT_OF_ORDER) {
                    Self::OutOfOrder(said)
                } else if reply.status == 500 {
                    Self::ByStatus
                } else {
                    Self::Refused(said)
                }
            }
            _ => Self::ByStatus,
        }
    }
}
