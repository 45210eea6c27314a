//! Durations and times as people write and read them.
//!
//! Parsing is exact (`24h30m`, `7d`, `720h`; a bare number is refused, because nobody can tell its unit), printing is
//! as kubectl does it (`5d3h`, `42s`), so that ages in ark's tables read like ages everywhere else.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::api::GoDuration;

/// Why a text is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// It does not parse.
    #[error("{text:?} is not a duration; write it like 30m, 24h, 7d or 1h30m")]
    NotOne {
        /// The text.
        text: String,
    },
    /// It is nothing, or more than a thousand years: a typing error.
    #[error("{text:?} is not a duration that makes sense here")]
    Senseless {
        /// The text.
        text: String,
    },
}

/// Parses `30m`, `24h`, `7d`, `2w`, `1h30m`: what [`GoDuration`] reads, within bounds that can be added to any time.
pub fn parse_duration(text: &str) -> Result<SignedDuration, DurationError> {
    let text = text.trim();
    let Ok(GoDuration(duration)) = text.parse::<GoDuration>() else {
        return Err(DurationError::NotOne {
            text: text.to_owned(),
        });
    };
    if !(1..=MAX_SECONDS).contains(&duration.as_secs()) {
        return Err(DurationError::Senseless {
            text: text.to_owned(),
        });
    }
    Ok(duration)
}

/// 1,000 years.
const MAX_SECONDS: i64 = 1_000 * 365 * 86_400;

/// An age or a time left as kubectl prints it: two units at most, fewer the longer it is.
pub fn human_duration(duration: SignedDuration) -> String {
    let seconds = duration.as_secs();
    if seconds < 0 {
        return "0s".to_owned();
    }
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    let two = |big: i64, unit: char, small: i64, small_unit: char| match small {
        0 => format!("{big}{unit}"),
        _ => format!("{big}{unit}{small}{small_unit}"),
    };
    match seconds {
        _ if seconds < 120 => format!("{seconds}s"),
        _ if minutes < 10 => two(minutes, 'm', seconds % 60, 's'),
        _ if minutes < 180 => format!("{minutes}m"),
        _ if hours < 8 => two(hours, 'h', minutes % 60, 'm'),
        _ if hours < 48 => format!("{hours}h"),
        _ if hours < 192 => two(days, 'd', hours % 24, 'h'),
        _ if days < 730 => format!("{days}d"),
        _ if days < 2_920 => two(days / 365, 'y', days % 365, 'd'),
        _ => format!("{}y", days / 365),
    }
}

/// A point in time as Ark prints it: `2018-06-22 10:00:00 -0700 PDT`.
pub fn table_time(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned(zone.clone())
        .strftime("%Y-%m-%d %H:%M:%S %z %Z")
        .to_string()
}

/// The time left until `at`, or how long ago it was.
pub fn from_now(at: Timestamp, now: Timestamp) -> String {
    let left = at.duration_since(now);
    if left.is_negative() {
        format!("{} ago", human_duration(-left))
    } else {
        human_duration(left)
    }
}

/// The suffix of a generated name: `20260305101500`.
pub fn name_stamp(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned(zone.clone())
        .strftime("%Y%m%d%H%M%S")
        .to_string()
}

/// The engine counts in milliseconds; values it could not have written read as the epoch rather than fail a list.
pub fn from_millis(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(millis).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// As [`from_millis`], for seconds.
pub fn from_seconds(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn durations_that_parse() {
        for (text, seconds) in [
            ("1s", 1),
            ("30m", 1_800),
            ("24h", 86_400),
            ("720h", 2_592_000),
            ("7d", 604_800),
            ("2w", 1_209_600),
            ("1h30m", 5_400),
            (" 1d ", 86_400),
        ] {
            assert_eq!(parse_duration(text).unwrap().as_secs(), seconds, "{text}");
        }
    }

    #[test]
    fn durations_that_do_not() {
        for text in [
            "",
            "0",
            "0s",
            "10",
            "h",
            "-1h",
            "1.5h",
            "1mo",
            "1y",
            "1h-",
            "99999999999999999999s",
            "1000000000000h",
            "1é",
        ] {
            let error = parse_duration(text).unwrap_err().to_string();
            assert!(error.contains("is not a duration"), "{text}: {error}");
        }
    }

    #[test]
    fn ages_read_as_kubectl_prints_them() {
        for (seconds, text) in [
            (-5, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (150, "2m30s"),
            (600, "10m"),
            (10_799, "179m"),
            (10_800, "3h"),
            (12_000, "3h20m"),
            (28_800, "8h"),
            (172_799, "47h"),
            (176_400, "2d1h"),
            (691_200, "8d"),
            (2_592_000, "30d"),
            (63_072_000, "2y"),
            (63_158_400, "2y1d"),
            (315_360_000, "10y"),
        ] {
            assert_eq!(human_duration(SignedDuration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn times_as_ark_printed_them() {
        let at: Timestamp = "2018-06-22T17:00:00Z".parse().unwrap();
        assert_eq!(
            table_time(at, &TimeZone::UTC),
            "2018-06-22 17:00:00 +0000 UTC"
        );
        assert_eq!(name_stamp(at, &TimeZone::UTC), "20180622170000");
        assert_eq!(from_now(at, "2018-06-21T16:00:00Z".parse().unwrap()), "25h");
        assert_eq!(
            from_now(at, "2018-06-22T17:01:00Z".parse().unwrap()),
            "60s ago"
        );
    }
}
