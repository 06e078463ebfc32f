//! How long the end of a run waits for the scrape that gets the whole summary.

use std::time::Duration;

use super::LINGER_S;

/// Beyond the time at which a scrape is due.
const MARGIN: Duration = Duration::from_secs(2);
/// The interval of a Prometheus as it comes: for when one scrape was seen only.
const USUAL_GAP: Duration = Duration::from_secs(60);

/// `asked` is the user's wish; `live` whether this process measured the run. Without
/// a wish: until the next scrape is due, by the rhythm of those before; not at all
/// where nobody scraped a run; and for a run that ended before, as `--linger` does.
pub(super) fn linger(
    asked: Option<f64>,
    live: bool,
    scrapes: u64,
    gap: Option<Duration>,
) -> Duration {
    match (asked, live, scrapes) {
        (Some(seconds), _, _) => Duration::try_from_secs_f64(seconds).unwrap_or_default(),
        (None, false, _) => Duration::try_from_secs_f64(LINGER_S).unwrap_or_default(),
        (None, true, 0) => Duration::ZERO,
        (None, true, _) => gap.unwrap_or(USUAL_GAP) + MARGIN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_goes_first_then_the_rhythm() {
        let s = Duration::from_secs;
        assert_eq!(linger(Some(7.0), true, 0, None), s(7));
        assert_eq!(linger(Some(0.0), true, 9, Some(s(15))), s(0));
        assert_eq!(linger(None, true, 0, None), s(0));
        assert_eq!(linger(None, true, 1, None), s(62));
        assert_eq!(linger(None, true, 9, Some(s(15))), s(17));
        assert_eq!(linger(None, false, 0, None), s(120));
    }
}
