//! RAUC's service on D-Bus: the few calls that an upgrade needs. Its interface is `de.pengutronix.rauc.Installer`; what
//! is used here has been the same from RAUC 1.8 on.
//!
//! A connection lives for one look or one action, so that an agent at rest has none. The end of an installation is
//! seen by asking, not by the signal `Completed`: a signal is lost on an agent that is started anew meanwhile.

use std::collections::HashMap;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use takt_agent_core::Nature;
use takt_agent_core::failure::Natured;
use tokio::time::timeout;
use zbus::connection::Builder;
use zbus::wire::{DynamicType, OwnedVariant, Type};
use zbus::{Connection, Message};

use super::seen::{Part, Seen, Slot, Slots, Stamp};
use crate::patience::pause;

const SERVICE: &str = "de.pengutronix.rauc";
const INTERFACE: &str = "de.pengutronix.rauc.Installer";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
const IDLE: &str = "idle";

/// How long a plain question may take: RAUC asks the boot loader's tools, one process for each variable.
const ANSWER_MAX: Duration = Duration::from_mins(1);

/// How long a bundle may be checked: of one in RAUC's format `plain` every byte is read.
const CHECK_MAX: Duration = Duration::from_mins(15);

/// How long RAUC may call itself busy after it has called itself idle: it says so a moment too early.
const IDLE_TRIES_MAX: u32 = 20;
const IDLE_PAUSE: Duration = Duration::from_millis(100);

/// RAUC does not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum RaucError {
    /// There is no bus.
    #[error("connect to the D-Bus {bus}")]
    Bus {
        /// Which.
        bus: String,
        /// Why.
        source: Box<zbus::Error>,
    },
    /// There is no such service.
    #[error("RAUC is not there: no service '{SERVICE}' on D-Bus, and none that could be started")]
    Absent,
    /// RAUC said no.
    #[error("RAUC failed to {what}: {said}")]
    Refused {
        /// What it was to do.
        what: String,
        /// Its words.
        said: String,
    },
    /// The answer did not come or was not understood.
    #[error("ask RAUC to {what}")]
    Call {
        /// What it was to do.
        what: String,
        /// Why.
        source: Box<zbus::Error>,
    },
    /// The answer did not come in time.
    #[error("RAUC did not {what} within {secs} s")]
    Slow {
        /// What it was to do.
        what: String,
        /// The limit.
        secs: u64,
    },
}

impl Natured for RaucError {
    /// A service may be about to start, a boot loader's environment about to be written by somebody else.
    fn nature(&self) -> Nature {
        Nature::Transient
    }
}

/// What RAUC is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Work {
    /// True when it does something.
    pub busy: bool,
    /// How far it is in percent, and at what.
    pub progress: (i32, String),
    /// Why the last installation failed; empty when it did not, or when the service was started after it.
    pub last_error: String,
}

/// What a bundle says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bundle {
    pub compatible: String,
    pub version: String,
}

/// What becomes of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    Good,
    Bad,
    Active,
}

impl Mark {
    const fn word(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Bad => "bad",
            Self::Active => "active",
        }
    }
}

/// A connection to RAUC.
pub(super) struct Rauc(Connection);

impl Rauc {
    /// Connects to the bus with this address; to the system's when there is none.
    pub(super) async fn connect(address: Option<&str>) -> Result<Self, RaucError> {
        let builder = address.map_or_else(Builder::system, Builder::address);
        let bus = || address.map_or_else(|| "system bus".to_owned(), |address| format!("bus at '{address}'"));
        match timeout(ANSWER_MAX, builder.build()).await {
            Ok(Ok(connection)) => Ok(Self(connection)),
            Ok(Err(error)) => Err(RaucError::Bus { bus: bus(), source: Box::new(error) }),
            Err(_) => Err(RaucError::Slow {
                what: format!("appear on the D-Bus {}", bus()),
                secs: ANSWER_MAX.as_secs(),
            }),
        }
    }

    /// Its slots, unless it is at work.
    pub(super) async fn look(&self) -> Result<Seen, RaucError> {
        let mut tries = 1;
        let slots = loop {
            let work = self.work().await?;
            if work.busy {
                let (percent, what) = work.progress;
                return Ok(Seen::Busy(format!("{what}, {percent} %")));
            }
            match self.slots().await {
                Err(RaucError::Refused { .. }) if tries < IDLE_TRIES_MAX => {
                    tries += 1;
                    pause(IDLE_PAUSE).await;
                }
                answer => break answer?,
            }
        };
        Ok(Seen::Slots(slots))
    }

    async fn slots(&self) -> Result<Slots, RaucError> {
        type Fields = HashMap<String, OwnedVariant>;
        let what = "tell of its slots";
        let told: Vec<(String, Fields)> =
            read(what, &self.call(what, INTERFACE, "GetSlotStatus", &(), ANSWER_MAX).await?)?;
        let all = told.into_iter().map(|(name, fields)| slot(name, &fields)).collect();
        let what = "tell which slot boots next";
        let primary = match self.call(what, INTERFACE, "GetPrimary", &(), ANSWER_MAX).await {
            Ok(answer) => Ok(read(what, &answer)?),
            Err(RaucError::Refused { said, .. }) => Err(said),
            Err(error) => return Err(error),
        };
        Ok(Slots { all, primary })
    }

    /// What it is doing.
    pub(super) async fn work(&self) -> Result<Work, RaucError> {
        let operation: String = self.property("Operation").await?;
        // It has no progress before its first installation.
        let progress = match self.property::<(i32, String, i32)>("Progress").await {
            Ok((percent, what, _)) => (percent, what),
            Err(RaucError::Refused { .. }) => (0, operation.clone()),
            Err(error) => return Err(error),
        };
        let last_error = self.property("LastError").await?;
        Ok(Work { busy: operation != IDLE, progress, last_error })
    }

    /// What `compatible` this device is.
    pub(super) async fn compatible(&self) -> Result<String, RaucError> {
        self.property("Compatible").await
    }

    /// What a bundle says of itself, once its signature has been found right.
    pub(super) async fn info(&self, bundle: &str) -> Result<Bundle, RaucError> {
        let what = "check the bundle";
        let answer = self.call(what, INTERFACE, "Info", &bundle, CHECK_MAX).await?;
        let (compatible, version) = read(what, &answer)?;
        Ok(Bundle { compatible, version })
    }

    /// Begins to write a bundle into the slots that do not run, and to let them boot next.
    pub(super) async fn install(&self, bundle: &str) -> Result<(), RaucError> {
        let options: HashMap<String, OwnedVariant> = HashMap::new();
        let what = "begin the installation";
        self.call(what, INTERFACE, "InstallBundle", &(bundle, options), ANSWER_MAX).await.map(drop)
    }

    /// Marks a slot, by its name.
    pub(super) async fn mark(&self, mark: Mark, slot: &str) -> Result<(), RaucError> {
        let what = format!("mark slot {slot} {}", mark.word());
        self.call(&what, INTERFACE, "Mark", &(mark.word(), slot), ANSWER_MAX).await.map(drop)
    }

    async fn property<T>(&self, name: &str) -> Result<T, RaucError>
    where
        T: TryFrom<OwnedVariant, Error = zbus::Error>,
    {
        let what = format!("tell its {name}");
        let answer = self.call(&what, PROPERTIES, "Get", &(INTERFACE, name), ANSWER_MAX).await?;
        let value: OwnedVariant = read(&what, &answer)?;
        T::try_from(value).map_err(|error| RaucError::Call { what, source: Box::new(error) })
    }

    async fn call<B>(
        &self,
        what: &str,
        interface: &str,
        method: &str,
        body: &B,
        limit: Duration,
    ) -> Result<Message, RaucError>
    where
        B: Serialize + DynamicType,
    {
        let call = self.0.call_method(Some(SERVICE), "/", Some(interface), method, body);
        match timeout(limit, call).await {
            Ok(answer) => answer.map_err(|error| failed(what, error)),
            Err(_) => Err(RaucError::Slow { what: what.to_owned(), secs: limit.as_secs() }),
        }
    }
}

/// What the bus answers for a service that is gone in the middle of a call.
const NO_REPLY: &str = "org.freedesktop.DBus.Error.NoReply";

fn failed(what: &str, error: zbus::Error) -> RaucError {
    use zbus::fdo::Error::{Failed, InvalidArgs, NameHasNoOwner, NoReply, ServiceUnknown};
    let refused = |said: &str| {
        // RAUC's own words may end in a line break.
        RaucError::Refused { what: what.to_owned(), said: said.trim().to_owned() }
    };
    match &error {
        // The bus says so of one that has died before it could answer, too.
        zbus::Error::FDO(error) if matches!(**error, ServiceUnknown(_) | NameHasNoOwner(_) | NoReply(_)) => {
            RaucError::Absent
        }
        zbus::Error::MethodError(name, ..) if name.as_str() == NO_REPLY => RaucError::Absent,
        zbus::Error::FDO(error) if matches!(**error, Failed(_) | InvalidArgs(_)) => {
            refused(&error.to_string())
        }
        zbus::Error::MethodError(name, said, _) => refused(said.as_deref().unwrap_or(name.as_str())),
        _ => RaucError::Call { what: what.to_owned(), source: Box::new(error) },
    }
}

fn read<T: DeserializeOwned + Type>(what: &str, answer: &Message) -> Result<T, RaucError> {
    answer
        .body()
        .deserialize()
        .map_err(|error| RaucError::Call { what: what.to_owned(), source: Box::new(error) })
}

fn slot(name: String, fields: &HashMap<String, OwnedVariant>) -> Slot {
    let text = |field: &str| <&str>::try_from(fields.get(field)?).ok().map(str::to_owned);
    let count = |field: &str| u32::try_from(fields.get(field)?).ok();
    let stamp = |what: &str| {
        let count = count(&format!("{what}.count"))?;
        Some(Stamp { time: text(&format!("{what}.timestamp")).unwrap_or_default(), count })
    };
    Slot {
        class: text("class").unwrap_or_default(),
        parent: text("parent"),
        bootname: text("bootname"),
        part: match text("state").as_deref() {
            Some("booted") => Part::Booted,
            Some("active") => Part::Active,
            _ => Part::Inactive,
        },
        good: text("boot-status").map(|status| status == "good"),
        whole: text("status").as_deref() == Some("ok"),
        compatible: text("bundle.compatible"),
        version: text("bundle.version"),
        installed: stamp("installed"),
        activated: stamp("activated"),
        name,
    }
}
