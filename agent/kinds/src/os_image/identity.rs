//! The device's identity, kept outside the slots in a format that every version of the system reads.
//!
//! Paper 1, "Failure Management": "Basic IoT properties like hostname, networking configuration, and basic features
//! configuration should be stored in a specific file that can be read by any version of the firmware. This practice
//! ensures that despite any rollbacks, the IoT device remains connected and running."
//!
//! So: before a system image is written, the facts of the system that runs go into one text file on storage that both
//! slots share. Whatever boots next, the new system or the old one after a fall-back, can configure itself from it. And
//! before a new system is marked good it must show that it has the same name and the same network interfaces in use: one
//! that has lost them is not kept, however well its services fare.
//!
//! The format: lines `key=value`, `#` starts a comment, and one line `format=1`. Keys are `[A-Za-z0-9._-]`. A reader
//! skips what it does not know, so the format never needs a second number. Takt owns `format`, `hostname`, `takt.*`,
//! `net.*` and the `feature.*` of its settings; every other line stays as it is.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::ifaddrs::getifaddrs;
use takt_agent_core::Nature;
use takt_agent_core::failure::Natured;

use crate::note::write_whole;

/// The only format there is.
const FORMAT: &str = "1";

/// No identity is longer; what is longer is something else.
const SIZE_MAX: u64 = 64 * 1024;

/// Interfaces that are looked at; a device has a handful.
const INTERFACES_MAX: usize = 64;

const HEAD: &str =
    "# What this device is, for every version of its system. Lines that Takt does not know stay as they are.";

/// Where the identity is kept and where its facts come from.
#[derive(Debug, Clone)]
pub struct IdentitySettings {
    /// The file, on storage that all slots share.
    pub path: PathBuf,
    /// The kernel's file of the host name.
    pub hostname: PathBuf,
    /// The kernel's folder of network interfaces.
    pub interfaces: PathBuf,
    /// The kernel's table of IPv4 routes.
    pub routes: PathBuf,
    /// What is switched on or off on this device, by name: written as `feature.<name>`.
    pub features: BTreeMap<String, String>,
}

impl Default for IdentitySettings {
    fn default() -> Self {
        Self {
            path: PathBuf::from("/var/lib/takt-agent/device-identity"),
            hostname: PathBuf::from("/proc/sys/kernel/hostname"),
            interfaces: PathBuf::from("/sys/class/net"),
            routes: PathBuf::from("/proc/net/route"),
            features: BTreeMap::new(),
        }
    }
}

/// The identity cannot be kept, or the system that runs does not have it.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A fact of the device.
    #[error("read '{}'", path.display())]
    Fact {
        /// From where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file itself.
    #[error("read the identity file '{}'", path.display())]
    Read {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file itself.
    #[error("write the identity file '{}'", path.display())]
    Write {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is not one.
    #[error("'{}' is no identity file: {why}", path.display())]
    Format {
        /// Where.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The new system sees another file than the old one wrote.
    #[error(
        "the new system does not find the identity file '{}' that was written before it: it must lie on storage that \
         all slots share",
        path.display()
    )]
    NotShared {
        /// Where.
        path: PathBuf,
    },
    /// The new system is called otherwise.
    #[error("the new system calls the device '{now}', but its identity file says '{before}'")]
    Hostname {
        /// The name now.
        now: String,
        /// The name in the file.
        before: String,
    },
    /// The new system lacks an interface.
    #[error("the new system has no network interface {mac}, which was in use as {name} before it")]
    Interface {
        /// Its name before.
        name: String,
        /// Its hardware address.
        mac: String,
    },
}

impl Natured for IdentityError {
    /// A name and an interface may come late after a boot; what the file is does not change by itself.
    fn nature(&self) -> Nature {
        match self {
            Self::Format { .. } | Self::NotShared { .. } => Nature::Fatal,
            _ => Nature::Transient,
        }
    }
}

/// Writes the facts of the system that runs, for the step with this key. Nothing is written when they stand there.
pub(super) fn keep(settings: &IdentitySettings, step: &str) -> Result<(), IdentityError> {
    let path = &settings.path;
    let before = read(path)?;
    let after = with_facts(before.as_deref().unwrap_or(HEAD), &facts(settings, step)?);
    if before.as_deref() == Some(&after) {
        return Ok(());
    }
    takt_failpoint::at("os-image.identity:before");
    write_whole(path, after.as_bytes())
        .map_err(|source| IdentityError::Write { path: path.clone(), source })?;
    takt_failpoint::at("os-image.identity:after");
    Ok(())
}

/// Holds the system that runs against what was written before the step with this key.
pub(super) fn check(settings: &IdentitySettings, step: &str) -> Result<(), IdentityError> {
    let path = &settings.path;
    let text = read(path)?.unwrap_or_default();
    let kept: BTreeMap<&str, &str> = text.lines().filter_map(pair).collect();
    if kept.get("takt.step") != Some(&step) {
        return Err(IdentityError::NotShared { path: path.clone() });
    }
    let now = fact(&settings.hostname)?;
    if let Some(before) = kept.get("hostname").filter(|before| **before != now) {
        return Err(IdentityError::Hostname { now, before: (*before).to_owned() });
    }
    let there = interfaces(&settings.interfaces)?;
    for (key, mac) in kept {
        let Some(name) = key.strip_prefix("net.").and_then(|key| key.strip_suffix(".mac")) else { continue };
        // A new system may call it otherwise.
        if !there.iter().any(|interface| interface.mac == mac) {
            return Err(IdentityError::Interface { name: name.to_owned(), mac: mac.to_owned() });
        }
    }
    Ok(())
}

/// The text of the file; none when there is no file.
fn read(path: &Path) -> Result<Option<String>, IdentityError> {
    let failed = |source| IdentityError::Read { path: path.to_owned(), source };
    let wrong = |why: String| IdentityError::Format { path: path.to_owned(), why };
    match fs::metadata(path) {
        Ok(found) if found.len() > SIZE_MAX => {
            return Err(wrong(format!("it has {} bytes, {SIZE_MAX} at the most are expected", found.len())));
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    }
    let bytes = fs::read(path).map_err(failed)?;
    let text = String::from_utf8(bytes).map_err(|_| wrong("it is no text".to_owned()))?;
    match text.lines().filter_map(pair).find(|(key, _)| *key == "format") {
        Some((_, FORMAT)) => Ok(Some(text)),
        Some((_, other)) => Err(wrong(format!("its format is '{other}', and only {FORMAT} is known"))),
        None => Err(wrong(format!("it has no line 'format={FORMAT}'"))),
    }
}

/// True for what can stand before the `=` of a line.
pub fn is_key(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// Key and value of a line; none for comments and what else is no pair.
fn pair(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.split_once('=')?;
    is_key(key).then(|| (key, value.trim_end()))
}

/// `before` with `facts` in place of the lines that Takt owns.
fn with_facts(before: &str, facts: &BTreeMap<String, String>) -> String {
    let ours = |key: &str| {
        matches!(key, "format" | "hostname")
            || key.starts_with("takt.")
            || key.starts_with("net.")
            || facts.contains_key(key)
    };
    let kept = before.lines().filter(|line| !pair(line).is_some_and(|(key, _)| ours(key)));
    let mut text: String = kept.flat_map(|line| [line, "\n"]).collect();
    for (key, value) in facts {
        text.extend([key, "=", value, "\n"]);
    }
    text
}

fn facts(settings: &IdentitySettings, step: &str) -> Result<BTreeMap<String, String>, IdentityError> {
    let mut facts = BTreeMap::new();
    let mut add = |key: String, value: String| {
        // A value is one line, whatever it comes from.
        let line = value.lines().next().unwrap_or_default().trim_end().to_owned();
        if is_key(&key) {
            facts.insert(key, line);
        }
    };
    add("format".to_owned(), FORMAT.to_owned());
    add("takt.step".to_owned(), step.to_owned());
    add("hostname".to_owned(), fact(&settings.hostname)?);
    let addresses = addresses();
    for interface in interfaces(&settings.interfaces)?.into_iter().filter(|interface| interface.up) {
        if let Some(addresses) = addresses.get(&interface.name) {
            add(format!("net.{}.addresses", interface.name), addresses.join(","));
        }
        add(format!("net.{}.mac", interface.name), interface.mac);
    }
    if let Some(gateway) = fs::read_to_string(&settings.routes).ok().and_then(|table| gateway(&table)) {
        add("net.gateway".to_owned(), gateway);
    }
    for (name, value) in &settings.features {
        add(format!("feature.{name}"), value.clone());
    }
    Ok(facts)
}

fn fact(path: &Path) -> Result<String, IdentityError> {
    fs::read_to_string(path)
        .map(|text| text.trim().to_owned())
        .map_err(|source| IdentityError::Fact { path: path.to_owned(), source })
}

/// A network interface that is a part of the machine.
struct Interface {
    name: String,
    mac: String,
    /// In use.
    up: bool,
}

/// Bridges, tunnels and the like have no device behind them, and come and go with what runs.
fn interfaces(folder: &Path) -> Result<Vec<Interface>, IdentityError> {
    let entries =
        fs::read_dir(folder).map_err(|source| IdentityError::Fact { path: folder.to_owned(), source })?;
    let read =
        |path: &Path, name: &str| fs::read_to_string(path.join(name)).ok().map(|text| text.trim().to_owned());
    let known = entries.take(INTERFACES_MAX).flatten().filter(|entry| entry.path().join("device").exists());
    Ok(known
        .filter_map(|entry| {
            let path = entry.path();
            Some(Interface {
                name: entry.file_name().into_string().ok()?,
                mac: read(&path, "address")?,
                up: read(&path, "operstate").as_deref() == Some("up"),
            })
        })
        .collect())
}

/// Addresses with their prefix, by interface. They may come from a lease: they are noted, and never held against it.
fn addresses() -> BTreeMap<String, Vec<String>> {
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for found in getifaddrs().into_iter().flatten() {
        let Some(address) = found.address else { continue };
        let text = if let Some(address) = address.as_sockaddr_in() {
            let mask = found.netmask.and_then(|mask| mask.as_sockaddr_in().map(|mask| mask.ip().to_bits()));
            format!("{}/{}", address.ip(), mask.unwrap_or(u32::MAX).count_ones())
        } else if let Some(address) = address.as_sockaddr_in6() {
            let mask = found.netmask.and_then(|mask| mask.as_sockaddr_in6().map(|mask| mask.ip().to_bits()));
            format!("{}/{}", address.ip(), mask.unwrap_or(u128::MAX).count_ones())
        } else {
            continue;
        };
        all.entry(found.interface_name).or_default().push(text);
    }
    all
}

/// The default gateway in the kernel's table of IPv4 routes: numbers there are hexadecimal, in the machine's byte order.
fn gateway(table: &str) -> Option<String> {
    table.lines().skip(1).find_map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let number = |at: usize| u32::from_str_radix(columns.get(at)?, 16).ok();
        (number(1)? == 0 && number(7)? == 0 && number(2)? != 0)
            .then(|| std::net::Ipv4Addr::from(number(2).unwrap_or_default().to_ne_bytes()).to_string())
    })
}

#[cfg(test)]
mod tests;
