//! When backups of a schedule are due: pure arithmetic.
//!
//! What it guarantees:
//!
//! * A time is due once. What is due is decided from the newest time that was dealt with, which the caller keeps, and
//!   never from a clock that the server had at some other moment.
//! * Times that passed while nobody looked (the server was down, another replica was taking over) are made up by one
//!   backup, for the newest of them.
//! * Cron expressions are read in a time zone. Where the clock is put back, a fixed time is due once; where it is put
//!   forward, a time that does not exist is due right after the gap.
//! * While a backup of the schedule is under way no second one is begun: its time is passed over.

use std::str::FromStr;

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use thiserror::Error;

use crate::api::GoDuration;

/// The shortest time between two backups that `@every` takes.
const SHORTEST: SignedDuration = SignedDuration::from_secs(1);

/// The times at which something is due.
#[derive(Debug, Clone)]
pub enum When {
    /// Those that match an expression on the clocks of a zone.
    Cron(Box<Cron>, TimeZone),
    /// Every so often.
    Every(SignedDuration),
}

/// Why a schedule is not one.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ScheduleError {
    /// Not a cron expression.
    #[error(
        "the schedule {text:?} is not a cron expression: {why}; write minute, hour, day of month, month and day of week, like \"0 3 * * *\", or @daily, or @every 10m"
    )]
    Expression {
        /// What was given.
        text: String,
        /// What is wrong.
        why: String,
    },
    /// Not a time between two backups.
    #[error("the schedule {text:?} is not @every and a time of at least a second, like @every 10m")]
    Every {
        /// What was given.
        text: String,
    },
    /// No such zone.
    #[error("{zone:?} is not a time zone; give the name of one, like Europe/Paris")]
    Zone {
        /// What was given.
        zone: String,
    },
    /// Two zones.
    #[error("the time zone is given twice, in the schedule and as timeZone: give one")]
    TwoZones,
}

impl When {
    /// Reads `spec.schedule` and `spec.timeZone`.
    pub fn parse(schedule: &str, zone: Option<&str>) -> Result<When, ScheduleError> {
        let text = schedule.trim();
        let (text, own) = match text.strip_prefix("CRON_TZ=").or(text.strip_prefix("TZ=")) {
            Some(rest) => {
                let (zone, rest) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
                (rest.trim(), Some(zone))
            }
            None => (text, None),
        };
        if own.is_some() && zone.is_some() {
            return Err(ScheduleError::TwoZones);
        }
        let zone = match own.or(zone) {
            None => TimeZone::UTC,
            Some(name) => TimeZone::get(name).map_err(|_| ScheduleError::Zone {
                zone: name.to_owned(),
            })?,
        };
        if let Some(every) = text.strip_prefix("@every") {
            let every = every
                .strip_prefix(char::is_whitespace)
                .and_then(|text| GoDuration::from_str(text).ok())
                .filter(|every| every.0 >= SHORTEST);
            return match every {
                Some(every) => Ok(When::Every(every.0)),
                None => Err(ScheduleError::Every {
                    text: text.to_owned(),
                }),
            };
        }
        let wrong = |why: String| ScheduleError::Expression {
            text: text.to_owned(),
            why,
        };
        // Five fields, as Kubernetes' own CronJobs and Velero take them.
        let cron = CronParser::builder()
            .seconds(Seconds::Disallowed)
            .year(Year::Disallowed)
            .build()
            .parse(text)
            .map_err(|error| wrong(error.to_string()))?;
        let when = When::Cron(Box::new(cron), zone);
        // The thirtieth of February parses, too.
        match when.after(Timestamp::UNIX_EPOCH) {
            Some(_) => Ok(when),
            None => Err(wrong("it never comes".to_owned())),
        }
    }

    /// The zone whose days a schedule counts, also of one by which nothing can be made.
    pub fn zone(schedule: &str, zone: Option<&str>) -> TimeZone {
        let text = schedule.trim();
        let own = text.strip_prefix("CRON_TZ=").or(text.strip_prefix("TZ="));
        let own = own.and_then(|rest| rest.split(char::is_whitespace).next());
        own.or(zone)
            .and_then(|name| TimeZone::get(name).ok())
            .unwrap_or(TimeZone::UTC)
    }

    /// The first time after `last`.
    pub fn after(&self, last: Timestamp) -> Option<Timestamp> {
        match self {
            When::Every(every) => last.checked_add(*every).ok(),
            When::Cron(cron, zone) => cron
                .find_next_occurrence(&last.to_zoned(zone.clone()), false)
                .ok()
                .map(|next| next.timestamp()),
        }
    }

    /// The newest time after `last` that is not after `now`.
    fn newest(&self, last: Timestamp, now: Timestamp) -> Option<Timestamp> {
        let first = self.after(last).filter(|first| *first <= now)?;
        match self {
            When::Every(every) => {
                let whole = now.duration_since(first).as_millis() / every.as_millis().max(1);
                let whole = i32::try_from(whole).unwrap_or(i32::MAX);
                every
                    .checked_mul(whole)
                    .and_then(|gone| first.checked_add(gone).ok())
            }
            When::Cron(cron, zone) => cron
                .find_previous_occurrence(&now.to_zoned(zone.clone()), true)
                .ok()
                .map(|newest| newest.timestamp().max(first)),
        }
    }
}

/// What a schedule looks like to whoever decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State {
    /// The newest time that was dealt with: a backup was made for it, or it was passed over. At first, when the schedule
    /// was made.
    pub last: Timestamp,
    /// Whether a backup of the schedule is not finished.
    pub busy: bool,
    /// Whether the schedule is paused.
    pub paused: bool,
    /// Whether times that pass while it is paused are let go.
    pub skip_immediately: bool,
}

/// What is to be done for a schedule now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Nothing until then, or for ever.
    Wait(Option<Timestamp>),
    /// Make the backup of that time.
    Make(Timestamp),
    /// Pass over that time.
    Skip(Timestamp),
}

/// Decides.
pub fn due(when: &When, state: &State, now: Timestamp) -> Due {
    if state.paused && !state.skip_immediately {
        return Due::Wait(None);
    }
    match when.newest(state.last, now) {
        None => Due::Wait(when.after(state.last)),
        Some(time) if state.paused || state.busy => Due::Skip(time),
        Some(time) => Due::Make(time),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn when(schedule: &str) -> When {
        When::parse(schedule, None).unwrap()
    }

    #[test]
    fn the_first_time_after_another() {
        for (schedule, last, next) in [
            ("0 3 * * *", "2026-03-01T02:59:59Z", "2026-03-01T03:00:00Z"),
            ("0 3 * * *", "2026-03-01T03:00:00Z", "2026-03-02T03:00:00Z"),
            (
                "*/10 * * * *",
                "2026-03-01T00:01:00Z",
                "2026-03-01T00:10:00Z",
            ),
            // Either day: the 13th, or a Friday.
            (
                "0 0 13 * FRI",
                "2026-03-07T00:00:00Z",
                "2026-03-13T00:00:00Z",
            ),
            (
                "0 0 13 * FRI",
                "2026-03-01T00:00:00Z",
                "2026-03-06T00:00:00Z",
            ),
            ("0 0 29 2 *", "2026-03-01T00:00:00Z", "2028-02-29T00:00:00Z"),
            ("0 0 * * 7", "2026-03-02T00:00:00Z", "2026-03-08T00:00:00Z"),
            ("@hourly", "2026-03-01T00:30:00Z", "2026-03-01T01:00:00Z"),
            ("@daily", "2026-03-01T00:30:00Z", "2026-03-02T00:00:00Z"),
            ("@weekly", "2026-03-02T00:30:00Z", "2026-03-08T00:00:00Z"),
            ("@monthly", "2026-03-02T00:30:00Z", "2026-04-01T00:00:00Z"),
            ("@yearly", "2026-03-02T00:30:00Z", "2027-01-01T00:00:00Z"),
            ("@every 10m", "2026-03-01T00:00:01Z", "2026-03-01T00:10:01Z"),
            (
                "@every 1h30m",
                "2026-03-01T00:00:00Z",
                "2026-03-01T01:30:00Z",
            ),
            // Paris is an hour ahead in winter and two in summer.
            (
                "CRON_TZ=Europe/Paris 0 3 * * *",
                "2026-01-10T12:00:00Z",
                "2026-01-11T02:00:00Z",
            ),
            (
                "CRON_TZ=Europe/Paris 0 3 * * *",
                "2026-07-10T12:00:00Z",
                "2026-07-11T01:00:00Z",
            ),
        ] {
            assert_eq!(
                when(schedule).after(at(last)),
                Some(at(next)),
                "{schedule} after {last}"
            );
        }
        let paris = When::parse("0 3 * * *", Some("Europe/Paris")).unwrap();
        assert_eq!(
            paris.after(at("2026-01-10T12:00:00Z")),
            Some(at("2026-01-11T02:00:00Z"))
        );
    }

    #[test]
    fn the_zone_of_a_schedule_wherever_it_stands() {
        let zone = |schedule: &str, zone| {
            let zone = When::zone(schedule, zone);
            zone.iana_name().unwrap_or("UTC").to_owned()
        };
        assert_eq!(zone("0 3 * * *", None), "UTC");
        assert_eq!(zone("0 3 * * *", Some("Europe/Paris")), "Europe/Paris");
        assert_eq!(zone("CRON_TZ=Europe/Paris @daily", None), "Europe/Paris");
        assert_eq!(zone("TZ=Europe/Paris nonsense", None), "Europe/Paris");
        assert_eq!(zone("0 3 * * *", Some("Nowhere/At_All")), "UTC");
    }

    #[test]
    fn clocks_that_are_put_forward_and_back() {
        // In Paris, 2026-03-29 has no 02:30, and 2026-10-25 has it twice.
        let nightly = when("CRON_TZ=Europe/Paris 30 2 * * *");
        let mut time = at("2026-03-28T00:00:00Z");
        let mut times = Vec::new();
        for _ in 0..3 {
            time = nightly.after(time).unwrap();
            times.push(time.to_string());
        }
        assert_eq!(
            times,
            [
                "2026-03-28T01:30:00Z",
                "2026-03-29T01:00:00Z",
                "2026-03-30T00:30:00Z"
            ]
        );
        let mut time = at("2026-10-24T12:00:00Z");
        let mut times = Vec::new();
        for _ in 0..2 {
            time = nightly.after(time).unwrap();
            times.push(time.to_string());
        }
        assert_eq!(times, ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]);
        // What runs all the time goes on through both of the two hours.
        let hourly = when("CRON_TZ=Europe/Paris 0 * * * *");
        let mut time = at("2026-10-24T23:30:00Z");
        let mut times = Vec::new();
        for _ in 0..4 {
            time = hourly.after(time).unwrap();
            times.push(time.to_string());
        }
        assert_eq!(
            times,
            [
                "2026-10-25T00:00:00Z",
                "2026-10-25T01:00:00Z",
                "2026-10-25T02:00:00Z",
                "2026-10-25T03:00:00Z"
            ]
        );
    }

    #[test]
    fn what_is_no_schedule_is_refused_with_the_reason() {
        for (schedule, zone, expected) in [
            ("", None, "not a cron expression"),
            ("* * *", None, "not a cron expression"),
            ("0 0 3 * * *", None, "not a cron expression"),
            ("61 * * * *", None, "not a cron expression"),
            ("@fortnightly", None, "not a cron expression"),
            ("0 0 30 2 *", None, "not a cron expression"),
            ("@every", None, "@every and a time"),
            ("@every10m", None, "@every and a time"),
            ("@every 0s", None, "@every and a time"),
            ("@every 10", None, "@every and a time"),
            ("CRON_TZ=Mars/Olympus 0 3 * * *", None, "not a time zone"),
            ("0 3 * * *", Some("nowhere"), "not a time zone"),
            ("CRON_TZ=Europe/Paris 0 3 * * *", Some("UTC"), "given twice"),
        ] {
            let error = When::parse(schedule, zone).unwrap_err().to_string();
            assert!(error.contains(expected), "{schedule:?}: {error}");
        }
    }

    const IDLE: State = State {
        last: Timestamp::UNIX_EPOCH,
        busy: false,
        paused: false,
        skip_immediately: false,
    };

    #[test]
    fn what_is_due() {
        let last = at("2026-03-01T03:00:00Z");
        let idle = State { last, ..IDLE };
        let busy = State { busy: true, ..idle };
        let paused = State {
            paused: true,
            ..idle
        };
        let passing = State {
            skip_immediately: true,
            ..paused
        };
        let on_time = at("2026-03-02T03:00:00Z");
        for (schedule, state, now, expected) in [
            // Not yet.
            (
                "0 3 * * *",
                idle,
                "2026-03-02T02:59:59Z",
                Due::Wait(Some(on_time)),
            ),
            (
                "0 3 * * *",
                idle,
                "2026-03-02T03:00:00Z",
                Due::Make(on_time),
            ),
            // Missed times are made up once, for the newest.
            (
                "0 3 * * *",
                idle,
                "2026-03-09T12:00:00Z",
                Due::Make(at("2026-03-09T03:00:00Z")),
            ),
            (
                "@every 10m",
                idle,
                "2026-03-01T04:05:59Z",
                Due::Make(at("2026-03-01T04:00:00Z")),
            ),
            (
                "@every 1s",
                idle,
                "2026-03-01T03:00:00.5Z",
                Due::Wait(Some(at("2026-03-01T03:00:01Z"))),
            ),
            // No two at a time.
            (
                "0 3 * * *",
                busy,
                "2026-03-02T03:00:01Z",
                Due::Skip(on_time),
            ),
            (
                "0 3 * * *",
                busy,
                "2026-03-02T02:00:00Z",
                Due::Wait(Some(on_time)),
            ),
            // Paused: nothing, or its times go by.
            ("0 3 * * *", paused, "2026-03-02T04:00:00Z", Due::Wait(None)),
            (
                "0 3 * * *",
                passing,
                "2026-03-02T04:00:00Z",
                Due::Skip(on_time),
            ),
            (
                "0 3 * * *",
                passing,
                "2026-03-02T02:00:00Z",
                Due::Wait(Some(on_time)),
            ),
            // A clock that was put back: nothing is due twice.
            (
                "0 3 * * *",
                idle,
                "2026-02-01T00:00:00Z",
                Due::Wait(Some(on_time)),
            ),
        ] {
            assert_eq!(
                due(&when(schedule), &state, at(now)),
                expected,
                "{schedule} {state:?} {now}"
            );
        }
    }

    #[test]
    fn making_what_is_due_leaves_nothing_due() {
        for schedule in [
            "0 3 * * *",
            "@every 7s",
            "CRON_TZ=America/New_York 30 1 * * *",
        ] {
            let when = when(schedule);
            let mut state = State {
                last: at("2026-10-30T00:00:00Z"),
                ..IDLE
            };
            let mut now = state.last;
            for _ in 0..200 {
                now = now.checked_add(SignedDuration::from_mins(97)).unwrap();
                if let Due::Make(time) = due(&when, &state, now) {
                    assert!(state.last < time && time <= now, "{schedule} {now}");
                    state.last = time;
                }
                let Due::Wait(Some(next)) = due(&when, &state, now) else {
                    panic!("{schedule} {now}");
                };
                assert!(next > now, "{schedule} {now}");
            }
        }
    }
}
