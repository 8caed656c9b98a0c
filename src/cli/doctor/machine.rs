//! Checks of the machine itself.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use futures_util::future::BoxFuture;

use super::super::render;
use super::{Check, Finding};
use crate::state::{StateDir, StateLock};

/// Oldest git whose options the agent uses (`--no-write-fetch-head`, `GIT_CONFIG_GLOBAL`).
const OLDEST_GIT: (u32, u32) = (2, 32);

/// Below this no job can work.
const LITTLE_SPACE: u64 = 1 << 30;

/// Below this an ordinary day of jobs may fill the disk.
const SOME_SPACE: u64 = 10 << 30;

/// Fewer files than this can still be made: a checkout of one large project.
const FEW_FILES: u64 = 100_000;

/// The state directory can be used, by us alone.
pub struct StateDirectory {
    /// Where it is, or will be.
    pub path: PathBuf,
}

impl Check for StateDirectory {
    fn name(&self) -> String {
        "state directory".into()
    }

    fn look(&self) -> BoxFuture<'_, Finding> {
        Box::pin(async {
            let dir = match StateDir::open(&self.path) {
                Ok(dir) => dir,
                Err(error) => return Finding::failed(error.to_string(), "or run this as the user that runs the agent"),
            };
            match StateLock::holder(&dir) {
                Ok(Some(holder)) => Finding::Ok(format!("{}, in use by process {}", self.path.display(), holder.pid)),
                Ok(None) => Finding::Ok(format!("{}, no agent runs there", self.path.display())),
                Err(error) => Finding::failed(
                    format!("its lock cannot be looked at: {error}"),
                    "run this as the user that runs the agent",
                ),
            }
        })
    }
}

/// There is room for jobs.
pub struct DiskSpace {
    /// A place on the file system in question.
    pub path: PathBuf,
}

impl Check for DiskSpace {
    fn name(&self) -> String {
        "disk space".into()
    }

    fn look(&self) -> BoxFuture<'_, Finding> {
        Box::pin(async {
            let Some(existing) = self.path.ancestors().find(|path| path.exists()) else {
                return Finding::failed("no part of the state directory's path exists", "name another --state-dir");
            };
            match rustix::fs::statvfs(existing) {
                Ok(fs) => space(existing, fs.f_bavail.saturating_mul(fs.f_frsize), fs.f_files, fs.f_favail),
                Err(error) => Finding::failed(
                    format!("{} cannot be asked: {error}", existing.display()),
                    "see whether the file system is mounted and sound (`dmesg`)",
                ),
            }
        })
    }
}

/// `files` is 0 where the file system makes them as needed.
fn space(path: &Path, free: u64, files: u64, files_free: u64) -> Finding {
    let found = format!("{} free at {}", render::size(free), path.display());
    let fix = "free some space, or name a --state-dir on another disk";
    if free < LITTLE_SPACE {
        Finding::failed(found, fix)
    } else if files > 0 && files_free < FEW_FILES {
        Finding::warning(format!("only {files_free} more files can be made at {}", path.display()), fix)
    } else if free < SOME_SPACE {
        Finding::warning(found, fix)
    } else {
        Finding::Ok(found)
    }
}

/// git is there and new enough.
pub struct Git {
    /// How it is called.
    pub program: PathBuf,
}

impl Check for Git {
    fn name(&self) -> String {
        "git".into()
    }

    fn look(&self) -> BoxFuture<'_, Finding> {
        Box::pin(async {
            let command = tokio::process::Command::new(&self.program)
                .arg("--version")
                .env("LC_ALL", "C")
                .stdin(Stdio::null())
                .kill_on_drop(true)
                .output();
            match command.await {
                Ok(output) if output.status.success() => git_version(&String::from_utf8_lossy(&output.stdout)),
                Ok(output) => Finding::failed(format!("`git --version` ended with {}", output.status), INSTALL_GIT),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    Finding::failed("git is not installed", INSTALL_GIT)
                }
                Err(error) => Finding::failed(format!("git cannot be run: {error}"), INSTALL_GIT),
            }
        })
    }
}

const INSTALL_GIT: &str = "install it, as in `apt-get install git`";

fn git_version(said: &str) -> Finding {
    let version = said.trim().trim_start_matches("git version ").to_owned();
    let mut parts = version.split('.').map_while(|part| part.parse::<u32>().ok());
    let (oldest, minor) = OLDEST_GIT;
    match (parts.next(), parts.next()) {
        (Some(major), Some(second)) if (major, second) >= OLDEST_GIT => Finding::Ok(version),
        (Some(_), Some(_)) => {
            Finding::failed(format!("{version} is too old"), format!("install git {oldest}.{minor} or newer"))
        }
        _ => Finding::warning(format!("`{version}` is no version"), "see whether `git` is the real one"),
    }
}

/// The kernel confines git to the workspace it works in.
pub struct Landlock;

impl Check for Landlock {
    fn name(&self) -> String {
        "landlock".into()
    }

    fn look(&self) -> BoxFuture<'_, Finding> {
        Box::pin(async {
            match landlock_version() {
                Ok(version) => Finding::Ok(format!("git is confined to the workspace it works in (ABI {version})")),
                Err(error) => Finding::warning(
                    format!("git is not confined to the workspace it works in: the kernel says `{error}`"),
                    "boot a kernel of 5.13 or newer with `landlock` among its `lsm=` modules",
                ),
            }
        })
    }
}

/// The version of landlock that the kernel offers.
fn landlock_version() -> io::Result<i64> {
    const VERSION_ONLY: libc::c_uint = 1;
    // SAFETY: with this flag the call takes no pointer and no size, makes nothing, and returns a number.
    let version = unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<libc::c_void>(), 0_usize, VERSION_ONLY)
    };
    if version < 0 { Err(io::Error::last_os_error()) } else { Ok(version) }
}

/// Limits of jobs can be enforced.
pub struct ControlGroups {
    /// Where the hierarchy is mounted.
    pub root: PathBuf,
}

impl Check for ControlGroups {
    fn name(&self) -> String {
        "limits".into()
    }

    fn look(&self) -> BoxFuture<'_, Finding> {
        Box::pin(async {
            let (version, missing) = match std::fs::read_to_string(self.root.join("cgroup.controllers")) {
                Ok(controllers) => (2, missing(|name| controllers.split_whitespace().any(|one| one == name))),
                Err(_) => (1, missing(|name| self.root.join(name).is_dir())),
            };
            if missing.is_empty() {
                return Finding::Ok(format!("memory, cpu and pids can be limited (cgroup v{version})"));
            }
            Finding::warning(
                format!("{} cannot be limited (cgroup v{version})", missing.join(", ")),
                "boot with these controllers (`cgroup_enable=memory swapaccount=1`), or the engine cannot hold jobs back",
            )
        })
    }
}

fn missing(is_there: impl Fn(&str) -> bool) -> Vec<&'static str> {
    ["memory", "cpu", "pids"].into_iter().filter(|name| !is_there(name)).collect()
}

/// There is nothing to serve.
pub struct NoRegistration;

impl Check for NoRegistration {
    fn name(&self) -> String {
        "registrations".into()
    }

    fn look(&self) -> BoxFuture<'_, Finding> {
        Box::pin(async { Finding::warning("there is none", "add one with `forgehand register`") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_failed(finding: &Finding) -> bool {
        matches!(finding, Finding::Failed { .. })
    }

    #[test]
    fn little_space_is_told_before_it_is_none() {
        let path = Path::new("/x");
        assert!(is_failed(&space(path, 1 << 20, 0, 0)));
        assert!(matches!(space(path, 5 << 30, 0, 0), Finding::Warning { .. }));
        assert!(matches!(space(path, 100 << 30, 1000, 3), Finding::Warning { .. }), "inodes run out, too");
        assert_eq!(space(path, 100 << 30, 0, 0), Finding::Ok("100.0 GiB free at /x".into()));
    }

    #[test]
    fn an_old_git_is_told_from_a_new_one() {
        assert_eq!(git_version("git version 2.39.5\n"), Finding::Ok("2.39.5".into()));
        assert_eq!(git_version("git version 2.50.1 (Apple Git-155)"), Finding::Ok("2.50.1 (Apple Git-155)".into()));
        assert!(is_failed(&git_version("git version 2.25.1")));
        assert!(matches!(git_version("hub"), Finding::Warning { .. }));
    }

    #[tokio::test]
    async fn a_missing_git_and_a_directory_that_cannot_be_made_come_with_a_fix() {
        assert!(is_failed(&Git { program: "/nonexistent/git".into() }.look().await));
        let file = tempfile::NamedTempFile::new().unwrap();
        let found = StateDirectory { path: file.path().join("below") }.look().await;
        assert!(is_failed(&found), "{found:?}");
        assert!(matches!(Git { program: "git".into() }.look().await, Finding::Ok(_)));
        assert!(!is_failed(&ControlGroups { root: "/nonexistent".into() }.look().await));
    }
}
