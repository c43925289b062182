//! Makes `docs/crash-matrix.md` of the rows that the tests have left, and says whether all is well:
//!
//!   takt-crash-matrix PAGE LEAST
//!
//! Ends with 1 when a cell is not 0, or when fewer than LEAST cut points (without it: any number) were tried.

use std::process::ExitCode;

use anyhow::Context as _;

fn main() -> anyhow::Result<ExitCode> {
    let mut words = std::env::args().skip(1);
    let page = words.next().context("the page's path is missing")?;
    let least: usize = words.next().map_or(Ok(0), |word| word.parse()).context("read LEAST")?;
    let folder = takt_matrix::folder();
    let rows = takt_matrix::rows().with_context(|| format!("read the rows in {}", folder.display()))?;
    let text = takt_matrix::page(&rows);
    std::fs::write(&page, &text).with_context(|| format!("write {page}"))?;
    println!("{text}");
    let tried: usize = rows.iter().map(|row| row.tried).sum();
    let said: Vec<_> = rows.iter().flat_map(|row| &row.said).collect();
    for fault in &said {
        eprintln!("fault: {fault}");
    }
    if tried < least {
        eprintln!("takt-crash-matrix: {tried} cut points were tried, at least {least} should have been");
    }
    Ok(if said.is_empty() && tried >= least { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
