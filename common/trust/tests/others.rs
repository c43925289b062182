//! Repositories of others: verified by the same code as Takt's own, by the rules of TUF alone.
#![allow(clippy::unwrap_used, reason = "a test may end with a panic")]

mod foreign;

use ring::rand::SystemRandom;
use takt_common::{SigningKey, UnixTime};
use takt_trust::{PackageTrust, TrustError, TufDocuments, TufRefresh, TufTarget};

use foreign::Foreign;

/// In 2026.
const NOW: UnixTime = UnixTime::from_secs(1_795_248_000);

fn repository() -> Foreign {
    Foreign::new((0..3).map(|_| SigningKey::generate(&SystemRandom::new()).unwrap()).collect())
}

fn stored(repository: &Foreign) -> TufDocuments {
    TufDocuments { root: repository.root(), ..TufDocuments::default() }
}

/// A whole refresh; what has been verified takes the place of what was stored, also after an error.
fn refresh(stored: &mut TufDocuments, repository: &Foreign) -> Result<TufRefresh, TrustError> {
    let mut refresh = TufRefresh::begin(stored, NOW)?;
    while let Some(need) = refresh.need() {
        let provided = refresh.provide(repository.files.get(&need.name).cloned());
        let TufDocuments { root, timestamp, snapshot, targets } = refresh.verified();
        stored.root = root;
        for (old, new) in [
            (&mut stored.timestamp, timestamp),
            (&mut stored.snapshot, snapshot),
            (&mut stored.targets, targets),
        ] {
            *old = new.or(old.take());
        }
        provided?;
    }
    Ok(refresh)
}

/// A search with a fresh memory: the target, and the roles that were asked for.
fn search(repository: &Foreign, path: &str) -> Result<(Option<TufTarget>, Vec<String>), TrustError> {
    let mut targets = refresh(&mut stored(repository), repository)?.finish()?;
    let (mut search, mut asked) = (targets.search(path)?, Vec::new());
    while let Some(need) = search.need() {
        asked.push(search.role().unwrap().to_owned());
        search.provide(repository.files.get(&need.name).map(Vec::as_slice))?;
    }
    Ok((search.finish(), asked))
}

#[test]
fn what_takt_would_refuse_as_its_own_is_verified_as_that_of_others() {
    for consistent in [true, false] {
        let mut repository = repository();
        repository.consistent = consistent;
        repository.publish_root();
        repository.offer("targets", "tools/camera", b"a tool");
        repository.publish();
        let error = PackageTrust::from_root(&repository.root()).unwrap_err();
        assert!(matches!(&error, TrustError::Rule { .. }), "{error}");

        let (found, asked) = search(&repository, "tools/camera").unwrap();
        let found = found.unwrap();
        assert!(found.is(b"a tool") && !found.is(b"a took") && !found.is(b"a tool "), "{found:?}");
        assert_eq!(found.file.starts_with("tools/camera"), !consistent, "{}", found.file);
        assert!(asked.is_empty());
        assert_eq!(search(&repository, "tools/other").unwrap().0, None);
    }
}

#[test]
fn a_target_needs_a_digest_that_is_known() {
    let hashes = [("md5".to_owned(), "d41d8cd98f00b204e9800998ecf8427e".to_owned())].into();
    assert!(!TufTarget { length: 0, hashes, file: String::new() }.is(b""));
}

#[test]
fn delegated_roles_are_searched_one_below_the_other_in_their_order() {
    let mut repository = repository();
    repository.delegate("targets", "a", 1, &["*"], false);
    repository.delegate("targets", "b", 2, &["*", "os/*"], false);
    repository.delegate("a", "c", 2, &["*"], false);
    repository.delegate("c", "a", 1, &["*"], false);
    repository.delegate("b", "c", 2, &["os/*"], false);
    repository.offer("c", "os/x", b"by c");
    repository.publish();
    let asked = |path| search(&repository, path).unwrap().1.concat();
    assert_eq!(asked("missing"), "acb");
    // `*` ends at a slash, so only the second role may speak of it, and by it the third.
    let (found, order) = search(&repository, "os/x").unwrap();
    assert!(found.unwrap().is(b"by c"));
    assert_eq!(order.concat(), "bc");
    assert_eq!(asked("os/deep/x"), "");

    // One that ends the search leaves no room for those behind it.
    repository.roles.get_mut("a").unwrap().delegations[0]["terminating"] = true.into();
    repository.publish();
    assert_eq!(search(&repository, "missing").unwrap().1.concat(), "ac");
}

#[test]
fn a_delegated_role_is_signed_as_whoever_delegates_it_says() {
    let mut repository = repository();
    repository.delegate("targets", "a", 1, &["*"], false);
    repository.offer("a", "tool", b"a tool");
    repository.roles.get_mut("a").unwrap().signer = 0;
    repository.publish();
    let error = search(&repository, "tool").unwrap_err();
    assert_eq!(error.to_string(), "1.a.json is not what its delegation by role 'targets' allows");

    // The same role by two others, of which the second asks for another key.
    repository.roles.get_mut("a").unwrap().signer = 1;
    repository.roles.get_mut("a").unwrap().targets.clear();
    repository.delegate("targets", "b", 1, &["*"], false);
    repository.delegate("b", "c", 1, &["*"], false);
    repository.delegate("a", "c", 2, &["*"], false);
    repository.roles.get_mut("c").unwrap().signer = 2;
    repository.publish();
    assert_eq!(search(&repository, "tool").unwrap().1.concat(), "acb");
}

#[test]
fn a_stored_copy_of_a_delegated_role_counts_only_while_it_is_in_force() {
    let mut repository = repository();
    repository.delegate("targets", "a", 1, &["*"], false);
    repository.offer("a", "tool", b"old");
    repository.publish();
    let copy = repository.files["1.a.json"].clone();
    let mut memory = stored(&repository);
    let mut targets = refresh(&mut memory, &repository).unwrap().finish().unwrap();
    let mut search = targets.search("tool").unwrap();
    assert!(search.offer(&copy).unwrap());
    assert!(search.finish().unwrap().is(b"old"));

    repository.roles.get_mut("a").unwrap().version = 2;
    repository.offer("a", "tool", b"new");
    repository.publish();
    let mut targets = refresh(&mut memory, &repository).unwrap().finish().unwrap();
    let mut search = targets.search("tool").unwrap();
    assert!(!search.offer(&copy).unwrap());
    assert_eq!(search.need().unwrap().name, "2.a.json");
    search.provide(Some(&repository.files["2.a.json"])).unwrap();
    assert!(search.finish().unwrap().is(b"new"));
}

#[test]
fn what_was_verified_before_a_refusal_is_kept() {
    let mut repository = repository();
    repository.publish();
    let mut memory = stored(&repository);
    refresh(&mut memory, &repository).unwrap();
    let before = memory.clone();
    repository.snapshot_expires = "2026-01-01T00:00:00Z";
    repository.publish();
    let error = refresh(&mut memory, &repository).unwrap_err();
    assert!(matches!(&error, TrustError::Expired { role: "snapshot", .. }), "{error}");
    assert_eq!(memory.timestamp.as_deref(), Some(&*repository.files["timestamp.json"]));
    assert_eq!((&memory.snapshot, &memory.targets), (&before.snapshot, &before.targets));
}

#[test]
fn nothing_goes_back_and_what_is_unchanged_is_not_fetched_again() {
    let mut repository = repository();
    repository.publish();
    repository.publish();
    let mut memory = stored(&repository);
    refresh(&mut memory, &repository).unwrap();

    let mut again = TufRefresh::begin(&memory, NOW).unwrap();
    again.provide(None).unwrap();
    again.provide(repository.files.get("timestamp.json").cloned()).unwrap();
    assert_eq!(again.need(), None);

    let newest = memory.clone();
    repository.timestamp = 0;
    repository.publish();
    let error = refresh(&mut memory, &repository).unwrap_err();
    assert!(matches!(&error, TrustError::Rollback { trusted: 2, found: 1, .. }), "{error}");
    assert_eq!(memory, newest);
    // Newer than what is trusted, with an older snapshot in it.
    (repository.timestamp, repository.snapshot) = (7, 0);
    repository.publish();
    let error = refresh(&mut memory, &repository).unwrap_err();
    assert!(matches!(&error, TrustError::Rollback { trusted: 2, found: 1, .. }), "{error}");
    assert_eq!(memory, newest);
}
