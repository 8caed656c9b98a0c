//! The agent's side of the control socket.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

use super::protocol::{Answer, Command};
use super::{MAX_LINE, short_path};
use crate::agent::capacity::Figures;

/// How long a caller may take to say what it wants, and the agent's loop to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Conversations at the same time. A further caller waits in the kernel's queue.
const MAX_CALLERS: usize = 32;

/// A command and the way back for its first answer.
pub struct ControlRequest {
    /// What is asked.
    pub command: Command,
    /// Where the answer goes. A caller that went away is no error.
    pub reply: oneshot::Sender<Answer>,
}

/// What callers that wait look at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The jobs there are.
    pub figures: Figures,
    /// Whether the agent ends.
    pub has_ended: bool,
}

/// The socket of a running agent. Removed when closed.
pub struct ControlServer {
    path: PathBuf,
    listener: AbortOnDropHandle<()>,
}

impl ControlServer {
    /// Listens at `path` (0600), in place of what an agent before left there. The caller holds the state lock. Full,
    /// `requests` lets callers wait.
    pub fn listen(
        path: &Path,
        requests: mpsc::Sender<ControlRequest>,
        progress: watch::Receiver<Progress>,
    ) -> io::Result<Self> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let (short, _folder) = short_path(path)?;
        let listener = UnixListener::bind(&short)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        let listener = AbortOnDropHandle::new(tokio::spawn(accept(listener, requests, progress)));
        Ok(Self { path: path.to_owned(), listener })
    }

    /// Takes no more callers and lets those who wait hear the end.
    pub async fn close(self) {
        let _ = fs::remove_file(&self.path);
        // Callers have heard `has_ended` by now; a caller that does not read is not waited for.
        let mut listener = self.listener;
        let _ = tokio::time::timeout(Duration::from_secs(1), &mut listener).await;
    }
}

/// Ends when the agent has ended and every caller has heard it.
async fn accept(listener: UnixListener, requests: mpsc::Sender<ControlRequest>, progress: watch::Receiver<Progress>) {
    let mut callers = JoinSet::new();
    let mut ended = progress.clone();
    loop {
        // All of these are cancel-safe.
        tokio::select! {
            accepted = listener.accept(), if callers.len() < MAX_CALLERS => match accepted {
                Ok((stream, _)) => {
                    callers.spawn(converse(stream, requests.clone(), progress.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "a caller at the control socket was lost");
                    tokio::time::sleep(Duration::from_millis(100)).await; // no descriptors left, perhaps
                }
            },
            Some(_) = callers.join_next() => {}
            () = end_of(&mut ended) => break,
        }
    }
    drop(listener);
    while callers.join_next().await.is_some() {}
}

async fn end_of(progress: &mut watch::Receiver<Progress>) {
    // An error means that the agent is gone without a word: an end, too.
    let _ = progress.wait_for(|progress| progress.has_ended).await;
}

async fn converse(stream: UnixStream, requests: mpsc::Sender<ControlRequest>, progress: watch::Receiver<Progress>) {
    let (reader, mut writer) = stream.into_split();
    let command = match tokio::time::timeout(ANSWER_WITHIN, read_command(reader)).await {
        Ok(Ok(command)) => command,
        Ok(Err(message)) => return say(&mut writer, &Answer::Refused { message }).await.unwrap_or(()),
        Err(_late) => return,
    };
    let waited_for = match command {
        Command::Pause { wait: true } => Some(Goal::Quiet),
        Command::Drain { wait: true } => Some(Goal::End),
        Command::Status
        | Command::Pause { wait: false }
        | Command::Resume
        | Command::Drain { wait: false }
        | Command::Reload => None,
    };
    let answer = ask(&requests, command).await;
    let told = match (answer, waited_for) {
        (Answer::Done, Some(goal)) => wait_for(goal, progress, &mut writer).await,
        (answer, _) => say(&mut writer, &answer).await,
    };
    if let Err(error) = told {
        tracing::debug!(%error, "a caller at the control socket went away");
    }
}

/// What a caller waits for.
#[derive(Clone, Copy)]
enum Goal {
    Quiet,
    End,
}

async fn read_command(reader: OwnedReadHalf) -> Result<Command, String> {
    let mut line = String::new();
    let mut reader = BufReader::new(reader.take(MAX_LINE));
    reader.read_line(&mut line).await.map_err(|error| format!("the command cannot be read: {error}"))?;
    serde_json::from_str(&line)
        .map_err(|error| format!("this agent (forgehand {}) does not know the command: {error}", crate::VERSION))
}

async fn ask(requests: &mpsc::Sender<ControlRequest>, command: Command) -> Answer {
    let (reply, answer) = oneshot::channel();
    let asked = async {
        requests.send(ControlRequest { command, reply }).await.ok()?;
        answer.await.ok()
    };
    let refused = |message: &str| Answer::Refused { message: message.to_owned() };
    match tokio::time::timeout(ANSWER_WITHIN, asked).await {
        Ok(Some(answer)) => answer,
        Ok(None) => refused("the agent is ending"),
        Err(_late) => refused("the agent is too busy to answer; see its log"),
    }
}

/// Tells the caller how many jobs are left, whenever that changes, until what it waits for is reached.
async fn wait_for(goal: Goal, mut progress: watch::Receiver<Progress>, to: &mut OwnedWriteHalf) -> io::Result<()> {
    loop {
        let Progress { figures, has_ended } = *progress.borrow_and_update();
        let is_quiet = figures.running == 0 && figures.waiting == 0;
        let is_reached = match goal {
            Goal::Quiet => is_quiet || has_ended,
            Goal::End => has_ended,
        };
        if is_reached {
            return say(to, &Answer::Reached).await;
        }
        say(to, &Answer::Waiting { figures }).await?;
        if progress.changed().await.is_err() {
            return Ok(()); // the agent is gone without an end: the caller sees the closed connection
        }
    }
}

async fn say(to: &mut OwnedWriteHalf, answer: &Answer) -> io::Result<()> {
    let mut line = serde_json::to_vec(answer).map_err(io::Error::other)?;
    line.push(b'\n');
    tokio::time::timeout(ANSWER_WITHIN, to.write_all(&line)).await?
}
