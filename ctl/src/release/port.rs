//! Published ports from arguments: `VARIABLE` or `VARIABLE:CONTAINER_PORT`.

use takt_common::Name;
use takt_common::id::IdError;
use takt_common::release::Port;

/// A published port is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// The variable's name is none.
    #[error("port '{port}'")]
    Variable {
        /// As written.
        port: String,
        /// Why.
        source: IdError,
    },
    /// The container's port is none.
    #[error("port '{port}': VARIABLE or VARIABLE:CONTAINER_PORT is expected, the port from 1 to 65535")]
    Number {
        /// As written.
        port: String,
    },
}

/// Reads a published port; for clap too.
pub(super) fn parse(text: &str) -> Result<Port, PortError> {
    let port = || text.chars().take(160).collect::<String>();
    let (variable, number) = match text.split_once(':') {
        None => (text, None),
        Some((variable, number)) => (variable, Some(number)),
    };
    let variable = variable.parse::<Name>().map_err(|source| PortError::Variable { port: port(), source })?;
    let container_port = match number.map(str::parse::<u16>) {
        None => None,
        Some(Ok(number)) if number > 0 => Some(number),
        Some(_) => return Err(PortError::Number { port: port() }),
    };
    Ok(Port { variable, container_port })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_a_variable_and_perhaps_a_number() {
        let port = |container_port| Port { variable: "port".parse().unwrap(), container_port };
        assert_eq!(parse("port"), Ok(port(None)));
        assert_eq!(parse("port:8080"), Ok(port(Some(8080))));
        for text in ["", ":80", "Port", "port:", "port:0", "port:65536", "port:80:80", "80:port", "port:http"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
