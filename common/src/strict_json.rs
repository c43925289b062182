//! JSON as signed documents need it: a size limit, no duplicate keys, no trailing bytes.
//!
//! RFC 8259 leaves the meaning of duplicate names open, so two readers of one signed text could see two documents.
//! `serde` derives refuse duplicate *known* fields; this module refuses them everywhere, maps included.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{self, DeserializeOwned, DeserializeSeed, MapAccess, SeqAccess, Visitor};

/// The deepest nesting that is read; no document of ours comes near it.
const DEPTH_MAX: usize = 32;

/// A text is not the JSON document that was expected.
#[derive(Debug, thiserror::Error)]
pub enum StrictJsonError {
    /// Longer than its limit.
    #[error("the document has {length} bytes, more than the {limit} allowed")]
    TooLong {
        /// Bytes received.
        length: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// Not JSON, a duplicate or unknown field, or a field of the wrong type.
    #[error("the document is malformed: {0}")]
    Malformed(#[from] serde_json::Error),
}

/// Reads one document of at most `limit` bytes into `T`, refusing duplicate keys at every depth.
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8], limit: usize) -> Result<T, StrictJsonError> {
    if bytes.len() > limit {
        return Err(StrictJsonError::TooLong { length: bytes.len(), limit });
    }
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    UniqueKeys { depth: DEPTH_MAX }.deserialize(&mut reader)?;
    reader.end()?;
    Ok(serde_json::from_slice(bytes)?)
}

/// Walks a document and keeps nothing of it.
#[derive(Clone, Copy)]
struct UniqueKeys {
    depth: usize,
}

impl UniqueKeys {
    fn inner<E: de::Error>(self) -> Result<Self, E> {
        self.depth.checked_sub(1).map(|depth| Self { depth }).ok_or_else(|| E::custom("nested too deeply"))
    }
}

impl<'de> DeserializeSeed<'de> for UniqueKeys {
    type Value = ();

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for UniqueKeys {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let inner = self.inner()?;
        while seq.next_element_seed(inner)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let inner = self.inner()?;
        let mut seen = BTreeSet::new();
        while let Some(key) = map.next_key::<String>()? {
            if seen.contains(&key) {
                return Err(de::Error::custom(format_args!("duplicate key '{key}'")));
            }
            seen.insert(key);
            map.next_value_seed(inner)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    type Map = BTreeMap<String, serde_json::Value>;

    #[test]
    fn duplicate_keys_are_refused_at_every_depth() {
        for text in [
            r#"{"a":1,"a":2}"#,
            r#"{"a":{"b":1,"b":1}}"#,
            r#"{"a":[{"b":1,"b":1}]}"#,
            r#"{"a":1,"\u0061":2}"#,
        ] {
            let error = from_slice::<Map>(text.as_bytes(), 100).unwrap_err().to_string();
            assert!(error.contains("duplicate key"), "{text}: {error}");
        }
    }

    #[test]
    fn trailing_bytes_depth_and_size_are_refused() {
        assert!(from_slice::<Map>(b"{} x", 100).is_err());
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(40), "]".repeat(40));
        assert!(from_slice::<Map>(deep.as_bytes(), 100).unwrap_err().to_string().contains("deep"));
        assert!(matches!(from_slice::<Map>(b"{}", 1), Err(StrictJsonError::TooLong { length: 2, limit: 1 })));
        assert!(from_slice::<Map>(br#"{"a":[1,null,"x",{"b":true}]}"#, 100).is_ok());
    }
}
