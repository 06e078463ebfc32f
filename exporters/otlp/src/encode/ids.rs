//! Ids that follow from the run's id, so that whatever is sent again is the same.

use sha2::{Digest, Sha256};

/// Of the run's only trace.
pub(super) fn trace(run_id: &str) -> Vec<u8> {
    id(&["lem trace", run_id], 16)
}

/// `what` is unique in the run: `run`, `cycle 3`, `record 17`, `record 17 decode`.
pub(super) fn span(run_id: &str, what: &str) -> Vec<u8> {
    id(&["lem span", run_id, what], 8)
}

pub(super) fn run_span(run_id: &str) -> Vec<u8> {
    span(run_id, "run")
}

pub(super) fn cycle_span(run_id: &str, cycle: u32) -> Vec<u8> {
    span(run_id, &format!("cycle {cycle}"))
}

fn id(parts: &[&str], bytes: usize) -> Vec<u8> {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    let mut id = hash.finalize().to_vec();
    id.truncate(bytes);
    // one of zeros only is invalid
    if id.iter().all(|byte| *byte == 0)
        && let Some(last) = id.last_mut()
    {
        *last = 1;
    }
    id
}

/// Whether a run is among the share whose spans are sent: by the lowest 56 bits of its
/// trace id, as the W3C's random trace ids are sampled.
pub(super) fn sampled(run_id: &str, ratio: f64) -> bool {
    if ratio >= 1.0 {
        return true;
    }
    let trace = trace(run_id);
    let low = trace
        .iter()
        .skip(9)
        .fold(0_u64, |n, byte| n << 8 | u64::from(*byte));
    (low as f64) < ratio * (1_u64 << 56) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_stable_apart_and_never_zero() {
        assert_eq!(trace("r").len(), 16);
        assert_eq!(span("r", "run").len(), 8);
        assert_eq!(trace("r"), trace("r"));
        assert_ne!(span("r", "cycle 1"), span("r", "cycle 11"));
        assert_ne!(span("a", "b"), span("ab", ""));
    }

    #[test]
    fn the_share_of_runs_is_the_share() {
        let runs = (0..2000).map(|n| format!("run-{n}"));
        let taken = runs.filter(|run| sampled(run, 0.25)).count();
        assert!((400..600).contains(&taken), "{taken}");
        assert!(sampled("x", 1.0) && !sampled("x", 0.0));
    }
}
