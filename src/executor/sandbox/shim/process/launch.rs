//! From a step's message to its running process.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::{Mode, OFlags, open};
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};
use rustix::process::{Gid, Uid, setsid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use super::super::wire::{ProgramWire, StepWire};
use super::user::Identity;
use super::{keeper, shell, user};

/// Of each pipe, bytes: lets a step run on while the spool thread writes a batch.
const PIPE: usize = 256 << 10;
/// For a step whose entrypoint left no PATH at all.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What every step of this shim starts from.
pub struct Ground {
    /// The environment that the entrypoint left.
    pub environment: Vec<(OsString, OsString)>,
    /// Our user.
    pub uid: u32,
    /// Our group.
    pub gid: u32,
    /// Our own out-of-memory score; where it is negative steps have 0.
    pub oom_score: i32,
}

/// A step that runs.
pub struct Launched {
    /// The process above the step's.
    pub keeper: i32,
    /// What the keeper says.
    pub words: OwnedFd,
}

/// Where a step's output goes: standard output and standard error, each from the shim's side and from the step's.
pub struct Pipes {
    /// For the spool thread.
    pub read: [OwnedFd; 2],
    /// For the step. To be dropped when it has been started, or the end of its output would never come.
    pub write: [OwnedFd; 2],
}

impl Pipes {
    /// New ones.
    pub fn new() -> io::Result<Self> {
        let (stdout, stdout_end) = output_pipe()?;
        let (stderr, stderr_end) = output_pipe()?;
        Ok(Self { read: [stdout, stderr], write: [stdout_end, stderr_end] })
    }
}

/// A step that did not start: what its user reads, and the exit code by the shell's convention.
pub struct NotLaunched {
    /// One line.
    pub remark: String,
    /// 126, 127, or 1.
    pub code: i32,
}

/// Checks what can be known to be wrong before anything is done. The reason is for the agent.
pub fn check(step: &StepWire) -> Result<(), String> {
    let nul = |text: &str| text.contains('\0');
    if !step.cwd.starts_with('/') || nul(&step.cwd) {
        return Err(format!("the working directory `{}` is no absolute path", step.cwd.escape_debug()));
    }
    let bad_name = |name: &str| name.is_empty() || name.contains('=') || nul(name);
    if let Some((name, _)) = step.env.iter().find(|(name, value)| bad_name(name) || nul(value.0.expose())) {
        return Err(format!("the variable `{}` cannot be part of an environment", name.escape_debug()));
    }
    match &step.program {
        ProgramWire::Argv(argv) if argv.is_empty() => Err("the step names no program".into()),
        ProgramWire::Argv(argv) if argv.iter().any(|word| nul(word)) => Err("an argument contains a NUL byte".into()),
        ProgramWire::FirstOf(programs, _) if programs.is_empty() => Err("the step names no program".into()),
        ProgramWire::FirstOf(programs, arguments) if programs.iter().chain(arguments).any(|word| nul(word)) => {
            Err("an argument contains a NUL byte".into())
        }
        _ if step.path.iter().any(|folder| nul(folder)) => Err("a folder for PATH contains a NUL byte".into()),
        ProgramWire::Argv(_) | ProgramWire::FirstOf(..) | ProgramWire::Shell(_) => Ok(()),
    }
}

/// Finds the step's user, where it is to be another than the shim's.
pub fn identity(step: &StepWire, ground: &Ground) -> Result<Option<Identity>, String> {
    let Some(wanted) = step.user.as_deref().filter(|user| !user.is_empty()) else { return Ok(None) };
    let found = user::resolve(wanted, Path::new("/etc")).map_err(|error| error.to_string())?;
    if ground.uid == 0 {
        return Ok(Some(found));
    }
    if found.uid == ground.uid && found.gid == ground.gid {
        return Ok(None);
    }
    Err(format!(
        "cannot run the step as `{wanted}`: the container runs as uid {} and only root can change the user; \
         leave the step's user out, or let the image and its entrypoint run as root",
        ground.uid
    ))
}

/// Starts the step's process below a keeper.
pub fn launch(
    step: &StepWire,
    who: Option<Identity>,
    ground: &Ground,
    output: &[OwnedFd; 2],
) -> Result<Launched, NotLaunched> {
    let search = search_path(step, ground);
    let (mut command, name) = command(step, &search)?;
    make_folder(Path::new(&step.cwd), who.as_ref()).map_err(|error| NotLaunched {
        remark: format!("forgehand: cannot use the working directory {}: {error}\n", step.cwd),
        code: 1,
    })?;
    environment(&mut command, step, who.as_ref(), ground);
    command.env("PATH", &search);
    command.current_dir(&step.cwd);
    start(command, who, ground, output).map_err(|error| not_started(&name, &error))
}

fn command(step: &StepWire, search: &OsStr) -> Result<(Command, String), NotLaunched> {
    let no_input = |error: io::Error| NotLaunched {
        remark: format!("forgehand: cannot keep the step's script in memory: {error}\n"),
        code: 1,
    };
    let (mut command, name, script) = match &step.program {
        ProgramWire::Shell(script) => {
            let missing = || NotLaunched { remark: shell::NOT_FOUND.to_owned(), code: 1 };
            let shell = shell::find().ok_or_else(missing)?;
            (Command::new(shell), shell.to_owned(), script.0.expose())
        }
        ProgramWire::Argv(argv) => {
            // `check` has refused an empty list.
            let name = argv.first().cloned().unwrap_or_default();
            let mut command = Command::new(&name);
            command.args(argv.iter().skip(1));
            (command, name, "")
        }
        ProgramWire::FirstOf(programs, arguments) => {
            let name = programs.iter().find(|name| exists(name, search)).ok_or_else(|| NotLaunched {
                remark: format!("forgehand: cannot start {}: not found in PATH\n", programs.join(", nor ")),
                code: 127,
            })?;
            let mut command = Command::new(name);
            command.args(arguments);
            (command, name.clone(), "")
        }
    };
    command.stdin(shell::script_file(script).map_err(no_input)?);
    Ok((command, name))
}

/// The PATH of the step.
fn search_path(step: &StepWire, ground: &Ground) -> OsString {
    let of_ground = ground.environment.iter().find(|(name, _)| name == "PATH").map(|(_, value)| value.clone());
    let of_step = step.env.iter().rev().find(|(name, _)| name == "PATH").map(|(_, value)| value.0.expose().into());
    let mut search = OsString::new();
    for folder in &step.path {
        search.push(folder);
        search.push(":");
    }
    search.push(of_step.or(of_ground).unwrap_or_else(|| DEFAULT_PATH.into()));
    search
}

/// Whether `program`, a path or a name to look for in `search`, can be started.
fn exists(program: &str, search: &OsStr) -> bool {
    let can_start = |path: &Path| path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok();
    if program.contains('/') {
        return can_start(Path::new(program));
    }
    std::env::split_paths(search).any(|folder| can_start(&folder.join(program)))
}

fn not_started(name: &str, error: &io::Error) -> NotLaunched {
    let code = match error.raw_os_error() {
        Some(libc::ENOENT) => 127,
        _ => 126,
    };
    let hint = match error.raw_os_error() {
        Some(libc::E2BIG) => {
            ": environment and arguments together, or one of them alone, are longer than the kernel takes"
        }
        Some(libc::EAGAIN) => ": the limit of processes is reached",
        Some(libc::ENOENT) => ": it does not exist here, or the loader or interpreter it names does not",
        _ => "",
    };
    NotLaunched { remark: format!("forgehand: cannot start {name}: {error}{hint}\n"), code }
}

/// Makes the folder and its parents where they are missing, for the step's user.
fn make_folder(path: &Path, who: Option<&Identity>) -> io::Result<()> {
    let mut missing: Vec<PathBuf> = Vec::new();
    for folder in path.ancestors() {
        match std::fs::metadata(folder) {
            Ok(found) if found.is_dir() => break,
            Ok(_) => return Err(io::Error::new(io::ErrorKind::NotADirectory, "it is no directory")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => missing.push(folder.to_owned()),
            Err(error) => return Err(error),
        }
    }
    for folder in missing.iter().rev() {
        std::fs::create_dir(folder)?;
        if let Some(who) = who {
            std::os::unix::fs::chown(folder, Some(who.uid), Some(who.gid))?;
        }
    }
    Ok(())
}

fn environment(command: &mut Command, step: &StepWire, who: Option<&Identity>, ground: &Ground) {
    command.env_clear();
    command.envs(ground.environment.iter().map(|(name, value)| (name, value)));
    if let Some(home) = who.and_then(|who| who.home.as_ref()) {
        command.env("HOME", home);
    }
    command.envs(step.env.iter().map(|(name, value)| (name, value.0.expose())));
}

fn start(mut command: Command, who: Option<Identity>, ground: &Ground, output: &[OwnedFd; 2]) -> io::Result<Launched> {
    let (words, words_end) = pipe_with(PipeFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&words, true)?;
    let [stdout, stderr] = output;
    command.stdout(Stdio::from(stdout.try_clone()?)).stderr(Stdio::from(stderr.try_clone()?));
    let words_number = words_end.as_raw_fd();
    let reset_oom = ground.oom_score < 0 && ground.uid == 0;
    let groups: Vec<Gid> =
        who.iter().flat_map(|who| &who.groups).filter_map(|gid| valid(*gid).map(Gid::from_raw)).collect();
    // SAFETY: between fork and exec the closure makes bare system calls only; it allocates nothing (`groups` is ready).
    unsafe {
        command.pre_exec(move || {
            // SAFETY: a forked process has one thread.
            keeper::put_between(words_number)?;
            setsid()?;
            if reset_oom {
                // A step that stays shielded is better than one that does not start.
                if let Ok(score) = open(c"/proc/self/oom_score_adj", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()) {
                    let _ = rustix::io::write(&score, b"0");
                }
            }
            match &who {
                Some(who) => become_user(who, &groups),
                None => Ok(()),
            }
        });
    }
    let child = command.spawn()?;
    // `words_end` and the ends inside `command` are closed here: only the step's side holds them from now on.
    Ok(Launched { keeper: child.id() as i32, words })
}

fn output_pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    // A user with many pipes may not enlarge more of them; then the default has to do.
    let _ = fcntl_setpipe_size(&read, PIPE);
    rustix::io::ioctl_fionbio(&read, true)?;
    Ok((read, write))
}

/// The kernel reads the highest number as "leave as it is".
fn valid(id: u32) -> Option<u32> {
    (id != u32::MAX).then_some(id)
}

fn become_user(who: &Identity, groups: &[Gid]) -> io::Result<()> {
    let (Some(uid), Some(gid)) = (valid(who.uid), valid(who.gid)) else {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    };
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    set_thread_groups(groups)?;
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)?;
    Ok(())
}
