//! Operators beside the first one: a name, and the digest of a token.

use takt_common::audit::{What, Who};
use takt_common::{Name, Sha256Digest, UnixTime};
use takt_store::{Batch, StoreJson as _};

use super::{CommitTogether, Happened, PAGE, Registry, RegistryError, keys};

/// More operators than a fleet has people.
const OPERATORS_MAX: usize = PAGE;

impl Registry {
    /// Keeps a new operator; false when there is one of that name, or there are too many.
    pub fn add_operator(
        &self,
        token: &Sha256Digest,
        name: &Name,
        by: Who,
        now: UnixTime,
    ) -> Result<bool, RegistryError> {
        let operators = self.operators()?;
        if operators.len() >= OPERATORS_MAX || operators.iter().any(|(_, known)| known == name) {
            return Ok(false);
        }
        let key = keys::operator(token);
        let batch = Batch::new().expect(key.as_str(), None).put_json(key, name)?;
        let added = What::OperatorAdded { name: name.clone() };
        self.commit(CommitTogether::new(batch).with_entry(Happened::new(now, by, added)))?;
        Ok(true)
    }

    /// Forgets an operator; false when there is none of that name.
    pub fn remove_operator(&self, name: &Name, by: Who, now: UnixTime) -> Result<bool, RegistryError> {
        let Some((key, _)) = self.operators()?.into_iter().find(|(_, known)| known == name) else {
            return Ok(false);
        };
        let removed = What::OperatorRemoved { name: name.clone() };
        let together = CommitTogether::new(Batch::new().delete(key));
        self.commit(together.with_entry(Happened::new(now, by, removed)))?;
        Ok(true)
    }

    /// The names of all.
    pub fn operator_names(&self) -> Result<Vec<Name>, RegistryError> {
        Ok(self.operators()?.into_iter().map(|(_, name)| name).collect())
    }

    /// Whose token that is.
    pub fn operator_of(&self, token: &Sha256Digest) -> Result<Option<Name>, RegistryError> {
        Ok(self.store().get_json(keys::operator(token).as_bytes())?)
    }

    fn operators(&self) -> Result<Vec<(Vec<u8>, Name)>, RegistryError> {
        Ok(self.store().scan_json(keys::OPERATORS.as_bytes(), None, OPERATORS_MAX)?)
    }
}
