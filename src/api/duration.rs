//! Durations as Kubernetes writes them: `720h0m0s`, `1h30m`, `45s`.
//!
//! Ark and Velero take Go's notation in `ttl`; days (`30d`) and weeks (`2w`) are taken too, because that is what people
//! type. What is written out is always Go's own form, so that any client reads it.

use std::fmt;
use std::str::FromStr;

use jiff::SignedDuration;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// What the apiserver accepts as a duration: what [`GoDuration`] reads.
const PATTERN: &str = "^(0|([0-9]{1,9}(w|d|h|m|s|ms))+)$";

/// A length of time, to the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GoDuration(pub SignedDuration);

/// The text is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{text:?} is not a duration")]
pub struct DurationError {
    /// What was given.
    pub text: String,
}

impl DurationError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        "write it as 720h, 1h30m, 45s, 30d or 2w"
    }
}

impl GoDuration {
    /// The whole seconds of it.
    pub fn seconds(&self) -> i64 {
        self.0.as_secs()
    }

    /// It, unless it is zero: as in Velero, a zero says no more than an absent value. What is less than a second is written as zero.
    pub fn given(self) -> Option<GoDuration> {
        (self.seconds() > 0).then_some(self)
    }
}

impl FromStr for GoDuration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || DurationError {
            text: text.to_owned(),
        };
        let mut rest = text.trim();
        if rest == "0" {
            return Ok(GoDuration(SignedDuration::ZERO));
        }
        if rest.is_empty() {
            return Err(bad());
        }
        let mut total = SignedDuration::ZERO;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
            let count: i64 = rest[..digits].parse().map_err(|_| bad())?;
            rest = &rest[digits..];
            let unit_len = rest
                .find(|c: char| c.is_ascii_digit())
                .unwrap_or(rest.len());
            let part = match &rest[..unit_len] {
                "w" => count.checked_mul(604_800).map(SignedDuration::from_secs),
                "d" => count.checked_mul(86_400).map(SignedDuration::from_secs),
                "h" => count.checked_mul(3_600).map(SignedDuration::from_secs),
                "m" => count.checked_mul(60).map(SignedDuration::from_secs),
                "s" => Some(SignedDuration::from_secs(count)),
                "ms" => Some(SignedDuration::from_millis(count)),
                _ => None,
            };
            total = part
                .and_then(|part| total.checked_add(part))
                .ok_or_else(bad)?;
            rest = &rest[unit_len..];
        }
        Ok(GoDuration(total))
    }
}

impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        write!(
            f,
            "{}h{}m{}s",
            seconds / 3600,
            seconds / 60 % 60,
            seconds % 60
        )
    }
}

impl Serialize for GoDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for GoDuration {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "GoDuration".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": PATTERN,
            "maxLength": 64,
        })
    }
}

impl<'de> Deserialize<'de> for GoDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever the apiserver lets through is read, or one object stops everything of its kind.
    #[test]
    fn what_the_pattern_takes_is_read() {
        let longest = "999999999w".repeat(6);
        assert!(longest.len() <= 64);
        for text in [longest.as_str(), "999999999ms", "0", "0s", "000000001h"] {
            assert!(text.parse::<GoDuration>().is_ok(), "{text}");
        }
        assert!(PATTERN.contains("{1,9}"));
    }

    #[test]
    fn zero_is_as_good_as_nothing() {
        let given = |text: &str| text.parse::<GoDuration>().ok().and_then(GoDuration::given);
        for zero in ["0", "0s", "0h0m0s", "999ms"] {
            assert_eq!(given(zero), None, "{zero}");
        }
        assert_eq!(given("1s").map(|one| one.seconds()), Some(1));
    }

    #[test]
    fn reads_go_and_people_and_writes_go() {
        let shows = |text: &str| {
            text.parse::<GoDuration>()
                .map(|d| d.to_string())
                .unwrap_or_else(|e| e.to_string())
        };
        assert_eq!(shows("720h"), "720h0m0s");
        assert_eq!(shows("1h30m"), "1h30m0s");
        assert_eq!(shows("30d"), "720h0m0s");
        assert_eq!(shows("2w"), "336h0m0s");
        assert_eq!(shows("90s"), "0h1m30s");
        assert_eq!(shows("0"), "0h0m0s");
        for bad in [
            "",
            "12",
            "h",
            "-1h",
            "1.5h",
            "1y",
            "9999999999999999h",
            "1h 30m",
            "１h",
        ] {
            assert!(shows(bad).ends_with("is not a duration"), "{bad}");
        }
    }
}
