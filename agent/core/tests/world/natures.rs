//! What may be the matter with a release or a device, and how an agent is interrupted.

use takt_common::release::{HookPoint, Kind};

/// What is the matter with the new release, or with the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nature {
    Good,
    // Before anything is switched.
    WillNotFetch,
    CorruptArtifact,
    DiskFull,
    LockedForAWhile,
    ArchiveHoldsAnotherImage,
    PrepareFails(Kind),
    // Its containers; where there are several, the last of them.
    WillNotStart,
    DiesAtOnce,
    DiesInProbation,
    // Its health.
    StartsSick,
    NeverReports,
    FallsIllInProbation,
    WorseThanBefore,
    // Its other steps.
    ApplyFails(Kind),
    /// Some of it is in force, and it gets no further.
    StopsHalfWay(Kind),
    /// The loader or the launcher brings the old one back.
    DoesNotBoot(Kind),
    ConfirmFails(Kind),
    /// It is sick, and cannot be taken back.
    RevertFails(Kind),
    /// It is sick, and each step is taken back only after so many failures.
    RevertsLate(u32),
    /// Nobody can tell where it stands once it is in force.
    UnseenWhenNew(Kind),
    /// The container engine does not answer while it is in force.
    EngineFailsWith(Kind),
    /// Each try of putting it in force ends the agent.
    DiesApplying(Kind),
    /// It is sick, and each try of taking it back ends the agent.
    DiesReverting(Kind),
    /// It is not in force after any number of restarts.
    StaysOut(Kind),
    /// It is sick, and stays in force after any number of restarts.
    StaysIn(Kind),
    /// The machine or the agent will not be started anew.
    WillNotRestart,
    /// It is sick, and then the machine or the agent will not be started anew.
    WillNotRestartBack,
    // Its hooks.
    HookFails(HookPoint),
    /// The hook says "not now" so often.
    NotNow(HookPoint, u32),
    /// It is sick, and its hook for the way back fails.
    RollbackHookFails,
    // What is around it.
    NeverHeard,
    /// Connections to the old release that never end.
    ClientsStay,
    /// Nobody can tell where the ports lead while the new release runs.
    PortsUnseenWithNew,
    /// It is sick, and the ports cannot be led back.
    PortsFailBack,
}

/// What can be the matter with a container that is fetched, loaded and started.
pub const OF_CONTAINERS: [Nature; 11] = [
    Nature::Good,
    Nature::WillNotFetch,
    Nature::CorruptArtifact,
    Nature::DiskFull,
    Nature::ArchiveHoldsAnotherImage,
    Nature::WillNotStart,
    Nature::DiesAtOnce,
    Nature::StartsSick,
    Nature::DiesInProbation,
    Nature::FallsIllInProbation,
    Nature::NeverReports,
];

/// What can be the matter with a step of this kind.
pub fn of_step(kind: Kind) -> Vec<Nature> {
    vec![
        Nature::Good,
        Nature::PrepareFails(kind),
        Nature::ApplyFails(kind),
        Nature::StopsHalfWay(kind),
        Nature::StartsSick,
        Nature::FallsIllInProbation,
        Nature::ConfirmFails(kind),
        Nature::RevertFails(kind),
        Nature::NeverHeard,
    ]
}

/// The same for one that needs a restart to be in force.
pub fn of_restarting_step(kind: Kind) -> Vec<Nature> {
    let more = [Nature::DoesNotBoot(kind), Nature::WillNotRestart, Nature::WillNotRestartBack];
    [of_step(kind), more.to_vec()].concat()
}

/// What the device's CRIU does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Criu {
    Works,
    Missing,
    RefusesToDump,
    RefusesToRestore,
}

/// How the agent is interrupted at a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// The power goes before the effect or commit.
    PowerBefore,
    /// The power goes when half of the effect is done.
    PowerDuring,
    /// The power goes after it, before anybody knew.
    PowerAfter,
    /// The agent is killed when half of the effect is done; the machine goes on.
    KillDuring,
    /// The agent is killed after it, before it knew; the machine goes on.
    KillAfter,
}

impl Cut {
    pub const ALL: [Self; 5] =
        [Self::PowerBefore, Self::PowerDuring, Self::PowerAfter, Self::KillDuring, Self::KillAfter];

    /// Of effects that are done as a whole or not at all.
    pub const WHOLE: [Self; 3] = [Self::PowerBefore, Self::PowerAfter, Self::KillAfter];
}
