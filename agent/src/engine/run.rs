//! Starting and stopping, with the old one's end and the new one's start as close together as they can be.

use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use bollard::models::ContainerUpdateBody;
use bollard::query_parameters::{KillContainerOptions, StopContainerOptions, WaitContainerOptions};
use futures_util::StreamExt;
use takt_agent_core::ContainerName;

use super::Engine;
use super::error::EngineError;
use super::leftover;
use super::look::LOOK_LIMIT;
use super::process::Process;
use super::spec::restart_policy;

/// How long the engine may take, beyond the grace, to stop a container or to notice that it has stopped.
const STOP_LIMIT: Duration = Duration::from_secs(15);
/// How long our own eyes are trusted before the engine is asked whether a container has ended: it takes about 50 ms
/// to notice, longer under load.
const ENDED_FRESH: Duration = Duration::from_secs(2);
/// How often a container is started of which a killed engine has left something, and how long between two tries.
const LEFTOVER_TRIES_MAX: u32 = 10;
const LEFTOVER_PAUSE: Duration = Duration::from_millis(300);
/// How long the kernel may take to make the latch's program the workload.
const EXEC_LIMIT: Duration = Duration::from_secs(2);
/// The exit code of what ended on our signal, as shells have it; the engine's own comes later.
const CODE_STOPPED: i64 = 143;
/// Exit codes the engine gives to a container whose command could not be started.
const CODES_NOT_STARTED: std::ops::RangeInclusive<i64> = 126..=128;

/// The most processes that Linux has on 64 bits, and how much less than that a container may have.
const PIDS_MAX: i64 = 1 << 22;
const PIDS_SPREAD: i64 = 1 << 21;

/// When a container's first process was seen to have ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ended {
    /// Since boot.
    at: Duration,
}

/// Since boot; a machine without that clock waits for the engine a little longer.
fn now() -> Duration {
    crate::host::uptime().unwrap_or_default()
}

fn locked<T>(mutex: &std::sync::Mutex<T>) -> MutexGuard<'_, T> {
    // Whoever panicked while holding it had at most not inserted an entry, which only costs a call.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Engine {
    /// Starts a created or stopped container afresh. One at its latch starts at once, without the engine.
    pub async fn start(&self, name: &ContainerName) -> Result<(), EngineError> {
        let Some(latch) = self.latch(name).filter(super::latch::Latch::is_closed) else {
            return self.start_afresh(name).await;
        };
        let held = locked(&self.held).remove(name);
        let held = match held {
            Some(process) => Some(process),
            None => self.ours_present(name).await?.process(),
        };
        let opened = latch.open().map_err(|source| EngineError::Latch { name: name.clone(), source })?;
        let Some(process) = held.filter(|process| !process.has_ended()) else {
            // It had ended at its latch, with a machine or an engine that went down.
            return self.start_afresh(name).await;
        };
        // `None`: another user's process cannot be looked into; the engine will tell.
        let gone_on = || process.has_ended() || latch.holds(process.pid()) != Some(true);
        let in_time = Process::until(EXEC_LIMIT, gone_on).await;
        drop(opened);
        if process.has_ended() {
            self.note_ended(name);
            return Err(self.exited(name).await);
        }
        if !in_time {
            return Err(EngineError::NotInTime {
                call: format!("see container {name} pass its latch"),
                limit: EXEC_LIMIT,
            });
        }
        Ok(())
    }

    async fn start_afresh(&self, name: &ContainerName) -> Result<(), EngineError> {
        self.settle(name).await?;
        self.ours_present(name).await?;
        self.renew(name).await;
        let Err(mut error) = self.start_engine_side(name).await else { return Ok(()) };
        let mut seen = self.ours_present(name).await?;
        for tried in 0..LEFTOVER_TRIES_MAX {
            let last = tried >= LEFTOVER_TRIES_MAX / 2;
            if seen.runs() || !self.clear_leftover(&seen.id, &error.to_string(), last).await {
                break;
            }
            let Err(again) = self.start_engine_side(name).await else { return Ok(()) };
            error = again;
            seen = self.ours_present(name).await?;
        }
        if seen.runs() {
            return Ok(());
        }
        if CODES_NOT_STARTED.contains(&seen.exit_code) && !seen.error.is_empty() {
            return Err(EngineError::Exited { name: name.clone(), code: seen.exit_code, said: seen.error });
        }
        Err(error)
    }

    /// Clears away what a killed engine has left of a container that does not run, if it is that by which the engine
    /// refuses to start it. True when it is worth trying again.
    /// In the `last` tries also that goes which the engine would have cleared away by itself.
    pub(super) async fn clear_leftover(&self, container_id: &str, said: &str, last: bool) -> bool {
        if !leftover::is_meant(said) {
            return false;
        }
        if leftover::clear(container_id).await {
            tracing::warn!(container_id, "ended the shim that a killed engine has left of a container");
        }
        // The engine clears away the rest by itself once it has seen the shim gone, but not what it has never seen.
        crate::clock::sleep(LEFTOVER_PAUSE).await;
        if last && leftover::set_aside(said, container_id) {
            tracing::warn!(container_id, "set the folder aside that a killed engine has left of a container");
        }
        true
    }

    /// Stops a container and lets the engine not restart it; kills it after `grace`. Returns as soon as all its
    /// processes have ended, which is some 40 ms before the engine has noticed.
    pub async fn stop(&self, name: &ContainerName, grace: Duration) -> Result<(), EngineError> {
        let Some(seen) = self.ours(name).await? else { return Ok(()) };
        if seen.kept_running {
            self.set_restart_policy(name, false).await?;
        }
        if !seen.runs() {
            return Ok(());
        }
        let is_held = self.latch(name).is_some_and(|latch| latch.is_closed());
        let Some(process) = seen.process() else { return self.stop_engine_side(name, grace).await };
        if !is_held {
            let signal = seen.stop_signal.unwrap_or_else(|| "SIGTERM".to_owned());
            let sent = self.kill(name, &signal).await;
            if Process::until(grace, || process.has_ended()).await {
                self.note_ended(name);
                return Ok(());
            }
            // A signal that the engine did not pass on is no reason to wait and then kill, unless it ran on.
            sent?;
        }
        self.kill(name, "SIGKILL").await?;
        if Process::until(STOP_LIMIT, || process.has_ended()).await {
            self.note_ended(name);
            return Ok(());
        }
        Err(EngineError::NotInTime {
            call: format!("see container {name} end after it was killed"),
            limit: STOP_LIMIT,
        })
    }

    /// For an engine whose processes cannot be seen from here.
    async fn stop_engine_side(&self, name: &ContainerName, grace: Duration) -> Result<(), EngineError> {
        let t = i32::try_from(grace.as_secs()).unwrap_or(i32::MAX);
        let options = StopContainerOptions { signal: None, t: Some(t) };
        self.connection
            .call(format!("stop container {name}"), grace + STOP_LIMIT, |docker| async move {
                docker.stop_container(&name.0, Some(options)).await
            })
            .await
    }

    async fn kill(&self, name: &ContainerName, signal: &str) -> Result<(), EngineError> {
        let options = KillContainerOptions { signal: signal.to_owned() };
        let sent = self
            .connection
            .call(format!("send {signal} to container {name}"), STOP_LIMIT, |docker| async move {
                docker.kill_container(&name.0, Some(options)).await
            })
            .await;
        match sent {
            // It has ended meanwhile.
            Err(EngineError::Refused { status: 404 | 409, .. }) => Ok(()),
            other => other,
        }
    }

    /// Lets the engine restart the container when it exits or the machine boots.
    pub async fn keep_running(&self, name: &ContainerName) -> Result<(), EngineError> {
        self.ours_present(name).await?;
        if let Some(latch) = self.latch(name) {
            latch.sync().map_err(|source| EngineError::Latch { name: name.clone(), source })?;
        }
        self.set_restart_policy(name, true).await
    }

    pub(super) async fn set_restart_policy(
        &self,
        name: &ContainerName,
        keep: bool,
    ) -> Result<(), EngineError> {
        let body = ContainerUpdateBody {
            restart_policy: Some(restart_policy(keep)),
            ..ContainerUpdateBody::default()
        };
        self.connection
            .call(format!("set whether container {name} restarts"), LOOK_LIMIT, |docker| async move {
                docker.update_container(&name.0, body).await
            })
            .await
    }

    /// Makes what the engine knows of a stopped container differ from all that it has known of it: a checkpoint holds
    /// that too, and one that is made while the content store still has an identical one fails with "content … already
    /// exists" (moby#42900) after the process has been dumped and is gone. The number of processes it may have is what
    /// differs, far above what any machine has.
    pub(super) async fn renew(&self, name: &ContainerName) {
        let millis = i64::try_from(now().as_millis()).unwrap_or_default();
        let body = ContainerUpdateBody {
            pids_limit: Some(PIDS_MAX - millis.rem_euclid(PIDS_SPREAD)),
            ..ContainerUpdateBody::default()
        };
        let call = format!("renew container {name}");
        let renewed = self
            .connection
            .call(call, LOOK_LIMIT, |docker| async move { docker.update_container(&name.0, body).await });
        if let Err(error) = renewed.await {
            tracing::debug!(%name, error = crate::failure::sentence(&error), "could not renew a container");
        }
    }

    /// Waits until the engine has noticed an end that we have seen, before it is asked to start that container.
    pub(super) async fn settle(&self, name: &ContainerName) -> Result<(), EngineError> {
        if locked(&self.ended).contains_key(name) && self.ours_present(name).await?.runs() {
            let options = WaitContainerOptions { condition: "not-running".to_owned() };
            let wait = self.connection.call(
                format!("see container {name} stopped"),
                STOP_LIMIT,
                |docker| async move {
                    // The exit code comes as an error when it is not 0: either way it has stopped.
                    let _code = docker.wait_container(&name.0, Some(options)).next().await;
                    Ok(())
                },
            );
            wait.await?;
        }
        locked(&self.ended).remove(name);
        Ok(())
    }

    /// The exit code of a container that we have just seen to end.
    pub(super) fn ended_code(&self, name: &ContainerName) -> Option<i64> {
        let mut ended = locked(&self.ended);
        let seen = ended.get(name)?;
        if now().saturating_sub(seen.at) < ENDED_FRESH {
            return Some(CODE_STOPPED);
        }
        ended.remove(name);
        None
    }

    pub(super) fn note_ended(&self, name: &ContainerName) {
        locked(&self.ended).insert(name.clone(), Ended { at: now() });
    }

    pub(super) fn note_held(&self, name: &ContainerName, process: Process) {
        locked(&self.held).insert(name.clone(), process);
    }

    pub(super) fn forget_held(&self, name: &ContainerName) {
        locked(&self.held).remove(name);
    }

    pub(super) fn forget(&self, name: &ContainerName) {
        locked(&self.ended).remove(name);
        locked(&self.held).remove(name);
        locked(&self.used).remove(name);
    }
}
