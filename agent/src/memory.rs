//! Memory that is given back when the agent comes to rest: what a start or an upgrade has used is not used for days.
//!
//! Two things stay mapped without it: free blocks of the heap, which the C library keeps, and the pages of program and
//! libraries that only a start or an upgrade needs. The latter stay in the kernel's cache, are the first to go when
//! somebody needs memory, and come back by themselves when they are touched.

use std::fs;

/// Above this, free memory at the heap's end is given back at once, in bytes. A fixed limit, or the C library would raise it to
/// twice the largest block it has ever seen freed.
#[cfg(target_env = "gnu")]
const KEPT_FREE_MAX: i32 = 64 * 1024;

/// A part of the address space that shows a file and was never written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Unchanged {
    start: usize,
    length: usize,
}

/// One heap for all threads, which hardly ever allocate at the same time, instead of one for each; and little kept free in
/// it. To be called before there are threads.
#[allow(unsafe_code)] // One call for which there is no safe wrapper.
pub fn one_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes no pointer; these are settings of the C library's own heap, made before anybody else uses it.
    unsafe {
        nix::libc::mallopt(nix::libc::M_ARENA_MAX, 1);
        nix::libc::mallopt(nix::libc::M_TRIM_THRESHOLD, KEPT_FREE_MAX);
    }
}

/// Gives back what is not in use now. It costs about a millisecond; what cannot be given back stays.
#[allow(unsafe_code)] // Two calls for which there is no safe wrapper.
pub(crate) fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes no pointer, locks the heap itself, and returns only pages that hold no block in use.
    unsafe {
        nix::libc::malloc_trim(0);
    }
    let Ok(map) = fs::read_to_string("/proc/self/smaps") else { return };
    for Unchanged { start, length } in unchanged(&map) {
        // SAFETY: nobody writes to the mapping, and none of its pages differs from the file's: the next access finds the
        // same bytes again, as it does when the kernel takes such a page by itself. A mapping that has gone meanwhile
        // (libraries are never unloaded here) is an error without effect.
        let _result =
            unsafe { nix::libc::madvise(start as *mut nix::libc::c_void, length, nix::libc::MADV_DONTNEED) };
    }
}

/// The parts of `/proc/self/smaps` that are pages of files, cannot be written to, and have no page of their own.
fn unchanged(smaps: &str) -> Vec<Unchanged> {
    let mut found = Vec::new();
    let mut candidate = None;
    for line in smaps.lines() {
        let mut words = line.split_ascii_whitespace();
        let Some(first) = words.next() else { continue };
        match (first.strip_suffix(':'), words.next()) {
            (None, Some(access)) => candidate = words.last().and_then(|path| file_part(first, access, path)),
            (Some("Anonymous"), Some("0")) => found.extend(candidate.take()),
            _ => {}
        }
    }
    found
}

fn file_part(range: &str, access: &str, path: &str) -> Option<Unchanged> {
    let (start, end) = range.split_once('-')?;
    let (start, end) = (usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?);
    let file = path.starts_with('/') && matches!(access, "r-xp" | "r--p");
    file.then_some(Unchanged { start, length: end.checked_sub(start)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pages_of_files_that_were_never_written_are_given_back() {
        let part = |head: &str, anonymous: u32| {
            format!("{head}\nRss: 8 kB\nAnonymous: {anonymous} kB\nVmFlags: rd\n")
        };
        let map = [
            part("1000-3000 r--p 00000000 fe:00 12 /usr/bin/takt-agent", 0),
            part("3000-9000 r-xp 00002000 fe:00 12 /usr/bin/takt-agent", 0),
            part("9000-a000 r--p 00008000 fe:00 12 /usr/bin/takt-agent", 4),
            part("a000-b000 rw-p 00009000 fe:00 12 /usr/bin/takt-agent", 0),
            part("b000-c000 r-xp 00000000 00:00 0 [vdso]", 0),
            part("c000-d000 r--s 00000000 fe:00 13 /var/lib/shared", 0),
            part("d000-e000 r--p 00000000 00:00 0", 0),
        ];
        let parts = unchanged(&map.concat());
        let expected =
            [(0x1000, 0x2000), (0x3000, 0x6000)].map(|(start, length)| Unchanged { start, length });
        assert_eq!(parts, expected);
    }

    #[test]
    fn what_was_used_once_is_given_back_and_the_program_goes_on() {
        let kib = |name: &str| {
            let status = fs::read_to_string("/proc/self/status").unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok()).unwrap()
        };
        // Small blocks, each second one of which stays: the heap's end cannot move down past them.
        let blocks: Vec<Vec<u8>> = (0..40_000).map(|_| vec![1; 1_000]).collect();
        let kept: Vec<Vec<u8>> = blocks.into_iter().step_by(100).collect();
        let (heap, files) = (kib("RssAnon"), kib("RssFile"));
        give_back();
        assert!(kib("RssAnon") + 20_000 < heap, "{} KiB of {heap}", kib("RssAnon"));
        assert!(kib("RssFile") < files, "{} KiB of {files}", kib("RssFile"));
        assert!(kept.iter().flatten().all(|byte| *byte == 1));
    }
}
