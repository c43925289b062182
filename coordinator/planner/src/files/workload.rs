//! `workload.csv`: `device,slot_start,compute,memory,availability,response_ms,storage[,load]`, and figure 13 of paper 1.

use std::collections::HashMap;

use super::InputError;
use super::table::{Column, Line, Table};
use super::time::{self, Start};
use crate::forecast::{Sample, Series};

/// Ours, and the paper's.
const COLUMNS: &[Column] = &[
    &["device", "IOT Device ID"],
    &["slot_start", "Date Time Slot"],
    &["compute", "Compute Utilization (%)"],
    &["memory", "Memory Utilization (%)"],
    &["availability", "Availability (%)"],
    &["response_ms", "Response Time (ms)"],
    &["storage", "Storage Utilization (%)"],
    &["load"],
];
const DEVICE: usize = 0;
const SLOT: usize = 1;
const COMPUTE: usize = 2;
const MEMORY: usize = 3;
const AVAILABILITY: usize = 4;
const RESPONSE: usize = 5;
const STORAGE: usize = 6;
const LOAD: usize = 7;

/// Clocks of one place move by no more than this, in seconds, between summer and winter.
const SUMMER_TIME_MAX: i32 = 2 * 3_600;

/// How a load is made of compute and memory where none is given.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LoadWeights {
    /// What compute counts.
    pub compute: f64,
    /// What memory counts.
    pub memory: f64,
}

impl Default for LoadWeights {
    fn default() -> Self {
        Self { compute: 1.0, memory: 1.0 }
    }
}

/// Reads samples: percentages from 0 to 100, response times of 0 ms or more. Gives a series for each device, by name, its samples
/// in the order of time; of several samples of one slot the one that stands last in the file counts.
pub fn read_workload(file: &str, text: &[u8], weights: LoadWeights) -> Result<Vec<Series>, InputError> {
    let mut table = Table::open(file, text, COLUMNS, 1)?;
    let mut numbers: HashMap<String, usize> = HashMap::new();
    let mut all: Vec<Series> = Vec::new();
    let mut zone = None;
    while let Some(line) = table.next()? {
        let sample = sample(&line, weights, &mut zone)?;
        let name = line.name(DEVICE)?;
        let number = numbers.get(name).copied().unwrap_or_else(|| {
            numbers.insert(name.to_owned(), all.len());
            all.push(Series { device: name.to_owned(), samples: Vec::new() });
            all.len() - 1
        });
        all[number].samples.push(sample);
    }
    if all.is_empty() {
        let what = "no sample stands there, so nothing can be forecast";
        return Err(InputError::new(file, 1, "device", what));
    }
    for series in &mut all {
        series.tidy();
    }
    all.sort_by(|a, b| a.device.cmp(&b.device));
    Ok(all)
}

fn sample(line: &Line<'_>, weights: LoadWeights, zone: &mut Option<Start>) -> Result<Sample, InputError> {
    let start = time::parse(line.name(SLOT)?).map_err(|what| line.error(SLOT, what))?;
    let first = *zone.get_or_insert(start);
    match (first.offset, start.offset) {
        (None, None) => {}
        (Some(first), Some(own)) if (first - own).abs() <= SUMMER_TIME_MAX => {}
        (Some(first), Some(own)) => {
            let what = format!(
                "this time is {} off UTC and the first one of the file {}: a file has one time zone, in which only summer time may make a difference",
                hours(own),
                hours(first)
            );
            return Err(line.error(SLOT, what));
        }
        _ => {
            let what =
                "some times of this file name an offset from UTC and some do not: a file has one time zone";
            return Err(line.error(SLOT, what));
        }
    }
    let value =
        |column, most| line.number_in(column, 0.0..=most)?.ok_or_else(|| line.error(column, "is empty"));
    let (compute, memory) = (value(COMPUTE, 100.0)?, value(MEMORY, 100.0)?);
    let mean = (weights.compute * compute + weights.memory * memory) / (weights.compute + weights.memory);
    Ok(Sample {
        at: start.at,
        offset: start.offset.unwrap_or(0),
        compute,
        memory,
        availability: value(AVAILABILITY, 100.0)?,
        response_ms: value(RESPONSE, f64::INFINITY)?,
        storage: value(STORAGE, 100.0)?,
        load: line.number_in(LOAD, 0.0..=100.0)?.unwrap_or(mean),
    })
}

fn hours(offset: i32) -> String {
    let minutes = offset / 60;
    format!("{}{:02}:{:02}", if minutes < 0 { '-' } else { '+' }, minutes.abs() / 60, minutes.abs() % 60)
}
