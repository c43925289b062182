//! What the agent waits on: shown to operators, so it carries numbers.

use std::fmt;

use takt_common::UnixTime;
use takt_common::release::Kind;

/// A reason not to switch now.
#[derive(Debug, Clone, PartialEq)]
pub enum Blocker {
    /// Too little storage.
    LowDisk {
        /// There are.
        free_bytes: u64,
        /// Needed.
        needed_bytes: u64,
    },
    /// Too little memory.
    LowMemory {
        /// There are.
        free_bytes: u64,
        /// Needed.
        needed_bytes: u64,
    },
    /// The machine is busy.
    HighLoad {
        /// Load average of one minute per processor.
        load_per_cpu: f64,
        /// The most at which the agent switches.
        limit: f64,
    },
    /// The window has not opened.
    BeforeWindow {
        /// When it opens.
        from: UnixTime,
    },
    /// The window has closed.
    AfterWindow {
        /// When it closed.
        until: UnixTime,
    },
    /// Somebody holds an update lock.
    Locked {
        /// Which.
        lock: String,
    },
    /// The battery is low.
    LowBattery {
        /// Its charge.
        percent: u8,
        /// The least at which the agent switches.
        limit: u8,
    },
    /// The link is paid for, and the budget has not so many bytes left.
    LinkBudget {
        /// Bytes left.
        left_bytes: u64,
        /// Bytes needed.
        needed_bytes: u64,
    },
    /// The order has a window, and the device does not know what time it is.
    ClockOff {
        /// How far the wall clock is from the last signed time.
        by_secs: u64,
    },
    /// The standby does not serve.
    StandbySilent {
        /// What it answered.
        said: String,
    },
    /// The device serves for another one.
    StandingIn {
        /// For whom.
        name: String,
    },
}

impl Blocker {
    /// Soft blockers yield at the deadline when the order says `go-ahead`; hard ones never do.
    pub const fn is_soft(&self) -> bool {
        matches!(self, Self::HighLoad { .. } | Self::BeforeWindow { .. } | Self::AfterWindow { .. })
    }
}

const MIB: u64 = 1024 * 1024;

impl fmt::Display for Blocker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LowDisk { free_bytes, needed_bytes } => {
                write!(
                    f,
                    "low disk: {} MiB free, {} MiB needed",
                    free_bytes / MIB,
                    needed_bytes.div_ceil(MIB)
                )
            }
            Self::LowMemory { free_bytes, needed_bytes } => {
                write!(
                    f,
                    "low memory: {} MiB available, {} MiB needed",
                    free_bytes / MIB,
                    needed_bytes.div_ceil(MIB)
                )
            }
            Self::HighLoad { load_per_cpu, limit } => {
                write!(f, "high load: {load_per_cpu:.2} per processor, at most {limit:.2} allowed")
            }
            Self::BeforeWindow { from } => write!(f, "the window opens at {from}"),
            Self::AfterWindow { until } => write!(f, "the window closed at {until}"),
            Self::Locked { lock } => write!(f, "the update lock '{lock}' is held"),
            Self::LowBattery { percent, limit } => {
                write!(f, "low battery: {percent} % charged, at least {limit} % needed")
            }
            Self::LinkBudget { left_bytes, needed_bytes } => {
                write!(
                    f,
                    "link budget: {} MiB left, {} MiB needed",
                    left_bytes / MIB,
                    needed_bytes.div_ceil(MIB)
                )
            }
            Self::ClockOff { by_secs } => {
                write!(f, "the clock is not trusted: it is {by_secs} s from the last signed time")
            }
            Self::StandbySilent { said } => write!(f, "the standby does not serve: {said}"),
            Self::StandingIn { name } => write!(f, "this device stands in for {name}"),
        }
    }
}

/// What the agent waits on.
#[derive(Debug, Clone, PartialEq)]
pub enum WaitingOn {
    /// An order; all is well.
    Orders,
    /// The container engine does not answer.
    Engine,
    /// Reasons not to begin.
    Blockers(Vec<Blocker>),
    /// The next try of something that failed.
    Retry {
        /// What failed and why.
        why: String,
        /// How often it has failed.
        count: u32,
        /// Milliseconds until the next try.
        in_millis: u64,
    },
    /// A hook asked to wait.
    NotNow {
        /// Which, and what it said.
        said: String,
        /// Milliseconds until it is asked again.
        in_millis: u64,
    },
    /// The published ports cannot be looked at.
    Ports {
        /// Why.
        why: String,
    },
    /// A step cannot be looked at.
    Step {
        /// Of which kind.
        kind: Kind,
        /// Why.
        why: String,
    },
    /// What runs is measured, for the comparison afterwards.
    Baseline {
        /// Milliseconds that are left.
        left_millis: u64,
    },
    /// Clients that the old release still serves.
    Draining {
        /// How many connections.
        connections: u32,
        /// Milliseconds until they are cut.
        left_millis: u64,
    },
    /// The new agent must hear from the coordinator before it stays.
    Coordinator {
        /// Milliseconds until the old one is brought back.
        left_millis: u64,
    },
    /// The new release must show that it is well.
    FirstGoodRound {
        /// What the last failed probe said.
        last_failure: Option<String>,
        /// Milliseconds that are left.
        left_millis: u64,
    },
    /// The new release must stay well.
    Probation {
        /// Milliseconds that are left.
        left_millis: u64,
    },
}

impl fmt::Display for WaitingOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Orders => f.write_str("orders"),
            Self::Engine => f.write_str("the container engine, which does not answer"),
            Self::Blockers(blockers) => {
                for (index, blocker) in blockers.iter().enumerate() {
                    if index > 0 {
                        f.write_str("; ")?;
                    }
                    blocker.fmt(f)?;
                }
                Ok(())
            }
            Self::NotNow { said, in_millis } => {
                write!(f, "{said}; asked again in {:.1} s", *in_millis as f64 / 1e3)
            }
            Self::Ports { why } => write!(f, "the published ports, which cannot be looked at: {why}"),
            Self::Step { kind, why } => write!(f, "the {kind} step, which cannot be looked at: {why}"),
            Self::Baseline { left_millis } => {
                write!(f, "the measurement of what runs, {:.1} s left", *left_millis as f64 / 1e3)
            }
            Self::Draining { connections, left_millis } => write!(
                f,
                "{connections} connections that the previous release still serves, {:.1} s left",
                *left_millis as f64 / 1e3
            ),
            Self::Coordinator { left_millis } => write!(
                f,
                "the coordinator, which the new agent must hear from, {:.1} s left",
                *left_millis as f64 / 1e3
            ),
            Self::Retry { why, count, in_millis } => {
                write!(f, "the next try in {:.1} s, after {count} failed: {why}", *in_millis as f64 / 1e3)
            }
            Self::FirstGoodRound { last_failure, left_millis } => {
                write!(f, "the first good round of health checks, {:.1} s left", *left_millis as f64 / 1e3)?;
                last_failure.as_ref().map_or(Ok(()), |failure| write!(f, " (last: {failure})"))
            }
            Self::Probation { left_millis } => {
                write!(f, "probation, {:.1} s left", *left_millis as f64 / 1e3)
            }
        }
    }
}
