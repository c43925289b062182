//! Module files: real ELF by the compiler and linker of this machine, with what a module says of itself.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a module says of itself.
#[derive(Debug, Clone)]
pub(crate) struct Says {
    pub(crate) name: Option<&'static str>,
    pub(crate) kernel: Option<&'static str>,
    pub(crate) livepatch: bool,
    /// Something that makes the build id another one.
    pub(crate) content: &'static str,
}

impl Default for Says {
    fn default() -> Self {
        Self { name: Some("mend"), kernel: Some("6.1.0-1-amd64"), livepatch: true, content: "one" }
    }
}

/// Compiles and links it.
pub(crate) fn make(folder: &Path, says: &Says) -> PathBuf {
    let mut texts = vec!["license=GPL".to_owned(), "depends=".to_owned()];
    texts.extend(says.name.map(|name| format!("name={name}")));
    texts.extend(says.kernel.map(|kernel| format!("vermagic={kernel} SMP preempt mod_unload modversions ")));
    texts.extend(says.livepatch.then(|| "livepatch=Y".to_owned()));
    let mut lines = vec![format!("const char content[] = \"{}\";", says.content)];
    lines.extend(texts.iter().enumerate().map(|(number, text)| {
        format!("static const char info{number}[] __attribute__((section(\".modinfo\"), used, aligned(1))) = \"{text}\";")
    }));
    let source = lines.join("\n") + "\n";
    let at = |name: &str| folder.join(name);
    fs::write(at("module.c"), source).unwrap();
    run(Command::new("cc").arg("-c").arg(at("module.c")).arg("-o").arg(at("module.o")));
    run(Command::new("ld")
        .args(["-r", "--build-id=sha1"])
        .arg(at("module.o"))
        .arg("-o")
        .arg(at("module.ko")));
    at("module.ko")
}

fn run(command: &mut Command) {
    let program = command.get_program().to_string_lossy().into_owned();
    let output =
        command.output().unwrap_or_else(|error| panic!("{program} is missing (gcc, binutils): {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
