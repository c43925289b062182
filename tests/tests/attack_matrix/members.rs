//! Members of the fleet that mean harm, against the coordinator itself: another device, who has the device's key, and who has an
//! operator's token.

use std::cell::Cell;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use takt_agent::identity::IdentityFolder;
use takt_common::api::{CampaignState, TokenResponse};
use takt_common::envelope::PayloadType;
use takt_common::release::Manifest;
use takt_common::{DeviceId, Envelope, UnixTime};
use takt_matrix::attack::Attack::{
    ArbitrarySoftware, Eavesdrop, EndlessData, Replay, Rollback, SlowDrip, WrongDevice, WrongHardware,
    WrongPrecursor,
};
use takt_matrix::attack::Attacker::{DeviceKey, HostileDevice, OperatorToken};
use takt_matrix::attack::{Attack, Attacker, Row, Told};
use takt_tests::fleet::{COMPONENT, DOMAIN, Device, DeviceSpec, Fleet, pause, wait_until};
use takt_workload::Nature;

use super::scene::LIMIT;
use super::{evidence, releases};

/// A fleet with a device at rest and one that means harm.
struct Members {
    victim: Device,
    hostile: Device,
    fleet: Fleet,
    lane: usize,
    runs: String,
    campaigns: Cell<usize>,
}

impl Members {
    fn begin(lane: usize) -> Self {
        let fleet = Fleet::start().unwrap();
        let enrolled = |name: &str| {
            let token: TokenResponse = fleet.takt.json(&["enrol", "token", "--domain", DOMAIN]).unwrap();
            let roots = vec![releases::root(lane)];
            let spec = DeviceSpec { name: name.to_owned(), file_roots: roots, ..DeviceSpec::default() };
            let mut device = fleet.device(spec).unwrap();
            device.enrol(&token.token).unwrap();
            device
        };
        let (mut victim, hostile) = (enrolled("victim"), enrolled("hostile"));
        victim.run().unwrap();
        fleet.wait_online(&mut victim).unwrap();
        let mut members = Self { victim, hostile, fleet, lane, runs: String::new(), campaigns: Cell::new(0) };
        members.install(1);
        members
    }

    fn publish(&self, number: usize, edit: Option<fn(&mut Manifest)>) -> String {
        let version = releases::version(number, self.lane);
        let mut release = releases::files(&version, Nature::Good);
        if let Some(edit) = edit {
            release.more.as_mut().unwrap().edit = edit;
        }
        self.fleet.publish(&release).unwrap();
        version
    }

    /// A campaign on the victim; its name, or what the command said in refusing.
    fn start(&self, version: &str, device: &str) -> Result<String, String> {
        self.campaigns.set(self.campaigns.get() + 1);
        let name = format!("c-{}", self.campaigns.get());
        let release =
            if version.contains('@') { version.to_owned() } else { format!("{COMPONENT}@{version}") };
        let options = [
            "--release",
            &release,
            "--domain",
            DOMAIN,
            "--device",
            device,
            "--deadline",
            "60s",
            "--observe",
            "0s",
        ];
        let start = ["campaign", "start", &name, "--superseded"];
        let said = self.fleet.takt.run(&[&start, &options[..]].concat()).unwrap();
        if said.code == 0 { Ok(name) } else { Err(said.err) }
    }

    /// A true campaign reaches its end.
    fn install(&mut self, number: usize) {
        let version = self.publish(number, None);
        let campaign = self.start(&version, "victim").unwrap();
        let end = self.fleet.wait_campaign(&campaign, LIMIT).unwrap();
        assert_eq!(end.state, CampaignState::Finished, "{}", end.reason);
        self.runs = version;
        self.unharmed().unwrap();
    }

    fn unharmed(&mut self) -> Result<(), String> {
        self.victim.check().map_err(|error| format!("a device lost: {error}"))?;
        let file = fs::read_to_string(releases::file(self.lane)).unwrap_or_else(|error| error.to_string());
        let view = self.fleet.view("victim").map_err(|error| error.to_string())?;
        let installed: Vec<_> = view.installed.iter().map(|on| on.release.to_string()).collect();
        let well =
            file == releases::content(&self.runs) && installed == [format!("{COMPONENT} {}", self.runs)];
        if well { Ok(()) } else { Err(format!("it runs {file:.40}, told {installed:?}, not {}", self.runs)) }
    }

    fn cell(
        &mut self,
        attack: Attack,
        attacker: Attacker,
        variants: usize,
        case: impl Fn(&mut Self, usize) -> Result<Told, String>,
    ) {
        let mut row = Row::new(attack, attacker);
        for variant in 0..variants {
            let came = case(self, variant).and_then(|told| self.unharmed().map(|()| told));
            row.count(came.clone());
            row.write().unwrap();
            came.unwrap();
        }
        println!("{attack}, {attacker}: {variants} variants");
    }

    fn id(&self) -> DeviceId {
        self.victim.id().unwrap()
    }

    /// Waits until the coordinator's log says all of this in a line that it did not have before.
    fn log_says(&self, before: usize, parts: &[&str]) -> Result<String, String> {
        let found = wait_until(&format!("{parts:?} in the log"), LIMIT, || {
            let log = fs::read_to_string(self.fleet.coordinator.log()).unwrap();
            let line = log[before..].lines().find(|line| parts.iter().all(|part| line.contains(part)));
            Ok(line.map(str::to_owned).ok_or_else(String::new))
        });
        let line = found.map_err(|error| format!("silence: {error}"))?;
        // Without time and level.
        Ok(line.split_once("WARN").map_or(line.as_str(), |(_, said)| said.trim()).to_owned())
    }

    fn log_length(&self) -> usize {
        fs::read_to_string(self.fleet.coordinator.log()).unwrap().len()
    }
}

/// MQTT by hand, over TLS with a device's certificate.
struct Raw(StreamOwned<ClientConnection, TcpStream>);

impl Raw {
    fn connect(device: &Device) -> Self {
        Self::try_connect(device).expect("a CONNACK")
    }

    /// Nothing when the gate does not let it in.
    fn try_connect(device: &Device) -> Option<Self> {
        let identity = IdentityFolder::open(&device.state()).unwrap();
        let (membership, key) = (identity.membership().unwrap(), identity.key().unwrap());
        let tls: Arc<ClientConfig> = identity.tls(&membership, &key, UnixTime::default()).unwrap();
        let port: u16 = membership.broker.rsplit_once(':').unwrap().1.parse().unwrap();
        let tcp = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        tcp.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let server = ServerName::try_from("127.0.0.1").unwrap();
        let mut raw = Self(StreamOwned::new(ClientConnection::new(tls, server).unwrap(), tcp));
        let mut body = b"\0\x04MQTT\x04\x02\0\x3c".to_vec();
        body.extend(text(&device.id().unwrap().to_string()));
        raw.send(0x10, &body);
        let mut ack = [0; 4];
        raw.0.read_exact(&mut ack).ok()?;
        (ack == [0x20, 2, 0, 0]).then_some(raw)
    }

    fn send(&mut self, first: u8, body: &[u8]) {
        let mut packet = vec![first];
        let mut length = body.len();
        loop {
            let more = length > 0x7f;
            packet.push((length & 0x7f) as u8 | if more { 0x80 } else { 0 });
            length >>= 7;
            if !more {
                break;
            }
        }
        packet.extend(body);
        // The other side may end it in the middle.
        let _sent = self.0.write_all(&packet).and_then(|()| self.0.flush());
    }

    fn subscribe(&mut self, filter: &str, qos: u8) {
        self.send(0x82, &[&[0, 1], &text(filter)[..], &[qos]].concat());
    }

    fn publish(&mut self, topic: &str, payload: &[u8]) {
        self.send(0x32, &[&text(topic)[..], &[0, 7], payload].concat());
    }

    /// The answer of this length, or nothing when the other side ends the connection.
    fn answer(&mut self, length: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.0.read_exact(&mut bytes).ok().map(|()| bytes)
    }
}

fn text(text: &str) -> Vec<u8> {
    [&u16::try_from(text.len()).unwrap().to_be_bytes()[..], text.as_bytes()].concat()
}

#[test]
fn a_hostile_device_reads_and_writes_for_itself_only() {
    let mut members = Members::begin(13);
    let victim = members.id();
    members.cell(Eavesdrop, HostileDevice, 24, |members, variant| {
        let filters = [
            format!("down/{DOMAIN}/{victim}/order"),
            format!("up/{DOMAIN}/{victim}/report"),
            format!("down/{DOMAIN}/+/order"),
            "#".to_owned(),
            "down/#".to_owned(),
            format!("$share/g/down/{DOMAIN}/{victim}/order"),
            "$SYS/#".to_owned(),
            "+/+/+/+".to_owned(),
        ];
        let (filter, before) = (&filters[variant % filters.len()], members.log_length());
        let mut raw = Raw::connect(&members.hostile);
        raw.subscribe(filter, (variant / filters.len()) as u8);
        // It may also end the connection.
        if let Some(ack) = raw.answer(5)
            && ack != [0x90, 3, 0, 1, 0x80]
        {
            return Err(format!("{filter}: {ack:?}"));
        }
        let saw = members.log_says(before, &["was refused", filter])?;
        Ok(Told { happened: "the subscription was refused".to_owned(), saw })
    });
    members.cell(WrongDevice, HostileDevice, 20, |members, variant| {
        let subject = ["report", "health"][variant % 2];
        refused_publish(members, &format!("up/{DOMAIN}/{victim}/{subject}"), &vec![b'{'; variant * 100])
    });
    members.cell(ArbitrarySoftware, HostileDevice, 10, |members, variant| {
        // An order for the other device, signed by its own key.
        let key = IdentityFolder::open(&members.hostile.state()).unwrap().key().unwrap();
        let payload = format!("{{\"format\":1,\"device\":\"{victim}\",\"generation\":{variant}}}");
        let order = Envelope::seal(PayloadType::Order, payload.as_bytes(), &[&key]).to_bytes();
        refused_publish(members, &format!("down/{DOMAIN}/{victim}/order"), &order)
    });
    members.cell(EndlessData, HostileDevice, 10, |members, variant| {
        let mut raw = Raw::connect(&members.hostile);
        let topic = format!("up/{DOMAIN}/{}/report", members.hostile.id().unwrap());
        raw.publish(&topic, &vec![b'x'; 70_000 << (variant % 5)]);
        if raw.answer(1).is_some() {
            return Err("it was taken".to_owned());
        }
        let view = members.fleet.view("hostile").map_err(|error| error.to_string())?;
        let saw = format!("device 'hostile' online: {}", view.online);
        Ok(Told { happened: "the connection was ended".to_owned(), saw })
    });
    members.cell(SlowDrip, HostileDevice, 8, |members, variant| {
        // Connections that say a byte now and then, and never what they want.
        let [_, gate] = members.fleet.coordinator.ports();
        let mut slow: Vec<TcpStream> =
            (0..=4 * variant).map(|_| TcpStream::connect((Ipv4Addr::LOCALHOST, gate)).unwrap()).collect();
        for byte in [0x16, 3, 1, 2] {
            for slow in &mut slow {
                slow.write_all(&[byte]).unwrap();
            }
            pause(Duration::from_millis(20));
        }
        let view = members.fleet.view("victim").map_err(|error| error.to_string())?;
        let raw = Raw::try_connect(&members.hostile);
        match (view.online, raw) {
            (true, Some(_)) => {
                let happened = "other devices come in beside them".to_owned();
                Ok(Told { happened, saw: "device 'victim' online: true".to_owned() })
            }
            (online, raw) => Err(format!("online {online}, others come in {}", raw.is_some())),
        }
    });
    members.cell(Replay, HostileDevice, 8, |members, variant| {
        // What another device has said, as one's own.
        let reports = kept_reports(members);
        let mut raw = Raw::connect(&members.hostile);
        let topic = format!("up/{DOMAIN}/{}/report", members.hostile.id().unwrap());
        raw.publish(&topic, &reports[variant % reports.len()]);
        raw.answer(4).ok_or("no answer")?;
        let saw = members.log_says(0, &["message of a device ignored"])?;
        Ok(Told { happened: "the report was not taken".to_owned(), saw })
    });
    members.install(2);
    fs::remove_dir_all(releases::root(13)).unwrap();
}

fn refused_publish(members: &Members, topic: &str, payload: &[u8]) -> Result<Told, String> {
    let before = members.log_length();
    let mut raw = Raw::connect(&members.hostile);
    raw.publish(topic, payload);
    if raw.answer(1).is_some() {
        return Err(format!("a publish to {topic} was taken"));
    }
    let saw = members.log_says(before, &["a publish was refused", topic])?;
    Ok(Told { happened: "the publish was refused and the connection ended".to_owned(), saw })
}

#[test]
fn who_has_a_device_s_key_cannot_tell_its_story_again() {
    let mut members = Members::begin(14);
    let (victim, reports) = (members.id(), kept_reports(&members));
    let before = members.fleet.view("victim").unwrap();
    members.cell(Replay, DeviceKey, 10, |members, variant| {
        let refused = match with_the_key(members)? {
            Entry::In(mut raw) => {
                raw.publish(&format!("up/{DOMAIN}/{victim}/report"), &reports[variant % reports.len()]);
                // It is there already: the coordinator says so, and nothing changes.
                raw.answer(4);
                None
            }
            Entry::Refused(warning) => Some(warning),
        };
        let Members { victim, fleet, .. } = members;
        let view = fleet.wait_online(victim).map_err(|error| format!("a device lost: {error}"))?;
        if view.last_outcome != before.last_outcome || view.quarantine.is_some() {
            return Err(format!("{:?}, {:?}", view.last_outcome, view.quarantine));
        }
        let told = view.last_outcome.map(|outcome| format!("device online, last outcome: {outcome}"));
        Ok(match refused {
            Some(saw) => Told { happened: SECOND_REFUSED.to_owned(), saw },
            None => {
                Told { happened: "an old report changed nothing".to_owned(), saw: told.ok_or("silence")? }
            }
        })
    });
    members.cell(ArbitrarySoftware, DeviceKey, 8, |members, variant| {
        // An order to the device itself, signed by its own key.
        let key = IdentityFolder::open(&members.victim.state()).unwrap().key().unwrap();
        let payload = format!("{{\"format\":1,\"device\":\"{victim}\",\"generation\":{variant}}}");
        let order = Envelope::seal(PayloadType::Order, payload.as_bytes(), &[&key]).to_bytes();
        as_the_victim(members, &format!("down/{DOMAIN}/{victim}/order"), &order)
    });
    members.cell(WrongDevice, DeviceKey, 8, |members, variant| {
        let other = members.hostile.id().unwrap();
        let subject = ["report", "health"][variant % 2];
        as_the_victim(members, &format!("up/{DOMAIN}/{other}/{subject}"), &reports[variant % reports.len()])
    });
    members.install(2);
    fs::remove_dir_all(releases::root(14)).unwrap();
}

/// The victim's reports as the coordinator keeps them.
fn kept_reports(members: &Members) -> Vec<Vec<u8>> {
    let store = members.fleet.coordinator.profile().with_file_name("store");
    let victim = members.id();
    evidence::look(&store, members.fleet.folder(), |registry| {
        let numbers = registry.report_numbers(victim).unwrap();
        numbers.into_iter().map(|number| registry.report_envelope(victim, number).unwrap().unwrap()).collect()
    })
}

const SECOND_REFUSED: &str = "the second connection with the key was refused";

/// How a second connection with the victim's key fares.
enum Entry {
    In(Box<Raw>),
    /// With what `takt device show` warns of.
    Refused(String),
}

/// The gate lets the newest connection in a few times, and then none but the one that is there.
fn with_the_key(members: &Members) -> Result<Entry, String> {
    let entry = wait_until("a second connection, or a warning", LIMIT, || {
        if let Some(raw) = Raw::try_connect(&members.victim) {
            return Ok(Ok(Entry::In(Box::new(raw))));
        }
        let warnings = members.fleet.view("victim")?.warnings;
        let warned = warnings.iter().find(|warning| warning.contains("two connections")).cloned();
        Ok(warned.map(Entry::Refused).ok_or_else(|| format!("{warnings:?}")))
    });
    entry.map_err(|error| format!("silence: {error}"))
}

/// Says something that the victim may not, with its key; it comes back.
fn as_the_victim(members: &mut Members, topic: &str, payload: &[u8]) -> Result<Told, String> {
    let before = members.log_length();
    let told = match with_the_key(members)? {
        Entry::Refused(saw) => Told { happened: SECOND_REFUSED.to_owned(), saw },
        Entry::In(mut raw) => {
            raw.publish(topic, payload);
            if raw.answer(1).is_some() {
                return Err(format!("a publish to {topic} was taken"));
            }
            let happened = "the publish was refused and the connection ended".to_owned();
            Told { happened, saw: members.log_says(before, &["a publish was refused", topic])? }
        }
    };
    let Members { victim, fleet, .. } = members;
    fleet.wait_online(victim).map_err(|error| format!("a device lost: {error}"))?;
    Ok(told)
}

fn other_hardware(manifest: &mut Manifest) {
    releases::only_a_file(manifest);
    manifest.hardware = vec!["other-board".parse().unwrap()];
}

/// A release of a component of which the device has none, which goes only over an earlier one.
fn far_ahead(manifest: &mut Manifest) {
    releases::only_a_file(manifest);
    manifest.release.name = "extra".parse().unwrap();
    manifest.counter = 20;
    manifest.requires.counter_min = Some(10);
}

/// The operator's campaign brings nothing: the command refuses it, or its end or its state say why.
fn comes_to_nothing(members: &Members, version: &str, device: &str) -> Result<Told, String> {
    let campaign = match members.start(version, device) {
        Err(saw) if saw.is_empty() => return Err("silence".to_owned()),
        Err(saw) => return Ok(Told { happened: "the coordinator refused the campaign".to_owned(), saw }),
        Ok(campaign) => campaign,
    };
    let view = wait_until("a reason", LIMIT, || {
        let view = members.fleet.campaign(&campaign)?;
        let told = view.state != CampaignState::Ongoing && view.state != CampaignState::Pending
            || !view.excluded.is_empty();
        Ok(if told { Ok(view) } else { Err(format!("{:?}: {}", view.state, view.reason)) })
    })
    .map_err(|error| format!("silence: {error}"))?;
    // What goes on is ended.
    let _ended = members.fleet.takt.run(&["campaign", "abort", &campaign]).unwrap();
    let excluded = view.excluded.first().map(|of| format!("; {} {}", of.name, of.reason)).unwrap_or_default();
    let happened = "the campaign brought it to no device".to_owned();
    Ok(Told { happened, saw: format!("{}{excluded}", view.reason) })
}

#[test]
fn who_has_an_operator_s_token_orders_nothing_that_is_not_published_and_fits() {
    let mut members = Members::begin(15);
    let base = members.runs.clone();
    let foreign = members.publish(2, Some(other_hardware));
    let needy = format!("extra@{}", members.publish(3, Some(far_ahead)));
    members.install(4);
    members.cell(ArbitrarySoftware, OperatorToken, 15, |members, variant| {
        if variant % 2 == 0 {
            return comes_to_nothing(members, &format!("{variant}.66.6"), "victim");
        }
        // Signed by nobody, or by one of two.
        let version = releases::version(100 + variant, members.lane);
        let release = releases::files(&version, Nature::Good);
        let out = members.fleet.make(&release).map_err(|error| error.to_string())?;
        let documents = members.fleet.trust.documents();
        let publish = ["release", "publish", "--dir", &out, "--trust", &documents];
        let said = members.fleet.takt.run(&publish).unwrap();
        if said.code == 0 {
            return Err("it was published".to_owned());
        }
        Ok(Told { happened: "it was not published".to_owned(), saw: said.err })
    });
    members.cell(WrongDevice, OperatorToken, 10, |members, variant| {
        let release = members.runs.clone();
        comes_to_nothing(members, &release, &format!("nobody-{variant}"))
    });
    members.cell(Rollback, OperatorToken, 8, |members, _| comes_to_nothing(members, &base, "victim"));
    members.cell(WrongHardware, OperatorToken, 8, |members, _| comes_to_nothing(members, &foreign, "victim"));
    members.cell(WrongPrecursor, OperatorToken, 8, |members, _| comes_to_nothing(members, &needy, "victim"));
    members.install(5);
    fs::remove_dir_all(releases::root(15)).unwrap();
}
