//! Who is a target of a campaign, and why a device is none (paper 2, "Target Identification").

use takt_common::Name;
use takt_common::release::Requirements;

use crate::campaign::ReleaseFacts;
use crate::fleet::DeviceState;
use crate::query::{Query, Subject};

/// What is asked of a device.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) release: &'a ReleaseFacts,
    /// Releases of the component over which a device may have to go first, by their counters.
    pub(crate) path: &'a [ReleaseFacts],
    pub(crate) query: Option<&'a Query>,
    pub(crate) downgrade: bool,
}

/// How a device fits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fit {
    /// It is a target. It is brought to a release of the path first, where one is given.
    Target { hop: Option<usize> },
    /// It runs the release.
    Runs,
    /// The query does not mean it.
    NotMeant,
    /// It is left out; why, as it goes on after its name.
    Unfit(String),
}

/// No published release leads a device to the release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoWay;

impl Asked<'_> {
    /// How `device` fits.
    pub(crate) fn fit(&self, device: &DeviceState) -> Fit {
        let component = &self.release.id.name;
        match self.query.map(|query| query.means(Subject { device, component: Some(component) })) {
            None | Some(Some(true)) => {}
            Some(Some(false)) => return Fit::NotMeant,
            Some(None) => return Fit::Unfit("has not said yet what the query asks for".to_owned()),
        }
        if let Some(why) = device.barred() {
            return Fit::Unfit(why);
        }
        if !self.release.hardware.is_empty() && !self.release.hardware.contains(&device.hardware) {
            let fits = self.release.hardware.iter().map(Name::as_str).collect::<Vec<_>>().join(", ");
            return Fit::Unfit(format!("has hardware {}, the release fits {fits}", device.hardware));
        }
        let installed = device.installed_release(component);
        if installed.is_some_and(|runs| runs.manifest == self.release.manifest) {
            return Fit::Runs;
        }
        if let Some(runs) = installed.filter(|runs| runs.counter > self.release.counter && !self.downgrade) {
            return Fit::Unfit(format!(
                "runs {} with the higher release counter {}",
                runs.release, runs.counter
            ));
        }
        if let Some(why) = lacks(device, &self.release.requires) {
            return Fit::Unfit(why);
        }
        let hop = self.hop(installed.map(|runs| runs.counter));
        hop.map_or_else(
            |NoWay| {
                let min = self.release.requires.counter_min.unwrap_or(0);
                let runs = installed.map_or_else(|| format!("no {component}"), |runs| runs.release.to_string());
                Fit::Unfit(format!("runs {runs}, and {} needs release counter {min} or higher there; no published release leads to that", self.release.id))
            },
            |hop| Fit::Target { hop },
        )
    }

    /// The release that a device with this release counter is brought to next: one of the path, or the last one.
    pub(crate) fn hop(&self, runs: Option<u64>) -> Result<Option<usize>, NoWay> {
        let from = runs.unwrap_or(0);
        let takes = |release: &ReleaseFacts| release.requires.counter_min.is_none_or(|min| from >= min);
        if takes(self.release) {
            return Ok(None);
        }
        // Backwards from the release: the latest one that comes before it and leads to it, until the device can take one.
        let mut goal = self.release;
        loop {
            let min = goal.requires.counter_min.ok_or(NoWay)?;
            let before = |(_, stone): &(usize, &ReleaseFacts)| {
                (min..goal.counter).contains(&stone.counter) && stone.counter > from
            };
            let stones = self.path.iter().enumerate().filter(before);
            let (index, stone) = stones.max_by_key(|(_, stone)| stone.counter).ok_or(NoWay)?;
            if takes(stone) {
                return Ok(Some(index));
            }
            goal = stone;
        }
    }
}

/// What the device lacks of the requirements.
fn lacks(device: &DeviceState, requires: &Requirements) -> Option<String> {
    let facts = &device.facts;
    let told = Requirements { counter_min: None, ..requires.clone() };
    if !told.is_empty() && facts.agent.is_none() {
        return Some("has not said yet how its battery, link, storage and features are".to_owned());
    }
    if let (Some(min), Some(percent)) = (requires.battery_percent_min, facts.battery_percent)
        && percent < min
    {
        return Some(format!(
            "runs on its battery, which is charged to {percent} %; the release needs {min} %"
        ));
    }
    if !requires.links.is_empty() && !facts.link.is_some_and(|link| requires.links.contains(&link)) {
        let wanted = requires.links.iter().map(|link| link.as_str()).collect::<Vec<_>>().join(" or ");
        let link = facts.link.map_or("no link that it knows of", takt_common::health::Link::as_str);
        return Some(format!("is reached over {link}; the release is fetched over {wanted}"));
    }
    if let (Some(min), Some(free)) = (requires.storage_free_bytes_min, facts.storage_free_bytes)
        && free < min
    {
        return Some(format!("has {} MiB of storage free; the release needs {} MiB", free >> 20, min >> 20));
    }
    requires.features.iter().find_map(|(feature, wanted)| {
        let found = facts.features.get(feature);
        match found {
            Some(found) if wanted.is_empty() || found == wanted => None,
            Some(found) => Some(format!("has feature {feature} '{found}'; the release is for '{wanted}'")),
            None => Some(format!("has no feature {feature}")),
        }
    })
}

#[cfg(test)]
mod tests {
    use takt_common::digest::Sha256Digest;
    use takt_common::release::ReleaseId;

    use super::*;

    fn release(counter: u64, counter_min: Option<u64>) -> ReleaseFacts {
        let version: Name = format!("v{counter}").parse().unwrap();
        let id = ReleaseId { name: "app".parse().unwrap(), version };
        ReleaseFacts {
            requires: Requirements { counter_min, ..Requirements::default() },
            ..ReleaseFacts::plain(id, counter, Sha256Digest::of(&counter.to_be_bytes()), 1)
        }
    }

    #[test]
    fn the_way_over_releases_between_has_few_steps_and_none_that_cannot_be_taken() {
        let path = [release(11, None), release(12, Some(11)), release(13, Some(11)), release(15, Some(13))];
        let goal = release(20, Some(12));
        let asked = Asked { release: &goal, path: &path, query: None, downgrade: false };
        // From 12 on it is taken at once; 15 would be the latest before it, and needs 13, which 11 can take.
        assert_eq!(asked.hop(Some(12)), Ok(None));
        assert_eq!(asked.hop(Some(11)), Ok(Some(2)), "13, which leads to 15 or, better, to the goal");
        assert_eq!(asked.hop(Some(13)), Ok(None));
        // Nothing runs there: 11 has no requirement.
        assert_eq!(asked.hop(None), Ok(Some(0)));
        let strict = [release(12, Some(11))];
        let asked = Asked { path: &strict, ..asked };
        assert_eq!(asked.hop(Some(10)), Err(NoWay));
        assert_eq!(asked.hop(Some(11)), Ok(Some(0)));
    }
}
