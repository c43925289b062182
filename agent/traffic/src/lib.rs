//! Where the published ports of a device lead.
//!
//! Clients use a *published* port; each container has a *direct* port of its own. The agent owns what lies between: one
//! nftables table of its own with a rule for each published port, replaced in one transaction, so that every new
//! connection finds either the old backend or the new one. Connections that are established stay where they are: the
//! kernel remembers their translation.
//!
//! * [`Traffic::look`] says where the ports lead by asking the kernel: what somebody else has changed or flushed shows.
//! * [`Traffic::route`] lets ports lead elsewhere, [`Traffic::forget`] lets them lead nowhere.
//! * [`connections`] counts those whom a backend still serves, [`allocate`] finds direct ports.
//!
//! Beside that, [`flows`] tells with whom a device talks at all.
//!
//! No other table, chain or rule is ever touched. How packets go through the table is drawn in [`ruleset`]; why it is
//! made so is decision 0005.

mod bridge;
mod connections;
mod error;
mod flows;
mod netlink;
mod nft;
mod parse;
mod ports;
mod render;
pub mod ruleset;
mod tracked;
mod traffic;

pub use connections::{Sockets, connections};
pub use error::{PortError, TrafficError};
pub use flows::{Addresses, Flow, addresses, flows, tracked_flows};
pub use ports::allocate;
pub use ruleset::{Backend, Lead, Leads, Reach};
pub use traffic::{Looked, Traffic};
