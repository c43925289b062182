//! What an order needs a counter-signed permission for.

use std::collections::BTreeSet;

use takt_common::envelope::{PayloadType, Signers};
use takt_common::order::{Action, AtDeadline, Order};
use takt_common::permission::{Marked, PERMISSION_FORMAT, Permission};
use takt_common::{DeviceId, Envelope, SigningKey, UnixTime};

use super::{Device, NOW, digest, key, name, release, rule};

/// Two of whom both must counter-sign, and what they permit of the release, changed.
fn permitted(change: impl FnOnce(&mut Permission)) -> (Signers, [SigningKey; 2], String) {
    let keys = [key(), key()];
    let public = keys.iter().map(SigningKey::public).collect();
    let signers = Signers { role: "the counter-signers".into(), keys: public, threshold: 2 };
    let mut permission = Permission {
        format: PERMISSION_FORMAT,
        actions: BTreeSet::from([Marked::Downgrade, Marked::GoAhead]),
        release: release(),
        domain: name("north"),
        devices: BTreeSet::new(),
        not_after: UnixTime::from_secs(NOW.as_secs() + 1),
        why: "2.1 burns".to_owned(),
    };
    change(&mut permission);
    let (payload, [first, second]) = (permission.to_bytes(), &keys);
    let envelope = Envelope::seal(PayloadType::Permission, &payload, &[first, second]).to_bytes();
    (signers, keys, String::from_utf8(envelope).unwrap())
}

#[test]
fn a_downgrade_needs_a_permission_that_enough_have_counter_signed_for_just_that() {
    let mut device = Device::new();
    device.highest.insert(release().name, 6);
    let with = |device: &Device, envelope: &str| {
        device.changed(|order| {
            order.policy.downgrade = true;
            order.permission = Some(envelope.to_owned());
        })
    };
    let (signers, [first, _], good) = permitted(|_| ());
    let refusal = with(&device, &good).unwrap_err();
    assert_eq!(refusal.rule(), "permission");
    assert!(refusal.to_string().contains("names nobody"), "{refusal}");
    device.counter_signers = Some(signers);
    assert!(with(&device, &good).is_ok());
    let payload = Envelope::from_bytes(good.as_bytes()).unwrap().unverified_payload().unwrap();
    for by in [&[&first][..], &[&device.first, &device.second], &[]] {
        let few = Envelope::seal(PayloadType::Permission, &payload, by).to_bytes();
        assert_eq!(rule(with(&device, &String::from_utf8(few).unwrap())), "permission");
    }
    let changes: [fn(&mut Permission); 6] = [
        |permission| permission.actions = BTreeSet::from([Marked::GoAhead]),
        |permission| permission.release.version = name("1.9"),
        |permission| permission.domain = name("south"),
        |permission| permission.devices = BTreeSet::from([DeviceId::of_key(&key().public())]),
        |permission| permission.not_after = NOW,
        |permission| permission.format += 1,
    ];
    for (index, change) in changes.into_iter().enumerate() {
        let (signers, _, other) = permitted(change);
        device.counter_signers = Some(signers);
        assert_eq!(rule(with(&device, &other)), "permission", "{index}");
    }
    let me = device.me;
    let (signers, _, mine) = permitted(|permission| permission.devices = BTreeSet::from([me]));
    device.counter_signers = Some(signers);
    assert!(with(&device, &mine).is_ok());
    // It opens one way and no other.
    device.repository.floors.insert(release().name, 6);
    assert_eq!(rule(with(&device, &mine)), "floor", "never below the publishers' floor, whoever permits it");
}

#[test]
fn a_forced_switch_needs_a_permission_where_somebody_may_give_one() {
    let mut device = Device::new();
    let force = |order: &mut Order| order.policy.at_deadline = AtDeadline::GoAhead;
    assert!(device.changed(force).is_ok(), "the root marks nothing");
    let (signers, _, good) = permitted(|_| ());
    device.counter_signers = Some(signers);
    assert_eq!(rule(device.changed(force)), "permission");
    let permitted = |order: &mut Order| {
        force(order);
        order.permission = Some(good);
    };
    assert!(device.changed(permitted).is_ok());
    let withdraw = |order: &mut Order| {
        force(order);
        (order.action, order.members) = (Action::Withdraw, Vec::new());
    };
    assert!(device.changed(withdraw).is_ok(), "what switches nothing needs none");
    device.way_back = vec![digest("manifest")];
    device.highest.insert(release().name, 5);
    assert_eq!(rule(device.changed(force)), "permission", "what runs is not restarted at will");
    device.highest.insert(release().name, 6);
    let back = |order: &mut Order| {
        force(order);
        order.policy.downgrade = true;
    };
    assert!(device.changed(back).is_ok(), "a campaign that is undone may be in haste");
}
