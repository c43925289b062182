//! What a kernel module says of itself, in its section `.modinfo`.

use std::path::{Path, PathBuf};

use object::{Object as _, ObjectSection as _};

use crate::file::{self, FileError};

/// No module is larger; the largest drivers have 20 MiB with all their symbols.
const MODULE_LENGTH_MAX: u64 = 64 * 1024 * 1024;

/// A live patch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Module {
    /// Its name in `/sys/module`.
    pub(super) name: String,
    /// The kernel release it is built for.
    pub(super) kernel: String,
}

/// A file is no live patch.
#[derive(Debug, thiserror::Error)]
pub enum ModuleError {
    /// Out of reach.
    #[error(transparent)]
    File(#[from] FileError),
    /// Not a module.
    #[error("{} is no kernel module: {why}", path.display())]
    NotOne {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// Another sort of module.
    #[error("{} is a kernel module but no live patch: it does not say 'livepatch=Y'", path.display())]
    NoLivePatch {
        /// The file.
        path: PathBuf,
    },
}

impl Module {
    /// Reads what a live patch says of itself.
    pub(super) fn read(path: &Path) -> Result<Self, ModuleError> {
        let bytes = file::read_bytes(path, MODULE_LENGTH_MAX)?;
        let wrong = |why: String| ModuleError::NotOne { path: path.to_owned(), why };
        let module = object::File::parse(&*bytes)
            .map_err(|_| wrong("it is not ELF (a compressed one is to be unpacked first)".to_owned()))?;
        let section =
            module.section_by_name(".modinfo").ok_or_else(|| wrong("it has no .modinfo".to_owned()))?;
        let about = section.data().map_err(|error| wrong(format!("its .modinfo is damaged: {error}")))?;
        if field(about, "livepatch") != Some("Y") {
            return Err(ModuleError::NoLivePatch { path: path.to_owned() });
        }
        let name = field(about, "name").ok_or_else(|| wrong("it does not say its name".to_owned()))?;
        let kernel = field(about, "vermagic").and_then(|magic| magic.split(' ').next());
        let kernel = kernel.filter(|kernel| !kernel.is_empty());
        let kernel = kernel.ok_or_else(|| wrong("it does not say its kernel (vermagic)".to_owned()))?;
        Ok(Self { name: name.to_owned(), kernel: kernel.to_owned() })
    }
}

/// The first of the `key=value` texts with this key; they end with a zero byte each.
fn field<'a>(about: &'a [u8], key: &str) -> Option<&'a str> {
    let mut texts = about.split(|byte| *byte == 0).filter_map(|text| std::str::from_utf8(text).ok());
    texts.find_map(|text| text.strip_prefix(key)?.strip_prefix('='))
}
