//! How busy devices are: health samples rolled up into steps of equal length, from which forecasts are made (paper 1, figure 13).

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use takt_common::health::{HealthSample, HostFacts};
use takt_common::{DeviceId, UnixTime};
use takt_planner::{Sample, Series};

/// Of a device in one step: means over it, in thousandths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadSample {
    /// When the step began.
    pub at: UnixTime,
    /// Of all processors.
    pub compute: u16,
    /// Of all memory.
    pub memory: u16,
    /// Of the time, with a session at the gate.
    pub availability: u16,
    /// Of the storage of the agent's state.
    pub storage: u16,
    /// How many milliseconds its slowest component takes to answer, where one has been asked.
    pub response_ms: Option<u32>,
}

/// The steps that have not ended. It has an entry for each device that is connected or was in the present step.
#[derive(Debug)]
pub struct Rollups {
    /// In seconds; a day has a whole number of them.
    step: u64,
    devices: Mutex<HashMap<DeviceId, Rollup>>,
}

/// A device's present step.
#[derive(Debug, Clone, Copy, Default)]
struct Rollup {
    at: UnixTime,
    samples: u32,
    compute: f64,
    memory: f64,
    storage: f64,
    /// Samples that have response times, and these.
    responses: u32,
    response_ms: f64,
    /// With a session, up to `connected` if that is there.
    online_secs: u64,
    connected: Option<UnixTime>,
}

impl Rollups {
    /// With steps of so many seconds.
    pub fn new(step: u64) -> Self {
        Self { step, devices: Mutex::default() }
    }

    /// How long a step is, in seconds.
    pub const fn step(&self) -> u64 {
        self.step
    }

    /// When the step of `now` began.
    pub const fn step_of(&self, now: UnixTime) -> UnixTime {
        UnixTime::from_secs(now.as_secs() - now.as_secs() % self.step)
    }

    /// The device has a session.
    pub fn connected(&self, device: DeviceId, now: UnixTime) {
        let at = self.step_of(now);
        let mut devices = self.lock();
        let rollup = devices.entry(device).or_insert_with(|| Rollup { at, ..Rollup::default() });
        rollup.connected = rollup.connected.or(Some(now));
    }

    /// It has none any more.
    pub fn disconnected(&self, device: DeviceId, now: UnixTime) {
        if let Some(rollup) = self.lock().get_mut(&device)
            && let Some(since) = rollup.connected.take()
        {
            rollup.online_secs += now.since(since.max(rollup.at)).as_secs();
        }
    }

    /// A health sample counts for the present step. One that comes after the step's end, before that was taken by
    /// [`Rollups::take_ended`], still counts for it.
    pub fn note(&self, sample: &HealthSample, now: UnixTime) {
        let at = self.step_of(now);
        let mut devices = self.lock();
        let rollup = devices.entry(sample.device).or_insert_with(|| Rollup { at, ..Rollup::default() });
        rollup.samples += 1;
        rollup.compute += sample.host.cpu_busy.clamp(0.0, 1.0);
        rollup.memory += part(&sample.host, |host| (host.memory_available_bytes, host.memory_total_bytes));
        rollup.storage += part(&sample.host, |host| (host.storage_free_bytes, host.storage_total_bytes));
        if let Some(slowest) = sample.response_millis.values().max() {
            rollup.responses += 1;
            rollup.response_ms += *slowest as f64;
        }
    }

    /// What has been measured in steps that are over. Devices that have a session begin the next one.
    pub fn take_ended(&self, now: UnixTime) -> Vec<(DeviceId, LoadSample)> {
        let at = self.step_of(now);
        let mut ended = Vec::new();
        self.lock().retain(|device, rollup| {
            // Also one of a clock that was ahead ends.
            if rollup.at == at {
                return true;
            }
            ended.extend(rollup.sample(self.step, now).map(|sample| (*device, sample)));
            *rollup = Rollup { at, connected: rollup.connected, ..Rollup::default() };
            rollup.connected.is_some()
        });
        ended
    }

    /// What has been measured in the present step up to now.
    pub fn present(&self, device: DeviceId, now: UnixTime) -> Option<LoadSample> {
        self.lock().get(&device)?.sample(self.step, now)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<DeviceId, Rollup>> {
        // Sums of a sample that was half counted are still sums, so a panic elsewhere does no harm.
        self.devices.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rollup {
    /// Nothing without any health sample: how busy a device was that said nothing is not known.
    fn sample(&self, step: u64, now: UnixTime) -> Option<LoadSample> {
        if self.samples == 0 {
            return None;
        }
        let until = now.min(self.at + std::time::Duration::from_secs(step));
        let passed = until.since(self.at).as_secs().max(1);
        let open = self.connected.map_or(0, |since| until.since(since.max(self.at)).as_secs());
        let online = (self.online_secs + open) as f64 / passed as f64;
        let mean = |sum: f64| thousandths(sum / f64::from(self.samples));
        Some(LoadSample {
            at: self.at,
            compute: mean(self.compute),
            memory: mean(self.memory),
            availability: thousandths(online),
            storage: mean(self.storage),
            response_ms: (self.responses > 0).then(|| millis(self.response_ms / f64::from(self.responses))),
        })
    }
}

/// The part that is in use, from 0 to 1; 0 where the whole is not known.
fn part(host: &HostFacts, free_of: impl Fn(&HostFacts) -> (u64, u64)) -> f64 {
    let (free, total) = free_of(host);
    if total == 0 { 0.0 } else { 1.0 - free.min(total) as f64 / total as f64 }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is between 0 and 1,000")]
fn thousandths(part: f64) -> u16 {
    (part.clamp(0.0, 1.0) * 1_000.0).round() as u16
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "what does not fit is cut")]
fn millis(millis: f64) -> u32 {
    millis.round() as u32
}

/// A device's samples as the planner takes them: load is the mean of compute and memory. Local clocks are those of UTC.
pub fn series(device: &str, samples: &[LoadSample]) -> Series {
    let percent = |thousandths: u16| f64::from(thousandths) / 10.0;
    let sample = |sample: &LoadSample| Sample {
        at: i64::try_from(sample.at.as_secs()).unwrap_or(i64::MAX),
        offset: 0,
        compute: percent(sample.compute),
        memory: percent(sample.memory),
        availability: percent(sample.availability),
        // Nothing is asked on a device that has no release with health checks.
        response_ms: sample.response_ms.map_or(0.0, f64::from),
        storage: percent(sample.storage),
        load: f64::midpoint(percent(sample.compute), percent(sample.memory)),
    };
    let mut series = Series { device: device.to_owned(), samples: samples.iter().map(sample).collect() };
    series.tidy();
    series
}

#[cfg(test)]
mod tests {
    use takt_common::health::HEALTH_FORMAT;
    use takt_common::report::PhaseName;

    use super::*;

    fn device() -> DeviceId {
        "00112233445566778899aabbccddeeff".parse().unwrap()
    }

    fn at(secs: u64) -> UnixTime {
        UnixTime::from_secs(7_200 + secs)
    }

    fn health(cpu_busy: f64, memory_available_bytes: u64) -> HealthSample {
        HealthSample {
            format: HEALTH_FORMAT,
            device: device(),
            made: UnixTime::from_secs(0),
            agent: "0".to_owned(),
            phase: PhaseName::Idle,
            waiting_on: None,
            host: HostFacts {
                cpu_busy,
                memory_total_bytes: 100,
                memory_available_bytes,
                ..HostFacts::default()
            },
            workloads: vec![],
            checkpoint: Ok(()),
            peers: None,
            response_millis: std::collections::BTreeMap::new(),
            unwell: vec![],
            features: std::collections::BTreeMap::new(),
        }
    }

    #[test]
    fn a_step_has_the_means_of_its_samples_and_the_time_of_its_sessions() {
        let rollups = Rollups::new(3_600);
        rollups.connected(device(), at(0));
        rollups.note(&health(0.2, 60), at(10));
        rollups.note(&health(0.4, 80), at(20));
        rollups.disconnected(device(), at(900));
        rollups.connected(device(), at(2_700));
        assert_eq!(rollups.take_ended(at(3_599)), []);
        let present = rollups.present(device(), at(1_800)).unwrap();
        assert_eq!((present.compute, present.memory), (300, 300));
        let ended = rollups.take_ended(at(3_610));
        let expected = LoadSample {
            at: at(0),
            compute: 300,
            memory: 300,
            availability: 500,
            storage: 0,
            response_ms: None,
        };
        assert_eq!(ended, [(device(), expected)]);
        // It is still connected, and has said nothing since.
        assert_eq!(rollups.present(device(), at(3_700)), None);
        rollups.note(&health(0.5, 50), at(3_700));
        let ended = rollups.take_ended(at(7_300));
        assert_eq!((ended[0].1.at, ended[0].1.availability), (at(3_600), 1_000));
    }

    #[test]
    fn its_slowest_component_says_how_long_a_device_takes_to_answer() {
        let rollups = Rollups::new(3_600);
        let answers = |counter: u64, camera: u64| HealthSample {
            response_millis: [("counter".parse().unwrap(), counter), ("camera".parse().unwrap(), camera)]
                .into(),
            ..health(0.0, 0)
        };
        rollups.note(&answers(10, 20), at(1));
        rollups.note(&health(0.0, 0), at(2));
        rollups.note(&answers(41, 20), at(3));
        let sample = rollups.present(device(), at(4)).unwrap();
        assert_eq!(sample.response_ms, Some(31));
        let series = series("gw", &[sample, LoadSample { at: at(3_600), response_ms: None, ..sample }]);
        let answered: Vec<f64> = series.samples.iter().map(|sample| sample.response_ms).collect();
        assert_eq!(answered, [31.0, 0.0]);
    }

    #[test]
    fn a_device_that_has_left_is_forgotten() {
        let rollups = Rollups::new(3_600);
        rollups.connected(device(), at(0));
        rollups.disconnected(device(), at(10));
        assert_eq!(rollups.take_ended(at(3_600)), []);
        assert!(rollups.lock().is_empty());
    }

    #[test]
    fn what_no_machine_can_be_is_cut() {
        let rollups = Rollups::new(3_600);
        rollups.note(&health(7.0, 200), at(1));
        let sample = rollups.present(device(), at(2)).unwrap();
        assert_eq!((sample.compute, sample.memory), (1_000, 0));
    }
}
