//! Documents that are written as they were read.

use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use takt_common::strict_json;

/// Reads an input as the document `T`, and holds what was accepted against its own writing.
pub(crate) fn read<T>(input: &[u8], length_max: usize) -> Option<T>
where
    T: Serialize + DeserializeOwned + PartialEq + Debug,
{
    let read: T = strict_json::from_slice(input, length_max).ok()?;
    let written = serde_json::to_vec(&read).expect("what was read can be written");
    let again: T = strict_json::from_slice(&written, usize::MAX)
        .unwrap_or_else(|error| panic!("{} is not read again: {error}", String::from_utf8_lossy(&written)));
    assert!(again == read || same(&value(&again), &value(&read)), "{read:?} became {again:?}");
    Some(read)
}

fn value(document: &impl Serialize) -> Value {
    serde_json::to_value(document).expect("what was read can be written")
}

/// Whether two documents say the same. A fraction may lose its last bit when it is read: nothing that is signed or compared has one.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(key, one)| other.get(key).is_some_and(|other| same(one, other)))
        }
        (Value::Number(a), Value::Number(b)) if a.is_f64() && b.is_f64() => {
            let (a, b) = (a.as_f64().unwrap_or_default(), b.as_f64().unwrap_or_default());
            (a - b).abs() <= a.abs() * 4.0 * f64::EPSILON
        }
        _ => one == other,
    }
}
