use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::HeaderMap;

/// When the other end wants to be asked again, by `Retry-After` (seconds or an HTTP
/// date) or else the `RateLimit-Reset` family (seconds, or Unix seconds).
pub fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = |name: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(str::trim)
    };
    if let Some(value) = text("retry-after")
        && let Some(wait) = seconds(value).or_else(|| until(date(value)?, now))
    {
        return Some(wait);
    }
    ["ratelimit-reset", "x-ratelimit-reset", "x-rate-limit-reset"]
        .iter()
        .find_map(|name| text(name))
        .and_then(|value| {
            let wait = seconds(value)?;
            // nobody means 31 years: it is a moment, not a duration
            if wait.as_secs() < 1_000_000_000 {
                return Some(wait);
            }
            let at = Timestamp::from_second(i64::try_from(wait.as_secs()).ok()?).ok()?;
            until(at, now)
        })
}

fn seconds(value: &str) -> Option<Duration> {
    let seconds = value.parse().ok().filter(|s: &f64| s.is_finite())?;
    Duration::try_from_secs_f64(seconds.max(0.0)).ok()
}

fn date(value: &str) -> Option<Timestamp> {
    jiff::fmt::rfc2822::DateTimeParser::new()
        .relaxed_weekday(true)
        .parse_timestamp(value)
        .ok()
}

fn until(at: Timestamp, now: Timestamp) -> Option<Duration> {
    Some(Duration::try_from(at.duration_since(now)).unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use jiff::Timestamp;
    use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

    use super::retry_after;

    fn after(name: &'static str, value: &str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(
            HeaderName::from_static(name),
            HeaderValue::from_str(value).unwrap(),
        );
        retry_after(
            &headers,
            "1994-11-15T08:12:31Z".parse::<Timestamp>().unwrap(),
        )
    }

    #[test]
    fn every_way_of_saying_it() {
        let s = Duration::from_secs;
        assert_eq!(after("retry-after", "7"), Some(s(7)));
        assert_eq!(
            after("retry-after", "0.5"),
            Some(Duration::from_millis(500))
        );
        assert_eq!(
            after("retry-after", "Tue, 15 Nov 1994 08:13:31 GMT"),
            Some(s(60))
        );
        assert_eq!(
            after("retry-after", "Tue, 15 Nov 1994 08:00:00 GMT"),
            Some(s(0))
        );
        assert_eq!(after("ratelimit-reset", "30"), Some(s(30)));
        assert_eq!(
            after("x-ratelimit-reset", "784887161"),
            Some(s(784_887_161))
        );
        assert_eq!(
            after("x-ratelimit-reset", "1000000000"),
            Some(s(215_112_849))
        );
    }

    #[test]
    fn nonsense_says_nothing() {
        for value in ["", "soon", "-3 days", "NaN", "1e400", "1e99"] {
            assert_eq!(after("retry-after", value), None, "{value}");
        }
        assert_eq!(after("retry-after", "-5"), Some(Duration::ZERO));
    }
}
