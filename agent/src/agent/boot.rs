//! At rest, once in a run of the agent and after each order: the boot loader is told that the system that runs is good,
//! and the device finds out whether that is the system which was verified. A boot loader may have left it since.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use takt_agent_core::{ActionFailure, StepState};
use takt_common::Sha256Digest;
use takt_common::release::Kind;
use takt_common::report::Report;
use tokio::task::JoinHandle;

use super::{Agent, AgentError};

/// From one failure to the next try.
const AGAIN: Duration = Duration::from_mins(1);

/// What is known of the boot.
#[derive(Debug, Default)]
pub(super) struct Boot {
    asking: Option<JoinHandle<Answer>>,
    /// Nothing more is to be asked.
    done: bool,
    again_at: Duration,
    left: Left,
}

/// Why the system of a release is not the one that runs, by the release's manifest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Left(BTreeMap<Sha256Digest, String>);

#[derive(Debug)]
struct Answer {
    marked: Result<(), ActionFailure>,
    left: Left,
}

impl Boot {
    /// An order has ended: what is installed may be another release, and an answer that is still to come is about the one
    /// before.
    pub(super) fn ask_again(&mut self) {
        if let Some(asking) = self.asking.take() {
            asking.abort();
        }
        (self.done, self.again_at) = (false, Duration::ZERO);
    }

    /// This release has been verified, just now.
    pub(super) fn is_verified(&mut self, manifest: &Sha256Digest) {
        self.left.0.remove(manifest);
    }

    /// What the boot loader has left does not run, and a report does not say that it does.
    pub(super) fn told_in(&self, report: &mut Report) {
        self.left.told_in(report);
    }
}

impl Left {
    fn told_in(&self, report: &mut Report) {
        for (manifest, why) in &self.0 {
            let Some(at) = report.installed.iter().position(|installed| installed.manifest == *manifest)
            else {
                continue;
            };
            let release = report.installed.remove(at).release;
            // The warnings of an order are about its own release.
            if report.order.is_none() {
                report.warnings.push(format!("{release} was verified and does not run any more: {why}"));
            }
        }
    }
}

impl Agent {
    /// Asks beside the loop, as RAUC may take its time; takes the answer once it is there.
    pub(super) async fn look_at_boot(&mut self) -> Result<(), AgentError> {
        let uptime = self.uptime();
        if let Some(asking) = self.boot.asking.take_if(|asking| asking.is_finished()) {
            self.boot.again_at = uptime + AGAIN;
            // It has ended, so this does not wait; one that panicked is asked again.
            if let Ok(answer) = asking.await {
                self.take_answer(answer).await?;
            }
        }
        if !self.boot.done && self.boot.asking.is_none() && uptime >= self.boot.again_at {
            self.boot.asking = Some(self.begin_to_ask());
        }
        Ok(())
    }

    async fn take_answer(&mut self, answer: Answer) -> Result<(), AgentError> {
        match answer.marked {
            Ok(()) => self.boot.done = true,
            Err(failure) => tracing::warn!(why = %failure.text, "the boot loader was not told; tried again"),
        }
        if self.boot.left == answer.left {
            return Ok(());
        }
        for why in answer.left.0.values() {
            tracing::warn!(%why, "a verified system does not run any more");
        }
        self.boot.left = answer.left;
        self.say_where_we_are().await
    }

    fn begin_to_ask(&self) -> JoinHandle<Answer> {
        let performer = Arc::clone(&self.performer);
        let installed: Vec<_> = self.journal.record().installed.values().cloned().collect();
        tokio::spawn(async move {
            let mut left = Left::default();
            for workload in &installed {
                for (key, step) in workload.steps().filter(|(_, step)| step.kind() == Kind::OsImage) {
                    if let StepState::FellBack(why) = performer.kinds.look_at_rest(&key, step).await {
                        left.0.insert(workload.manifest_sha256, why);
                    }
                }
            }
            Answer { marked: performer.kinds.at_rest().await, left }
        })
    }
}

#[cfg(test)]
mod tests {
    use takt_common::UnixTime;
    use takt_common::release::ReleaseId;
    use takt_common::report::{Installed, PhaseName, REPORT_FORMAT};

    use super::*;

    fn report(installed: &[&str]) -> Report {
        let installed = installed.iter().map(|name| Installed {
            release: ReleaseId { name: name.parse().unwrap(), version: "1.0".parse().unwrap() },
            counter: 1,
            manifest: Sha256Digest::of(name.as_bytes()),
        });
        Report {
            format: REPORT_FORMAT,
            device: "0123456789abcdef0123456789abcdef".parse().unwrap(),
            sequence: 0,
            previous_report_digest: None,
            boot_id: "b".to_owned(),
            nonce: String::new(),
            installed: installed.collect(),
            standing_in_for: None,
            order: None,
            phase: PhaseName::Idle,
            timing: None,
            warnings: Vec::new(),
            hooks: BTreeMap::new(),
            outcome: None,
            waiting_on: None,
            refused: None,
            made: UnixTime::from_secs(0),
            skipped: None,
            time_floor: UnixTime::from_secs(0),
        }
    }

    #[test]
    fn a_system_that_the_boot_loader_has_left_is_not_reported_as_installed() {
        let os = Sha256Digest::of(b"os");
        let mut boot =
            Boot { left: Left(BTreeMap::from([(os, "slot A runs".to_owned())])), ..Boot::default() };
        let mut told = report(&["app", "os"]);
        boot.told_in(&mut told);
        let names: Vec<String> = told.installed.iter().map(|left| left.release.to_string()).collect();
        assert_eq!(names, ["app 1.0"]);
        assert_eq!(told.warnings, ["os 1.0 was verified and does not run any more: slot A runs"]);
        boot.is_verified(&os);
        let mut again = report(&["app", "os"]);
        boot.told_in(&mut again);
        assert_eq!((again.installed.len(), again.warnings.len()), (2, 0));
    }
}
