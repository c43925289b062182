//! Makes `docs/attack-matrix.md` of the rows that the tests have left, and says whether all is well:
//!
//!   takt-attack-matrix PAGE LEAST LEAST-OF-EACH
//!
//! Ends with 1 when a case ended as none may, when fewer than LEAST cases were tried, or fewer than LEAST-OF-EACH variants of an
//! attack.

use std::process::ExitCode;

use anyhow::Context as _;
use takt_matrix::attack;

fn main() -> anyhow::Result<ExitCode> {
    let mut words = std::env::args().skip(1);
    let page = words.next().context("the page's path is missing")?;
    let mut least = |name| words.next().map_or(Ok(0), |word| word.parse::<usize>()).context(name);
    let (least, least_of_each) = (least("read LEAST")?, least("read LEAST-OF-EACH")?);
    let folder = attack::folder();
    let rows = attack::rows().with_context(|| format!("read the rows in {}", folder.display()))?;
    let text = attack::page(&rows);
    std::fs::write(&page, &text).with_context(|| format!("write {page}"))?;
    println!("{text}");
    let mut well = true;
    let mut complain = |why: String| {
        well = false;
        eprintln!("takt-attack-matrix: {why}");
    };
    rows.iter().flat_map(|row| &row.faults).for_each(|fault| complain(fault.clone()));
    let cases: usize = rows.iter().map(|row| row.tried).sum();
    if cases < least {
        complain(format!("{cases} cases were tried, at least {least} should have been"));
    }
    for (attack, tried) in attack::tried(&rows).into_iter().filter(|(_, tried)| *tried < least_of_each) {
        complain(format!(
            "{tried} variants of '{attack}' were tried, at least {least_of_each} should have been"
        ));
    }
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
