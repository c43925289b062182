//! `docs/campaigns.md` and its pictures are what the simulator says. `TAKT_RENEW_DOCS=1` renews them.

#![allow(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use takt_sim::{Scenario, SimResult, SimState, run};

mod support;
use support::Bench;

const TAKT: &str = "takt";
const OTHERS: [&str; 3] = ["fixed:0.0625", "groups:10", "exponential:50:2"];
const SEEDS: u64 = 3;
/// Shares of devices on which a release fails.
const BAD: [f64; 3] = [0.05, 0.2, 1.0];
/// At once, and after it was verified.
const DELAYS: [u64; 2] = [0, 3_600];

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs")
}

/// Compares with a file of the documentation, or renews it.
fn hold(path: &Path, text: &str) {
    if std::env::var_os("TAKT_RENEW_DOCS").is_some() {
        std::fs::write(path, text).unwrap();
    }
    let found = std::fs::read_to_string(path).unwrap_or_default();
    assert!(found == text, "{} is not what the run says; renew it with TAKT_RENEW_DOCS=1", path.display());
}

fn results(strategy: &str, bad_fraction: f64, failure_delay_s: u64) -> Vec<SimResult> {
    let scenario = |seed| Scenario {
        seed,
        strategy: strategy.parse().unwrap(),
        bad_fraction,
        failure_delay_s,
        ..Scenario::default()
    };
    std::thread::scope(|scope| {
        let runs: Vec<_> =
            (1..=SEEDS).map(|seed| scope.spawn(move || run(&scenario(seed)).unwrap())).collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    })
}

fn mean(results: &[SimResult], what: fn(&SimResult) -> f64) -> f64 {
    results.iter().map(what).sum::<f64>() / results.len() as f64
}

fn harmed(results: &[SimResult]) -> f64 {
    mean(results, |result| f64::from(result.harmed))
}

fn hours(results: &[SimResult]) -> f64 {
    mean(results, |result| result.elapsed_s as f64 / 3_600.0)
}

/// `7.3 in 2.1 h, stopped`.
fn cell(results: &[SimResult]) -> String {
    let aborted = results.iter().filter(|result| result.state == SimState::Aborted).count();
    let end = match aborted {
        0 => "to the end".to_owned(),
        all if all == results.len() => "stopped".to_owned(),
        some => format!("stopped {some} of {} times", results.len()),
    };
    format!("{:.1} in {:.1} h, {end}", harmed(results), hours(results))
}

fn harm() -> String {
    let mut table = format!("| fails on | when | {TAKT} | {} |\n", OTHERS.join(" | "));
    table.push_str("|---|---|---|---|---|---|\n");
    for bad in BAD {
        for delay in DELAYS {
            let ours = results(TAKT, bad, delay);
            let others = OTHERS.map(|strategy| results(strategy, bad, delay));
            let best = others.iter().map(|results| harmed(results)).fold(f64::INFINITY, f64::min);
            let most = if bad >= 0.2 { best / 5.0 } else { best };
            assert!(
                bad < 0.05 || harmed(&ours) <= most,
                "{bad} after {delay} s: {} of {best}",
                harmed(&ours)
            );
            let when = if delay == 0 { "at once" } else { "after an hour" };
            let cells = others.each_ref().map(|results| cell(results)).join(" | ");
            writeln!(table, "| {:.0} % | {when} | {} | {cells} |", bad * 100.0, cell(&ours)).unwrap();
        }
    }
    table
}

fn good() -> String {
    let mut table = "| strategy | elements | hours | sizes |\n|---|---|---|---|\n".to_owned();
    let fixed = results(OTHERS[0], 0.0, 0)[0].elements.len();
    for strategy in [TAKT, "takt:linear", "takt:power", "takt:polynomial", OTHERS[0], OTHERS[1]] {
        let good = &results(strategy, 0.0, 0)[0];
        assert!(strategy != TAKT || good.elements.len() as f64 <= 0.75 * fixed as f64);
        let sizes: Vec<String> = good.elements.iter().map(|element| element.size.to_string()).collect();
        let (elements, hours) = (good.elements.len(), good.elapsed_s as f64 / 3_600.0);
        writeln!(table, "| {strategy} | {elements} | {hours:.1} | {} |", sizes.join(" ")).unwrap();
    }
    table
}

/// The text with what stands between the marks of `name` replaced.
fn with(text: &str, name: &str, content: &str) -> String {
    let (begin, end) = (format!("<!-- run: {name} -->\n"), format!("<!-- end: {name} -->"));
    let (before, rest) = text.split_once(&begin).unwrap();
    let (_, after) = rest.split_once(&end).unwrap();
    format!("{before}{begin}{content}{end}{after}")
}

#[test]
fn the_tables_of_campaigns_are_what_the_simulator_says() {
    let path = docs().join("campaigns.md");
    let text = std::fs::read_to_string(&path).unwrap();
    hold(&path, &with(&with(&text, "harm", &harm()), "good", &good()));
}

#[test]
fn figure_5_of_paper_2_is_what_the_simulator_draws() {
    let bench = Bench::new();
    for (name, infra) in [
        ("figure-5-perturbations.svg", "[[0.35, 1.6], [0.65, 1.6]]"),
        ("figure-5-improvements.svg", "[[0.27, 0.6], [0.55, 0.6], [0.9, 0.6]]"),
    ] {
        bench.write("s.toml", format!("devices = 150\nstrategy = \"takt:linear\"\ninfra = {infra}\n"));
        bench.takt("sim --scenario s.toml --plot p.svg").ok();
        let picture = String::from_utf8(bench.read("p.svg")).unwrap();
        hold(&docs().join("pictures").join(name), &picture);
    }
}
