//! What dpkg knows: asked of `dpkg-query`, which reads the journal of a run that was cut too.

use std::fs;
use std::path::PathBuf;

use takt_common::release::Package;

use super::super::error::PackageError;
use super::super::tool::{Tool, ToolError};

/// Where the database is, below the root.
const ADMIN: &str = "var/lib/dpkg";

/// Ends a record in an answer: no field holds it.
const END: char = '\u{1e}';

/// A dpkg, of the device or of a folder.
#[derive(Debug, Clone)]
pub(crate) struct Dpkg {
    pub(crate) root: Option<PathBuf>,
}

/// One package that dpkg knows, in one architecture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) architecture: String,
    /// `installed`, `config-files`, `half-configured` and so on.
    pub(crate) status: String,
    /// `ok` or `reinstreq`.
    pub(crate) flag: String,
}

/// All of them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Database(Vec<Known>);

impl Dpkg {
    /// A path of the device.
    pub(crate) fn on(&self, path: &str) -> PathBuf {
        self.root.as_deref().unwrap_or("/".as_ref()).join(path.trim_start_matches('/'))
    }

    /// The folder of the database.
    pub(crate) fn admin(&self) -> PathBuf {
        self.on(ADMIN)
    }

    /// A question to dpkg's database.
    pub(crate) fn query(&self) -> Tool {
        Tool::new("dpkg-query").arg(format!("--admindir={}", self.admin().display()))
    }

    /// A run of dpkg.
    pub(crate) fn run(&self) -> Tool {
        let tool = Tool::new("dpkg");
        match &self.root {
            // Its settings are the device's, and so is the log that they name.
            Some(root) => tool.arg(format!("--root={}", root.display())).arg("--log=/dev/null"),
            None => tool,
        }
    }

    /// Reads the database.
    pub(crate) fn read(&self) -> Result<Database, PackageError> {
        let format = "${Package}\t${Version}\t${Architecture}\t${db:Status-Status}\t${db:Status-Eflag}\n";
        let said = self.query().args(["--show", "--showformat", format]).answer()?;
        said.text().lines().map(Known::parse).collect::<Result<_, _>>().map(Database)
    }

    /// dpkg's lists of configuration files: of each package of this name its architecture and the list, as dpkg keeps it.
    pub(crate) fn conffiles(&self, name: &str, architecture: &str) -> Result<String, PackageError> {
        let format = format!("${{Architecture}}\t${{Conffiles}}{END}");
        let said = self.query().args(["--show", "--showformat", &format, name]).ask()?;
        let text = said.text();
        let mut lists = text.split(END).filter_map(|list| list.split_once('\t'));
        let found = lists.find(|(of, _)| *of == architecture).map(|(_, list)| list.trim_matches('\n'));
        Ok(found.unwrap_or_default().to_owned())
    }

    /// True when dpkg was cut off before it had taken its journal over into its status.
    pub(crate) fn has_journal(&self) -> bool {
        let Ok(entries) = fs::read_dir(self.admin().join("updates")) else { return false };
        entries.flatten().any(|entry| {
            let name = entry.file_name();
            name.as_encoded_bytes().iter().all(u8::is_ascii_digit)
        })
    }

    /// Everything that dpkg's status says of a package.
    pub(crate) fn stanza(&self, known: &Known) -> Result<String, ToolError> {
        Ok(self.query().arg("--status").arg(known.spec()).answer()?.text())
    }
}

/// Marks after the digest in a list of configuration files.
const MARKS: [&str; 2] = [" obsolete", " remove-on-upgrade"];

/// The paths in a list of configuration files.
pub(crate) fn conffile_paths(list: &str) -> Vec<&str> {
    let path = |line| {
        let digest = MARKS.iter().fold(line, |line: &str, mark| line.strip_suffix(mark).unwrap_or(line));
        digest.strip_prefix(' ')?.rsplit_once(' ').map(|(path, _)| path)
    };
    list.lines().filter_map(path).filter(|path| path.starts_with('/')).collect()
}

/// The same without those that the package no longer delivers.
pub(crate) fn delivered_conffile_paths(list: &str) -> Vec<&str> {
    let delivered = |line: &&str| !MARKS.iter().any(|mark| line.ends_with(mark));
    list.lines().filter(delivered).flat_map(conffile_paths).collect()
}

impl Known {
    pub(super) fn parse(line: &str) -> Result<Self, PackageError> {
        let fields: Vec<&str> = line.split('\t').collect();
        let [name, version, architecture, status, flag] = fields[..] else {
            return Err(PackageError::Database { what: format!("dpkg-query says '{line}'") });
        };
        let text = str::to_owned;
        Ok(Self {
            name: text(name),
            version: text(version),
            architecture: text(architecture),
            status: text(status),
            flag: text(flag),
        })
    }

    /// Its name, so that no other architecture's is meant.
    pub(crate) fn spec(&self) -> String {
        if self.architecture == "all" || self.architecture.is_empty() {
            self.name.clone()
        } else {
            format!("{}:{}", self.name, self.architecture)
        }
    }

    /// Nothing of it is on the device.
    pub(crate) fn is_absent(&self) -> bool {
        self.status == "not-installed"
    }

    /// It is there, and nothing is to be done with it.
    pub(crate) fn is_installed(&self) -> bool {
        self.status == "installed" && self.flag == "ok"
    }

    /// Something is half done.
    pub(crate) fn is_half(&self) -> bool {
        self.flag != "ok" || !matches!(self.status.as_str(), "installed" | "config-files" | "not-installed")
    }

    /// How it is, for people.
    pub(crate) fn how(&self) -> String {
        let needs = if self.flag == "ok" { "" } else { " and must be reinstalled" };
        format!("{}{needs}", self.status)
    }

    /// True for this version in this architecture.
    pub(crate) fn is(&self, version: &str, architecture: &str) -> bool {
        self.version == version && self.architecture == architecture
    }
}

impl Database {
    /// What there is of a package: in its architecture, or, where there is only one, in another that it takes the place of.
    pub(crate) fn of(&self, package: &Package) -> Option<&Known> {
        self.named(&package.name, &package.architecture)
    }

    pub(crate) fn named(&self, name: &str, architecture: &str) -> Option<&Known> {
        let there = || self.0.iter().filter(|known| known.name == name && !known.is_absent());
        let exact = there().find(|known| known.architecture == architecture);
        let mut all = there();
        exact.or_else(|| all.next().filter(|_| all.next().is_none()))
    }

    /// True when a package is there, whole, and exactly as the release wants it.
    pub(crate) fn has(&self, package: &Package) -> bool {
        let known = self.of(package);
        known.is_some_and(|known| known.is_installed() && known.is(&package.version, &package.architecture))
    }

    /// All that are half done.
    pub(crate) fn half(&self) -> impl Iterator<Item = &Known> {
        self.0.iter().filter(|known| known.is_half())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_dpkg_says_is_understood() {
        let known = Known::parse("app\t1:2.0-1\tamd64\thalf-installed\treinstreq").unwrap();
        assert!(known.is_half() && !known.is_installed() && known.is("1:2.0-1", "amd64"));
        assert_eq!(known.how(), "half-installed and must be reinstalled");
        assert_eq!(known.spec(), "app:amd64");
        assert!(Known::parse("app\t1").is_err());
        let list = " /etc/a b.conf 4f98f59e877ecb84ff75ef0fab45bac5\n /etc/c newconffile\n \
                    /etc/old 4f98f59e877ecb84ff75ef0fab45bac5 obsolete";
        assert_eq!(conffile_paths(list), ["/etc/a b.conf", "/etc/c", "/etc/old"]);
        assert_eq!(delivered_conffile_paths(list), ["/etc/a b.conf", "/etc/c"]);
        assert_eq!(conffile_paths(""), Vec::<&str>::new());
    }

    #[test]
    fn the_package_that_another_takes_the_place_of_is_found() {
        let known = |line: &str| Known::parse(line).unwrap();
        let database = Database(vec![
            known("one\t1\tall\tinstalled\tok"),
            known("two\t1\tamd64\tinstalled\tok"),
            known("two\t1\ti386\tinstalled\tok"),
            known("gone\t\tamd64\tnot-installed\tok"),
        ]);
        assert_eq!(database.named("one", "amd64").unwrap().architecture, "all");
        assert_eq!(database.named("two", "i386").unwrap().architecture, "i386");
        assert_eq!(database.named("two", "arm64"), None);
        assert_eq!(database.named("gone", "amd64"), None);
    }
}
