//! How a release of the workload behaves, once it runs.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// The nature of a release; baked into its image as `NATURE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nature {
    /// Serves and is healthy.
    Good,
    /// Serves, but its health check answers 500.
    Sick,
    /// Serves and is healthy, then exits 1.
    DiesAfter(Duration),
    /// Accepts health checks and never answers them.
    Mute,
    /// Exits 127 at once.
    WontStart,
}

/// A text that names no nature.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("know the nature '{text}': good, sick, dies-after:<ms>, mute or wont-start")]
pub struct NatureError {
    text: String,
}

const DIES_AFTER: &str = "dies-after:";

impl FromStr for Nature {
    type Err = NatureError;

    fn from_str(text: &str) -> Result<Self, NatureError> {
        let unknown = || NatureError { text: text.to_owned() };
        match text {
            "good" => Ok(Self::Good),
            "sick" => Ok(Self::Sick),
            "mute" => Ok(Self::Mute),
            "wont-start" => Ok(Self::WontStart),
            _ => {
                let millis = text.strip_prefix(DIES_AFTER).ok_or_else(unknown)?;
                Ok(Self::DiesAfter(Duration::from_millis(millis.parse().map_err(|_| unknown())?)))
            }
        }
    }
}

impl fmt::Display for Nature {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Good => out.write_str("good"),
            Self::Sick => out.write_str("sick"),
            Self::DiesAfter(life) => write!(out, "{DIES_AFTER}{}", life.as_millis()),
            Self::Mute => out.write_str("mute"),
            Self::WontStart => out.write_str("wont-start"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_nature_is_read_back_from_its_own_text() {
        let natures = [
            Nature::Good,
            Nature::Sick,
            Nature::DiesAfter(Duration::from_millis(1500)),
            Nature::Mute,
            Nature::WontStart,
        ];
        for nature in natures {
            assert_eq!(nature.to_string().parse(), Ok(nature));
        }
    }

    #[test]
    fn refuses_what_is_almost_a_nature() {
        for text in ["", "Good", "dies-after", "dies-after:", "dies-after:-1", "dies-after:1s"] {
            let error = text.parse::<Nature>().unwrap_err();
            assert!(error.to_string().contains(&format!("'{text}'")), "{error}");
        }
    }
}
