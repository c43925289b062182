//! The settings file (TOML). Every field has a default, unknown fields are refused, and every error is one
//! sentence that names the file and the field.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::ca::DEVICE_VALID;

/// The largest settings file, far above the commented default one.
const FILE_BYTES_MAX: u64 = 64 * 1024;

const DAY_MINUTES: u64 = 24 * 60;

/// A certificate for longer would outlive every reason to have one.
const VALID_SECS_MAX: u64 = 10 * 365 * 86_400;

/// What an operator may choose.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where keys, store, artifacts and repository live; relative to the settings file's folder.
    pub data_dir: PathBuf,
    /// Host names and addresses by which devices and operators reach this machine; the first stands in what
    /// they are given. Empty means `localhost`, `127.0.0.1` and this machine's own name.
    pub public_hosts: Vec<String>,
    /// The HTTPS API.
    pub api: ApiSettings,
    /// The MQTT gate.
    pub gate: GateSettings,
    /// Orders.
    pub orders: OrderSettings,
    /// Certificates of devices.
    pub certificates: CertificateSettings,
    /// Artifacts.
    pub artifacts: ArtifactSettings,
    /// How busy devices are.
    pub load: LoadSettings,
}

/// The HTTPS API.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ApiSettings {
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Connections at a time; more are closed at once.
    pub connections_max: usize,
    /// Connections at a time from one address.
    pub connections_per_source_max: usize,
    /// Seconds for a TLS handshake, and for the head of a request.
    pub handshake_secs_max: u64,
}

/// The MQTT gate.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GateSettings {
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Connections at a time.
    pub connections_max: usize,
    /// Connections at a time from one address.
    pub connections_per_source_max: usize,
}

/// Orders.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OrderSettings {
    /// Seconds after which an order that no signed report shows yet is sent again.
    pub resend_secs: u64,
    /// So many devices have an order in hand at a time; others wait for them.
    pub in_hand_max: usize,
}

/// Certificates of devices.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CertificateSettings {
    /// Seconds that a device's certificate is good for; devices renew theirs at two thirds.
    pub valid_secs: u64,
}

/// Artifacts.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ArtifactSettings {
    /// The largest artifact that is taken, in bytes.
    pub bytes_max: u64,
}

/// How busy devices are.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoadSettings {
    /// Health samples of so many minutes become one sample that is kept; a day has a whole number of them.
    pub sample_minutes: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("."),
            public_hosts: Vec::new(),
            api: ApiSettings::default(),
            gate: GateSettings::default(),
            orders: OrderSettings::default(),
            certificates: CertificateSettings::default(),
            artifacts: ArtifactSettings::default(),
            load: LoadSettings::default(),
        }
    }
}

impl Default for ApiSettings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([0, 0, 0, 0], 8443)),
            connections_max: 1024,
            connections_per_source_max: 512,
            handshake_secs_max: 10,
        }
    }
}

impl Default for GateSettings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([0, 0, 0, 0], 8883)),
            connections_max: 10_000,
            connections_per_source_max: 1_000,
        }
    }
}

impl Default for OrderSettings {
    fn default() -> Self {
        Self { resend_secs: 5, in_hand_max: 2_000 }
    }
}

impl Default for CertificateSettings {
    fn default() -> Self {
        Self { valid_secs: DEVICE_VALID.as_secs() }
    }
}

impl CertificateSettings {
    /// The same as a span.
    pub const fn valid(&self) -> Duration {
        Duration::from_secs(self.valid_secs)
    }
}

impl Default for ArtifactSettings {
    fn default() -> Self {
        Self { bytes_max: 8 * 1024 * 1024 * 1024 }
    }
}

impl Default for LoadSettings {
    fn default() -> Self {
        Self { sample_minutes: 60 }
    }
}

impl LoadSettings {
    /// The same in seconds.
    pub const fn step_secs(&self) -> u64 {
        self.sample_minutes * 60
    }
}

/// So much is said of what is wrong: the file is quoted in it, and people will look there.
const WHY_CHARS_MAX: usize = 400;

/// The settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file is there but cannot be read.
    #[error("read the settings file '{}'", .file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Larger than any settings file.
    #[error("the settings file '{}' has {bytes} bytes, at most {FILE_BYTES_MAX} are read", .file.display())]
    TooLarge {
        /// The file.
        file: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// Not TOML, an unknown field or a value of the wrong type.
    #[error("the settings file '{}' is wrong in line {line} ('{text}'): {why}", .file.display())]
    Toml {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What stands there, shortened.
        text: String,
        /// What is wrong.
        why: String,
    },
    /// A value out of bounds.
    #[error("the settings file '{}' has a wrong field '{field}': {why}", .file.display())]
    Field {
        /// The file.
        file: PathBuf,
        /// The field with its table.
        field: &'static str,
        /// What is wrong.
        why: String,
    },
}

impl Settings {
    /// Reads `file`; a relative `data_dir` becomes one beside it.
    pub fn load(file: &Path) -> Result<Self, SettingsError> {
        let read = |source| SettingsError::Read { file: file.to_owned(), source };
        let bytes = std::fs::metadata(file).map_err(read)?.len();
        if bytes > FILE_BYTES_MAX {
            return Err(SettingsError::TooLarge { file: file.to_owned(), bytes });
        }
        Self::parse(&std::fs::read_to_string(file).map_err(read)?, file)
    }

    /// Reads the content of `file`.
    pub fn parse(text: &str, file: &Path) -> Result<Self, SettingsError> {
        let mut settings: Self = toml::from_str(text).map_err(|error| toml_error(text, file, &error))?;
        settings.check(file)?;
        settings.data_dir = file.parent().unwrap_or(Path::new("")).join(&settings.data_dir);
        Ok(settings)
    }

    /// The hosts of the server certificate; the first stands in what devices and operators are given.
    pub fn hosts(&self) -> Vec<String> {
        if !self.public_hosts.is_empty() {
            return self.public_hosts.clone();
        }
        let own = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let mut hosts = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let own = own.trim().to_owned();
        if is_host(&own) && !hosts.contains(&own) {
            hosts.push(own);
        }
        hosts
    }

    /// How long a client may take for its handshake and for the head of a request.
    pub const fn handshake_max(&self) -> Duration {
        Duration::from_secs(self.api.handshake_secs_max)
    }

    fn check(&self, file: &Path) -> Result<(), SettingsError> {
        let refuse = |field, why: String| {
            Err(SettingsError::Field { file: file.to_owned(), field, why: quoted(&why) })
        };
        if let Some(host) = self.public_hosts.iter().find(|host| !is_host(host)) {
            return refuse("public_hosts", format!("'{host}' is neither a host name nor an IP address"));
        }
        for (field, value) in [
            ("api.connections_max", self.api.connections_max as u64),
            ("api.connections_per_source_max", self.api.connections_per_source_max as u64),
            ("api.handshake_secs_max", self.api.handshake_secs_max),
            ("gate.connections_max", self.gate.connections_max as u64),
            ("gate.connections_per_source_max", self.gate.connections_per_source_max as u64),
            ("orders.resend_secs", self.orders.resend_secs),
            ("orders.in_hand_max", self.orders.in_hand_max as u64),
            ("certificates.valid_secs", self.certificates.valid_secs),
            ("artifacts.bytes_max", self.artifacts.bytes_max),
            ("load.sample_minutes", self.load.sample_minutes),
        ] {
            if value == 0 {
                return refuse(field, "it must be at least 1".to_owned());
            }
        }
        if self.certificates.valid_secs > VALID_SECS_MAX {
            return refuse("certificates.valid_secs", format!("it must be at most {VALID_SECS_MAX}"));
        }
        if !DAY_MINUTES.is_multiple_of(self.load.sample_minutes) {
            let why = format!("a day does not have a whole number of {} minutes", self.load.sample_minutes);
            return refuse("load.sample_minutes", why);
        }
        if self.api.listen == self.gate.listen && self.api.listen.port() != 0 {
            return refuse("gate.listen", format!("{} is the address of api.listen too", self.gate.listen));
        }
        Ok(())
    }
}

/// An IP address or a host name of letters, digits, dots and hyphens.
fn is_host(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok()
        || (1..=253).contains(&text.len())
            && text.split('.').all(|label| {
                (1..=63).contains(&label.len())
                    && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            })
}

/// One line with the place, out of the library's drawing of several lines.
fn toml_error(text: &str, file: &Path, error: &toml::de::Error) -> SettingsError {
    let start = error.span().map_or(0, |span| span.start.min(text.len()));
    let before = text.get(..start).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let shown = text.lines().nth(line - 1).unwrap_or_default().trim();
    SettingsError::Toml {
        file: file.to_owned(),
        line,
        text: quoted(shown).chars().take(80).collect(),
        why: quoted(&error.message().replace('\n', "; ")),
    }
}

/// A text with something of the file in it, as it fits into one line of a log.
fn quoted(why: &str) -> String {
    why.chars()
        .map(|character| if character.is_control() { ' ' } else { character })
        .take(WHY_CHARS_MAX)
        .collect()
}

/// The settings file that a first start writes: the defaults, explained.
pub fn default_file() -> String {
    let Settings { api, gate, orders, certificates, artifacts, load, .. } = Settings::default();
    format!(
        r#"# Settings of takt-coordinator. Every field may be left out; a commented one shows its default.

# Where keys, store, artifacts and repository live; relative to the folder of this file.
# data_dir = "."

# Host names and addresses by which devices and operators reach this machine. The first stands in what they are
# given. The server certificate, made anew at every start, is for all of them.
# public_hosts = ["localhost", "127.0.0.1", "<this machine's name>"]

[api]
# Where the HTTPS API listens.
listen = "{}"
# Connections at a time, in all and from one address; more are closed at once.
# connections_max = {}
# connections_per_source_max = {}
# Seconds for a TLS handshake, and for the head of a request.
# handshake_secs_max = {}

[gate]
# Where the MQTT gate listens.
listen = "{}"
# Connections at a time, in all and from one address.
# connections_max = {}
# connections_per_source_max = {}

[orders]
# Seconds after which an order that no signed report shows yet is sent again.
# resend_secs = {}
# So many devices have an order in hand at a time, campaigns together; others wait for them.
# in_hand_max = {}

[certificates]
# Seconds that a device's certificate is good for (90 days). Devices renew theirs at two thirds of that, or when they come back.
# valid_secs = {}

[artifacts]
# The largest artifact that is taken, in bytes.
# bytes_max = {}

[load]
# Health samples of so many minutes become one sample, of which those of four weeks are kept; forecasts stand on them. A day
# has a whole number of such steps.
# sample_minutes = {}
"#,
        api.listen,
        api.connections_max,
        api.connections_per_source_max,
        api.handshake_secs_max,
        gate.listen,
        gate.connections_max,
        gate.connections_per_source_max,
        orders.resend_secs,
        orders.in_hand_max,
        certificates.valid_secs,
        artifacts.bytes_max,
        load.sample_minutes
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Settings, SettingsError> {
        Settings::parse(text, Path::new("/etc/takt/coordinator.toml"))
    }

    #[test]
    fn the_default_file_gives_the_defaults_also_with_its_comments_removed() {
        let expected = Settings { data_dir: PathBuf::from("/etc/takt/."), ..Settings::default() };
        assert_eq!(parse(&default_file()).unwrap(), expected);
        assert_eq!(parse("").unwrap(), expected);
        let uncommented: String = default_file()
            .lines()
            .map(|line| line.strip_prefix("# ").filter(|rest| rest.contains(" = ")).unwrap_or(line))
            .filter(|line| !line.starts_with("public_hosts"))
            .collect::<Vec<_>>()
            .join("\n");
        assert_eq!(parse(&uncommented).unwrap(), expected);
    }

    #[test]
    fn what_is_wrong_is_told_in_one_short_line_whatever_the_file_says() {
        let long = "x".repeat(10_000);
        for text in [
            "public_hosts = [\"a\\nb\"]".to_owned(),
            format!("public_hosts = ['{long}']"),
            format!("{long} = 1"),
            "\"a\\nb\\u0007\" = 1".to_owned(),
        ] {
            let said = parse(&text).unwrap_err().to_string();
            assert!(said.chars().count() < 700 && !said.contains(char::is_control), "{said}");
        }
    }

    #[test]
    fn the_settings_that_the_package_ships_are_the_defaults_with_a_place_of_their_own() {
        let shipped = include_str!("../../packaging/etc/coordinator.toml");
        let expected =
            Settings { data_dir: PathBuf::from("/var/lib/takt-coordinator"), ..Settings::default() };
        assert_eq!(parse(shipped).unwrap(), expected);
        // What its comments show is what holds: `public_hosts` shows a name that only the machine knows.
        let uncommented = shipped.replace("\n# public_hosts", "\n## public_hosts");
        let settings = uncommented.lines().map(|line| match line.strip_prefix("# ") {
            Some(setting) if setting.contains(" = ") => setting,
            _ => line,
        });
        assert_eq!(parse(&settings.collect::<Vec<_>>().join("\n")).unwrap(), expected);
    }

    #[test]
    fn every_error_is_one_line_that_names_the_file_and_the_field() {
        for (text, field) in [
            ("[api]\nlissten = \"127.0.0.1:1\"", "lissten"),
            ("[api]\nlisten = \"nowhere\"", "listen"),
            ("[api]\nlisten = 3", "listen"),
            ("[api]\nconnections_max = -1", "connections_max"),
            ("[api]\nconnections_max = 0", "api.connections_max"),
            ("[orders]\nresend_secs = 0", "orders.resend_secs"),
            ("[orders\nresend_secs = 1", "[orders"),
            ("public_hosts = [\"a b\"]", "public_hosts"),
            ("public_hosts = \"a\"", "public_hosts"),
            ("[gate]\nlisten = \"0.0.0.0:8443\"", "gate.listen"),
            ("surprise = 1", "surprise"),
            ("[artifacts]\nbytes_max = \"1 GiB\"", "bytes_max"),
            ("[certificates]\nvalid_secs = 0", "certificates.valid_secs"),
            ("[certificates]\nvalid_secs = 400000000", "certificates.valid_secs"),
            ("[load]\nsample_minutes = 7", "load.sample_minutes"),
            ("[load]\nsample_minutes = 2880", "load.sample_minutes"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains("/etc/takt/coordinator.toml"), "{error}");
            assert!(error.contains(field), "{text}: {error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn this_machine_is_reached_by_its_loopback_unless_told_otherwise() {
        assert_eq!(parse("").unwrap().hosts()[..2], ["localhost".to_owned(), "127.0.0.1".to_owned()]);
        assert_eq!(parse("public_hosts = [\"fleet.example\"]").unwrap().hosts(), ["fleet.example"]);
    }
}
