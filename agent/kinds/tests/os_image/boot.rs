//! Boot loaders with two slots, A and B, and a rescue system R: their state is what RAUC reads and writes, their choice is
//! what a device does at a boot.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// How often a slot may boot before it is marked good.
const TRIES_MAX: u32 = 3;

/// Which boot loader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BootLoader {
    /// GRUB, as the guest of the tests has it: a slot that has booted is "bad" until it is marked good again.
    Grub,
    /// U-Boot's rules: boots left are counted down, and a slot is good as long as it has some.
    Uboot,
}

/// One device's boot loader.
pub(crate) struct Boot {
    loader: BootLoader,
    /// GRUB's environment block, or a file with one variable a line.
    state: PathBuf,
    handler: PathBuf,
}

/// RAUC's `custom` backend with U-Boot's rules, which RAUC itself has in its source for the real `fw_setenv`.
const HANDLER: &str = r#"#!/bin/sh
set -eu
state=STATE
get() { sed -n "s/^$1=//p" "$state"; }
set_one() { sed "s/^$1=.*/$1=$2/" "$state" >"$state.new"; mv "$state.new" "$state"; }
without() { get ORDER | tr ' ' '\n' | grep -vx "$1" | tr '\n' ' ' | sed 's/ *$//'; }
in_order() { get ORDER | tr ' ' '\n' | grep -qx "$1"; }
case $1 in
    get-primary)
        for name in $(get ORDER); do
            if [ "$(get "${name}_LEFT")" -gt 0 ]; then printf %s "$name"; exit 0; fi
        done
        exit 1 ;;
    set-primary) set_one "$2_LEFT" 3; set_one ORDER "$2 $(without "$2")" ;;
    get-state) if in_order "$2" && [ "$(get "$2_LEFT")" -gt 0 ]; then printf good; else printf bad; fi ;;
    set-state)
        if [ "$3" = good ]; then set_one "$2_LEFT" 3
        else set_one ORDER "$(without "$2")"; set_one "$2_LEFT" 0; fi ;;
esac
"#;

impl Boot {
    pub(crate) fn new(loader: BootLoader, folder: &Path) -> Self {
        let boot = Self { loader, state: folder.join("boot-state"), handler: folder.join("boot-handler") };
        if loader == BootLoader::Uboot {
            fs::write(&boot.handler, HANDLER.replace("STATE", &boot.state.display().to_string())).unwrap();
            fs::set_permissions(&boot.handler, fs::Permissions::from_mode(0o755)).unwrap();
        }
        boot
    }

    /// As it comes from the factory: A boots, and there is nothing in B.
    pub(crate) fn reset(&self) {
        match self.loader {
            BootLoader::Grub => {
                run(Command::new("grub-editenv").arg(&self.state).arg("create"));
                self.set(&[("ORDER", "A B"), ("A_OK", "1"), ("A_TRY", "0"), ("B_OK", "0"), ("B_TRY", "0")]);
                self.set(&[("R_OK", "1"), ("R_TRY", "0")]);
            }
            BootLoader::Uboot => {
                fs::write(&self.state, "ORDER=A B\nA_LEFT=3\nB_LEFT=3\nR_LEFT=3\n").unwrap();
            }
        }
    }

    /// What RAUC's settings say of it.
    pub(crate) fn settings(&self) -> (String, String) {
        match self.loader {
            BootLoader::Grub => {
                (format!("bootloader=grub\ngrubenv={}\n", self.state.display()), String::new())
            }
            BootLoader::Uboot => (
                "bootloader=custom\n".to_owned(),
                format!("bootloader-custom-backend={}\n", self.handler.display()),
            ),
        }
    }

    pub(crate) fn variables(&self) -> BTreeMap<String, String> {
        let text = match self.loader {
            BootLoader::Grub => run(Command::new("grub-editenv").arg(&self.state).arg("list")),
            BootLoader::Uboot => fs::read_to_string(&self.state).unwrap(),
        };
        text.lines()
            .filter_map(|line| line.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    fn set(&self, pairs: &[(&str, &str)]) {
        match self.loader {
            BootLoader::Grub => {
                let pairs = pairs.iter().map(|(name, value)| format!("{name}={value}"));
                run(Command::new("grub-editenv").arg(&self.state).arg("set").args(pairs));
            }
            BootLoader::Uboot => {
                let mut all = self.variables();
                all.extend(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
                let lines: Vec<String> = all.iter().map(|(name, value)| format!("{name}={value}")).collect();
                fs::write(&self.state, lines.join("\n") + "\n").unwrap();
            }
        }
    }

    /// The slot that comes up, by its boot name: slots that are `broken` boot, count, and reset. When every slot has
    /// used its boots the rescue system runs, where there is one, and else the counts begin again.
    pub(crate) fn choose(&self, broken: &BTreeSet<&'static str>, rescue: bool) -> &'static str {
        for _ in 0..20 {
            let slot = match (self.choose_once(), rescue) {
                (Some(slot), _) => slot,
                (None, true) => return "R",
                (None, false) => {
                    self.begin_again();
                    self.choose_once().expect("a slot boots once the counts begin again")
                }
            };
            if !broken.contains(slot) {
                return slot;
            }
        }
        panic!("no slot comes up: {:?}", self.variables());
    }

    fn choose_once(&self) -> Option<&'static str> {
        let all = self.variables();
        let number = |name: String| all.get(&name).and_then(|value| value.parse::<u32>().ok()).unwrap_or(0);
        let order = all.get("ORDER").cloned().unwrap_or_default();
        let known = |name: &str| ["A", "B"].into_iter().find(|own| *own == name);
        for slot in order.split(' ').filter_map(known) {
            match self.loader {
                BootLoader::Grub => {
                    let (ok, tries) = (number(format!("{slot}_OK")), number(format!("{slot}_TRY")));
                    if ok == 1 && tries < TRIES_MAX {
                        self.set(&[(&format!("{slot}_TRY"), &(tries + 1).to_string())]);
                        return Some(slot);
                    }
                }
                BootLoader::Uboot => {
                    let left = number(format!("{slot}_LEFT"));
                    if left > 0 {
                        self.set(&[(&format!("{slot}_LEFT"), &(left - 1).to_string())]);
                        return Some(slot);
                    }
                }
            }
        }
        None
    }

    fn begin_again(&self) {
        match self.loader {
            BootLoader::Grub => self.set(&[("A_TRY", "0"), ("B_TRY", "0")]),
            BootLoader::Uboot => self.set(&[("A_LEFT", "3"), ("B_LEFT", "3")]),
        }
    }
}

/// Runs a program that must be there and succeed; what it wrote.
pub(crate) fn run(command: &mut Command) -> String {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{program} is missing (tests/env/install.sh): {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
