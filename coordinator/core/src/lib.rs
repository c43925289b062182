//! The pure heart of the coordinator: what it knows about the fleet, and what follows from it for a campaign.
//!
//! Everything here is a function of its arguments: no clock, no randomness, no I/O. The coordinator looks (builds a
//! [`FleetView`] from its store), asks [`advance`], and stores the campaign with the orders of the [`Step`] in one
//! batch; so it may be killed between any two of these and does the same again.

mod advance;
mod campaign;
mod control;
mod fleet;
mod members;
mod open;
mod others;
mod pace;
mod preview;
mod query;
mod record;
mod regulation;
mod sheets;
mod skew;
mod targets;
mod timetable;
mod why;

pub use advance::{Look, Step, advance, after_outage};
pub use campaign::{CAMPAIGN_FORMAT, Campaign, ReleaseFacts};
pub use control::{ControlError, abort, approve, close, pause, resume, retry};
pub use fleet::{DeviceState, EndedOrder, Facts, FleetView, OrderRequest, RefusedOrder, Waiting};
pub use open::{DEADLINE_SECS_MAX, ELEMENT_SIZE_MAX, OpenError, Opening, open};
pub use others::Others;
pub use preview::preview;
pub use query::{Query, QueryError, Subject};
pub use regulation::{Course, Decision, Response, Seen, Tally, stage};
pub use sheets::{CampaignFormatError, Sheets};
pub use timetable::{Due, Ground, Timetable, TimetableError, due, make_timetable};
pub use why::why;
