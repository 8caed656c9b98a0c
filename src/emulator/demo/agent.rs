//! The agent of the demo: this very program, with a state directory of its own.

use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use super::DemoError;

/// How much of what the agent wrote is shown when it failed, in lines.
const SHOWN: usize = 30;

/// The agent's process and folder.
#[derive(Debug)]
pub struct DemoAgent {
    program: PathBuf,
    dir: tempfile::TempDir,
    child: Option<Child>,
}

impl DemoAgent {
    /// An agent that knows nothing yet.
    pub fn new(program: PathBuf) -> Result<Self, DemoError> {
        // Short: sockets below it have at most 107 bytes.
        let dir = tempfile::Builder::new().prefix("fh-demo-").tempdir().map_err(system("a folder for the agent"))?;
        Ok(Self { program, dir, child: None })
    }

    /// `forgehand register`.
    pub async fn register(&self, url: &str, token: &str, image: &str, limit: Duration) -> Result<(), DemoError> {
        let mut command = self.command();
        command.args(["register", "--url", url, "--token", token, "--name", "demo"]);
        command.args(["--executor", "docker", "--image", image]);
        let running = command.stdout(Stdio::piped()).stderr(Stdio::piped()).output();
        let output = match tokio::time::timeout(limit, running).await {
            Ok(output) => output.map_err(system("starting `forgehand register`"))?,
            Err(_) => return Err(failed("register", format!("no end after {} s", limit.as_secs()), &[])),
        };
        if output.status.success() {
            return Ok(());
        }
        let said = [output.stdout, output.stderr].concat();
        Err(failed("register", output.status.to_string(), &said))
    }

    /// `forgehand run`, on until [`DemoAgent::stop`].
    pub fn run(&mut self) -> Result<(), DemoError> {
        let log = std::fs::File::create(self.log_path()).map_err(system("the agent's log"))?;
        let errors = log.try_clone().map_err(system("the agent's log"))?;
        let mut command = self.command();
        // Jobs of the demo need no network, and without one they start sooner.
        command.args(["run", "--max-jobs", "2"]).env("FORGEHAND_DOCKER__NETWORK_MODE", "none");
        // A group of its own: Ctrl-C is for the demo, which then ends the agent tidily.
        command.stdout(log).stderr(errors).process_group(0);
        self.child = Some(command.spawn().map_err(system("starting `forgehand run`"))?);
        Ok(())
    }

    /// Waits until the agent ends by itself, which it should not. Cancel-safe.
    pub async fn ended(&mut self) -> DemoError {
        let status = match self.child.as_mut() {
            Some(child) => child.wait().await,
            None => std::future::pending().await,
        };
        self.child = None;
        match status {
            Ok(status) => self.failed_run(status),
            Err(cause) => DemoError::System { what: "waiting for the agent", cause },
        }
    }

    /// Ends the agent tidily; after `limit` it is told again (which cancels what runs), and then killed.
    pub async fn stop(&mut self, limit: Duration) -> Result<(), DemoError> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        for _ in 0..2 {
            let pid = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
            if let Some(pid) = pid {
                // It may end just now: then there is nobody to tell.
                let _ = kill_process(pid, Signal::TERM);
            }
            match tokio::time::timeout(limit, child.wait()).await {
                Ok(Ok(status)) if status.success() => return Ok(()),
                Ok(Ok(status)) => return Err(self.failed_run(status)),
                Ok(Err(cause)) => return Err(DemoError::System { what: "waiting for the agent", cause }),
                Err(_) => {}
            }
        }
        let killed = child.kill().await;
        killed.map_err(system("killing the agent"))?;
        Err(failed("run", "it did not end when told to".to_owned(), &self.log()))
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("FORGEHAND_") {
                command.env_remove(name);
            }
        }
        command.env("FORGEHAND_STATE_DIR", self.dir.path().join("state"));
        command.env("FORGEHAND_CONFIG", self.dir.path().join("forgehand.toml"));
        command.stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    fn failed_run(&self, status: ExitStatus) -> DemoError {
        failed("run", status.to_string(), &self.log())
    }

    fn log(&self) -> Vec<u8> {
        std::fs::read(self.log_path()).unwrap_or_default()
    }

    fn log_path(&self) -> PathBuf {
        self.dir.path().join("agent.log")
    }
}

fn system(what: &'static str) -> impl Fn(std::io::Error) -> DemoError {
    move |cause| DemoError::System { what, cause }
}

fn failed(command: &'static str, status: String, said: &[u8]) -> DemoError {
    let text = String::from_utf8_lossy(said);
    let lines: Vec<&str> = text.lines().collect();
    let output = lines[lines.len().saturating_sub(SHOWN)..].join("\n");
    DemoError::Agent { command, status, output }
}
