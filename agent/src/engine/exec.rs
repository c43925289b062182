//! A command inside a container.

use bollard::exec::{CreateExecOptions, StartExecResults};
use futures_util::StreamExt;
use takt_agent_core::ContainerName;

use super::Engine;
use super::error::EngineError;
use super::look::LOOK_LIMIT;
use std::time::Duration;

/// How much of what a command says is kept; the rest is read and dropped, so that it can end.
const SAID_LENGTH_MAX: usize = 400;

/// A command in a container did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// The engine did not run it.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// It ended, not with 0.
    #[error("it exited with {code}: {said}")]
    Code {
        /// Its exit code.
        code: i64,
        /// What it said.
        said: String,
    },
}

impl Engine {
    /// Runs a command in a running container; it must exit with 0 within `limit`. One that does not end goes on in
    /// the container: the engine has no call that ends it.
    pub async fn exec(
        &self,
        name: &ContainerName,
        command: &[String],
        limit: Duration,
    ) -> Result<(), ExecError> {
        let call = || format!("run a command in container {name}");
        let options = CreateExecOptions {
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            cmd: Some(command.to_vec()),
            ..CreateExecOptions::default()
        };
        let (id, said) = self
            .connection
            .call(call(), limit, |docker| async move {
                let id = docker.create_exec(&name.0, options).await?.id;
                let mut said = String::new();
                if let StartExecResults::Attached { mut output, .. } = docker.start_exec(&id, None).await? {
                    while let Some(line) = output.next().await {
                        let line = line?.to_string();
                        let room = SAID_LENGTH_MAX.saturating_sub(said.len());
                        said.extend(line.chars().take(room));
                    }
                }
                Ok((id, said))
            })
            .await?;
        let asked =
            self.connection.call(call(), LOOK_LIMIT, |docker| async move { docker.inspect_exec(&id).await });
        let code = asked.await?.exit_code;
        match code {
            Some(0) => Ok(()),
            code => Err(ExecError::Code { code: code.unwrap_or(-1), said: said.trim().to_owned() }),
        }
    }
}
