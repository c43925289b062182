//! The dependency graph: whoever is called stands above those who call.

use std::collections::BTreeSet;

use rust_sugiyama::configure::Config;
use rust_sugiyama::from_vertices_and_edges;
use svg::Document;
use svg::node::element::{Definitions, Group, Line, Marker, Path, Rectangle, Title};
use takt_planner::{Network, Scores};

use crate::picture::{LETTER, LINE, MARGIN, picture, printable, round, shade, text};

const BOX_HEIGHT: f64 = 30.0;
/// Between boxes.
const GAP: f64 = 30.0;
/// Above the graph.
const HEAD: f64 = 4.0 * LINE;
/// A row of devices without edges is as long as this.
const ROW_WIDTH: f64 = 900.0;
/// The widest line; the thinnest is 1.
const STROKE_MAX: f64 = 4.0;

/// Where devices stand.
struct Places {
    /// The middle of each.
    middles: Vec<(f64, f64)>,
    width: f64,
    height: f64,
}

pub(super) fn draw(network: &Network, scores: &Scores) -> Document {
    let sizes: Vec<f64> =
        network.devices().iter().map(|name| LETTER * name.chars().count() as f64 + 16.0).collect();
    let places = places(network, &sizes);
    let devices = network.devices().len();
    let head = format!("{devices} devices, {} dependencies", network.edges().len());
    let key = "An arrow leads to whom a device calls, wide where it calls often; solid if that one is upgraded first. \
               The darker, the more dependent.";
    let arrow = Marker::new()
        .set("id", "arrow")
        .set("viewBox", "0 0 10 10")
        .set("refX", 9)
        .set("refY", 5)
        .set("markerWidth", 8)
        .set("markerHeight", 8)
        .set("markerUnits", "userSpaceOnUse")
        .set("orient", "auto")
        .add(Path::new().set("d", "M0 0L10 5L0 10z").set("fill", "#555"));
    let width = (places.width + 2.0 * MARGIN).max(LETTER * key.len() as f64 * 0.8);
    let mut lines = Group::new().set("stroke", "#555");
    for edge in network.edges() {
        lines = lines.add(line(&places, &sizes, network, edge));
    }
    let totals = scores.totals();
    let most = totals.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
    let mut boxes = Group::new().set("text-anchor", "middle");
    for ((name, (x, y)), (size, score)) in
        network.devices().iter().zip(&places.middles).zip(sizes.iter().zip(&totals))
    {
        let body = Rectangle::new()
            .set("x", round(x - 0.5 * size))
            .set("y", round(y - 0.5 * BOX_HEIGHT))
            .set("width", round(*size))
            .set("height", BOX_HEIGHT)
            .set("rx", 5)
            // Names stay readable on it.
            .set("fill", shade(0.6 * score / most))
            .set("stroke", "#555")
            .add(Title::new(printable(&format!("{name}: score {score:.3}"))));
        boxes = boxes.add(body).add(text(*x, y + 4.0, name));
    }
    picture(width, HEAD + places.height + 2.0 * MARGIN, &head)
        .add(Definitions::new().add(arrow))
        .add(text(MARGIN, MARGIN + 2.0 * LINE, key).set("class", "small"))
        .add(lines)
        .add(boxes)
}

/// From the edge of one box to that of the other.
fn line(places: &Places, sizes: &[f64], network: &Network, edge: &takt_planner::Edge) -> Line {
    let (from, to) = (edge.source as usize, edge.target as usize);
    let (a, b) = (places.middles[from], places.middles[to]);
    let (dx, dy) = (b.0 - a.0, b.1 - a.1);
    // How much of the way lies within a box.
    let within = |size: f64| (0.5 * size / dx.abs()).min(0.5 * BOX_HEIGHT / dy.abs()).min(0.5);
    let (start, end) = (within(sizes[from]), 1.0 - within(sizes[to]));
    let at = |part: f64| (round(a.0 + part * dx), round(a.1 + part * dy));
    let (start, end) = (at(start), at(end));
    let (source, target) = (&network.devices()[from], &network.devices()[to]);
    let verb = if edge.requires { "requires and calls" } else { "calls" };
    let what = format!("{source} {verb} {target}, weight {:.2}", edge.weight);
    let line = Line::new()
        .set("x1", start.0)
        .set("y1", start.1)
        .set("x2", end.0)
        .set("y2", end.1)
        .set("stroke-width", round(1.0 + (STROKE_MAX - 1.0) * edge.weight))
        .set("marker-end", "url(#arrow)")
        .add(Title::new(printable(&what)));
    if edge.requires { line } else { line.set("stroke-dasharray", "5 4") }
}

/// Devices in layers, group by group from left to right; those without edges in rows below.
fn places(network: &Network, sizes: &[f64]) -> Places {
    let calls: BTreeSet<(u32, u32)> = network
        .edges()
        .iter()
        .filter(|edge| edge.source != edge.target)
        .map(|edge| (edge.target, edge.source))
        .collect();
    let calls: Vec<(u32, u32)> = calls.into_iter().collect();
    let joined: BTreeSet<u32> = calls.iter().flat_map(|(a, b)| [*a, *b]).collect();
    let vertices: Vec<(u32, (f64, f64))> =
        joined.iter().map(|device| (*device, (sizes[*device as usize], BOX_HEIGHT))).collect();
    let settings = Config { vertex_spacing: GAP, ..Config::default() };
    let layouts =
        if calls.is_empty() { Vec::new() } else { from_vertices_and_edges(&vertices, &calls, &settings) };
    let mut all = Places { middles: vec![(0.0, 0.0); sizes.len()], width: 0.0, height: 0.0 };
    for (layout, ..) in layouts {
        let (mut left, mut right) = (f64::INFINITY, f64::NEG_INFINITY);
        let (mut top, mut bottom) = (f64::INFINITY, f64::NEG_INFINITY);
        for (device, (x, y)) in &layout {
            left = left.min(x - 0.5 * sizes[*device]);
            right = right.max(x + 0.5 * sizes[*device]);
            (top, bottom) = (top.min(*y), bottom.max(*y));
        }
        let begin = MARGIN + if all.width > 0.0 { all.width + GAP } else { 0.0 };
        for (device, (x, y)) in &layout {
            all.middles[*device] = (begin + x - left, HEAD + MARGIN + 0.5 * BOX_HEIGHT + y - top);
        }
        all.width = begin - MARGIN + right - left;
        all.height = all.height.max(bottom - top + BOX_HEIGHT);
    }
    let row_width = all.width.max(ROW_WIDTH);
    let (mut x, mut row) = (0.0, all.height + if all.height > 0.0 { GAP } else { 0.0 });
    for (device, size) in (0..).zip(sizes).filter(|(device, _)| !joined.contains(device)) {
        if x > 0.0 && x + size > row_width {
            (x, row) = (0.0, row + BOX_HEIGHT + GAP * 0.5);
        }
        all.middles[device as usize] = (MARGIN + x + 0.5 * size, HEAD + MARGIN + row + 0.5 * BOX_HEIGHT);
        x += size + GAP * 0.5;
        all.width = all.width.max(x);
        all.height = row + BOX_HEIGHT;
    }
    all
}
