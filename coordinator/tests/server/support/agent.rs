//! The real agent on a machine without a container engine: what it does with its identity needs none.

use std::path::PathBuf;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use takt_agent::agent::Agent;
use takt_agent::certificate::Validity;
use takt_agent::identity::{IdentityFolder, Membership};
use takt_agent::settings::Settings;
use takt_common::api::{TokenRequest, TokenResponse};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::World;

/// An enrolled device, whose agent does not run yet.
pub struct RealDevice {
    folder: TempDir,
    settings: Settings,
}

/// Its agent, which ends with this.
pub struct RunningAgent {
    stop: CancellationToken,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl RealDevice {
    pub async fn enrol(world: &World, name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let device = Self { settings: settings(world, name, &folder), folder };
        device.enrol_again(world).await;
        device
    }

    pub async fn enrol_again(&self, world: &World) -> Membership {
        takt_agent::enrol::enrol(&self.settings, &whole_token(world).await).await.unwrap()
    }

    pub fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    pub fn identity(&self) -> IdentityFolder {
        IdentityFolder::open(&self.state()).unwrap()
    }

    pub fn certificate(&self) -> String {
        self.identity().membership().unwrap().certificate_pem
    }

    /// That of its certificate.
    pub fn validity(&self) -> Option<Validity> {
        Validity::of(&CertificateDer::from_pem_slice(self.certificate().as_bytes()).unwrap())
    }

    /// Certificate and key, as a TLS client wants them.
    pub fn identity_pem(&self) -> String {
        format!("{}{}", self.certificate(), self.identity().key().unwrap().to_pem())
    }

    pub fn start(&self) -> RunningAgent {
        let stop = CancellationToken::new();
        let (settings, stopped) = (self.settings.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let agent = Agent::open(settings, &stopped).unwrap();
                Box::pin(agent.run(stopped)).await.unwrap();
            });
        });
        RunningAgent { stop, thread: Some(thread) }
    }
}

impl Drop for RunningAgent {
    fn drop(&mut self) {
        self.stop.cancel();
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || std::thread::panicking(), "the agent ended well");
    }
}

fn settings(world: &World, name: &str, folder: &TempDir) -> Settings {
    let path = |name: &str| folder.path().join(name).display().to_string();
    let text = format!(
        "name = \"{name}\"\nhardware = \"demo\"\ncoordinator = \"{}\"\nstate_dir = \"{}\"\n\
         docker_socket = \"{}\"\nlocks_dir = \"{}\"\n",
        world.url,
        path("state"),
        path("no-engine.sock"),
        path("locks"),
    );
    Settings::from_toml(&text, &folder.path().join("agent.toml")).unwrap()
}

/// The whole token, as agents take it.
async fn whole_token(world: &World) -> String {
    let body = TokenRequest { domain: "north".parse().unwrap(), uses: 1, valid_secs: 60, approval: false };
    let response = world.operator("POST", "/api/v1/tokens").json(&body).send().await.unwrap();
    response.json::<TokenResponse>().await.unwrap().token
}
