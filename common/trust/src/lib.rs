//! Trust documents: what may run (a TUF repository) and who may order it (the director root).
//!
//! Two halves share the types in the middle:
//!
//! ```text
//!   sign (publisher, coordinator)            verify (device, coordinator, CLI)
//!   RootSpec, DirectorSpec ----> Document ----> PackageTrust, DirectorTrust
//!   TargetsDocument, snapshot_for, timestamp_for     begin_refresh, need, provide, finish
//! ```
//!
//! Both kinds of root are walked by one `walk`, every repository is read by one `visit`; [`client`] reads those of others.
//!
//! Nothing here does I/O, reads a clock or makes random numbers: bytes and `now` are arguments.
//! Signed texts are TUF 1.0.31 metadata with canonical JSON, so other TUF clients can read them. Takt adds its own
//! rules for roots on top ([`rules`]): Ed25519 only, key ids that are computed and not declared, a purpose in every
//! root, and no weak keys.

pub mod author;
pub mod client;
pub mod delegation;
pub mod document;
pub mod error;
pub mod names;
pub mod provider;
pub mod refresh;
pub mod root;
pub mod rules;
pub mod stored;
pub mod targets;

mod director;
mod member;
mod package;
mod visit;
mod walk;

pub use author::{pinned_version, pins, snapshot_for, timestamp_for};
pub use client::{TufDocuments, TufRefresh, TufSearch, TufTarget, TufTargets};
pub use delegation::{Delegation, DelegationRule};
pub use director::{DirectorRefresh, DirectorTrust};
pub use document::{Document, DocumentError};
pub use error::TrustError;
pub use member::MemberError;
pub use package::{PackageTrust, VerifiedTarget};
pub use refresh::{Need, Refresh};
pub use root::{DirectorSpec, PackageRoles, RootSpec};
pub use rules::{RoleSpec, RootRule};
pub use stored::{StoredDirector, StoredTrust};
pub use targets::{
    ArtifactCustom, ManifestCustom, Release, Target, TargetCustom, TargetsDocument, TargetsError,
};
