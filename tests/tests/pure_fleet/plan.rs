//! What a random fleet is made of.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use crate::releases::Nature;

/// The most devices of a random fleet.
pub(crate) const DEVICES_MAX: usize = 5;

/// A repeatable source of chance (SplitMix64).
#[derive(Debug, Clone)]
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound
    }

    pub(crate) fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.below(most - least + 1)
    }

    pub(crate) fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// What the device's CRIU does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Criu {
    Works,
    Missing,
    RefusesToDump,
    RefusesToRestore,
}

/// A device and what may go wrong on it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Temper {
    /// The release that it runs: 0 for none, 1 for the old, 2 for the new one.
    pub(crate) runs: u8,
    /// How the new release behaves here, unless it behaves the same everywhere.
    pub(crate) nature: Nature,
    pub(crate) criu: Criu,
    /// The old release does not start a second time.
    pub(crate) old_breaks: bool,
    /// What this device runs for others is not well.
    pub(crate) stand_in_sick: bool,
    /// From this second on nobody hears of it, until the network heals.
    pub(crate) silent_from: Option<u64>,
}

/// Chances of trouble.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Trouble {
    /// In percent: an order or acknowledgement is lost.
    pub(crate) lost: u64,
    /// In percent: a message arrives twice, the second time late.
    pub(crate) repeated: u64,
    /// In percent: an order or acknowledgement is late, so that others overtake it.
    pub(crate) late: u64,
    /// In percent of 10 s: a link breaks, with what is on its way.
    pub(crate) breaking: u64,
    /// In percent of rounds: the coordinator dies before or after it has stored its decision.
    pub(crate) crashing: u64,
    /// In percent of steps: an agent is killed or its machine loses power.
    pub(crate) cutting: u64,
}

impl Trouble {
    pub(crate) fn is_none(&self) -> bool {
        self.lost + self.repeated + self.late + self.breaking + self.crashing + self.cutting == 0
    }
}

/// A part that breaks a promise, to see that the checks notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sabotage {
    /// The coordinator believes that nobody stands in for anybody.
    NoStandbys,
    /// The coordinator believes that nobody requires anybody.
    NoRequirements,
    /// The coordinator takes every end for a success.
    BlindToFailure,
    /// An agent that is interrupted forgets what it has not told.
    ForgetsReports,
    /// An agent says that it is verified when it has rolled back.
    Lies,
    /// What is stopped goes on in secret.
    SecondRuns,
    /// The previous container goes when the new one starts.
    PreviousGoes,
}

/// A run.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) devices: Vec<Temper>,
    /// When the new release behaves the same on every device.
    pub(crate) everywhere: Option<Nature>,
    /// From a higher number to a lower one; true when hard.
    pub(crate) edges: BTreeMap<(usize, usize), bool>,
    pub(crate) standbys: BTreeMap<usize, Vec<usize>>,
    pub(crate) element_size: u32,
    /// The campaign is opened before any device was heard of.
    pub(crate) opened_unheard: bool,
    pub(crate) trouble: Trouble,
    pub(crate) sabotage: Option<Sabotage>,
    pub(crate) seed: u64,
}

fn nature() -> impl Strategy<Value = Nature> {
    prop_oneof![
        10 => Just(Nature::Good), 1 => Just(Nature::WillNotStart), 1 => Just(Nature::Sick),
        1 => Just(Nature::DiesInProbation), 1 => Just(Nature::WillNotFetch), 1 => Just(Nature::Mute)
    ]
}

fn temper() -> impl Strategy<Value = Temper> {
    let runs = prop_oneof![1 => Just(0), 12 => Just(1), 1 => Just(2)];
    let criu = prop_oneof![
        4 => Just(Criu::Works), 2 => Just(Criu::Missing), 1 => Just(Criu::RefusesToDump),
        1 => Just(Criu::RefusesToRestore)
    ];
    let silent = prop_oneof![8 => Just(None), 1 => (0..60_u64).prop_map(Some)];
    (runs, nature(), criu, prop::bool::weighted(0.3), prop::bool::weighted(0.08), silent).prop_map(
        |(runs, nature, criu, old_breaks, stand_in_sick, silent_from)| Temper {
            runs,
            nature,
            criu,
            old_breaks,
            stand_in_sick,
            silent_from,
        },
    )
}

fn trouble() -> impl Strategy<Value = Trouble> {
    let some = (0..50_u64, 0..60_u64, 0..40_u64, 0..25_u64, 0..16_u64, 0..8_u64).prop_map(
        |(lost, repeated, late, breaking, crashing, cutting)| Trouble {
            lost,
            repeated,
            late,
            breaking,
            crashing,
            cutting,
        },
    );
    prop_oneof![1 => Just(Trouble::default()), 4 => some]
}

pub(crate) fn plan() -> impl Strategy<Value = Plan> {
    let pairs = prop::collection::vec((0..DEVICES_MAX, 0..DEVICES_MAX, any::<bool>()), 0..8);
    let rows = prop::collection::btree_map(
        0..DEVICES_MAX,
        prop::collection::vec(0..DEVICES_MAX, 1..3),
        1..DEVICES_MAX,
    );
    let devices = prop::collection::vec(temper(), 1..=DEVICES_MAX);
    let everywhere = prop_oneof![4 => Just(None), 1 => nature().prop_map(Some)];
    let opened_unheard = prop::bool::weighted(0.1);
    (devices, everywhere, pairs, rows, 1..3_u32, opened_unheard, trouble(), any::<u64>()).prop_map(
        |(devices, everywhere, pairs, rows, element_size, opened_unheard, trouble, seed)| {
            let count = devices.len();
            let pairs = pairs.into_iter().filter(|(from, to, _)| to < from && *from < count);
            let edges = pairs.map(|(from, to, hard)| ((from, to), hard)).collect();
            let row = |(device, standbys): (usize, Vec<usize>)| {
                let others = standbys.into_iter().map(|standby| standby % count);
                let standbys: BTreeSet<usize> = others.filter(|standby| *standby != device).collect();
                (device < count && !standbys.is_empty()).then(|| (device, standbys.into_iter().collect()))
            };
            let standbys = rows.into_iter().filter_map(row).collect();
            Plan {
                devices,
                everywhere,
                edges,
                standbys,
                element_size,
                opened_unheard,
                trouble,
                sabotage: None,
                seed,
            }
        },
    )
}
