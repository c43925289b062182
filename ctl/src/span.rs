//! Spans of time as people write them: `90s`, `10m`, `1h`, `7d`.

use std::time::Duration;

use takt_common::UnixTime;

/// A text is not a span.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is not a span of time: a whole number of at least 1 and one of s, m, h or d expected, such as 10m"
)]
pub struct SpanError(String);

/// Seconds of a span such as `10m`; for clap.
pub fn parse_secs(text: &str) -> Result<u64, SpanError> {
    let refused = || SpanError(text.chars().take(40).collect());
    let unit = text.chars().last().ok_or_else(refused)?;
    let secs_per_unit = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err(refused()),
    };
    let digits = &text[..text.len() - unit.len_utf8()];
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(refused());
    }
    let count: u64 = digits.parse().map_err(|_| refused())?;
    count.checked_mul(secs_per_unit).filter(|&secs| secs > 0).ok_or_else(refused)
}

/// The same, and `0s` or `0` for none.
pub fn parse_secs_or_zero(text: &str) -> Result<u64, SpanError> {
    if matches!(text, "0" | "0s") { Ok(0) } else { parse_secs(text) }
}

/// A span in its largest whole unit, for tables: `42s`, `7m`, `3h`, `2d`.
pub fn short(span: Duration) -> String {
    match span.as_secs() {
        secs @ 0..=119 => format!("{secs}s"),
        secs @ 120..=7_199 => format!("{}m", secs / 60),
        secs @ 7_200..=172_799 => format!("{}h", secs / 3_600),
        secs => format!("{}d", secs / 86_400),
    }
}

/// How long ago `then` was, for tables.
pub fn ago(then: UnixTime, now: UnixTime) -> String {
    format!("{} ago", short(now.since(then)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_in_each_unit() {
        for (text, secs) in [("1s", 1), ("90s", 90), ("10m", 600), ("1h", 3_600), ("7d", 604_800)] {
            assert_eq!(parse_secs(text), Ok(secs), "{text}");
        }
    }

    #[test]
    fn what_is_no_span_is_refused() {
        for text in
            ["", "m", "10", "0s", "-1m", "+1m", "1.5h", "10 m", "10mm", "1w", "5µ", "99999999999999999999d"]
        {
            assert!(parse_secs(text).is_err(), "{text}");
        }
        assert!(parse_secs("18446744073709551615d").is_err());
    }

    #[test]
    fn spans_are_shown_in_their_largest_whole_unit() {
        for (secs, text) in [(0, "0s"), (119, "119s"), (120, "2m"), (7_200, "2h"), (172_800, "2d")] {
            assert_eq!(short(Duration::from_secs(secs)), text);
        }
    }
}
