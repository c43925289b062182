//! The figures of a group: the fixed form of their file, and their table.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::error::BenchError;
use super::spread::Spread;

/// What a value counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Unit {
    /// Microseconds.
    #[serde(rename = "µs")]
    Micros,
    /// Milliseconds.
    #[serde(rename = "ms")]
    Millis,
    /// Hundredths.
    #[serde(rename = "%")]
    Percent,
    /// 1,048,576 bytes.
    #[serde(rename = "MiB")]
    Mebibytes,
    /// Hundredths of one processor.
    #[serde(rename = "% of one CPU")]
    CpuPercent,
    /// How many.
    #[serde(rename = "")]
    Count,
    /// How many in a second.
    #[serde(rename = "/s")]
    PerSecond,
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Micros => "µs",
            Self::Millis => "ms",
            Self::Percent => "%",
            Self::Mebibytes => "MiB",
            Self::CpuPercent => "% CPU",
            Self::Count => "",
            Self::PerSecond => "/s",
        })
    }
}

/// What a figure should reach.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Goal {
    /// A value of at most this.
    Value(f64),
    /// A value of at least this.
    AtLeast(f64),
    /// At most this part of the peer's value.
    Ratio(f64),
}

/// One figure, as `bench/results` keeps it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figure {
    /// What was measured.
    pub figure: String,
    /// The median of all runs, unless the figure says otherwise.
    pub value: f64,
    /// What it counts.
    pub unit: Unit,
    /// What was measured beside it, in the same run.
    pub peer: Option<String>,
    /// The median of the peer.
    pub peer_value: Option<f64>,
    /// Value by peer's value.
    pub ratio: Option<f64>,
    /// What should be reached, such as `ratio <= 0.6`.
    pub goal: Option<String>,
    /// Whether it is.
    pub met: Option<bool>,
    /// How many times it was measured.
    pub runs: usize,
    /// On what.
    pub machine: String,
    /// The smallest and the largest value, for the table.
    #[serde(skip)]
    range: (f64, f64),
}

impl Figure {
    /// The median of `spread`.
    pub fn new(figure: &str, unit: Unit, spread: &Spread, machine: &str) -> Self {
        Self {
            figure: figure.to_owned(),
            value: rounded(spread.median()),
            unit,
            peer: None,
            peer_value: None,
            ratio: None,
            goal: None,
            met: None,
            runs: spread.runs(),
            machine: machine.to_owned(),
            range: (rounded(spread.least()), rounded(spread.most())),
        }
    }

    /// What was measured once.
    pub fn once(figure: &str, unit: Unit, value: f64, machine: &str) -> Self {
        Self::new(figure, unit, &Spread::of(vec![value]), machine)
    }

    /// With this value instead of the median: the largest, or the sum.
    #[must_use]
    pub(super) fn instead(mut self, value: f64) -> Self {
        self.value = rounded(value);
        self
    }

    /// Beside a peer that was measured in the same run.
    #[must_use]
    pub fn beside(mut self, peer: &str, spread: &Spread) -> Self {
        let median = spread.median();
        self.peer = Some(peer.to_owned());
        self.peer_value = Some(rounded(median));
        self.ratio = (median > 0.0).then(|| rounded(self.value / median));
        self
    }

    /// With a goal.
    #[must_use]
    pub fn with(mut self, goal: Goal) -> Self {
        let (text, met) = match goal {
            Goal::Value(most) => (format!("value <= {most}"), self.value <= most),
            Goal::AtLeast(least) => (format!("value >= {least}"), self.value >= least),
            Goal::Ratio(most) => {
                (format!("ratio <= {}", rounded(most)), self.ratio.is_some_and(|ratio| ratio <= most))
            }
        };
        // What was never measured meets nothing.
        self.met = Some(met && self.runs > 0);
        self.goal = Some(text);
        self
    }
}

/// A thousandth is below the noise of every unit.
fn rounded(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

/// Writes the figures to `bench/results/GROUP.json`, and says where that is.
pub fn keep(group: &str, figures: &[Figure]) -> Result<PathBuf, BenchError> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../bench/results");
    std::fs::create_dir_all(&folder).map_err(BenchError::file("make the folder", &folder))?;
    let path = folder.join(format!("{group}.json"));
    let mut text = serde_json::to_string_pretty(figures).expect("figures are plain values");
    text.push('\n');
    std::fs::write(&path, text).map_err(BenchError::file("write", &path))?;
    Ok(path.canonicalize().unwrap_or(path))
}

/// The figures for people: a line each below a line of headings.
pub fn table(figures: &[Figure]) -> Vec<String> {
    let headings =
        ["figure", "median", "least", "most", "runs", "peer", "its median", "ratio", "goal", "met"];
    let mut rows = vec![headings.map(str::to_owned)];
    rows.extend(figures.iter().map(cells));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let line = |row: &[String; 10]| {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

fn cells(figure: &Figure) -> [String; 10] {
    let some = |value: Option<f64>| value.map_or_else(String::new, |value| value.to_string());
    let (least, most) = figure.range;
    [
        figure.figure.clone(),
        format!("{} {}", figure.value, figure.unit).trim_end().to_owned(),
        least.to_string(),
        most.to_string(),
        figure.runs.to_string(),
        figure.peer.clone().unwrap_or_default(),
        figure.peer_value.map_or_else(String::new, |value| format!("{value} {}", figure.unit)),
        some(figure.ratio),
        figure.goal.clone().unwrap_or_default(),
        figure.met.map_or("", |met| if met { "yes" } else { "NO" }).to_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(values: &[f64]) -> Spread {
        let mut spread = Spread::default();
        for value in values {
            spread.push(*value);
        }
        spread
    }

    #[test]
    fn the_file_has_exactly_the_fixed_fields_in_their_order() {
        let figure = Figure::new("swap", Unit::Millis, &spread(&[30.0, 50.0]), "a machine");
        let figure = figure.beside("docker", &spread(&[100.0])).with(Goal::Ratio(0.6));
        assert_eq!(
            serde_json::to_string(&figure).unwrap(),
            r#"{"figure":"swap","value":40.0,"unit":"ms","peer":"docker","peer_value":100.0,"ratio":0.4,"goal":"ratio <= 0.6","met":true,"runs":2,"machine":"a machine"}"#
        );
    }

    #[test]
    fn a_figure_that_is_not_met_or_not_measured_says_so() {
        let figure = |values: &[f64]| Figure::new("size", Unit::Mebibytes, &spread(values), "a machine");
        assert_eq!(figure(&[12.0]).with(Goal::Value(12.0)).met, Some(true));
        assert_eq!(figure(&[12.001]).with(Goal::Value(12.0)).met, Some(false));
        assert_eq!(figure(&[]).with(Goal::Value(12.0)).met, Some(false), "never measured");
        assert_eq!(figure(&[1.0]).with(Goal::Ratio(0.6)).met, Some(false), "no peer");
        assert_eq!(figure(&[5.0]).with(Goal::AtLeast(5.0)).met, Some(true));
        assert_eq!(figure(&[4.9]).with(Goal::AtLeast(5.0)).met, Some(false));
        let largest = figure(&[1.0, 1.0, 9.0]).instead(9.0).beside("peer", &spread(&[90.0]));
        assert_eq!((largest.ratio, largest.with(Goal::Value(1.0)).met), (Some(0.1), Some(false)));
        let lines = table(&[figure(&[13.0]).with(Goal::Value(12.0))]);
        assert!(lines[1].contains("13 MiB") && lines[1].ends_with("value <= 12  NO"), "{lines:?}");
    }
}
