//! Readers of what rpm says.

use super::database::{Changed, Known};

/// The fields of a line about a package.
pub fn known(line: &str) -> Option<[String; 3]> {
    let Known { name, version, architecture } = Known::parse(line).ok()?;
    Some([name, version, architecture])
}

/// A file that is not as it was delivered, and whether it is a configuration file.
pub fn changed(line: &str) -> Option<(String, bool)> {
    Changed::parse(line).map(|changed| (changed.path, changed.is_config))
}
