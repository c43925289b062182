//! Orders that do not say what the publishers say.

use takt_common::order::Member;
use takt_trust::{MemberError, PackageTrust, Release};

use crate::repository;
use crate::repository::release;

/// The members of an honest order for `release`: the manifest and its artifact.
fn members(release: &Release) -> [Member; 2] {
    let id = release.about.id();
    let member = |path: String, length, sha256| Member {
        path,
        length,
        sha256,
        release: id.clone(),
        hw: release.about.hardware.clone(),
    };
    let (manifest, artifact) = (&release.manifest, &release.artifacts[0]);
    [
        member(id.target_path(), manifest.length, manifest.sha256),
        member(artifact.target_path(), artifact.length, artifact.sha256),
    ]
}

fn refusal(device: &PackageTrust, member: &Member, change: impl FnOnce(&mut Member)) -> MemberError {
    let mut changed = member.clone();
    change(&mut changed);
    device.check_member(&changed).unwrap_err()
}

#[test]
fn every_member_of_an_order_must_equal_the_signed_target() {
    let mut repository = repository();
    repository.publish_release("2.0", 2, 0);
    let device = repository.informed_device();
    let other = release("2.0", 2, 0);
    for member in members(&release("1.0", 1, 0)) {
        assert_eq!(device.check_member(&member).unwrap().path, member.path);
        let error = refusal(&device, &member, |m| m.path.push('x'));
        assert!(matches!(error, MemberError::Unknown { .. }), "{error}");
        let error = refusal(&device, &member, |m| m.length += 1);
        assert!(matches!(error, MemberError::Length { .. }), "{error}");
        let error = refusal(&device, &member, |m| m.sha256 = other.manifest.sha256);
        assert!(matches!(error, MemberError::Digest { .. }), "{error}");
        let error = refusal(&device, &member, |m| m.release = other.about.id());
        assert!(matches!(error, MemberError::Release { .. }), "{error}");
        let error = refusal(&device, &member, |m| m.hw.clear());
        assert!(
            error.to_string().ends_with("for hardware '' in the order but for 'cm4' in the signed targets")
        );
    }
    assert_eq!(device.manifest(&other.about.id()), Some(other.about));
    assert!(repository.device().check_member(&members(&release("1.0", 1, 0))[0]).is_err());
}
