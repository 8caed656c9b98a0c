//! [`Agent`]: the built binary with a state directory of its own.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use forgehand::emulator::RunnerSpec;
use forgehand::emulator::world::World;
use rustix::process::{Pid, Signal, kill_process};

use super::forge::TestForge;
use super::{docker, try_until};

/// Programs that the agent needs are found here.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The user `nobody`.
const NOBODY: u32 = 65534;

/// How an [`Agent`] is set up.
#[derive(Clone, Debug)]
pub struct AgentOptions {
    /// The runner at the forge; made anew from this.
    pub runner: RunnerSpec,
    /// `--executor`.
    pub executor: String,
    /// `--image`.
    pub image: String,
    /// `--max-jobs`.
    pub max_jobs: u32,
    /// Further environment of `register` and `run`.
    pub environment: Vec<(String, String)>,
    /// Further arguments of `run`.
    pub run_arguments: Vec<String>,
    /// A program and its arguments that runs the binary somewhere else: in a network or mount namespace.
    pub wrapper: Vec<String>,
    /// Text of `forgehand.toml` before `register` adds to it.
    pub config: String,
    /// Run as a user without rights but those of the Docker socket's group. Needs root.
    pub unprivileged: bool,
}

impl Default for AgentOptions {
    fn default() -> Self {
        Self {
            runner: RunnerSpec { description: "test agent".to_owned(), ..RunnerSpec::default() },
            executor: "docker".to_owned(),
            image: "case/bash:1".to_owned(),
            max_jobs: 1,
            environment: Vec::new(),
            run_arguments: Vec::new(),
            wrapper: Vec::new(),
            config: String::new(),
            unprivileged: false,
        }
    }
}

impl AgentOptions {
    /// The same with one more environment variable.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same without a network for jobs, which is quicker.
    pub fn without_network(self) -> Self {
        self.env("FORGEHAND_DOCKER__NETWORK_MODE", "none")
    }
}

/// The built binary, registered at a forge and, most of the time, running. Nothing of it outlives the test.
pub struct Agent {
    /// Its runner's id at the forge.
    pub runner: u64,
    dir: tempfile::TempDir,
    world: Arc<World>,
    options: AgentOptions,
    child: Option<Child>,
}

impl Agent {
    /// Registers a new runner with a fresh state directory and starts the agent.
    pub fn start(forge: &TestForge, options: AgentOptions) -> Self {
        docker::build_images();
        let mut agent = Self::registered(forge, options);
        agent.run();
        agent
    }

    /// A folder and a runner at the forge, with its token; nothing has been run.
    pub fn unregistered(forge: &TestForge, options: AgentOptions) -> (Self, String) {
        let (runner, token) = forge.add_runner(options.runner.clone());
        // Short: sockets below it have at most 107 bytes.
        let dir = tempfile::Builder::new().prefix("fh-").tempdir().expect("a folder");
        let agent = Self { runner, dir, world: forge.world().clone(), options, child: None };
        fs::create_dir(agent.dir.path().join("home")).expect("a folder");
        if agent.options.unprivileged {
            for path in [agent.dir.path().to_owned(), agent.dir.path().join("home")] {
                std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).expect("root may");
            }
        }
        if !agent.options.config.is_empty() {
            fs::write(agent.config_file(), &agent.options.config).expect("the configuration is written");
        }
        (agent, token)
    }

    /// Registers only.
    pub fn registered(forge: &TestForge, options: AgentOptions) -> Self {
        let (agent, token) = Self::unregistered(forge, options);
        agent.register(forge.url(), &token, "test");
        agent
    }

    /// Runs `forgehand register`; panics when it fails.
    pub fn register(&self, url: &str, token: &str, name: &str) {
        let output = self.try_register(url, token, name);
        assert!(output.status.success(), "register failed with {}:\n{}", output.status, said(&output));
    }

    /// Runs `forgehand register`.
    pub fn try_register(&self, url: &str, token: &str, name: &str) -> Output {
        let (executor, image) = (&self.options.executor, &self.options.image);
        let arguments =
            ["register", "--url", url, "--token", token, "--name", name, "--executor", executor, "--image", image];
        self.forgehand(&arguments)
    }

    /// Starts `forgehand run`. Again, after it was killed: over the same state directory.
    pub fn run(&mut self) {
        assert!(self.child.is_none(), "the agent is running already");
        let file =
            |name: &str| File::options().create(true).append(true).open(self.dir.path().join(name)).expect("a file");
        let mut command = self.command();
        command.arg("run").arg("--max-jobs").arg(self.options.max_jobs.to_string()).args(&self.options.run_arguments);
        command.stdin(Stdio::null()).stdout(file("stdout")).stderr(file("stderr"));
        self.child = Some(command.spawn().expect("forgehand starts"));
    }

    /// Runs the binary with this agent's state and configuration and waits for its end.
    pub fn forgehand(&self, arguments: &[&str]) -> Output {
        self.command().args(arguments).stdin(Stdio::null()).output().expect("forgehand starts")
    }

    /// The binary with this agent's state and configuration, and nothing else from outside.
    pub fn command(&self) -> Command {
        // Another build of it (a package's, an older one) can be put to the same tests.
        let program =
            std::env::var_os("FORGEHAND_TEST_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_forgehand").into());
        let mut words: Vec<std::ffi::OsString> = self.options.wrapper.iter().map(Into::into).collect();
        if self.options.unprivileged {
            let socket = fs::metadata("/var/run/docker.sock").expect("the engine's socket is there");
            let identity =
                [format!("--reuid={NOBODY}"), format!("--regid={NOBODY}"), format!("--groups={}", socket.gid())];
            words.extend(
                ["setpriv".into()].into_iter().chain(identity.map(Into::into)).chain(["--inh-caps=-all".into()]),
            );
        }
        words.push(program);
        let mut words = words.into_iter();
        let mut command = Command::new(words.next().expect("the program at least"));
        command.args(words);
        command.env_clear().env("PATH", PATH).env("HOME", self.dir.path().join("home"));
        if let Some(host) = std::env::var_os("DOCKER_HOST") {
            command.env("DOCKER_HOST", host);
        }
        command.env("FORGEHAND_STATE_DIR", self.state_dir()).env("FORGEHAND_CONFIG", self.config_file());
        command.envs(self.options.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// The agent's state directory.
    pub fn state_dir(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// Makes this machine another one as far as artifacts go: none that earlier jobs left is here. Caches stay.
    pub fn forget_artifacts(&self) {
        let mut folders = vec![self.state_dir().join("store/owners")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).into_iter().flatten() {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    folders.push(path);
                } else if std::fs::read_to_string(&path).is_ok_and(|text| text.contains(r#""what":{"artifact""#)) {
                    std::fs::remove_file(path).expect("a record can be removed");
                }
            }
        }
    }

    /// The agent's `forgehand.toml`.
    pub fn config_file(&self) -> PathBuf {
        self.dir.path().join("forgehand.toml")
    }

    /// What the agent wrote so far: standard output, then standard error.
    pub fn output(&self) -> String {
        let read = |name: &str| fs::read(Path::join(self.dir.path(), name)).unwrap_or_default();
        let (out, err) = (read("stdout"), read("stderr"));
        format!("{}{}", String::from_utf8_lossy(&out), String::from_utf8_lossy(&err))
    }

    /// Where its log goes.
    pub fn stderr_file(&self) -> PathBuf {
        self.dir.path().join("stderr")
    }

    /// Its process id.
    pub fn pid(&self) -> Pid {
        Pid::from_child(self.child.as_ref().expect("the agent is running"))
    }

    /// Kills it without a warning and waits until it is gone.
    pub fn kill9(&mut self) {
        self.signal(Signal::KILL);
        let mut child = self.child.take().expect("the agent is running");
        child.wait().expect("a killed process ends");
    }

    /// Asks it to take no more jobs and to end.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("the signal is sent");
    }

    /// How it ended, if it has.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        let status = self.child.as_mut()?.try_wait().expect("our own child")?;
        self.child = None;
        Some(status)
    }

    /// Waits for its end; panics with its log after `limit`.
    pub fn wait_exit(&mut self, limit: Duration) -> ExitStatus {
        match try_until(limit, || self.exited()) {
            Some(status) => status,
            None => panic!("the agent did not end within {limit:?}; it wrote:\n{}", self.output()),
        }
    }

    /// Ends it tidily; panics unless it exits with 0 in time.
    pub fn stop(&mut self) {
        self.terminate();
        let status = self.wait_exit(Duration::from_secs(60));
        assert!(status.success(), "the agent ended with {status}; it wrote:\n{}", self.output());
    }

    /// Waits until `condition` gives something; panics with the agent's log after `limit`, or once the agent is gone.
    pub fn wait_until<T>(&mut self, limit: Duration, what: &str, condition: impl FnMut() -> Option<T>) -> T {
        self.try_wait(limit, condition).unwrap_or_else(|why| panic!("{what}: {why}"))
    }

    /// Waits until `condition` gives something; after `limit`, or once the agent is gone, says so with the agent's log.
    pub fn try_wait<T>(&mut self, limit: Duration, mut condition: impl FnMut() -> Option<T>) -> Result<T, String> {
        let mut gone = None;
        let found = try_until(limit, || {
            if let Some(found) = condition() {
                return Some(Some(found));
            }
            if self.child.is_some() {
                gone = self.exited();
                // Its last act may have been what is waited for.
                return gone.is_some().then(&mut condition);
            }
            None
        });
        match (found.flatten(), gone) {
            (Some(found), _) => Ok(found),
            (None, Some(status)) => Err(format!("the agent ended with {status}; it wrote:\n{}", self.output())),
            (None, None) => Err(format!("not within {limit:?}; the agent wrote:\n{}", self.output())),
        }
    }

    /// What jobs left behind in the engine; empty is right.
    pub fn docker_leftovers(&self) -> Vec<String> {
        docker::leftovers(&self.world.base_url, &self.jobs())
    }

    /// The ids of the jobs that were handed to this agent.
    fn jobs(&self) -> BTreeSet<u64> {
        self.world.know().jobs.values().filter(|job| job.runner == Some(self.runner)).map(|job| job.id).collect()
    }

    /// Panics when a job left something behind in the engine.
    pub fn assert_nothing_left(&self) {
        // Removal is the last thing the agent does for a job, after the forge knows its end.
        let clean = try_until(Duration::from_secs(30), || self.docker_leftovers().is_empty().then_some(()));
        assert!(clean.is_some(), "left behind: {:#?}\nthe agent wrote:\n{}", self.docker_leftovers(), self.output());
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        // One that is killed between jobs leaves the networks that it keeps ready, for an agent that does not follow here.
        let id = fs::read_to_string(self.state_dir().join("agent.id")).ok();
        docker::remove_all(&self.world.base_url, &self.jobs(), id.as_deref().map(str::trim));
    }
}

/// What a program wrote: standard output, then standard error.
pub fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
