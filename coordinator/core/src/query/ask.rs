//! Whether a device is meant. What is not known of it is neither true nor false (Kleene's three values); only devices that are surely
//! meant are targets.

use std::cmp::Ordering;

use takt_common::Name;
use version_compare::{Cmp, Version};

use super::{Comparison, Expression, Field, Query, Value};
use crate::fleet::DeviceState;

/// Of which device it is asked, and for which component.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The device.
    pub device: &'a DeviceState,
    /// What `version` and `counter` mean without a name behind them; they are not known without it.
    pub component: Option<&'a Name>,
}

impl Query {
    /// Whether the device is meant; absent while too little is known of it.
    pub fn means(&self, subject: Subject<'_>) -> Option<bool> {
        self.expression.holds(subject)
    }
}

impl Expression {
    fn holds(&self, subject: Subject<'_>) -> Option<bool> {
        match self {
            Self::Either(parts) => any(parts.iter().map(|part| part.holds(subject)), true),
            Self::Both(parts) => any(parts.iter().map(|part| part.holds(subject)), false),
            Self::Not(part) => part.holds(subject).map(|holds| !holds),
            Self::Compared { field, comparison, value } => {
                let order = field.of(subject)?.beside(value)?;
                Some(comparison.allows(order))
            }
            Self::Listed { field, values } => {
                let found = field.of(subject)?;
                any(values.iter().map(|value| found.beside(value).map(Ordering::is_eq)), true)
            }
            Self::Alike { field, pattern } => match field.of(subject)? {
                Found::Text(text) | Found::Version(text) => Some(is_like(text, pattern)),
                Found::Id(text) => Some(is_like(&text, pattern)),
                Found::Number(_) | Found::Truth(_) => None,
            },
        }
    }
}

/// `wanted` as soon as one part is that, the other once all are, and nothing while that depends on what is not known.
fn any(parts: impl Iterator<Item = Option<bool>>, wanted: bool) -> Option<bool> {
    let mut known = Some(!wanted);
    for part in parts {
        match part {
            Some(holds) if holds == wanted => return Some(wanted),
            Some(_) => {}
            None => known = None,
        }
    }
    known
}

/// What a field of a device holds.
enum Found<'a> {
    Text(&'a str),
    Id(String),
    Version(&'a str),
    Number(u64),
    Truth(bool),
}

impl Field {
    fn of<'a>(&self, Subject { device, component }: Subject<'a>) -> Option<Found<'a>> {
        let facts = &device.facts;
        let installed = |of: &Option<String>| {
            let wanted = of.as_deref().or(component.map(Name::as_str))?;
            device.installed.iter().find(|installed| installed.release.name.as_str() == wanted)
        };
        Some(match self {
            Self::Name => Found::Text(device.name.as_str()),
            Self::Id => Found::Id(device.id.to_string()),
            Self::Domain => Found::Text(device.domain.as_str()),
            Self::Model => Found::Text(device.hardware.as_str()),
            Self::Version(of) => Found::Version(installed(of)?.release.version.as_str()),
            Self::Counter(of) => Found::Number(installed(of)?.counter),
            Self::Agent => Found::Version(facts.agent.as_deref()?),
            Self::Kernel => Found::Version(facts.kernel.as_deref()?),
            Self::Online => Found::Truth(device.online),
            // Mains never runs out.
            Self::Battery => {
                Found::Number(u64::from(facts.agent.as_ref().map(|_| facts.battery_percent.unwrap_or(100))?))
            }
            Self::Link => Found::Text(facts.link?.as_str()),
            Self::StorageFree => Found::Number(facts.storage_free_bytes?),
            Self::MemoryFree => Found::Number(facts.memory_free_bytes?),
            Self::Feature(name) => {
                facts.agent.as_ref()?;
                Found::Text(facts.features.get(name).map_or("", String::as_str))
            }
        })
    }
}

impl Found<'_> {
    fn beside(&self, value: &Value) -> Option<Ordering> {
        match (self, value) {
            (Self::Text(text), Value::Text(value)) => Some(text.cmp(&value.as_str())),
            (Self::Id(text), Value::Text(value)) => Some(text.cmp(value)),
            (Self::Number(number), Value::Number(value)) => Some(number.cmp(value)),
            (Self::Truth(truth), Value::Truth(value)) => Some(truth.cmp(value)),
            (Self::Version(text), Value::Text(value)) => Some(compare_versions(text, value)),
            _ => None,
        }
    }
}

impl Comparison {
    const fn allows(self, order: Ordering) -> bool {
        match self {
            Self::Is => order.is_eq(),
            Self::IsNot => order.is_ne(),
            Self::Below => order.is_lt(),
            Self::AtMost => order.is_le(),
            Self::Above => order.is_gt(),
            Self::AtLeast => order.is_ge(),
        }
    }
}

fn compare_versions(left: &str, right: &str) -> Ordering {
    let (Some(a), Some(b)) = (Version::from(left), Version::from(right)) else { return left.cmp(right) };
    match a.compare(b) {
        Cmp::Lt => Ordering::Less,
        Cmp::Gt => Ordering::Greater,
        _ => Ordering::Equal,
    }
}

/// Whether the text is the pattern, in which `*` stands for anything.
fn is_like(text: &str, pattern: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some(found) = rest.find(part) else { return false };
        rest = &rest[found + part.len()..];
    }
    rest.ends_with(last)
}
