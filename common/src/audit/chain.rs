//! Holds entries against each other and against signed heads.

use super::entry::{AUDIT_FORMAT, End, Entry};
use super::head::Head;
use crate::strict_json::StrictJsonError;
use crate::time::UnixTime;

/// A log is not what it was; each names the entry at which that shows.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// Not an entry.
    #[error("entry {number} is unreadable")]
    Unreadable {
        /// The number that it should have.
        number: u64,
        /// Why.
        #[source]
        source: Box<StrictJsonError>,
    },
    /// From another version.
    #[error("entry {number} has format {found}, this version reads {AUDIT_FORMAT}")]
    Format {
        /// Its number.
        number: u64,
        /// Its format.
        found: u32,
    },
    /// Another entry stands there.
    #[error(
        "entry {found} stands where entry {expected} belongs: entries were removed, added or put in another order"
    )]
    Number {
        /// What belongs there.
        expected: u64,
        /// What stands there.
        found: u64,
    },
    /// It does not name the digest of the one before.
    #[error("entry {number} does not follow from what stands before it: it or the entry before was changed")]
    Broken {
        /// Its number.
        number: u64,
    },
    /// A head was signed over another entry.
    #[error(
        "entry {number} is not the one that the head of {signed} was signed over: it was changed, or the log was cut and written anew"
    )]
    Replaced {
        /// Its number.
        number: u64,
        /// When the head was signed.
        signed: UnixTime,
    },
    /// A head names an entry that is not there.
    #[error("entry {number} is missing: the head of {signed} was signed over entry {last}")]
    Missing {
        /// The first that is missing.
        number: u64,
        /// When the head was signed.
        signed: UnixTime,
        /// The last entry at that time.
        last: u64,
    },
    /// Entries stand behind the end that is signed.
    #[error("entry {number} is not covered by the head of {signed}: it was added behind it")]
    Uncovered {
        /// The first that is not covered.
        number: u64,
        /// When the head was signed.
        signed: UnixTime,
    },
}

/// A walk along a chain, one entry after the other.
#[derive(Debug, Clone)]
pub struct Walk {
    end: End,
    heads: Vec<Head>,
}

impl Walk {
    /// From the entry after `end`.
    pub const fn after(end: End) -> Self {
        Self { end, heads: Vec::new() }
    }

    /// From the first entry, past heads that were kept from before: the entries that they were signed over must still be there.
    pub fn past(heads: Vec<Head>) -> Self {
        Self { end: End::start(), heads }
    }

    /// Where it is: the end of what it has seen.
    pub const fn end(&self) -> End {
        self.end
    }

    /// Takes the exact bytes of the next entry.
    pub fn next(&mut self, bytes: &[u8]) -> Result<Entry, ChainError> {
        let number = self.end.number + 1;
        let entry = Entry::from_bytes(bytes)
            .map_err(|source| ChainError::Unreadable { number, source: Box::new(source) })?;
        if entry.format != AUDIT_FORMAT {
            return Err(ChainError::Format { number, found: entry.format });
        }
        if entry.number != number {
            return Err(ChainError::Number { expected: number, found: entry.number });
        }
        if entry.previous != self.end.sha256 {
            return Err(ChainError::Broken { number });
        }
        self.end = End::at(number, bytes);
        match self.heads.iter().find(|head| head.end.number == number && head.end != self.end) {
            Some(head) => Err(ChainError::Replaced { number, signed: head.time }),
            None => Ok(entry),
        }
    }

    /// Ends the walk: `head` is signed over exactly what it has seen, and no kept head over more.
    pub fn finish(self, head: &Head) -> Result<End, ChainError> {
        let Self { end, heads } = self;
        for kept in heads.iter().chain([head]) {
            let (number, last, signed) = (end.number + 1, kept.end.number, kept.time);
            if last > end.number {
                return Err(ChainError::Missing { number, signed, last });
            }
            // Of a log without entries there is one end.
            let other = if last == 0 { End::start() } else { end };
            if (last == 0 || last == end.number) && kept.end != other {
                return Err(ChainError::Replaced { number: last, signed });
            }
        }
        if head.end.number < end.number {
            return Err(ChainError::Uncovered { number: head.end.number + 1, signed: head.time });
        }
        Ok(end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{What, Who};

    fn chain(count: u64) -> Vec<Vec<u8>> {
        let mut end = End::start();
        let entry = |end: End| {
            let name = format!("operator-{}", end.number).parse().unwrap();
            Entry::after(end, UnixTime::from_secs(7), Who::Coordinator, What::OperatorAdded { name })
        };
        (0..count)
            .map(|_| {
                let bytes = entry(end).to_bytes();
                end = End::at(end.number + 1, &bytes);
                bytes
            })
            .collect()
    }

    fn walk(heads: Vec<Head>, entries: &[Vec<u8>]) -> Result<Walk, ChainError> {
        let mut walk = Walk::past(heads);
        entries.iter().try_for_each(|entry| walk.next(entry).map(drop))?;
        Ok(walk)
    }

    #[test]
    fn a_chain_goes_on_from_any_of_its_ends() {
        let entries = chain(4);
        let mut first = Walk::after(End::start());
        first.next(&entries[0]).unwrap();
        let mut rest = Walk::after(first.end());
        entries[1..].iter().for_each(|entry| drop(rest.next(entry).unwrap()));
        assert_eq!(rest.end(), walk(Vec::new(), &entries).unwrap().end());
    }

    #[test]
    fn what_a_head_does_not_cover_or_misses_is_named() {
        let entries = chain(3);
        let time = UnixTime::from_secs(9);
        let head = |count: usize| Head::new(walk(Vec::new(), &entries[..count]).unwrap().end(), time);
        assert_eq!(walk(Vec::new(), &entries).unwrap().finish(&head(3)).unwrap().number, 3);
        let added = walk(Vec::new(), &entries).unwrap().finish(&head(2)).unwrap_err();
        assert!(matches!(added, ChainError::Uncovered { number: 3, .. }), "{added}");
        let cut = walk(Vec::new(), &entries[..2]).unwrap().finish(&head(3)).unwrap_err();
        assert!(matches!(cut, ChainError::Missing { number: 3, last: 3, .. }), "{cut}");
        let none = walk(Vec::new(), &[]).unwrap();
        assert_eq!(none.finish(&Head::new(End::start(), time)).unwrap(), End::start());
        let mut other = head(0);
        other.end = End::at(0, b"x");
        let none = walk(Vec::new(), &[]).unwrap().finish(&other).unwrap_err();
        assert!(matches!(none, ChainError::Replaced { number: 0, .. }), "{none}");
    }

    #[test]
    fn a_kept_head_outlives_a_log_that_was_cut() {
        let entries = chain(3);
        let time = UnixTime::from_secs(9);
        let kept = Head::new(walk(Vec::new(), &entries).unwrap().end(), time);
        let short = walk(vec![kept], &entries[..2]).unwrap();
        let end = short.end();
        let error = short.finish(&Head::new(end, time)).unwrap_err();
        assert!(matches!(error, ChainError::Missing { number: 3, .. }), "{error}");
    }
}
