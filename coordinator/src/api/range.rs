//! Single byte ranges and preconditions (RFC 9110, sections 13 and 14).

use http::{HeaderMap, header};

/// What of a file is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// All of it.
    Whole,
    /// `length` bytes from `start`.
    From {
        /// The first byte.
        start: u64,
        /// How many.
        length: u64,
    },
    /// The range holds no byte of it.
    Unsatisfiable,
}

/// True when the caller has the file already.
pub(super) fn is_known(headers: &HeaderMap, etag: &str) -> bool {
    headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok()).any(|value| {
        value.split(',').map(str::trim).any(|known| known == "*" || known.trim_start_matches("W/") == etag)
    })
}

/// The part that is asked for. A range in another unit, several ranges and malformed ones are ignored, as the RFC
/// allows; so is a range under an `If-Range` that does not name this very file.
pub(super) fn part(headers: &HeaderMap, etag: &str, length: u64) -> Part {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    if text(header::IF_RANGE).is_some_and(|known| known != etag) {
        return Part::Whole;
    }
    text(header::RANGE).and_then(|range| parse(range, length)).unwrap_or(Part::Whole)
}

fn parse(range: &str, length: u64) -> Option<Part> {
    let (unit, range) = range.split_once('=')?;
    let (first, last) = range.trim().split_once('-')?;
    if !unit.eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (start, end) = match (first, last) {
        ("", suffix) => {
            let suffix = number(suffix)?;
            if suffix == 0 {
                return Some(Part::Unsatisfiable);
            }
            (length.saturating_sub(suffix), length)
        }
        (first, "") => (number(first)?, length),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            if last < first {
                return None;
            }
            (first, last.saturating_add(1).min(length))
        }
    };
    if start >= length {
        return Some(Part::Unsatisfiable);
    }
    Some(Part::From { start, length: end - start })
}

/// Digits only; more of them than fit mean "beyond any end".
fn number(digits: &str) -> Option<u64> {
    let good = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    good.then(|| digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(header::HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
    }

    #[test]
    fn single_ranges_are_read_as_the_rfc_has_them() {
        let from = |start, length| Part::From { start, length };
        for (range, expected) in [
            ("bytes=0-0", from(0, 1)),
            ("bytes=2-4", from(2, 3)),
            ("bytes=2-", from(2, 8)),
            ("bytes=8-99", from(8, 2)),
            ("bytes=-3", from(7, 3)),
            ("bytes=-99", from(0, 10)),
            ("Bytes=0-99999999999999999999999", from(0, 10)),
            ("bytes=10-", Part::Unsatisfiable),
            ("bytes=99999999999999999999999-", Part::Unsatisfiable),
            ("bytes=-0", Part::Unsatisfiable),
            ("bytes=4-2", Part::Whole),
            ("bytes=0-1,3-4", Part::Whole),
            ("bytes=+1-2", Part::Whole),
            ("bytes=-", Part::Whole),
            ("lines=1-2", Part::Whole),
            ("bytes", Part::Whole),
        ] {
            assert_eq!(part(&headers(&[(header::RANGE, range)]), "\"e\"", 10), expected, "{range}");
        }
        assert_eq!(part(&headers(&[(header::RANGE, "bytes=0-")]), "\"e\"", 0), Part::Unsatisfiable);
    }

    #[test]
    fn conditions_compare_the_tag() {
        let ranged = |tag| headers(&[(header::RANGE, "bytes=1-"), (header::IF_RANGE, tag)]);
        assert_eq!(part(&ranged("\"e\""), "\"e\"", 3), Part::From { start: 1, length: 2 });
        assert_eq!(part(&ranged("\"f\""), "\"e\"", 3), Part::Whole);
        assert_eq!(part(&ranged("W/\"e\""), "\"e\"", 3), Part::Whole);
        for (known, expected) in
            [("\"e\"", true), ("W/\"e\"", true), ("\"f\", \"e\"", true), ("*", true), ("\"f\"", false)]
        {
            assert_eq!(is_known(&headers(&[(header::IF_NONE_MATCH, known)]), "\"e\""), expected, "{known}");
        }
    }
}
