//! What all pictures have in common.

use svg::Document;
use svg::node::element::{Rectangle, Style, Text, Title};

/// Empty space at each edge.
pub(crate) const MARGIN: f64 = 24.0;
/// The height of a line of text.
pub(crate) const LINE: f64 = 16.0;
/// How wide a letter is, about.
pub(crate) const LETTER: f64 = 7.0;

const STYLE: &str =
    "text{font:12px sans-serif;fill:#222}.small{font-size:10px;fill:#666}.head{font-size:15px}";

/// An empty picture of this size, with what it shows as its head.
pub(crate) fn picture(width: f64, height: f64, head: &str) -> Document {
    Document::new()
        .set("viewBox", (0, 0, width.ceil(), height.ceil()))
        .set("width", width.ceil())
        .set("height", height.ceil())
        .add(Title::new(printable(head)))
        .add(Style::new(STYLE))
        .add(Rectangle::new().set("width", "100%").set("height", "100%").set("fill", "#fff"))
        .add(text(MARGIN, MARGIN + LINE * 0.7, head).set("class", "head"))
}

/// A line of text that begins at `x`, on the line `y`.
pub(crate) fn text(x: f64, y: f64, what: &str) -> Text {
    Text::new(printable(what)).set("x", round(x)).set("y", round(y))
}

/// A name as XML can hold it.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect()
}

/// No picture needs more digits.
pub(crate) fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

/// From pale to dark: how much of something there is, from 0 to 1.
pub(crate) fn shade(part: f64) -> String {
    let colour = colorous::YELLOW_ORANGE_RED.eval_continuous(part.clamp(0.0, 1.0));
    format!("#{colour:x}")
}
