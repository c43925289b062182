//! Which devices a campaign is for, by what is known of them (paper 2, "Target Identification"):
//! `model = "cam-x" and version >= "1.1" and domain in ("north")`. The grammar stands in `grammar.pest` and docs/campaigns.md.

mod ask;
mod parse;

use std::fmt;
use std::str::FromStr;

pub use ask::Subject;
pub use parse::QueryError;

/// A query that has been read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    text: String,
    expression: Expression,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Expression {
    Either(Vec<Expression>),
    Both(Vec<Expression>),
    Not(Box<Expression>),
    Compared { field: Field, comparison: Comparison, value: Value },
    Listed { field: Field, values: Vec<Value> },
    Alike { field: Field, pattern: String },
}

/// What is asked of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Field {
    Name,
    Id,
    Domain,
    Model,
    /// Of a component; without one, of that of the campaign.
    Version(Option<String>),
    /// Likewise.
    Counter(Option<String>),
    Agent,
    Kernel,
    Online,
    Battery,
    Link,
    StorageFree,
    MemoryFree,
    Feature(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Is,
    IsNot,
    Below,
    AtMost,
    Above,
    AtLeast,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Value {
    Text(String),
    Number(u64),
    Truth(bool),
}

/// What kind of value a field has, and so what it can be held against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Compared by its letters; only whether it is the same.
    Text,
    /// Compared part by part, numbers by their size: 1.9 is below 1.10.
    Version,
    Number,
    Truth,
}

impl Field {
    const fn kind(&self) -> Kind {
        match self {
            Self::Name | Self::Id | Self::Domain | Self::Model | Self::Link | Self::Feature(_) => Kind::Text,
            Self::Version(_) | Self::Agent | Self::Kernel => Kind::Version,
            Self::Counter(_) | Self::Battery | Self::StorageFree | Self::MemoryFree => Kind::Number,
            Self::Online => Kind::Truth,
        }
    }
}

impl FromStr for Query {
    type Err = QueryError;

    fn from_str(text: &str) -> Result<Self, QueryError> {
        Ok(Self { text: text.to_owned(), expression: parse::parse(text)? })
    }
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests;
