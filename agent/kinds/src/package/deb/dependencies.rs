//! Whether all would be there that the packages need: dpkg itself is asked, over a copy of its status in which the set
//! has been unpacked. Nothing is fetched, and nothing of the real status changes.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::super::error::PackageError;
use super::super::tool::Tool;
use super::archive::{field, without};
use super::database::Dpkg;
use crate::disk::failed;

/// So many lines of what dpkg says tell enough.
const LINES_SHOWN_MAX: usize = 12;

/// A package of the set: its control fields.
pub(super) struct New {
    pub(super) control: String,
}

impl New {
    fn name(&self) -> &str {
        field(&self.control, "Package").unwrap_or_default()
    }

    fn architecture(&self) -> &str {
        field(&self.control, "Architecture").unwrap_or_default()
    }

    /// True when a stanza of the status is of what this takes the place of.
    fn replaces(&self, stanza: &str, alone: bool) -> bool {
        let same = field(stanza, "Architecture") == Some(self.architecture());
        field(stanza, "Package") == Some(self.name()) && (alone || same)
    }
}

/// Refuses a set that cannot be configured on this device, or with which a package that is installed would lose what it
/// needs. `work` is a folder for the copy of the status; it is removed again.
pub(super) fn check(dpkg: &Dpkg, set: &[New], files: &[PathBuf], work: &Path) -> Result<(), PackageError> {
    let path = dpkg.admin().join("status");
    let status = fs::read_to_string(&path).map_err(failed("read", &path))?;
    let stanzas: Vec<&str> = status.split("\n\n").filter(|stanza| !stanza.trim().is_empty()).collect();
    let simulated = Simulated { folder: work, dpkg };
    let met = simulated.configure(set, &stanzas);
    let removed = fs::remove_dir_all(work);
    met?;
    removed.map_err(failed("remove folder", work))?;
    conflicts(dpkg, files)
}

/// What dpkg only finds out when it unpacks: conflicts, architectures, what must be configured before.
fn conflicts(dpkg: &Dpkg, files: &[PathBuf]) -> Result<(), PackageError> {
    let run = dpkg.run().args(["--dry-run", "--auto-deconfigure", "--install"]).args(files.iter().cloned());
    let said = run.ask()?;
    if said.status.success() {
        return Ok(());
    }
    Err(PackageError::Unmet { what: plain(&String::from_utf8_lossy(&said.errors)) })
}

struct Simulated<'a> {
    folder: &'a Path,
    dpkg: &'a Dpkg,
}

impl Simulated<'_> {
    fn configure(&self, set: &[New], stanzas: &[&str]) -> Result<(), PackageError> {
        let names: BTreeSet<&str> = set.iter().map(New::name).collect();
        let alone =
            |name: &str| stanzas.iter().filter(|stanza| field(stanza, "Package") == Some(name)).count() == 1;
        let others: Vec<&str> = stanzas
            .iter()
            .copied()
            .filter(|stanza| !set.iter().any(|new| new.replaces(stanza, alone(new.name()))))
            .collect();
        let dependents: BTreeSet<&str> = others
            .iter()
            .filter(|stanza| needs_one_of(stanza, &names))
            .filter_map(|stanza| field(stanza, "Package"))
            .collect();
        // What is broken already is not broken by this release.
        let broken = self.problems(stanzas, &dependents)?.map(|said| broken(&said)).unwrap_or_default();
        let asked =
            dependents.iter().copied().filter(|name| !broken.contains(*name)).chain(names.iter().copied());
        let asked: BTreeSet<&str> = asked.collect();
        let new: Vec<String> = set.iter().map(|new| new.control.trim_end().to_owned()).collect();
        let all: Vec<&str> = others.into_iter().chain(new.iter().map(String::as_str)).collect();
        match self.problems(&all, &asked)? {
            None => Ok(()),
            Some(said) => Err(PackageError::Unmet { what: plain(&said) }),
        }
    }

    /// What dpkg says against configuring `names`, unpacked, in this status.
    fn problems(&self, stanzas: &[&str], names: &BTreeSet<&str>) -> Result<Option<String>, PackageError> {
        if names.is_empty() {
            return Ok(None);
        }
        let mut status = String::new();
        for stanza in stanzas {
            let name = field(stanza, "Package").unwrap_or_default();
            if names.contains(name) {
                let rest = without(stanza, &["Package", "Status", "Conffiles"]);
                status.extend(["Package: ", name, "\nStatus: install ok unpacked\n", &rest, "\n"]);
            } else {
                status.extend([stanza.trim_end(), "\n\n"]);
            }
        }
        self.lay(&status)?;
        let admin = format!("--admindir={}", self.folder.display());
        let run = Tool::new("dpkg").arg(admin).args(["--dry-run", "--configure", "--pending"]);
        let said = run.ask()?;
        let text = String::from_utf8_lossy(&said.errors).into_owned();
        let concerns = |text: &str| broken(text).iter().any(|name| names.contains(name.as_str()));
        Ok((!said.status.success() && (concerns(&text) || broken(&text).is_empty())).then_some(text))
    }

    fn lay(&self, status: &str) -> Result<(), PackageError> {
        let write = |path: PathBuf, text: &str| fs::write(&path, text).map_err(failed("write", &path));
        let make = |path: PathBuf| fs::create_dir_all(&path).map_err(failed("make folder", &path));
        for folder in ["info", "updates", "triggers"] {
            make(self.folder.join(folder))?;
        }
        write(self.folder.join("status"), status)?;
        write(self.folder.join("info/format"), "1\n")?;
        let architectures = self.dpkg.admin().join("arch");
        if architectures.exists() {
            let copy = self.folder.join("arch");
            fs::copy(&architectures, &copy).map_err(failed("write", &copy))?;
        }
        Ok(())
    }
}

/// True when an installed package speaks of one of these in what it needs.
pub(super) fn needs_one_of(stanza: &str, names: &BTreeSet<&str>) -> bool {
    let installed = field(stanza, "Status").is_some_and(|status| status.ends_with(" ok installed"));
    let needs = ["Depends", "Pre-Depends"].into_iter().filter_map(|name| field(stanza, name));
    let word =
        |rest: &str| !rest.starts_with(|next: char| next.is_ascii_alphanumeric() || "+-.".contains(next));
    installed
        && needs.flat_map(|needs| needs.split([',', '|'])).any(|need| {
            let need = need.trim();
            names.iter().any(|name| need.strip_prefix(name).is_some_and(word))
        })
}

/// The packages of which dpkg says that they cannot be configured.
pub(super) fn broken(said: &str) -> BTreeSet<String> {
    let named = |line: &str| {
        let name =
            line.strip_prefix("dpkg: dependency problems prevent configuration of ")?.strip_suffix(':')?;
        Some(name.split_once(':').map_or(name, |(name, _)| name).to_owned())
    };
    said.lines().filter_map(named).collect()
}

/// What dpkg says, without what it says around it, in one line.
pub(super) fn plain(said: &str) -> String {
    let around = |line: &str| {
        line.is_empty()
            || line.starts_with("dpkg: dependency problems prevent")
            || line.starts_with("dpkg: error processing")
            || line.starts_with("dependency problems - leaving")
    };
    let of_the_matter = said.lines().take_while(|line| !line.starts_with("Errors were encountered"));
    let lines = of_the_matter.map(str::trim).filter(|line| !around(line)).take(LINES_SHOWN_MAX);
    let text = lines.fold(String::new(), |text, line| match text.chars().last() {
        None => line.to_owned(),
        Some(':') => format!("{text} {line}"),
        Some(_) => format!("{}; {line}", text.trim_end_matches('.')),
    });
    if text.is_empty() { said.trim().to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_needs_a_package_is_found() {
        let stanza = |needs: &str| format!("Package: x\nStatus: install ok installed\nDepends: {needs}\n");
        let names = BTreeSet::from(["app", "lib"]);
        for (needs, expected) in [
            ("app", true),
            ("other, app (<< 2)", true),
            ("other | lib:any (>= 1), more", true),
            ("app-data, libother, xapp", false),
        ] {
            assert_eq!(needs_one_of(&stanza(needs), &names), expected, "{needs}");
        }
        assert!(!needs_one_of(&stanza("app").replace("installed", "unpacked"), &names));
    }

    #[test]
    fn what_dpkg_says_is_cut_to_what_is_missing() {
        let said = "dpkg: dependency problems prevent configuration of a:\n a depends on b (>= 2); however:\n  \
                    Version of b on system is 1.\n\ndpkg: error processing package a (--configure):\n \
                    dependency problems - leaving unconfigured\nErrors were encountered while processing:\n a\n";
        assert_eq!(plain(said), "a depends on b (>= 2); however: Version of b on system is 1.");
        assert_eq!(broken(said), BTreeSet::from(["a".to_owned()]));
    }
}
