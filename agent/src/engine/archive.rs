//! What an image archive holds, looked at before the engine unpacks it: no name may lead out of it, and what its layers
//! unpack to must have room on the engine's disk.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Component, Path};

use flate2::read::MultiGzDecoder;
use tar::EntryType;

/// How compressed data begins (RFC 1952, 2.3.1).
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Why an archive is not given to the engine.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveFault {
    /// It is no archive, or cannot be read.
    #[error(transparent)]
    Read(#[from] io::Error),
    /// It is compressed as a whole.
    #[error("it is compressed, not a plain tar archive as docker save writes it")]
    Compressed,
    /// A name or the target of a link that leads out of the archive.
    #[error("its member '{0}' leads out of it")]
    LeadsOut(String),
    /// Something else than files, folders and links.
    #[error("its member '{0}' is neither file nor folder nor link")]
    Strange(String),
    /// What it unpacks to has no room.
    #[error("it unpacks to more than the {room_bytes} bytes that the engine's disk has free")]
    Swells {
        /// Room on that disk.
        room_bytes: u64,
    },
}

/// Checks an archive that may unpack to `room_bytes`. It takes as long as its compressed layers take to be unpacked; those
/// that are not are passed over.
pub(super) fn check(path: &Path, room_bytes: u64) -> Result<(), ArchiveFault> {
    check_source(File::open(path)?, room_bytes)
}

/// The same of an archive wherever it lies, from its first byte on.
pub fn check_source(mut source: impl Read + Seek, room_bytes: u64) -> Result<(), ArchiveFault> {
    if begins_compressed(&mut source)? {
        return Err(ArchiveFault::Compressed);
    }
    source.seek(SeekFrom::Start(0))?;
    let mut left = room_bytes;
    let mut archive = tar::Archive::new(source);
    for member in archive.entries_with_seek()? {
        let mut member = member?;
        let name = member.path()?.into_owned();
        let shown = || name.display().to_string();
        if !stays_inside(&[&name]) {
            return Err(ArchiveFault::LeadsOut(shown()));
        }
        match member.header().entry_type() {
            EntryType::Regular | EntryType::Continuous => {
                let unpacked = unpacked(&mut member, left)?;
                left = left.checked_sub(unpacked).ok_or(ArchiveFault::Swells { room_bytes })?;
            }
            EntryType::Directory | EntryType::XGlobalHeader => {}
            kind @ (EntryType::Symlink | EntryType::Link) => {
                let target = member.link_name()?.unwrap_or_default().into_owned();
                // A hard link names a member, a symbolic one goes on from its own folder.
                let folder = name.parent().filter(|_| kind == EntryType::Symlink).unwrap_or(Path::new(""));
                if !stays_inside(&[folder, &target]) {
                    return Err(ArchiveFault::LeadsOut(shown()));
                }
            }
            _ => return Err(ArchiveFault::Strange(shown())),
        }
    }
    Ok(())
}

/// Whether these paths, one after the other, never lead above the first folder.
fn stays_inside(paths: &[&Path]) -> bool {
    let mut depth = 0_usize;
    paths.iter().flat_map(|path| path.components()).all(|part| match part {
        Component::Normal(_) => {
            depth += 1;
            true
        }
        Component::CurDir => true,
        Component::ParentDir => depth.checked_sub(1).map(|above| depth = above).is_some(),
        Component::RootDir | Component::Prefix(_) => false,
    })
}

fn begins_compressed(source: &mut impl Read) -> io::Result<bool> {
    let mut begin = Vec::new();
    source.take(GZIP.len() as u64).read_to_end(&mut begin)?;
    Ok(begin == GZIP)
}

/// How many bytes a member unpacks to; of more than `enough`, at least one more than that.
fn unpacked(member: &mut tar::Entry<'_, impl Read>, enough: u64) -> io::Result<u64> {
    let length = member.size();
    if !begins_compressed(member)? {
        return Ok(length);
    }
    let whole = MultiGzDecoder::new(GZIP.as_slice().chain(member));
    io::copy(&mut whole.take(enough.saturating_add(1)), &mut io::sink())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    const ROOM: u64 = 1 << 20;

    fn header(kind: EntryType, length: usize) -> tar::Header {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(length as u64);
        header.set_mode(0o644);
        header
    }

    fn checked(build: impl FnOnce(&mut tar::Builder<File>)) -> Result<(), ArchiveFault> {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut builder = tar::Builder::new(file.reopen().unwrap());
        build(&mut builder);
        builder.into_inner().unwrap();
        check(file.path(), ROOM)
    }

    /// The builder itself refuses such names.
    fn named(builder: &mut tar::Builder<File>, name: &str) {
        let mut header = header(EntryType::Regular, 1);
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        builder.append(&header, &b"x"[..]).unwrap();
    }

    fn linked(kind: EntryType, target: &str) -> Result<(), ArchiveFault> {
        checked(|builder| builder.append_link(&mut header(kind, 0), "layer/layer.tar", target).unwrap())
    }

    fn zeros(length: usize) -> Vec<u8> {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(&vec![0; length]).unwrap();
        packed.finish().unwrap()
    }

    #[test]
    fn names_and_links_that_lead_out_are_refused() {
        for name in ["../manifest.json", "a/../../b", "/etc/passwd"] {
            let refused = checked(|builder| named(builder, name)).unwrap_err().to_string();
            assert_eq!(refused, format!("its member '{name}' leads out of it"));
        }
        checked(|builder| named(builder, "./a/../manifest.json")).unwrap();
        for target in ["../../etc/passwd", "/etc/passwd"] {
            assert!(matches!(linked(EntryType::Symlink, target), Err(ArchiveFault::LeadsOut(_))), "{target}");
            assert!(matches!(linked(EntryType::Link, target), Err(ArchiveFault::LeadsOut(_))), "{target}");
        }
        // As older engines write a layer that is there twice.
        linked(EntryType::Symlink, "../other/layer.tar").unwrap();
        let pipe = checked(|builder| {
            builder.append_data(&mut header(EntryType::Fifo, 0), "pipe", io::empty()).unwrap();
        });
        assert!(matches!(pipe, Err(ArchiveFault::Strange(name)) if name == "pipe"));
    }

    #[test]
    fn what_unpacks_to_more_than_there_is_room_for_is_refused() {
        let with = |layers: &[Vec<u8>]| {
            checked(|builder| {
                for (number, layer) in layers.iter().enumerate() {
                    let mut header = header(EntryType::Regular, layer.len());
                    builder.append_data(&mut header, format!("{number}/layer.tar"), &layer[..]).unwrap();
                }
            })
        };
        let half = usize::try_from(ROOM / 2).unwrap();
        with(&[zeros(half), vec![1; half]]).unwrap();
        let swells = with(&[zeros(half), vec![1; half + 1]]).unwrap_err();
        let expected = "it unpacks to more than the 1048576 bytes that the engine's disk has free";
        assert_eq!(swells.to_string(), expected);
        // 100 MiB in some 100 KiB.
        assert!(matches!(with(&[zeros(100 << 20)]), Err(ArchiveFault::Swells { .. })));
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), zeros(10)).unwrap();
        assert!(matches!(check(file.path(), ROOM), Err(ArchiveFault::Compressed)));
    }
}
