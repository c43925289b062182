//! `takt lock` and `takt unlock`: update locks of the device that they run on. While one is held, the agent of the device
//! switches nothing, until the order's deadline.

mod folder;

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use crate::clock;
use crate::exit::Exit;
use crate::output::{Output, OutputError};
use crate::span;
use crate::table::Table;

pub use folder::{Holder, LockFileError, LockFolder, LockName};

/// Where a device's locks lie unless its settings say otherwise.
const LOCKS_DIR: &str = "/run/takt/locks";
/// How long `takt unlock` waits for the end of the process that holds the lock.
const END_MAX: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// The word by which the process that holds a lock in the background knows itself.
const HOLD: &str = "--hold";

#[derive(Debug, Args)]
struct Folder {
    /// The folder of locks, as `locks_dir` of the device's agent.toml names it
    #[arg(long, value_name = "DIR", env = "TAKT_LOCKS_DIR", hide_env_values = true, default_value = LOCKS_DIR)]
    dir: PathBuf,
}

/// `takt lock`
#[derive(Debug, Args)]
pub struct LockArgs {
    #[command(flatten)]
    folder: Folder,
    /// The lock; it is made when it is not there
    #[arg(value_name = "NAME", required_unless_present = "list")]
    name: Option<LockName>,
    /// Without a command: give it back by itself after this time, such as 90s, 10m or 2h
    #[arg(long = "for", value_name = "SPAN", value_parser = span::parse_secs, conflicts_with = "command")]
    secs: Option<u64>,
    /// Show which locks are held, and by whom
    #[arg(long, conflicts_with_all = ["name", "secs", "command"])]
    list: bool,
    /// Holds the lock that is its standard input: how `takt lock` goes on in the background
    #[arg(long = "hold", hide = true, conflicts_with_all = ["list", "command"])]
    hold: bool,
    /// A command; the lock is held as long as it runs, and its exit code is that of `takt lock`
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// `takt unlock`
#[derive(Debug, Args)]
pub struct UnlockArgs {
    #[command(flatten)]
    folder: Folder,
    /// The lock
    #[arg(value_name = "NAME")]
    name: LockName,
}

/// A lock could not be taken, held or given back.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Its file.
    #[error(transparent)]
    File(#[from] LockFileError),
    /// The command.
    #[error("run '{program}' under the update lock")]
    Run {
        /// Its program.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// The process that holds it in the background.
    #[error("hold the update lock '{name}' in the background")]
    Hold {
        /// Which.
        name: LockName,
        /// Why.
        source: io::Error,
    },
    /// Held by somebody who did not take it with `takt lock`.
    #[error(
        "give back the update lock '{name}': it was not taken by 'takt lock'{}; end its holder",
        folder::by(holders)
    )]
    NotOurs {
        /// Which.
        name: LockName,
        /// By whom.
        holders: Vec<Holder>,
    },
    /// Nobody holds it.
    #[error("give back the update lock '{0}': nobody holds it")]
    NotHeld(LockName),
    /// Its holder does not end.
    #[error("give back the update lock '{name}': process {pid} has not ended within {} s", END_MAX.as_secs())]
    Stays {
        /// Which.
        name: LockName,
        /// Its holder.
        pid: u32,
    },
    /// Standard output.
    #[error(transparent)]
    Output(#[from] OutputError),
}

impl LockError {
    /// What the shell gets.
    pub const fn exit(&self) -> Exit {
        match self {
            Self::File(LockFileError::Held { .. }) | Self::NotOurs { .. } => Exit::Refused,
            Self::NotHeld(_) => Exit::NotFound,
            _ => Exit::Failed,
        }
    }
}

/// What `takt lock` and `takt unlock` say to a program.
#[derive(Debug, Serialize)]
struct Said<'a> {
    lock: &'a str,
    held: bool,
    holders: &'a [Holder],
}

/// Takes a lock, or lists them. Returns the exit code: that of the command, if there is one.
pub async fn lock(args: LockArgs, output: Output) -> Result<u8, LockError> {
    let folder = LockFolder::new(args.folder.dir);
    let Some(name) = args.name.filter(|_| !args.list) else { return list(&folder, output) };
    if args.hold {
        return hold(args.secs).await;
    }
    let held = folder.take(&name)?;
    let [program, words @ ..] = args.command.as_slice() else {
        let pid = hold_on(&name, &held, args.secs)?;
        let holder = Holder { pid, command: "takt lock".to_owned() };
        let said = Said { lock: &name.to_string(), held: true, holders: &[holder] };
        output.give(&said, || {
            vec![format!("Update lock '{name}' is held; 'takt unlock {name}' gives it back.")]
        })?;
        return Ok(0);
    };
    let run = |source| LockError::Run { program: program.clone(), source };
    // The file is closed in the command: what it leaves running holds nothing.
    let ended = Command::new(program).args(words).status().map_err(run)?;
    drop(held);
    // Another one may have it by now, and somebody may be looking: it is of no use, and harms nobody.
    let _ = folder.remove(&name);
    Ok(code(ended))
}

/// As shells say it: a command that a signal has ended has 128 and the signal's number.
fn code(ended: ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt as _;
    let number = ended.code().or_else(|| ended.signal().map(|signal| 128 + signal));
    number.and_then(|number| u8::try_from(number).ok()).unwrap_or(1)
}

fn list(folder: &LockFolder, output: Output) -> Result<u8, LockError> {
    let held = folder.held()?;
    let said: Vec<_> = held.iter().map(|(lock, holders)| Said { lock, held: true, holders }).collect();
    output.give(&said, || {
        let mut table = Table::new(&["LOCK", "HELD BY"]);
        for (name, holders) in &held {
            let holders: Vec<_> = holders.iter().map(ToString::to_string).collect();
            table.row(vec![name.clone(), holders.join(", ")]);
        }
        table.lines()
    })?;
    Ok(0)
}

/// Hands the lock to a process of its own, which outlives this one and the terminal.
fn hold_on(name: &LockName, held: &File, secs: Option<u64>) -> Result<u32, LockError> {
    let failed = |source| LockError::Hold { name: name.clone(), source };
    let mut holder = Command::new(std::env::current_exe().map_err(failed)?);
    holder.arg("lock").arg(name.to_string()).arg(HOLD);
    if let Some(secs) = secs {
        holder.arg("--for").arg(format!("{secs}s"));
    }
    // An flock belongs to the open file, not to the process: it never is anybody's but ours in between.
    holder
        .stdin(held.try_clone().map_err(failed)?)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .current_dir("/");
    Ok(holder.spawn().map_err(failed)?.id())
}

/// The process in the background. Its end gives the lock back; the file stays for the next one.
async fn hold(secs: Option<u64>) -> Result<u8, LockError> {
    // It is no leader of a group, and so it can always leave its terminal.
    let _ = rustix::process::setsid();
    match secs {
        Some(secs) => clock::pause(Duration::from_secs(secs)).await,
        None => std::future::pending().await,
    }
    Ok(0)
}

/// Gives back what `takt lock` has taken without a command.
pub async fn unlock(args: UnlockArgs, output: Output) -> Result<(), LockError> {
    let (folder, name) = (LockFolder::new(args.folder.dir), args.name);
    let Some(holders) = folder.look(&name)? else { return Err(LockError::NotHeld(name)) };
    let ours = |holder: &&Holder| holder.command.split(' ').any(|word| word == HOLD);
    let Some(holder) = holders.iter().find(ours) else { return Err(LockError::NotOurs { name, holders }) };
    let pid = i32::try_from(holder.pid).ok().and_then(rustix::process::Pid::from_raw);
    if let Some(pid) = pid {
        // One that has ended by itself is what was asked for.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
    let mut waited = Duration::ZERO;
    while folder.look(&name)?.is_some() {
        if waited >= END_MAX {
            return Err(LockError::Stays { name, pid: holder.pid });
        }
        clock::pause(LOOK_AGAIN).await;
        waited += LOOK_AGAIN;
    }
    // Somebody else may have taken it by now: then it is theirs, and so is the file.
    let _ = folder.remove(&name);
    let said = Said { lock: &name.to_string(), held: false, holders: &[] };
    Ok(output.give(&said, || vec![format!("Update lock '{name}' is given back.")])?)
}
