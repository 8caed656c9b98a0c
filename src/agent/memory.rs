//! An idle agent is small: what it does not need while it waits goes back to the machine.
//!
//! Most of a resident agent is its own program: start-up and jobs touch pages of it that waiting for a job does not. They
//! are only views of the file, so that letting go of them costs a look into the page cache when they are needed again.

#[cfg(all(target_os = "linux", target_env = "gnu"))]
use std::ops::Range;

/// Gives back free memory of the allocator, and the program's own pages that nobody may write.
pub fn give_back() {
    crate::allocator::give_back();
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    for pages in program_pages() {
        let_go(&pages);
    }
}

/// The address ranges of the program file that are mapped without the right to write.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn program_pages() -> Vec<Range<usize>> {
    /// Called once for the program, and once for each of its libraries, of which a static program has none.
    unsafe extern "C" fn note(info: *mut libc::dl_phdr_info, _: usize, found: *mut libc::c_void) -> libc::c_int {
        // SAFETY: the C library hands out a valid description, and `found` is the vector below, borrowed by nobody else.
        let (info, found) = unsafe { (&*info, &mut *found.cast::<Vec<Range<usize>>>()) };
        // SAFETY: so many headers stand at this address, for as long as the program runs.
        let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) };
        let page = rustix::param::page_size();
        for header in headers.iter().filter(|header| header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_W == 0)
        {
            let begin = (info.dlpi_addr + header.p_vaddr) as usize;
            let end = begin + header.p_memsz as usize;
            // Whole pages: a part of one might belong to a neighbour.
            found.push(begin.next_multiple_of(page)..end / page * page);
        }
        1 // no more
    }
    let mut found: Vec<Range<usize>> = Vec::new();
    // SAFETY: `note` fits the C library's description of such a function, and `found` outlives the call.
    unsafe { libc::dl_iterate_phdr(Some(note), (&raw mut found).cast()) };
    found
}

/// Forgets that these pages were ever looked at; the next look finds them in the file again.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn let_go(pages: &Range<usize>) {
    if pages.is_empty() {
        return;
    }
    // SAFETY: these pages were mapped from the program's file and can never have been written: the next look finds the
    // same bytes in the file, as with any page that was not looked at before.
    let done = unsafe { rustix::mm::madvise(pages.start as *mut _, pages.len(), rustix::mm::Advice::LinuxDontNeed) };
    if let Err(error) = done {
        tracing::debug!(%error, "pages of the program stay resident");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Kibibytes of the program's file that are resident in this process.
    fn resident_file() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssFile:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    #[test]
    fn what_was_given_back_is_gone_and_can_be_used_again() {
        let pages = program_pages();
        assert!(pages.iter().map(Range::len).sum::<usize>() > 1 << 20, "{pages:?}");
        // Every page of it is looked at.
        let look = || {
            let bytes = pages.iter().flat_map(|pages| pages.clone().step_by(4096));
            // SAFETY: these addresses are mapped and may be read.
            bytes.map(|at| u64::from(unsafe { std::ptr::read_volatile(at as *const u8) })).sum::<u64>()
        };
        let before = look();
        let full = resident_file();
        give_back();
        let less = resident_file();
        assert!(less < full / 2, "{less} KiB of {full} KiB are still there");
        assert_eq!(look(), before);
    }
}
