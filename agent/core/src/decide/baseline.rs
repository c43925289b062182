//! The new release beside the one before it: what has become worse is a warning.

use takt_common::release::BaselineLimits;

use crate::facts::Vitals;

/// Differences below these are noise, whatever their factor: nobody would see them.
const CPU_MARGIN_PERMILLE: u64 = 50;
const MEMORY_MARGIN_BYTES: u64 = 4 << 20;
const RESPONSE_MARGIN_MILLIS: u64 = 20;

/// One sentence for each vital that is worse than `before` by more than its limit.
pub(super) fn worse(before: &Vitals, after: &Vitals, limits: &BaselineLimits) -> Vec<String> {
    let mut warnings = Vec::new();
    let worse = |was: u64, is: u64, percent: u32, margin: u64| {
        u128::from(is) * 100 > u128::from(was) * u128::from(percent) && is > was.saturating_add(margin)
    };
    if let (Some(was), Some(is)) = (before.cpu_permille, after.cpu_permille)
        && worse(was.into(), is.into(), limits.cpu_percent, CPU_MARGIN_PERMILLE)
    {
        warnings.push(format!(
            "it takes {} % of a processor, the previous release took {} % (limit {} % of that)",
            is / 10,
            was / 10,
            limits.cpu_percent
        ));
    }
    if let (Some(was), Some(is)) = (before.memory_bytes, after.memory_bytes)
        && worse(was, is, limits.memory_percent, MEMORY_MARGIN_BYTES)
    {
        warnings.push(format!(
            "it takes {} MiB of memory, the previous release took {} MiB (limit {} % of that)",
            is >> 20,
            was >> 20,
            limits.memory_percent
        ));
    }
    if let (Some(was), Some(is)) = (before.response_millis, after.response_millis)
        && worse(was, is, limits.response_percent, RESPONSE_MARGIN_MILLIS)
    {
        warnings.push(format!(
            "its health checks take {is} ms, those of the previous release took {was} ms (limit {} % of that)",
            limits.response_percent
        ));
    }
    if after.restarts > before.restarts.saturating_add(limits.restarts) {
        warnings.push(format!(
            "it was restarted {} times in its probation, at most {} are expected",
            after.restarts,
            before.restarts.saturating_add(limits.restarts)
        ));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vitals(permille: u32, mib: u64, millis: u64, restarts: u32) -> Vitals {
        Vitals {
            cpu_permille: Some(permille),
            memory_bytes: Some(mib << 20),
            response_millis: Some(millis),
            restarts,
        }
    }

    #[test]
    fn each_vital_that_is_worse_is_told_with_its_numbers() {
        let before = vitals(100, 20, 30, 0);
        let limits = BaselineLimits::default();
        for (after, needle) in [
            (vitals(310, 20, 30, 0), "31 % of a processor, the previous release took 10 %"),
            (vitals(100, 50, 30, 0), "50 MiB of memory, the previous release took 20 MiB"),
            (vitals(100, 20, 90, 0), "90 ms, those of the previous release took 30 ms"),
            (vitals(100, 20, 30, 2), "restarted 2 times"),
        ] {
            let warnings = worse(&before, &after, &limits);
            assert!(warnings.len() == 1 && warnings[0].contains(needle), "{warnings:?}");
        }
    }

    #[test]
    fn small_differences_and_what_was_not_measured_are_no_warnings() {
        let limits = BaselineLimits::default();
        assert!(worse(&vitals(1, 1, 1, 1), &vitals(40, 4, 15, 1), &limits).is_empty());
        assert!(worse(&Vitals::default(), &vitals(3_000, 900, 900, 0), &limits).is_empty());
        assert!(worse(&vitals(500, 90, 90, 0), &vitals(200, 30, 30, 0), &limits).is_empty());
    }
}
