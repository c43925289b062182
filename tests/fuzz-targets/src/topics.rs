//! Topics, and the names and ids that they are made of.

use takt_common::release::ReleaseId;
use takt_common::topic::Topic;
use takt_common::{DeviceId, Name, PublicKey, Sha256Digest};

use crate::memory::bounded;

/// Reads the input as each of them: what is accepted is written as it was.
pub fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    bounded(input, 64, || {
        if let Ok(topic) = text.parse::<Topic>() {
            assert_eq!(topic.to_string(), text);
            assert!(!text.contains(['+', '#', '$', '\0']), "a topic with a wildcard: {text}");
            // Who may use it is told by its parts: those of another device never make the same text.
            assert_eq!(text.split('/').nth(1), Some(topic.domain.as_str()));
            assert_eq!(text.split('/').nth(2), Some(topic.device.to_string().as_str()));
        }
        if let Ok(name) = text.parse::<Name>() {
            assert_eq!(name.as_str(), text);
            assert!(!text.is_empty() && !text.contains(['/', '\0', ' ']) && !text.starts_with('.'), "{text}");
        }
        if let Ok(id) = text.parse::<DeviceId>() {
            assert_eq!(id.to_string(), text);
        }
        if let Ok(key) = text.parse::<PublicKey>() {
            assert_eq!(key.to_string(), text);
        }
        if let Ok(digest) = text.parse::<Sha256Digest>() {
            assert_eq!(digest.to_string(), text);
        }
        if let Some((name, version)) = text.split_once(' ')
            && let (Ok(name), Ok(version)) = (name.parse(), version.parse())
        {
            // A path in a repository and in a folder: it has as many levels as it should.
            let path = ReleaseId { name, version }.target_path();
            assert!(path.split('/').all(|level| !matches!(level, "" | "." | "..")), "{path}");
        }
    });
}
