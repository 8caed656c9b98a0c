//! Starts a host sandbox's shim so that it belongs to nobody: not to the agent's session, not to its process tree.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Gid, Uid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use super::super::SandboxRecord;
use super::super::shim::SHIM_NAME;
use super::super::shim::process::HOST_ARGUMENT;
use super::super::shim::process::user::Identity;
use super::{HostError, HostSpec, leftovers};
use crate::executor::ordinary::be_ordinary;

/// What steps get of the agent's own environment.
const INHERITED: [&str; 8] = ["PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "SHELL", "TERM"];
/// How long the shim may take until it listens.
const LISTENS_WITHIN: Duration = Duration::from_secs(20);
/// How long its file may be busy.
const BUSY: Duration = Duration::from_secs(5);
/// Longest answer of a shim that starts, bytes.
const ANSWER: u64 = 4096;

/// Starts the shim and waits until it listens.
pub(super) async fn start(spec: &HostSpec<'_>, who: Option<Identity>) -> Result<SandboxRecord, HostError> {
    let link = link(spec).await?;
    let failed = |what: String| HostError::Start { path: link.display().to_string(), what };
    // By a handle: the user may not be allowed to pass the folders above, and need not be.
    let binary = File::open(&link)?;
    let mut command = Command::new(format!("/proc/self/fd/{}", binary.as_raw_fd()));
    command.arg0(SHIM_NAME).arg(HOST_ARGUMENT).arg(leftovers::mark(&spec.paths.run));
    command.current_dir(&spec.paths.run);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    environment(&mut command, spec, who.as_ref());
    // Before the user changes: the agent may have privileges that jobs must not inherit.
    // SAFETY: bare system calls only.
    unsafe {
        command.pre_exec(be_ordinary);
    }
    if let Some(who) = who {
        change_user(&mut command, who);
    }
    let mut child = spawn(&mut command).await.map_err(|error| failed(error.to_string()))?;
    let answer = match timeout(LISTENS_WITHIN, introduce(&mut child, spec)).await {
        Ok(answer) => answer?,
        Err(_) => return Err(failed(format!("it does not listen after {} s", LISTENS_WITHIN.as_secs()))),
    };
    let (pid, start_time) = parse(&answer.0).ok_or_else(|| failed(answer.1))?;
    Ok(SandboxRecord::Host { pid, start_time, boot_id: leftovers::boot_id()? })
}

/// Starts the command. A file that was just written is busy as long as some child of ours, forked meanwhile and not yet
/// at its exec, has it open for writing: that passes.
async fn spawn(command: &mut Command) -> io::Result<Child> {
    let until = Instant::now() + BUSY;
    loop {
        match command.spawn() {
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy && Instant::now() < until => {
                sleep(Duration::from_millis(5)).await;
            }
            other => return other,
        }
    }
}

/// Puts the binary beside the run directory, under the name by which it knows that it is the shim.
async fn link(spec: &HostSpec<'_>) -> io::Result<PathBuf> {
    let folder = spec.paths.run.parent().unwrap_or(Path::new("/")).to_owned();
    let (from, to) = (spec.shim.path.clone(), folder.join(SHIM_NAME));
    let linked = tokio::task::spawn_blocking(move || {
        match std::fs::remove_file(&to) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        match std::fs::hard_link(&from, &to) {
            // Another file system, or one without links.
            Err(_) => std::fs::copy(&from, &to).map(|_| to),
            Ok(()) => Ok(to),
        }
    });
    linked.await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

fn environment(command: &mut Command, spec: &HostSpec<'_>, who: Option<&Identity>) {
    command.env_clear();
    command.envs(INHERITED.iter().filter_map(|name| Some((*name, std::env::var_os(name)?))));
    match who {
        Some(who) => drop(who.home.as_ref().map(|home| command.env("HOME", home))),
        None => drop(std::env::var_os("HOME").map(|home| command.env("HOME", home))),
    }
    command.envs(spec.env.iter().map(|(name, value)| (name, value)));
}

fn change_user(command: &mut Command, who: Identity) {
    let groups: Vec<Gid> = who.groups.iter().filter(|gid| **gid != u32::MAX).map(|gid| Gid::from_raw(*gid)).collect();
    // SAFETY: bare system calls only; `groups` was made before the fork.
    unsafe {
        command.pre_exec(move || {
            if who.uid == u32::MAX || who.gid == u32::MAX {
                return Err(io::Error::from_raw_os_error(libc::EINVAL));
            }
            let (uid, gid) = (Uid::from_raw(who.uid), Gid::from_raw(who.gid));
            set_thread_groups(&groups)?;
            set_thread_res_gid(gid, gid, gid)?;
            set_thread_res_uid(uid, uid, uid)?;
            Ok(())
        });
    }
}

/// Gives the shim its key and reads who it has become. What it says on stderr is the reason where it is nobody.
async fn introduce(child: &mut Child, spec: &HostSpec<'_>) -> io::Result<(String, String)> {
    let (mut answer, mut complaint) = (Vec::new(), Vec::new());
    if let Some(mut stdin) = child.stdin.take() {
        // A shim that is gone says why; that its pipe is closed is not the reason.
        let _ = stdin.write_all(&spec.key.to_bytes()).await;
    }
    if let Some(stdout) = child.stdout.take() {
        stdout.take(ANSWER).read_to_end(&mut answer).await?;
    }
    if let Some(stderr) = child.stderr.take() {
        stderr.take(ANSWER).read_to_end(&mut complaint).await?;
    }
    let status = child.wait().await?;
    let mut complaint = String::from_utf8_lossy(&complaint).trim().to_owned();
    if complaint.is_empty() {
        complaint = format!("it ended with {status} and said nothing");
    }
    Ok((String::from_utf8_lossy(&answer).into_owned(), complaint))
}

fn parse(answer: &str) -> Option<(u32, u64)> {
    let (pid, start_time) = answer.trim().split_once(' ')?;
    Some((pid.parse().ok()?, start_time.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn only_a_whole_introduction_is_understood() {
        assert_eq!(parse("42 4711\n"), Some((42, 4711)));
        for bad in ["", "42", "x y", "42 "] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }
}
