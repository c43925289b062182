//! Files and folders as programs see them, as they are durable, and the changes in between.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::{fs, io};

use fuser::Errno;

/// Number of the root folder, as FUSE wants it.
pub(super) const ROOT: u64 = 1;

/// Names in a folder.
pub(super) type Names = BTreeMap<OsString, u64>;

/// A file system that distinguishes what is seen from what is durable.
#[derive(Debug, Clone)]
pub struct Image {
    pub(super) nodes: BTreeMap<u64, Node>,
    pub(super) next: u64,
    /// Changes of names that no folder sync has made durable, in order.
    pub(super) renamings: Vec<Renaming>,
    /// What the disk refuses at the moment.
    pub trouble: Trouble,
}

/// What a disk refuses while it still has power.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Trouble {
    /// Nothing: it works.
    #[default]
    None,
    /// It is full: nothing that needs space is written.
    Full,
    /// Every write and sync fails as on a broken disk.
    Failing,
    /// Writes work, syncs fail: what a disk says that loses its cache.
    FailingSync,
    /// It can only be read, as a file system that the kernel found damaged.
    ReadOnly,
}

#[derive(Debug, Clone)]
pub(super) enum Node {
    File(FileNode),
    Folder {
        seen: Names,
        durable: Names,
    },
    /// A named pipe: a name and a mode; what goes through it never comes here.
    Pipe {
        mode: u16,
    },
}

#[derive(Debug, Clone, Default)]
pub(super) struct FileNode {
    /// As the file was made with; a later change of it means nothing here.
    pub(super) mode: u16,
    pub(super) seen: Vec<u8>,
    pub(super) durable: Vec<u8>,
    /// What leads from `durable` to `seen`, in order.
    pub(super) pending: Vec<Change>,
}

#[derive(Debug, Clone)]
pub(super) enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Resize { length: usize },
}

/// One atomic change of names: in this folder, this name leads there (or nowhere) from now on.
pub(super) type Renaming = Vec<(u64, OsString, Option<u64>)>;

pub(super) type Answer<T> = Result<T, Errno>;

impl Default for Image {
    fn default() -> Self {
        Self::new()
    }
}

impl Image {
    /// An empty, formatted disk.
    pub fn new() -> Self {
        let root = Node::Folder { seen: Names::new(), durable: Names::new() };
        Self {
            nodes: BTreeMap::from([(ROOT, root)]),
            next: ROOT + 1,
            renamings: Vec::new(),
            trouble: Trouble::None,
        }
    }

    /// Copies what programs would see into a real folder, for people who look into a failure.
    pub fn save(&self, to: &Path) -> io::Result<()> {
        self.save_folder(ROOT, to)
    }

    fn save_folder(&self, number: u64, to: &Path) -> io::Result<()> {
        fs::create_dir_all(to)?;
        for (name, number) in self.names(number).map_err(|_| io::Error::other("not a folder"))? {
            match self.nodes.get(number) {
                Some(Node::File(file)) => fs::write(to.join(name), &file.seen)?,
                Some(Node::Folder { .. }) => self.save_folder(*number, &to.join(name))?,
                Some(Node::Pipe { .. }) => {}
                None => return Err(io::Error::other("a name leads nowhere")),
            }
        }
        Ok(())
    }

    pub(super) fn node(&self, number: u64) -> Answer<&Node> {
        self.nodes.get(&number).ok_or(Errno::ENOENT)
    }

    pub(super) fn names(&self, folder: u64) -> Answer<&Names> {
        match self.node(folder)? {
            Node::Folder { seen, .. } => Ok(seen),
            Node::File(_) | Node::Pipe { .. } => Err(Errno::ENOTDIR),
        }
    }

    pub(super) fn file(&mut self, number: u64) -> Answer<&mut FileNode> {
        match self.nodes.get_mut(&number) {
            Some(Node::File(file)) => Ok(file),
            Some(Node::Folder { .. }) => Err(Errno::EISDIR),
            Some(Node::Pipe { .. }) => Err(Errno::EINVAL),
            None => Err(Errno::ENOENT),
        }
    }

    pub(super) fn lookup(&self, folder: u64, name: &OsStr) -> Answer<u64> {
        self.names(folder)?.get(name).copied().ok_or(Errno::ENOENT)
    }

    /// Makes an empty file or folder.
    pub(super) fn make(&mut self, folder: u64, name: &OsStr, node: Node) -> Answer<u64> {
        self.refuse_new_space()?;
        if self.names(folder)?.contains_key(name) {
            return Err(Errno::EEXIST);
        }
        let number = self.next;
        self.next += 1;
        self.nodes.insert(number, node);
        self.change_names(vec![(folder, name.to_owned(), Some(number))])?;
        Ok(number)
    }

    pub(super) fn unlink(&mut self, folder: u64, name: &OsStr) -> Answer<()> {
        let number = self.lookup(folder, name)?;
        if matches!(self.node(number)?, Node::Folder { .. }) {
            return Err(Errno::EISDIR);
        }
        self.change_names(vec![(folder, name.to_owned(), None)])
    }

    pub(super) fn remove_folder(&mut self, folder: u64, name: &OsStr) -> Answer<()> {
        let number = self.lookup(folder, name)?;
        if !self.names(number)?.is_empty() {
            return Err(Errno::ENOTEMPTY);
        }
        self.change_names(vec![(folder, name.to_owned(), None)])
    }

    pub(super) fn rename(
        &mut self,
        (from, name): (u64, &OsStr),
        (to, new_name): (u64, &OsStr),
    ) -> Answer<()> {
        let number = self.lookup(from, name)?;
        if let Ok(replaced) = self.lookup(to, new_name)
            && let Node::Folder { seen, .. } = self.node(replaced)?
            && !seen.is_empty()
        {
            return Err(Errno::ENOTEMPTY);
        }
        self.change_names(vec![(from, name.to_owned(), None), (to, new_name.to_owned(), Some(number))])
    }

    pub(super) fn write(&mut self, number: u64, offset: usize, bytes: &[u8]) -> Answer<()> {
        let trouble = self.trouble;
        let file = self.file(number)?;
        let end = offset + bytes.len();
        match trouble {
            Trouble::Failing => return Err(Errno::EIO),
            Trouble::ReadOnly => return Err(Errno::EROFS),
            Trouble::Full if end > file.seen.len() => return Err(Errno::ENOSPC),
            _ => {}
        }
        if end > file.seen.len() {
            file.seen.resize(end, 0);
        }
        file.seen[offset..end].copy_from_slice(bytes);
        file.pending.push(Change::Write { offset, bytes: bytes.to_vec() });
        Ok(())
    }

    pub(super) fn resize(&mut self, number: u64, length: usize) -> Answer<()> {
        if length > self.file(number)?.seen.len() {
            self.refuse_new_space()?;
        }
        self.refuse_change()?;
        let file = self.file(number)?;
        file.seen.resize(length, 0);
        file.pending.push(Change::Resize { length });
        Ok(())
    }

    pub(super) fn sync_file(&mut self, number: u64) -> Answer<()> {
        self.refuse_sync()?;
        let file = self.file(number)?;
        for change in std::mem::take(&mut file.pending) {
            change.apply(&mut file.durable);
        }
        Ok(())
    }

    /// Makes the names of one folder durable. A rename between two folders becomes durable as a whole.
    pub(super) fn sync_folder(&mut self, number: u64) -> Answer<()> {
        self.refuse_sync()?;
        self.names(number)?;
        let (of_this, of_others): (Vec<_>, Vec<_>) = std::mem::take(&mut self.renamings)
            .into_iter()
            .partition(|renaming| renaming.iter().any(|(folder, ..)| *folder == number));
        self.renamings = of_others;
        for renaming in of_this {
            self.make_durable(renaming);
        }
        Ok(())
    }

    pub(super) fn make_durable(&mut self, renaming: Renaming) {
        for (folder, name, target) in renaming {
            if let Some(Node::Folder { durable, .. }) = self.nodes.get_mut(&folder) {
                lead(durable, name, target);
            }
        }
    }

    fn change_names(&mut self, renaming: Renaming) -> Answer<()> {
        self.refuse_change()?;
        for (folder, name, target) in renaming.clone() {
            match self.nodes.get_mut(&folder) {
                Some(Node::Folder { seen, .. }) => lead(seen, name, target),
                _ => return Err(Errno::ENOTDIR),
            }
        }
        self.renamings.push(renaming);
        Ok(())
    }

    fn refuse_new_space(&self) -> Answer<()> {
        if self.trouble == Trouble::Full { Err(Errno::ENOSPC) } else { self.refuse_change() }
    }

    /// Changes that need no space.
    const fn refuse_change(&self) -> Answer<()> {
        match self.trouble {
            Trouble::Failing => Err(Errno::EIO),
            Trouble::ReadOnly => Err(Errno::EROFS),
            Trouble::None | Trouble::Full | Trouble::FailingSync => Ok(()),
        }
    }

    /// Nothing waits for a sync on a disk that could only be read.
    const fn refuse_sync(&self) -> Answer<()> {
        match self.trouble {
            Trouble::Failing | Trouble::FailingSync => Err(Errno::EIO),
            Trouble::ReadOnly => Err(Errno::EROFS),
            Trouble::None | Trouble::Full => Ok(()),
        }
    }
}

impl Change {
    pub(super) fn apply(self, to: &mut Vec<u8>) {
        match self {
            Self::Write { offset, bytes } => {
                let end = offset + bytes.len();
                if end > to.len() {
                    to.resize(end, 0);
                }
                to[offset..end].copy_from_slice(&bytes);
            }
            Self::Resize { length } => to.resize(length, 0),
        }
    }
}

fn lead(names: &mut Names, name: OsString, target: Option<u64>) {
    match target {
        Some(number) => names.insert(name, number),
        None => names.remove(&name),
    };
}
