//! What the workload is told by its environment: the image bakes version and nature in, the container the rest.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::nature::{Nature, NatureError};

/// The variable that says how much memory the workload holds beside its counter, in MiB.
pub const HOLD_VARIABLE: &str = "HOLD_MIB";
/// More than any device of the tests has to spare.
const HOLD_MIB_MAX: usize = 1 << 12;

/// Everything the workload is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where it serves: `BIND` (default 127.0.0.1) and `PORT`.
    pub address: SocketAddr,
    /// `VERSION`, as its answers show it.
    pub version: String,
    /// `NATURE` (default good).
    pub nature: Nature,
    /// `DEVICE` (default empty), as its answers show it.
    pub device: String,
    /// `HOLD_MIB` (default 0): memory that it fills at its start and keeps.
    pub hold_mib: usize,
}

/// A variable that is missing or cannot be understood.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The variable has no default.
    #[error("find the variable {name}")]
    Missing {
        /// Its name.
        name: &'static str,
    },
    /// `PORT` is no number from 1 to 65535.
    #[error("read PORT='{text}' as a port from 1 to 65535")]
    Port {
        /// Its value.
        text: String,
    },
    /// `BIND` is no address.
    #[error("read BIND='{text}' as an IP address")]
    Bind {
        /// Its value.
        text: String,
    },
    /// `HOLD_MIB` is no such number.
    #[error("read HOLD_MIB='{text}' as a number up to {HOLD_MIB_MAX}")]
    Hold {
        /// Its value.
        text: String,
    },
    /// `NATURE` is none.
    #[error("read NATURE")]
    Nature(#[source] NatureError),
}

impl Settings {
    /// Reads the settings through `variable`, which answers with a variable's value.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, SettingsError> {
        let port = variable("PORT").ok_or(SettingsError::Missing { name: "PORT" })?;
        let port = match port.parse::<u16>() {
            Ok(number) if number > 0 => number,
            _ => return Err(SettingsError::Port { text: port }),
        };
        let bind = match variable("BIND") {
            Some(text) => text.parse().map_err(|_| SettingsError::Bind { text })?,
            None => IpAddr::V4(Ipv4Addr::LOCALHOST),
        };
        let nature = match variable("NATURE") {
            Some(text) => text.parse().map_err(SettingsError::Nature)?,
            None => Nature::Good,
        };
        let hold = variable(HOLD_VARIABLE).unwrap_or_else(|| "0".to_owned());
        let hold_mib = match hold.parse() {
            Ok(mib) if mib <= HOLD_MIB_MAX => mib,
            _ => return Err(SettingsError::Hold { text: hold }),
        };
        Ok(Self {
            address: SocketAddr::new(bind, port),
            version: variable("VERSION").ok_or(SettingsError::Missing { name: "VERSION" })?,
            nature,
            device: variable("DEVICE").unwrap_or_default(),
            hold_mib,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Settings, SettingsError> {
        Settings::read(|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn needs_only_a_port_and_a_version() {
        let settings = read(&[("PORT", "8080"), ("VERSION", "1.0.0")]).unwrap();
        assert_eq!(settings.address.to_string(), "127.0.0.1:8080");
        assert_eq!(settings.nature, Nature::Good);
        assert_eq!(settings.device, "");
    }

    #[test]
    fn names_the_variable_that_is_wrong() {
        let cases: [(&[(&str, &str)], &str); 6] = [
            (&[("VERSION", "1")], "PORT"),
            (&[("PORT", "8080")], "VERSION"),
            (&[("PORT", "0"), ("VERSION", "1")], "PORT='0'"),
            (&[("PORT", "1"), ("VERSION", "1"), ("BIND", "here")], "BIND='here'"),
            (&[("PORT", "1"), ("VERSION", "1"), ("NATURE", "moody")], "NATURE"),
            (&[("PORT", "1"), ("VERSION", "1"), ("HOLD_MIB", "4097")], "HOLD_MIB='4097'"),
        ];
        for (variables, expected) in cases {
            let error = read(variables).unwrap_err().to_string();
            assert!(error.contains(expected), "{error} should name {expected}");
        }
    }
}
