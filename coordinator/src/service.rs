//! What the service manager is told (sd_notify(3)): that the coordinator listens, that its engine goes on, that it stops.
//! Where nobody listens, because `NOTIFY_SOCKET` is not set, nothing is done.

use sd_notify::NotifyState;

/// API and gate listen, as `listening` says in one line.
pub fn ready(listening: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(listening)]);
}

/// The engine has finished a round. A service manager that does not hear it for long starts the coordinator anew, so
/// only the engine may say it, and never a task beside it.
pub fn alive() {
    tell(&[NotifyState::Watchdog]);
}

/// The coordinator was asked to end.
pub fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
}

/// A message that is not heard must not stop the coordinator: what matters of it is said again.
fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the service manager was not told");
    }
}
