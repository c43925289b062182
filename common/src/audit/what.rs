//! What an entry tells. Secrets stand in none: an enrolment token is named by the beginning of the digest of its secret, and documents by
//! their digests.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::api::CampaignState;
use crate::digest::Sha256Digest;
use crate::id::{DeviceId, Name};
use crate::order::Position;
use crate::release::ReleaseId;
use crate::time::UnixTime;

/// Longer texts in entries are cut.
pub const TEXT_CHARS_MAX: usize = 300;

/// What was done or decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "do", deny_unknown_fields)]
pub enum What {
    /// An enrolment token was made.
    TokenMade {
        /// The first 16 hex digits of the SHA-256 of its secret.
        token: String,
        /// Where devices belong that enrol with it.
        domain: Name,
        /// How many devices may use it.
        uses: u32,
        /// Until when.
        not_after: UnixTime,
    },
    /// A device enrolled, or enrolled again.
    DeviceEnrolled {
        /// Its id.
        device: DeviceId,
        /// Its name.
        name: Name,
        /// Its domain.
        domain: Name,
        /// With which token.
        token: String,
        /// It was known before.
        again: bool,
    },
    /// A device is asked to begin nothing any more.
    DeviceQuarantined {
        /// Its id.
        device: DeviceId,
        /// Its name.
        name: Name,
        /// Why.
        why: String,
    },
    /// A quarantine has ended.
    DeviceReleased {
        /// Its id.
        device: DeviceId,
        /// Its name.
        name: Name,
    },
    /// A device is not let in any more.
    DeviceRevoked {
        /// Its id.
        device: DeviceId,
        /// Its name.
        name: Name,
        /// Why.
        why: String,
    },
    /// A revoked device is let in again.
    DeviceReinstated {
        /// Its id.
        device: DeviceId,
        /// Its name.
        name: Name,
    },
    /// The enrolment of a device was approved.
    DeviceApproved {
        /// Its id.
        device: DeviceId,
        /// Its name.
        name: Name,
    },
    /// A device has left the fleet for ever.
    DeviceDecommissioned {
        /// Its id.
        device: DeviceId,
        /// The name that it had.
        name: Name,
    },
    /// Somebody has got a token of an operator.
    OperatorAdded {
        /// Who.
        name: Name,
    },
    /// The token of an operator is good for nothing any more.
    OperatorRemoved {
        /// Who.
        name: Name,
    },
    /// The graph of a domain was set.
    GraphSet {
        /// Whose.
        domain: Name,
        /// Of the document as it is stored.
        sha256: Sha256Digest,
    },
    /// The redundancy matrix of a domain was set.
    DrmSet {
        /// Whose.
        domain: Name,
        /// Of the document as it is stored.
        sha256: Sha256Digest,
    },
    /// The schedule of a domain was set.
    ScheduleSet {
        /// Whose.
        domain: Name,
        /// Of the document as it is stored.
        sha256: Sha256Digest,
    },
    /// The schedule of a domain was taken away.
    ScheduleCleared {
        /// Whose.
        domain: Name,
    },
    /// A domain follows a component.
    FollowSet {
        /// Which domain.
        domain: Name,
        /// What.
        component: Name,
        /// Of the document that says how, as it is stored.
        sha256: Sha256Digest,
    },
    /// A domain does not follow a component any more.
    FollowEnded {
        /// Which domain.
        domain: Name,
        /// What.
        component: Name,
    },
    /// Roots, targets or snapshots were found good, and are published with this.
    Published {
        /// The digests of their exact bytes, by name.
        documents: BTreeMap<String, Sha256Digest>,
    },
    /// A campaign began.
    CampaignStarted {
        /// Its name.
        campaign: Name,
        /// To which release.
        release: ReleaseId,
        /// Whose devices.
        domain: Name,
        /// How many there are at its begin.
        devices: u64,
        /// Of what was asked for, as compact JSON.
        request: Sha256Digest,
    },
    /// A campaign was controlled.
    CampaignControlled {
        /// Its name.
        campaign: Name,
        /// How.
        control: Control,
    },
    /// A campaign went on.
    CampaignStepped(Box<Stepped>),
}

/// What is done to a campaign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Control {
    /// Held.
    Pause,
    /// Let go on.
    Resume,
    /// Stopped.
    Abort,
    /// Approved.
    Approve,
    /// Closed.
    Close,
    /// Tried again with the devices that failed.
    Retry,
}

/// One step of a campaign: what was decided, on what, and the orders that follow from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stepped {
    /// Its name.
    pub campaign: Name,
    /// The state that it is in now.
    pub state: CampaignState,
    /// Why.
    pub reason: String,
    /// How many devices it has.
    pub devices: u64,
    /// How many of them have ended.
    pub ended: u64,
    /// What was decided of the campaign as a whole, in its words; at most eight sentences.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub decided: Vec<String>,
    /// How many lines this step has added to the campaign's timeline, those of single devices among them.
    pub events: u64,
    /// The orders that were issued with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub orders: Option<IssuedOrders>,
    /// What it was decided on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inputs: Option<StepInputs>,
}

/// Orders of one step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssuedOrders {
    /// How many.
    pub count: u64,
    /// The lowest position of them; each device counts its own.
    pub lowest: Position,
    /// The highest.
    pub highest: Position,
    /// Over a line `DEVICE DIGEST` for each, in the order in which they were signed; the digest is that of the order's payload, which
    /// devices name in their reports.
    pub sha256: Sha256Digest,
}

/// What a step was decided on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepInputs {
    /// Of graph, redundancy matrix and schedule of the domain.
    pub rules: Sha256Digest,
    /// How many devices the coordinator knew.
    pub known: u64,
    /// For how many further orders there was room.
    pub room: u64,
    /// How long the coordinator took for a report, in milliseconds, where that was known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_millis: Option<u64>,
    /// The last fencing token before it.
    pub lease: u64,
}

impl What {
    /// How entries call the token with this secret's digest.
    pub fn token_name(secret: &Sha256Digest) -> String {
        secret.to_string().chars().take(16).collect()
    }
}

/// `text` as it stands in entries.
pub fn cut(text: &str) -> String {
    text.chars().take(TEXT_CHARS_MAX).collect()
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TokenMade { token, domain, uses, not_after } => {
                write!(f, "made token {token} for {uses} devices of domain {domain}, good until {not_after}")
            }
            Self::DeviceEnrolled { device, name, domain, token, again } => {
                let again = if *again { " again" } else { "" };
                write!(f, "enrolled{again} as {name} ({device}) in domain {domain} with token {token}")
            }
            Self::DeviceQuarantined { name, why, .. } => write!(f, "put {name} into quarantine: {why}"),
            Self::DeviceReleased { name, .. } => write!(f, "ended the quarantine of {name}"),
            Self::DeviceRevoked { name, why, .. } => write!(f, "revoked {name}: {why}"),
            Self::DeviceReinstated { name, .. } => write!(f, "let {name} in again"),
            Self::DeviceApproved { name, .. } => write!(f, "approved the enrolment of {name}"),
            Self::DeviceDecommissioned { name, .. } => write!(f, "decommissioned {name}"),
            Self::OperatorAdded { name } => write!(f, "added operator {name}"),
            Self::OperatorRemoved { name } => write!(f, "removed operator {name}"),
            Self::GraphSet { domain, .. } => write!(f, "set the graph of domain {domain}"),
            Self::DrmSet { domain, .. } => write!(f, "set the redundancy matrix of domain {domain}"),
            Self::ScheduleSet { domain, .. } => write!(f, "set the schedule of domain {domain}"),
            Self::ScheduleCleared { domain } => write!(f, "cleared the schedule of domain {domain}"),
            Self::FollowSet { domain, component, .. } => {
                write!(f, "let domain {domain} follow {component}")
            }
            Self::FollowEnded { domain, component } => {
                write!(f, "let domain {domain} follow {component} no more")
            }
            Self::Published { documents } => {
                let names: Vec<&str> = documents.keys().map(String::as_str).collect();
                write!(f, "published {}", names.join(", "))
            }
            Self::CampaignStarted { campaign, release, domain, devices, .. } => {
                write!(f, "started campaign {campaign}: {release} for {devices} devices of domain {domain}")
            }
            Self::CampaignControlled { campaign, control } => {
                let did = match control {
                    Control::Pause => "paused",
                    Control::Resume => "resumed",
                    Control::Abort => "aborted",
                    Control::Approve => "approved",
                    Control::Close => "closed",
                    Control::Retry => "retried",
                };
                write!(f, "{did} campaign {campaign}")
            }
            Self::CampaignStepped(stepped) => stepped.fmt(f),
        }
    }
}

impl fmt::Display for Stepped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { campaign, reason, devices, ended, decided, orders, .. } = self;
        write!(f, "campaign {campaign}: {ended} of {devices} devices ended")?;
        if let Some(IssuedOrders { count, lowest, highest, .. }) = orders {
            write!(f, "; {count} orders issued, {lowest} to {highest}")?;
        }
        match decided.last() {
            Some(last) => write!(f, "; {last}"),
            None => write!(f, "; {reason}"),
        }
    }
}
