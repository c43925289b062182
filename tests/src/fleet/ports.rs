//! Free ports that stay ours: containers bind them later and again, so a port that was free once is not enough.

use std::fs::{File, OpenOptions};
use std::net::{Ipv4Addr, TcpListener};

use super::error::FleetError;

/// Below the range from which Linux takes the ports of outgoing connections.
const FIRST: u16 = 20_000;
const LAST: u16 = 29_999;

/// A port of 127.0.0.1 that no other fleet on this machine gets until this is dropped.
#[derive(Debug)]
pub struct Port {
    number: u16,
    /// Held with flock: who is killed holds nothing.
    _lease: File,
}

impl Port {
    /// Takes a free port.
    pub fn lease() -> Result<Self, FleetError> {
        let folder = std::env::temp_dir().join("takt-ports");
        std::fs::create_dir_all(&folder).map_err(FleetError::file("make the folder", &folder))?;
        for number in FIRST..=LAST {
            let path = folder.join(number.to_string());
            let lease = OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .open(&path)
                .map_err(FleetError::file("open the lease", &path))?;
            let ours = lease.try_lock().is_ok();
            if ours && TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok() {
                return Ok(Self { number, _lease: lease });
            }
        }
        Err(FleetError::NoPort { first: FIRST, last: LAST })
    }

    /// Its number.
    pub const fn number(&self) -> u16 {
        self.number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leased_port_is_nobody_elses() {
        let (first, second) = (Port::lease().unwrap(), Port::lease().unwrap());
        assert_ne!(first.number(), second.number());
        assert!((FIRST..=LAST).contains(&first.number()));
        let path = std::env::temp_dir().join("takt-ports").join(first.number().to_string());
        assert!(File::open(&path).unwrap().try_lock().is_err(), "the lease is held");
        drop(first);
        assert!(File::open(&path).unwrap().try_lock().is_ok(), "the lease has ended");
    }
}
