//! Runs git: one call, its environment, its confinement, its limits.

use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::Mode;
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::Receiver;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::confine::{self, Folders, Grant};
use super::error::SourcesError;
use super::folder::Folder;
use super::leash::{self, Entry, Leashed};
use super::output::{Printer, Rewrites};
use super::request::Request;
use super::settings::{self, GitNetwork, GitProgram, POLICY, PrivateFolder, Setting};
use crate::executor::log::StageLog;

/// How long output may go on after git itself has ended.
const DRAIN_LIMIT: Duration = Duration::from_secs(2);

/// All that calls of one stage have in common.
pub(super) struct Git<'a> {
    program: &'a GitProgram,
    private: PrivateFolder,
    environment: Vec<(OsString, OsString)>,
    remote: RemoteAccess,
    deadline: Instant,
    cancel: &'a CancellationToken,
    /// What is replaced in everything that git prints.
    pub rewrites: Rewrites,
}

/// The work tree as git gets it.
pub(super) struct WorkTree {
    /// Where it is on the machine.
    pub path: PathBuf,
    /// The same by handle.
    pub folder: Arc<Folder>,
}

/// The repository a call works on.
#[derive(Clone, Copy)]
pub(super) enum Place<'p> {
    /// The job's work tree and its repository.
    WorkTree(&'p WorkTree),
    /// The same, for commands that go from there to submodules and find the repository themselves.
    WithSubmodules(&'p WorkTree),
    /// The repository of a submodule, below the work tree's own, without its work tree.
    Module(&'p WorkTree, &'p Path),
    /// A bare repository of the agent's.
    Bare(&'p Path),
    /// Our own empty repository around the job's work tree.
    Outside(&'p WorkTree, &'p Path),
    /// The same, where git may change the work tree.
    Around(&'p WorkTree, &'p Path),
}

/// What a call may speak with.
#[derive(Clone, Copy)]
pub(super) enum Reach<'p> {
    /// Nobody.
    Nothing,
    /// The remote, over the network.
    Remote,
    /// The agent's copy of the remote at this path, which it may read.
    Copy(&'p Path),
}

/// How a call ended.
#[derive(Debug)]
pub(super) struct Finished {
    /// Its exit code; `None` where a signal ended it.
    pub code: Option<i32>,
    /// The end of what it printed.
    pub tail: String,
}

impl Finished {
    pub fn is_success(&self) -> bool {
        self.code == Some(0)
    }

    /// An error that says what failed, unless nothing did.
    pub fn or_fail(self, message: &str) -> Result<(), SourcesError> {
        match self.code {
            Some(0) => Ok(()),
            Some(code) => Err(SourcesError::failed(format!("{message}: exit code {code}"), Some(code))),
            None => Err(SourcesError::failed(format!("{message}: a signal ended git"), None)),
        }
    }
}

impl<'a> Git<'a> {
    /// Prepares calls that end by `deadline` or when `cancel` is.
    pub fn new(
        program: &'a GitProgram,
        private: PrivateFolder,
        remote: Option<(&Request<'_>, &GitNetwork)>,
        trusted: &[&Path],
        mut rewrites: Rewrites,
        deadline: Instant,
        cancel: &'a CancellationToken,
    ) -> io::Result<Self> {
        private.write("config", safe_folders(trusted)?.as_bytes())?;
        rewrites.add(private.path().as_os_str().as_encoded_bytes(), "(private)");
        let access = remote.map(|(request, network)| RemoteAccess::new(request, network, &private)).transpose()?;
        Ok(Self {
            program,
            environment: settings::environment(program, &private),
            remote: access.unwrap_or_default(),
            private,
            deadline,
            cancel,
            rewrites,
        })
    }

    /// Begins a call. `doing` says what it is for, after "while" or before "took too long".
    pub fn call<'g>(&'g self, doing: &'g str, place: Place<'g>, reach: Reach<'g>) -> Call<'g> {
        Call { git: self, doing, place, reach, args: Vec::new(), settings: Vec::new(), deadline: self.deadline }
    }

    /// Whether git-lfs is installed on the runner's machine.
    pub fn has_lfs(&self) -> bool {
        self.program.has_lfs
    }

    /// When the stage must be over.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Cancelled when the job is.
    pub fn cancelled(&self) -> &'a CancellationToken {
        self.cancel
    }
}

/// What calls that speak with the remote have besides.
#[derive(Default)]
struct RemoteAccess {
    protocols: &'static str,
    settings: Vec<Setting>,
    proxy: Vec<(String, String)>,
    /// Files outside the job's folders that may be read.
    files: Vec<PathBuf>,
}

impl RemoteAccess {
    fn new(request: &Request<'_>, network: &GitNetwork, private: &PrivateFolder) -> io::Result<Self> {
        let files = [&network.ca_file, &network.client_certificate, &network.client_key];
        let repository = request.is_local.then(|| local_path(&request.spec.url));
        Ok(Self {
            protocols: if request.is_local { "http:https:file" } else { "http:https" },
            settings: settings::remote_settings(request, network, private)?,
            proxy: network.proxy_variables().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            files: files.into_iter().flatten().cloned().chain(repository).collect(),
        })
    }
}

/// One call of git.
pub(super) struct Call<'g> {
    git: &'g Git<'g>,
    doing: &'g str,
    place: Place<'g>,
    reach: Reach<'g>,
    args: Vec<OsString>,
    settings: Vec<Setting>,
    deadline: Instant,
}

impl<'g> Call<'g> {
    /// Adds arguments.
    pub fn args<I>(mut self, args: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<OsString>,
    {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Adds a setting for this call.
    pub fn setting(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.push((name.into(), value.into()));
        self
    }

    /// A limit for this call, where it is nearer than the stage's.
    pub fn within(mut self, limit: Duration) -> Self {
        self.deadline = self.deadline.min(Instant::now() + limit);
        self
    }

    /// Runs it; what it prints goes to `log`, if one is given.
    pub async fn run(self, log: Option<&dyn StageLog>) -> Result<Finished, SourcesError> {
        let (reader, writer) = io::pipe().map_err(SourcesError::machine("starting git"))?;
        let both = writer.try_clone().map_err(SourcesError::machine("starting git"))?;
        let mut running = self.start(both.into(), writer.into()).await?;
        let printer = Printer::new(log, &self.git.rewrites);
        let follow = follow(&mut running, reader, printer);
        let ended = self.bounded(follow).await;
        self.conclude(ended, &mut running).await
    }

    /// Runs it and returns what it prints, which may have `limit` bytes.
    pub async fn output(self, limit: u64) -> Result<(Finished, Vec<u8>), SourcesError> {
        let (out, out_writer) = io::pipe().map_err(SourcesError::machine("starting git"))?;
        let (errors, errors_writer) = io::pipe().map_err(SourcesError::machine("starting git"))?;
        let mut running = self.start(out_writer.into(), errors_writer.into()).await?;
        let printer = Printer::new(None, &self.git.rewrites);
        let collect = async {
            let (printed, finished) = tokio::join!(collect(out, limit), follow(&mut running, errors, printer));
            Ok((finished?, printed?))
        };
        let ended = self.bounded(collect).await;
        self.conclude(ended, &mut running).await
    }

    async fn start(&self, stdout: Stdio, stderr: Stdio) -> Result<Leashed, SourcesError> {
        let confinement = self.confinement().map_err(SourcesError::machine("confining git"))?;
        let mut command = self.command();
        command.stdin(Stdio::null()).stdout(stdout).stderr(stderr);
        let umask = match self.place {
            // What lies in the work tree belongs to the job, whatever user it is.
            Place::WorkTree(_) | Place::WithSubmodules(_) | Place::Module(..) => Mode::empty(),
            Place::Bare(_) | Place::Outside(..) | Place::Around(..) => Mode::from_raw_mode(0o077),
        };
        let entry = Entry { umask, confinement: Some(confinement) };
        leash::start(command, entry).await.map_err(SourcesError::machine("starting git"))
    }

    fn command(&self) -> std::process::Command {
        let mut command = std::process::Command::new(&self.git.program.program);
        command.args(&self.args).env_clear().envs(self.git.environment.iter().map(|(k, v)| (k, v)));
        match self.place {
            Place::WorkTree(tree) => {
                command.current_dir(&tree.path).env("GIT_DIR", tree.path.join(".git")).env("GIT_WORK_TREE", &tree.path);
            }
            Place::WithSubmodules(tree) => {
                let above = tree.path.parent().unwrap_or(&tree.path);
                command.current_dir(&tree.path).env("GIT_CEILING_DIRECTORIES", above);
            }
            Place::Module(tree, module) => {
                command.current_dir(&tree.path).env("GIT_DIR", tree.path.join(".git").join(module));
            }
            Place::Bare(path) => {
                command.current_dir(path).env("GIT_DIR", path);
            }
            Place::Outside(tree, git_dir) | Place::Around(tree, git_dir) => {
                command.current_dir(&tree.path).env("GIT_DIR", git_dir).env("GIT_WORK_TREE", &tree.path);
            }
        }
        let policy = POLICY.iter().copied();
        let remote: &[Setting] = match self.reach {
            Reach::Remote => {
                command.env("GIT_ALLOW_PROTOCOL", self.git.remote.protocols);
                command.envs(self.git.remote.proxy.iter().map(|(k, v)| (k, v)));
                &self.git.remote.settings
            }
            Reach::Copy(_) => {
                command.env("GIT_ALLOW_PROTOCOL", "file");
                &[]
            }
            Reach::Nothing => {
                command.env("GIT_ALLOW_PROTOCOL", "none");
                &[]
            }
        };
        let own = remote.iter().chain(&self.settings).map(|(name, value)| (name.as_str(), value.as_str()));
        let mut count = 0;
        for (name, value) in policy.chain(own) {
            command.env(format!("GIT_CONFIG_KEY_{count}"), name).env(format!("GIT_CONFIG_VALUE_{count}"), value);
            count += 1;
        }
        command.env("GIT_CONFIG_COUNT", count.to_string());
        command
    }

    fn confinement(&self) -> io::Result<landlock::RulesetCreated> {
        let mut readable: Vec<Grant<'_>> = Vec::new();
        let mut writable = vec![Grant::Path(self.git.private.path())];
        match self.place {
            Place::WorkTree(tree) | Place::WithSubmodules(tree) | Place::Module(tree, _) | Place::Around(tree, _) => {
                writable.push(Grant::Handle(tree.folder.as_fd()));
            }
            Place::Bare(path) => writable.push(Grant::Path(path)),
            Place::Outside(tree, _) => readable.push(Grant::Handle(tree.folder.as_fd())),
        }
        match self.reach {
            Reach::Nothing => {}
            Reach::Remote => readable.extend(self.git.remote.files.iter().map(|path| Grant::Path(path))),
            Reach::Copy(path) => readable.push(Grant::Path(path)),
        }
        confine::rules(&Folders { programs: &self.git.program.folders, readable, writable })
    }

    async fn bounded<T>(&self, work: impl Future<Output = io::Result<T>>) -> Result<T, Stopped> {
        tokio::select! {
            biased;
            () = self.git.cancel.cancelled() => Err(Stopped::Cancelled),
            () = tokio::time::sleep_until(self.deadline) => Err(Stopped::TimedOut),
            done = work => done.map_err(Stopped::Io),
        }
    }

    async fn conclude<T>(&self, ended: Result<T, Stopped>, running: &mut Leashed) -> Result<T, SourcesError> {
        let stopped = match ended {
            Ok(done) => return Ok(done),
            Err(stopped) => stopped,
        };
        running.kill().await;
        let doing = self.doing.to_owned();
        Err(match stopped {
            Stopped::Cancelled => SourcesError::Cancelled { doing },
            Stopped::TimedOut => SourcesError::TimedOut { doing },
            Stopped::Io(source) => SourcesError::Machine { doing, source },
        })
    }
}

enum Stopped {
    Cancelled,
    TimedOut,
    Io(io::Error),
}

/// Reads to the end of the output and waits for the program's.
async fn follow(running: &mut Leashed, reader: io::PipeReader, mut printer: Printer<'_>) -> io::Result<Finished> {
    let mut reader = Receiver::from_owned_fd(reader.into())?;
    let mut buffer = vec![0; 64 * 1024];
    let mut status = None;
    let mut drained_by = None;
    loop {
        let end_of_drain = drained_by.unwrap_or_else(|| Instant::now() + Duration::from_secs(3600));
        tokio::select! {
            read = reader.read(&mut buffer) => match read? {
                0 => break,
                length => printer.push(&buffer[..length]),
            },
            ended = running.wait(), if status.is_none() => {
                status = Some(ended?);
                // Some child may still hold the output; its group has been hung up on.
                drained_by = Some(Instant::now() + DRAIN_LIMIT);
            }
            () = tokio::time::sleep_until(end_of_drain), if drained_by.is_some() => break,
        }
    }
    let status = match status {
        Some(status) => status,
        None => running.wait().await?,
    };
    Ok(Finished { code: status.code(), tail: printer.finish() })
}

async fn collect(reader: io::PipeReader, limit: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    Receiver::from_owned_fd(reader.into())?.take(limit + 1).read_to_end(&mut content).await?;
    if content.len() as u64 > limit {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("git printed more than {limit} bytes")));
    }
    Ok(content)
}

/// Files of another owner are what git refuses to work on; these folders are expected to have any.
fn safe_folders(folders: &[&Path]) -> io::Result<String> {
    let mut text = String::from("[safe]\n");
    for folder in folders.iter().flat_map(|folder| settings::names_of(folder)) {
        let folder = folder.to_str().ok_or_else(|| io::Error::other("the state directory's name is not UTF-8"))?;
        text.push_str(&format!("\tdirectory = {}\n", config_value(folder)));
    }
    Ok(text)
}

/// A value for a configuration file.
pub(super) fn config_value(value: &str) -> String {
    format!("\"{}\"", value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', "\\n"))
}

fn local_path(url: &str) -> PathBuf {
    PathBuf::from(url.strip_prefix("file://").unwrap_or(url))
}
