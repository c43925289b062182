//! Which device is upgraded when (paper 1, "Synchronize and Develop Deployment Schedule").

mod book;
mod check;
mod conflict;
mod greedy;
mod make;
mod optimal;
mod paper;
mod plan;
mod problem;
mod reason;
mod slots;
mod spans;
mod windows;

pub use check::check_plan;
pub use conflict::Conflict;
pub use make::{Forecasts, make_plan};
pub use plan::{Assignment, Method, Mode, Plan};
pub use problem::{Kept, Problem};
pub use slots::{Gateway, Slots};
pub(crate) use windows::minutes;
pub use windows::{TimeZoneError, Window, WindowError, Windows, time_zone};

#[cfg(test)]
mod tests;
