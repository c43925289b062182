//! Trust documents: package root, targets, snapshot and timestamp, documents of delegated roles, the director root.

mod repository;

use takt_common::UnixTime;
use takt_trust::{DirectorSpec, DirectorTrust, Document, PackageTrust, RootSpec, TargetsDocument};

use crate::memory::bounded;
use repository::{REPOSITORY, Role};

/// The time of all that happens here.
pub(crate) const NOW: UnixTime = UnixTime::from_secs(1_795_248_000);

/// Reads the input as a document of any kind; or, when the first byte says so, shows it to a device in the place of an honest one,
/// as it is or signed by those who may.
pub fn run(input: &[u8]) {
    match input {
        [0xf0, which, document @ ..] => bounded(input, 512, || show(*which, document)),
        [0xf1, which, said @ ..] => bounded(input, 1_024, || show_signed(*which, said)),
        _ => bounded(input, 256, || read(input)),
    }
}

fn read(input: &[u8]) {
    if let Ok(document) = Document::from_bytes(input) {
        let again = Document::from_bytes(&document.to_bytes()).expect("what was accepted is accepted again");
        assert_eq!(again, document);
        if let Ok(spec) = RootSpec::from_document(&document) {
            let again = spec.document().expect("what was read keeps the rules");
            assert_eq!(RootSpec::from_document(&again).as_ref().ok(), Some(&spec));
        }
        if let Ok(spec) = DirectorSpec::from_document(&document) {
            let again = spec.document().expect("what was read keeps the rules");
            assert_eq!(DirectorSpec::from_document(&again).as_ref().ok(), Some(&spec));
        }
        if let Ok(targets) = TargetsDocument::from_document(&document) {
            assert_eq!(TargetsDocument::from_document(&targets.document()).as_ref().ok(), Some(&targets));
        }
    }
    if let Ok(trust) = PackageTrust::from_root(input) {
        let document = Document::from_bytes(input).expect("a root is a document");
        let spec = RootSpec::from_document(&document).expect("a root is one");
        assert!(document.is_signed_by(&spec.roles.root), "a root that its own keys have not signed");
        assert_eq!(trust.root_bytes(), input);
        let again = PackageTrust::from_stored(&trust.to_stored()).expect("what was trusted is read again");
        assert_eq!((again.root_version(), again.root_bytes()), (trust.root_version(), input));
    }
    if let Ok(trust) = DirectorTrust::from_root(input) {
        let document = Document::from_bytes(input).expect("a root is a document");
        let spec = DirectorSpec::from_document(&document).expect("a director root is one");
        assert!(document.is_signed_by(&spec.root), "a root that its own keys have not signed");
        let again = DirectorTrust::from_stored(&trust.to_stored()).expect("what was trusted is read again");
        assert_eq!((again.epoch(), again.order_signers()), (trust.epoch(), trust.order_signers()));
    }
}

/// A device looks at the repository in which one document is the input. Whoever wrote it holds no key, so the device trusts what it
/// would have trusted anyway, or nothing new.
fn show(which: u8, document: &[u8]) {
    let honest = &REPOSITORY;
    let role = Role::of(which);
    let name = honest.name(role);
    let shown = honest.device.refreshed(NOW, |need| {
        if need.name == name { Some(document.to_vec()) } else { honest.files.get(&need.name).cloned() }
    });
    if let Ok(trust) = shown {
        assert_eq!(trust.root_version(), honest.informed.root_version(), "a root that nobody has signed");
        assert!(trust.target_paths().eq(honest.informed.target_paths()), "targets that nobody has signed");
        assert_eq!(trust.snapshot(), honest.informed.snapshot(), "a snapshot that nobody has signed");
    }
    if role == Role::Root {
        let mut refresh = honest.director.begin_refresh();
        if refresh.provide(Some(document.to_vec())).is_ok()
            && let Ok(director) = refresh.finish()
        {
            assert_eq!(director.epoch(), honest.director.epoch(), "a director root that nobody has signed");
        }
    }
}

/// The same with the signatures of those who may: what they say may be taken or not, but is never half understood.
fn show_signed(which: u8, said: &[u8]) {
    let honest = &REPOSITORY;
    let role = Role::of(which);
    let Some(files) = honest.with(role, said) else { return };
    let Ok(trust) = honest.device.refreshed(NOW, |need| files.get(&need.name).cloned()) else { return };
    let again = PackageTrust::from_stored(&trust.to_stored()).expect("what was trusted is read again");
    assert!(again.target_paths().eq(trust.target_paths()));
    assert_eq!((again.snapshot(), again.root_version()), (trust.snapshot(), trust.root_version()));
    for path in trust.target_paths() {
        let target = trust.target(path).expect("a target that is listed");
        assert_eq!(again.target(path).as_ref(), Some(&target));
        assert!(!path.split('/').any(|level| level == ".."), "target '{path}' leads out");
    }
    trust.check_fresh(NOW).expect("what was taken now is good now");
}

/// What the fuzzer begins with: every document as it is, shown, and signed anew.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let honest = &REPOSITORY;
    let mut all: Vec<Vec<u8>> = honest.files.values().cloned().collect();
    all.push(honest.director.root_bytes().to_vec());
    for which in 0..5 {
        let role = Role::of(which);
        let document = honest.files.get(&honest.name(role)).unwrap_or(&all[0]).clone();
        all.push([&[0xf0, which], document.as_slice()].concat());
        all.push([&[0xf1, which], honest.said(role).as_slice()].concat());
    }
    all
}
