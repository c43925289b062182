//! The points of the loop at which a test lets the agent die (`takt_failpoint`): before and after each commit of the
//! journal that changes the phase or takes an order in, and before and after each action. Their names are
//! `<order>/commit:<phase>:before|after` and `<order>/act:<action>:before|after`.

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
    use takt_agent_core::action::Restarted;
    use takt_agent_core::phase::{Phase, Way};
    use takt_agent_core::{Action, Record};
    use takt_common::order::Action as OrderAction;
    use takt_common::release::Step;

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
            takt_failpoint::reach(&format!(
                "{name}:{}",
                if side == Side::Before { "before" } else { "after" }
            ));
        }
    }

    fn order_of(action: Option<&OrderAction>) -> &'static str {
        match action {
            Some(OrderAction::Install) => "install",
            Some(OrderAction::TakeOver { .. }) => "take-over",
            Some(OrderAction::Checkpoint { .. }) => "checkpoint",
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
            Phase::GivingMemory { .. } => "giving-memory".to_owned(),
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

    fn action_name(action: &Action) -> String {
        let step = |verb: &str, step: &Step| format!("{verb}-{}", step.kind());
        match action {
            Action::Fetch { .. } => "fetch".to_owned(),
            Action::LoadImage { .. } => "load-image".to_owned(),
            Action::Create { .. } => "create".to_owned(),
            Action::Start { .. } => "start".to_owned(),
            Action::Stop { .. } => "stop".to_owned(),
            Action::Checkpoint { .. } => "checkpoint".to_owned(),
            Action::Restore { .. } => "restore".to_owned(),
            Action::GiveMemory { .. } => "give-memory".to_owned(),
            Action::TakeMemory { .. } => "take-memory".to_owned(),
            Action::KeepRunning { .. } => "keep-running".to_owned(),
            Action::Remove { .. } => "remove".to_owned(),
            Action::DeleteCheckpoint { .. } => "delete-checkpoint".to_owned(),
            Action::Route { .. } => "route".to_owned(),
            Action::Prepare { step: what, .. } => step("prepare", what),
            Action::Apply { step: what, .. } => step("apply", what),
            Action::Revert { step: what, .. } => step("revert", what),
            Action::Confirm { step: what, .. } => step("confirm", what),
            Action::Settle { .. } => "settle".to_owned(),
            Action::Hook { point, .. } => format!("hook-{point}"),
            Action::Restart { what: Restarted::Machine, .. } => "restart-machine".to_owned(),
            Action::Restart { what: Restarted::Agent, .. } => "restart-agent".to_owned(),
            Action::Prune { .. } => "prune".to_owned(),
        }
    }
}
