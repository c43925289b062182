//! Which components a domain follows.

use takt_common::api::FollowSpec;
use takt_common::audit::{What, Who};
use takt_common::{Name, Sha256Digest, UnixTime};
use takt_store::{Batch, StoreJson as _};

use super::{CommitTogether, Happened, PAGE, Registry, RegistryError, keys};

impl Registry {
    /// All that is followed: domain, component and how.
    pub fn followed(&self) -> Result<Vec<(Name, Name, FollowSpec)>, RegistryError> {
        let (mut all, mut after) = (Vec::new(), None::<Vec<u8>>);
        loop {
            let page =
                self.store().scan_json::<FollowSpec>(keys::FOLLOWED.as_bytes(), after.as_deref(), PAGE)?;
            let full = page.len() == PAGE;
            after = page.last().map(|(key, _)| key.clone());
            for (key, spec) in page {
                // Keys are only written here.
                let text = String::from_utf8_lossy(&key[keys::FOLLOWED.len()..]).into_owned();
                let names = text
                    .split_once('/')
                    .and_then(|(domain, component)| Some((domain.parse().ok()?, component.parse().ok()?)));
                all.extend(names.map(|(domain, component)| (domain, component, spec)));
            }
            if !full {
                return Ok(all);
            }
        }
    }

    /// How a domain follows a component, if it does.
    pub fn follow(&self, domain: &Name, component: &Name) -> Result<Option<FollowSpec>, RegistryError> {
        Ok(self.store().get_json(keys::followed(domain, component).as_bytes())?)
    }

    /// Lets a domain follow a component; `None` ends it.
    pub fn set_follow(
        &self,
        domain: &Name,
        component: &Name,
        spec: Option<&FollowSpec>,
        by: Who,
        now: UnixTime,
    ) -> Result<(), RegistryError> {
        let key = keys::followed(domain, component);
        let (domain, component) = (domain.clone(), component.clone());
        let (batch, what) = match spec {
            Some(spec) => {
                let bytes = serde_json::to_vec(spec).expect("documents have only text keys");
                let sha256 = Sha256Digest::of(&bytes);
                (Batch::new().put(key, bytes), What::FollowSet { domain, component, sha256 })
            }
            None => (Batch::new().delete(key), What::FollowEnded { domain, component }),
        };
        self.commit(CommitTogether::new(batch).with_entry(Happened::new(now, by, what)))
    }
}
