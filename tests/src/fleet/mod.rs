//! A small fleet of the real binaries on one machine: a coordinator, agents as devices of their own, the `takt`
//! command, and HTTP clients that see what the workloads do. The demo, the benchmarks and the end-to-end tests share it.
//!
//! Every process has a group of its own and ends with the thread that started it; everything lies in one temporary
//! folder that is removed at the end.

mod api;
mod binaries;
mod clock;
mod command;
mod coordinator;
mod device;
mod error;
mod http;
mod interrupt;
mod ports;
mod process;
mod proxy;
mod release;
mod trust;
mod watcher;
mod whole;

pub use api::Api;
pub use binaries::Binaries;
pub use clock::{Stopwatch, now, pause, wait_until};
pub use command::{Said, Takt};
pub use coordinator::Coordinator;
pub use device::{Device, DeviceSpec};
pub use error::FleetError;
pub use http::{Answer, HttpClient};
pub use interrupt::{heed_signals, interrupted};
pub use ports::Port;
pub use process::Process;
pub use proxy::Proxy;
pub use release::{COMPONENT, More, ReleaseSpec, containers, publish_port};
pub use trust::Ceremony;
pub use watcher::{Gap, HttpWatcher, Spell};
pub use whole::{CampaignSpec, DOMAIN, Fleet};
