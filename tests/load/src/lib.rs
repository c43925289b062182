//! Load for tests and benchmarks: clients that open a new connection for each request, thousands a second, and tell of
//! every one that failed, of the slowest one and of each gap between two answers; and a tiny backend to serve them.
//!
//! A connection is: connect, request, the whole answer up to the backend's close, close. The backend closes first, so
//! the clients' own ports are free at once and nothing but the backend slows them down.

mod backend;
mod clients;
mod clock;
mod record;

pub use backend::Backend;
pub use clients::{Clients, Judge, LoadError, Spec};
pub use clock::now;
pub use record::{Failure, Gap, Report};
