//! Whether a host sandbox still lives, and what of it does.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::time::{Instant, sleep};

use super::super::SandboxRecord;
use super::super::shim::process::tree::{self, Process};
use super::super::shim::process::{HOST_ARGUMENT, MARK_VARIABLE};
use super::HostError;

/// Longest environment or command line that is searched for a mark, bytes.
const LIMIT: u64 = 4 << 20;
/// How long processes may take to be gone after SIGKILL.
const KILL_FOR: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(10);

/// The id of this boot of the machine.
pub fn boot_id() -> io::Result<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    Ok(text.trim().to_owned())
}

/// What tells the processes of one sandbox from all others: in the environment of its steps and the arguments of its
/// shim and keepers. Follows from the run directory, so that it needs no record.
pub fn mark(run: &Path) -> String {
    hex::encode(&Sha256::digest(run.as_os_str().as_bytes())[..16])
}

/// Why the shim of a record is not there any more; `None` where it is.
pub fn why_gone(record: &SandboxRecord) -> io::Result<Option<String>> {
    let SandboxRecord::Host { pid, start_time, boot_id: then } = record else {
        return Ok(Some("the record is not that of a host sandbox".into()));
    };
    if *then != boot_id()? {
        return Ok(Some("the machine was started anew while the job ran".into()));
    }
    let is_it = |found: &Process| found.start_time == *start_time && found.lives;
    let found = i32::try_from(*pid).ok().and_then(tree::process).filter(is_it);
    Ok(match found {
        Some(_) => None,
        None => Some(format!("the job's supervisor (process {pid}) was killed or crashed")),
    })
}

/// Waits until a shim that has said that it ends has done so, for `limit` at most.
pub(super) async fn until_gone(record: &SandboxRecord, limit: Duration) -> io::Result<()> {
    let until = Instant::now() + limit;
    while why_gone(record)?.is_none() && Instant::now() < until {
        sleep(LOOK / 4).await;
    }
    Ok(())
}

/// Ends a shim that does not end itself, and its descendants.
pub(super) async fn end_tree(pid: u32, start_time: u64) -> Result<(), HostError> {
    let Ok(pid) = i32::try_from(pid) else { return Ok(()) };
    end(move |all| {
        let root = all.iter().find(|p| p.pid == pid && p.start_time == start_time);
        let Some(root) = root else { return Vec::new() };
        let mut members = tree::below(all, [pid]);
        members.push(*root);
        members
    })
    .await
}

/// Ends what carries the mark, and what descends from it.
pub async fn end_marked(mark: &str) -> Result<(), HostError> {
    let variable = format!("{MARK_VARIABLE}={mark}");
    let arguments = format!("{HOST_ARGUMENT}\0{mark}\0");
    let own = std::process::id() as i32;
    end(move |all| {
        let marked = |p: &&Process| p.pid != own && p.lives && is_marked(p.pid, &variable, &arguments);
        let roots: Vec<Process> = all.iter().filter(marked).copied().collect();
        let mut members = tree::below(all, roots.iter().map(|p| p.pid));
        members.extend(roots);
        members.retain(|p| p.pid != own);
        members
    })
    .await
}

async fn end<M>(members: M) -> Result<(), HostError>
where
    M: Fn(&[Process]) -> Vec<Process> + Clone + Send + 'static,
{
    let until = Instant::now() + KILL_FOR;
    loop {
        let members = members.clone();
        let left = tokio::task::spawn_blocking(move || {
            let left = tree::living(&members);
            if !left.is_empty() {
                tree::kill_all(&members);
            }
            left
        });
        let left = left.await.map_err(io::Error::other)?;
        if left.is_empty() {
            return Ok(());
        }
        if Instant::now() >= until {
            return Err(HostError::LeftBehind { pids: left.iter().map(|p| p.pid).collect() });
        }
        sleep(LOOK).await;
    }
}

fn is_marked(pid: i32, variable: &str, arguments: &str) -> bool {
    let read = |name: &str| {
        let mut bytes = Vec::new();
        // What may not be read belongs to another user, so not to this sandbox.
        let _ = File::open(format!("/proc/{pid}/{name}")).and_then(|file| file.take(LIMIT).read_to_end(&mut bytes));
        bytes
    };
    let environment = read("environ");
    if environment.split(|byte| *byte == 0).any(|entry| entry == variable.as_bytes()) {
        return true;
    }
    let line = read("cmdline");
    let program = line.split(|byte| *byte == 0).next().unwrap_or_default();
    // The whole command line, not a part of somebody's text that happens to quote it.
    line.len() == program.len() + 1 + arguments.len()
        && line.ends_with(arguments.as_bytes())
        && Path::new(OsStr::from_bytes(program)).file_name().is_some()
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    use super::*;

    #[tokio::test]
    async fn exactly_the_marked_processes_and_their_descendants_end() {
        let dir = tempfile::tempdir().unwrap();
        let mark = mark(dir.path());
        let ready = dir.path().join("ready");
        rustix::fs::mkfifoat(rustix::fs::CWD, &ready, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
        // The child has no mark of its own and says when it is there.
        let script = format!("env -i /bin/sh -c 'echo > {}; exec sleep 1000' & wait", ready.display());
        let mut ours = Command::new("/bin/sh").args(["-c", &script]).env(MARK_VARIABLE, &mark).spawn().unwrap();
        std::fs::read(&ready).unwrap();
        let children = tree::below(&tree::snapshot().unwrap(), [ours.id() as i32]);
        assert_eq!(children.len(), 1);
        let mut other = Command::new("/bin/sleep").arg("1000").spawn().unwrap();
        let mut namesake = Command::new("/bin/sleep").arg0("forgehand-shim").arg("1000").spawn().unwrap();
        end_marked(&mark).await.unwrap();
        assert!(!ours.wait().unwrap().success());
        assert!(tree::process(children[0].pid).is_none_or(|p| !p.lives), "a descendant lives");
        assert!(other.try_wait().unwrap().is_none(), "an unmarked process was ended");
        assert!(namesake.try_wait().unwrap().is_none(), "the name alone is no mark");
        for stranger in [&mut other, &mut namesake] {
            stranger.kill().unwrap();
            stranger.wait().unwrap();
        }
    }

    #[test]
    fn a_process_is_known_by_more_than_its_number() {
        let me = tree::process(std::process::id() as i32).unwrap();
        let record = |start_time, boot_id: String| SandboxRecord::Host { pid: std::process::id(), start_time, boot_id };
        let boot = boot_id().unwrap();
        assert_eq!(why_gone(&record(me.start_time, boot.clone())).unwrap(), None);
        assert!(why_gone(&record(me.start_time + 1, boot)).unwrap().unwrap().contains("killed"));
        assert!(why_gone(&record(me.start_time, "another".into())).unwrap().unwrap().contains("started anew"));
    }
}
