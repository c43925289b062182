//! How the device is powered, by what the kernel says of its supplies (Documentation/ABI/testing/sysfs-class-power).

use std::fs;
use std::path::Path;

use takt_agent_core::facts::Power;

/// Where the kernel says it.
pub const SUPPLIES: &str = "/sys/class/power_supply";
/// More supplies than any device has; bounds the work of one look.
const SUPPLIES_MAX: usize = 32;

/// A battery counts only while it is discharged and nothing else feeds the device; what the kernel does not say is mains.
pub fn power(supplies: &Path) -> Power {
    let Ok(entries) = fs::read_dir(supplies) else { return Power::Mains };
    let mut lowest: Option<u8> = None;
    for supply in entries.take(SUPPLIES_MAX).flatten().map(|entry| entry.path()) {
        let said = |name: &str| fs::read_to_string(supply.join(name)).unwrap_or_default().trim().to_owned();
        match said("type").as_str() {
            "Mains" | "USB" if said("online") == "1" => return Power::Mains,
            // Of the battery of a mouse nothing depends.
            "Battery" if said("scope") != "Device" && said("status") == "Discharging" => {
                let percent = said("capacity").parse::<u8>().ok().filter(|percent| *percent <= 100);
                lowest = [lowest, percent].into_iter().flatten().min();
            }
            _ => {}
        }
    }
    lowest.map_or(Power::Mains, |percent| Power::Battery { percent })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn supplies(all: &[&[(&str, &str)]]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (number, files) in all.iter().enumerate() {
            let supply = folder.path().join(format!("supply{number}"));
            fs::create_dir(&supply).unwrap();
            for (name, text) in *files {
                fs::write(supply.join(name), format!("{text}\n")).unwrap();
            }
        }
        folder
    }

    #[test]
    fn the_lowest_discharging_battery_counts_unless_mains_feeds_the_device() {
        let battery = |percent| [("type", "Battery"), ("status", "Discharging"), ("capacity", percent)];
        let (low, high) = (battery("12"), battery("80"));
        let mains = |online| [("type", "Mains"), ("online", online)];
        let at = |all: &[&[(&str, &str)]]| power(supplies(all).path());
        assert_eq!(at(&[&high, &low]), Power::Battery { percent: 12 });
        assert_eq!(at(&[&low, &mains("0")]), Power::Battery { percent: 12 });
        assert_eq!(at(&[&low, &mains("1")]), Power::Mains);
        assert_eq!(at(&[]), Power::Mains);
        let mouse = [("type", "Battery"), ("status", "Discharging"), ("capacity", "1"), ("scope", "Device")];
        let odd = [("type", "Battery"), ("status", "Discharging"), ("capacity", "lots")];
        let full = [("type", "Battery"), ("status", "Full"), ("capacity", "1")];
        assert_eq!(at(&[&mouse, &odd, &full]), Power::Mains);
        assert_eq!(power(Path::new("/nowhere/at/all")), Power::Mains);
    }
}
