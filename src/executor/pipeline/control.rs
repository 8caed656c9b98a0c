//! How somebody outside ends or pauses a pipeline.

use tokio::sync::watch;

use crate::executor::halt::Pauses;

/// How much of an end is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stop {
    /// None.
    #[default]
    No,
    /// Steps are ended; after-steps, caches and artifacts still run.
    Tidy,
    /// Everything ends now.
    Hard,
}

/// The end of the line that gives orders. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Control {
    stop: watch::Sender<Stop>,
    paused: watch::Sender<bool>,
    pauses: Pauses,
}

impl Default for Control {
    fn default() -> Self {
        Self { stop: watch::Sender::new(Stop::No), paused: watch::Sender::new(false), pauses: Pauses::default() }
    }
}

impl Control {
    /// Asks for an end; asked twice, for one at once.
    pub fn stop(&self) {
        self.stop.send_modify(|stop| *stop = if *stop == Stop::No { Stop::Tidy } else { Stop::Hard });
    }

    /// Starts no more jobs until [`Control::resume`]; those that run go on.
    pub fn pause(&self) {
        self.paused.send_replace(true);
    }

    /// Starts jobs again.
    pub fn resume(&self) {
        self.paused.send_replace(false);
    }

    /// For a pipeline below this one: paused with it, ended by itself.
    pub fn below(&self) -> Self {
        Self { stop: watch::Sender::new(Stop::No), paused: self.paused.clone(), pauses: self.pauses.clone() }
    }

    /// The clock of the pipeline and its jobs, which somebody may stop.
    pub fn pauses(&self) -> &Pauses {
        &self.pauses
    }

    /// The orders as they come; those that came before come first.
    pub fn orders(&self) -> (watch::Receiver<Stop>, watch::Receiver<bool>) {
        let (mut stop, paused) = (self.stop.subscribe(), self.paused.subscribe());
        if *stop.borrow() != Stop::No {
            stop.mark_changed();
        }
        (stop, paused)
    }

    /// Waits until an end is asked for.
    pub async fn stopped(&self) {
        // The sender lives as long as this does, so that the wait ends with an order only.
        let _ = self.stop.subscribe().wait_for(|stop| *stop != Stop::No).await;
    }

    /// Pauses, or resumes what is paused. Gives whether it is paused now.
    pub fn turn_pause(&self) -> bool {
        self.paused.send_modify(|paused| *paused = !*paused);
        *self.paused.borrow()
    }
}
