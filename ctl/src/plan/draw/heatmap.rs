//! The forecast: a row for each device, a column for each slot.

use svg::Document;
use svg::node::element::{Group, Rectangle, Title};
use takt_planner::{Outlook, SlotLoad};

use crate::picture::{LETTER, LINE, MARGIN, picture, printable, round, shade, text};

const CELL_WIDTH: f64 = 22.0;
const CELL_HEIGHT: f64 = 18.0;
/// Above the first row: what it is, what colours mean, and times.
const HEAD: f64 = 5.0 * LINE;
/// A time for every so many columns, so that they do not overlap.
const TIME_EVERY: usize = 3;
/// The least width, for the words above.
const WIDTH_MIN: f64 = 520.0;

pub(super) fn draw(outlooks: &[Outlook]) -> Document {
    let letters = outlooks.iter().map(|outlook| outlook.device.chars().count()).max().unwrap_or(0);
    let left = MARGIN + LETTER * letters as f64 + 10.0;
    // Devices may have been heard of last at different times: columns are moments.
    let mut moments: Vec<i64> =
        outlooks.iter().flat_map(|outlook| &outlook.slots).map(|slot| slot.at).collect();
    moments.sort_unstable();
    moments.dedup();
    let column = |slot: &SlotLoad| {
        let place = moments.binary_search(&slot.at).unwrap_or_default();
        left + CELL_WIDTH * place as f64
    };
    let top = MARGIN + HEAD;
    let mut cells = Group::new();
    let mut names = Group::new();
    for (row, outlook) in outlooks.iter().enumerate() {
        let y = top + CELL_HEIGHT * row as f64;
        names = names.add(text(MARGIN, y + CELL_HEIGHT * 0.72, &outlook.device));
        for slot in &outlook.slots {
            cells = cells.add(cell(outlook, slot, column(slot), y));
        }
        let best = Rectangle::new()
            .set("x", round(column(&outlook.slots[outlook.best]) + 1.0))
            .set("y", round(y + 1.0))
            .set("width", CELL_WIDTH - 3.0)
            .set("height", CELL_HEIGHT - 3.0)
            .set("fill", "none")
            .set("stroke", "#0a58ca")
            .set("stroke-width", 2);
        cells = cells.add(best);
    }
    let mut times = Group::new().set("class", "small");
    for (place, at) in moments.iter().enumerate().step_by(TIME_EVERY) {
        let x = left + CELL_WIDTH * place as f64;
        let moment = SlotLoad { at: *at, load: 0.0, low: 0.0, high: 0.0 }.slot_start();
        // The date where it changes, hours and minutes everywhere.
        let (date, time) = moment.split_once('T').unwrap_or((&moment, ""));
        if place == 0 || time.starts_with("00:0") {
            times = times.add(text(x, top - 18.0, date));
        }
        times = times.add(text(x, top - 5.0, time.get(..5).unwrap_or(time)));
    }
    let head = format!("Forecast load of {} devices", outlooks.len());
    let key = "Pale: idle; dark: busy. Framed: the slot with the least load. Times are UTC.";
    let width = (left + CELL_WIDTH * moments.len() as f64 + MARGIN).max(WIDTH_MIN);
    picture(width, top + CELL_HEIGHT * outlooks.len() as f64 + MARGIN, &head)
        .add(text(MARGIN, MARGIN + 2.0 * LINE, key).set("class", "small"))
        .add(times)
        .add(names)
        .add(cells)
}

fn cell(outlook: &Outlook, slot: &SlotLoad, x: f64, y: f64) -> Rectangle {
    let what = format!(
        "{}, {}: {:.0} % ({:.0}-{:.0} %), {}",
        outlook.device,
        slot.slot_start(),
        slot.load,
        slot.low,
        slot.high,
        outlook.model
    );
    Rectangle::new()
        .set("x", round(x))
        .set("y", round(y))
        .set("width", CELL_WIDTH - 1.0)
        .set("height", CELL_HEIGHT - 1.0)
        .set("fill", shade(slot.load / 100.0))
        .add(Title::new(printable(&what)))
}
