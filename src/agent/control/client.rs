//! The caller's side of the control socket. Blocking: for commands, not for the agent.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use super::protocol::{Answer, Command};
use super::{MAX_LINE, short_path};
use crate::state::StateDir;

/// How long the agent may take for its first answer: more than it gives itself.
const ANSWER_WITHIN: Duration = Duration::from_secs(40);

/// A conversation with the agent of a state directory.
pub struct Client {
    stream: BufReader<UnixStream>,
}

/// Why the agent could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Nobody listens there.
    #[error("no agent runs with the state directory {path}; start one with `forgehand run`, or name its directory with --state-dir", path = .path.display())]
    NoAgent {
        /// The state directory.
        path: PathBuf,
    },
    /// Somebody listens and cannot be reached, or broke off.
    #[error("the agent of the state directory {path} cannot be asked: {cause}", path = .path.display())]
    Broken {
        /// The state directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// It does not do what it was asked.
    #[error("{0}")]
    Refused(String),
}

impl Client {
    /// Sends `command` and hands every answer to `hear`, up to the last.
    pub fn ask(dir: &StateDir, command: &Command, mut hear: impl FnMut(Answer)) -> Result<(), ControlError> {
        let broken = |cause| ControlError::Broken { path: dir.root().to_owned(), cause };
        let mut client = Self::connect(dir)?;
        client.send(command).map_err(broken)?;
        loop {
            match client.answer().map_err(broken)? {
                Answer::Refused { message } => return Err(ControlError::Refused(message)),
                answer => {
                    let is_last = answer.is_last();
                    hear(answer);
                    if is_last {
                        return Ok(());
                    }
                }
            }
            // It may take hours until the last job has ended; who waits can leave at any time.
            client.stream.get_ref().set_read_timeout(None).map_err(broken)?;
        }
    }

    fn connect(dir: &StateDir) -> Result<Self, ControlError> {
        let path = || dir.root().to_owned();
        let connected = (|| -> io::Result<UnixStream> {
            let (short, _folder) = short_path(&dir.control_socket())?;
            let stream = UnixStream::connect(short)?;
            stream.set_read_timeout(Some(ANSWER_WITHIN))?;
            stream.set_write_timeout(Some(ANSWER_WITHIN))?;
            Ok(stream)
        })();
        match connected {
            Ok(stream) => Ok(Self { stream: BufReader::new(stream) }),
            Err(cause) if matches!(cause.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
                Err(ControlError::NoAgent { path: path() })
            }
            Err(cause) => Err(ControlError::Broken { path: path(), cause }),
        }
    }

    fn send(&mut self, command: &Command) -> io::Result<()> {
        let mut line = serde_json::to_vec(command).map_err(io::Error::other)?;
        line.push(b'\n');
        self.stream.get_mut().write_all(&line)
    }

    fn answer(&mut self) -> io::Result<Answer> {
        let mut line = String::new();
        if (&mut self.stream).take(MAX_LINE).read_line(&mut line)? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it ended before it had answered; see its log"));
        }
        serde_json::from_str(&line).map_err(io::Error::other)
    }
}
