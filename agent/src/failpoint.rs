//! Points at which a test lets the agent die as by a power cut: `kill -9` to itself, in the middle of its work.
//!
//! Only in builds with the feature `failpoints`; in all others there is nothing here and no variable is read. The
//! points stand before and after each commit of the journal that changes the phase or takes an order in, and before
//! and after each action. Their names are `<order>/commit:<phase>:before|after` and `<order>/act:<action>:before|after`.
//!
//! * `TAKT_FAILPOINT_DIR` names a folder. Each point that is reached is written as a line to `reached` in it.
//! * `TAKT_FAILPOINT` names the point at which to die, once: the file `died` in the folder says that it was.

/// Which side of a commit or an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// It has not been begun.
    Before,
    /// It has been done.
    After,
}

#[cfg(feature = "failpoints")]
pub(crate) use armed::Deed;
#[cfg(not(feature = "failpoints"))]
pub(crate) use unarmed::Deed;

#[cfg(not(feature = "failpoints"))]
mod unarmed {
    use takt_agent_core::{Action, Phase, Record};

    use super::Side;

    /// A commit or an action.
    pub(crate) struct Deed;

    impl Deed {
        pub(crate) const fn commit(_now: &Record, _next: &Record) -> Self {
            Self
        }

        pub(crate) const fn act(_phase: &Phase, _action: &Action) -> Self {
            Self
        }

        #[allow(clippy::unused_self)] // The same call as with failpoints.
        pub(crate) const fn reach(&self, _side: Side) {}
    }
}

#[cfg(feature = "failpoints")]
mod armed {
    use std::fs::OpenOptions;
    use std::io::Write as _;
    use std::path::{Path, PathBuf};

    use nix::sys::signal::{Signal, raise};
    use takt_agent_core::phase::{Phase, Way};
    use takt_agent_core::{Action, Record};
    use takt_common::order::Action as OrderAction;

    use super::Side;

    /// A commit or an action; without a name where it has no points.
    pub(crate) struct Deed(Option<String>);

    impl Deed {
        /// The commit of `next` over `now`: it has points if it changes the phase or takes an order in.
        pub(crate) fn commit(now: &Record, next: &Record) -> Self {
            if now.last_order != next.last_order {
                let order = order_of(next.next.as_ref().map(|next| &next.order.action));
                return Self(Some(format!("{order}/commit:accepted")));
            }
            let (before, after) = (phase_name(&now.phase), phase_name(&next.phase));
            // At rest the order is no longer known.
            let order = order_name(if matches!(next.phase, Phase::Idle) { &now.phase } else { &next.phase });
            Self((before != after).then(|| format!("{order}/commit:{after}")))
        }

        /// An action in a phase.
        pub(crate) fn act(phase: &Phase, action: &Action) -> Self {
            Self(Some(format!("{}/act:{}", order_name(phase), action_name(action))))
        }

        /// A point is reached; where it is armed, the process ends here.
        pub(crate) fn reach(&self, side: Side) {
            let Some(name) = &self.0 else { return };
            reach(&format!("{name}:{}", if side == Side::Before { "before" } else { "after" }));
        }
    }

    fn reach(point: &str) {
        let Some(folder) = std::env::var_os("TAKT_FAILPOINT_DIR").map(PathBuf::from) else { return };
        note(&folder.join("reached"), point, OpenOptions::new().create(true).append(true));
        if std::env::var("TAKT_FAILPOINT").is_ok_and(|armed| armed == point) {
            let died = folder.join("died");
            if !died.exists() {
                note(&died, point, OpenOptions::new().create_new(true).write(true));
                raise(Signal::SIGKILL).expect("a process may always kill itself");
            }
        }
    }

    fn note(file: &Path, point: &str, open: &OpenOptions) {
        // A test whose folder cannot be written sees that its point was never reached.
        let _noted = open.open(file).and_then(|mut file| writeln!(file, "{point}"));
    }

    fn order_of(action: Option<&OrderAction>) -> &'static str {
        match action {
            Some(OrderAction::Install) => "install",
            Some(OrderAction::TakeOver { .. }) => "take-over",
            Some(OrderAction::HandBack { .. }) => "hand-back",
            Some(OrderAction::Withdraw) => "withdraw",
            None => "no-order",
        }
    }

    fn order_name(phase: &Phase) -> &'static str {
        order_of(phase.job().map(|job| &job.accepted.order.action))
    }

    /// Finer than what is told to others: each way back is a phase of its own in the journal.
    fn phase_name(phase: &Phase) -> String {
        match phase {
            Phase::HandingBack { .. } => "handing-back".to_owned(),
            Phase::RollingBack { way, .. } => {
                let way = match way {
                    Way::AsIs => "as-is",
                    Way::Restore => "restore",
                    Way::Restart => "restart",
                    Way::Cold => "cold",
                };
                format!("rolling-back-{way}")
            }
            other => other.name().to_string(),
        }
    }

    const fn action_name(action: &Action) -> &'static str {
        match action {
            Action::Fetch { .. } => "fetch",
            Action::LoadImage { .. } => "load-image",
            Action::Create { .. } => "create",
            Action::Start { .. } => "start",
            Action::Stop { .. } => "stop",
            Action::Checkpoint { .. } => "checkpoint",
            Action::Restore { .. } => "restore",
            Action::KeepRunning { .. } => "keep-running",
            Action::Remove { .. } => "remove",
            Action::DeleteCheckpoint { .. } => "delete-checkpoint",
            Action::Prune { .. } => "prune",
        }
    }
}
