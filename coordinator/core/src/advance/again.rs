//! Another attempt for a device that failed before anything was switched there (paper 2, "Operation Decomposition": attempts, bytes and
//! back-off, only for those that failed).

use std::time::Duration;

use takt_common::UnixTime;
use takt_common::digest::Sha256Digest;
use takt_common::report::Outcome;

use crate::campaign::{Campaign, Member};

/// More doublings than any wait has.
const DOUBLINGS_MAX: u32 = 16;
/// The longest wait before another attempt, in seconds.
const WAIT_SECS_MAX: u64 = 86_400;

/// When a device whose order has ended so is tried again; absent when it is not.
pub(crate) fn again_at(
    campaign: &Campaign,
    member: &Member,
    outcome: &Outcome,
    now: UnixTime,
) -> Option<UnixTime> {
    let policy = campaign.request.retry;
    let attempts = member.failed_attempts + 1;
    // What was switched and brought back has failed on that device; a second try of the same is for people to allow.
    let untouched = matches!(outcome, Outcome::Failed { .. });
    let sent = u64::from(attempts + 1).saturating_mul(campaign.release.bytes);
    let too_much = policy.bytes.is_some_and(|most| sent > most);
    let goes_on = campaign.brake.is_none() && member.back.is_none();
    if !untouched || !goes_on || too_much || attempts >= policy.attempts {
        return None;
    }
    let wait = policy.backoff_secs.saturating_mul(1 << (attempts - 1).min(DOUBLINGS_MAX)).min(WAIT_SECS_MAX);
    // Half of it more or less: devices that failed together do not come back together.
    let chance = Sha256Digest::of(format!("{} {attempts}", member.device).as_bytes());
    let permille =
        u64::from(u16::from_be_bytes([chance.as_bytes()[0], chance.as_bytes()[1]])) * 1_000 / 65_536;
    Some(now + Duration::from_secs(wait * (500 + permille) / 1_000))
}
