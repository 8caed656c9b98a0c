//! Who dies first when memory runs out, and whether somebody did.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;

/// The shim's own, where it may: the shim must outlive its steps to tell of their end.
const SHIELDED: &str = "-900";

/// Takes the shim out of the kernel's aim where it is allowed to. Must be called while the process is still dumpable:
/// afterwards its /proc files belong to root. Returns the value that is in force.
pub fn shield() -> i32 {
    let _ = std::fs::write("/proc/self/oom_score_adj", SHIELDED);
    own_score()
}

fn own_score() -> i32 {
    std::fs::read_to_string("/proc/self/oom_score_adj").ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

/// The counter of processes that the sandbox's memory limit killed.
pub struct OomCounter(Option<File>);

impl OomCounter {
    /// Finds the counter of this process's control group, version 2 or 1. Without one nothing is ever counted.
    pub fn open() -> Self {
        Self(candidates().iter().find_map(|path| File::open(path).ok()))
    }

    /// How many so far.
    pub fn read(&self) -> u64 {
        let mut text = [0; 1024];
        let Some(length) = self.0.as_ref().and_then(|file| file.read_at(&mut text, 0).ok()) else { return 0 };
        count(&String::from_utf8_lossy(&text[..length.min(text.len())]))
    }
}

fn count(text: &str) -> u64 {
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok()).unwrap_or(0)
}

fn candidates() -> Vec<String> {
    let mut groups = String::new();
    if let Ok(file) = File::open("/proc/self/cgroup") {
        let _ = file.take(64 << 10).read_to_string(&mut groups);
    }
    let mut paths = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(group)) = (fields.next(), fields.next(), fields.next()) else { continue };
        if controllers.is_empty() {
            paths.push(format!("/sys/fs/cgroup{group}/memory.events"));
            paths.push("/sys/fs/cgroup/memory.events".to_owned());
        } else if controllers.split(',').any(|name| name == "memory") {
            // In a container the second is the container's own.
            paths.push(format!("/sys/fs/cgroup/memory{group}/memory.oom_control"));
            paths.push("/sys/fs/cgroup/memory/memory.oom_control".to_owned());
        }
    }
    paths
}

#[cfg(test)]
mod tests {
    use super::count;

    #[test]
    fn both_kinds_of_counter_are_understood() {
        assert_eq!(count("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"), 3);
        assert_eq!(count("low 0\nhigh 0\nmax 7\noom 1\noom_kill 2\noom_group_kill 0\n"), 2);
        assert_eq!(count("under_oom 0\n"), 0);
    }
}
