//! The peers in Python, by the script that the planner's tests ask as well.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::super::error::BenchError;

/// How long a peer takes for each question, in seconds.
pub(super) fn seconds(mode: &str, questions: &Value) -> Result<Vec<f64>, BenchError> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let script = root.join("../coordinator/planner/tests/peers.py");
    let line = format!("peers.py {mode}");
    let started = |source| BenchError::Shell { line: line.clone(), source };
    let mut peer = Command::new(root.join("env/python.sh"))
        .arg(script)
        .arg(mode)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(started)?;
    let mut questions_in = peer.stdin.take().expect("it was asked for");
    questions_in.write_all(questions.to_string().as_bytes()).map_err(started)?;
    drop(questions_in);
    let output = peer.wait_with_output().map_err(started)?;
    let failed = |said: String| BenchError::Peer { line: line.clone(), said };
    if !output.status.success() {
        return Err(failed(output.status.to_string()));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| failed(error.to_string()))
}
