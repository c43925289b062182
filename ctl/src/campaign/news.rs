//! What is new in a list that only shows its last entries: events since the last look.

/// The entries of `now` that were not in `before`, when both are windows over one growing list.
///
/// The windows overlap by the longest end of `before` that `now` begins with; without an overlap more has happened
/// than a window holds, and everything in `now` is new.
pub(super) fn since<'a, T: PartialEq>(before: &[T], now: &'a [T]) -> &'a [T] {
    let overlap =
        (0..=before.len()).map(|from| &before[from..]).find(|end| now.starts_with(end)).map_or(0, <[T]>::len);
    &now[overlap..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_follows_the_overlap_is_new() {
        let cases: [(&[u8], &[u8], &[u8]); 7] = [
            (&[], &[], &[]),
            (&[], &[1, 2], &[1, 2]),
            (&[1, 2], &[1, 2], &[]),
            (&[1, 2], &[1, 2, 3], &[3]),
            (&[1, 2, 3], &[2, 3, 4, 5], &[4, 5]),
            (&[1, 2, 3], &[7, 8, 9], &[7, 8, 9]),
            (&[1, 1], &[1, 1, 1], &[1]),
        ];
        for (before, now, new) in cases {
            assert_eq!(since(before, now), new, "{before:?} {now:?}");
        }
    }
}
