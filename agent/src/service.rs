//! What the service manager is told (sd_notify(3)): that the agent is ready, that its loop goes on, what it does, that it
//! stops. Where nobody listens, because `NOTIFY_SOCKET` is not set, nothing is done.

use std::fmt::Display;

use sd_notify::NotifyState;

/// The variable that names the service manager's socket.
const SOCKET_VARIABLE: &str = "NOTIFY_SOCKET";

/// What a program that the agent starts must not inherit: it would speak for the agent.
pub const VARIABLES: [&str; 3] = [SOCKET_VARIABLE, "WATCHDOG_PID", "WATCHDOG_USEC"];

/// The journal is open, the identity is loaded, the loop begins.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The loop goes on. A service manager that does not hear it for long starts the agent anew, so only the loop may say it,
/// and never a task beside it.
pub fn alive() {
    tell(&[NotifyState::Watchdog]);
}

/// What the agent does, or waits on, for `systemctl status`.
pub fn status(text: impl Display) {
    // Telling comes often, so a text that nobody hears is not even made.
    if std::env::var_os(SOCKET_VARIABLE).is_some() {
        tell(&[NotifyState::Status(&one_line(text))]);
    }
}

/// The agent was asked to end; what is in hand comes to its end first.
pub fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("stopping: what is in hand comes to its end first")]);
}

/// A line break would begin another assignment.
fn one_line(text: impl Display) -> String {
    text.to_string().replace(['\n', '\r'], " ")
}

/// A message that is not heard must not stop the agent: what matters of it is said again.
fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the service manager was not told");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_several_lines_cannot_say_more_than_a_status() {
        assert_eq!(one_line("it failed:\nREADY=1\r\n"), "it failed: READY=1  ");
    }
}
