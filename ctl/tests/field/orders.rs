//! What devices say of orders that are withheld, and of those that a coordinator may not give by itself.

use takt_agent::clock::wall;
use takt_common::Sha256Digest;
use takt_common::order::Position;

use crate::site::Field;

#[test]
fn a_withheld_order_shows_at_the_device_with_both_digests() {
    let field = Field::with_trust();
    field.publish("1.0.0");
    let mut device = field.device("camera-1");
    // It has accepted an order of which the coordinator says that it has never given one.
    let known = Sha256Digest::of(b"known to the device");
    device.changed(|record| record.last_order = Some(known));
    device.start(wall);
    field.takt("campaign start first --release counter@1.0.0 --domain line-7 --deadline 10m").ok();
    let told = |text: &str| text.contains("never arrived") && text.contains(&known.to_string());
    let shown = field.until(&device, "a warning", |shown| {
        shown["warnings"].as_array().unwrap().iter().any(|warning| told(warning.as_str().unwrap()))
    });
    assert_eq!(shown["order"]["accepted"], true, "it goes on: {shown}");
    device.stop();
    assert_eq!(device.record().last_position, Position { epoch: 1, generation: 1 });
}

#[test]
fn what_a_coordinator_may_not_order_by_itself_needs_two_who_counter_sign() {
    let field = Field::new();
    for name in ["root", "publisher", "c1", "c2"] {
        field.bench.key(name);
    }
    field
        .takt(
            "trust init --dir trust --root-key root.key --publisher-key publisher.key --counter-key c1.key.pub \
             --counter-key c2.key.pub --counter-threshold 2",
        )
        .ok();
    field.publish("1.0.0");
    let start = "--release counter@1.0.0 --domain line-7 --deadline 10m";
    let forced =
        |more: &str| field.takt(&format!("campaign start forced {start} --at-deadline go-ahead {more}"));
    forced("").refused(5, &["go-ahead", "counter 1.0.0", "permission"]);

    let permit = "trust permit --dir trust --out p.json";
    field.takt(permit).refused(2, &["p.json", "--action"]);
    let asked =
        "--action go-ahead --action downgrade --release counter@1.0.0 --domain line-7 --valid 1d --why late";
    field.takt(&format!("{permit} {asked} --key root.key")).refused(2, &["root.key", "counter-signer"]);
    let made = field.takt(&format!("{permit} {asked} --key c1.key --json")).json();
    assert_eq!((&made["complete"], &made["signed"]), (&false.into(), &1.into()));
    forced("--permission p.json").refused(5, &["1 of the 2 needed signatures"]);
    field.takt(&format!("{permit} {asked} --key c2.key")).refused(5, &["exists already"]);
    assert_eq!(field.takt(&format!("{permit} --key c2.key --json")).json()["complete"], true);

    // Devices that have verified something later elsewhere take the release with the permission only.
    let mut devices = [field.device("camera-1"), field.device("camera-2")];
    for device in &mut devices {
        device.changed(|record| record.highest = [("counter".parse().unwrap(), 9)].into());
        device.start(wall);
    }
    field.takt(&format!("campaign start back {start} --downgrade --device camera-1")).ok();
    let shown = field.until(&devices[0], "a refusal", |shown| !shown["refused"].is_null());
    assert_eq!(shown["refused"]["rule"], "permission", "{shown}");
    forced("--downgrade --permission p.json --device camera-2").ok();
    let shown = field.until(&devices[1], "an accepted order", |shown| shown["order"]["accepted"] == true);
    assert!(shown["refused"].is_null(), "{shown}");
    for device in &mut devices {
        device.stop();
    }
}
