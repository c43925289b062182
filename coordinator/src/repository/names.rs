//! Which files an operator may publish.

use serde::Deserialize;
use takt_trust::delegation::is_role_name;

/// A document by its file name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum DocumentName {
    /// `N.ROLE.json`, the targets of a delegated role; written first, because the snapshot points to it.
    Delegated(String, u64),
    /// `N.targets.json`.
    Targets(u64),
    /// `N.snapshot.json`.
    Snapshot(u64),
    /// `N.root.json`.
    Root(u64),
    /// `N.director.root.json`.
    Director(u64),
}

impl DocumentName {
    pub(super) fn parse(name: &str) -> Option<Self> {
        let (version, rest) = name.split_once('.')?;
        let canonical = !version.starts_with('0') && version.bytes().all(|byte| byte.is_ascii_digit());
        let version = version.parse().ok().filter(|_| canonical)?;
        match rest {
            "targets.json" => Some(Self::Targets(version)),
            "snapshot.json" => Some(Self::Snapshot(version)),
            "root.json" => Some(Self::Root(version)),
            "director.root.json" => Some(Self::Director(version)),
            _ => {
                let role = rest.strip_suffix(".json").filter(|role| is_role_name(role))?;
                Some(Self::Delegated(role.to_owned(), version))
            }
        }
    }
}

/// The version of the snapshot that our own timestamp names.
pub(super) fn snapshot_of_timestamp(bytes: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    struct Timestamp {
        signed: Signed,
    }
    #[derive(Deserialize)]
    struct Signed {
        meta: Meta,
    }
    #[derive(Deserialize)]
    struct Meta {
        #[serde(rename = "snapshot.json")]
        snapshot: Pin,
    }
    #[derive(Deserialize)]
    struct Pin {
        version: u64,
    }
    serde_json::from_slice::<Timestamp>(bytes).ok().map(|timestamp| timestamp.signed.meta.snapshot.version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_canonical_names_of_documents_are_taken() {
        assert_eq!(DocumentName::parse("12.targets.json"), Some(DocumentName::Targets(12)));
        assert_eq!(DocumentName::parse("1.director.root.json"), Some(DocumentName::Director(1)));
        assert_eq!(DocumentName::parse("3.os.json"), Some(DocumentName::Delegated("os".to_owned(), 3)));
        for name in [
            "01.root.json",
            "0.root.json",
            "+1.root.json",
            "root.json",
            "../1.root.json",
            "1.root.json.new",
            "1.timestamp.json",
            "1.os.apps.json",
            "1.Os.json",
            "1..json",
            "",
        ] {
            assert_eq!(DocumentName::parse(name), None, "{name}");
        }
    }
}
