//! A kernel module's file: what it says of itself.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use object::{Object as _, ObjectSection as _};
use takt_agent_core::Nature;
use takt_agent_core::failure::Natured;
use takt_common::release::LivePatch;

/// No module is larger; the largest drivers have 20 MiB with all their symbols.
const SIZE_MAX: u64 = 64 * 1024 * 1024;

/// A module file is not what the release says.
#[derive(Debug, thiserror::Error)]
pub enum ModuleError {
    /// It cannot be read.
    #[error("read module '{}'", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is none.
    #[error("'{}' is no kernel module: {why}", path.display())]
    NotOne {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// It is a module of another sort.
    #[error("module {name} is no live patch: it does not say 'livepatch=Y'")]
    NoLivePatch {
        /// Its name.
        name: String,
    },
    /// Its name.
    #[error("the module says its name is '{module}', but the release says '{release}'")]
    Name {
        /// What the module says.
        module: String,
        /// What the release says.
        release: String,
    },
    /// Its kernel.
    #[error("the module says it is built for kernel '{module}', but the release says '{release}'")]
    Kernel {
        /// What the module says.
        module: String,
        /// What the release says.
        release: String,
    },
}

impl Natured for ModuleError {
    fn nature(&self) -> Nature {
        match self {
            Self::Read { .. } => Nature::Transient,
            _ => Nature::Fatal,
        }
    }
}

/// Name and kernel of a module, for `takt-fuzz-targets`.
#[doc(hidden)]
pub fn parse_for_fuzzing(bytes: &[u8]) -> Result<(String, String), String> {
    Module::parse(bytes).map(|module| (module.name, module.kernel))
}

/// What matters of a module file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Module {
    name: String,
    /// The first word of `vermagic`: the kernel release.
    kernel: String,
    livepatch: bool,
    /// The note with the build id, as the kernel shows that of a loaded module.
    pub build_id: Option<Vec<u8>>,
}

impl Module {
    /// Reads the module of `patch` and holds it against the release.
    pub(super) fn of(patch: &LivePatch, path: &Path) -> Result<Self, ModuleError> {
        let failed = |source| ModuleError::Read { path: path.to_owned(), source };
        let wrong = |why| ModuleError::NotOne { path: path.to_owned(), why };
        let size = fs::metadata(path).map_err(failed)?.len();
        if size > SIZE_MAX {
            return Err(wrong(format!("it has {size} bytes, {SIZE_MAX} at the most are expected")));
        }
        let module = Self::parse(&fs::read(path).map_err(failed)?).map_err(wrong)?;
        if module.name != patch.name {
            return Err(ModuleError::Name { module: module.name, release: patch.name.clone() });
        }
        if module.kernel != patch.kernel {
            return Err(ModuleError::Kernel { module: module.kernel, release: patch.kernel.clone() });
        }
        if !module.livepatch {
            return Err(ModuleError::NoLivePatch { name: module.name });
        }
        Ok(module)
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let file = object::File::parse(bytes).map_err(|error| error.to_string())?;
        let section = |name: &str| match file.section_by_name(name) {
            Some(section) => section.data().map(Some).map_err(|error| format!("section {name}: {error}")),
            None => Ok(None),
        };
        let about = section(".modinfo")?.ok_or("it has no section .modinfo")?;
        let field = |key: &str| {
            let texts = about.split(|byte| *byte == 0).filter_map(|text| std::str::from_utf8(text).ok());
            texts.filter_map(|text| text.split_once('=')).find(|(own, _)| *own == key).map(|(_, value)| value)
        };
        let kernel = field("vermagic").and_then(|magic| magic.split(' ').next());
        Ok(Self {
            name: field("name").ok_or("it does not say its name")?.to_owned(),
            kernel: kernel.ok_or("it does not say its kernel (vermagic)")?.to_owned(),
            livepatch: field("livepatch") == Some("Y"),
            build_id: section(".note.gnu.build-id")?.map(<[u8]>::to_vec),
        })
    }
}
