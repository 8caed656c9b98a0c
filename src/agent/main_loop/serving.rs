//! The registrations that the agent serves: taken from the configuration, each with its poll loops.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::{Id, JoinError};
use tokio_util::sync::CancellationToken;

use super::chores::Chore;
use super::stopping::Stopping;
use super::{Agent, LOOK_AGAIN};
use crate::agent::control::Answer;
use crate::agent::poll::Poller;
use crate::agent::pulse::Pulse;
use crate::agent::registration::{Plan, PlanError, Registrar, Registration};
use crate::agent::{JobRunner, Sweeper, rotation};

/// A registration that is being served.
pub(super) struct Served<F, S> {
    pub(super) registration: Arc<Registration<F, S>>,
    pub(super) pulse: Arc<Pulse>,
    /// Cancelled: ask no more. A child of `drain`.
    stop: CancellationToken,
}

impl<G, R, W> Agent<G, R, W>
where
    G: Registrar,
    R: JobRunner<G::Forge, G::Settings>,
    W: Sweeper,
{
    /// Serves `plan` from now on. What is the same as before is left alone; running jobs always are.
    pub(super) fn serve(&mut self, plan: Plan<G::Forge, G::Settings>) {
        // Flags are over the file, in both directions.
        let concurrent = self.options.max_jobs.unwrap_or(plan.concurrent);
        self.drain_timeout = plan.drain_timeout;
        self.shutdown_timeout = plan.shutdown_timeout;
        self.unhealthy_interval = plan.unhealthy_interval;
        let mut before = std::mem::take(&mut self.served);
        for registration in plan.registrations {
            let same = |served: &Served<_, _>| served.registration.fingerprint == registration.fingerprint;
            let kept = before.remove(&registration.name).filter(|served| {
                let is_same = same(served);
                if !is_same {
                    served.stop.cancel();
                }
                is_same
            });
            let name = registration.name.clone();
            self.served.insert(name, kept.unwrap_or_else(|| Served::new(registration, &self.drain)));
        }
        for gone in before.values() {
            gone.stop.cancel();
        }
        let limits = self.served.values().map(|served| (served.registration.name.as_str(), served.registration.limit));
        self.capacity.set_limits(concurrent, limits);
        self.board.set_registrations(self.served.keys().map(String::as_str));
        if self.served.is_empty() {
            tracing::warn!("there is nothing to serve; add a registration with `forgehand register`");
        }
    }

    /// Starts the poll loops that are missing.
    pub(super) fn start_polls(&mut self) {
        if self.stopping > Stopping::No {
            return;
        }
        let running: Vec<&(String, u32)> = self.poll_tasks.values().collect();
        let wanted = self.served.values().flat_map(|served| {
            let registration = &served.registration;
            (0..registration.request_concurrency.max(1)).map(move |index| (served, index))
        });
        let missing: Vec<_> = wanted
            .filter(|(served, index)| {
                let place = (served.lane_name(), *index);
                !running.iter().any(|running| **running == place)
            })
            .map(|(served, index)| (served.registration.name.clone(), index))
            .collect();
        for (name, index) in missing {
            self.start_poll(&name, index);
        }
    }

    fn start_poll(&mut self, name: &str, index: u32) {
        let Some(served) = self.served.get(name) else { return };
        let poller = Poller {
            registration: served.registration.clone(),
            index,
            pulse: served.pulse.clone(),
            capacity: self.capacity.clone(),
            journal: self.journal.clone(),
            claims: self.claims.clone(),
            stop: served.stop.clone(),
            assigned: self.assigned_sender.clone(),
            lane: self.board.lane(name, index),
            unhealthy_interval: self.unhealthy_interval,
            random: self.random,
        };
        let lane = served.lane_name();
        let task = self.polls.spawn(poller.run());
        self.poll_tasks.insert(task.id(), (lane, index));
    }

    pub(super) fn poll_ended(&mut self, ended: Result<(Id, ()), JoinError>) {
        let id = match &ended {
            Ok((id, ())) => *id,
            Err(error) => error.id(),
        };
        self.poll_tasks.remove(&id);
        if let Err(error) = ended.map_err(|error| error.to_string()) {
            // A defect of ours in one registration's loop must not end the service of all.
            tracing::error!(error, "a poll loop broke; it is started again in a while");
            self.look_again_in(LOOK_AGAIN);
        }
    }

    /// Reads the configuration again, in a task of its own.
    pub(super) fn reload(&mut self, reply: Option<oneshot::Sender<Answer>>) {
        let registrar = self.registrar.clone();
        self.chores.spawn(async move { Chore::Planned { plan: registrar.plan().await, reply } });
    }

    pub(super) fn planned(
        &mut self,
        plan: Result<Plan<G::Forge, G::Settings>, PlanError>,
        reply: Option<oneshot::Sender<Answer>>,
    ) {
        let answer = match plan {
            Ok(plan) => {
                self.serve(plan);
                self.served.values().for_each(|served| served.pulse.reloaded());
                self.start_polls();
                self.replace_tokens_when_due();
                self.look_again_in(Duration::ZERO); // jobs whose registration is back
                tracing::info!(registrations = self.served.len(), "the configuration was read again");
                Answer::Done
            }
            Err(error) => {
                tracing::error!(%error, "the new configuration cannot be used; the old one stays");
                Answer::Refused { message: format!("the old configuration stays: {error}") }
            }
        };
        if let Some(reply) = reply {
            let _ = reply.send(answer);
        }
    }

    pub(super) fn replace_tokens_when_due(&mut self) {
        if let Some(running) = self.rotation.take() {
            running.abort();
        }
        let (registrar, clock) = (self.registrar.clone(), self.clock);
        let task = self.chores.spawn(async move {
            rotation::rotate_next(&registrar, clock).await;
            Chore::TokenReplaced
        });
        self.rotation = Some(task);
    }
}

impl<F, S> Served<F, S> {
    fn new(registration: Registration<F, S>, drain: &CancellationToken) -> Self {
        Self { registration: Arc::new(registration), pulse: Arc::default(), stop: drain.child_token() }
    }

    /// Tells the poll loops of this registration from those of one of the same name before it.
    fn lane_name(&self) -> String {
        format!("{} {}", self.registration.name, self.registration.fingerprint)
    }
}
