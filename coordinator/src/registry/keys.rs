//! The keys of the store. Ids and names hold no slash, so no key is the beginning of a foreign one.

use takt_common::{DeviceId, Name, Sha256Digest};

/// All devices.
pub(super) const DEVICES: &str = "device/";
/// All campaigns.
pub(super) const CAMPAIGNS: &str = "campaign/";
/// All operators but the first.
pub(super) const OPERATORS: &str = "operator/";
/// All that is followed.
pub(super) const FOLLOWED: &str = "follow/";
/// All entries of the audit log.
pub(super) const AUDIT_ENTRIES: &str = "audit/";
/// Where the audit log ends.
pub(super) const AUDIT_END: &str = "audit-end";
/// The last fencing token that a takeover got.
pub(super) const LEASE: &str = "lease";
/// When the coordinator was there last.
pub(super) const THERE: &str = "there";
/// All enrolment tokens.
pub(super) const TOKENS: &str = "token/";

pub(super) fn device(id: DeviceId) -> String {
    format!("{DEVICES}{id}")
}

/// Who has a name in a domain.
pub(super) fn name(domain: &Name, name: &Name) -> String {
    format!("name/{domain}/{name}")
}

/// The last order issued to a device, as the envelope that travels.
pub(super) fn order(id: DeviceId) -> String {
    format!("order/{id}")
}

pub(super) fn reports(id: DeviceId) -> String {
    format!("report/{id}/")
}

/// Wide enough that keys stand in the order of their numbers.
pub(super) fn report(id: DeviceId, sequence: u64) -> String {
    format!("{}{sequence:020}", reports(id))
}

pub(super) fn campaign(name: &Name) -> String {
    format!("{CAMPAIGNS}{name}")
}

pub(super) fn campaign_sheets(name: &Name) -> String {
    format!("campaign-sheet/{name}/")
}

/// A sheet of a campaign, as the revision has written it.
pub(super) fn campaign_sheet(name: &Name, sheet: &str, revision: u64) -> String {
    format!("{}{sheet}/{revision}", campaign_sheets(name))
}

pub(super) fn graph(domain: &Name) -> String {
    format!("graph/{domain}")
}

pub(super) fn drm(domain: &Name) -> String {
    format!("drm/{domain}")
}

pub(super) fn schedule(domain: &Name) -> String {
    format!("schedule/{domain}")
}

pub(super) fn loads(id: DeviceId) -> String {
    format!("load/{id}/")
}

/// A day, counted from 1970, wide enough that keys stand in the order of time.
pub(super) fn load(id: DeviceId, day: u64) -> String {
    format!("{}{day:08}", loads(id))
}

pub(super) fn peers(id: DeviceId) -> String {
    format!("peers/{id}/")
}

/// A day, as of loads.
pub(super) fn peers_of_day(id: DeviceId, day: u64) -> String {
    format!("{}{day:08}", peers(id))
}

pub(super) fn followed(domain: &Name, component: &Name) -> String {
    format!("{FOLLOWED}{domain}/{component}")
}

/// An operator, by the digest of the token.
pub(super) fn operator(token: &Sha256Digest) -> String {
    format!("{OPERATORS}{token}")
}

/// An entry, by its number, wide enough that keys stand in its order.
pub(super) fn audit_entry(number: u64) -> String {
    format!("{AUDIT_ENTRIES}{number:020}")
}

pub(super) fn token(secret: &Sha256Digest) -> String {
    format!("{TOKENS}{secret}")
}
