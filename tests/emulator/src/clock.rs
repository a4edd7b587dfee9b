//! The emulator's only clock: the machine's time plus an offset that tests can change.
//!
//! Signature age, session expiry and every `Date` header use this clock, so one offset moves the whole cloud.

use std::sync::atomic::{AtomicI64, Ordering};

use jiff::{SignedDuration, Timestamp, tz::TimeZone};

#[derive(Debug, Default)]
pub(crate) struct Clock {
    offset_ms: AtomicI64,
}

impl Clock {
    pub(crate) fn new(offset: SignedDuration) -> Self {
        let clock = Self::default();
        clock.set_offset(offset);
        clock
    }

    pub(crate) fn set_offset(&self, offset: SignedDuration) {
        let millis = i64::try_from(offset.as_millis()).unwrap_or(0);
        self.offset_ms.store(millis, Ordering::Relaxed);
    }

    pub(crate) fn now(&self) -> Timestamp {
        let offset = SignedDuration::from_millis(self.offset_ms.load(Ordering::Relaxed));
        let now = Timestamp::now();
        now.checked_add(offset).unwrap_or(now)
    }
}

fn formatted(time: Timestamp, format: &str) -> String {
    time.to_zoned(TimeZone::UTC).strftime(format).to_string()
}

/// `Fri, 11 Apr 2025 06:41:24 GMT`
pub(crate) fn http_date(time: Timestamp) -> String {
    formatted(time, "%a, %d %b %Y %H:%M:%S GMT")
}

/// `2025-04-11T06:41:24.000Z`
pub(crate) fn iso_millis(time: Timestamp) -> String {
    formatted(time, "%Y-%m-%dT%H:%M:%S.%3fZ")
}

/// `2025-04-11T06:41:24Z`
pub(crate) fn iso_seconds(time: Timestamp) -> String {
    formatted(time, "%Y-%m-%dT%H:%M:%SZ")
}

/// Parses an HTTP date, an ISO date in UTC or the compact OSS V4 form. Returns `None` for any other text.
pub(crate) fn read_date(text: &str) -> Option<Timestamp> {
    const FORMS: [&str; 3] = [
        "%a, %d %b %Y %H:%M:%S GMT",
        "%Y%m%dT%H%M%SZ",
        "%Y-%m-%dT%H:%M:%SZ",
    ];
    FORMS
        .iter()
        .find_map(|form| jiff::civil::DateTime::strptime(form, text.trim()).ok())
        .and_then(|civil| civil.to_zoned(TimeZone::UTC).ok())
        .map(|zoned| zoned.timestamp())
}

/// Returns whether two times differ by more than `seconds`.
pub(crate) fn apart(left: Timestamp, right: Timestamp, seconds: i64) -> bool {
    left.duration_since(right).abs() > SignedDuration::from_secs(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_date_forms_name_the_same_second() {
        let expected: Timestamp = "2025-04-11T06:41:24Z".parse().unwrap();
        for text in [
            "Fri, 11 Apr 2025 06:41:24 GMT",
            "20250411T064124Z",
            "2025-04-11T06:41:24Z",
        ] {
            assert_eq!(read_date(text), Some(expected), "{text}");
        }
        assert_eq!(http_date(expected), "Fri, 11 Apr 2025 06:41:24 GMT");
        assert_eq!(iso_millis(expected), "2025-04-11T06:41:24.000Z");
        assert_eq!(read_date("yesterday"), None);
    }
}
