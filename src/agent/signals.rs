//! What the agent is told by signals.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM, SIGQUIT, SIGINT: stop, one step further each time.
    Stop,
    /// SIGHUP: read the configuration again.
    Reload,
    /// SIGUSR1: end at once and leave the sandboxes running for the next agent, as an upgrade does.
    HandOver,
}

/// The signals of the process, as a channel. They are caught as long as this lives.
pub struct Signals {
    received: mpsc::Receiver<Signal>,
    _listener: Option<AbortOnDropHandle<()>>,
}

impl Signals {
    /// Catches the signals of this process from now on. Needs a running runtime.
    pub fn of_process() -> io::Result<Self> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut quit = signal(SignalKind::quit())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let mut user1 = signal(SignalKind::user_defined1())?;
        let (sender, received) = mpsc::channel(8);
        let listener = tokio::spawn(async move {
            loop {
                // All of these are cancel-safe.
                let signal = tokio::select! {
                    _ = terminate.recv() => Signal::Stop,
                    _ = quit.recv() => Signal::Stop,
                    _ = interrupt.recv() => Signal::Stop,
                    _ = hangup.recv() => Signal::Reload,
                    _ = user1.recv() => Signal::HandOver,
                };
                if sender.send(signal).await.is_err() {
                    return;
                }
            }
        });
        Ok(Self { received, _listener: Some(AbortOnDropHandle::new(listener)) })
    }

    /// Signals that a test sends.
    #[cfg(test)]
    pub fn from_channel(received: mpsc::Receiver<Signal>) -> Self {
        Self { received, _listener: None }
    }

    /// The next one. Cancel-safe. Waits for ever when nobody can send any more.
    pub async fn recv(&mut self) -> Signal {
        match self.received.recv().await {
            Some(signal) => signal,
            None => std::future::pending().await,
        }
    }
}
