//! What others ask of the running agent.

use super::Agent;
use super::stopping::Stopping;
use crate::agent::board::AgentStatus;
use crate::agent::control::{Answer, Command, ControlRequest};
use crate::agent::{JobRunner, Registrar, Sweeper};

impl<G, R, W> Agent<G, R, W>
where
    G: Registrar,
    R: JobRunner<G::Forge, G::Settings>,
    W: Sweeper,
{
    pub(super) fn answer(&mut self, request: ControlRequest) {
        let answer = match request.command {
            Command::Status => Answer::Status { status: Box::new(self.status()) },
            Command::Pause { .. } => self.pause(true),
            Command::Resume => self.pause(false),
            Command::Drain { .. } => {
                self.drain_because("a command asked for it");
                Answer::Done
            }
            Command::Reload => return self.reload(Some(request.reply)),
        };
        let _ = request.reply.send(answer);
    }

    /// Small and rare file work, done here so that the answer tells what is.
    fn pause(&mut self, is_paused: bool) -> Answer {
        let path = self.journal.dir().paused();
        let done = if is_paused {
            std::fs::write(&path, "")
        } else {
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
                done => done,
            }
        };
        self.is_paused = is_paused;
        self.capacity.set_open(!is_paused);
        tracing::info!(is_paused, "a command changed whether jobs are taken");
        match done {
            Ok(()) => Answer::Done,
            Err(error) => Answer::Refused {
                message: format!("done, but a restart will forget it: {} cannot be changed: {error}", path.display()),
            },
        }
    }

    /// What the agent does.
    pub fn status(&self) -> AgentStatus {
        AgentStatus {
            version: 1,
            pid: std::process::id(),
            forgehand: crate::VERSION.to_owned(),
            since: self.since,
            state: self.state().to_owned(),
            capacity: self.capacity.figures(),
            registrations: self.board.registrations(),
            jobs: self.board.jobs(),
        }
    }

    pub(super) fn state(&self) -> &'static str {
        if self.is_paused && self.stopping == Stopping::No { "paused" } else { self.stopping.as_str() }
    }
}
