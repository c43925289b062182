//! Operators beside the first one: a name, and the digest of a token.

use takt_common::{Name, Sha256Digest};
use takt_store::{Batch, StoreJson as _};

use super::{PAGE, Registry, RegistryError, keys};

/// More operators than a fleet has people.
const OPERATORS_MAX: usize = PAGE;

impl Registry {
    /// Keeps a new operator; false when there is one of that name, or there are too many.
    pub fn add_operator(&self, token: &Sha256Digest, name: &Name) -> Result<bool, RegistryError> {
        let operators = self.operators()?;
        if operators.len() >= OPERATORS_MAX || operators.iter().any(|(_, known)| known == name) {
            return Ok(false);
        }
        let key = keys::operator(token);
        self.commit_batch(Batch::new().expect(key.as_str(), None).put_json(key, name)?)?;
        Ok(true)
    }

    /// Forgets an operator; false when there is none of that name.
    pub fn remove_operator(&self, name: &Name) -> Result<bool, RegistryError> {
        let Some((key, _)) = self.operators()?.into_iter().find(|(_, known)| known == name) else {
            return Ok(false);
        };
        self.commit_batch(Batch::new().delete(key))?;
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
