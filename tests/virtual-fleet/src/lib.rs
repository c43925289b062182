//! Thousands of virtual agents in one process, against a real coordinator: with the real `decide` and the real rules for
//! orders, with keys, certificates, signatures and chained reports of their own, each over an MQTT session with TLS.
//!
//! Three things are not as on a device:
//!
//! * The machine is simulated. What a release brings is put in force, taken back and found well or ill in memory, in the
//!   states that steps have (`takt_agent_core::step`). Releases may have steps of any kind but `container`.
//! * The journal is memory: an agent lives as long as the process.
//! * Documents of the package repository and manifests are fetched and verified once for all agents, as on a site whose
//!   devices ask a proxy. Whether an order agrees with them is judged by each agent for itself.

mod clock;
mod device;
mod enrolment;
mod error;
mod fleet;
mod limits;
mod machine;
mod site;
mod spec;
mod tally;
mod tls;
mod trust;

pub use error::FleetError;
pub use fleet::VirtualFleet;
pub use limits::raise_open_files;
pub use spec::FleetSpec;
pub use tally::{Acceptance, Counts};
