//! The schedule itself.

use std::collections::VecDeque;

use super::claims::Claims;
use super::nodes::{self, Node};
use super::retry::{Backoff, RetryCategory, next_try};
use super::tally::{End, Standing, Tally};
use super::{JobIndex, Move, NeverRan, PipelineEnd, ScheduleError};
use crate::pipeline::{JobChange, JobFailure, JobOutcome, JobStatus, PipelineDefinition, StartCondition, Waits};

/// Tries again that all jobs of a pipeline have together.
const RETRY_BUDGET: u32 = 100;

/// What a job does now, beside its status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doing {
    /// Waits for others to end.
    Waiting,
    /// Waits for its language, its groups or the clock: it goes on by itself.
    Asking,
    /// Waits for a person.
    Held,
    /// In a [`Move::Start`] and has not ended.
    Out,
    /// Has its final end.
    Ended,
}

#[derive(Debug)]
struct Place {
    status: JobStatus,
    doing: Doing,
    attempt: u32,
    /// A person named it: it does not wait for a word or a delay.
    is_wanted: bool,
}

/// The state of a pipeline that runs.
#[derive(Debug)]
pub struct Schedule {
    definition: PipelineDefinition,
    nodes: Vec<Node>,
    places: Vec<Place>,
    claims: Claims,
    backoff: Backoff,
    retries_left: u32,
    /// How many jobs go on by themselves.
    active: usize,
    /// Nodes all of whose predecessors have ended, to be looked at. A list and not a recursion: chains are as long as files.
    ready: VecDeque<usize>,
    failed: bool,
    cancelled: Option<String>,
    failed_groups: Vec<bool>,
    members: Vec<Vec<usize>>,
}

impl Schedule {
    /// Nothing has begun. `wanted`: jobs that a person named, which start without a further word.
    pub fn new(definition: PipelineDefinition, wanted: &dyn Fn(&str) -> bool) -> Result<Self, ScheduleError> {
        let nodes = nodes::of(&definition)?;
        let places = definition
            .jobs
            .iter()
            .map(|job| Place {
                status: JobStatus::Pending,
                doing: Doing::Waiting,
                attempt: 0,
                is_wanted: wanted(&job.name),
            })
            .collect();
        let mut members = vec![Vec::new(); definition.groups.len()];
        for (index, job) in definition.jobs.iter().enumerate() {
            if let Some(members) = job.group.and_then(|group| members.get_mut(group)) {
                members.push(index);
            }
        }
        Ok(Self {
            claims: Claims::new(&definition),
            nodes,
            places,
            backoff: Backoff::default(),
            retries_left: RETRY_BUDGET,
            active: 0,
            ready: VecDeque::new(),
            failed: false,
            cancelled: None,
            failed_groups: vec![false; definition.groups.len()],
            members,
            definition,
        })
    }

    /// The definition it runs.
    pub fn definition(&self) -> &PipelineDefinition {
        &self.definition
    }

    /// Where a job stands.
    pub fn status(&self, job: JobIndex) -> Option<JobStatus> {
        self.places.get(job.0).map(|place| place.status)
    }

    /// The ends of what a job waited for, for a language that decides by them: all in success, one failed, one cancelled.
    pub fn standing(&self, job: JobIndex) -> Standing {
        self.nodes.get(job.0).map_or(Standing::Success, |node| node.tally.standing(true))
    }

    /// Whether nothing goes on by itself any more: all jobs have ended, or wait for a person.
    pub fn is_over(&self) -> bool {
        self.active == 0
    }

    /// How it ended.
    pub fn end(&self) -> PipelineEnd {
        match (&self.cancelled, self.failed) {
            (Some(_), _) => PipelineEnd::Cancelled,
            (None, true) => PipelineEnd::Failed,
            (None, false) => PipelineEnd::Success,
        }
    }

    /// Begins: the jobs that wait for nobody.
    pub fn start(&mut self) -> Vec<Move> {
        let free = self.nodes.iter().enumerate().filter(|(_, node)| node.missing == 0);
        self.ready = free.map(|(index, _)| index).collect();
        self.settle(Vec::new())
    }

    /// A job that was started has ended. `dice`: a random number from 0 to 1, for the pause before another try.
    pub fn ended(&mut self, job: JobIndex, outcome: &JobOutcome, dice: f64) -> Vec<Move> {
        let mut moves = Vec::new();
        if self.doing(job) != Doing::Out {
            return moves;
        }
        self.change(job, outcome.change());
        match outcome {
            JobOutcome::Success => self.close(job, End::Success),
            JobOutcome::Cancelled => self.close(job, End::Cancelled),
            JobOutcome::Failed(failure) => self.failed(job, failure, dice, &mut moves),
        }
        self.claims.give_back(job);
        self.settle(moves)
    }

    /// The time of a [`Move::Wait`] is over, or a person starts a job that was held.
    pub fn due(&mut self, job: JobIndex) -> Vec<Move> {
        let mut moves = Vec::new();
        if matches!(self.doing(job), Doing::Asking | Doing::Held) {
            self.ask_to_start(job, &mut moves);
        }
        self.settle(moves)
    }

    /// The language has decided on a [`Move::Decide`]; an error is the reason why the job does not run.
    pub fn decided(&mut self, job: JobIndex, runs: Result<(), String>) -> Vec<Move> {
        let mut moves = Vec::new();
        match runs {
            Ok(()) => self.ask_to_start(job, &mut moves),
            Err(reason) => self.never(job, NeverRan::Skipped, reason, &mut moves),
        }
        self.settle(moves)
    }

    /// Nothing more is wanted: what runs is to end, what waits never runs.
    pub fn cancel(&mut self, reason: &str) -> Vec<Move> {
        let mut moves = Vec::new();
        if self.cancelled.is_none() {
            self.cancelled = Some(reason.to_owned());
            for index in 0..self.places.len() {
                self.withdraw(JobIndex(index), reason, &mut moves);
            }
        }
        self.settle(moves)
    }

    /// One job is not wanted any more; those that wait for it go on by their conditions.
    pub fn cancel_job(&mut self, job: JobIndex, reason: &str) -> Vec<Move> {
        let mut moves = Vec::new();
        self.withdraw(job, reason, &mut moves);
        self.settle(moves)
    }

    /// Ends what waits for a person, and what waits for that: nobody is there who could start it.
    pub fn give_up_held(&mut self) -> Vec<Move> {
        let mut moves = Vec::new();
        // The held ones first, then whatever they blocked; a job that may run after one that was skipped is not revived.
        for (doing, reason) in [
            (Doing::Held, "it is a manual job; `--job` with its name runs it"),
            (Doing::Waiting, "it waits for a manual job that nobody started"),
        ] {
            for index in 0..self.places.len() {
                if self.doing(JobIndex(index)) == doing {
                    self.never(JobIndex(index), NeverRan::Skipped, reason.to_owned(), &mut moves);
                }
            }
        }
        self.settle(moves)
    }

    /// Looks at all nodes that nothing is missing for any more, and at those that this frees.
    fn settle(&mut self, mut moves: Vec<Move>) -> Vec<Move> {
        while let Some(index) = self.ready.pop_front() {
            if index >= self.definition.jobs.len() {
                self.stage_ended(index);
            } else if self.doing(JobIndex(index)) == Doing::Waiting {
                self.all_there(index, &mut moves);
            }
        }
        // Only now: those that an end has withdrawn do not get its place.
        for next in self.claims.granted() {
            self.go(next, &mut moves);
        }
        moves
    }

    /// Everything that this job waits for has ended.
    fn all_there(&mut self, index: usize, moves: &mut Vec<Move>) {
        let (Some(job), Some(node)) = (self.definition.jobs.get(index), self.nodes.get(index)) else { return };
        let (this, start) = (JobIndex(index), job.start.clone());
        if !node.tally.allows(&start, matches!(job.waits, Waits::Jobs(_))) {
            let reason = self.why_not(index);
            return self.never(this, NeverRan::Skipped, reason, moves);
        }
        let is_wanted = self.places.get(index).is_some_and(|place| place.is_wanted);
        match start {
            StartCondition::Decided => {
                self.set(this, Doing::Asking);
                moves.push(Move::Decide(this));
            }
            StartCondition::Manual { blocks } if !is_wanted => {
                self.set(this, Doing::Held);
                moves.push(Move::Hold(this));
                if !blocks {
                    self.tell_followers(index, End::Ignored);
                }
            }
            StartCondition::Delayed(delay) if !is_wanted => {
                self.set(this, Doing::Asking);
                moves.push(Move::Wait { job: this, delay, reason: "it is a delayed job".to_owned() });
            }
            _ => self.ask_to_start(this, moves),
        }
    }

    fn ask_to_start(&mut self, job: JobIndex, moves: &mut Vec<Move>) {
        if self.doing(job) == Doing::Ended {
            return;
        }
        self.set(job, Doing::Asking);
        if self.claims.take(job) {
            self.go(job, moves);
        }
    }

    /// It has all its places and goes.
    fn go(&mut self, job: JobIndex, moves: &mut Vec<Move>) {
        self.change(job, JobChange::Start);
        self.set(job, Doing::Out);
        let Some(place) = self.places.get_mut(job.0) else { return };
        place.attempt += 1;
        moves.push(Move::Start { job, attempt: place.attempt });
    }

    fn failed(&mut self, job: JobIndex, failure: &JobFailure, dice: f64, moves: &mut Vec<Move>) {
        let Some(planned) = self.definition.jobs.get(job.0) else { return };
        let attempt = self.places.get(job.0).map_or(1, |place| place.attempt);
        let again = next_try(&planned.retry, failure, attempt, &self.backoff, dice);
        let tries = planned.retry.max.saturating_add(1);
        let allowed = planned.may_fail.covers(failure.exit_code);
        let group =
            planned.group.filter(|group| self.definition.groups.get(*group).is_some_and(|group| group.fail_fast));
        let name = planned.name.clone();
        if let Some(delay) = again.filter(|_| self.cancelled.is_none() && self.retries_left > 0) {
            self.retries_left -= 1;
            self.change(job, JobChange::GrantRetry);
            self.set(job, Doing::Asking);
            let category = RetryCategory::of(failure).as_str();
            let reason = format!("try {attempt} of {tries} failed ({category}): {}", failure.message);
            moves.push(Move::Wait { job, delay, reason });
            return;
        }
        self.close(job, if allowed { End::FailedAllowed } else { End::Failed });
        if allowed {
            return;
        }
        if self.definition.fail_fast {
            self.fail_all(&name, moves);
        } else if let Some(group) = group {
            self.fail_group(group, &name, moves);
        }
    }

    /// Ends all that runs or is to run by itself; a job that waits for a person is none of these.
    fn fail_all(&mut self, name: &str, moves: &mut Vec<Move>) {
        let reason = format!("`{name}` failed");
        for index in 0..self.places.len() {
            if self.doing(JobIndex(index)) != Doing::Held {
                self.withdraw(JobIndex(index), &reason, moves);
            }
        }
    }

    fn fail_group(&mut self, group: usize, name: &str, moves: &mut Vec<Move>) {
        let Some(failed) = self.failed_groups.get_mut(group) else { return };
        if std::mem::replace(failed, true) {
            return;
        }
        let reason = format!("`{name}` of the same matrix failed");
        for member in self.members.get(group).cloned().unwrap_or_default() {
            self.withdraw(JobIndex(member), &reason, moves);
        }
    }

    /// Ends one job that is not wanted any more.
    fn withdraw(&mut self, job: JobIndex, reason: &str, moves: &mut Vec<Move>) {
        match self.doing(job) {
            Doing::Ended => {}
            Doing::Out => moves.push(Move::Cancel { job, reason: reason.to_owned() }),
            Doing::Waiting | Doing::Asking | Doing::Held => {
                self.never(job, NeverRan::Cancelled, reason.to_owned(), moves);
            }
        }
    }

    fn never(&mut self, job: JobIndex, end: NeverRan, reason: String, moves: &mut Vec<Move>) {
        let doing = self.doing(job);
        if doing == Doing::Ended {
            return;
        }
        self.claims.forget(job);
        self.change(job, if end == NeverRan::Skipped { JobChange::Skip } else { JobChange::Cancel });
        moves.push(Move::Never { job, end, reason });
        let start = self.definition.jobs.get(job.0).map(|job| &job.start);
        if doing == Doing::Held && start == Some(&StartCondition::Manual { blocks: false }) {
            // Those that wait for it went on without it long ago.
            self.set(job, Doing::Ended);
        } else {
            self.close(job, if end == NeverRan::Skipped { End::Skipped } else { End::Cancelled });
        }
    }

    /// A job has its final end: those that wait for it hear.
    fn close(&mut self, job: JobIndex, end: End) {
        self.set(job, Doing::Ended);
        self.failed |= end == End::Failed;
        self.tell_followers(job.0, end);
    }

    fn tell_followers(&mut self, index: usize, end: End) {
        self.tell(index, |tally| tally.add(index, end));
    }

    /// All jobs of a stage, and of those before it, have ended.
    fn stage_ended(&mut self, index: usize) {
        let Some(node) = self.nodes.get(index) else { return };
        let tally = node.tally;
        self.tell(index, |of_follower| of_follower.merge(&tally));
    }

    fn tell(&mut self, index: usize, add: impl Fn(&mut Tally)) {
        let Some(node) = self.nodes.get_mut(index) else { return };
        for follower in std::mem::take(&mut node.followers) {
            let Some(node) = self.nodes.get_mut(follower) else { continue };
            add(&mut node.tally);
            node.missing -= 1; // counted when the edge was made
            if node.missing == 0 {
                self.ready.push_back(follower);
            }
        }
    }

    fn why_not(&self, index: usize) -> String {
        let culprit = self.nodes.get(index).and_then(|node| node.tally.culprit());
        let name = culprit.and_then(|job| Some((job, self.definition.jobs.get(job)?)));
        let is_on_failure = self.definition.jobs.get(index).is_some_and(|job| job.start == StartCondition::OnFailure);
        match name {
            _ if is_on_failure => "it runs only after a failure, and nothing before it failed".to_owned(),
            Some((job, planned)) => {
                let status = self.places.get(job).map_or(JobStatus::Skipped, |place| place.status);
                match status {
                    JobStatus::Failed => format!("`{}` failed", planned.name),
                    JobStatus::Cancelled => format!("`{}` was cancelled", planned.name),
                    JobStatus::Pending => format!("`{}` is a manual job that nobody started", planned.name),
                    _ => format!("`{}` was skipped", planned.name),
                }
            }
            None => "nothing that it waits for ran".to_owned(),
        }
    }

    fn change(&mut self, job: JobIndex, change: JobChange) {
        let Some(place) = self.places.get_mut(job.0) else { return };
        // A change that does not fit would be a defect here; the status stays what it was.
        if let Ok(next) = place.status.after(change) {
            place.status = next;
        }
    }

    fn doing(&self, job: JobIndex) -> Doing {
        self.places.get(job.0).map_or(Doing::Ended, |place| place.doing)
    }

    fn set(&mut self, job: JobIndex, doing: Doing) {
        let Some(place) = self.places.get_mut(job.0) else { return };
        let goes_on = |doing| matches!(doing, Doing::Asking | Doing::Out);
        self.active += usize::from(goes_on(doing));
        self.active -= usize::from(goes_on(place.doing)); // it was counted when that was set
        place.doing = doing;
    }
}
