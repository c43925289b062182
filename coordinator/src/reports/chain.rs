//! The chain of a device's reports: each has the next number and the digest of the one before.

use takt_common::Sha256Digest;

use crate::registry::{REPORTS_KEPT, ReportHead};

/// A report that has arrived, as a link of the chain.
#[derive(Debug, Clone, Copy)]
pub(super) struct Link {
    pub(super) sequence: u64,
    pub(super) digest: Sha256Digest,
    pub(super) previous: Option<Sha256Digest>,
}

/// How a report fits the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The next link.
    Next,
    /// Reports in between were lost.
    Gap,
    /// It does not follow from the last one, or another report with its number is known.
    Fork,
    /// The device has begun from the first number again: it lost its state.
    Restart,
    /// Known already.
    Duplicate,
}

impl Verdict {
    /// What people should know about it.
    pub(super) fn warning(self, head: Option<u64>, sequence: u64) -> Option<String> {
        let head = head.unwrap_or(0);
        match self {
            Self::Next | Self::Duplicate => None,
            Self::Gap => {
                Some(format!("reports {} to {} never arrived", head + 1, sequence.saturating_sub(1)))
            }
            Self::Fork => {
                Some(format!("report {sequence} does not follow from report {head} that is known here"))
            }
            Self::Restart => Some(format!(
                "the device lost its state: its reports begin again with {sequence} after {head}"
            )),
        }
    }
}

/// Judges a report. `kept` is the digest of the kept report with the same number.
///
/// A fork is taken as the new end of the chain, because a device that was restored from a copy must be heard; only a
/// report that is known, or that fills a gap among the kept ones, is passed over. One that is older than any that is
/// kept cannot be known: it is a fork too, or such a device would be passed over until it has caught up.
pub(super) fn judge(head: Option<&ReportHead>, kept: Option<Sha256Digest>, link: &Link) -> Verdict {
    let Some(head) = head else {
        return if link.sequence > 1 { Verdict::Gap } else { Verdict::Next };
    };
    if link.digest == head.digest || kept == Some(link.digest) || link.digest == head.first {
        return Verdict::Duplicate;
    }
    if link.sequence > head.sequence {
        return match (link.sequence - head.sequence, link.previous) {
            (1, Some(previous)) if previous == head.digest => Verdict::Next,
            (1, _) => Verdict::Fork,
            _ => Verdict::Gap,
        };
    }
    match (link.previous, kept) {
        (None, _) => Verdict::Restart,
        (Some(_), Some(_)) => Verdict::Fork,
        (Some(_), None) if link.sequence.saturating_add(REPORTS_KEPT) <= head.sequence => Verdict::Fork,
        (Some(_), None) => Verdict::Duplicate,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(text: &str) -> Sha256Digest {
        Sha256Digest::of(text.as_bytes())
    }

    fn link(sequence: u64, own: &str, previous: Option<&str>) -> Link {
        Link { sequence, digest: digest(own), previous: previous.map(digest) }
    }

    #[test]
    fn every_way_a_report_can_fit_has_its_verdict() {
        let head =
            ReportHead { sequence: 70, digest: digest("70"), nonce: String::new(), first: digest("1") };
        let head = Some(&head);
        for (link, kept, expected) in [
            (link(71, "71", Some("70")), None, Verdict::Next),
            (link(71, "71", Some("other")), None, Verdict::Fork),
            (link(71, "71", None), None, Verdict::Fork),
            (link(75, "75", Some("74")), None, Verdict::Gap),
            (link(70, "70", Some("69")), Some("70"), Verdict::Duplicate),
            (link(60, "60", Some("59")), Some("60"), Verdict::Duplicate),
            (link(60, "sixty", Some("59")), Some("60"), Verdict::Fork),
            (link(7, "7", Some("6")), None, Verdict::Duplicate),
            (link(6, "6", Some("5")), None, Verdict::Fork),
            (link(2, "2", Some("1")), None, Verdict::Fork),
            (link(1, "1", None), None, Verdict::Duplicate),
            (link(1, "one", None), None, Verdict::Restart),
        ] {
            assert_eq!(judge(head, kept.map(digest), &link), expected, "{link:?}");
        }
        assert_eq!(judge(None, None, &link(1, "1", None)), Verdict::Next);
        assert_eq!(judge(None, None, &link(9, "9", Some("8"))), Verdict::Gap);
    }
}
