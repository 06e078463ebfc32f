//! Version 2's times: local, and without a zone.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// A time of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    /// With an offset, as later versions write it.
    Known(Timestamp),
    Local(DateTime),
}

pub(super) fn read(text: &str) -> Option<Moment> {
    // No time is longer, and parsing is not free.
    let text = Some(text.trim()).filter(|text| text.len() <= 64)?;
    let known = text.parse::<Timestamp>().map(Moment::Known);
    known
        .or_else(|_| text.parse::<DateTime>().map(Moment::Local))
        .ok()
}

impl Moment {
    /// RFC 3339 in UTC, where the zone is known.
    pub fn rfc3339(self, zone: Option<&TimeZone>) -> Option<String> {
        let timestamp = match self {
            Self::Known(timestamp) => timestamp,
            Self::Local(local) => zone?.to_timestamp(local).ok()?,
        };
        Some(format!("{timestamp:.3}"))
    }

    /// Seconds since another one of the same file; a change of the clocks between is not seen.
    pub fn since(self, before: Self) -> Option<f64> {
        let span: SignedDuration = match (self, before) {
            (Self::Known(at), Self::Known(before)) => at.duration_since(before),
            (Self::Local(at), Self::Local(before)) => at.duration_since(before),
            _ => return None,
        };
        Some(span.as_secs_f64()).filter(|seconds| *seconds >= 0.0)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_local_time_needs_its_zone() {
        let local = read("2026-01-24T15:00:00.123456").unwrap();
        assert_eq!(local.rfc3339(None), None);
        let zone = TimeZone::fixed(jiff::tz::offset(1));
        assert_eq!(
            local.rfc3339(Some(&zone)).unwrap(),
            "2026-01-24T14:00:00.123Z"
        );
        let known = read("2026-01-24T15:00:00+02:00").unwrap();
        assert_eq!(known.rfc3339(None).unwrap(), "2026-01-24T13:00:00.000Z");
        assert_eq!(known.since(local), None, "which came first is not known");
        let later = read("2026-01-24 15:01:00.123456").unwrap();
        assert_eq!(later.since(local), Some(60.0));
        assert_eq!(local.since(later), None);
        for wrong in ["", "yesterday", "2026-13-01T00:00:00", &"9".repeat(1000)] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
