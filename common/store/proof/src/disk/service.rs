//! FUSE's questions, put to an image.

use std::ffi::OsStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty,
    ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};

use super::image::{Answer, FileNode, Image, Names, Node, ROOT};
use super::mount::Power;

/// Nothing changes behind the kernel's back while a disk is mounted.
const TTL: Duration = Duration::from_hours(1);

/// Every read and write is asked of us as the program made it, whole and at once; a program that maps a file for
/// writing is refused, so nothing can reach a file unseen.
const OPENED: FopenFlags = FopenFlags::FOPEN_DIRECT_IO;

const BLOCK_BYTES: u32 = 4_096;
const ROOM_BYTES: u64 = 1 << 34;

/// inode(7): the type in a mode, and that of a named pipe.
const S_IFMT: u32 = 0o170_000;
const S_IFIFO: u32 = 0o010_000;

#[derive(Debug)]
pub(super) struct Service(pub(super) Arc<Power>);

fn attributes(image: &Image, number: u64) -> Answer<FileAttr> {
    let (kind, perm, size) = match image.node(number)? {
        Node::File(file) => (FileType::RegularFile, file.mode, file.seen.len() as u64),
        Node::Folder { .. } => (FileType::Directory, 0o755, 0),
        Node::Pipe { mode } => (FileType::NamedPipe, *mode, 0),
    };
    Ok(FileAttr {
        ino: INodeNo(number),
        size,
        blocks: size.div_ceil(512),
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind,
        perm,
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    })
}

/// The permissions of a mode.
fn permissions(mode: u32) -> Answer<u16> {
    u16::try_from(mode & 0o777).map_err(|_| Errno::EINVAL)
}

fn position(offset: u64) -> Answer<usize> {
    usize::try_from(offset).map_err(|_| Errno::EFBIG)
}

fn finish(answer: Answer<()>, reply: ReplyEmpty) {
    match answer {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error),
    }
}

fn entry(answer: Answer<FileAttr>, reply: ReplyEntry) {
    match answer {
        Ok(attributes) => reply.entry(&TTL, &attributes, Generation(0)),
        Err(error) => reply.error(error),
    }
}

impl Filesystem for Service {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        entry(self.0.look(|image| attributes(image, image.lookup(parent.0, name)?)), reply);
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.0.look(|image| attributes(image, ino.0)) {
            Ok(attributes) => reply.attr(&TTL, &attributes),
            Err(error) => reply.error(error),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        _mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        // Changes of modes, owners and times mean nothing here; a length does.
        let answer = match size {
            Some(size) => self.0.change(|image| {
                image.resize(ino.0, position(size)?)?;
                attributes(image, ino.0)
            }),
            None => self.0.look(|image| attributes(image, ino.0)),
        };
        match answer {
            Ok(attributes) => reply.attr(&TTL, &attributes),
            Err(error) => reply.error(error),
        }
    }

    fn statfs(&self, _: &Request, _ino: INodeNo, reply: ReplyStatfs) {
        // As much room as anybody asks for: only `Trouble::Full` says otherwise.
        let blocks = ROOM_BYTES / u64::from(BLOCK_BYTES);
        reply.statfs(blocks, blocks, blocks, blocks, blocks, BLOCK_BYTES, 255, BLOCK_BYTES);
    }

    fn mknod(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        _rdev: u32,
        reply: ReplyEntry,
    ) {
        let answer = if mode & S_IFMT == S_IFIFO {
            self.0.change(|image| {
                let number = image.make(parent.0, name, Node::Pipe { mode: permissions(mode)? })?;
                attributes(image, number)
            })
        } else {
            Err(Errno::EOPNOTSUPP)
        };
        entry(answer, reply);
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, _mode: u32, _umask: u32, reply: ReplyEntry) {
        let answer = self.0.change(|image| {
            let folder = Node::Folder { seen: Names::new(), durable: Names::new() };
            let number = image.make(parent.0, name, folder)?;
            attributes(image, number)
        });
        entry(answer, reply);
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        let answer = self.0.change(|image| {
            let file = FileNode { mode: permissions(mode)?, ..FileNode::default() };
            let number = image.make(parent.0, name, Node::File(file))?;
            attributes(image, number)
        });
        match answer {
            Ok(attributes) => {
                self.0.opened();
                reply.created(&TTL, &attributes, Generation(0), FileHandle(0), OPENED);
            }
            Err(error) => reply.error(error),
        }
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        finish(self.0.change(|image| image.unlink(parent.0, name)), reply);
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        finish(self.0.change(|image| image.remove_folder(parent.0, name)), reply);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let answer = if flags.is_empty() {
            self.0.change(|image| image.rename((parent.0, name), (newparent.0, newname)))
        } else {
            Err(Errno::EINVAL)
        };
        finish(answer, reply);
    }

    fn open(&self, _: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        match self.0.look(|image| image.file(ino.0).map(|_| ())) {
            Ok(()) => {
                self.0.opened();
                reply.opened(FileHandle(0), OPENED);
            }
            Err(error) => reply.error(error),
        }
    }

    fn release(
        &self,
        _: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        self.0.released();
        reply.ok();
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let answer = self.0.look(|image| {
            let seen = &image.file(ino.0)?.seen;
            let start = position(offset)?.min(seen.len());
            let end = start.saturating_add(size as usize).min(seen.len());
            Ok(seen[start..end].to_vec())
        });
        match answer {
            Ok(bytes) => reply.data(&bytes),
            Err(error) => reply.error(error),
        }
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.0.change(|image| image.write(ino.0, position(offset)?, data)) {
            Ok(()) => reply.written(u32::try_from(data.len()).expect("the kernel asked with 32 bits")),
            Err(error) => reply.error(error),
        }
    }

    fn fallocate(
        &self,
        _: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let answer = if mode == 0 {
            self.0.change(|image| {
                let end = position(offset.saturating_add(length))?;
                if end > image.file(ino.0)?.seen.len() { image.resize(ino.0, end) } else { Ok(()) }
            })
        } else {
            Err(Errno::EOPNOTSUPP)
        };
        finish(answer, reply);
    }

    fn flush(&self, _: &Request, _ino: INodeNo, _fh: FileHandle, _owner: LockOwner, reply: ReplyEmpty) {
        // This is close(2), which makes nothing durable.
        reply.ok();
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _fh: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        finish(self.0.sync(|image| image.sync_file(ino.0)), reply);
    }

    fn fsyncdir(&self, _: &Request, ino: INodeNo, _fh: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        finish(self.0.sync(|image| image.sync_folder(ino.0)), reply);
    }

    fn readdir(&self, _: &Request, ino: INodeNo, _fh: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let answer = self.0.look(|image| {
            let mut listed =
                vec![(ino.0, FileType::Directory, ".".into()), (ROOT, FileType::Directory, "..".into())];
            for (name, number) in image.names(ino.0)? {
                listed.push((*number, attributes(image, *number)?.kind, name.clone()));
            }
            Ok(listed)
        });
        match answer {
            Ok(listed) => {
                let skipped = usize::try_from(offset).unwrap_or(usize::MAX);
                for (place, (number, kind, name)) in (1_u64..).zip(listed).skip(skipped) {
                    if reply.add(INodeNo(number), place, kind, name) {
                        break;
                    }
                }
                reply.ok();
            }
            Err(error) => reply.error(error),
        }
    }
}
