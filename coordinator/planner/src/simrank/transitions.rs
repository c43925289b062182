//! Where a step leads from each device.

/// The matrix P of a graph in one direction, by rows: row a holds the devices to which a step from a leads, with
/// probabilities that are proportional to the weights of the edges. A row is empty where no step leads anywhere.
#[derive(Debug, Clone)]
pub(crate) struct Transitions {
    /// Row a is from `starts[a]` up to `starts[a + 1]`.
    starts: Vec<usize>,
    devices: Vec<u32>,
    probabilities: Vec<f64>,
}

impl Transitions {
    /// Of `size` devices. Each edge is from where, to where, and its weight; several edges between two devices add up, and
    /// those of weight 0 lead nowhere.
    pub(crate) fn new(size: usize, mut edges: Vec<(u32, u32, f64)>) -> Self {
        edges.retain(|(_, _, weight)| *weight > 0.0);
        edges.sort_unstable_by_key(|(from, to, _)| (*from, *to));
        let mut all = Self { starts: vec![0; size + 1], devices: Vec::new(), probabilities: Vec::new() };
        let mut rest = edges.as_slice();
        for device in 0..size {
            let end = rest.partition_point(|(from, ..)| *from as usize <= device);
            let (own, later) = rest.split_at(end);
            rest = later;
            let total: f64 = own.iter().map(|(_, _, weight)| weight).sum();
            for same in own.chunk_by(|one, other| one.1 == other.1) {
                all.devices.push(same[0].1);
                all.probabilities.push(same.iter().map(|(_, _, weight)| weight).sum::<f64>() / total);
            }
            all.starts[device + 1] = all.devices.len();
        }
        all
    }

    /// How many devices there are.
    pub(crate) const fn size(&self) -> usize {
        self.starts.len() - 1
    }

    /// Where a step from `device` leads, and how probably.
    pub(crate) fn row(&self, device: usize) -> impl Iterator<Item = (usize, f64)> {
        let range = self.starts[device]..self.starts[device + 1];
        let devices = self.devices[range.clone()].iter().map(|device| *device as usize);
        devices.zip(self.probabilities[range].iter().copied())
    }

    /// The steps from each device, as two lists of equal length.
    fn rows(&self) -> impl Iterator<Item = (&[u32], &[f64])> {
        let ends = self.starts.windows(2).map(|ends| ends[0]..ends[1]);
        ends.map(|range| (&self.devices[range.clone()], &self.probabilities[range]))
    }

    /// The same as two lists of equal length.
    pub(crate) fn row_slices(&self, device: usize) -> (&[u32], &[f64]) {
        let range = self.starts[device]..self.starts[device + 1];
        (&self.devices[range.clone()], &self.probabilities[range])
    }

    /// The same steps backwards, with their probabilities.
    pub(crate) fn reversed(&self) -> Self {
        let size = self.size();
        let mut starts = vec![0; size + 1];
        for to in &self.devices {
            starts[*to as usize + 1] += 1;
        }
        for device in 0..size {
            starts[device + 1] += starts[device];
        }
        let mut next = starts.clone();
        let mut reversed = Self {
            starts,
            devices: vec![0; self.devices.len()],
            probabilities: vec![0.0; self.devices.len()],
        };
        for from in 0..size {
            for (to, probability) in self.row(from) {
                reversed.devices[next[to]] = u32::try_from(from).expect("as many as a graph has nodes");
                reversed.probabilities[next[to]] = probability;
                next[to] += 1;
            }
        }
        reversed
    }

    /// The same steps between places: place p is that of device `order[p]`, whose place in turn is `places[order[p]]`.
    pub(crate) fn in_places(&self, order: &[u32], places: &[u32]) -> Self {
        let mut all = Self { starts: vec![0], devices: Vec::new(), probabilities: Vec::new() };
        for device in order {
            for (to, probability) in self.row(*device as usize) {
                all.devices.push(places[to]);
                all.probabilities.push(probability);
            }
            all.starts.push(all.devices.len());
        }
        all
    }

    /// The same with other steps from one device, in proportion to `weights`, each device once.
    pub(crate) fn with_row(&self, device: u32, weights: &[(u32, f64)]) -> Self {
        let mut weights: Vec<(u32, f64)> =
            weights.iter().copied().filter(|(_, weight)| *weight > 0.0).collect();
        weights.sort_unstable_by_key(|(to, _)| *to);
        let total: f64 = weights.iter().map(|(_, weight)| weight).sum();
        let (start, end) = (self.starts[device as usize], self.starts[device as usize + 1]);
        let mut all = self.clone();
        all.devices.splice(start..end, weights.iter().map(|(to, _)| *to));
        all.probabilities.splice(start..end, weights.iter().map(|(_, weight)| weight / total));
        for later in &mut all.starts[device as usize + 1..] {
            *later = *later - (end - start) + weights.len();
        }
        all
    }

    /// `P · values`.
    pub(crate) fn times(&self, values: &[f64]) -> Vec<f64> {
        let row = |(devices, probabilities): (&[u32], &[f64])| {
            devices
                .iter()
                .zip(probabilities)
                .map(|(to, probability)| probability * values[*to as usize])
                .sum()
        };
        self.rows().map(row).collect()
    }

    /// `Pᵀ · values`.
    pub(crate) fn transposed_times(&self, values: &[f64]) -> Vec<f64> {
        let mut product = vec![0.0; self.size()];
        for (value, (devices, probabilities)) in values.iter().zip(self.rows()) {
            for (to, probability) in devices.iter().zip(probabilities) {
                product[*to as usize] += probability * value;
            }
        }
        product
    }

    /// `(P ∘ P) · values`: two steps from one device that lead to the same one.
    pub(crate) fn squares_times(&self, values: &[f64]) -> Vec<f64> {
        let row =
            |device| self.row(device).map(|(to, probability)| probability * probability * values[to]).sum();
        (0..self.size()).map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_probabilities_and_edges_between_the_same_two_add_up() {
        let edges = vec![(2, 0, 1.0), (0, 1, 0.5), (0, 2, 0.25), (0, 1, 0.25), (1, 0, 0.0)];
        let transitions = Transitions::new(3, edges);
        let row = |device| transitions.row(device).collect::<Vec<_>>();
        assert_eq!(row(0), [(1, 0.75), (2, 0.25)]);
        assert_eq!((row(1), row(2)), (vec![], vec![(0, 1.0)]));
        assert_eq!(transitions.times(&[1.0, 2.0, 4.0]), [2.5, 0.0, 1.0]);
        assert_eq!(transitions.transposed_times(&[1.0, 2.0, 4.0]), [4.0, 0.75, 0.25]);
        assert_eq!(transitions.squares_times(&[1.0, 1.0, 1.0]), [0.625, 0.0, 1.0]);
    }
}
