//! `--shell-on-failure`: a shell where a step failed, and the question what becomes of the step.

mod tty;

use std::io;
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::signal::unix::{SignalKind, signal};

use super::events::Narrator;
use super::live::text::tame;
use crate::executor::halt::Pauses;
use crate::executor::on_failure::{AfterFailure, FailedStep, FailureHook};
use crate::executor::sandbox::terminal::Terminal;
use tty::Tty;

/// How many lines of the job's output stand before the shell.
const SHOWN: usize = 20;
/// How much is read at a time.
const PIECE: usize = 8 * 1024;

/// Opens shells. One at a time: other jobs run on, and those that fail meanwhile wait for their turn.
pub struct ShellOnFailure {
    tty: Tty,
    narrator: Arc<Narrator>,
    pauses: Pauses,
    turn: tokio::sync::Mutex<()>,
}

impl ShellOnFailure {
    /// Opens the terminal of this process. Needs a running runtime.
    ///
    /// # Errors
    /// There is none.
    pub fn new(narrator: Arc<Narrator>, pauses: Pauses) -> io::Result<Self> {
        Ok(Self { tty: Tty::open()?, narrator, pauses, turn: tokio::sync::Mutex::new(()) })
    }

    /// Waits until no shell is open.
    pub async fn is_closed(&self) {
        drop(self.turn.lock().await);
    }

    async fn decide(&self, failed: FailedStep<'_>) -> io::Result<AfterFailure> {
        let _turn = self.turn.lock().await;
        // No time limit passes meanwhile, and nothing else is drawn.
        let _clock = self.pauses.hold();
        let _lent = self.narrator.lend_terminal();
        self.say(&self.introduction(&failed)).await?;
        loop {
            match failed.place.open_shell(&failed.shell, self.tty.window()).await {
                Ok(terminal) => self.session(terminal).await?,
                Err(error) => self.say(&format!("no shell can be opened: {}\n", tame(&error, false))).await?,
            }
            match self.ask().await? {
                Answer::Is(decided) => return Ok(decided),
                Answer::Shell => {}
            }
        }
    }

    fn introduction(&self, failed: &FailedStep<'_>) -> String {
        let FailedStep { job, step, how, shell, .. } = failed;
        let mut text = format!("\nstep `{}` of job `{}` failed: {how}\n", tame(step, false), tame(job, false));
        for line in self.narrator.tail(job, SHOWN) {
            text.push_str(&format!("  | {}\n", tame(&line, false)));
        }
        let place = match &shell.container {
            Some(container) => format!("its container {}", container.get(..12).unwrap_or(container)),
            None => "its work tree on this machine".to_owned(),
        };
        text.push_str(&format!(
            "This is a shell in {place}, in {}, with the step's environment; `exit` or Ctrl-D leaves it.\n",
            tame(&shell.cwd, false)
        ));
        text
    }

    /// Lets the person and the shell talk until the shell has ended.
    async fn session(&self, terminal: Terminal) -> io::Result<()> {
        let Terminal { mut output, mut input, resize, .. } = terminal;
        let _raw = self.tty.raw()?;
        let mut resized = signal(SignalKind::window_change())?;
        let shown = async {
            let mut buffer = vec![0; PIECE];
            loop {
                match output.read(&mut buffer).await {
                    Ok(0) | Err(_) => return io::Result::Ok(()),
                    Ok(read) => self.tty.write(buffer.get(..read).unwrap_or_default()).await?,
                }
            }
        };
        let typed = async {
            let mut buffer = vec![0; PIECE];
            loop {
                let read = self.tty.read(&mut buffer).await?;
                let bytes = buffer.get(..read).unwrap_or_default();
                // A shell that takes no more is about to end, which the other side sees.
                if read == 0 || input.write_all(bytes).await.is_err() || input.flush().await.is_err() {
                    return std::future::pending::<io::Result<()>>().await;
                }
            }
        };
        let sizes = async {
            while resized.recv().await.is_some() {
                resize(self.tty.window()).await;
            }
            std::future::pending::<io::Result<()>>().await
        };
        tokio::select! {
            ended = shown => ended,
            failed = typed => failed,
            never = sizes => never,
        }
    }

    async fn ask(&self) -> io::Result<Answer> {
        loop {
            self.say("\n[r]etry the step, [g]o on as if it had succeeded, [a]bort: it has failed, [s]hell again? ")
                .await?;
            let Some(line) = self.tty.line().await? else { return Ok(Answer::Is(AfterFailure::Fail)) };
            match line.to_ascii_lowercase().as_str() {
                "r" | "retry" => return Ok(Answer::Is(AfterFailure::Retry)),
                "g" | "go" | "go on" => return Ok(Answer::Is(AfterFailure::GoOn)),
                "a" | "abort" => return Ok(Answer::Is(AfterFailure::Fail)),
                "s" | "shell" => return Ok(Answer::Shell),
                _ => {}
            }
        }
    }

    async fn say(&self, text: &str) -> io::Result<()> {
        self.tty.write(text.as_bytes()).await
    }
}

/// What a person wants.
enum Answer {
    Is(AfterFailure),
    Shell,
}

impl FailureHook for ShellOnFailure {
    fn step_failed<'a>(&'a self, step: FailedStep<'a>) -> BoxFuture<'a, AfterFailure> {
        async move {
            self.decide(step).await.unwrap_or_else(|error| {
                tracing::warn!(%error, "the terminal is gone; the step has failed");
                AfterFailure::Fail
            })
        }
        .boxed()
    }
}
