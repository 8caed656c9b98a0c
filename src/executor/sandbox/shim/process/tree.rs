//! Processes and their descendants, from /proc. Also used by the agent, for a host sandbox whose shim is dead.

use std::collections::{HashMap, HashSet};
use std::io::{self, Read};

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};

/// One process at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Process {
    /// Its id.
    pub pid: i32,
    /// Its parent's id.
    pub parent: i32,
    /// Its session.
    pub session: i32,
    /// Clock ticks after boot: tells it from a later process of the same id.
    pub start_time: u64,
    /// Whether it can still do anything: neither a zombie nor dead.
    pub lives: bool,
}

/// A pass of stopping before a pass of killing is repeated at most this often; a fork bomb is caught in two or three.
const STOP_PASSES: usize = 64;

fn parse_stat(text: &str) -> Option<Process> {
    // `pid (name) state ppid pgrp session …`: the name may hold spaces and parentheses, so from the last one on.
    let (head, rest) = text.rsplit_once(')')?;
    let pid = head.split_once(' ')?.0.parse().ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    let session = fields.nth(1)?.parse().ok()?;
    let start_time = fields.nth(15)?.parse().ok()?;
    Some(Process { pid, parent, session, start_time, lives: !matches!(state, "Z" | "X" | "x") })
}

/// The process `pid` as it is now; `None` where there is none.
pub fn process(pid: i32) -> Option<Process> {
    let mut text = [0_u8; 1024];
    let mut file = std::fs::File::open(format!("/proc/{pid}/stat")).ok()?;
    let length = file.read(&mut text).ok()?;
    // A name can be any bytes; what counts is behind it.
    parse_stat(&String::from_utf8_lossy(text.get(..length)?))
}

/// All processes that this process can see. Those that end meanwhile may be missing.
pub fn snapshot() -> io::Result<Vec<Process>> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let Ok(entry) = entry else { continue };
        if let Some(found) = entry.file_name().to_str().and_then(|name| name.parse().ok()).and_then(process) {
            all.push(found);
        }
    }
    Ok(all)
}

/// Everything below `roots`, without the roots themselves.
pub fn below(all: &[Process], roots: impl IntoIterator<Item = i32>) -> Vec<Process> {
    let mut children: HashMap<i32, Vec<Process>> = HashMap::new();
    for process in all {
        children.entry(process.parent).or_default().push(*process);
    }
    let mut found = Vec::new();
    let mut open: Vec<i32> = roots.into_iter().collect();
    let mut seen: HashSet<i32> = open.iter().copied().collect();
    while let Some(pid) = open.pop() {
        for child in children.get(&pid).into_iter().flatten() {
            if seen.insert(child.pid) {
                open.push(child.pid);
                found.push(*child);
            }
        }
    }
    found
}

/// Sends a signal to exactly this process, not to a later one that got its id. Whether it was sent.
pub fn signal(to: &Process, signal: Signal) -> bool {
    let Some(pid) = Pid::from_raw(to.pid) else { return false };
    let is_the_same = || process(to.pid).is_some_and(|now| now.start_time == to.start_time);
    match pidfd_open(pid, PidfdFlags::empty()) {
        // The descriptor is opened first and checked after: from then on it cannot mean anybody else.
        Ok(handle) => is_the_same() && pidfd_send_signal(&handle, signal).is_ok(),
        // Kernels and seccomp profiles without pidfd.
        Err(Errno::NOSYS | Errno::PERM) => is_the_same() && kill_process(pid, signal).is_ok(),
        Err(_) => false,
    }
}

/// Kills what `members` selects, faster than it can multiply: stops everything until no pass finds anything new, then
/// kills. Returns how many living members there were at last; call again until it is 0.
pub fn kill_all(members: impl Fn(&[Process]) -> Vec<Process>) -> usize {
    let mut stopped = HashSet::new();
    for _ in 0..STOP_PASSES {
        let before = stopped.len();
        for process in living(&members) {
            if stopped.insert((process.pid, process.start_time)) {
                signal(&process, Signal::STOP);
            }
        }
        if stopped.len() == before {
            break;
        }
    }
    let last = living(&members);
    for process in &last {
        signal(process, Signal::KILL);
    }
    last.len()
}

/// The living members at this moment.
pub fn living(members: &impl Fn(&[Process]) -> Vec<Process>) -> Vec<Process> {
    let all = snapshot().unwrap_or_default();
    members(&all).into_iter().filter(|process| process.lives).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn a(pid: i32, parent: i32) -> Process {
        Process { pid, parent, session: 1, start_time: 1, lives: true }
    }

    #[test]
    fn a_hostile_process_name_does_not_shift_the_fields() {
        let line = "7 (a) R 1 (b) Z) S 3 7 5 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4242 1000 1 18446744073709551615";
        assert_eq!(parse_stat(line), Some(Process { pid: 7, parent: 3, session: 5, start_time: 4242, lives: true }));
    }

    #[test]
    fn descendants_are_found_at_every_depth_and_nobody_else() {
        let all = [a(1, 0), a(2, 1), a(3, 2), a(4, 3), a(5, 1), a(6, 6)];
        let mut pids: Vec<i32> = below(&all, [2]).iter().map(|p| p.pid).collect();
        pids.sort_unstable();
        assert_eq!(pids, [3, 4]);
    }

    #[test]
    fn this_process_sees_itself() {
        let me = process(std::process::id() as i32).unwrap();
        assert!(me.lives && me.start_time > 0);
        assert!(snapshot().unwrap().contains(&me));
    }
}
