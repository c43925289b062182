//! Image archives: both layouts, links, and layers that are compressed.

use std::io::Write as _;

use tar::{Builder, EntryType, Header};

/// How an archive begins whose checksums are put right.
const SUMMED: usize = 0;

pub(super) fn all() -> Vec<Vec<u8>> {
    let layer = [b'x'; 700];
    let files = |members: &[(&str, &[u8])]| {
        archive(|builder| {
            for (name, content) in members {
                let mut header = header(EntryType::Regular, content.len());
                builder.append_data(&mut header, name, *content).expect("a member");
            }
        })
    };
    let long = format!("{}/layer.tar", "deep/".repeat(30));
    let link = |kind, target: &str| {
        archive(|builder| builder.append_link(&mut header(kind, 0), "a/layer.tar", target).expect("a link"))
    };
    let mut all = vec![
        files(&[("manifest.json", b"[{}]"), ("0123.json", b"{}"), ("0123/layer.tar", &layer)]),
        files(&[("oci-layout", b"{}"), ("index.json", b"{}"), ("blobs/sha256/0123", &packed(&layer))]),
        files(&[(&long, b"x")]),
        files(&[("swells", &packed(&vec![0; 300 * 1024]))]),
        link(EntryType::Symlink, "../b/layer.tar"),
        link(EntryType::Symlink, "../../b"),
        link(EntryType::Link, "b/layer.tar"),
        archive(|builder| builder.append(&header(EntryType::Directory, 0), &[][..]).expect("a folder")),
        archive(|builder| builder.append(&header(EntryType::Fifo, 0), &[][..]).expect("a pipe")),
    ];
    let plain = all[SUMMED].clone();
    all.push([&[0xff], &plain[..]].concat());
    all.push(packed(&plain));
    all
}

fn header(kind: EntryType, length: usize) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(length as u64);
    header.set_mode(0o644);
    header.set_path("name").expect("a short name");
    header.set_cksum();
    header
}

fn archive(build: impl FnOnce(&mut Builder<Vec<u8>>)) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    build(&mut builder);
    builder.into_inner().expect("an archive in memory")
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packed.write_all(bytes).expect("memory takes all");
    packed.finish().expect("memory takes all")
}
