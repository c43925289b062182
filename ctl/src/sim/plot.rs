//! Element sizes over the progress of a campaign, as in Figure 5 of paper 2.

use svg::Document;
use svg::node::element::{Circle, Group, Line, Polyline, Title};
use takt_sim::{Scenario, SimResult};

use crate::picture::{LINE, MARGIN, picture, printable, round, text};

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 320.0;
/// For the numbers at the left.
const LEFT: f64 = MARGIN + 40.0;
const TOP: f64 = MARGIN + 2.5 * LINE;
/// The rate of the paper's operator.
const FIXED_SHARE: f64 = 0.0625;
const OURS: &str = "#0a58ca";
const FIXED: &str = "#8e44ad";
const EVENT: &str = "#c0392b";
const GRID: &str = "#ddd";

/// Element sizes over progress, with the line of 6.25 % of the fleet, and where the coordinator answered otherwise.
pub(super) fn draw(scenario: &Scenario, result: &SimResult) -> Document {
    let devices = f64::from(scenario.devices);
    let largest = result.elements.iter().map(|element| f64::from(element.size)).fold(0.0, f64::max);
    let most = (devices * FIXED_SHARE).max(largest).max(1.0) * 1.1;
    let x = |progress: f64| LEFT + WIDTH * progress;
    let y = |size: f64| TOP + HEIGHT * (1.0 - size / most);
    let head = format!("Devices of each element: {}, {} devices", scenario.strategy, scenario.devices);
    let (width, height) = (LEFT + WIDTH + MARGIN, TOP + HEIGHT + 4.0 * LINE);
    let mut picture = picture(width, height, &head);
    let mut grid = Group::new().set("class", "small");
    for part in 0..=10_u32 {
        let progress = f64::from(part) / 10.0;
        grid = grid.add(line((x(progress), TOP), (x(progress), TOP + HEIGHT), GRID)).add(text(
            x(progress) - 8.0,
            TOP + HEIGHT + LINE,
            &format!("{} %", part * 10),
        ));
    }
    for part in 0..=4_u32 {
        let size = most * f64::from(part) / 4.0;
        grid = grid.add(line((LEFT, y(size)), (LEFT + WIDTH, y(size)), GRID)).add(text(
            MARGIN,
            y(size) + 4.0,
            &format!("{size:.0}"),
        ));
    }
    picture = picture.add(grid);
    for (progress, factor) in &scenario.infra {
        let what = format!("the coordinator takes {factor} times as long at {:.0} %", progress * 100.0);
        let mark = line((x(*progress), TOP), (x(*progress), TOP + HEIGHT), EVENT);
        picture = picture.add(mark.set("stroke-dasharray", "2 3").add(Title::new(printable(&what))));
    }
    let fixed = y(devices * FIXED_SHARE);
    picture = picture.add(line((LEFT, fixed), (LEFT + WIDTH, fixed), FIXED).set("stroke-width", 2));
    let points: Vec<(f64, f64)> =
        result.elements.iter().map(|element| (x(element.progress), y(f64::from(element.size)))).collect();
    let path = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect::<Vec<_>>().join(" ");
    picture = picture.add(
        Polyline::new().set("points", path).set("fill", "none").set("stroke", OURS).set("stroke-width", 2),
    );
    for ((x, y), element) in points.iter().zip(&result.elements) {
        let dot = Circle::new().set("cx", round(*x)).set("cy", round(*y)).set("r", 3).set("fill", OURS);
        picture = picture.add(dot.add(Title::new(printable(&element.reason))));
    }
    let legend = format!(
        "blue: {}; violet: 6.25 % of the fleet; red: response times differ. Below: share of the fleet that has ended",
        scenario.strategy
    );
    picture.add(text(LEFT, TOP + HEIGHT + 2.5 * LINE, &legend).set("class", "small"))
}

fn line(from: (f64, f64), to: (f64, f64), colour: &str) -> Line {
    Line::new()
        .set("x1", round(from.0))
        .set("y1", round(from.1))
        .set("x2", round(to.0))
        .set("y2", round(to.1))
        .set("stroke", colour)
}
