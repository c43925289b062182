//! Who plays: a gateway, two cameras that stand in for each other, and an HTTP client for each port.

use std::time::Duration;

use crate::fleet::{Device, Fleet, FleetError, HttpClient, HttpWatcher, wait_until};

/// The device that the others require.
pub(super) const GATEWAY: &str = "gateway";
/// The devices that stand in for each other.
pub(super) const CAMERAS: [&str; 2] = ["camera-1", "camera-2"];
/// All of them, in the order of their declaration.
pub(super) const NAMES: [&str; 3] = [GATEWAY, CAMERAS[0], CAMERAS[1]];

/// How long an agent may take to find out whether it can checkpoint.
const ABILITY_LIMIT: Duration = Duration::from_secs(10);
/// Failed requests in a row that end the driving of a counter.
const FAILURES_MAX: usize = 20;

/// The HTTP clients of one device.
pub(super) struct Clients {
    /// Of its own workload.
    pub(super) own: HttpWatcher,
    /// Of what it serves for another device.
    pub(super) stand_in: HttpWatcher,
}

/// Everything on the stage. The order of the fields is that of the end: clients, devices, fleet.
pub(super) struct Scene {
    pub(super) clients: Vec<Clients>,
    pub(super) devices: Vec<Device>,
    pub(super) fleet: Fleet,
}

impl Scene {
    /// Starts a coordinator.
    pub(super) fn open() -> Result<Self, FleetError> {
        let fleet = Fleet::start()?;
        Ok(Self { clients: Vec::new(), devices: Vec::new(), fleet })
    }

    /// Says what happens now.
    pub(super) fn say(&self, text: &str) {
        println!("[{:5.1} s] {text}", self.fleet.stopwatch.elapsed().as_secs_f64());
    }

    /// Enrols the devices and sends in the HTTP clients.
    pub(super) fn enrol(&mut self) -> Result<(), FleetError> {
        self.devices = self.fleet.devices(&NAMES)?;
        let stopwatch = self.fleet.stopwatch;
        let clients = self.devices.iter().map(|device| Clients {
            own: HttpWatcher::start(device.port(), stopwatch),
            stand_in: HttpWatcher::start(device.stand_in_port(), stopwatch),
        });
        self.clients = clients.collect();
        Ok(())
    }

    /// The device with this name and its clients.
    pub(super) fn of(&self, name: &str) -> (&Device, &Clients) {
        let index =
            NAMES.iter().position(|known| *known == name).expect("only the three names are asked for");
        (&self.devices[index], &self.clients[index])
    }

    /// The name of a device by its id.
    pub(super) fn name_of(&self, id: takt_common::DeviceId) -> &str {
        self.devices.iter().find(|device| device.id() == Some(id)).map_or("?", Device::name)
    }

    /// Waits until every device says that it can checkpoint containers: the demo shows a rollback with memory.
    pub(super) fn wait_able(&self) -> Result<(), FleetError> {
        for name in NAMES {
            wait_until(
                &format!("{name} able to checkpoint containers with CRIU (the demo needs it)"),
                ABILITY_LIMIT,
                || {
                    let health = self.fleet.view(name)?.health;
                    Ok(health.map_or(Err("no health sample yet".to_owned()), |health| health.checkpoint))
                },
            )?;
        }
        Ok(())
    }

    /// Drives the counter of a device's workload up by `count` requests, and gives what it shows then.
    pub(super) fn drive(&self, name: &str, count: u64) -> Result<u64, FleetError> {
        let port = self.of(name).0.port();
        let mut client = HttpClient::new(port);
        let mut shown = 0;
        let mut failures = 0;
        for _ in 0..count {
            match client.count() {
                Ok(answer) => shown = answer.counter,
                Err(_) if failures < FAILURES_MAX => failures += 1,
                Err(error) => {
                    return Err(FleetError::Command {
                        line: format!("GET http://127.0.0.1:{port}/"),
                        code: -1,
                        said: error.to_string(),
                    });
                }
            }
        }
        Ok(shown)
    }
}
