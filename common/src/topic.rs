//! The grammar of MQTT topics: `down/<domain>/<device>/order|ack|time|audit` and `up/<domain>/<device>/report|health`.

use std::fmt;
use std::str::FromStr;

use crate::id::{DeviceId, Name};

/// What travels from the coordinator to a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Down {
    /// A signed order.
    Order,
    /// The coordinator has made reports durable.
    Ack,
    /// A signed statement of the time.
    Time,
    /// The signed head of the coordinator's audit log, the same for all devices.
    Audit,
}

/// What travels from a device to the coordinator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Up {
    /// A signed report.
    Report,
    /// A health sample; the next one replaces it.
    Health,
}

/// Where a topic leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Way {
    /// From the coordinator to the device.
    Down(Down),
    /// From the device to the coordinator.
    Up(Up),
}

/// One topic of one device.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Topic {
    /// The device's domain.
    pub domain: Name,
    /// The device.
    pub device: DeviceId,
    /// Direction and subject.
    pub way: Way,
}

/// A text is not a topic of Takt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{topic}' is not a topic of Takt: down/<domain>/<device>/order|ack|time|audit or up/<domain>/<device>/report|health expected"
)]
pub struct TopicError {
    topic: String,
}

impl Topic {
    /// A topic towards `device`.
    pub fn down(domain: &Name, device: DeviceId, subject: Down) -> Self {
        Self { domain: domain.clone(), device, way: Way::Down(subject) }
    }

    /// A topic from `device`.
    pub fn up(domain: &Name, device: DeviceId, subject: Up) -> Self {
        Self { domain: domain.clone(), device, way: Way::Up(subject) }
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (direction, subject) = match self.way {
            Way::Down(Down::Order) => ("down", "order"),
            Way::Down(Down::Ack) => ("down", "ack"),
            Way::Down(Down::Time) => ("down", "time"),
            Way::Down(Down::Audit) => ("down", "audit"),
            Way::Up(Up::Report) => ("up", "report"),
            Way::Up(Up::Health) => ("up", "health"),
        };
        write!(f, "{direction}/{}/{}/{subject}", self.domain, self.device)
    }
}

impl FromStr for Topic {
    type Err = TopicError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || TopicError { topic: text.chars().take(120).collect() };
        let levels: Vec<&str> = text.splitn(5, '/').collect();
        let &[direction, domain, device, subject] = levels.as_slice() else {
            return Err(error());
        };
        let way = match (direction, subject) {
            ("down", "order") => Way::Down(Down::Order),
            ("down", "ack") => Way::Down(Down::Ack),
            ("down", "time") => Way::Down(Down::Time),
            ("down", "audit") => Way::Down(Down::Audit),
            ("up", "report") => Way::Up(Up::Report),
            ("up", "health") => Way::Up(Up::Health),
            _ => return Err(error()),
        };
        let domain = domain.parse().map_err(|_| error())?;
        let device = device.parse().map_err(|_| error())?;
        Ok(Self { domain, device, way })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEVICE: &str = "00112233445566778899aabbccddeeff";

    #[test]
    fn every_topic_reads_back_as_itself() {
        for text in [
            "down/north/{}/order",
            "down/north/{}/ack",
            "down/n/{}/time",
            "down/n/{}/audit",
            "up/a.b/{}/report",
            "up/a/{}/health",
        ] {
            let text = text.replace("{}", DEVICE);
            assert_eq!(text.parse::<Topic>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn wildcards_shares_and_foreign_shapes_are_no_topics() {
        for text in [
            "#",
            "+",
            "up/#",
            "up/+/{}/report",
            "$share/g/up/n/{}/report",
            "$SYS/x",
            "up/n/{}",
            "up/n/{}/report/x",
            "up/n/{}/order",
            "down/n/{}/report",
            "/up/n/{}/report",
            "",
        ] {
            assert!(text.replace("{}", DEVICE).parse::<Topic>().is_err(), "{text}");
        }
    }
}
