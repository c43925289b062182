//! In which slots each device can be upgraded.

use super::problem::Model;

/// The slots of each device, and the first and the last of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spans {
    pub(super) first: Vec<u32>,
    pub(super) last: Vec<u32>,
    /// Device by device.
    open: Vec<bool>,
}

impl Spans {
    /// All open slots for each.
    pub(super) fn all(model: &Model) -> Self {
        let last = u32::try_from(model.slots - 1).expect("there are fewer slots");
        Self {
            first: vec![0; model.devices],
            last: vec![last; model.devices],
            open: model.costs.iter().map(|cost| cost.is_finite()).collect(),
        }
    }

    pub(super) fn is_open(&self, model: &Model, device: u32, slot: u32) -> bool {
        (self.first[device as usize]..=self.last[device as usize]).contains(&slot)
            && self.open[device as usize * model.slots + slot as usize]
    }

    /// Takes a slot from a device.
    pub(super) fn close(&mut self, model: &Model, device: u32, slot: u32) {
        self.open[device as usize * model.slots + slot as usize] = false;
    }

    /// Leaves out what is closed at the ends, and what the order leaves no room for. The device for which nothing is left
    /// otherwise.
    pub(super) fn tighten(&mut self, model: &Model) -> Result<(), u32> {
        for device in &model.sorted {
            let before =
                model.before[*device as usize].iter().map(|other| self.first[*other as usize] + 1).max();
            let from = self.first[*device as usize].max(before.unwrap_or(0));
            let open = (from..=self.last[*device as usize]).find(|slot| self.is_open(model, *device, *slot));
            self.first[*device as usize] = open.ok_or(*device)?;
        }
        for device in model.sorted.iter().rev() {
            let behind = model.behind[*device as usize].iter().map(|other| self.last[*other as usize]).min();
            let until = match behind {
                Some(slot) => self.last[*device as usize].min(slot.checked_sub(1).ok_or(*device)?),
                None => self.last[*device as usize],
            };
            let mut slots = (self.first[*device as usize]..=until).rev();
            let open = slots.find(|slot| self.is_open(model, *device, *slot));
            self.last[*device as usize] = open.ok_or(*device)?;
        }
        Ok(())
    }
}
