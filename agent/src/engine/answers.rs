//! What is read of the engine's answers. They hold ten times as much; code for all of it would be a tenth of the agent.

use std::collections::HashMap;

use serde::Deserialize;

/// Of a container.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Container {
    pub(super) id: Option<String>,
    pub(super) image: Option<String>,
    pub(super) restart_count: Option<u64>,
    pub(super) state: Option<State>,
    pub(super) config: Option<Config>,
    pub(super) host_config: Option<HostConfig>,
    pub(super) network_settings: Option<NetworkSettings>,
}

/// How it fares.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct State {
    pub(super) status: Option<String>,
    pub(super) pid: Option<i64>,
    pub(super) exit_code: Option<i64>,
    pub(super) error: Option<String>,
    pub(super) health: Option<Health>,
}

/// What its health check says.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Health {
    pub(super) status: Option<String>,
}

/// What it was created with, or what an image asks for.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Config {
    pub(super) labels: Option<HashMap<String, String>>,
    pub(super) stop_signal: Option<String>,
    pub(super) entrypoint: Option<Vec<String>>,
    pub(super) cmd: Option<Vec<String>>,
}

/// What the host does for it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct HostConfig {
    pub(super) restart_policy: Option<RestartPolicy>,
}

/// Whether it is restarted.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct RestartPolicy {
    pub(super) name: Option<String>,
}

/// Its networks, by name.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct NetworkSettings {
    pub(super) networks: Option<HashMap<String, Endpoint>>,
}

/// One of them.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Endpoint {
    #[serde(rename = "IPAddress")]
    pub(super) address: Option<String>,
}

/// A container in a list.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Listed {
    pub(super) names: Option<Vec<String>>,
    pub(super) labels: Option<HashMap<String, String>>,
}

/// Of an image.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Image {
    pub(super) id: Option<String>,
    pub(super) config: Option<Config>,
}

/// An image in a list.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListedImage {
    pub(super) id: String,
    pub(super) repo_tags: Option<Vec<String>>,
}

/// Of the engine itself.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Info {
    pub(super) server_version: Option<String>,
    pub(super) experimental_build: Option<bool>,
    pub(super) docker_root_dir: Option<String>,
}

/// What a container uses.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Stats {
    pub(super) cpu_stats: Option<CpuStats>,
    pub(super) memory_stats: Option<MemoryStats>,
}

/// Of processors.
#[derive(Debug, Default, Deserialize)]
pub(super) struct CpuStats {
    pub(super) cpu_usage: Option<CpuUsage>,
}

/// In nanoseconds.
#[derive(Debug, Default, Deserialize)]
pub(super) struct CpuUsage {
    pub(super) total_usage: Option<u64>,
}

/// Of memory, in bytes.
#[derive(Debug, Default, Deserialize)]
pub(super) struct MemoryStats {
    pub(super) usage: Option<u64>,
    pub(super) stats: Option<HashMap<String, u64>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_engine_leaves_empty_is_absent() {
        let text = r#"{"Id":"a","RestartCount":2,"State":{"Status":"running","Health":null},"Config":{"Labels":null,
            "Entrypoint":["/a"]},"HostConfig":{"RestartPolicy":{"Name":"","MaximumRetryCount":0}},
            "NetworkSettings":{"Networks":{"bridge":{"IPAddress":"172.17.0.2","Links":null}}}}"#;
        let found: Container = serde_json::from_str(text).unwrap();
        assert_eq!((found.id.as_deref(), found.restart_count), (Some("a"), Some(2)));
        assert_eq!(found.state.unwrap().status.as_deref(), Some("running"));
        assert_eq!(found.config.unwrap().entrypoint, Some(vec!["/a".to_owned()]));
        let networks = found.network_settings.unwrap().networks.unwrap();
        assert_eq!(networks["bridge"].address.as_deref(), Some("172.17.0.2"));
        let listed: Vec<ListedImage> =
            serde_json::from_str(r#"[{"Id":"sha256:b","RepoTags":null}]"#).unwrap();
        assert_eq!((listed[0].id.as_str(), &listed[0].repo_tags), ("sha256:b", &None));
        // A container that has just ended has no figures.
        let stats: Stats =
            serde_json::from_str(r#"{"cpu_stats":{"cpu_usage":{}},"memory_stats":{}}"#).unwrap();
        assert_eq!(stats.memory_stats.unwrap().usage, None);
    }
}
