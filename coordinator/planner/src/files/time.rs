//! When slots begin, in the two ways in which people write it.

use jiff::civil::{Date, DateTime, Time};
use jiff::fmt::temporal::Pieces;
use jiff::tz::Offset;

use crate::schedule::minutes;

/// When a slot begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Start {
    /// Seconds since 1970, UTC.
    pub(super) at: i64,
    /// What local clocks were ahead of UTC, in seconds; none was named in the paper's format.
    pub(super) offset: Option<i32>,
}

/// RFC 3339, or as in figure 13 of paper 1: `month/day/year hour:minute-hour:minute`, which is taken as UTC.
pub(super) fn parse(text: &str) -> Result<Start, String> {
    if text.contains('/') {
        return paper(text)
            .ok_or_else(|| format!("'{text}' is not a slot like 11/7/2020 1:00-2:00 (month/day/year)"));
    }
    rfc3339(text).ok_or_else(|| {
        format!("'{text}' is not a time with date and offset (RFC 3339), like 2020-11-07T01:00:00Z")
    })
}

fn rfc3339(text: &str) -> Option<Start> {
    let pieces = Pieces::parse(text).ok()?;
    let offset = pieces.to_numeric_offset()?;
    let start = DateTime::from_parts(pieces.date(), pieces.time()?);
    Some(Start { at: offset.to_timestamp(start).ok()?.as_second(), offset: Some(offset.seconds()) })
}

fn paper(text: &str) -> Option<Start> {
    let (date, times) = text.split_once(' ')?;
    let (from, until) = times.trim().split_once('-')?;
    let mut date = date.split('/');
    let month = date.next()?.parse().ok()?;
    let day = date.next()?.parse().ok()?;
    let year = date.next()?.parse().ok()?;
    if date.next().is_some() || minutes(until)? <= minutes(from)? {
        return None;
    }
    let from = minutes(from)?;
    let time = Time::new(i8::try_from(from / 60).ok()?, i8::try_from(from % 60).ok()?, 0, 0).ok()?;
    let start = DateTime::from_parts(Date::new(year, month, day).ok()?, time);
    Some(Start { at: Offset::UTC.to_timestamp(start).ok()?.as_second(), offset: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats_are_read() {
        let expected = 1_604_710_800;
        for (text, offset) in [
            ("2020-11-07T01:00:00Z", Some(0)),
            ("2020-11-07T02:00:00+01:00", Some(3_600)),
            ("2020-11-06T20:00:00-05:00", Some(-18_000)),
            ("11/7/2020 1:00-2:00", None),
            ("11/07/2020 01:00-02:00", None),
        ] {
            assert_eq!(parse(text), Ok(Start { at: expected, offset }), "{text}");
        }
        assert_eq!(parse("11/7/2020 23:00-24:00").unwrap().at, expected + 22 * 3_600);
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "tomorrow",
            "2020-11-07T01:00:00",
            "2020-11-07",
            "2020-13-07T01:00:00Z",
            "11/7/2020",
            "13/7/2020 1:00-2:00",
            "11/31/2020 1:00-2:00",
            "11/7/2020 24:00-25:00",
            "11/7/2020 2:00-1:00",
            "11/7/2020/1 1:00-2:00",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
