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

pub use check::check_plan;
pub use conflict::Conflict;
pub use make::{Forecasts, make_plan};
pub use plan::{Assignment, Method, Mode, Plan};
pub use problem::Problem;
pub use slots::{Gateway, Slots};

#[cfg(test)]
mod tests;
