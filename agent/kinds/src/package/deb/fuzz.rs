//! Readers of what dpkg says.

use std::collections::BTreeSet;

use super::database::{self, Known};
use super::{archive, dependencies, status};

/// The first line of a field of a stanza.
pub fn field<'a>(stanza: &'a str, name: &str) -> Option<&'a str> {
    archive::field(stanza, name)
}

/// A stanza without these fields.
pub fn without(stanza: &str, fields: &[&str]) -> String {
    archive::without(stanza, fields)
}

/// dpkg's status with this list of configuration files for a package.
pub fn status_with(status: &str, name: &str, architecture: &str, conffiles: &str) -> String {
    status::rewritten(status, &[status::List { name, architecture, conffiles }])
}

/// The paths in a list of configuration files: all, and those that are still delivered.
pub fn conffile_paths(list: &str) -> (Vec<&str>, Vec<&str>) {
    (database::conffile_paths(list), database::delivered_conffile_paths(list))
}

/// The fields of a line of the database.
pub fn known(line: &str) -> Option<[String; 5]> {
    let Known { name, version, architecture, status, flag } = Known::parse(line).ok()?;
    Some([name, version, architecture, status, flag])
}

/// True when an installed package speaks of one of these in what it needs.
pub fn needs_one_of(stanza: &str, names: &BTreeSet<&str>) -> bool {
    dependencies::needs_one_of(stanza, names)
}

/// The packages of which dpkg says that they cannot be configured, and what it says, for people.
pub fn unmet(said: &str) -> (BTreeSet<String>, String) {
    (dependencies::broken(said), dependencies::plain(said))
}
