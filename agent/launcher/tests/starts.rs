//! The launcher as systemd runs it: real processes, agents that work, crash, hang, and cannot be run at all.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};

use common::{Device, NEW, OLD, Started, said, version, versions};
use nix::sys::signal::Signal;
use takt_launcher::{
    CODE_NO_AGENT, CODE_USAGE, FELL_BACK_VARIABLE, FORGIVEN_MAX, FellBack, OnTrial, STARTS_MAX, Trial, Why,
};

const CRASHED: u8 = 3;

fn on_trial(starts: u8, forgiven: u8) -> Trial {
    Trial::On(OnTrial { versions: versions(), starts, forgiven })
}

fn fell_back(why: Why) -> Trial {
    Trial::FellBack(FellBack { versions: versions(), why })
}

#[test]
fn the_launcher_becomes_the_agent_with_its_arguments_and_its_pid() {
    let device = Device::new();
    let child = device.command().env(FELL_BACK_VARIABLE, "of somebody else").spawn().unwrap();
    let pid = child.id();
    assert!(child.wait_with_output().unwrap().status.success());
    let started =
        Started { name: OLD.to_owned(), pid, fell_back: None, arguments: "run --config a file".to_owned() };
    assert_eq!(device.log(), [started]);
}

#[test]
fn three_failed_starts_bring_the_old_agent_back_until_it_is_withdrawn() {
    let device = Device::new();
    device.begin();
    device.install_script(NEW, CRASHED);
    for start in 1..=STARTS_MAX {
        device.forget_log();
        let output = device.start();
        assert_eq!(output.status.code(), Some(CRASHED.into()), "the code is the agent's own");
        assert_eq!((device.log()[0].name.as_str(), &device.log()[0].fell_back), (NEW, &None));
        assert_eq!(device.look(), on_trial(start, 0));
    }
    for _ in 0..2 {
        let started = device.started();
        assert_eq!((started.name.as_str(), started.fell_back.as_deref()), (OLD, Some("1.1.0")));
        assert_eq!(started.arguments, "run --config a file");
        assert_eq!(device.look(), fell_back(Why::Starts));
    }
    device.install_script(OLD, 0);
    device.trial().withdraw(&device.installed()).unwrap();
    assert_eq!(device.started().fell_back, None);
    assert_eq!((device.look(), device.names()), (Trial::None, Vec::new()));
}

#[test]
fn a_confirmed_agent_is_no_longer_counted() {
    let device = Device::new();
    device.begin();
    device.install_script(NEW, CRASHED);
    device.started();
    device.trial().confirm(&device.installed(), &version("1.1.0")).unwrap();
    for _ in 0..=STARTS_MAX {
        assert_eq!(device.started().name, NEW);
        assert_eq!((device.look(), device.names()), (Trial::None, Vec::new()));
    }
}

#[test]
fn an_agent_that_was_alive_has_its_starts_forgiven_but_not_for_ever() {
    let device = Device::new();
    device.begin();
    device.install_script(NEW, 0);
    let alive = || device.trial().alive(&version("1.1.0")).unwrap();
    assert_eq!(alive(), on_trial(0, 0), "there is nothing to forgive");
    for forgiven in 1..=FORGIVEN_MAX {
        for _ in 0..STARTS_MAX {
            assert_eq!(device.started().name, NEW);
        }
        assert_eq!(device.trial().alive(&version("1.0.0")).unwrap(), on_trial(STARTS_MAX, forgiven - 1));
        assert_eq!(alive(), on_trial(0, forgiven));
    }
    for _ in 0..STARTS_MAX {
        assert_eq!(device.started().name, NEW);
    }
    assert_eq!(alive(), on_trial(STARTS_MAX, FORGIVEN_MAX));
    assert_eq!(device.started().name, OLD);
    assert_eq!(alive(), fell_back(Why::Starts));
}

#[test]
fn an_agent_that_hangs_and_is_killed_by_the_watchdog_counts() {
    let device = Device::new();
    device.begin();
    let hanging = device.script(NEW, "echo hangs; exec sleep 60");
    device.install(hanging.as_bytes(), 0o755);
    for start in 1..=STARTS_MAX {
        let mut child = device.command().stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "hangs\n");
        assert_eq!(device.look(), on_trial(start, 0), "it counted before the agent ran");
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(Signal::SIGKILL as i32));
    }
    assert_eq!(device.started().name, OLD);
}

/// What cannot be run, and what the kernel says to it.
fn unrunnable(device: &Device) -> Vec<(&'static str, Vec<u8>, u32, nix::errno::Errno)> {
    use nix::errno::Errno::{EACCES, ENOENT, ENOEXEC};
    let text = format!("echo \"{NEW} $$  | ran by a shell\" >>'{}'\n", device.path("log").display());
    let elf = fs::read("/bin/true").unwrap();
    let mut of_another_machine = elf.clone();
    // e_machine of the ELF header: 0x1234 is no machine's.
    of_another_machine[18..20].copy_from_slice(&[0x34, 0x12]);
    vec![
        ("not executable", device.script(NEW, "exit 0").into_bytes(), 0o644, EACCES),
        ("a text without a shebang", text.into_bytes(), 0o755, ENOEXEC),
        ("a program for another machine", of_another_machine, 0o755, ENOEXEC),
        ("the beginning of a program", elf[..40].to_vec(), 0o755, ENOEXEC),
        ("empty", Vec::new(), 0o755, ENOEXEC),
        ("zeros", vec![0; 8192], 0o755, ENOEXEC),
        ("without its interpreter", b"#!/no/such/interpreter\n".to_vec(), 0o755, ENOENT),
    ]
}

#[test]
fn an_agent_that_cannot_be_run_falls_back_in_the_same_start() {
    let device = Device::new();
    for (what, contents, mode, errno) in unrunnable(&device) {
        device.install_script(OLD, 0);
        device.begin();
        device.install(&contents, mode);
        let started = device.started();
        assert_eq!((started.name.as_str(), started.fell_back.as_deref()), (OLD, Some("1.1.0")), "{what}");
        assert_eq!(device.look(), fell_back(Why::CannotRun { errno: errno as i32 }), "{what}");
        device.install_script(OLD, 0);
        device.trial().withdraw(&device.installed()).unwrap();
    }
}

#[test]
fn an_agent_that_is_missing_falls_back_in_the_same_start() {
    let device = Device::new();
    device.begin();
    fs::remove_file(device.installed()).unwrap();
    assert_eq!(device.started().name, OLD);
    let errno = nix::errno::Errno::ENOENT as i32;
    assert_eq!(device.look(), fell_back(Why::CannotRun { errno }));
    let refused = device.trial().withdraw(&device.installed()).unwrap_err().to_string();
    assert!(refused.starts_with("run '") && refused.contains("bin/takt-agent"), "{refused}");
    assert_eq!(device.started().name, OLD, "the copy stays as long as it is the only agent");
}

#[test]
fn a_damaged_trial_starts_the_installed_agent_and_the_copy_where_that_cannot_be_run() {
    let device = Device::new();
    device.begin();
    device.install_script(NEW, 0);
    let name = device.names().into_iter().find(|name| name.starts_with("trial")).unwrap();
    fs::rename(device.state().join(name), device.state().join("trial-v1,new=1.1")).unwrap();
    device.forget_log();
    let output = device.start();
    assert!(
        said(&output).contains("the trial cannot be read: 'trial-v1,new=1.1' is not"),
        "{}",
        said(&output)
    );
    assert_eq!(device.log()[0].name, NEW);
    device.install(b"nonsense", 0o755);
    let started = device.started();
    assert_eq!((started.name.as_str(), started.fell_back.as_deref()), (OLD, Some("?")));
    // A new trial over a damaged one would copy an agent that may not run.
    let refused = device.trial().begin(&device.installed(), &versions()).unwrap_err().to_string();
    assert!(refused.contains("the trial cannot be read"), "{refused}");
    device.install_script(NEW, 0);
    device.trial().confirm(&device.installed(), &version("1.1.0")).unwrap();
    assert_eq!(device.names(), Vec::<String>::new());
}

#[test]
fn whatever_lies_at_the_folder_an_agent_starts() {
    let device = Device::new();
    fs::write(device.state(), "a file").unwrap();
    assert!(matches!(device.look(), Trial::Damaged { .. }));
    assert_eq!(device.started().name, OLD);
    fs::remove_file(device.state()).unwrap();
    fs::create_dir(device.state()).unwrap();
    for number in 0..400 {
        fs::write(device.state().join(format!("trial-{number}")), "").unwrap();
    }
    let Trial::Damaged { what } = device.look() else { panic!("{}", device.look()) };
    assert!(what.contains("more than 256 entries"), "{what}");
    assert_eq!(device.started().name, OLD);
}

#[test]
fn an_agent_starts_although_nobody_listens_to_the_launcher() {
    let device = Device::new();
    device.begin();
    device.install_script(NEW, 0);
    let (nobody, pipe) = std::io::pipe().unwrap();
    drop(nobody);
    let status = device.command().stderr(pipe).status().unwrap();
    assert!(status.success(), "{status}");
    assert_eq!(device.log()[0].name, NEW);
    assert_eq!(device.look(), on_trial(1, 0));
}

#[test]
fn without_any_agent_the_launcher_says_so_and_ends_with_126() {
    let device = Device::new();
    device.begin();
    device.install(b"nonsense", 0o755);
    fs::write(device.trial().previous_agent(), "nonsense").unwrap();
    for _ in 0..2 {
        let output = device.start();
        assert_eq!(output.status.code(), Some(CODE_NO_AGENT.into()));
        let said = said(&output);
        for part in
            ["bin/takt-agent': Exec format error", "previous/takt-agent': Exec format error", "neither"]
        {
            assert!(said.contains(part), "{said}");
        }
    }
}

#[test]
fn a_wrong_command_line_ends_with_125_and_one_sentence() {
    let run = |arguments: &[&str]| Command::new(common::LAUNCHER).args(arguments).output().unwrap();
    for (arguments, sentence) in [
        (&[][..], "takt-launcher: failed to find the argument '--state' and its value; --help tells more\n"),
        (
            &["--state", "/s"],
            "takt-launcher: failed to find the argument '--agent' and its value; --help tells more\n",
        ),
        (
            &["--state", "/s", "--agent"],
            "takt-launcher: failed to find the argument '--agent' and its value; --help tells more\n",
        ),
        (&["--stat", "/s"], "takt-launcher: failed to use the argument '--stat'; --help tells more\n"),
    ] {
        let output = run(arguments);
        assert_eq!((output.status.code(), said(&output).as_str()), (Some(CODE_USAGE.into()), sentence));
    }
    let help = run(&["--help"]);
    assert!(help.status.success() && help.stdout.starts_with(b"Starts the agent"));
    let version = run(&["--version"]);
    assert_eq!(version.stdout, concat!("takt-launcher ", env!("CARGO_PKG_VERSION"), "\n").as_bytes());
}
