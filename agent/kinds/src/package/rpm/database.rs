//! What rpm knows, and what a .rpm says of itself.

use std::path::{Path, PathBuf};

use takt_common::release::Package;

use super::super::error::PackageError;
use super::super::tool::{Said, Tool};

/// Name, version with epoch and release, architecture: a line for each.
const FORMAT: &str = "%{NAME}\t%{EVR}\t%{ARCH}\n";

/// An rpm, of the device or of a folder.
#[derive(Debug, Clone)]
pub(crate) struct Rpm {
    pub(crate) root: Option<PathBuf>,
}

/// One package that is installed, or one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) architecture: String,
}

/// What is installed of a set's names.
#[derive(Debug, Clone, Default)]
pub(crate) struct Database(Vec<Known>);

/// What `rpm -V` says of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Changed {
    pub(crate) path: String,
    pub(crate) is_config: bool,
}

impl Rpm {
    /// A path of the device.
    pub(crate) fn on(&self, path: &str) -> PathBuf {
        self.root.as_deref().unwrap_or("/".as_ref()).join(path.trim_start_matches('/'))
    }

    /// A run of rpm. What may be installed is told by Takt's own signatures.
    pub(crate) fn run(&self) -> Tool {
        let tool = Tool::new("rpm").arg("--nosignature");
        match &self.root {
            Some(root) => tool.arg("--root").arg(root),
            None => tool,
        }
    }

    /// Where the lock of the database is.
    pub(crate) fn lock(&self) -> Result<PathBuf, PackageError> {
        let folder = Tool::new("rpm").args(["--eval", "%{_dbpath}"]).answer()?.text();
        Ok(self.on(folder.trim()).join(".rpm.lock"))
    }

    /// Reads what is installed of these names.
    pub(crate) fn read<'a>(&self, names: impl Iterator<Item = &'a str>) -> Result<Database, PackageError> {
        let run = self.run().args(["--query", "--all", "--queryformat", FORMAT]).args(names);
        let said = run.answer()?;
        said.text().lines().map(Known::parse).collect::<Result<_, _>>().map(Database)
    }

    /// The configuration files of an installed package.
    pub(crate) fn configs(&self, name: &str) -> Result<Vec<String>, PackageError> {
        Ok(paths(&self.run().args(["--query", "--configfiles", name]).answer()?))
    }

    /// All files of an installed package.
    pub(crate) fn files(&self, name: &str) -> Result<Vec<String>, PackageError> {
        Ok(paths(&self.run().args(["--query", "--list", name]).answer()?))
    }

    /// The files of an installed package whose content is not what was delivered, or that are missing.
    pub(crate) fn changed(&self, name: &str) -> Result<Vec<Changed>, PackageError> {
        let run = self.run().args(["--verify", "--nodeps", "--noscripts", name]);
        // It ends with 1 when there is anything to say.
        let said = run.ask()?;
        Ok(said.text().lines().filter_map(Changed::parse).collect())
    }
}

fn paths(said: &Said) -> Vec<String> {
    let text = said.text();
    // "(contains no files)" stands alone.
    text.lines().map(str::trim).filter(|line| line.starts_with('/')).map(str::to_owned).collect()
}

/// The configuration files in a package file.
pub(crate) fn configs_of_file(file: &Path) -> Result<Vec<String>, PackageError> {
    Ok(paths(&ask_file(file).arg("--configfiles").answer()?))
}

/// A question about a package file. What is none is not taken for a list of others, which rpm would fetch.
fn ask_file(file: &Path) -> Tool {
    Tool::new("rpm").args(["--query", "--nosignature", "--nomanifest", "--package"]).arg(file)
}

impl Known {
    /// What a file says that it is.
    pub(crate) fn of_file(file: &Path) -> Result<Self, PackageError> {
        let said = ask_file(file).args(["--queryformat", FORMAT]).answer()?.text();
        let line = said.lines().next().ok_or_else(|| PackageError::Database {
            what: format!("rpm says nothing of '{}'", file.display()),
        })?;
        Self::parse(line)
    }

    pub(super) fn parse(line: &str) -> Result<Self, PackageError> {
        let fields: Vec<&str> = line.split('\t').collect();
        let [name, version, architecture] = fields[..] else {
            return Err(PackageError::Database { what: format!("rpm says '{line}'") });
        };
        let text = str::to_owned;
        Ok(Self { name: text(name), version: text(version), architecture: text(architecture) })
    }

    /// True for this version in this architecture; an epoch of 0 is none.
    pub(crate) fn is(&self, version: &str, architecture: &str) -> bool {
        let plain = |version: &str| version.strip_prefix("0:").unwrap_or(version).to_owned();
        plain(&self.version) == plain(version) && self.architecture == architecture
    }
}

impl Database {
    /// True when a package is there, once, and exactly as the release wants it.
    pub(crate) fn has(&self, package: &Package) -> bool {
        let known = self.of(package);
        known.is_some_and(|known| known.is(&package.version, &package.architecture))
            && self.several(package).is_none()
    }

    fn all(&self, package: &Package) -> Vec<&Known> {
        self.0.iter().filter(|known| known.name == package.name).collect()
    }

    /// What there is of a package: in its architecture, or, where there is only one, in another that it takes the place of.
    pub(crate) fn of(&self, package: &Package) -> Option<&Known> {
        let all = self.all(package);
        let exact = all.iter().find(|known| known.architecture == package.architecture);
        exact.or_else(|| all.first().filter(|_| all.len() == 1)).copied()
    }

    /// All versions of a package, when there are several in its architecture: rpm was cut off, or they are meant to be.
    pub(crate) fn several(&self, package: &Package) -> Option<Vec<&str>> {
        let same = self.all(package).into_iter().filter(|known| known.architecture == package.architecture);
        let versions: Vec<&str> = same.map(|known| known.version.as_str()).collect();
        (versions.len() > 1).then_some(versions)
    }
}

impl Changed {
    /// `S.5....T.  c /etc/x` or `missing   c /etc/x`; what changed but not its content is not meant.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let (marks, rest) = line.split_once(' ')?;
        let (before, path) = rest.trim_start().split_at_checked(rest.trim_start().find('/')?)?;
        let content = marks == "missing" || marks.as_bytes().get(2) == Some(&b'5');
        // A ghost is no content of the package.
        let kind = before.trim();
        (content && kind != "g").then(|| Self { path: path.to_owned(), is_config: kind == "c" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rpm_says_is_understood() {
        let known = Known::parse("app\t2-1\tnoarch").unwrap();
        assert!(known.is("0:2-1", "noarch") && !known.is("1:2-1", "noarch") && !known.is("2-1", "i686"));
        assert!(Known::parse("package app is not installed").is_err());
        let changed = |path: &str, is_config| Some(Changed { path: path.to_owned(), is_config });
        assert_eq!(Changed::parse("S.5....T.  c /etc/a b.conf"), changed("/etc/a b.conf", true));
        assert_eq!(Changed::parse("missing     /usr/share/a/data"), changed("/usr/share/a/data", false));
        assert_eq!(Changed::parse("missing   c /etc/x"), changed("/etc/x", true));
        assert_eq!(Changed::parse(".......T.    /usr/share/a/data"), None);
        assert_eq!(Changed::parse("missing   g /run/x"), None);
        assert_eq!(Changed::parse("Unsatisfied dependencies for app"), None);
    }
}
