//! Steps from where a walk can be to where it can be next.

use super::transitions::Transitions;

/// Places with the probability of each.
pub(super) type Walk = Vec<(u32, f64)>;

/// A walk that has not begun.
pub(super) fn at(device: usize) -> Walk {
    vec![(u32::try_from(device).expect("as many as a graph has nodes"), 1.0)]
}

/// Room for steps: one for each thread.
pub(super) struct Spread {
    /// 0 everywhere between two steps.
    values: Vec<f64>,
    touched: Vec<u32>,
}

impl Spread {
    pub(super) fn new(size: usize) -> Self {
        Self { values: vec![0.0; size], touched: Vec::new() }
    }

    /// One step on.
    pub(super) fn step(&mut self, transitions: &Transitions, walk: &mut Walk) {
        for (place, value) in walk.drain(..) {
            for (to, probability) in transitions.row(place as usize) {
                let reached = &mut self.values[to];
                if *reached == 0.0 {
                    self.touched.push(u32::try_from(to).expect("as many as a graph has nodes"));
                }
                *reached += value * probability;
            }
        }
        let values = &mut self.values;
        walk.extend(self.touched.drain(..).map(|place| (place, std::mem::take(&mut values[place as usize]))));
    }

    /// `Σ_j walk(j) · other(j)` for each of `others`.
    pub(super) fn meet<'o>(
        &mut self,
        walk: &Walk,
        others: impl Iterator<Item = &'o Walk>,
        mut met: impl FnMut(usize, f64),
    ) {
        for (place, value) in walk {
            self.values[*place as usize] = *value;
        }
        for (number, other) in others.enumerate() {
            met(number, other.iter().map(|(place, value)| value * self.values[*place as usize]).sum());
        }
        for (place, _) in walk {
            self.values[*place as usize] = 0.0;
        }
    }
}
