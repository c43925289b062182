//! What the figures were measured on, in one line.

use std::path::Path;

use crate::engine::Engine;

/// Processor, kernel, memory and, where one is measured, container engine of this machine; what is not known is left out.
pub fn machine(engine: Option<&Engine>) -> String {
    let read = |path: &str| std::fs::read_to_string(Path::new(path)).unwrap_or_default();
    let after = |text: &str, name: &str| -> Option<String> {
        let line = text.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once([':', '='])?.1.trim().trim_matches('"').to_owned())
    };
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let processor = after(&read("/proc/cpuinfo"), "model name").unwrap_or(std::env::consts::ARCH.to_owned());
    let memory_gib = after(&read("/proc/meminfo"), "MemTotal")
        .and_then(|text| text.split(' ').next()?.parse::<u64>().ok())
        .map(|kib| format!("{} GiB", (kib + (1 << 19)) >> 20));
    let system = after(&read("/etc/os-release"), "PRETTY_NAME");
    let kernel = read("/proc/sys/kernel/osrelease");
    let docker = engine.and_then(|engine| {
        let output = engine.docker().args(["version", "--format", "{{.Server.Version}}"]).output().ok()?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    });
    let parts = [
        Some(format!("{cpus} x {processor}")),
        memory_gib,
        system,
        Some(format!("Linux {}", kernel.trim())),
        docker.filter(|version| !version.is_empty()).map(|version| format!("Docker {version}")),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}
