//! What all agents share: the way to the coordinator's documents, what has been verified of them, and the counters.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use takt_agent::fetch::Client;
use takt_agent::sentence;
use takt_agent_core::Policy;
use takt_common::order::SnapshotRef;
use takt_common::release::{MANIFEST_LENGTH_MAX, Manifest};
use takt_common::{Name, Sha256Digest, UnixTime};
use takt_trust::{DirectorTrust, Need, PackageTrust};
use tokio::sync::Mutex;

use crate::clock::Uptime;
use crate::error::DocumentError;
use crate::tally::Tally;
use crate::trust::{Trust, refused};

/// In so many parts the share of ill devices is counted.
const SHARES: u64 = 10_000;

/// What agents share.
pub(crate) struct Site {
    pub(crate) tally: Tally,
    pub(crate) uptime: Uptime,
    pub(crate) policy: Policy,
    pub(crate) hardware: Name,
    pub(crate) health_interval: Duration,
    pub(crate) fetch: Range<Duration>,
    client: Client,
    trust: RwLock<Trust>,
    manifests: RwLock<BTreeMap<Sha256Digest, Manifest>>,
    /// Who fetches holds it: the others find then what they need.
    fetching: Mutex<()>,
    /// How many of [`SHARES`] devices find every new release ill.
    ill: AtomicU64,
    /// How often a device that has nothing to tell reports all the same, in microseconds; 0 for never.
    beat: AtomicU64,
}

impl Site {
    /// With the roots of the enrolment and nothing below them.
    pub(crate) fn new(
        client: Client,
        (package, director): (PackageTrust, DirectorTrust),
        hardware: Name,
        health_interval: Duration,
        fetch: Range<Duration>,
    ) -> Self {
        Self {
            tally: Tally::default(),
            uptime: Uptime::begin(),
            policy: Policy::default(),
            hardware,
            health_interval,
            fetch,
            client,
            trust: RwLock::new(Trust { package, director }),
            manifests: RwLock::default(),
            fetching: Mutex::default(),
            ill: AtomicU64::new(0),
            beat: AtomicU64::new(0),
        }
    }

    /// What has been verified. Nobody holds it over an await.
    pub(crate) fn trust(&self) -> RwLockReadGuard<'_, Trust> {
        // Trust is changed by one assignment, so it is whole whatever has happened elsewhere.
        self.trust.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets this share of devices, from 0 to 1, find every new release ill from now on.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Bounded just before.
    pub(crate) fn let_be_ill(&self, share: f64) {
        self.ill.store((share.clamp(0.0, 1.0) * SHARES as f64).round() as u64, Ordering::Relaxed);
    }

    /// Lets every device report so often although it has nothing to tell, from its next health sample on.
    pub(crate) fn let_beat(&self, every: Option<Duration>) {
        let micros = every.map_or(0, |every| u64::try_from(every.as_micros()).unwrap_or(u64::MAX));
        self.beat.store(micros, Ordering::Relaxed);
    }

    /// How often that is.
    pub(crate) fn beat(&self) -> Option<Duration> {
        Some(self.beat.load(Ordering::Relaxed)).filter(|micros| *micros > 0).map(Duration::from_micros)
    }

    /// Whether the device with this number is one of them; they are spread evenly.
    pub(crate) fn is_ill(&self, number: u64) -> bool {
        is_among(number, self.ill.load(Ordering::Relaxed))
    }

    /// The manifest with this digest, if anybody has fetched it.
    pub(crate) fn manifest(&self, sha256: &Sha256Digest) -> Option<Manifest> {
        self.manifests.read().unwrap_or_else(PoisonError::into_inner).get(sha256).cloned()
    }

    /// Fetches the manifest with this digest, unless somebody has.
    pub(crate) async fn fetch_manifest(&self, sha256: &Sha256Digest) -> Result<(), String> {
        let _alone = self.fetching.lock().await;
        if self.manifest(sha256).is_some() {
            return Ok(());
        }
        let path = format!("/api/v1/artifacts/{sha256}");
        let fetched = self.client.get_small(&path, MANIFEST_LENGTH_MAX).await;
        let bytes = fetched.map_err(|error| sentence(&error))?.ok_or("it is not there")?;
        if Sha256Digest::of(&bytes) != *sha256 {
            return Err("its digest is another one".to_owned());
        }
        let manifest = Manifest::from_bytes(&bytes).map_err(|error| sentence(&error))?;
        self.manifests.write().unwrap_or_else(PoisonError::into_inner).insert(*sha256, manifest);
        Ok(())
    }

    /// Looks for a director root newer than that of `epoch`, unless one has been found.
    pub(crate) async fn refresh_director(&self, epoch: u64) -> Result<(), DocumentError> {
        let _alone = self.fetching.lock().await;
        let known = self.trust().director.clone();
        if known.epoch() > epoch {
            return Ok(());
        }
        let refused = refused("director root");
        let mut refresh = known.begin_refresh();
        while let Some(need) = refresh.need() {
            refresh.provide(self.document(need).await?).map_err(&refused)?;
        }
        let director = refresh.finish().map_err(refused)?;
        self.trust.write().unwrap_or_else(PoisonError::into_inner).director = director;
        Ok(())
    }

    /// Looks at the package repository anew, unless what is on hand is fresh and at least `wanted`.
    pub(crate) async fn refresh_package(
        &self,
        wanted: SnapshotRef,
        now: UnixTime,
    ) -> Result<(), DocumentError> {
        let _alone = self.fetching.lock().await;
        let known = {
            let trust = self.trust();
            if trust.knows(wanted) && trust.check_fresh(now).is_ok() {
                return Ok(());
            }
            trust.package.clone()
        };
        let mut refresh = known.begin_refresh(now);
        let mut failure = None;
        while let Some(need) = refresh.need() {
            if let Err(error) = refresh.provide(self.document(need).await?) {
                failure = Some(error);
                break;
            }
        }
        // A newer root counts at once, even when what stands below it is refused.
        let package = if failure.is_none() { refresh.finish() } else { refresh.keep_root() };
        let refused = refused("package repository");
        let package = package.map_err(&refused)?;
        self.trust.write().unwrap_or_else(PoisonError::into_inner).package = package;
        failure.map_or(Ok(()), |error| Err(refused(error)))
    }

    /// A document of the package repository; `None` when the coordinator says that there is none.
    async fn document(&self, need: Need) -> Result<Option<Vec<u8>>, DocumentError> {
        let path = format!("/api/v1/repository/{}", need.name);
        let fetched = self.client.get_small(&path, need.length_max).await;
        fetched.map_err(|error| DocumentError::Unreachable { document: need.name, why: sentence(&error) })
    }
}

/// Whether `number` is one of `some` in each [`SHARES`] numbers, which are spread evenly.
const fn is_among(number: u64, some: u64) -> bool {
    (number + 1) * some / SHARES > number * some / SHARES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_numbers_is_spread_evenly() {
        let among =
            |range: std::ops::Range<u64>, some| range.filter(|number| is_among(*number, some)).count();
        assert_eq!((among(0..1_000, 0), among(0..1_000, SHARES)), (0, 1_000));
        for begin in [0, 100, 900] {
            assert_eq!(among(begin..begin + 100, SHARES / 50), 2, "two of each hundred from {begin}");
        }
    }
}
