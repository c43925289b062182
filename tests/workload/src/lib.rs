//! The workload that the demo and the tests upgrade: it counts in memory, so that lost memory shows, and its
//! nature says how well a release of it behaves. `takt-demo-counter` is the program; images of it are made by
//! `takt_tests::image`.

mod http;
mod nature;
mod server;
mod settings;

pub use http::{Request, RequestError, Response};
pub use nature::{Nature, NatureError};
pub use server::{Counter, serve};
pub use settings::{HOLD_VARIABLE, Settings, SettingsError};
