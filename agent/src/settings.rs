//! The agent's settings: one TOML file, unknown names refused, every error naming the file and the field.

mod kinds;
mod peers;
mod takeover;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use takt_agent_core::Policy;
use takt_common::{DeviceId, Name};
use takt_kinds::KindSettings;

use crate::budget::LinkSettings;
use crate::peers::PeerSettings;

/// Where the state lies when the file does not say.
pub const STATE_DIR_DEFAULT: &str = "/var/lib/takt-agent";
/// The container engine's socket when the file does not say.
pub const DOCKER_SOCKET_DEFAULT: &str = "/var/run/docker.sock";
/// Where update locks lie when the file does not say.
pub const LOCKS_DIR_DEFAULT: &str = "/run/takt/locks";

/// The settings of one device.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The device's name, for people.
    pub name: Name,
    /// Its hardware, as releases name it.
    pub hardware: Name,
    /// Base URL of the coordinator's API, `https://host:port`.
    pub coordinator: String,
    /// The folder of everything the agent keeps.
    pub state_dir: PathBuf,
    /// The container engine's socket.
    pub docker_socket: PathBuf,
    /// The folder of update locks.
    pub locks_dir: PathBuf,
    /// The program `takt-latch`, with which containers are started ahead of their turn; without it they are started in
    /// their turn, which takes longer.
    pub latch: Option<PathBuf>,
    /// From one health sample to the next.
    pub health_interval: Duration,
    /// Variables that releases may use in their texts, for the device's own workloads.
    pub vars: BTreeMap<String, String>,
    /// The same for workloads with which the device stands in for another.
    pub stand_in_vars: BTreeMap<String, String>,
    /// What bytes cost on its link.
    pub link: LinkSettings,
    /// Asked before a switch while a standby serves: a plain HTTP address of the standby.
    pub standby_probe: Option<String>,
    /// Whose connections with this device are counted.
    pub peers: PeerSettings,
    /// Devices of which it goes on with the memory when it stands in for them.
    pub restore_from: BTreeSet<DeviceId>,
    /// The command that reboots the machine.
    pub reboot: Vec<String>,
    /// What the update kinds may do.
    pub kinds: KindSettings,
    /// Limits of the device.
    pub policy: Policy,
}

/// The settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("read the settings file '{}'", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not TOML, or a name or type that is not known.
    #[error("use the settings file '{}': {what}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Line, field and what is wrong.
        what: String,
    },
    /// A value out of its bounds.
    #[error("use the settings file '{}': '{field}' {why}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// The field.
        field: &'static str,
        /// What is wrong.
        why: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: Name,
    hardware: Option<Name>,
    coordinator: String,
    state_dir: Option<PathBuf>,
    docker_socket: Option<PathBuf>,
    locks_dir: Option<PathBuf>,
    latch: Option<PathBuf>,
    health_interval_secs: Option<u64>,
    standby_probe: Option<String>,
    reboot_command: Option<Vec<String>>,
    #[serde(default)]
    link: Link,
    #[serde(default)]
    peers: peers::Peers,
    #[serde(default)]
    takeover: takeover::Takeover,
    #[serde(default, rename = "file")]
    files: kinds::File,
    #[serde(default)]
    vars: BTreeMap<String, String>,
    #[serde(default)]
    stand_in_vars: BTreeMap<String, String>,
    #[serde(default)]
    limits: Limits,
    #[serde(default)]
    package: kinds::Package,
    #[serde(default)]
    os_image: kinds::OsImage,
    #[serde(default)]
    live_patch: kinds::LivePatch,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Limits {
    reserve_disk_mib: Option<u64>,
    reserve_memory_mib: Option<u64>,
    load_per_cpu_max: Option<f64>,
    battery_percent_min: Option<u8>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Link {
    #[serde(default)]
    metered: bool,
    budget_mib: Option<u64>,
    period_days: Option<u32>,
}

/// So much is said of what is wrong: the file is quoted in it, and people will look there.
const WHY_CHARS_MAX: usize = 400;

/// A budget's period when the file does not say.
const PERIOD_DAYS_DEFAULT: u32 = 30;

impl Settings {
    /// Reads and checks the file at `path`.
    pub fn load(path: &Path) -> Result<Self, SettingsError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| SettingsError::Read { path: path.to_owned(), source })?;
        Self::from_toml(&text, path)
    }

    /// Checks `text`; `path` is only for error texts.
    pub fn from_toml(text: &str, path: &Path) -> Result<Self, SettingsError> {
        let file: File = toml::from_str(text).map_err(|error| SettingsError::Malformed {
            path: path.to_owned(),
            what: in_one_line(&error, text),
        })?;
        let value =
            |field, why: String| SettingsError::Value { path: path.to_owned(), field, why: quoted(&why) };
        let coordinator = file.coordinator.trim_end_matches('/').to_owned();
        if !coordinator.starts_with("https://") || coordinator.len() <= "https://".len() {
            return Err(value("coordinator", format!("must be https://host:port, not '{coordinator}'")));
        }
        let interval = file.health_interval_secs.unwrap_or(10);
        if !(1..=86_400).contains(&interval) {
            return Err(value("health_interval_secs", format!("must be 1 to 86400, not {interval}")));
        }
        let mut policy = Policy::default();
        if let Some(mib) = file.limits.reserve_disk_mib {
            policy.reserve_disk_bytes = mib.saturating_mul(1 << 20);
        }
        if let Some(mib) = file.limits.reserve_memory_mib {
            policy.reserve_memory_bytes = mib.saturating_mul(1 << 20);
        }
        if let Some(load) = file.limits.load_per_cpu_max {
            if !(load.is_finite() && load > 0.0) {
                return Err(value("limits.load_per_cpu_max", format!("must be above 0, not {load}")));
            }
            policy.load_per_cpu_max = load;
        }
        if let Some(percent) = file.limits.battery_percent_min {
            if percent > 100 {
                return Err(value("limits.battery_percent_min", format!("must be 0 to 100, not {percent}")));
            }
            policy.battery_percent_min = percent;
        }
        let link = link(&file.link, &value)?;
        let standby_probe = file.standby_probe;
        if let Some(url) = standby_probe.as_deref().filter(|url| !url.starts_with("http://")) {
            return Err(value("standby_probe", format!("must be http://host:port/path, not '{url}'")));
        }
        let reboot = file.reboot_command.unwrap_or_else(|| vec!["systemctl".to_owned(), "reboot".to_owned()]);
        if reboot.first().is_none_or(String::is_empty) {
            return Err(value("reboot_command", "must name a program".to_owned()));
        }
        let sections = kinds::Sections {
            file: file.files,
            package: file.package,
            os_image: file.os_image,
            live_patch: file.live_patch,
        };
        let state_dir = file.state_dir.unwrap_or_else(|| STATE_DIR_DEFAULT.into());
        Ok(Self {
            name: file.name,
            hardware: file.hardware.unwrap_or_else(|| "generic".parse().expect("'generic' is a name")),
            coordinator,
            kinds: sections.settings(&state_dir, &value)?,
            state_dir,
            link,
            peers: file.peers.settings(&value)?,
            restore_from: file.takeover.restore_from(&value)?,
            standby_probe,
            reboot,
            docker_socket: file.docker_socket.unwrap_or_else(|| DOCKER_SOCKET_DEFAULT.into()),
            locks_dir: file.locks_dir.unwrap_or_else(|| LOCKS_DIR_DEFAULT.into()),
            latch: file.latch,
            health_interval: Duration::from_secs(interval),
            vars: file.vars,
            stand_in_vars: file.stand_in_vars,
            policy,
        })
    }
}

fn link(
    file: &Link,
    value: &impl Fn(&'static str, String) -> SettingsError,
) -> Result<LinkSettings, SettingsError> {
    let days = file.period_days.unwrap_or(PERIOD_DAYS_DEFAULT);
    if !(1..=366).contains(&days) {
        return Err(value("link.period_days", format!("must be 1 to 366, not {days}")));
    }
    if file.budget_mib.is_some() && !file.metered {
        return Err(value("link.budget_mib", "needs 'metered = true'".to_owned()));
    }
    Ok(LinkSettings {
        metered: file.metered,
        budget_bytes: file.budget_mib.map(|mib| mib.saturating_mul(1 << 20)),
        period: Duration::from_hours(24) * days,
    })
}

/// A TOML error without its drawing of the source.
fn in_one_line(error: &toml::de::Error, text: &str) -> String {
    let before = error.span().map(|span| text.get(..span.start).unwrap_or(text));
    let line = before.map(|before| before.matches('\n').count() + 1);
    let message = quoted(error.message());
    line.map_or_else(|| message.clone(), |line| format!("line {line}: {message}"))
}

/// A text with something of the file in it, as it fits into one line of a log.
fn quoted(why: &str) -> String {
    why.chars()
        .map(|character| if character.is_control() { ' ' } else { character })
        .take(WHY_CHARS_MAX)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "name = 'camera-1'\ncoordinator = 'https://localhost:8443/'\n";

    fn refused(text: &str) -> String {
        Settings::from_toml(text, Path::new("agent.toml")).unwrap_err().to_string()
    }

    #[test]
    fn what_is_left_out_has_a_default() {
        let settings = Settings::from_toml(GOOD, Path::new("agent.toml")).unwrap();
        assert_eq!(settings.coordinator, "https://localhost:8443");
        assert_eq!(settings.state_dir, Path::new(STATE_DIR_DEFAULT));
        assert_eq!(settings.health_interval, Duration::from_secs(10));
        assert_eq!(settings.kinds.package.root, None);
    }

    #[test]
    fn what_is_wrong_is_told_in_one_short_line_whatever_the_file_says() {
        let long = "x".repeat(10_000);
        for text in [
            "name = 'a'\ncoordinator = \"http://a\\nb\"\n".to_owned(),
            format!("name = 'a'\ncoordinator = '{long}'\n"),
            format!("{GOOD}{long} = 1\n"),
            format!("{GOOD}\"a\\nb\\u0007\" = 1\n"),
            format!("{GOOD}[peers]\nnetworks = [\"\\n\"]\n"),
        ] {
            let said = refused(&text);
            assert!(said.chars().count() < 600 && !said.contains(char::is_control), "{said}");
        }
    }

    #[test]
    fn packages_may_have_a_root_of_their_own() {
        let text = format!("{GOOD}[package]\nroot = '/srv/guest'\n");
        let settings = Settings::from_toml(&text, Path::new("agent.toml")).unwrap();
        assert_eq!(settings.kinds.package.root.as_deref(), Some(Path::new("/srv/guest")));
        assert_eq!(settings.kinds.package.agent, Path::new("/srv/guest/usr/bin/takt-agent"));
    }

    #[test]
    fn the_identity_file_lies_beside_the_state_unless_it_is_said() {
        let text = format!("{GOOD}state_dir = '/data/takt'\n");
        let of = |text: &str| Settings::from_toml(text, Path::new("agent.toml")).unwrap().kinds.os_image;
        assert_eq!(of(&text).identity.path, Path::new("/data/takt/device-identity"));
        let more = "[os_image]\nidentity_file = '/data/identity'\nrauc_config = '/etc/r.conf'\nstall_mins_max = 5\n\
                    mark_good_units = []\nfeatures = { camera = 'on' }\n";
        let told = of(&format!("{text}{more}"));
        assert_eq!(told.identity.path, Path::new("/data/identity"));
        assert_eq!(told.rauc_settings, [PathBuf::from("/etc/r.conf")]);
        assert_eq!(told.stall_max, Duration::from_mins(5));
        assert!(told.mark_good_units.is_empty());
        assert_eq!(told.identity.features["camera"], "on");
    }

    #[test]
    fn live_patches_are_loaded_as_the_device_says() {
        let text = format!("{GOOD}[live_patch]\nkpatch = '/opt/kpatch'\nleave_secs_min = 90\n");
        let settings = Settings::from_toml(&text, Path::new("agent.toml")).unwrap().kinds.live_patch;
        assert_eq!((settings.kpatch, settings.leave_min), ("/opt/kpatch".into(), Duration::from_secs(90)));
    }

    #[test]
    fn the_settings_that_the_package_ships_show_the_defaults() {
        let shipped = include_str!("../../packaging/etc/agent.toml");
        // Without a name and a coordinator it is of no use, and says so.
        assert!(refused(shipped).contains("name"));
        let settings = shipped.lines().map(|line| match line.strip_prefix("# ") {
            Some(setting) if setting.contains(" = ") || setting.starts_with('[') => setting,
            _ => line,
        });
        let shown =
            Settings::from_toml(&settings.collect::<Vec<_>>().join("\n"), Path::new("agent.toml")).unwrap();
        assert_eq!(shown.vars["port"], "8080");
        assert_eq!(shown.stand_in_vars["port"], "8081");
        assert_eq!(shown.standby_probe.as_deref(), Some("http://camera-2:8080/healthz"));
        let least = format!("name = 'camera-1'\ncoordinator = '{}'\n", shown.coordinator);
        let expected = Settings {
            latch: Some("/usr/lib/takt/takt-latch".into()),
            vars: shown.vars.clone(),
            stand_in_vars: shown.stand_in_vars.clone(),
            standby_probe: shown.standby_probe.clone(),
            ..Settings::from_toml(&least, Path::new("agent.toml")).unwrap()
        };
        assert_eq!(format!("{shown:#?}"), format!("{expected:#?}"));
    }

    #[test]
    fn every_bad_setting_names_the_file_and_the_field() {
        for (text, needles) in [
            (format!("{GOOD}colour = 'red'\n"), ["agent.toml", "line 3: unknown field `colour`"]),
            ("coordinator = 'https://a:1'".to_owned(), ["agent.toml", "name"]),
            ("name = 'a'".to_owned(), ["agent.toml", "coordinator"]),
            ("name = 'A B'\ncoordinator = 'https://a:1'".to_owned(), ["agent.toml", "'A B'"]),
            ("name = 'a'\ncoordinator = 'http://a:1'".to_owned(), ["agent.toml", "coordinator"]),
            ("name = 'a\n".to_owned(), ["agent.toml", "line 1"]),
            (format!("{GOOD}health_interval_secs = 0\n"), ["agent.toml", "health_interval_secs"]),
            (format!("{GOOD}[limits]\nload_per_cpu_max = nan\n"), ["agent.toml", "load_per_cpu_max"]),
            (format!("{GOOD}[limits]\nreserve_mib = 1\n"), ["agent.toml", "reserve_mib"]),
            (format!("{GOOD}[os_image]\nidentity_file = 'id'\n"), ["agent.toml", "os_image.identity_file"]),
            (format!("{GOOD}[os_image]\nstall_mins_max = 0\n"), ["agent.toml", "os_image.stall_mins_max"]),
            (format!("{GOOD}[os_image]\nfeatures = {{ 'a=b' = '' }}\n"), ["os_image.features", "'a=b'"]),
            (
                format!("{GOOD}[live_patch]\nleave_secs_min = 0\n"),
                ["agent.toml", "live_patch.leave_secs_min"],
            ),
            (format!("{GOOD}[package]\nroot = 'guest'\n"), ["agent.toml", "package.root"]),
            (
                format!("{GOOD}[takeover]\nrestore_from = ['camera-1']\n"),
                ["takeover.restore_from", "'camera-1'"],
            ),
            (format!("{GOOD}[peers]\nnetworks = ['10.0.0.0/99']\n"), ["peers.networks", "'10.0.0.0/99'"]),
            (format!("{GOOD}[peers]\naddresses = ['camera-1']\n"), ["peers.addresses", "'camera-1'"]),
            (format!("{GOOD}[peers]\ninterval_secs = 0\n"), ["agent.toml", "peers.interval_secs"]),
        ] {
            let error = refused(&text);
            assert!(needles.iter().all(|needle| error.contains(needle)), "{text}: {error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }
}
