//! Every device rule refuses what it must, by its own name, with real keys and real envelopes.

#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::{BTreeMap, BTreeSet};

use ring::rand::SystemRandom;
use takt_agent_core::Accepted;
use takt_agent_core::rules::{FixedTargets, Refusal, Standing, Target, TargetContent, address};
use takt_common::envelope::{ENVELOPE_LENGTH_MAX, EnvelopeError, PayloadType, Signers};
use takt_common::order::{
    Action, Member, Mode, ORDER_FORMAT, Order, Policy, Position, SnapshotRef, Takeover,
};
use takt_common::permission::Marked;
use takt_common::release::{Artifact, ReleaseId};
use takt_common::{DeviceId, Envelope, Name, Sha256Digest, SigningKey, UnixTime};

#[path = "rules/permissions.rs"]
mod permissions;

const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);
const FLOOR: UnixTime = UnixTime::from_secs(1_799_990_000);
const NONCE: &str = "00112233445566778899aabbccddeeff";

fn key() -> SigningKey {
    SigningKey::generate(&SystemRandom::new()).unwrap()
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn digest(text: &str) -> Sha256Digest {
    Sha256Digest::of(text.as_bytes())
}

fn release() -> ReleaseId {
    ReleaseId { name: name("counter"), version: name("2.0") }
}

fn archive() -> Artifact {
    Artifact { sha256: digest("archive"), length: 4_000 }
}

/// A device, what it has verified, and the keys that may order.
struct Device {
    first: SigningKey,
    second: SigningKey,
    signers: Signers,
    me: DeviceId,
    hardware: Name,
    domain: Name,
    highest: BTreeMap<Name, u64>,
    way_back: Vec<Sha256Digest>,
    counter_signers: Option<Signers>,
    nonces: Vec<String>,
    epoch: u64,
    last: Position,
    repository: FixedTargets,
}

impl Device {
    fn new() -> Self {
        let (first, second) = (key(), key());
        let keys = vec![first.public(), second.public()];
        let manifest = TargetContent::Manifest {
            component: release().name,
            version: release().version,
            counter: 5,
            hardware: vec![name("board-a"), name("board-b")],
            domains: Vec::new(),
        };
        let file = TargetContent::Artifact { releases: BTreeSet::from([release().target_path()]) };
        let targets = BTreeMap::from([
            (release().target_path(), Target { length: 900, sha256: digest("manifest"), content: manifest }),
            (
                archive().target_path(),
                Target { length: archive().length, sha256: archive().sha256, content: file },
            ),
        ]);
        Self {
            signers: Signers { role: "the order keys".into(), keys, threshold: 2 },
            me: DeviceId::of_key(&key().public()),
            hardware: name("board-a"),
            domain: name("north"),
            highest: BTreeMap::from([(release().name, 5)]),
            way_back: Vec::new(),
            counter_signers: None,
            nonces: vec![NONCE.to_owned()],
            epoch: 3,
            last: Position { epoch: 3, generation: 10 },
            repository: FixedTargets {
                snapshot: SnapshotRef { version: 7, sha256: digest("snapshot") },
                targets,
                floors: BTreeMap::from([(release().name, 4)]),
            },
            first,
            second,
        }
    }

    fn standing(&self) -> Standing<'_> {
        Standing {
            me: self.me,
            hardware: &self.hardware,
            domain: &self.domain,
            signers: &self.signers,
            epoch: self.epoch,
            last: self.last,
            highest: &self.highest,
            way_back: self.way_back.clone(),
            counter_signers: self.counter_signers.clone(),
            nonces: &self.nonces,
            time_floor: FLOOR,
            now: NOW,
        }
    }

    /// An order that breaks no rule.
    fn order(&self) -> Order {
        let hw = vec![name("board-a"), name("board-b")];
        let member = |path, length, sha256, hw| Member { path, length, sha256, release: release(), hw };
        Order {
            format: ORDER_FORMAT,
            device: self.me,
            epoch: 3,
            generation: 11,
            nonce: None,
            issued: NOW,
            not_after: UnixTime::from_secs(FLOOR.as_secs() + 1),
            previous_order_digest: None,
            snapshot: self.repository.snapshot,
            action: Action::Install,
            members: vec![
                member(release().target_path(), 900, digest("manifest"), hw.clone()),
                member(archive().target_path(), archive().length, archive().sha256, hw),
            ],
            mode: Mode::InPlace,
            window: None,
            deadline: UnixTime::from_secs(NOW.as_secs() + 3_600),
            policy: Policy::default(),
            permission: None,
        }
    }

    fn seal(&self, payload: &[u8]) -> Vec<u8> {
        Envelope::seal(PayloadType::Order, payload, &[&self.first, &self.second]).to_bytes()
    }

    fn judge(&self, envelope: &[u8]) -> Result<Accepted, Refusal> {
        let standing = self.standing();
        address(envelope, &standing)?.accept(&self.repository, &standing)
    }

    /// The rule that refuses a well signed payload.
    fn rule_for(&self, payload: &[u8]) -> &'static str {
        self.judge(&self.seal(payload)).unwrap_err().rule()
    }

    /// What becomes of the good order after `change`.
    fn changed(&self, change: impl FnOnce(&mut Order)) -> Result<Accepted, Refusal> {
        let mut order = self.order();
        change(&mut order);
        self.judge(&self.seal(&order.to_bytes()))
    }
}

fn rule(judged: Result<Accepted, Refusal>) -> &'static str {
    judged.unwrap_err().rule()
}

/// A text field of the envelope, changed.
fn with_field(envelope: &[u8], pointer: &str, change: impl FnOnce(&str) -> String) -> Vec<u8> {
    let mut value: serde_json::Value = serde_json::from_slice(envelope).unwrap();
    let field = value.pointer_mut(pointer).unwrap();
    *field = change(field.as_str().unwrap()).into();
    serde_json::to_vec(&value).unwrap()
}

#[test]
fn an_order_that_breaks_no_rule_is_accepted_as_it_was_signed() {
    let device = Device::new();
    let order = device.order();
    let accepted = device.judge(&device.seal(&order.to_bytes())).unwrap();
    assert_eq!(accepted.digest, Sha256Digest::of(&order.to_bytes()));
    assert_eq!((accepted.order, accepted.at), (order, NOW));
}

#[test]
fn an_envelope_above_the_size_cap_is_refused_and_one_of_just_that_size_is_not() {
    let device = Device::new();
    let mut envelope = device.seal(&device.order().to_bytes());
    envelope.resize(ENVELOPE_LENGTH_MAX, b' ');
    assert!(device.judge(&envelope).is_ok());
    envelope.push(b' ');
    let refusal = device.judge(&envelope).unwrap_err();
    assert_eq!(refusal.rule(), "envelope");
    assert!(refusal.to_string().contains("65537 bytes"), "{refusal}");
}

#[test]
fn what_is_no_envelope_is_refused() {
    let device = Device::new();
    let good = device.seal(&device.order().to_bytes());
    let cut = &good[..good.len() - 1];
    let garbage: [&[u8]; 5] = [b"", b"{}", b"null", b"\xff\xfe", cut];
    for bytes in garbage {
        assert_eq!(rule(device.judge(bytes)), "envelope");
    }
}

#[test]
fn loose_base64_is_refused_in_the_payload_and_in_a_signature() {
    let device = Device::new();
    let good = device.seal(&device.order().to_bytes());
    let loosened: [fn(&str) -> String; 3] =
        [|text| format!("{text}\n"), |text| format!(" {text}"), |text| text.replacen('=', "", 1) + "-_"];
    for pointer in ["/payload", "/signatures/0/sig"] {
        for loosen in loosened {
            let refusal = device.judge(&with_field(&good, pointer, loosen)).unwrap_err();
            assert!(
                matches!(refusal, Refusal::Envelope(EnvelopeError::NotBase64 { .. })),
                "{pointer}: {refusal}"
            );
            assert_eq!(refusal.rule(), "envelope");
        }
    }
}

#[test]
fn an_unsigned_order_is_refused() {
    let device = Device::new();
    let payload = device.order().to_bytes();
    let envelope = Envelope::seal(PayloadType::Order, &payload, &[]).to_bytes();
    let refusal = device.judge(&envelope).unwrap_err();
    assert_eq!(refusal.rule(), "order-signature");
    assert!(refusal.to_string().contains("nobody"), "{refusal}");
}

#[test]
fn an_order_with_one_of_two_signatures_missing_is_refused() {
    let device = Device::new();
    let payload = device.order().to_bytes();
    for only in [&device.first, &device.second] {
        let one = Envelope::seal(PayloadType::Order, &payload, &[only]).to_bytes();
        assert_eq!(rule(device.judge(&one)), "order-signature");
        let twice = Envelope::seal(PayloadType::Order, &payload, &[only, only]).to_bytes();
        assert_eq!(rule(device.judge(&twice)), "order-signature");
    }
}

#[test]
fn a_signature_of_a_key_that_may_not_order_does_not_count() {
    let device = Device::new();
    let payload = device.order().to_bytes();
    let envelope = Envelope::seal(PayloadType::Order, &payload, &[&device.first, &key()]).to_bytes();
    assert_eq!(rule(device.judge(&envelope)), "order-signature");
}

#[test]
fn an_order_changed_after_it_was_signed_is_refused() {
    let device = Device::new();
    let good = device.seal(&device.order().to_bytes());
    let mut other = device.order();
    other.generation += 1;
    let other = device.seal(&other.to_bytes());
    let other: serde_json::Value = serde_json::from_slice(&other).unwrap();
    let swapped = with_field(&good, "/payload", |_| other["payload"].as_str().unwrap().to_owned());
    assert_eq!(rule(device.judge(&swapped)), "order-signature");
}

#[test]
fn a_well_signed_report_is_not_taken_for_an_order() {
    let device = Device::new();
    let payload = device.order().to_bytes();
    let report = Envelope::seal(PayloadType::Report, &payload, &[&device.first, &device.second]).to_bytes();
    assert_eq!(rule(device.judge(&report)), "envelope");
    // Renamed, it has no signature over what it now says to be.
    let renamed = with_field(&report, "/payloadType", |_| PayloadType::Order.as_str().to_owned());
    assert_eq!(rule(device.judge(&renamed)), "order-signature");
}

#[test]
fn an_order_with_an_unknown_field_is_refused_at_every_depth() {
    let device = Device::new();
    let text = String::from_utf8(device.order().to_bytes()).unwrap();
    for (from, to) in [
        ("\"format\":", "\"force\":true,\"format\":"),
        ("\"retry\":", "\"force\":true,\"retry\":"),
        ("\"do\":", "\"force\":true,\"do\":"),
        ("\"mode\":\"", "\"force\":true,\"mode\":\""),
        ("\"path\":", "\"force\":true,\"path\":"),
    ] {
        assert!(text.contains(from), "{from} stands in an order");
        assert_eq!(device.rule_for(text.replacen(from, to, 1).as_bytes()), "unreadable", "{to}");
    }
}

#[test]
fn an_order_with_a_duplicate_key_is_refused_whatever_it_says() {
    let device = Device::new();
    let text = String::from_utf8(device.order().to_bytes()).unwrap();
    for double in ["\"generation\":11,\"generation\":11", "\"generation\":11,\"\\u0067eneration\":12"] {
        let text = text.replacen("\"generation\":11", double, 1);
        assert_eq!(device.rule_for(text.as_bytes()), "unreadable", "{double}");
    }
}

#[test]
fn what_is_signed_but_no_order_is_refused() {
    let device = Device::new();
    for payload in [&b""[..], b"{}", b"[]", b"\xff"] {
        assert_eq!(device.rule_for(payload), "unreadable");
    }
    let mut trailing = device.order().to_bytes();
    trailing.extend_from_slice(b"{}");
    assert_eq!(device.rule_for(&trailing), "unreadable");
}

#[test]
fn an_order_of_a_later_format_is_refused() {
    let device = Device::new();
    assert_eq!(rule(device.changed(|order| order.format = ORDER_FORMAT + 1)), "format");
}

#[test]
fn an_order_for_another_device_is_refused() {
    let device = Device::new();
    let other = DeviceId::of_key(&key().public());
    let refusal = device.changed(|order| order.device = other).unwrap_err();
    assert_eq!(refusal.rule(), "for-me");
    assert!(refusal.to_string().contains(&other.to_string()), "{refusal}");
}

#[test]
fn never_older_an_equal_or_lower_generation_is_refused() {
    let device = Device::new();
    for generation in [0, 9, 10] {
        let judged = device.changed(|order| order.generation = generation);
        assert_eq!(rule(judged), "never-older", "{generation}");
    }
    assert!(device.changed(|order| order.generation = u64::MAX).is_ok());
}

#[test]
fn an_order_of_another_epoch_is_refused_however_high_its_generation() {
    let device = Device::new();
    for epoch in [0, 2, 4] {
        let judged = device.changed(|order| (order.epoch, order.generation) = (epoch, u64::MAX));
        assert_eq!(rule(judged), "epoch", "{epoch}");
    }
}

#[test]
fn never_older_holds_when_the_director_root_is_older_than_the_last_accepted_order() {
    let mut device = Device::new();
    device.last = Position { epoch: 4, generation: 1 };
    assert_eq!(rule(device.changed(|_| ())), "never-older");
}

#[test]
fn generations_begin_anew_in_a_later_epoch() {
    let mut device = Device::new();
    device.last = Position { epoch: 2, generation: 900 };
    assert!(device.changed(|order| order.generation = 1).is_ok());
}

#[test]
fn an_order_that_answers_a_foreign_nonce_is_refused_even_in_time() {
    let device = Device::new();
    assert_eq!(rule(device.changed(|order| order.nonce = Some("ff".repeat(16)))), "nonce");
}

#[test]
fn an_order_that_answers_my_nonce_is_fresh_whatever_the_clock_says() {
    let device = Device::new();
    let judged = device.changed(|order| {
        order.nonce = Some(NONCE.to_owned());
        order.not_after = UnixTime::from_secs(1);
    });
    assert!(judged.is_ok());
}

#[test]
fn an_order_whose_time_has_passed_is_refused_at_the_time_floor_itself() {
    let device = Device::new();
    for not_after in [0, FLOOR.as_secs() - 1, FLOOR.as_secs()] {
        let judged = device.changed(|order| order.not_after = UnixTime::from_secs(not_after));
        assert_eq!(rule(judged), "expired", "{not_after}");
    }
}

#[test]
fn an_order_made_from_a_snapshot_that_the_device_has_not_verified_is_refused() {
    let device = Device::new();
    assert_eq!(rule(device.changed(|order| order.snapshot.version = 8)), "snapshot");
    assert_eq!(rule(device.changed(|order| order.snapshot.sha256 = digest("forked"))), "snapshot");
    // The device may have seen a later one: then its targets count.
    assert!(device.changed(|order| order.snapshot.version = 6).is_ok());
}

#[test]
fn a_release_that_its_publishers_have_not_signed_is_refused() {
    let device = Device::new();
    for index in [0, 1] {
        let judged = device.changed(|order| order.members[index].path.push('x'));
        assert_eq!(rule(judged), "publisher-signature", "member {index}");
    }
    let mut bare = Device::new();
    bare.repository.targets.clear();
    assert_eq!(rule(bare.changed(|_| ())), "publisher-signature");
}

/// The field in which a member is said to differ.
fn differs(judged: Result<Accepted, Refusal>) -> &'static str {
    match judged.unwrap_err() {
        Refusal::MemberDiffers { field, .. } => field,
        other => panic!("{other}"),
    }
}

#[test]
fn a_member_that_differs_from_what_was_signed_is_refused_with_the_field_named() {
    let device = Device::new();
    for index in [0, 1] {
        assert_eq!(differs(device.changed(|order| order.members[index].length += 1)), "length");
        assert_eq!(differs(device.changed(|order| order.members[index].length = 0)), "length");
        assert_eq!(differs(device.changed(|order| order.members[index].sha256 = digest("other"))), "digest");
        let older = |order: &mut Order| order.members[index].release.version = name("1.0");
        assert_eq!(differs(device.changed(older)), "release");
        let other = |order: &mut Order| order.members[index].release.name = name("kernel");
        assert_eq!(differs(device.changed(other)), "release");
    }
    for hw in [vec![], vec![name("board-a")], vec![name("board-b"), name("board-a")]] {
        let judged = device.changed(|order| order.members[0].hw = hw);
        assert_eq!(differs(judged), "hardware");
    }
    assert_eq!(rule(device.changed(|order| order.members[0].length += 1)), "member");
}

#[test]
fn a_release_for_other_hardware_is_refused() {
    let mut device = Device::new();
    device.hardware = name("board-c");
    let refusal = device.changed(|_| ()).unwrap_err();
    assert_eq!(refusal.rule(), "hardware");
    assert!(refusal.to_string().contains("board-a, board-b"), "{refusal}");
}

#[test]
fn a_release_whose_publishers_have_nothing_to_say_in_the_domain_is_refused() {
    let mut device = Device::new();
    let limit = |device: &mut Device, domains: &[&str]| {
        let target = device.repository.targets.get_mut(&release().target_path()).unwrap();
        let TargetContent::Manifest { domains: limited, .. } = &mut target.content else {
            panic!("a manifest")
        };
        *limited = domains.iter().map(|domain| name(domain)).collect();
    };
    limit(&mut device, &["south", "west"]);
    let refusal = device.changed(|_| ()).unwrap_err();
    assert_eq!(refusal.rule(), "domain");
    assert!(refusal.to_string().contains("south, west"), "{refusal}");
    limit(&mut device, &["south", "north"]);
    assert!(device.changed(|_| ()).is_ok());
}

#[test]
fn a_release_below_the_floor_of_its_component_is_refused() {
    let mut device = Device::new();
    device.highest.clear();
    device.repository.floors.insert(release().name, 6);
    assert_eq!(rule(device.changed(|_| ())), "floor");
    device.repository.floors.insert(release().name, 5);
    assert!(device.changed(|_| ()).is_ok());
}

#[test]
fn never_older_a_release_older_than_one_verified_here_is_refused() {
    let mut device = Device::new();
    device.highest.insert(release().name, 6);
    assert_eq!(rule(device.changed(|_| ())), "older-release");
    let take_over = |order: &mut Order| {
        order.action =
            Action::TakeOver { device: order.device, name: name("camera-2"), how: Takeover::Launch, lease: 1 }
    };
    assert!(device.changed(take_over).is_ok(), "a stand-in runs what the other device runs");
    let downgrade = |order: &mut Order| order.policy.downgrade = true;
    assert_eq!(rule(device.changed(downgrade)), "permission", "the coordinator alone may not say so");
    device.way_back.push(digest("manifest"));
    assert!(device.changed(downgrade).is_ok(), "the way back to what was verified here is open");
    device.repository.floors.insert(release().name, 6);
    assert_eq!(rule(device.changed(downgrade)), "floor", "never below the floor, downgrade or not");
    assert_eq!(rule(device.changed(take_over)), "floor", "never below the floor, stand-in or not");
}

#[test]
fn members_and_action_must_fit_together() {
    let device = Device::new();
    let (peer, peer_name) = (DeviceId::of_key(&key().public()), name("camera-2"));
    let take_over =
        Action::TakeOver { device: peer, name: peer_name.clone(), how: Takeover::Launch, lease: 1 };
    let checkpoint = Action::Checkpoint { standby: peer, name: peer_name.clone(), lease: 1 };
    let hand_back = Action::HandBack { device: peer, name: peer_name };
    for (action, installs) in [
        (Action::Install, true),
        (take_over, true),
        (checkpoint, true),
        (hand_back, false),
        (Action::Withdraw, false),
    ] {
        for with_members in [true, false] {
            let judged = device.changed(|order| {
                order.action = action.clone();
                if !with_members {
                    order.members.clear();
                }
            });
            if with_members == installs {
                assert!(judged.is_ok(), "{action}");
            } else {
                assert_eq!(rule(judged), "members", "{action}");
            }
        }
    }
}

#[test]
fn the_first_broken_rule_is_named_when_all_are_broken() {
    type Repair = fn(&mut Order);
    let mut device = Device::new();
    device.hardware = name("board-c");
    device.repository.floors.insert(release().name, 6);
    device.highest.insert(release().name, 7);
    let good = device.order();
    let mut order = good.clone();
    order.device = DeviceId::of_key(&key().public());
    (order.format, order.epoch, order.generation) = (9, 2, 1);
    (order.nonce, order.not_after) = (Some("ff".repeat(16)), UnixTime::from_secs(0));
    order.snapshot.version = 8;
    order.action = Action::Withdraw;
    let first = &mut order.members[0];
    (first.length, first.sha256, first.hw) = (1, digest("other"), vec![]);
    first.release.version = name("9.9");
    first.path.push('x');

    // Broken in the envelope as well: too long, of another type, unsigned, not even an order.
    let with_unknown = |order: &Order| {
        let text = String::from_utf8(order.to_bytes()).unwrap();
        text.replacen("\"format\"", "\"force\":true,\"format\"", 1).into_bytes()
    };
    let unsigned = |kind| Envelope::seal(kind, &with_unknown(&order), &[]).to_bytes();
    let mut long = unsigned(PayloadType::Health);
    long.resize(ENVELOPE_LENGTH_MAX + 1, b' ');
    let refusal = device.judge(&long).unwrap_err();
    assert!(matches!(refusal, Refusal::Envelope(EnvelopeError::Unreadable(_))), "{refusal}");
    let refusal = device.judge(&unsigned(PayloadType::Health)).unwrap_err();
    assert!(matches!(refusal, Refusal::Envelope(EnvelopeError::WrongType { .. })), "{refusal}");
    let loose = with_field(&unsigned(PayloadType::Order), "/payload", |text| format!("{text}\n"));
    let refusal = device.judge(&loose).unwrap_err();
    assert!(matches!(refusal, Refusal::Envelope(EnvelopeError::NotBase64 { .. })), "{refusal}");
    assert_eq!(rule(device.judge(&unsigned(PayloadType::Order))), "order-signature");
    assert_eq!(device.rule_for(&with_unknown(&order)), "unreadable");

    // Then one fault after the other is repaired, and the next rule speaks.
    let me = device.me;
    let steps: [(&str, Repair); 12] = [
        ("format", |order| order.format = ORDER_FORMAT),
        ("for-me", |_| ()),
        ("epoch", |order| order.epoch = 3),
        ("never-older", |order| order.generation = 11),
        ("nonce", |order| order.nonce = None),
        ("expired", |order| order.not_after = NOW),
        ("members", |order| order.action = Action::Install),
        ("snapshot", |order| order.snapshot.version = 7),
        ("publisher-signature", |order| order.members[0].path = release().target_path()),
        ("length", |order| order.members[0].length = 900),
        ("digest", |order| order.members[0].sha256 = digest("manifest")),
        ("release", |order| order.members[0].release = release()),
    ];
    for (expected, repair) in steps {
        let refusal = device.judge(&device.seal(&order.to_bytes())).unwrap_err();
        let said = match &refusal {
            Refusal::MemberDiffers { field, .. } => field,
            other => other.rule(),
        };
        assert_eq!(said, expected, "{refusal}");
        repair(&mut order);
        if expected == "for-me" {
            order.device = me;
        }
    }
    let judge = |device: &Device, order: &Order| device.judge(&device.seal(&order.to_bytes()));
    assert_eq!(differs(judge(&device, &order)), "hardware");
    order.members[0].hw.clone_from(&good.members[0].hw);
    assert_eq!(rule(judge(&device, &order)), "hardware");
    device.hardware = name("board-b");
    assert_eq!(rule(judge(&device, &order)), "floor");
    device.repository.floors.clear();
    assert_eq!(rule(judge(&device, &order)), "older-release");
    device.highest.clear();
    assert!(judge(&device, &order).is_ok(), "nothing is broken any more");
}

#[test]
fn an_order_is_judged_before_the_snapshot_it_names_is_fetched() {
    let device = Device::new();
    let standing = device.standing();
    let addressed = address(&device.seal(&device.order().to_bytes()), &standing).unwrap();
    assert!(addressed.installs());
    assert_eq!(addressed.snapshot(), device.repository.snapshot);
    assert_eq!(addressed.position(), Position { epoch: 3, generation: 11 });
}

#[test]
fn the_names_of_the_rules_are_stable_and_each_stands_for_one_rule() {
    let (me, path) = (Device::new().me, || "p".to_owned());
    let threshold =
        EnvelopeError::Threshold { role: String::new(), valid: 0, threshold: 1, signed_by: String::new() };
    let refusals = [
        Refusal::Envelope(threshold),
        Refusal::Envelope(EnvelopeError::NotBase64 { field: "sig" }),
        Refusal::Unreadable(String::new()),
        Refusal::Format { found: 0 },
        Refusal::NotForMe { for_device: me, me },
        Refusal::Epoch { found: 0, expected: 1 },
        Refusal::NeverOlder {
            found: Position::default(),
            last: Position::default(),
            digest: Sha256Digest::of(b""),
        },
        Refusal::ForeignNonce,
        Refusal::Expired { not_after: NOW, floor: NOW },
        Refusal::Snapshot { ordered: 1, verified: 0 },
        Refusal::UnsignedMember { path: path() },
        Refusal::MemberDiffers { path: path(), field: "length" },
        Refusal::WrongHardware { path: path(), fits: String::new(), hardware: name("a") },
        Refusal::WrongDomain { path: path(), fits: String::new(), domain: name("a") },
        Refusal::BelowFloor { component: name("a"), counter: 0, floor: 1 },
        Refusal::OlderRelease { component: name("a"), counter: 0, highest: 1 },
        Refusal::Members { action: String::new(), count: 0 },
        Refusal::Permission { action: Marked::Downgrade, release: release(), why: String::new() },
    ];
    let names: Vec<&str> = refusals.iter().map(Refusal::rule).collect();
    // Coordinators, scripts and operators know these words: they are part of the wire.
    let golden = [
        "order-signature",
        "envelope",
        "unreadable",
        "format",
        "for-me",
        "epoch",
        "never-older",
        "nonce",
        "expired",
        "snapshot",
        "publisher-signature",
        "member",
        "hardware",
        "domain",
        "floor",
        "older-release",
        "members",
        "permission",
    ];
    assert_eq!(names, golden);
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "no name stands for two rules");
}
