use std::time::Duration;

use rand::Rng;

/// How sinks are fed. The defaults suit a service on the network.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Records in one batch, at most.
    pub batch_records: usize,
    /// A batch ends with the record that takes it past this many bytes of the log.
    pub batch_bytes: u64,
    /// A call that takes longer is cancelled and made again. Doubles with every
    /// such call in a row, lest a large file never arrive over a slow line.
    pub call_timeout: Duration,
    /// Pause after the first failure. Doubles with each in a row, with jitter.
    pub first_pause: Duration,
    pub longest_pause: Duration,
    /// A Retry-After that is longer is cut to this.
    pub longest_retry_after: Duration,
    /// Sends from the first record, whatever the cursor says.
    pub from_start: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            batch_records: 1000,
            batch_bytes: 1 << 20,
            call_timeout: Duration::from_secs(60),
            first_pause: Duration::from_millis(250),
            longest_pause: Duration::from_secs(30),
            longest_retry_after: Duration::from_secs(300),
            from_start: false,
        }
    }
}

/// How often in a row things went wrong, and what follows from it.
#[derive(Debug, Default)]
pub(super) struct Setbacks {
    failures: u32,
    timeouts: u32,
}

impl Setbacks {
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn timed_out(&mut self) {
        self.timeouts += 1;
    }

    pub(super) fn call_timeout(&self, policy: &Policy) -> Duration {
        let most = Duration::from_secs(3600).max(policy.call_timeout);
        policy
            .call_timeout
            .saturating_mul(1 << self.timeouts.min(16))
            .min(most)
    }

    /// Exponential, half of it by chance, so that many clients do not come back together.
    pub(super) fn pause(&mut self, policy: &Policy) -> Duration {
        let whole = policy
            .first_pause
            .saturating_mul(1 << self.failures.min(16));
        self.failures += 1;
        let whole = whole.min(policy.longest_pause);
        whole / 2 + whole.mul_f64(rand::rng().random_range(0.0..=0.5))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_limit_and_start_over() {
        let policy = Policy::default();
        let mut setbacks = Setbacks::default();
        let pauses: Vec<_> = (0..12).map(|_| setbacks.pause(&policy)).collect();
        for (n, pause) in pauses.iter().enumerate() {
            let whole = (policy.first_pause * (1 << n)).min(policy.longest_pause);
            assert!(*pause >= whole / 2 && *pause <= whole, "{n}: {pause:?}");
        }
        setbacks.clear();
        assert!(setbacks.pause(&policy) <= policy.first_pause);
        setbacks.timed_out();
        assert_eq!(setbacks.call_timeout(&policy), policy.call_timeout * 2);
    }
}
