//! Enrolment of many devices, each with a key and a connection of its own, a few at a time.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use rustls::ClientConfig;
use takt_agent::fetch::Client;
use takt_agent::sentence;
use takt_common::api::{EnrolRequest, EnrolResponse, Problem};
use takt_common::{DeviceId, Name, SigningKey};
use takt_trust::{DirectorTrust, PackageTrust};
use tokio::task::JoinSet;

use crate::clock;
use crate::error::FleetError;
use crate::spec::FleetSpec;
use crate::tls::Authority;

/// The largest answer: a certificate, a CA and two roots.
const ANSWER_LENGTH_MAX: usize = 256 * 1024;
/// How often a device asks a coordinator that cannot be reached or is busy.
const TRIES_MAX: u32 = 8;
/// The pause before the second try; it doubles, and half of it more or less is by chance.
const PAUSE_FIRST: Duration = Duration::from_millis(200);

/// A device that has enrolled.
pub(crate) struct Enrolled {
    /// Its number in the fleet, from 0.
    pub(crate) number: u64,
    pub(crate) key: SigningKey,
    pub(crate) device: DeviceId,
    pub(crate) domain: Name,
    /// The gate.
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) tls: Arc<ClientConfig>,
}

/// All that have enrolled, and the roots that they were given.
pub(crate) struct Members {
    pub(crate) devices: Vec<Enrolled>,
    pub(crate) roots: (PackageTrust, DirectorTrust),
}

/// What each enrolment needs.
struct Desk {
    authority: Authority,
    client: Client,
    hardware: Name,
}

/// Enrols all devices of `spec`.
pub(crate) async fn enrol(spec: &FleetSpec, hardware: &Name) -> Result<Members, FleetError> {
    let authority = Authority::read(&spec.ca)?;
    let client = Client::new(&spec.url, authority.stranger())?;
    let secrets = spec.tokens.iter().map(|token| secret(token)).collect::<Result<Vec<_>, _>>()?;
    let mut secrets = secrets.into_iter().cycle();
    let desk = Arc::new(Desk { authority, client, hardware: hardware.clone() });
    let mut under_way = JoinSet::new();
    let mut devices = Vec::with_capacity(spec.count);
    let mut roots = None;
    let mut to_come = 0..spec.count;
    loop {
        while under_way.len() < spec.enrol_at_once.max(1)
            && let Some(number) = to_come.next()
        {
            let text = format!("{}-{}", spec.prefix, spec.first + number);
            let name: Name = text.parse().map_err(|_| FleetError::Name(text))?;
            let secret = secrets.next().ok_or(FleetError::Token)?.to_owned();
            let desk = Arc::clone(&desk);
            under_way.spawn(async move { desk.enrol(number as u64, name, secret).await });
        }
        let Some(done) = under_way.join_next().await else { break };
        let (device, answer) = done.expect("an enrolment does not panic")?;
        if roots.is_none() {
            let package = PackageTrust::from_root(answer.package_root.as_bytes())?;
            roots = Some((package, DirectorTrust::from_root(answer.director_root.as_bytes())?));
        }
        devices.push(device);
    }
    devices.sort_by_key(|device| device.number);
    Ok(Members { devices, roots: roots.ok_or(FleetError::Empty)? })
}

/// The secret part of a token.
fn secret(token: &str) -> Result<&str, FleetError> {
    let rest = token.trim().strip_prefix("takt1.").ok_or(FleetError::Token)?;
    let (secret, _authority) = rest.split_once('.').ok_or(FleetError::Token)?;
    if secret.is_empty() { Err(FleetError::Token) } else { Ok(secret) }
}

impl Desk {
    async fn enrol(
        &self,
        number: u64,
        name: Name,
        secret: String,
    ) -> Result<(Enrolled, EnrolResponse), FleetError> {
        let key = SigningKey::generate(&SystemRandom::new())?;
        let proof = EnrolRequest::proof_message(&secret, &name, &self.hardware, &key.public());
        let request = EnrolRequest {
            secret,
            name: name.clone(),
            hardware: self.hardware.clone(),
            public_key: key.public(),
            proof: STANDARD.encode(key.sign(&proof)),
        };
        let answer = self.ask(&request).await?;
        let refuse = |why: String| FleetError::Refused { name: name.to_string(), why };
        if answer.device != DeviceId::of_key(&key.public()) {
            return Err(refuse(format!("its answer names device {}", answer.device)));
        }
        let tls = self.authority.device(name.as_str(), &answer.certificate_pem, &key)?;
        let (host, port) = answer
            .broker
            .rsplit_once(':')
            .and_then(|(host, port)| Some((host.to_owned(), port.parse().ok()?)))
            .ok_or_else(|| FleetError::Broker(answer.broker.clone()))?;
        let (device, domain) = (answer.device, answer.domain.clone());
        Ok((Enrolled { number, key, device, domain, host, port, tls }, answer))
    }

    /// Asks until there is an answer: the same device may enrol again.
    async fn ask(&self, request: &EnrolRequest) -> Result<EnrolResponse, FleetError> {
        let body = serde_json::to_vec(request).expect("a request holds only texts");
        let mut pause = PAUSE_FIRST;
        for attempt in 1.. {
            let refuse = |why: String| FleetError::Refused { name: request.name.to_string(), why };
            match self.client.post_json("/api/v1/enrol", body.clone(), ANSWER_LENGTH_MAX).await {
                Ok((status, answer)) if status.is_success() => {
                    return serde_json::from_slice(&answer).map_err(|error| refuse(sentence(&error)));
                }
                Ok((status, _)) if status.is_server_error() && attempt < TRIES_MAX => {}
                Ok((status, answer)) => {
                    return Err(refuse(
                        serde_json::from_slice::<Problem>(&answer)
                            .map_or_else(|_| format!("it answered {status}"), |problem| problem.detail),
                    ));
                }
                Err(_) if attempt < TRIES_MAX => {}
                Err(error) => return Err(error.into()),
            }
            clock::sleep(pause / 2 + pause.mul_f64(fastrand::f64())).await;
            pause *= 2;
        }
        unreachable!("the last try returns")
    }
}
