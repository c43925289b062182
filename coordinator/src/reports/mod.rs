//! Takes what devices say: verifies it, judges the chain of reports, makes it durable, and prepares the signed
//! acknowledgement.

mod chain;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU64, Ordering};

use serde::de::DeserializeOwned;
use takt_common::audit::{What, Who, cut};
use takt_common::envelope::{EnvelopeError, PayloadType, Signers};
use takt_common::health::HealthSample;
use takt_common::report::{Ack, REPORT_FORMAT, Report};
use takt_common::strict_json::{self, StrictJsonError};
use takt_common::{DeviceId, Envelope, Sha256Digest, SigningKey, UnixTime};
use takt_store::Batch;

use crate::registry::{Change, CommitTogether, DeviceRecord, Happened, Registry, RegistryError};
use chain::{Link, Verdict};

/// What a device says is not taken.
#[derive(Debug, thiserror::Error)]
pub enum Nonsense {
    /// Not signed by the device, or no envelope at all.
    #[error("its envelope is refused")]
    Envelope(#[from] EnvelopeError),
    /// Signed, but not what was expected.
    #[error("its content is unreadable")]
    Content(#[from] StrictJsonError),
    /// Signed by one device and speaking for another.
    #[error("it speaks for device {0}")]
    Other(DeviceId),
    /// From another version of the agent.
    #[error("it has format {0}, this version reads {REPORT_FORMAT}")]
    Format(u32),
    /// The device is not enrolled any more.
    #[error("the device is not enrolled")]
    Unknown,
}

/// What became of a report.
#[derive(Debug)]
pub enum Taken {
    /// It is durable, now or since before; this is the signed acknowledgement.
    Durable(Vec<u8>),
    /// It will never become better.
    Nonsense(Nonsense),
}

/// Counts what was not taken; logs the first and then ever more rarely.
#[derive(Debug, Default)]
pub struct NonsenseCount(AtomicU64);

impl NonsenseCount {
    /// Counts one.
    pub fn note(&self, device: DeviceId, nonsense: &Nonsense) {
        let count = self.0.fetch_add(1, Ordering::Relaxed) + 1;
        // Powers of two: a device that sends nothing else cannot fill the log.
        if count.is_power_of_two() {
            let why: &dyn std::error::Error = nonsense;
            tracing::warn!(%device, count, why, "message of a device ignored");
        }
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Takes a report of `device`. Blocks until it is durable.
pub fn take_report(
    registry: &Registry,
    order_key: &SigningKey,
    device: DeviceId,
    envelope: &[u8],
    now: UnixTime,
) -> Result<Taken, RegistryError> {
    let Some(record) = registry.devices().get(device) else { return Ok(Taken::Nonsense(Nonsense::Unknown)) };
    let (report, digest) = match read_report(&record, envelope) {
        Ok(read) => read,
        Err(nonsense) => return Ok(Taken::Nonsense(nonsense)),
    };
    let last = registry.change(device, |record| {
        let known = record.head.as_ref().is_some_and(|head| report.sequence <= head.sequence);
        let kept = if known { kept_digest(registry, device, report.sequence)? } else { None };
        let link = Link { sequence: report.sequence, digest, previous: report.previous_report_digest };
        let verdict = chain::judge(record.head.as_ref(), kept, &link);
        if let (Verdict::Duplicate, Some(head)) = (verdict, &record.head) {
            return Ok(Change::Nothing((head.sequence, head.nonce.clone())));
        }
        let mut changed = record.clone();
        let head = record.head.as_ref();
        // Whoever enrols again with its key was let in by an operator's token.
        let expected = verdict == Verdict::Restart && record.enrolled_again;
        changed.enrolled_again = false;
        let warning = verdict.warning(head.map(|head| head.sequence), report.sequence);
        if let Some(warning) = warning.filter(|_| !expected) {
            tracing::warn!(device = %record.state.name, %warning, "chain of reports broken");
            changed.warn(&warning);
            // Two that sign as one, or one that does not know what it has said: nobody knows what an order would do there.
            if matches!(verdict, Verdict::Restart | Verdict::Fork) {
                tracing::error!(device = %record.state.name, %warning, "device is put into quarantine");
                changed.quarantine(&warning, now);
            }
        }
        if matches!(verdict, Verdict::Restart | Verdict::Fork) {
            changed.forget_acceptance();
        }
        let begins = head.is_none() || verdict == Verdict::Restart;
        let first = head.filter(|_| !begins).map_or(digest, |head| head.first);
        changed.record_report(&report, digest, first, now);
        let abandoned = abandoned(registry, device, head.map(|head| head.sequence), report.sequence)?;
        let together =
            CommitTogether::new(Batch::new()).with_report(device, report.sequence, &abandoned, envelope);
        let put = changed.state.quarantine.as_ref().filter(|_| record.state.quarantine.is_none());
        let together = match put {
            Some(quarantine) => {
                let (name, why) = (changed.state.name.clone(), cut(&quarantine.why));
                let quarantined = What::DeviceQuarantined { device, name, why };
                together.with_entry(Happened::new(now, Who::Coordinator, quarantined))
            }
            None => together,
        };
        Ok(Change::To(Box::new(changed), together, (report.sequence, report.nonce.clone())))
    })?;
    Ok(match last {
        Some((sequence, nonce)) => {
            let ack = Ack { device, sequence, nonce, time: now };
            let payload = serde_json::to_vec(&ack).expect("an acknowledgement has only text keys");
            Taken::Durable(Envelope::seal(PayloadType::Ack, &payload, &[order_key]).to_bytes())
        }
        None => Taken::Nonsense(Nonsense::Unknown),
    })
}

/// Reads a health sample of `device`.
pub fn read_health(registry: &Registry, device: DeviceId, envelope: &[u8]) -> Result<HealthSample, Nonsense> {
    let record = registry.devices().get(device).ok_or(Nonsense::Unknown)?;
    let (sample, _): (HealthSample, _) = read(&record, PayloadType::Health, envelope)?;
    if sample.device == device { Ok(sample) } else { Err(Nonsense::Other(sample.device)) }
}

/// Verifies and reads a report of the device of `record`.
pub fn read_report(record: &DeviceRecord, envelope: &[u8]) -> Result<(Report, Sha256Digest), Nonsense> {
    let (report, digest): (Report, _) = read(record, PayloadType::Report, envelope)?;
    if report.device != record.state.id {
        return Err(Nonsense::Other(report.device));
    }
    if report.format != REPORT_FORMAT {
        return Err(Nonsense::Format(report.format));
    }
    Ok((report, digest))
}

/// The content that the device's own key has signed, with the digest of its exact bytes.
fn read<T: DeserializeOwned>(
    record: &DeviceRecord,
    kind: PayloadType,
    envelope: &[u8],
) -> Result<(T, Sha256Digest), Nonsense> {
    let signers =
        Signers { role: format!("device {}", record.state.name), keys: vec![record.key], threshold: 1 };
    let payload = Envelope::from_bytes(envelope)?.open(kind, &signers)?;
    let content = strict_json::from_slice(&payload, takt_common::envelope::ENVELOPE_LENGTH_MAX)?;
    Ok((content, Sha256Digest::of(&payload)))
}

/// Digest of the kept report with this number, if one is kept; none is above the end of the chain.
fn kept_digest(
    registry: &Registry,
    device: DeviceId,
    sequence: u64,
) -> Result<Option<Sha256Digest>, RegistryError> {
    let kept = registry.report_envelope(device, sequence)?;
    let payload = kept.and_then(|bytes| Envelope::from_bytes(&bytes).ok()?.unverified_payload());
    Ok(payload.map(|payload| Sha256Digest::of(&payload)))
}

/// Kept reports of a chain that was left: those above the new end.
fn abandoned(
    registry: &Registry,
    device: DeviceId,
    head: Option<u64>,
    sequence: u64,
) -> Result<Vec<u64>, RegistryError> {
    if head.is_none_or(|head| sequence > head) {
        return Ok(Vec::new());
    }
    Ok(registry.report_numbers(device)?.into_iter().filter(|number| *number > sequence).collect())
}
