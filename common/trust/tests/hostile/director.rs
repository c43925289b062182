//! The director root: who may order.

use takt_common::SigningKey;
use takt_common::envelope::{Envelope, PayloadType};
use takt_trust::{DirectorSpec, DirectorTrust, RootRule, TrustError, names};

use crate::repository::{DAY, key, role};
use crate::{NOW, repository};

struct Director {
    people: [SigningKey; 2],
    spec: DirectorSpec,
    order_key: SigningKey,
}

impl Director {
    fn new() -> Self {
        let (people, order_key) = ([key(), key()], key());
        let root = role(&people.each_ref(), 2);
        let spec =
            DirectorSpec { epoch: 1, expires: NOW + DAY, root, order: role(&[&order_key], 1), counter: None };
        Self { people, spec, order_key }
    }

    fn signed(&self, by: usize) -> Vec<u8> {
        let mut document = self.spec.document().unwrap();
        for key in &self.people[..by] {
            document.add_signature(key);
        }
        document.to_bytes()
    }
}

#[test]
fn the_director_root_says_who_orders_and_a_new_one_takes_it_away() {
    let mut director = Director::new();
    let first = DirectorTrust::from_root(&director.signed(2)).unwrap();
    let order = Envelope::seal(PayloadType::Order, b"{}", &[&director.order_key]);
    order.open(PayloadType::Order, &first.order_signers()).unwrap();
    assert_eq!(first.epoch(), 1);
    first.check_fresh(NOW + DAY).unwrap();
    assert!(matches!(first.check_fresh(NOW + 2 * DAY), Err(TrustError::Expired { .. })));

    director.spec.epoch = 2;
    director.spec.order = role(&[&key()], 1);
    let newer = director.signed(2);
    let second =
        first.refreshed(|need| (need.name == names::director_file(2)).then(|| newer.clone())).unwrap();
    assert_eq!(second.epoch(), 2);
    let error = order.open(PayloadType::Order, &second.order_signers()).unwrap_err();
    assert!(error.to_string().contains("the order keys of director root 2"), "{error}");
    let again = DirectorTrust::from_stored(&second.to_stored()).unwrap();
    assert_eq!((again.epoch(), again.root_bytes()), (2, newer.as_slice()));
}

#[test]
fn a_director_root_needs_its_people_and_its_purpose() {
    let mut director = Director::new();
    let trust = DirectorTrust::from_root(&director.signed(2)).unwrap();
    let error = DirectorTrust::from_root(&director.signed(1)).unwrap_err();
    assert!(matches!(&error, TrustError::Threshold { role: "root", valid: 1, .. }), "{error}");
    director.spec.epoch = 2;
    let weak = director.signed(1);
    let mut refresh = trust.begin_refresh();
    assert!(refresh.provide(Some(weak)).is_err());
    assert_eq!(refresh.need(), None);
    assert_eq!(refresh.keep_root().unwrap().epoch(), 1);
    director.spec.epoch = 3;
    let skipping = director.signed(2);
    let error = trust.refreshed(|_| Some(skipping.clone())).unwrap_err();
    assert!(matches!(&error, TrustError::RootVersion { trusted: 1, found: 3, .. }), "{error}");

    let package_root = repository().files["1.root.json"].clone();
    let error = DirectorTrust::from_root(&package_root).unwrap_err();
    assert!(matches!(error, TrustError::Rule { source: RootRule::Purpose { .. }, .. }));
}
