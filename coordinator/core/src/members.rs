//! The devices of a campaign, shared between one state of it and the next: a step copies those that it changes, and no others.

use std::ops::{Deref, Index, IndexMut};
use std::slice;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::campaign::Member;

/// The devices, in upgrade order.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Members(Vec<Shared>);

/// A device as several states of a campaign may have it.
#[derive(Debug, Clone)]
pub(crate) struct Shared(Arc<Member>);

type Iter<'a> = std::iter::Map<slice::Iter<'a, Shared>, fn(&'a Shared) -> &'a Member>;

impl Members {
    pub(crate) const fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn iter(&self) -> Iter<'_> {
        self.0.iter().map(|shared| shared)
    }

    /// Those for which `which` is true, to be changed.
    pub(crate) fn change(&mut self, which: impl Fn(&Member) -> bool) -> impl Iterator<Item = &mut Member> {
        self.0.iter_mut().filter(move |shared| which(shared)).map(|shared| Arc::make_mut(&mut shared.0))
    }

    pub(crate) fn push(&mut self, member: Member) {
        self.0.push(Shared(Arc::new(member)));
    }

    pub(crate) fn append(&mut self, mut other: Self) {
        self.0.append(&mut other.0);
    }

    pub(crate) fn retain(&mut self, which: impl Fn(&Member) -> bool) {
        self.0.retain(|shared| which(shared));
    }

    pub(crate) fn as_slice(&self) -> &[Shared] {
        &self.0
    }
}

impl Index<usize> for Members {
    type Output = Member;

    fn index(&self, index: usize) -> &Member {
        &self.0[index]
    }
}

impl IndexMut<usize> for Members {
    fn index_mut(&mut self, index: usize) -> &mut Member {
        Arc::make_mut(&mut self.0[index].0)
    }
}

impl<'a> IntoIterator for &'a Members {
    type Item = &'a Member;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl Deref for Shared {
    type Target = Member;

    fn deref(&self) -> &Member {
        &self.0
    }
}

impl PartialEq for Shared {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

impl Serialize for Shared {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (**self).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Shared {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(Arc::new(Member::deserialize(deserializer)?)))
    }
}
