//! The loop.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{Id, JoinSet};
use tokio::time::{Instant, sleep_until};

use super::control::{Control, Stop};
use super::playbook::{Action, JobEnd, LegId, PipelineEvent, Playbook, Task, Worker};
use crate::forge::Demand;
use crate::pipeline::JobStatus;
use crate::pipeline::schedule::PipelineEnd;

/// How a pipeline is bounded.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How many jobs run at the same time, 1 or more.
    pub parallel: usize,
    /// How long it may take in all.
    pub timeout: Duration,
}

/// Runs a pipeline to its end. `tell` hears what happens, in order; `dice` gives random numbers from 0 to 1.
pub async fn drive<P, W>(
    playbook: P,
    worker: &W,
    limits: Limits,
    control: &Control,
    tell: impl FnMut(PipelineEvent) + Send,
    dice: impl FnMut() -> f64 + Send,
) -> PipelineEnd
where
    P: Playbook,
    W: Worker<P::Job, P::End>,
{
    let (mut stop, mut paused) = control.orders();
    let mut loops = Loop {
        playbook,
        worker,
        parallel: limits.parallel.max(1),
        waiting: VecDeque::new(),
        running: HashMap::new(),
        legs: HashMap::new(),
        tasks: JoinSet::new(),
        timers: Vec::new(),
        began: HashMap::new(),
        reasons: HashMap::new(),
        tell,
        dice,
    };
    let deadline = Instant::now() + limits.timeout;
    let mut is_over_time = false;
    let actions = loops.playbook.start();
    loops.act(actions);
    loop {
        if !*paused.borrow() {
            loops.fill();
        }
        if loops.is_idle() {
            let actions = loops.playbook.give_up_held();
            if actions.is_empty() {
                break;
            }
            loops.act(actions);
            continue;
        }
        let next = loops.timers.iter().map(|(at, _)| *at).min();
        let alarm = async {
            match next {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(done) = loops.tasks.join_next_with_id(), if !loops.tasks.is_empty() => loops.ended(done),
            () = alarm => loops.ring(),
            Ok(()) = stop.changed() => {
                let stop = *stop.borrow_and_update();
                loops.stop(stop, "it was cancelled");
            }
            Ok(()) = paused.changed() => { paused.borrow_and_update(); }
            () = control.pauses().until(deadline), if !is_over_time => {
                is_over_time = true;
                loops.stop(Stop::Tidy, "the pipeline's time is over");
            }
        }
    }
    loops.playbook.end()
}

struct Loop<'w, P: Playbook, W, T, D> {
    playbook: P,
    worker: &'w W,
    parallel: usize,
    waiting: VecDeque<Task<P::Job>>,
    running: HashMap<LegId, (String, watch::Sender<Demand>)>,
    legs: HashMap<Id, LegId>,
    tasks: JoinSet<P::End>,
    timers: Vec<(Instant, LegId)>,
    began: HashMap<String, Instant>,
    reasons: HashMap<LegId, String>,
    tell: T,
    dice: D,
}

impl<P, W, T, D> Loop<'_, P, W, T, D>
where
    P: Playbook,
    W: Worker<P::Job, P::End>,
    T: FnMut(PipelineEvent) + Send,
    D: FnMut() -> f64 + Send,
{
    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.tasks.is_empty() && self.timers.is_empty()
    }

    fn act(&mut self, actions: Vec<Action<P::Job>>) {
        for action in actions {
            match action {
                Action::Start(task) => self.waiting.push_back(task),
                Action::Wait { leg, delay, name, reason } => {
                    self.timers.push((Instant::now() + delay, leg));
                    (self.tell)(PipelineEvent::JobWaits { job: name, delay, reason });
                }
                Action::Never { name, status, reason } => self.finish(name, status, Some(reason)),
                Action::Cancel { leg, reason } => self.cancel(leg, reason),
            }
        }
    }

    /// Starts what there is room for.
    fn fill(&mut self) {
        while self.tasks.len() < self.parallel
            && let Some(task) = self.waiting.pop_front()
        {
            let (demand, wanted) = watch::channel(Demand::Wanted);
            self.began.entry(task.name.clone()).or_insert_with(Instant::now);
            (self.tell)(PipelineEvent::JobStarted { job: task.name.clone(), attempt: task.attempt });
            self.running.insert(task.leg, (task.name.clone(), demand));
            let (leg, worker) = (task.leg, self.worker.clone());
            let handle = self.tasks.spawn(async move { worker.run(task, wanted).await });
            self.legs.insert(handle.id(), leg);
        }
    }

    fn ended(&mut self, done: Result<(Id, P::End), tokio::task::JoinError>) {
        let (id, end) = match done {
            Ok((id, end)) => (id, end),
            // Its own defect must not hang the others.
            Err(error) => (error.id(), P::End::cancelled("the job's task ended by a defect of forgehand's")),
        };
        let Some(leg) = self.legs.remove(&id) else { return };
        let Some((name, _)) = self.running.remove(&leg) else { return };
        self.close(leg, name, end);
    }

    fn close(&mut self, leg: LegId, name: String, end: P::End) {
        let dice = (self.dice)();
        let ended = self.playbook.ended(leg, end, dice);
        let cancelled = self.reasons.remove(&leg);
        if let Some(status) = ended.status {
            let reason = if status == JobStatus::Success { None } else { cancelled.or(ended.reason) };
            self.finish(name, status, reason);
        }
        self.act(ended.actions);
    }

    fn finish(&mut self, job: String, status: JobStatus, reason: Option<String>) {
        let took = self.began.remove(&job).map(|began| began.elapsed()).unwrap_or_default();
        (self.tell)(PipelineEvent::JobFinished { job, status, reason, took });
    }

    fn cancel(&mut self, leg: LegId, reason: String) {
        if let Some((_, demand)) = self.running.get(&leg) {
            demand.send_if_modified(|demand| raise(demand, Demand::CancelGracefully));
            self.reasons.insert(leg, reason);
        } else if let Some(at) = self.waiting.iter().position(|task| task.leg == leg)
            && let Some(task) = self.waiting.remove(at)
        {
            self.reasons.insert(leg, reason.clone());
            self.close(leg, task.name, P::End::cancelled(&reason));
        }
    }

    /// Tells the playbook of the times that are over.
    fn ring(&mut self) {
        let now = Instant::now();
        let due: Vec<LegId> = self.timers.iter().filter(|(at, _)| *at <= now).map(|(_, leg)| *leg).collect();
        self.timers.retain(|(at, _)| *at > now);
        for leg in due {
            let actions = self.playbook.due(leg);
            self.act(actions);
        }
    }

    fn stop(&mut self, stop: Stop, reason: &str) {
        let wanted = match stop {
            Stop::No => return,
            Stop::Tidy => Demand::CancelGracefully,
            Stop::Hard => Demand::Abort,
        };
        self.timers.clear();
        let actions = self.playbook.cancel(reason);
        self.act(actions);
        for (_, demand) in self.running.values() {
            demand.send_if_modified(|demand| raise(demand, wanted));
        }
    }
}

/// Demands only grow.
fn raise(demand: &mut Demand, to: Demand) -> bool {
    let grows = *demand < to;
    if grows {
        *demand = to;
    }
    grows
}
