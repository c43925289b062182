//! Topics, queries, settings, and what package managers say.

const ID: &str = "00112233445566778899aabbccddeeff";

fn bytes(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

pub(super) fn topics() -> Vec<Vec<u8>> {
    let ways =
        ["down/north/{}/order", "down/a.b_c-9/{}/ack", "down/n/{}/time", "up/n/{}/report", "up/n/{}/health"];
    let others =
        ["up/+/{}/report", "$share/g/up/n/{}/report", "up/n/{}/report/x", "{}", "{}{}", "counter 2.0.0", "#"];
    ways.iter().chain(&others).map(|text| text.replace("{}", ID).into_bytes()).collect()
}

pub(super) fn queries() -> Vec<Vec<u8>> {
    bytes(&[
        r#"model = "cam-x" and version >= "1.1" and domain in ("north")"#,
        r#"hardware="cam-x"AND(name like "cam-*")"#,
        r#"version > "1.9" and version.app < "1.11" or version.base = "2026.4""#,
        "counter = 12 and counter.base <= 3",
        "battery >= 50 % and storage_free > 2 GiB and memory_free >= 512MiB",
        r#"link != "cellular" and online = true"#,
        r#"feature.night = "on" and not feature.day = "on""#,
        r#"not (domain = "south" or domain = "east") or not not id = "1""#,
        r#"domain not in ("south", "east") and name not like "*-8""#,
        r#"agent >= "0.1" and kernel like "6.1.*-*8""#,
        "battery > 99999999999999999999 TiB",
        "online > true",
        "((((online=false))))",
        r#"name = "ü€𝄞" and nme = 1"#,
    ])
}

pub(super) fn settings() -> Vec<Vec<u8>> {
    let mut all = bytes(&[
        "name = 'camera-1'\ncoordinator = 'https://localhost:8443/'\n",
        "name = 'a'\ncoordinator = 'https://h'\n[link]\nmetered = true\nbudget_mib = 9\n[limits]\nload_per_cpu_max = 1.5\n",
        "data_dir = 'x'\npublic_hosts = ['a.example', '::1']\n[load]\nsample_minutes = 5\n",
        "[gate]\nlisten = '0.0.0.0:0'\nconnections_max = 1\n[orders]\nresend_secs = 0\n",
    ]);
    for path in ["packaging/etc/agent.toml", "packaging/etc/coordinator.toml"] {
        let text = String::from_utf8(super::file(path)).expect("settings are text");
        // Comments show settings: they are put in force.
        let lines = text.lines().filter_map(|line| match line.strip_prefix("# ") {
            Some(setting) => (setting.contains(" = ") || setting.starts_with('[')).then_some(setting),
            None => Some(line),
        });
        all.push(lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n").into_bytes());
    }
    all
}

pub(super) fn packages() -> Vec<Vec<u8>> {
    let mut all = bytes(&[
        "Package: app\nStatus: install ok installed\nArchitecture: all\nVersion: 1:2.0-1\nConffiles:\n /etc/app.conf 1\n /etc/b 2 \
         obsolete\nDepends: lib:any (>= 1) | other, more\nDescription: short\n long\n\nPackage: lib\nArchitecture: amd64\n\n",
        "Package: app\nArchitecture: all\n\n",
        "app\t1:2.0-1\tamd64\tinstalled\tok\nlib\t1\tall\thalf-configured\treinstreq\n",
        "app\t2-1\tnoarch\n",
        "S.5....T.  c /etc/a b.conf\nmissing     /usr/share/a/data\nmissing   c /etc/x\n.......T.    /usr/y\nmissing   g /run/x\n",
        "dpkg: dependency problems prevent configuration of a:\n a depends on b (>= 2); however:\n  Version of b on system is 1.\n\n\
         dpkg: error processing package a (--configure):\n dependency problems - leaving unconfigured\nErrors were encountered while \
         processing:\n a\n",
        " /etc/a 0123456789abcdef0123456789abcdef\n /etc/b c 1 remove-on-upgrade\n /etc/c d 2 obsolete\n",
    ]);
    all.push(module(b"name=livepatch_app\0vermagic=6.1.0-30-amd64 SMP mod_unload\0livepatch=Y\0"));
    all.push(module(b"license=GPL\0name=x\0"));
    all
}

/// An object file of 64 bits with this section `.modinfo`.
fn module(about: &[u8]) -> Vec<u8> {
    const NAMES: &[u8] = b"\0.shstrtab\0.modinfo\0";
    let [header, entry] = [64_usize, 64];
    let begin = header + NAMES.len() + about.len();
    let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
    bytes.resize(16, 0);
    bytes.extend([1, 0, 62, 0, 1, 0, 0, 0]);
    bytes.resize(40, 0);
    bytes.extend((begin as u64).to_le_bytes());
    bytes.extend([0, 0, 0, 0, 64, 0, 0, 0, 0, 0, 64, 0, 3, 0, 1, 0]);
    bytes.extend(NAMES);
    bytes.extend(about);
    bytes.resize(begin + entry, 0);
    for (name, kind, at, length) in
        [(1_u32, 3_u32, header, NAMES.len()), (11, 1, header + NAMES.len(), about.len())]
    {
        bytes.extend(name.to_le_bytes());
        bytes.extend(kind.to_le_bytes());
        bytes.extend([0; 16]);
        bytes.extend((at as u64).to_le_bytes());
        bytes.extend((length as u64).to_le_bytes());
        bytes.extend([0; 8]);
        bytes.extend(1_u64.to_le_bytes());
        bytes.extend([0; 8]);
    }
    bytes
}
