//! How long a release may keep a device busy: whoever hears nothing for longer knows that something is wrong.

use std::time::Duration;

use super::{HookPoint, Manifest, Step, Strategy};

/// The package that holds the agent itself.
pub const AGENT_PACKAGE: &str = "takt-agent";

/// How long a new agent may take to hear from the coordinator before the old one is brought back.
pub const AGENT_HEAR: Duration = Duration::from_mins(15);

/// A set of files: a few MiB to copy and to flush, also on a slow card.
const FILES_MAX: Duration = Duration::from_mins(2);

/// A set of packages: unpacking and scripts of large ones, on a small device, take this long at most.
const PACKAGES_MAX: Duration = Duration::from_mins(15);

/// Writing an operating system image of a few GiB into its slot at 2 MiB/s.
const SLOT_WRITE_MAX: Duration = Duration::from_mins(30);

impl Manifest {
    /// True when it brings another agent, in its package or in an operating system image: it commits only after a full
    /// round trip with the coordinator, because a device that cannot be reached any more could not be mended from afar.
    pub fn brings_agent(&self) -> bool {
        self.steps.iter().any(|step| match step {
            Step::OsImage(_) => true,
            Step::Package(set) => set.packages.iter().any(|package| package.name == AGENT_PACKAGE),
            _ => false,
        })
    }

    /// The longest time from the moment at which a device waits no longer until it knows how its order ended: every
    /// step, hook and probation on the way forward, and as long again for the way back.
    pub fn settle(&self) -> Duration {
        let steps: Duration = self.steps.iter().map(|step| step.takes_max(self.health.start())).sum();
        let hooks: Duration = self
            .hooks
            .iter()
            // One runs before the deadline, one within the health checks.
            .filter(|(point, _)| !matches!(point, HookPoint::PreFetch | HookPoint::Healthy))
            .map(|(_, hook)| hook.timeout())
            .sum();
        let agent = if self.brings_agent() { AGENT_HEAR } else { Duration::ZERO };
        2 * (steps + hooks + self.health.start() + self.health.probation() + agent)
    }
}

impl Step {
    fn takes_max(&self, start: Duration) -> Duration {
        let secs = |secs: u32| Duration::from_secs(u64::from(secs));
        match self {
            Self::File(_) => FILES_MAX,
            Self::Package(_) => PACKAGES_MAX,
            Self::Container(set) => {
                // They stop one after the other.
                let stop: Duration =
                    set.containers.iter().map(|container| secs(container.stop_grace_secs)).sum();
                // In a handover the new ones are watched once before clients come to them.
                let handover = set.strategies.contains(&Strategy::Handover);
                let moves = if handover { start + secs(set.drain_secs) } else { Duration::ZERO };
                stop + moves
            }
            Self::OsImage(image) => SLOT_WRITE_MAX + secs(image.boot_secs),
            Self::LivePatch(patch) => secs(patch.transition_secs),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settle_secs(steps: &str, hooks: &str) -> u64 {
        let digest = crate::Sha256Digest::of(b"").to_string();
        let text = format!(
            r#"{{"format":1,"release":{{"name":"os","version":"7"}},"counter":1,"severity":"minor",
            "artifacts":[{{"sha256":"{digest}","length":0}}],"steps":[{steps}],"hooks":{{{hooks}}},
            "health":{{"probes":[{{"tcp":"127.0.0.1:80"}}],"interval_millis":1,"timeout_millis":1,
            "start_millis":3000,"probation_millis":5000,"failures_max":1}}}}"#
        );
        Manifest::from_bytes(text.replace("DIGEST", &digest).as_bytes()).unwrap().settle().as_secs()
    }

    #[test]
    fn what_takes_minutes_is_given_minutes_there_and_back() {
        const HEALTH: u64 = 3 + 5;
        let file = r#"{"kind":"file","files":[{"path":"/etc/motd","content":null}]}"#;
        assert_eq!(settle_secs(file, ""), 2 * (120 + HEALTH));
        let container = |strategy| {
            format!(
                r#"{{"kind":"container","strategies":["{strategy}"],"drain_secs":40,"containers":[
                {{"archive":"DIGEST","image_id":"DIGEST","stop_grace_secs":7,"ports":[{{"variable":"port"}}]}},
                {{"name":"side","archive":"DIGEST","image_id":"DIGEST","stop_grace_secs":4}}]}}"#
            )
        };
        assert_eq!(settle_secs(&container("replace"), ""), 2 * (7 + 4 + HEALTH));
        assert_eq!(settle_secs(&container("handover"), ""), 2 * (7 + 4 + 40 + 3 + HEALTH));
        let image =
            r#"{"kind":"os-image","bundle":"DIGEST","compatible":"cm4","version":"7","boot_secs":100}"#;
        assert_eq!(settle_secs(image, ""), 2 * (1_800 + 100 + 900 + HEALTH), "it brings an agent");
        let patch = r#"{"kind":"live-patch","module":"DIGEST","name":"p","kernel":"6.1.0-1","stands_for":"6.1.0-2",
            "transition_secs":50}"#;
        let hook = |point| format!(r#""{point}":{{"program":"DIGEST","timeout_secs":300}}"#);
        assert_eq!(settle_secs(patch, &hook("pre-fetch")), 2 * (50 + HEALTH));
        assert_eq!(settle_secs(patch, &hook("post-switch")), 2 * (50 + 300 + HEALTH));
        let package = |name| {
            format!(
                r#"{{"kind":"package","format":"deb","packages":[
                {{"file":"DIGEST","name":"{name}","version":"1","architecture":"all"}}]}}"#
            )
        };
        assert_eq!(settle_secs(&package("hello"), ""), 2 * (900 + HEALTH));
        assert_eq!(settle_secs(&package(AGENT_PACKAGE), ""), 2 * (900 + 900 + HEALTH));
    }
}
