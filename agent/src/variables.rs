//! Device variables: the texts of a release may name them as `${name}`, so that one signed release fits many devices.

use std::collections::BTreeMap;

use takt_agent_core::phase::Role;
use takt_common::Name;

/// What the variables are, by what the container serves as.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RoleVariables {
    /// For the device's own workload.
    pub own: Variables,
    /// For a workload that stands in for another device's.
    pub stand_in: Variables,
}

impl RoleVariables {
    /// Those of `role`.
    pub const fn of(&self, role: Role) -> &Variables {
        match role {
            Role::Own => &self.own,
            Role::StandIn => &self.stand_in,
        }
    }
}

/// Values by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Variables(pub BTreeMap<String, String>);

/// A text cannot be filled in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VariableError {
    /// The device has no such variable.
    #[error("fill in '{text}': the device has no variable '{name}'")]
    Unknown {
        /// The variable.
        name: String,
        /// The text that names it.
        text: String,
    },
    /// `${` without `}`.
    #[error("fill in '{text}': '${{' without '}}'")]
    Open {
        /// The text.
        text: String,
    },
}

impl Variables {
    /// These, with the direct ports of a container in the place of published ones.
    #[must_use]
    pub fn with(&self, direct: &BTreeMap<Name, u16>) -> Self {
        let mut all = self.0.clone();
        all.extend(direct.iter().map(|(name, port)| (name.to_string(), port.to_string())));
        Self(all)
    }

    /// `text` with every `${name}` replaced. A value is not looked at again, so it may hold anything.
    pub fn fill(&self, text: &str) -> Result<String, VariableError> {
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            let (name, after) =
                after.split_once('}').ok_or_else(|| VariableError::Open { text: text.to_owned() })?;
            let value = self
                .0
                .get(name)
                .ok_or_else(|| VariableError::Unknown { name: name.to_owned(), text: text.to_owned() })?;
            filled.push_str(before);
            filled.push_str(value);
            rest = after;
        }
        filled.push_str(rest);
        Ok(filled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables() -> Variables {
        Variables(
            [("port", "8081"), ("odd", "${port}"), ("empty", "")].map(|(k, v)| (k.into(), v.into())).into(),
        )
    }

    #[test]
    fn names_are_replaced_and_values_taken_as_they_are() {
        for (text, expected) in [
            ("", ""),
            ("plain $ } {", "plain $ } {"),
            ("http://127.0.0.1:${port}/health", "http://127.0.0.1:8081/health"),
            ("${port}${port}", "80818081"),
            ("${odd}", "${port}"),
            ("[${empty}]", "[]"),
        ] {
            assert_eq!(variables().fill(text).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn an_unknown_variable_is_named() {
        let error = variables().fill("a ${nowhere} b").unwrap_err();
        assert_eq!(error.to_string(), "fill in 'a ${nowhere} b': the device has no variable 'nowhere'");
        let error = variables().fill("a ${port").unwrap_err();
        assert_eq!(error.to_string(), "fill in 'a ${port': '${' without '}'");
    }
}
