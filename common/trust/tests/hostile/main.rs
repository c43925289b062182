//! Repositories that lie: each lie is refused with its reason, and the device keeps what it had.
#![allow(clippy::unwrap_used, reason = "a test may end with a panic")]

#[path = "../repository/mod.rs"]
mod repository;

mod director;
mod honest;
mod members;
mod recovery;
mod roots;
mod signatures;
mod texts;
mod time;
mod versions;

use takt_common::UnixTime;
use takt_trust::TrustError;

use repository::Repository;

const NOW: UnixTime = UnixTime::from_secs(1_795_248_000);

fn repository() -> Repository {
    Repository::new(NOW)
}

/// The words of an error and of its causes.
fn words(error: &TrustError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
