//! What is left of an image after the power was cut.

use super::image::{Change, FileNode, Image, Node, ROOT, Trouble};
use crate::random::Random;

/// Disks write sectors of this size whole.
const SECTOR_BYTES: usize = 512;
/// File systems write pages of this size, mostly whole.
const PAGE_BYTES: usize = 4096;
/// Share of writes that are torn at sectors rather than at pages.
const TORN_PERCENT: u64 = 30;

/// Which of the changes that were not fsynced survive.
#[derive(Debug)]
pub enum Survival {
    /// All of them: the machine did not fail, only the program was killed.
    All,
    /// None of them: the worst cache.
    Nothing,
    /// A random part of them, torn.
    Some(Random),
}

impl Image {
    /// The image that is found when the power is back.
    #[must_use]
    pub fn after_cut(mut self, survival: &mut Survival) -> Self {
        self.settle_names(survival);
        for node in self.nodes.values_mut() {
            match node {
                Node::File(file) => file.settle(survival),
                Node::Folder { seen, durable } => seen.clone_from(durable),
                Node::Pipe { .. } => {}
            }
        }
        self.trouble = Trouble::None;
        self.drop_unreachable();
        self
    }

    /// Journals keep the order of changes, so mostly a beginning of them survives; but nobody promises that, so
    /// sometimes any subset does.
    fn settle_names(&mut self, survival: &mut Survival) {
        let renamings = std::mem::take(&mut self.renamings);
        let kept: Vec<bool> = match survival {
            Survival::All => vec![true; renamings.len()],
            Survival::Nothing => vec![false; renamings.len()],
            Survival::Some(random) => {
                let ordered = random.percent(50);
                let end = random.between(0, renamings.len() as u64 + 1);
                let keep = |index| if ordered { index < end } else { random.percent(50) };
                (0..renamings.len() as u64).map(keep).collect()
            }
        };
        for (renaming, kept) in renamings.into_iter().zip(kept) {
            if kept {
                self.make_durable(renaming);
            }
        }
    }

    fn drop_unreachable(&mut self) {
        let mut reached = Vec::new();
        let mut next = vec![ROOT];
        while let Some(number) = next.pop() {
            if reached.contains(&number) {
                continue;
            }
            reached.push(number);
            if let Ok(names) = self.names(number) {
                next.extend(names.values());
            }
        }
        self.nodes.retain(|number, _| reached.contains(number));
    }
}

impl FileNode {
    fn settle(&mut self, survival: &mut Survival) {
        let pending = std::mem::take(&mut self.pending);
        match survival {
            Survival::All => pending.into_iter().for_each(|change| change.apply(&mut self.durable)),
            Survival::Nothing => {}
            Survival::Some(random) => self.settle_some(pending, random),
        }
        self.seen.clone_from(&self.durable);
    }

    fn settle_some(&mut self, pending: Vec<Change>, random: &mut Random) {
        let durable_length = self.durable.len();
        let kept_percent = [0, 10, 50, 90, 100][usize::try_from(random.between(0, 5)).expect("below five")];
        let mut grown = false;
        for change in pending {
            match change {
                Change::Resize { length } if random.percent(kept_percent) => self.durable.resize(length, 0),
                Change::Resize { .. } => {}
                Change::Write { offset, bytes } => {
                    grown |= offset + bytes.len() > self.durable.len();
                    write_torn(&mut self.durable, offset, &bytes, kept_percent, random);
                }
            }
        }
        // The data may have reached the disk without the file's new length.
        if grown && random.percent(30) {
            self.durable.truncate(durable_length);
        }
    }
}

/// Writes a random part of `bytes`, in whole blocks of the disk. Where a later block survives and an earlier one
/// does not, zeros stand between.
fn write_torn(to: &mut Vec<u8>, offset: usize, bytes: &[u8], kept_percent: u64, random: &mut Random) {
    let block = if random.percent(TORN_PERCENT) { SECTOR_BYTES } else { PAGE_BYTES };
    let end = offset + bytes.len();
    let mut start = offset;
    while start < end {
        let stop = ((start / block + 1) * block).min(end);
        if random.percent(kept_percent) {
            let part = bytes[start - offset..stop - offset].to_vec();
            Change::Write { offset: start, bytes: part }.apply(to);
        }
        start = stop;
    }
}

#[cfg(test)]
#[path = "cut_tests.rs"]
mod tests;
