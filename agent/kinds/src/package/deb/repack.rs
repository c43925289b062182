//! Making a .deb again from what is installed, for a version that Takt did not install: its files as they are now, and
//! dpkg's own data about it. Like dpkg-repack, but without a second copy of the files, and without compression.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File, Metadata};
use std::io::{self, BufWriter, Read as _, Seek as _, SeekFrom, Write};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use tar::{Builder, EntryType, Header};

use super::super::error::PackageError;
use super::super::tool::Tool;
use super::archive::{field, without};
use super::database::{Dpkg, Known, delivered_conffile_paths};
use crate::disk::{self, DiskError, failed};
use crate::effect::effect;

/// Fields of dpkg's status that are no part of a package.
const OF_THE_STATUS: [&str; 5] =
    ["Status", "Conffiles", "Config-Version", "Triggers-Pending", "Triggers-Awaited"];

/// A link to a link to a link: more of them is a circle.
const LINKS_MAX: usize = 16;

/// The first member of a .deb.
const BINARY: (&str, &[u8]) = ("debian-binary", b"2.0\n");

/// Everything of one package.
struct Contents {
    /// Path in the archive → path on the device.
    files: BTreeMap<PathBuf, PathBuf>,
    /// Those that lead to others.
    folders: BTreeSet<PathBuf>,
    /// Configuration files.
    conffiles: Vec<String>,
    /// Name → content.
    control: BTreeMap<String, Vec<u8>>,
}

/// Writes the .deb of an installed package.
pub(super) fn repack(dpkg: &Dpkg, known: &Known, file: &Path) -> Result<(), PackageError> {
    let contents = Contents::read(dpkg, known)?;
    let part = file.with_extension("part");
    effect!("package.repack", write(&contents, known, &part))?;
    fs::rename(&part, file).map_err(failed("write", file))?;
    // It must be read to its end at least once: a way back that cannot be read is none.
    Tool::new("dpkg-deb").arg("--contents").arg(file).answer()?;
    Ok(())
}

/// About how many bytes it will have.
pub(super) fn length(dpkg: &Dpkg, known: &Known) -> Result<u64, PackageError> {
    let contents = Contents::read(dpkg, known)?;
    let files = contents.files.values().filter_map(|path| fs::symlink_metadata(path).ok());
    Ok(files.map(|metadata| 512 + metadata.len().div_ceil(512) * 512).sum())
}

impl Contents {
    fn read(dpkg: &Dpkg, known: &Known) -> Result<Self, PackageError> {
        let stanza = dpkg.stanza(known)?;
        let list = dpkg.conffiles(&known.name, &known.architecture)?;
        let there = |path: &&str| fs::metadata(dpkg.on(path)).is_ok_and(|file| file.is_file());
        let conffiles: Vec<String> =
            delivered_conffile_paths(&list).into_iter().filter(there).map(str::to_owned).collect();
        let mut control =
            BTreeMap::from([("control".to_owned(), without(&stanza, &OF_THE_STATUS).into_bytes())]);
        if !conffiles.is_empty() {
            control.insert("conffiles".to_owned(), (conffiles.join("\n") + "\n").into_bytes());
        }
        let names = dpkg.query().arg("--control-list").arg(known.spec()).answer()?.text();
        for name in names.lines() {
            let path = dpkg.query().arg("--control-path").arg(known.spec()).arg(name).answer()?.text();
            let path = Path::new(path.trim());
            control.insert(name.to_owned(), fs::read(path).map_err(failed("read", path))?);
        }
        let (files, folders) = files(dpkg, known)?;
        Ok(Self { files, folders, conffiles, control })
    }
}

type Files = (BTreeMap<PathBuf, PathBuf>, BTreeSet<PathBuf>);

/// The package's paths, and where they lie: another package may have moved one out of its way.
fn files(dpkg: &Dpkg, known: &Known) -> Result<Files, PackageError> {
    let info = dpkg.admin().join("info");
    let by_architecture = info.join(format!("{}:{}.list", known.name, known.architecture));
    let by_name = info.join(format!("{}.list", known.name));
    let list = if by_architecture.exists() { by_architecture } else { by_name };
    let list = fs::read_to_string(&list).map_err(failed("read", &list))?;
    let moved = diversions(dpkg, &known.name)?;
    let (mut files, mut folders) = (BTreeMap::new(), BTreeSet::new());
    for path in list.lines().map(|path| if path == "/." { "/" } else { path }) {
        let there = moved.get(path).map_or(path, String::as_str);
        folders.extend(Path::new(path).ancestors().skip(1).map(Path::to_owned));
        files.insert(PathBuf::from(path), dpkg.on(there));
    }
    Ok((files, folders))
}

/// Paths that another package than this one has moved: from → to. The file has three lines for each.
fn diversions(dpkg: &Dpkg, name: &str) -> Result<HashMap<String, String>, PackageError> {
    let path = dpkg.admin().join("diversions");
    let text = match fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        text => text.map_err(failed("read", &path))?,
    };
    let lines: Vec<&str> = text.lines().collect();
    let others = lines.chunks_exact(3).filter(|three| three[2] != name);
    Ok(others.map(|three| (three[0].to_owned(), three[1].to_owned())).collect())
}

fn write(contents: &Contents, known: &Known, part: &Path) -> Result<(), PackageError> {
    let mut out = disk::create(part)?;
    let wrong = |error: io::Error| DiskError { deed: "write", path: part.to_owned(), source: error };
    out.write_all(b"!<arch>\n").map_err(wrong)?;
    member(&mut out, BINARY.0, |out| out.write_all(BINARY.1)).map_err(wrong)?;
    member(&mut out, "control.tar", |out| control_tar(contents, out)).map_err(wrong)?;
    let mut refused = None;
    let data = member(&mut out, "data.tar", |out| data_tar(contents, known, out, &mut refused));
    if let Some(refused) = refused {
        return Err(refused);
    }
    data.map_err(wrong)?;
    out.sync_all().map_err(wrong)?;
    Ok(())
}

/// One member of the outer archive: 60 bytes of header, and an even number of bytes.
fn member(out: &mut File, name: &str, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let header = |length: u64| format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{length:<10}`\n", 0, 0, 0, "100644");
    let start = out.stream_position()?;
    out.write_all(header(0).as_bytes())?;
    write(out)?;
    let end = out.stream_position()?;
    out.seek(SeekFrom::Start(start))?;
    let header = header(end - start - 60);
    if header.len() != 60 {
        return Err(io::Error::other("the package is too large for a .deb"));
    }
    out.write_all(header.as_bytes())?;
    out.seek(SeekFrom::Start(end))?;
    if end % 2 == 1 { out.write_all(b"\n") } else { Ok(()) }
}

fn control_tar(contents: &Contents, out: &mut File) -> io::Result<()> {
    let mut tar = Builder::new(out);
    for (name, content) in &contents.control {
        let mut header = Header::new_gnu();
        // What is a script is run; for the rest the bits mean nothing.
        header.set_mode(if content.starts_with(b"#!") { 0o755 } else { 0o644 });
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, name, content.as_slice())?;
    }
    tar.finish()
}

fn data_tar(
    contents: &Contents,
    known: &Known,
    out: &mut File,
    refused: &mut Option<PackageError>,
) -> io::Result<()> {
    let mut tar = Builder::new(BufWriter::new(out));
    let mut names: HashMap<(u64, u64), PathBuf> = HashMap::new();
    for (path, there) in &contents.files {
        let inside = Path::new(".").join(path.strip_prefix("/").unwrap_or(path));
        let is_conffile = contents.conffiles.iter().any(|conffile| Path::new(conffile) == path);
        let Some((there, metadata)) = find(there, contents.folders.contains(path) || is_conffile)? else {
            continue;
        };
        let mut header = Header::new_gnu();
        header.set_metadata(&metadata);
        let kind = metadata.file_type();
        if kind.is_dir() {
            header.set_entry_type(EntryType::Directory);
            header.set_size(0);
            tar.append_data(&mut header, &inside, io::empty())?;
        } else if kind.is_symlink() {
            header.set_entry_type(EntryType::Symlink);
            header.set_size(0);
            tar.append_link(&mut header, &inside, fs::read_link(&there)?)?;
        } else if let Some(first) = names.get(&(metadata.dev(), metadata.ino())) {
            header.set_entry_type(EntryType::Link);
            header.set_size(0);
            tar.append_link(&mut header, &inside, first)?;
        } else if kind.is_file() {
            header.set_entry_type(EntryType::Regular);
            // Exactly as long as the header says: one that grows meanwhile would break the archive.
            let content = File::open(&there)?.take(metadata.len());
            tar.append_data(&mut header, &inside, content)?;
            if metadata.nlink() > 1 {
                names.insert((metadata.dev(), metadata.ino()), inside);
            }
        } else {
            *refused = Some(PackageError::Unkeepable {
                name: known.name.clone(),
                path: there,
                what: what(&metadata),
            });
            return Ok(());
        }
    }
    tar.into_inner()?.flush()
}

fn what(metadata: &Metadata) -> &'static str {
    let kind = metadata.file_type();
    if kind.is_fifo() {
        "a pipe"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}

/// What lies at a path of the package; `None` for what has been deleted. What is a folder in the package may be a link
/// to one on the device (`/bin`), and a configuration file may be a link that the device's people made: there the end of
/// the link is meant.
fn find(path: &Path, follow: bool) -> io::Result<Option<(PathBuf, Metadata)>> {
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        let metadata = match fs::symlink_metadata(&path) {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            metadata => metadata?,
        };
        if !(follow && metadata.is_symlink()) {
            return Ok(Some((path, metadata)));
        }
        let target = fs::read_link(&path)?;
        path = path.parent().unwrap_or(&path).join(target);
    }
    Ok(None)
}

/// True when a file says exactly that it is this package.
pub(super) fn is_of(known: &Known, file: &Path) -> bool {
    let Ok(control) = super::archive::control(file) else { return false };
    let is = |name: &str, value: &str| field(&control, name) == Some(value);
    is("Package", &known.name) && is("Version", &known.version) && is("Architecture", &known.architecture)
}
