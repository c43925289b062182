//! Heads of the coordinator's audit log: the furthest one is kept, and one that goes back is told.

use takt_common::audit::{End, Head};

use super::{Agent, AgentError};

/// How a head stands to the one that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Standing {
    Further,
    Same,
    /// With what people should know.
    Back(String),
}

impl Agent {
    /// A head came in. One that is not signed by the order keys counts for nothing.
    ///
    /// Nothing is refused for a head that goes back: devices must be reached also after a coordinator was restored from a copy. The
    /// further one stays what heads are held against.
    pub(super) async fn on_audit_head(&mut self, envelope: &[u8]) -> Result<(), AgentError> {
        let head = match Head::open(envelope, &self.keeper.director().order_signers()) {
            Ok(head) => head,
            Err(error) => {
                tracing::warn!(error = %crate::sentence(&error), "head of the audit log refused");
                return Ok(());
            }
        };
        match standing(self.journal.audit_end(), &head) {
            Standing::Same => {}
            Standing::Further => {
                self.journal.keep_audit_end(head.end).await?;
                self.went_back = None;
            }
            // Once for each log that was written anew: the next heads of it go back as well.
            Standing::Back(_) if self.went_back.is_some_and(|told| told.number <= head.end.number) => {}
            Standing::Back(warning) => {
                tracing::error!(%warning, "audit log of the coordinator went back");
                let record = self.journal.record().clone();
                let (mut report, before) = (self.report_of(&record, None), self.journal.last_sequence());
                report.warnings.push(warning);
                self.commit(record, vec![report]).await?;
                // An outbox that is busy takes none: then the next head says it again.
                if self.journal.last_sequence() > before {
                    self.went_back = Some(head.end);
                }
            }
        }
        Ok(())
    }
}

fn standing(kept: Option<End>, head: &Head) -> Standing {
    let Some(kept) = kept else { return Standing::Further };
    let (number, before) = (head.end.number, kept.number);
    if number > before {
        return Standing::Further;
    }
    if head.end == kept {
        return Standing::Same;
    }
    Standing::Back(if number < before {
        format!(
            "the coordinator's audit log went back: it ended with entry {before}, the head of {} ends it with {number}",
            head.time
        )
    } else {
        format!(
            "the coordinator's audit log was written anew: entry {number} is another one in the head of {}",
            head.time
        )
    })
}

#[cfg(test)]
mod tests {
    use takt_common::UnixTime;

    use super::*;
    use crate::journal::Journal;

    fn at(number: u64, entry: &[u8]) -> End {
        End::at(number, entry)
    }

    fn head(number: u64, entry: &[u8]) -> Head {
        Head::new(at(number, entry), UnixTime::from_secs(1_795_248_000))
    }

    #[test]
    fn only_a_head_that_goes_on_takes_the_place_of_the_kept_one() {
        assert_eq!(standing(None, &head(3, b"three")), Standing::Further);
        let kept = Some(at(3, b"three"));
        assert_eq!(standing(kept, &head(3, b"three")), Standing::Same);
        assert_eq!(standing(kept, &head(4, b"four")), Standing::Further);
        for (back, said) in
            [(head(2, b"two"), "ended with entry 3"), (head(3, b"other"), "entry 3 is another one")]
        {
            let Standing::Back(warning) = standing(kept, &back) else { panic!("{back:?}") };
            assert!(warning.contains(said) && warning.contains("2026-11-21T08:00:00Z"), "{warning}");
        }
    }

    #[tokio::test]
    async fn the_kept_end_outlives_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let (mut journal, _) = Journal::open(folder.path()).unwrap();
        assert_eq!(journal.audit_end(), None);
        for end in [at(3, b"three"), at(4, b"four")] {
            journal.keep_audit_end(end).await.unwrap();
        }
        drop(journal);
        let (journal, _) = Journal::open(folder.path()).unwrap();
        assert_eq!(journal.audit_end(), Some(at(4, b"four")));
    }
}
