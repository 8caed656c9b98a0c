//! What is wrong with a job, read off what is known of it. Pure.

use std::collections::BTreeMap;

use serde::Serialize;

use super::super::render;
use crate::executor::progress::Progress;
use crate::executor::stage::Stage;
use crate::pipeline::{JobStatus, exit_code};
use crate::state::{JobDetails, JobPhase, JobRecord, Moved, Transition};

/// A clock may differ so much from the machine's uptime before somebody has set it: milliseconds.
const JUMP: i64 = 5_000;
/// How much longer than its limit a job may take to end: its steps' grace, its after-step, what is to be saved.
const OVERTIME: i64 = 10 * 60;
/// How long the end of a job may be on its way to its forge before somebody should look, and how long a job waits for its
/// beginning.
const REPORT: i64 = 10 * 60;
const BEGINNING: i64 = 5 * 60;

/// Something about a job that somebody should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// A stable name.
    pub code: &'static str,
    /// What was found.
    pub message: String,
    /// What to do about it.
    pub help: String,
}

impl Finding {
    fn new(code: &'static str, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { code, message: message.into(), help: help.into() }
    }
}

/// What the engine says about the container of a running job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sandbox {
    /// It was not asked, or there is none to ask about.
    Unasked,
    /// It runs.
    Runs,
    /// It ended or is gone: why.
    Gone(String),
    /// The engine does not tell: why.
    Unknown(String),
}

/// What is known besides the journal.
pub struct World<'a> {
    /// Now.
    pub now: jiff::Timestamp,
    /// The process that has the job is there.
    pub is_alive: bool,
    /// It is a local run, not the agent.
    pub is_run: bool,
    /// The container.
    pub sandbox: &'a Sandbox,
    /// When the job's log last grew.
    pub last_output: Option<jiff::Timestamp>,
    /// The machine's boot.
    pub boot_id: Option<&'a str>,
}

/// How long a stage may be silent: neither a turn of the job nor a line of output.
fn patience(stage: Stage) -> i64 {
    match stage {
        Stage::PrepareEnvironment | Stage::CleanUp => 2 * 60,
        // A big image, a big history, a slow network.
        Stage::PrepareSandbox
        | Stage::GetSources
        | Stage::RestoreCache
        | Stage::DownloadArtifacts
        | Stage::SaveCache
        | Stage::UploadArtifacts
        | Stage::SaveTools => 15 * 60,
        // Builds and tests are silent for long.
        Stage::Steps | Stage::AfterSteps => 30 * 60,
    }
}

/// Everything that is wrong with a job.
pub fn of(record: &JobRecord, details: &JobDetails, world: &World<'_>) -> Vec<Finding> {
    let mut found = violations(&details.transitions);
    found.extend(jumps(&details.transitions));
    if is_open(record.phase, world.is_run) {
        found.extend(stuck(record, details, world));
    }
    let restarts = details.transitions.iter().filter_map(|line| match line.moved {
        Moved::Stage { restarts, .. } => Some(restarts),
        _ => None,
    });
    if let Some(count @ 1..) = restarts.max() {
        let times = if count == 1 { "once".to_owned() } else { format!("{count} times") };
        found.push(Finding::new(
            "taken_over",
            format!("the agent was restarted while the job ran, {times}"),
            "the job went on where it was; the agent's log of that time says why it ended",
        ));
    }
    found
}

/// Whether something is still to be done for the job. A local run owes nobody a report.
pub fn is_open(phase: JobPhase, is_run: bool) -> bool {
    match phase {
        JobPhase::Accepted | JobPhase::Running => true,
        JobPhase::Ended => !is_run,
        JobPhase::Acknowledged => false,
    }
}

fn stuck(record: &JobRecord, details: &JobDetails, world: &World<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    let progress: Option<Progress> =
        details.progress.clone().and_then(|progress| serde_json::from_value(progress).ok());
    if !world.is_alive {
        found.push(match world.is_run {
            true => Finding::new(
                "owner_gone",
                "`forgehand exec` was killed while the job ran",
                "the next `forgehand exec` removes what it left",
            ),
            false => Finding::new(
                "owner_gone",
                format!("no agent runs, and the job is {}", record.phase),
                "start it with `forgehand run` or `forgehand service start`: it goes on with the job",
            ),
        });
    }
    let moved_at = details.transitions.last().map_or(record.accepted_at, |last| last.at);
    let quiet = |since: jiff::Timestamp| world.now.as_second() - since.as_second();
    match record.phase {
        JobPhase::Accepted if quiet(moved_at) > BEGINNING => found.push(Finding::new(
            "stuck",
            format!("it came {} ago and has not begun", render::duration(quiet(moved_at))),
            "`forgehand status` says what the agent does; all its slots may be taken, the disk full, the engine away",
        )),
        JobPhase::Ended if quiet(moved_at) > REPORT => found.push(Finding::new(
            "stuck",
            format!("it ended {} ago and its forge has not acknowledged that", render::duration(quiet(moved_at))),
            "the agent goes on trying; `forgehand verify` says whether the forge can be reached",
        )),
        JobPhase::Running => found.extend(running(details, progress.as_ref(), moved_at, world)),
        JobPhase::Accepted | JobPhase::Ended | JobPhase::Acknowledged => {}
    }
    found
}

fn running(
    details: &JobDetails,
    progress: Option<&Progress>,
    moved_at: jiff::Timestamp,
    world: &World<'_>,
) -> Vec<Finding> {
    let mut found = Vec::new();
    if let Some(progress) = progress.filter(|progress| progress.timeout_ms > 0) {
        let took = world.now.as_second() - i64::try_from(progress.began_ms / 1000).unwrap_or(i64::MAX);
        let limit = i64::try_from(progress.timeout_ms / 1000).unwrap_or(i64::MAX);
        if took > limit.saturating_add(OVERTIME) {
            found.push(Finding::new(
                "past_timeout",
                format!("it has run for {}, its limit is {}", render::duration(took), render::duration(limit)),
                "it should have been ended: `forgehand status` says what the agent does; the engine may hang (`forgehand doctor`)",
            ));
        }
    }
    match world.sandbox {
        Sandbox::Gone(why) => found.push(Finding::new(
            "container_gone",
            format!("the job is running and its sandbox is not: {why}"),
            "look for `docker rm`, `docker system prune` or a cleaner of that kind; the agent reports the job when it notices",
        )),
        Sandbox::Unknown(why) => found.push(Finding::new(
            "engine_silent",
            format!("the engine could not be asked about the job's container: {why}"),
            "`forgehand doctor` checks the engine; the job goes on without it until it needs another container",
        )),
        Sandbox::Unasked | Sandbox::Runs => {}
    }
    let made_in = details.sandbox.as_ref().map(|sandbox| match sandbox {
        crate::executor::sandbox::SandboxRecord::Docker { boot_id, .. }
        | crate::executor::sandbox::SandboxRecord::Host { boot_id, .. } => boot_id.as_str(),
    });
    if let (Some(made_in), Some(now)) = (made_in, world.boot_id)
        && made_in != now
    {
        found.push(Finding::new(
            "machine_restarted",
            "the machine was started again while the job ran",
            "nothing of the job is left: the agent reports it as failed",
        ));
    }
    let stage = progress.map_or(Stage::PrepareSandbox, |progress| progress.stage);
    let heard = world.last_output.map_or(moved_at, |output| output.max(moved_at));
    let quiet = world.now.as_second() - heard.as_second();
    if quiet > patience(stage) {
        found.push(Finding::new(
            "stuck",
            format!("nothing has happened in the stage `{}` and nothing was printed for {}", stage.name(), render::duration(quiet)),
            match stage {
                Stage::Steps | Stage::AfterSteps => {
                    "the command may wait for input, a lock or the network: look with `docker exec -it CONTAINER ps`; the job's \
                     time limit ends it"
                }
                Stage::PrepareSandbox => "an image that takes long to come, or an engine that hangs: `forgehand doctor`",
                _ => "the network, the disk or the forge may be slow: `forgehand doctor`",
            },
        ));
    }
    found
}

/// Recorded changes that the rules do not allow, and those that were refused.
fn violations(lines: &[Transition]) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut wrong = |message: String| {
        found.push(Finding::new(
            "invalid_transition",
            message,
            "a defect of forgehand, or a journal that somebody changed: please report it with `forgehand debug JOB --json`",
        ));
    };
    let (mut status, mut phase): (Option<JobStatus>, Option<JobPhase>) = (None, None);
    let (mut stage, mut restarts): (Option<Stage>, u32) = (None, 0);
    let mut steps: BTreeMap<u32, bool> = BTreeMap::new();
    for line in lines {
        match &line.moved {
            Moved::Accepted { status: first, phase: first_phase, .. } => {
                if status.is_some() {
                    wrong("it was accepted a second time".to_owned());
                }
                (status, phase) = (Some(*first), Some(*first_phase));
            }
            Moved::Status { from, change, to } => {
                if status.is_some_and(|known| known != *from) || from.after(*change) != Ok(*to) {
                    let was = status.unwrap_or(*from);
                    wrong(format!("its status went from {was} to {to} by `{change}`"));
                }
                status = Some(*to);
            }
            Moved::Phase { from, to } => {
                let follows = JobPhase::ALL.windows(2).any(|pair| pair == [*from, *to]);
                if phase.is_some_and(|known| known != *from) || !follows {
                    wrong(format!("it went from {} to {to}", phase.unwrap_or(*from)));
                }
                phase = Some(*to);
            }
            Moved::Stage { stage: next, restarts: now } => {
                if *now == restarts && stage.is_some_and(|before| before >= *next) {
                    let before = stage.map_or("", Stage::name);
                    wrong(format!("the stage `{}` began behind `{before}`", next.name()));
                }
                (stage, restarts) = (Some(*next), *now);
            }
            Moved::Step { number, .. } => {
                steps.insert(*number, true);
            }
            Moved::StepEnded { number, .. } => {
                steps.insert(*number, false);
            }
            Moved::Refused { what } => wrong(format!("a change was refused: {what}")),
            Moved::StageFailed { .. } => {}
        }
    }
    let is_over = matches!(phase, Some(JobPhase::Ended | JobPhase::Acknowledged));
    if let (true, Some((number, _))) = (is_over, steps.iter().find(|(_, is_open)| **is_open)) {
        wrong(format!("the job ended, and the end of its step {number} was not noted"));
    }
    found
}

/// Where the clock went another way than the machine's uptime.
fn jumps(lines: &[Transition]) -> Vec<Finding> {
    let mut found = Vec::new();
    for pair in lines.windows(2) {
        let [before, after] = pair else { continue };
        let by_clock = after.at.as_millisecond() - before.at.as_millisecond();
        let same_boot = before.boot_id.is_some() && before.boot_id == after.boot_id;
        let by_uptime = match (before.uptime_ms, after.uptime_ms) {
            (Some(from), Some(to)) if same_boot => {
                i64::try_from(to).ok().zip(i64::try_from(from).ok()).map(|(to, from)| to - from)
            }
            _ => None,
        };
        let off = by_clock - by_uptime.unwrap_or_else(|| by_clock.max(0));
        if off.abs() > JUMP {
            let (way, seconds) = (if off > 0 { "forwards" } else { "backwards" }, off.abs() / 1000);
            found.push(Finding::new(
                "clock_jump",
                format!("the machine's clock was set {way} by {} at {}", render::duration(seconds), before.at),
                "time limits and times of the job are off by that; keep the clock with NTP (`timedatectl`)",
            ));
        }
    }
    found
}

/// What is known around the end of a command.
pub fn circumstances(evidence: &crate::executor::evidence::Evidence) -> exit_code::Circumstances {
    use crate::executor::evidence::StepEnding;
    let ending = evidence.step.as_ref().map(|step| step.ending);
    exit_code::Circumstances {
        out_of_memory: ending == Some(StepEnding::OutOfMemory)
            || evidence.container.as_ref().is_some_and(|container| container.oom_killed),
        timed_out: ending == Some(StepEnding::TimedOut),
        cancelled: ending == Some(StepEnding::Cancelled),
    }
}

#[cfg(test)]
#[path = "findings_tests.rs"]
mod tests;
