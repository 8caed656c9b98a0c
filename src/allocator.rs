//! Where the program's memory comes from.
//!
//! A pipeline of thousands of jobs is a million small things: the C library's allocator takes as long for them as libyaml for the
//! text (`scripts/bench parser`). Huge pages are for commands that read such pipelines and end; the agent and the shim stay small.

use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// `mi_option_purge_delay` in mimalloc.h, which the crate does not name: after so many milliseconds free pages go back to the machine;
/// -1: never. Going back in small pieces breaks big pages.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

/// Milliseconds that are enough for memory that is needed again at once.
const SOON: std::ffi::c_long = 10;

/// What is freed goes back to the machine soon. Tables that grow leave behind as much as they take, and for a second, which is what the
/// allocator waits, it is all there at the same time.
pub fn stay_small() {
    // SAFETY: an option is a number, and may be set at any time.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, SOON) };
}

/// Gives what is free back to the machine: what the allocator keeps for the calling thread, and of threads that are gone.
pub fn give_back() {
    // SAFETY: takes a plain truth, and may be called at any time.
    unsafe { libmimalloc_sys::mi_collect(true) };
}

/// Much memory will be used and the process ends soon: new pages come from the machine in big pieces, where it has such, and what
/// is free is kept. To be called first of all: what was used before stays in small pieces.
pub fn expect_much() {
    // SAFETY: an option is a number, and may be set at any time.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, -1) };
    #[cfg(target_os = "linux")]
    if let Err(error) = advise_huge_pages() {
        tracing::debug!(%error, "no huge pages");
    }
}

/// Asks for huge pages where the allocator has reserved addresses for the heap. Where it has not, nothing is done.
#[cfg(target_os = "linux")]
fn advise_huge_pages() -> std::io::Result<()> {
    use rustix::mm::{Advice, madvise};
    /// The allocator reserves a GiB; a smaller mapping is none of its own.
    const SMALLEST: usize = 64 << 20;
    let somewhere = Box::new(0_u64);
    let somewhere = std::ptr::from_ref(&*somewhere).addr();
    let maps = std::fs::read_to_string("/proc/self/maps")?;
    let Some(heap) = maps.lines().filter_map(addresses).find(|range| range.contains(&somewhere)) else { return Ok(()) };
    if heap.len() < SMALLEST {
        return Ok(());
    }
    // SAFETY: advice about how pages are backed; what is in them stays as it is.
    Ok(unsafe { madvise(std::ptr::with_exposed_provenance_mut(heap.start), heap.len(), Advice::LinuxHugepage) }?)
}

/// The addresses at the beginning of a line of `/proc/self/maps`.
#[cfg(target_os = "linux")]
fn addresses(line: &str) -> Option<std::ops::Range<usize>> {
    let (start, end) = line.split_once(' ')?.0.split_once('-')?;
    Some(usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The crate's number for an option may become another's with a new version of the allocator.
    #[test]
    fn free_pages_go_back_after_a_second() {
        // SAFETY: reads a number.
        assert_eq!(unsafe { libmimalloc_sys::mi_option_get(PURGE_DELAY) }, 1_000);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_heap_is_given_huge_pages_and_works_on() {
        match advise_huge_pages() {
            Ok(()) => assert!(heap_flags().split_whitespace().any(|flag| flag == "hg"), "{}", heap_flags()),
            // Refused by kernels that were built without them, and by them alone.
            Err(error) => assert_eq!(error.raw_os_error(), Some(libc::EINVAL)),
        }
        let many: Vec<String> = (0..100_000).map(|number| number.to_string()).collect();
        assert_eq!(many.iter().map(String::len).sum::<usize>(), 488_890);
        drop(many);
        give_back();
    }

    /// What the kernel says of the mapping that the heap is in.
    #[cfg(target_os = "linux")]
    fn heap_flags() -> String {
        let somewhere = Box::new(0_u64);
        let somewhere = std::ptr::from_ref(&*somewhere).addr();
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut lines = smaps.lines();
        lines.find(|line| addresses(line).is_some_and(|range| range.contains(&somewhere))).unwrap();
        lines.find_map(|line| line.strip_prefix("VmFlags:")).unwrap().to_owned()
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_line_of_maps_begins_with_its_addresses() {
        let range = addresses("559c2000000-559c4000000 rw-p 00000000 00:00 0 [anon]");
        assert_eq!(range, Some(0x559_c200_0000..0x559_c400_0000));
        assert_eq!(addresses("nothing"), None);
    }
}
