use std::os::unix::fs::symlink;

use tempfile::TempDir;

use super::*;

/// A device with one wired interface in use, and a bridge.
fn device() -> (TempDir, IdentitySettings) {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("hostname"), "cam-7\n").unwrap();
    for (name, mac, state) in [("eth0", "52:54:00:12:34:56", "up"), ("br0", "02:00:00:00:00:01", "up")] {
        fs::create_dir_all(at("net").join(name)).unwrap();
        fs::write(at("net").join(name).join("address"), format!("{mac}\n")).unwrap();
        fs::write(at("net").join(name).join("operstate"), format!("{state}\n")).unwrap();
    }
    symlink(folder.path(), at("net").join("eth0/device")).unwrap();
    let routes = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\n\
                  eth0\t00000000\t0101A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n";
    fs::write(at("route"), routes).unwrap();
    let settings = IdentitySettings {
        path: at("data/device-identity"),
        hostname: at("hostname"),
        interfaces: at("net"),
        routes: at("route"),
        features: BTreeMap::from([("camera".to_owned(), "on".to_owned())]),
    };
    (folder, settings)
}

#[test]
fn the_file_holds_name_network_and_features_and_nothing_else_of_it_changes() {
    let (_folder, settings) = device();
    fs::create_dir_all(settings.path.parent().unwrap()).unwrap();
    let before =
        "# by hand\nformat=1\nsite=hall 3\nfeature.camera=off\nfeature.light=dim\nnot a pair\nhostname=x\n";
    fs::write(&settings.path, before).unwrap();
    keep(&settings, "w.0").unwrap();
    let after = fs::read_to_string(&settings.path).unwrap();
    let expected = "# by hand\nsite=hall 3\nfeature.light=dim\nnot a pair\nfeature.camera=on\nformat=1\n\
                    hostname=cam-7\nnet.eth0.mac=52:54:00:12:34:56\nnet.gateway=192.168.1.1\ntakt.step=w.0\n";
    let without_addresses: String =
        after.lines().filter(|line| !line.contains(".addresses=")).flat_map(|line| [line, "\n"]).collect();
    assert_eq!(without_addresses, expected);
    keep(&settings, "w.0").unwrap();
    assert_eq!(fs::read_to_string(&settings.path).unwrap(), after);
    check(&settings, "w.0").unwrap();
}

#[test]
fn a_system_with_another_name_or_without_its_interface_or_file_is_told_apart() {
    let (folder, settings) = device();
    keep(&settings, "w.0").unwrap();
    assert!(matches!(check(&settings, "w.1"), Err(IdentityError::NotShared { .. })));
    fs::write(&settings.hostname, "localhost\n").unwrap();
    assert_eq!(
        check(&settings, "w.0").unwrap_err().to_string(),
        "the new system calls the device 'localhost', but its identity file says 'cam-7'"
    );
    fs::write(&settings.hostname, "cam-7\n").unwrap();
    // Another name of the same interface is another system's right.
    fs::rename(folder.path().join("net/eth0"), folder.path().join("net/enp1s0")).unwrap();
    check(&settings, "w.0").unwrap();
    fs::remove_dir_all(folder.path().join("net/enp1s0")).unwrap();
    assert_eq!(
        check(&settings, "w.0").unwrap_err().to_string(),
        "the new system has no network interface 52:54:00:12:34:56, which was in use as eth0 before it"
    );
    fs::remove_file(&settings.path).unwrap();
    assert!(matches!(check(&settings, "w.0"), Err(IdentityError::NotShared { .. })));
}

#[test]
fn what_is_no_identity_file_is_left_alone() {
    let (_folder, settings) = device();
    fs::create_dir_all(settings.path.parent().unwrap()).unwrap();
    for (text, why) in [
        (b"hostname=x\n".to_vec(), "it has no line 'format=1'"),
        (b"format=2\n".to_vec(), "its format is '2', and only 1 is known"),
        (vec![0xff, 0xfe], "it is no text"),
        (vec![b'x'; 70_000], "it has 70000 bytes, 65536 at the most are expected"),
    ] {
        fs::write(&settings.path, &text).unwrap();
        let error = keep(&settings, "w.0").unwrap_err();
        assert!(error.to_string().ends_with(why), "{error}");
        assert_eq!(fs::read(&settings.path).unwrap(), text);
    }
}
