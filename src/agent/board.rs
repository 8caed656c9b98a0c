//! What each part of the agent does now: written by the parts themselves, read by `forgehand status` and the watchdog.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::capacity::Figures;
use super::events;
use crate::forge::Assignment;
use crate::pipeline::{FlowEvent, JobChange, JobKey, JobStatus};
use crate::state::journal::Clock;

/// How much later than promised a poll loop may move before it counts as stuck: a machine under full load is slow.
const SLACK: Duration = Duration::from_secs(60);

/// The board. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Board {
    content: Arc<Mutex<Content>>,
    clock: Clock,
}

#[derive(Default)]
struct Content {
    registrations: BTreeMap<String, RegistrationState>,
    lanes: BTreeMap<u64, Lane>,
    next_lane: u64,
    jobs: BTreeMap<JobKey, JobStatusLine>,
}

#[derive(Clone, Default)]
struct RegistrationState {
    last_contact: Option<jiff::Timestamp>,
    is_unhealthy: bool,
    last_error: Option<String>,
}

struct Lane {
    registration: String,
    index: u32,
    activity: Activity,
    since: jiff::Timestamp,
    /// The next sign of life is due until then; `None`: it may wait for ever.
    until: Option<Instant>,
}

/// What a poll loop does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activity {
    /// It waits until a job could start at once.
    WaitingForSlot,
    /// It waits until the registration is so busy that a second question is worth while.
    Resting,
    /// Its question is at the forge.
    Asking,
    /// It was handed a job.
    TakingJob,
    /// It waits before it asks again.
    Pausing,
    /// The same, after a failure.
    BackingOff,
}

/// The place on the board of one poll loop. Taken off when dropped.
pub struct LaneHandle {
    board: Board,
    registration: String,
    index: u32,
    /// Not the name: after a reload the loop of before may still wait for its forge's answer.
    id: u64,
}

/// The place on the board of one job. Cheap to clone; taken off by the agent.
#[derive(Clone)]
pub struct JobLine {
    board: Board,
    key: JobKey,
}

/// What the agent does, as `forgehand status --json` prints it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AgentStatus {
    /// The form of this answer; fields are only ever added.
    pub version: u32,
    /// The agent's process id.
    pub pid: u32,
    /// The version of forgehand it runs.
    pub forgehand: String,
    /// When it started.
    pub since: jiff::Timestamp,
    /// `serving`, `paused`, `draining`, `cancelling` or `stopping`.
    pub state: String,
    /// Capacity, running and waiting jobs.
    pub capacity: Figures,
    /// The registrations by name.
    pub registrations: Vec<RegistrationStatus>,
    /// The jobs, oldest first.
    pub jobs: Vec<JobStatusLine>,
}

/// What one registration does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RegistrationStatus {
    /// Its name.
    pub name: String,
    /// Whether its forge has refused it several times in a row.
    pub is_unhealthy: bool,
    /// When the forge last answered as it should.
    pub last_contact: Option<jiff::Timestamp>,
    /// What went wrong since then.
    pub last_error: Option<String>,
    /// What its poll loops do, and since when.
    pub polls: Vec<LaneStatus>,
}

/// What one poll loop does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LaneStatus {
    /// What.
    pub activity: Activity,
    /// Since when.
    pub since: jiff::Timestamp,
}

/// What one job does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobStatusLine {
    /// What makes it unique here.
    pub key: JobKey,
    /// The forge's id.
    pub id: String,
    /// The name the forge shows.
    pub name: String,
    /// `group/project`.
    pub project: String,
    /// The registration it came through.
    pub registration: String,
    /// The stage it is in: `waiting` for a slot, then the executor's stages.
    pub stage: String,
    /// Where it stands: pending until its forge knows that it begins.
    #[serde(default = "pending")]
    pub status: JobStatus,
    /// Since when it is in this stage.
    pub stage_since: jiff::Timestamp,
    /// Since when the agent has it.
    pub since: jiff::Timestamp,
}

/// For answers of an agent that did not tell yet.
fn pending() -> JobStatus {
    JobStatus::Pending
}

// === impl Board ===

impl Board {
    /// An empty board.
    pub fn new(clock: Clock) -> Self {
        Self { content: Arc::default(), clock }
    }

    /// A place for poll loop `index` of `registration`.
    pub fn lane(&self, registration: &str, index: u32) -> LaneHandle {
        let id = {
            let mut content = self.lock();
            content.next_lane += 1;
            content.next_lane
        };
        let handle = LaneHandle { board: self.clone(), registration: registration.to_owned(), index, id };
        handle.does(Activity::WaitingForSlot, None);
        handle
    }

    /// A place for a job.
    pub fn job(&self, assignment: &Assignment, registration: &str) -> JobLine {
        let now = (self.clock)();
        let line = JobStatusLine {
            key: assignment.key.clone(),
            id: assignment.id.to_string(),
            name: assignment.name.clone(),
            project: assignment.project_path.clone(),
            registration: registration.to_owned(),
            stage: "waiting".into(),
            status: JobStatus::Pending,
            stage_since: now,
            since: now,
        };
        self.lock().jobs.insert(assignment.key.clone(), line);
        JobLine { board: self.clone(), key: assignment.key.clone() }
    }

    /// Shows these registrations and no others, unless jobs of theirs run.
    pub fn set_registrations<'a>(&self, names: impl Iterator<Item = &'a str>) {
        let mut content = self.lock();
        let mut before = std::mem::take(&mut content.registrations);
        content.registrations = names.map(|name| (name.to_owned(), before.remove(name).unwrap_or_default())).collect();
    }

    /// Whether every poll loop moves as it promised.
    pub fn is_moving(&self, now: Instant) -> bool {
        self.lock().lanes.values().all(|lane| lane.until.is_none_or(|until| now <= until + SLACK))
    }

    /// The poll loops that do not, for the log.
    pub fn stuck(&self, now: Instant) -> Vec<String> {
        let content = self.lock();
        let stuck = content.lanes.values().filter(|lane| lane.until.is_some_and(|until| now > until + SLACK));
        let line =
            |lane: &Lane| format!("{}/{}: {:?} since {}", lane.registration, lane.index, lane.activity, lane.since);
        stuck.map(line).collect()
    }

    /// What everybody does, in a form for `status`.
    pub fn registrations(&self) -> Vec<RegistrationStatus> {
        let content = self.lock();
        let polls = |name: &str| {
            let of_name = content.lanes.values().filter(|lane| lane.registration == name);
            of_name.map(|lane| LaneStatus { activity: lane.activity, since: lane.since }).collect()
        };
        let status = |(name, state): (&String, &RegistrationState)| RegistrationStatus {
            name: name.clone(),
            is_unhealthy: state.is_unhealthy,
            last_contact: state.last_contact,
            last_error: state.last_error.clone(),
            polls: polls(name),
        };
        content.registrations.iter().map(status).collect()
    }

    /// The jobs, oldest first.
    pub fn jobs(&self) -> Vec<JobStatusLine> {
        let mut jobs: Vec<_> = self.lock().jobs.values().cloned().collect();
        jobs.sort_by_key(|job| job.since);
        jobs
    }

    /// A job is not worked on any more, however it came to that.
    pub(super) fn remove_job(&self, key: &JobKey) {
        self.lock().jobs.remove(key);
    }

    fn lock(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl LaneHandle, JobLine ===

impl LaneHandle {
    /// The loop does this now, and will do something else until `until`. Without a limit it waits for others.
    pub fn does(&self, activity: Activity, until: Option<Instant>) {
        let since = (self.board.clock)();
        let lane = Lane { registration: self.registration.clone(), index: self.index, activity, since, until };
        self.board.lock().lanes.insert(self.id, lane);
    }

    /// The forge answered as it should.
    pub fn heard(&self) {
        let now = (self.board.clock)();
        self.registration(|state| *state = RegistrationState { last_contact: Some(now), ..Default::default() });
    }

    /// The forge did not.
    pub fn failed(&self, error: &str, is_unhealthy: bool) {
        self.registration(|state| {
            state.last_error = Some(error.to_owned());
            state.is_unhealthy = is_unhealthy;
        });
    }

    fn registration(&self, change: impl FnOnce(&mut RegistrationState)) {
        if let Some(state) = self.board.lock().registrations.get_mut(&self.registration) {
            change(state);
        }
    }
}

impl Drop for LaneHandle {
    fn drop(&mut self) {
        self.board.lock().lanes.remove(&self.id);
    }
}

impl JobLine {
    /// Tells log and board what happens to the job.
    pub fn tell(&self, event: &FlowEvent) {
        events::log(event);
        if let FlowEvent::StageStarted { stage, .. } = event {
            self.stage(stage);
        }
    }

    /// The job's status changes. What cannot happen to it is a defect of ours: it is said, and changes nothing.
    pub fn change(&self, change: JobChange) {
        let changed = {
            let mut content = self.board.lock();
            let Some(line) = content.jobs.get_mut(&self.key) else { return };
            let from = line.status;
            from.after(change).map(|to| {
                line.status = to;
                (from, to)
            })
        };
        match changed {
            Ok((from, to)) => self.tell(&FlowEvent::JobStatusChanged { job: self.key.clone(), from, to }),
            Err(invalid) => tracing::error!(job_key = %self.key, %invalid, "a defect of forgehand"),
        }
    }

    /// The job is in this stage now. Names are those of the executor's stages.
    pub fn stage(&self, stage: &str) {
        let now = (self.board.clock)();
        if let Some(line) = self.board.lock().jobs.get_mut(&self.key).filter(|line| line.stage != stage) {
            line.stage = stage.to_owned();
            line.stage_since = now;
        }
    }

    /// The job is not worked on any more.
    pub(super) fn take_off(&self) {
        self.board.remove_job(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::journal::tests_support::{assignment, noon};

    #[test]
    fn a_poll_loop_that_misses_its_own_promise_is_stuck() {
        let board = Board::new(noon);
        let now = Instant::now();
        let lane = board.lane("a", 0);
        assert!(board.is_moving(now + Duration::from_secs(100_000)), "waiting for a slot is no fault");
        lane.does(Activity::Asking, Some(now + Duration::from_secs(10)));
        assert!(board.is_moving(now + Duration::from_secs(60)));
        let late = now + Duration::from_secs(71);
        assert!(!board.is_moving(late));
        assert!(board.stuck(late)[0].starts_with("a/0: Asking"));
        drop(lane);
        assert!(board.is_moving(late));
    }

    #[test]
    fn a_job_is_on_the_board_with_its_stage_until_it_is_taken_off() {
        let board = Board::new(noon);
        let line = board.job(&assignment("7", "t"), "a");
        line.stage("get_sources");
        assert_eq!(board.jobs()[0].stage, "get_sources");
        line.change(JobChange::Succeed); // what has not begun cannot end well
        assert_eq!(board.jobs()[0].status, JobStatus::Pending);
        line.change(JobChange::Start);
        assert_eq!(board.jobs()[0].status, JobStatus::Running);
        line.take_off();
        line.stage("steps");
        assert!(board.jobs().is_empty());
    }

    #[test]
    fn what_a_forge_said_is_forgotten_with_its_registration() {
        let board = Board::new(noon);
        board.set_registrations(["a", "b"].into_iter());
        let lane = board.lane("a", 0);
        lane.failed("403", true);
        board.set_registrations(["a"].into_iter());
        let shown = board.registrations();
        assert_eq!(shown.len(), 1);
        assert!(shown[0].is_unhealthy && shown[0].last_error.as_deref() == Some("403"));
        lane.heard();
        assert!(!board.registrations()[0].is_unhealthy);
        assert_eq!(board.registrations()[0].last_contact, Some(noon()));
    }
}
