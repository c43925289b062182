//! From an adapter's error to what the decision sees: a nature, and one sentence with the whole chain of causes.

use std::error::Error;

use crate::action::{ActionFailure, Nature};

/// `error` and its causes, each said once, joined by ": ".
pub fn sentence(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        // Some libraries repeat their cause in their own text.
        if !text.ends_with(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}

/// An error that knows whether trying again makes sense.
pub trait Natured: Error {
    /// Whether trying again makes sense.
    fn nature(&self) -> Nature;
}

/// The failure of an action.
pub fn failure<E: Natured + 'static>(error: &E) -> ActionFailure {
    ActionFailure { nature: error.nature(), text: sentence(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("open the door")]
    struct Outer(#[source] Middle);

    #[derive(Debug, thiserror::Error)]
    #[error("turn the key: it is stuck")]
    struct Middle(#[source] Inner);

    #[derive(Debug, thiserror::Error)]
    #[error("it is stuck")]
    struct Inner;

    #[test]
    fn a_chain_is_said_once() {
        assert_eq!(sentence(&Outer(Middle(Inner))), "open the door: turn the key: it is stuck");
    }
}
