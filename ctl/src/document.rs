//! Documents as people write them: one file, as JSON or as TOML.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use crate::file::{self, FileError, SyntaxError};

/// A document is not usable.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// Out of reach.
    #[error("read the {what}")]
    File {
        /// What was to be read.
        what: &'static str,
        /// Why not.
        source: FileError,
    },
    /// Its name does not end with a form that is known.
    #[error("the {what} {}: a name ending in .json or .toml is expected", path.display())]
    Form {
        /// What was to be read.
        what: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// Not JSON as expected.
    #[error("read the {what} {}", path.display())]
    Json {
        /// What was to be read.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// Not TOML as expected.
    #[error("read the {what} {}", path.display())]
    Toml {
        /// What was to be read.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: SyntaxError,
    },
}

/// Reads a document, in the form that its name tells. `what` names it in errors.
pub fn read<T: DeserializeOwned>(what: &'static str, path: &Path) -> Result<T, DocumentError> {
    let owned = || path.to_owned();
    let text = file::read_text(path).map_err(|source| DocumentError::File { what, source })?;
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("json") => {
            serde_json::from_str(&text).map_err(|source| DocumentError::Json { what, path: owned(), source })
        }
        Some("toml") => {
            file::from_toml(&text).map_err(|source| DocumentError::Toml { what, path: owned(), source })
        }
        _ => Err(DocumentError::Form { what, path: owned() }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn both_forms_are_read_and_others_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let read = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            read::<Value>("list", &path)
        };
        assert_eq!(read("a.json", r#"{"a":[1]}"#).unwrap(), read("a.toml", "a = [1]").unwrap());
        assert!(matches!(read("b.json", "{"), Err(DocumentError::Json { .. })));
        assert!(matches!(read("b.toml", "{"), Err(DocumentError::Toml { .. })));
        let error = read("b.csv", "").unwrap_err();
        assert!(error.to_string().ends_with("b.csv: a name ending in .json or .toml is expected"), "{error}");
        let missing = super::read::<Value>("list", &folder.path().join("c.json")).unwrap_err();
        assert_eq!(missing.to_string(), "read the list");
    }
}
