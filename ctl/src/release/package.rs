//! What a package file says of itself: read by dpkg-deb and rpm, the programs that will read it on devices too.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use takt_common::release::PackageFormat;

/// How a .deb begins: it is an `ar` archive.
const DEB_MAGIC: &[u8] = b"!<arch>\n";

/// How an .rpm begins: the lead.
const RPM_MAGIC: &[u8] = &[0xed, 0xab, 0xee, 0xdb];

/// dpkg-deb's form: one field a line. `Installed-Size` is in KiB and may be absent.
const DEB_FORM: &str = "${Package}\n${Version}\n${Architecture}\n${Installed-Size}\n";

/// rpm's form: the same fields, and whether it is a source package. The size is in bytes.
const RPM_FORM: &str =
    "%{NAME}\n%|EPOCH?{%{EPOCH}:}|%{VERSION}-%{RELEASE}\n%{ARCH}\n%{LONGSIZE}\n%|SOURCERPM?{}:{source}|\n";

/// What a package file says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageFile {
    /// Debian's or RPM's.
    pub format: PackageFormat,
    /// Its name.
    pub name: String,
    /// Its whole version.
    pub version: String,
    /// Its architecture.
    pub architecture: String,
    /// Bytes that it takes once installed, as far as it says so.
    pub installed_bytes: u64,
}

/// A file is no usable package.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// Out of reach.
    #[error("read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Neither form.
    #[error("{} is neither a .deb nor an .rpm package", path.display())]
    Neither {
        /// The file.
        path: PathBuf,
    },
    /// Nothing here reads it.
    #[error("read {}: {program} is not installed here, and without it nobody knows what the package is", path.display())]
    NoProgram {
        /// The file.
        path: PathBuf,
        /// What is missing.
        program: &'static str,
    },
    /// It cannot be started.
    #[error("start {program}")]
    Start {
        /// Which.
        program: &'static str,
        /// Why.
        source: io::Error,
    },
    /// It is damaged.
    #[error("{} is not a whole package, says {program}: {said}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Who says so.
        program: &'static str,
        /// Its last words.
        said: String,
    },
    /// It leaves out what devices must know.
    #[error("{} does not say its {field}", path.display())]
    Silent {
        /// The file.
        path: PathBuf,
        /// What is missing.
        field: &'static str,
    },
    /// Not to be installed.
    #[error("{} is a source package, which no device can install", path.display())]
    Source {
        /// The file.
        path: PathBuf,
    },
}

impl PackageFile {
    /// Reads what the package says of itself, and that all of it is there.
    pub fn read(path: &Path) -> Result<Self, PackageError> {
        let read = |source| PackageError::Read { path: path.to_owned(), source };
        // A name that begins with a dash would be an option.
        let real = fs::canonicalize(path).map_err(read)?;
        let mut begin = Vec::new();
        File::open(&real).and_then(|file| file.take(8).read_to_end(&mut begin)).map_err(read)?;
        if begin == DEB_MAGIC {
            Self::read_deb(path, &real)
        } else if begin.starts_with(RPM_MAGIC) {
            Self::read_rpm(path, &real)
        } else {
            Err(PackageError::Neither { path: path.to_owned() })
        }
    }

    fn read_deb(path: &Path, real: &Path) -> Result<Self, PackageError> {
        let form = format!("--showformat={DEB_FORM}");
        let said = run("dpkg-deb", &["--show", &form], path, real, Stdio::piped())?;
        // The control data comes first: only unpacking shows whether the rest is there.
        run("dpkg-deb", &["--fsys-tarfile"], path, real, Stdio::null())?;
        Self::of_lines(path, PackageFormat::Deb, &said, 1024)
    }

    fn read_rpm(path: &Path, real: &Path) -> Result<Self, PackageError> {
        // Whose packages are good is for the release's own signature to say.
        let query = ["--query", "--nosignature", "--nomanifest", "--queryformat", RPM_FORM, "--package"];
        let said = run("rpm", &query, path, real, Stdio::piped())?;
        run("rpm", &["--checksig", "--nosignature"], path, real, Stdio::null())?;
        if said.lines().nth(4) == Some("source") {
            return Err(PackageError::Source { path: path.to_owned() });
        }
        Self::of_lines(path, PackageFormat::Rpm, &said, 1)
    }

    fn of_lines(path: &Path, format: PackageFormat, said: &str, unit: u64) -> Result<Self, PackageError> {
        let mut lines = said.lines();
        let mut next = |field| match lines.next() {
            None | Some("" | "(none)") => Err(PackageError::Silent { path: path.to_owned(), field }),
            Some(text) => Ok(text.to_owned()),
        };
        let (name, version, architecture) = (next("name")?, next("version")?, next("architecture")?);
        let installed_bytes =
            lines.next().and_then(|size| size.parse::<u64>().ok()).unwrap_or(0).saturating_mul(unit);
        Ok(Self { format, name, version, architecture, installed_bytes })
    }
}

/// Runs `program` on the package and gives what it wrote.
fn run(
    program: &'static str,
    args: &[&str],
    path: &Path,
    real: &Path,
    stdout: Stdio,
) -> Result<String, PackageError> {
    let output = Command::new(program)
        .args(args)
        .arg(real)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(Stdio::piped())
        .spawn()
        .and_then(std::process::Child::wait_with_output);
    let Output { status, stdout, stderr } = output.map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => PackageError::NoProgram { path: path.to_owned(), program },
        _ => PackageError::Start { program, source },
    })?;
    if !status.success() {
        let said =
            first_words(&stderr).or_else(|| first_words(&stdout)).unwrap_or_else(|| status.to_string());
        return Err(PackageError::Damaged { path: path.to_owned(), program, said });
    }
    Ok(String::from_utf8_lossy(&stdout).into_owned())
}

/// The first line, which names the cause, cut to a sentence's length and without the program's own name.
fn first_words(bytes: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(bytes);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty())?;
    let (_, said) =
        line.split_once(": ").filter(|(who, _)| who.starts_with("dpkg-deb")).unwrap_or(("", line));
    Some(said.trim_start_matches("error: ").chars().take(200).collect())
}
