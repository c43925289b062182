//! What an engine that was killed leaves of a container that had just ended: the shim that was its parent. The engine
//! that is started next knows nothing of it, and cannot start the container again beside it: "task …: already exists".
//!
//! With the shim gone, the engine starts the same container, with all that it has written. Creating it anew would work
//! too, but what it wrote outside its volumes would be lost.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::process::Process;

/// How the engine says it: of the shim, and of the folder that goes with it a moment later.
const WORDS: [[&str; 2]; 2] = [["task ", "already exists"], ["failed to start shim", "file exists"]];

/// containerd's folder of shims: below it lies one for each namespace, and in that one for each container.
const TASKS: &str = "io.containerd.runtime.v2.task";

/// The shim's program, and its argument before the container's id.
const PROGRAM: &str = "containerd-shim";
const BEFORE_ID: &str = "-id";

/// How long a killed shim may take to be gone.
const GONE_LIMIT: Duration = Duration::from_secs(2);

/// Whether the engine's answer to a start says that something is left over.
pub(super) fn is_meant(said: &str) -> bool {
    WORDS.iter().any(|words| words.iter().all(|word| said.contains(word)))
}

/// Ends the shims of a container that does not run by what the engine says. One that still has a process in it is left:
/// that process may serve clients, and what it is must be found out by people. True when one has gone.
pub(super) async fn clear(container_id: &str) -> bool {
    let mut gone = false;
    for pid in shims(container_id) {
        let Some(shim) = Process::find(i64::from(pid)) else { continue };
        if has_children(pid) || nix::sys::signal::kill(Pid::from_raw(pid), Signal::SIGKILL).is_err() {
            continue;
        }
        gone |= Process::until(GONE_LIMIT, || shim.has_ended()).await;
    }
    gone
}

/// Sets the folder aside that a shim has left, when no shim of the container is there any more: the engine's answer names
/// it. It is hidden as containerd itself hides what it removes, and goes at the engine's next start.
pub(super) fn set_aside(said: &str, container_id: &str) -> bool {
    let Some(folder) = folder_of(said, container_id) else { return false };
    let now = crate::host::uptime().unwrap_or_default().as_millis();
    let aside = folder.with_file_name(format!(".{container_id}.{now}"));
    shims(container_id).is_empty() && fs::rename(folder, aside).is_ok()
}

/// The folder of this very container in the engine's answer.
fn folder_of(said: &str, container_id: &str) -> Option<PathBuf> {
    let (_, rest) = said.split_once("mkdir ")?;
    let (path, _) = rest.split_once(": file exists")?;
    let path = Path::new(path);
    let is_tasks = |folder: &Path| folder.file_name().is_some_and(|name| name == TASKS);
    let within = path.parent().and_then(Path::parent).is_some_and(is_tasks);
    let own = !container_id.is_empty() && path.file_name().is_some_and(|name| name == container_id);
    (path.is_absolute() && within && own).then(|| path.to_owned())
}

/// Processes whose command line is that of a shim of exactly this container.
fn shims(container_id: &str) -> Vec<i32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        is_shim_of(&line, container_id)
    })
    .collect()
}

fn is_shim_of(command_line: &[u8], container_id: &str) -> bool {
    let mut arguments = command_line.split(|byte| *byte == 0).map(String::from_utf8_lossy);
    let program = arguments.next().unwrap_or_default();
    let arguments: Vec<_> = arguments.collect();
    let names = |pair: &[std::borrow::Cow<'_, str>]| pair[0] == BEFORE_ID && pair[1] == container_id;
    program.rsplit('/').next().is_some_and(|name| name.starts_with(PROGRAM))
        && !container_id.is_empty()
        && arguments.windows(2).any(names)
}

/// Where the kernel does not tell, there may be one.
fn has_children(pid: i32) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return false };
    threads.flatten().any(|thread| match fs::read_to_string(thread.path().join("children")) {
        Ok(children) => children
            .split_ascii_whitespace()
            .any(|child| child.parse().is_ok_and(|pid| Process::find(pid).is_some())),
        // A thread that has ended meanwhile has none.
        Err(_) => thread.path().exists(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_shim_of_this_very_container_is_meant() {
        let line = |text: &str| text.replace(' ', "\0").into_bytes();
        let shim = line("/usr/bin/containerd-shim-runc-v2 -namespace moby -id 02d3 -address /run/c.sock");
        assert!(is_shim_of(&shim, "02d3"));
        assert!(!is_shim_of(&shim, "02d"), "not one whose id only begins so");
        assert!(!is_shim_of(&shim, ""));
        assert!(!is_shim_of(&line("/bin/sh -c containerd-shim -id 02d3"), "02d3"));
        assert!(!is_shim_of(b"", "02d3"));
    }

    #[test]
    fn the_engines_words_are_known() {
        assert!(is_meant("task 02d34939cfa6: already exists"));
        assert!(is_meant("failed to start shim: mkdir /run/containerd/02d34939cfa6: file exists: unknown"));
        assert!(!is_meant("content sha256:02d3: already exists"), "moby#42900 is another one");
    }

    #[test]
    fn only_the_folder_of_this_very_container_is_set_aside() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("io.containerd.runtime.v2.task/moby/02d3");
        fs::create_dir_all(&folder).unwrap();
        let said =
            |path: &Path| format!("failed to start shim: mkdir {}: file exists: unknown", path.display());
        assert!(!set_aside(&said(&folder), "02d") && !set_aside(&said(&folder), ""));
        let other = root.path().join("moby/02d3");
        fs::create_dir_all(&other).unwrap();
        assert!(!set_aside(&said(&other), "02d3") && other.exists(), "it lies elsewhere");
        assert!(set_aside(&said(&folder), "02d3") && !folder.exists());
    }

    #[tokio::test]
    async fn a_shim_with_a_process_in_it_is_left_and_one_without_goes() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("containerd-shim-test");
        fs::copy("/bin/sh", &program).unwrap();
        let id = format!("takt-leftover-{}", std::process::id());
        let start = |script: &str| {
            let mut command = std::process::Command::new(&program);
            command.args(["-c", script, "shim", "-id", &id]).stdin(std::process::Stdio::piped());
            command.spawn().unwrap()
        };
        // A shell that waits for its own input has no child; one that waits for `sleep` has.
        let mut busy = start("sleep 600 & wait");
        let pid = i32::try_from(busy.id()).unwrap();
        // A child that has not become `sleep` yet looks like another shim.
        assert!(Process::until(GONE_LIMIT, || has_children(pid) && shims(&id) == [pid]).await);
        assert!(!clear(&id).await && busy.try_wait().unwrap().is_none());
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        let child = children.trim().parse().unwrap();
        nix::sys::signal::kill(Pid::from_raw(child), Signal::SIGKILL).unwrap();
        busy.wait().unwrap();
        let mut idle = start("read line");
        assert!(Process::until(GONE_LIMIT, || !shims(&id).is_empty()).await);
        assert!(clear(&id).await);
        idle.wait().unwrap();
    }
}
