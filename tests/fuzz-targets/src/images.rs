//! Image archives (Docker and OCI), as the agent looks at them before it gives them to the engine.

use std::io::{Cursor, Read as _};
use std::path::{Component, Path};

use takt_agent::engine::check_source;

use crate::memory::bounded;

/// Room on the engine's disk: much for the archives here, and soon filled by one that swells.
const ROOM: u64 = 256 * 1024;
const BLOCK: usize = 512;

/// An input that begins with this byte is an archive as it is; of others the checksums are put right, which no chance would hit.
const AS_IT_IS: u8 = 0xff;

/// Reads the input as an archive.
pub fn run(input: &[u8]) {
    let archive = match input {
        [AS_IT_IS, rest @ ..] => rest.to_vec(),
        _ => summed(input.to_vec()),
    };
    bounded(input, 64, || {
        if check_source(Cursor::new(&archive), ROOM).is_ok() {
            accepted(&archive);
        }
    });
}

/// The archive with the checksum that each of its headers should have.
fn summed(mut archive: Vec<u8>) -> Vec<u8> {
    let mut at = 0;
    while let Some(block) = archive.get_mut(at..at + BLOCK)
        && block.iter().any(|byte| *byte != 0)
    {
        let mut header = tar::Header::new_old();
        header.as_mut_bytes().copy_from_slice(block);
        header.set_cksum();
        block.copy_from_slice(header.as_bytes());
        let blocks =
            header.entry_size().ok().and_then(|size| usize::try_from(size.div_ceil(BLOCK as u64)).ok());
        let Some(next) = blocks.and_then(|blocks| blocks.checked_add(1)?.checked_mul(BLOCK)?.checked_add(at))
        else {
            break;
        };
        at = next;
    }
    archive
}

/// Read once more, from the first byte to the last: nothing leads out of it, and it has room.
fn accepted(archive: &[u8]) {
    let mut sum = 0_u64;
    for member in tar::Archive::new(archive).entries().expect("it was read before") {
        let Ok(mut member) = member else { break };
        let name = member.path().expect("it was read before").into_owned();
        assert!(inside(Path::new(""), &name), "'{}' leads out", name.display());
        let kind = member.header().entry_type();
        if kind.is_symlink() {
            let target = member.link_name().expect("it was read before").unwrap_or_default();
            assert!(
                inside(name.parent().unwrap_or(Path::new("")), &target),
                "'{}' leads out",
                name.display()
            );
        }
        assert!(!kind.is_block_special() && !kind.is_character_special() && !kind.is_fifo());
        let mut content = Vec::new();
        // A member may be cut off where the archive ends; nothing of it is then given to anybody.
        let _ = member.by_ref().take(ROOM + 1).read_to_end(&mut content);
        sum += content.len() as u64;
    }
    assert!(sum <= ROOM, "{sum} bytes are in it");
}

fn inside(folder: &Path, path: &Path) -> bool {
    let mut depth = 0_i64;
    folder.components().chain(path.components()).all(|part| {
        depth += match part {
            Component::Normal(_) => 1,
            Component::CurDir => 0,
            Component::ParentDir => -1,
            Component::RootDir | Component::Prefix(_) => i64::MIN / 2,
        };
        depth >= 0
    })
}
