//! Looks at everything that tells why a job failed, while it is still there.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::time::Duration;

use tracing::warn;

use super::launcher::{self, Interpreter};
use super::{
    ContainerEvidence, Disk, EnvEntry, EnvKind, Evidence, MountRole, Places, StepEnding, StepEvidence, fits_a_line,
};
use crate::executor::log::JobLog;
use crate::executor::running::Running;
use crate::executor::sandbox::SandboxRecord;
use crate::executor::sandbox::place::Place;
use crate::executor::stage::Stage;
use crate::forge::Reporter;
use crate::pipeline::{JobFailure, JobOutcome, Secret, Variable};
use crate::state::evidence::{self, StepFiles};

/// How long engine and disk are asked: the job's slot waits.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of the end of the job's log, and of a container's, that are kept.
const LOG_TAIL: usize = 16 << 10;
const CONTAINER_TAIL: usize = 4 << 10;
/// A longer value of a variable is left out; so is what comes behind so many bytes of all of them.
const LONGEST_VALUE: usize = 8 << 10;
const LONGEST_ENV: usize = 128 << 10;
/// A longer script is cut.
const LONGEST_SCRIPT: usize = 512 << 10;
/// Failed steps that are remembered: which of them counts shows at the end.
const MOST_STEPS: usize = 8;

/// A step that did not end well.
pub(in crate::executor) struct FailedStep {
    pub number: u32,
    pub name: String,
    pub ending: StepEnding,
    /// The job fails by it.
    pub counts: bool,
    /// What ran, where something did.
    pub program: Option<FailedProgram>,
    /// Its own container, where it is not the job's.
    pub container: Option<ContainerEvidence>,
}

/// What a failed step ran.
pub(in crate::executor) struct FailedProgram {
    pub interpreter: Interpreter,
    pub script: String,
    pub env: Vec<(String, Secret)>,
    pub path: Vec<String>,
    pub cwd: String,
    /// Files that it could write to, as it saw them.
    pub files: Vec<String>,
}

/// What is remembered on the way, for the case that the job fails.
#[derive(Default)]
pub(in crate::executor) struct Clues {
    /// The first stage that failed.
    pub stage: Option<Stage>,
    /// The container that ended before its shim said hello.
    pub stillborn: Option<Box<ContainerEvidence>>,
    steps: std::sync::Mutex<Vec<FailedStep>>,
}

impl Clues {
    /// Remembers a step.
    pub fn add(&self, step: FailedStep) {
        let mut steps = self.steps.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if steps.len() < MOST_STEPS || step.counts {
            steps.push(step);
        }
    }

    /// The step by which the job failed in `stage`.
    fn step(&self, stage: Stage) -> Option<FailedStep> {
        let mut steps = self.steps.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let at = match stage {
            Stage::Steps => steps.iter().position(|step| step.counts)?,
            Stage::AfterSteps => steps.len().checked_sub(1)?,
            _ => return None,
        };
        Some(steps.swap_remove(at))
    }
}

impl<R: Reporter> Running<R> {
    /// Writes down what is known of the job, if it failed. Does not fail: the job's end does not depend on it.
    pub(in crate::executor) async fn write_evidence(&self, outcome: &JobOutcome) {
        let JobOutcome::Failed(failure) = outcome else { return };
        let (evidence, files) = self.evidence(failure).await;
        let (dir, key) = (self.run.journal.journal().dir().clone(), self.run.job.key.clone());
        let written = tokio::task::spawn_blocking(move || evidence::write(&dir, &key, &evidence, files.as_ref())).await;
        if let Err(error) = written.unwrap_or_else(|error| Err(error.into())) {
            warn!(%error, "what was found about the failed job cannot be kept for `forgehand debug`");
        }
    }

    async fn evidence(&self, failure: &JobFailure) -> (Evidence, Option<StepFiles>) {
        let stage = self.clues.stage.unwrap_or(self.run.progress.stage);
        let mut gaps = Vec::new();
        let failed = self.clues.step(stage);
        let own_container = failed.as_ref().and_then(|step| step.container.clone());
        let (container, services) =
            tokio::time::timeout(PATIENCE, self.containers(&mut gaps)).await.unwrap_or_else(|_| (None, Vec::new()));
        let container = own_container.or(container).or_else(|| self.clues.stillborn.as_deref().cloned());
        if container.is_none()
            && self.run.sandbox.is_some()
            && self.run.tools.place.name() == "docker"
            && gaps.is_empty()
        {
            gaps.push(
                "the container could not be looked at: it was gone, or the engine did not answer in time".to_owned(),
            );
        }
        let (step, files) = match failed {
            Some(failed) => self.step_evidence(failed),
            None => (None, None),
        };
        let (log, dirs) = (self.run.log.clone(), &self.run.job.dirs);
        let state_dir = self.run.journal.journal().dir();
        let evidence = Evidence {
            at: jiff::Timestamp::now(),
            stage,
            reason: failure.reason,
            message: log.masked(&failure.message),
            exit_code: failure.exit_code,
            step,
            executor: self.run.tools.place.name().to_owned(),
            image: self.run.job.image.as_ref().map(|image| image.name.clone()).filter(|name| !name.is_empty()),
            container,
            services,
            places: Places {
                workspace: self.run.paths.workspace.clone(),
                builds: dirs.builds.clone(),
                project: dirs.project.clone(),
            },
            disks: disks(&[state_dir.root(), &self.run.paths.workspace]),
            memory_available: memory_available(),
            timeout: self.run.job.timeouts.job.as_secs(),
            log_tail: tail_of(&log, &state_dir.job_log(&self.run.job.key)),
            gaps,
        };
        (evidence, files)
    }

    /// The job's container and its services.
    async fn containers(&self, gaps: &mut Vec<String>) -> (Option<ContainerEvidence>, Vec<ContainerEvidence>) {
        let Some(SandboxRecord::Docker { container, services, .. }) = &self.run.sandbox else {
            return (None, Vec::new());
        };
        let job = self.look_at(container, gaps);
        let job = job.await;
        let mut found = Vec::new();
        for id in services {
            // Containers of steps are among them.
            if let Some(service) = self.look_at(id, gaps).await.filter(|one| !one.service.is_empty()) {
                found.push(service);
            }
        }
        (job, found)
    }

    /// A container, with the last words of one that is a service. Masked.
    pub(in crate::executor) async fn look_at(&self, id: &str, gaps: &mut Vec<String>) -> Option<ContainerEvidence> {
        let Place::Docker(place) = &self.run.tools.place else { return None };
        let mut looked = match place.engine.look_at(id).await {
            Ok(looked) => looked?,
            Err(error) => {
                gaps.push(format!("a container could not be looked at: {error}"));
                return None;
            }
        };
        let log = &self.run.log;
        let evidence = &mut looked.evidence;
        if !evidence.service.is_empty() {
            let said = place.engine.output_of(id, CONTAINER_TAIL).await.unwrap_or_default();
            evidence.log_tail = lines(&log.masked(&String::from_utf8_lossy(&said)));
            let own = looked.env.iter().filter_map(|line| line.split_once('='));
            // What services are given of the job's variables is known from the job.
            let own = own.filter(|(name, value)| {
                self.run.job.variables.get(name).is_none_or(|variable| variable.value.expose() != *value)
            });
            evidence.env = entries(log, &|name| self.run.job.variables.get(name), own);
        }
        Some(self.masked(looked.evidence))
    }

    /// Without what the job's log hides.
    pub(in crate::executor) fn masked(&self, mut evidence: ContainerEvidence) -> ContainerEvidence {
        let (log, builds) = (&self.run.log, &self.run.job.dirs.builds);
        for mount in
            evidence.mounts.iter_mut().filter(|mount| mount.role == MountRole::Other && mount.target == *builds)
        {
            mount.role = MountRole::Workspace;
        }
        for text in [&mut evidence.error, &mut evidence.health_output] {
            *text = text.take().map(|text| log.masked(&text));
        }
        evidence.command.iter_mut().chain(&mut evidence.entrypoint).for_each(|word| *word = log.masked(word));
        evidence
    }

    fn step_evidence(&self, failed: FailedStep) -> (Option<StepEvidence>, Option<StepFiles>) {
        let log = &self.run.log;
        let mut step = StepEvidence {
            number: failed.number,
            name: log.masked(&failed.name),
            ending: failed.ending,
            cwd: String::new(),
            env: Vec::new(),
            has_files: false,
            script_is_masked: false,
            script_is_cut: false,
        };
        let Some(program) = failed.program else { return (Some(step), None) };
        let variables = &self.run.job.variables;
        let env = program.env.iter().map(|(name, value)| (name.as_str(), value.expose()));
        step.env = entries(log, &|name| variables.get(name), env);
        step.cwd = program.cwd;
        let mut script = log.masked(&program.script);
        step.script_is_masked = script != program.script;
        step.script_is_cut = script.len() > LONGEST_SCRIPT;
        if step.script_is_cut {
            script.truncate(script.floor_char_boundary(LONGEST_SCRIPT));
        }
        let exports = step.env.iter().filter_map(|entry| Some((entry.name.clone(), entry.value.clone()?)));
        let exports: Vec<(String, String)> = exports.filter(|(_, value)| !fits_a_line(value)).collect();
        let title = format!("forgehand: the step \"{}\" of the job \"{}\"", step.name, log.masked(&self.run.job.name));
        let path: Vec<String> = program.path.iter().map(|folder| log.masked(folder)).collect();
        let launcher = launcher::text(&title, &program.interpreter, &path, &exports, &program.files);
        step.has_files = true;
        (Some(step), Some(StepFiles { launcher, script }))
    }
}

/// What may be known of an environment, in the order of names. Of two values of one name the last counts.
fn entries<'a, 'v>(
    log: &JobLog,
    variable: &dyn Fn(&str) -> Option<&'v Variable>,
    env: impl Iterator<Item = (&'a str, &'a str)>,
) -> Vec<EnvEntry> {
    let all: BTreeMap<&str, &str> = env.collect();
    let mut room = LONGEST_ENV;
    let entry = |(name, value): (&str, &str)| {
        let variable = variable(name);
        let is_secret = variable.is_some_and(|variable| !variable.public || variable.masked);
        let kind = match variable {
            Some(variable) if variable.file => EnvKind::File,
            _ if is_secret || log.masked(value) != value => EnvKind::Secret,
            _ if value.len() > LONGEST_VALUE.min(room) => EnvKind::Long,
            _ => EnvKind::Plain,
        };
        room = room.saturating_sub(value.len());
        let is_shown = matches!(kind, EnvKind::Plain | EnvKind::File);
        EnvEntry { name: name.to_owned(), value: is_shown.then(|| value.to_owned()), kind }
    };
    all.into_iter().map(entry).collect()
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(|line| line.trim_end_matches('\r').to_owned()).collect()
}

/// The end of the job's log, which is masked as it stands there.
fn tail_of(log: &JobLog, path: &Path) -> Vec<String> {
    if let Err(error) = log.checkpoint() {
        tracing::debug!(%error, "the log's end may be missing in what is kept");
    }
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let size = file.metadata()?.len();
        file.seek(SeekFrom::Start(size.saturating_sub(LOG_TAIL as u64)))?;
        let mut bytes = Vec::new();
        file.take(LOG_TAIL as u64).read_to_end(&mut bytes)?;
        if size > LOG_TAIL as u64 {
            // Not from the middle of a line.
            let first = bytes.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            bytes.drain(..first);
        }
        Ok(bytes)
    };
    lines(&String::from_utf8_lossy(&read().unwrap_or_default()))
}

/// Room on the disks of `paths`, each disk once.
fn disks(paths: &[&Path]) -> Vec<Disk> {
    let mut found: Vec<(u64, Disk)> = Vec::new();
    for path in paths {
        let Ok(stat) = rustix::fs::statvfs(*path) else { continue };
        if found.iter().any(|(id, _)| *id == stat.f_fsid) {
            continue;
        }
        let disk = Disk {
            path: path.to_path_buf(),
            free: stat.f_bavail.saturating_mul(stat.f_frsize),
            size: stat.f_blocks.saturating_mul(stat.f_frsize),
            free_files: (stat.f_files > 0).then_some(stat.f_favail),
        };
        found.push((stat.f_fsid, disk));
    }
    found.into_iter().map(|(_, disk)| disk).collect()
}

fn memory_available() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()?.checked_mul(1024)
}
