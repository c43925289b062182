//! A folder of trust documents: `1.root.json`, `1.director.root.json`, `2.targets.json`, `2.snapshot.json`, …

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use takt_common::PublicKey;
use takt_trust::document::DOCUMENT_LENGTH_MAX;
use takt_trust::names::{delegated_file, director_file, root_file, snapshot_file, targets_file};
use takt_trust::{
    Delegation, DelegationRule, DirectorSpec, Document, DocumentError, RoleSpec, RootRule, RootSpec,
    TargetsDocument, TargetsError, pinned_version, pins,
};

use crate::exit::Exit;
use crate::file::{self, FileError};

/// What a document in the folder is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Who may publish.
    Root,
    /// Who may order.
    Director,
    /// What the publishers have published.
    Targets,
    /// What a delegated role has published.
    Delegated(String),
    /// Which targets are the newest.
    Snapshot,
}

impl Role {
    /// The name of the document of `version`.
    pub fn file(&self, version: u64) -> String {
        match self {
            Self::Root => root_file(version),
            Self::Director => director_file(version),
            Self::Targets => targets_file(version),
            Self::Delegated(name) => delegated_file(version, name),
            Self::Snapshot => snapshot_file(version),
        }
    }

    /// Who signs it, for people.
    pub const fn signers(&self) -> &'static str {
        match self {
            Self::Root | Self::Director => "root keys",
            Self::Targets => "publisher keys",
            Self::Delegated(_) => "keys of the delegated role",
            Self::Snapshot => "snapshot keys",
        }
    }
}

/// A trust folder or a document in it is not usable.
#[derive(Debug, thiserror::Error)]
pub enum TrustDirError {
    /// Out of reach.
    #[error(transparent)]
    File(#[from] FileError),
    /// The folder cannot be listed.
    #[error("read the trust folder {}", path.display())]
    List {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// There is no document of a kind that is needed.
    #[error("the trust folder {} has no {example}; make it with: takt trust init", path.display())]
    Missing {
        /// The folder.
        path: PathBuf,
        /// The first file of the kind.
        example: String,
    },
    /// A document is not what its name says.
    #[error("read {}", path.display())]
    Document {
        /// The file.
        path: PathBuf,
        /// Why.
        source: DocumentError,
    },
    /// A document with another version than its name says.
    #[error("{} holds version {found} of a {kind} document", path.display())]
    Misnamed {
        /// The file.
        path: PathBuf,
        /// The type in it.
        kind: String,
        /// The version in it.
        found: u64,
    },
    /// Too few have signed.
    #[error(
        "{} has {valid} of the {threshold} signatures it needs; another holder of the {signers} signs it with: \
         takt {command}",
        path.display()
    )]
    Unsigned {
        /// The file.
        path: PathBuf,
        /// Valid signatures.
        valid: usize,
        /// Needed ones.
        threshold: usize,
        /// Who has to sign.
        signers: &'static str,
        /// How.
        command: &'static str,
    },
    /// The newest snapshot speaks of other targets.
    #[error("{} is not in a snapshot yet; sign with the snapshot key: takt trust sign --key FILE", targets.display())]
    NoSnapshot {
        /// The newest targets.
        targets: PathBuf,
    },
    /// A key that has no part in what is signed.
    #[error("{} (public key {public}) has no role in the trust documents", file.display())]
    Stranger {
        /// The key's file.
        file: PathBuf,
        /// Its public half.
        public: PublicKey,
    },
    /// A key that may sign, but not this.
    #[error("{} (public key {public}) is not one of the {signers} in {root}", file.display())]
    WrongRole {
        /// The key's file.
        file: PathBuf,
        /// Its public half.
        public: PublicKey,
        /// The role.
        signers: &'static str,
        /// The root that says so.
        root: String,
    },
    /// Nobody has delegated it.
    #[error("{} delegates no role '{role}'; delegated are: {known}", targets.display())]
    NotDelegated {
        /// The role.
        role: String,
        /// The newest targets.
        targets: PathBuf,
        /// The roles that are.
        known: String,
    },
    /// A release that its signers must not publish.
    #[error("role '{role}' may not publish {release} of kind '{kind}'; it may: {allowed}")]
    NotCovered {
        /// The role.
        role: String,
        /// The release.
        release: String,
        /// Its kinds.
        kind: String,
        /// Components and kinds that it may.
        allowed: String,
    },
    /// A release would break a promise to devices.
    #[error(transparent)]
    Targets(#[from] TargetsError),
    /// Another change waits for signatures.
    #[error(
        "{} waits for signatures ({valid} of {threshold}) and does not hold {release}; \
         let it be signed and published first, or delete it",
        path.display()
    )]
    OtherPending {
        /// The file.
        path: PathBuf,
        /// Valid signatures.
        valid: usize,
        /// Needed ones.
        threshold: usize,
        /// What was to be signed.
        release: String,
    },
    /// The role cannot be delegated so.
    #[error("the role cannot be delegated so")]
    Delegation(#[from] DelegationRule),
    /// The roots cannot be made of these keys.
    #[error("these keys cannot make a root of trust")]
    Rule(#[from] RootRule),
}

impl TrustDirError {
    /// What the shell gets.
    pub fn exit(&self) -> Exit {
        match self {
            Self::File(FileError::Exists { .. })
            | Self::Unsigned { .. }
            | Self::NoSnapshot { .. }
            | Self::Stranger { .. }
            | Self::WrongRole { .. }
            | Self::NotCovered { .. }
            | Self::Targets(_)
            | Self::OtherPending { .. } => Exit::Refused,
            Self::File(FileError::Write { .. }) => Exit::Failed,
            Self::File(_)
            | Self::List { .. }
            | Self::Missing { .. }
            | Self::Document { .. }
            | Self::Misnamed { .. }
            | Self::NotDelegated { .. }
            | Self::Delegation(_)
            | Self::Rule(_) => Exit::BadInput,
        }
    }
}

/// A folder of trust documents. Its newest root is trusted, because the folder is the publisher's own.
#[derive(Debug, Clone)]
pub struct TrustDir {
    folder: PathBuf,
}

/// A document in the folder.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Its file.
    pub path: PathBuf,
    /// Its version.
    pub version: u64,
    /// Itself.
    pub document: Document,
}

impl Stored {
    /// What it says, where it is a targets document.
    pub fn targets(&self) -> Result<TargetsDocument, TrustDirError> {
        TargetsDocument::from_document(&self.document)
            .map_err(|source| TrustDirError::Document { path: self.path.clone(), source })
    }
}

impl TrustDir {
    /// A folder that holds a root already.
    pub fn open(folder: &Path) -> Result<Self, TrustDirError> {
        let dir = Self { folder: folder.to_owned() };
        dir.root()?;
        Ok(dir)
    }

    /// A folder that must not hold a root yet; makes it when it is not there.
    pub fn create(folder: &Path) -> Result<Self, TrustDirError> {
        file::create_folder(folder)?;
        let path = folder.join(Role::Root.file(1));
        if path.exists() {
            return Err(FileError::Exists { path }.into());
        }
        Ok(Self { folder: folder.to_owned() })
    }

    /// Where a document of the folder is.
    pub fn path(&self, file: &str) -> PathBuf {
        self.folder.join(file)
    }

    /// Writes a document under its role and version.
    pub fn write(&self, role: &Role, document: &Document) -> Result<(), TrustDirError> {
        Ok(file::replace(&self.path(&role.file(document.version())), &document.to_bytes())?)
    }

    /// The newest document of `role`; `None` when there is none.
    pub fn newest(&self, role: &Role) -> Result<Option<Stored>, TrustDirError> {
        let newest = self.versions(role)?.into_iter().max();
        newest.map(|version| self.at(role, version)).transpose()
    }

    /// The document of `role` with this version.
    fn at(&self, role: &Role, version: u64) -> Result<Stored, TrustDirError> {
        let path = self.path(&role.file(version));
        let bytes = file::read_bytes(&path, DOCUMENT_LENGTH_MAX as u64)?;
        let document = Document::from_bytes(&bytes)
            .map_err(|source| TrustDirError::Document { path: path.clone(), source })?;
        if document.version() != version {
            let (kind, found) = (document.kind().to_owned(), document.version());
            return Err(TrustDirError::Misnamed { path, kind, found });
        }
        Ok(Stored { path, version, document })
    }

    /// The newest document of `role`, which must be there.
    pub fn demand(&self, role: &Role) -> Result<Stored, TrustDirError> {
        let missing = || TrustDirError::Missing { path: self.folder.clone(), example: role.file(1) };
        self.newest(role)?.ok_or_else(missing)
    }

    /// What the newest root says.
    pub fn root(&self) -> Result<RootSpec, TrustDirError> {
        let Stored { path, document, .. } = self.demand(&Role::Root)?;
        RootSpec::from_document(&document).map_err(|source| TrustDirError::Document { path, source })
    }

    /// What the newest director root says.
    pub fn director(&self) -> Result<DirectorSpec, TrustDirError> {
        let Stored { path, document, .. } = self.demand(&Role::Director)?;
        DirectorSpec::from_document(&document).map_err(|source| TrustDirError::Document { path, source })
    }

    /// What the newest targets say, signed or not.
    pub fn targets(&self) -> Result<(Stored, TargetsDocument), TrustDirError> {
        let stored = self.demand(&Role::Targets)?;
        let targets = stored.targets()?;
        Ok((stored, targets))
    }

    /// To whom the newest targets delegate, signed or not.
    pub fn delegations(&self) -> Result<Vec<Delegation>, TrustDirError> {
        // Before anything is published nobody delegates.
        let newest = self.newest(&Role::Targets)?;
        newest.map_or_else(|| Ok(Vec::new()), |stored| Ok(stored.targets()?.delegations))
    }

    /// The delegation of a role.
    pub fn delegation(&self, name: &str) -> Result<Delegation, TrustDirError> {
        let all = self.delegations()?;
        let known = all.iter().map(|delegation| delegation.name.as_str()).collect::<Vec<_>>().join(", ");
        let known = if known.is_empty() { "none".to_owned() } else { known };
        let targets = self.demand(&Role::Targets)?.path;
        let missing = || TrustDirError::NotDelegated { role: name.to_owned(), targets, known };
        all.into_iter().find(|delegation| delegation.name == name).ok_or_else(missing)
    }

    /// The roles of what is published: the publishers, delegated roles that have published something, and the snapshot.
    pub fn published(&self) -> Result<Vec<Role>, TrustDirError> {
        let mut roles = vec![Role::Targets];
        for delegation in self.delegations()? {
            let role = Role::Delegated(delegation.name);
            if !self.versions(&role)?.is_empty() {
                roles.push(role);
            }
        }
        roles.push(Role::Snapshot);
        Ok(roles)
    }

    /// The roles of all documents.
    pub fn all(&self) -> Result<Vec<Role>, TrustDirError> {
        Ok([Role::Root, Role::Director].into_iter().chain(self.published()?).collect())
    }

    /// Everything that is or is to be published, of all roles together, as devices will see it.
    pub fn everything(&self) -> Result<TargetsDocument, TrustDirError> {
        let (_, mut all) = self.targets()?;
        for delegation in self.delegations()? {
            if let Some(stored) = self.newest(&Role::Delegated(delegation.name))? {
                for (path, target) in stored.targets()?.targets {
                    all.targets.entry(path).or_insert(target);
                }
            }
        }
        Ok(all)
    }

    /// The newest document of a delegated role that has the signatures it needs.
    pub fn newest_signed(&self, role: &Role) -> Result<Option<Stored>, TrustDirError> {
        let holders = self.role(role)?;
        let mut versions = self.versions(role)?;
        versions.sort_unstable();
        for version in versions.into_iter().rev() {
            let stored = self.at(role, version)?;
            if stored.document.is_signed_by(&holders) {
                return Ok(Some(stored));
            }
        }
        Ok(None)
    }

    /// The exact bytes of the documents that a snapshot names beside the publishers': of each delegated role the newest one that is
    /// signed. One that waits for signatures keeps nobody else from publishing; a role without any signed one does, if devices have seen
    /// documents of it.
    pub fn delegated(&self) -> Result<Vec<(String, Vec<u8>)>, TrustDirError> {
        let mut documents = Vec::new();
        for delegation in self.delegations()? {
            let role = Role::Delegated(delegation.name.clone());
            match self.newest_signed(&role)? {
                Some(stored) => {
                    let bytes = file::read_bytes(&stored.path, DOCUMENT_LENGTH_MAX as u64)?;
                    documents.push((delegation.name, bytes));
                }
                None if self.is_pinned(&delegation.name)? => {
                    return Err(Self::unsigned(&role, &self.demand(&role)?, &delegation.holders));
                }
                None => {}
            }
        }
        Ok(documents)
    }

    /// Whether the newest snapshot names a document of the role.
    fn is_pinned(&self, role: &str) -> Result<bool, TrustDirError> {
        let snapshot = self.newest(&Role::Snapshot)?;
        Ok(snapshot.is_some_and(|snapshot| pinned_version(&snapshot.document, role).is_some()))
    }

    /// The version that the next document of a delegated role has.
    pub fn next_version(&self, name: &str) -> Result<u64, TrustDirError> {
        let newest = self.versions(&Role::Delegated(name.to_owned()))?.into_iter().max().unwrap_or(0);
        let snapshot = self.newest(&Role::Snapshot)?;
        let pinned = snapshot.and_then(|snapshot| pinned_version(&snapshot.document, name)).unwrap_or(0);
        Ok(newest.max(pinned) + 1)
    }

    /// Who must have signed the newest document of `role`: for a root, those whom it names and those whom the one before it names.
    pub fn signers(&self, role: &Role) -> Result<Vec<RoleSpec>, TrustDirError> {
        let mut signers = vec![self.role(role)?];
        let version = self.newest(role)?.map_or(0, |stored| stored.version);
        let before = version.checked_sub(1).filter(|before| *before > 0);
        if let (Role::Root | Role::Director, Some(before)) = (role, before) {
            let Stored { path, document, .. } = self.at(role, before)?;
            let spec = match role {
                Role::Director => DirectorSpec::from_document(&document).map(|spec| spec.root),
                _ => RootSpec::from_document(&document).map(|spec| spec.roles.root),
            };
            signers.push(spec.map_err(|source| TrustDirError::Document { path, source })?);
        }
        Ok(signers)
    }

    /// Who signs documents of `role`, by the newest root.
    pub fn role(&self, role: &Role) -> Result<RoleSpec, TrustDirError> {
        Ok(match role {
            Role::Root => self.root()?.roles.root,
            Role::Director => self.director()?.root,
            Role::Targets => self.root()?.roles.targets,
            Role::Delegated(name) => self.delegation(name)?.holders,
            Role::Snapshot => self.root()?.roles.snapshot,
        })
    }

    /// Whether the key has a part in any document of the folder.
    pub fn holds_role(&self, key: &PublicKey) -> Result<bool, TrustDirError> {
        for role in [Role::Root, Role::Director, Role::Targets, Role::Snapshot] {
            if self.signers(&role)?.iter().any(|spec| spec.keys.contains(key)) {
                return Ok(true);
            }
        }
        Ok(self.delegations()?.iter().any(|delegation| delegation.holders.keys.contains(key)))
    }

    /// The newest documents of `roles` by name, with all roots before, when all have the signatures they need and fit together.
    pub fn complete(&self, roles: &[Role]) -> Result<BTreeMap<String, String>, TrustDirError> {
        let mut documents = BTreeMap::new();
        for role in roles {
            if *role == Role::Snapshot {
                self.check_snapshot()?;
            }
            let stored = match role {
                // One that waits for signatures keeps nobody else from publishing.
                Role::Delegated(name) => match self.newest_signed(role)? {
                    Some(signed) => signed,
                    None if self.is_pinned(name)? => self.demand(role)?,
                    None => continue,
                },
                _ => self.demand(role)?,
            };
            if let Some(spec) =
                self.signers(role)?.into_iter().find(|spec| !stored.document.is_signed_by(spec))
            {
                return Err(Self::unsigned(role, &stored, &spec));
            }
            let Stored { path, version, .. } = stored;
            documents.insert(role.file(version), file::read_text(&path)?);
            if matches!(role, Role::Root | Role::Director) {
                // Whoever has not seen them needs each of them.
                for older in self.versions(role)?.into_iter().filter(|older| *older < version) {
                    let name = role.file(older);
                    let text = file::read_text(&self.path(&name))?;
                    documents.insert(name, text);
                }
            }
        }
        Ok(documents)
    }

    fn unsigned(role: &Role, stored: &Stored, spec: &RoleSpec) -> TrustDirError {
        let command = match role {
            Role::Targets | Role::Delegated(_) => "release sign, or takt trust sign",
            _ => "trust sign",
        };
        TrustDirError::Unsigned {
            path: stored.path.clone(),
            valid: stored.document.valid_signatures(spec).len(),
            threshold: spec.threshold,
            signers: role.signers(),
            command,
        }
    }

    /// Whether the newest snapshot names the newest targets.
    fn check_snapshot(&self) -> Result<(), TrustDirError> {
        let targets = self.demand(&Role::Targets)?;
        let pinned = match self.newest(&Role::Snapshot)? {
            Some(snapshot) => self.pins_newest(&snapshot.document)?,
            None => false,
        };
        if pinned { Ok(()) } else { Err(TrustDirError::NoSnapshot { targets: targets.path }) }
    }

    /// Whether a snapshot names exactly what is to be published.
    pub fn pins_newest(&self, snapshot: &Document) -> Result<bool, TrustDirError> {
        let Some(targets) = self.newest(&Role::Targets)? else { return Ok(false) };
        let bytes = file::read_bytes(&targets.path, DOCUMENT_LENGTH_MAX as u64)?;
        let mut delegated = self.delegated()?.into_iter();
        Ok(pins(snapshot, "targets", &bytes) && delegated.all(|(role, bytes)| pins(snapshot, &role, &bytes)))
    }

    /// The versions of `role` that are there.
    fn versions(&self, role: &Role) -> Result<Vec<u64>, TrustDirError> {
        let list = |source| TrustDirError::List { path: self.folder.clone(), source };
        let mut versions = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(list)? {
            let name = entry.map_err(list)?.file_name();
            let version = name
                .to_str()
                .and_then(|name| name.split_once('.'))
                .and_then(|(version, _)| version.parse().ok());
            // A name such as `01.root.json` is not one of ours.
            versions.extend(version.filter(|&version| name.to_str() == Some(&role.file(version))));
        }
        Ok(versions)
    }
}
