//! Runs one job of a local pipeline by the agent's own engine.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::cache_server::RunCaches;
use super::coverage::CoveragePattern;
use super::events::Narrator;
use super::gitlab::child::ChildPipeline;
use super::held;
use super::house::{House, Sandbox, blocking, words};
use super::native;
use super::native::job::NativeJob;
use super::reporter::Shelf;
use super::snapshot::Snapshot;
use super::workflow;
use super::workflow::job::{Offer, WorkflowJob};
use crate::artifact::tools::JobTools;
use crate::config::docker_values::ToolFolder;
use crate::executor::halt::Halt;
use crate::executor::job;
use crate::executor::log::{JobEvent, JobLog};
use crate::executor::on_failure::FailureHook;
use crate::executor::pipeline::{Control, JobEnd, Limits, Task, Worker};
use crate::executor::progress::Progress;
use crate::executor::running::{JobRun, now_ms};
use crate::executor::sandbox::JobPaths;
use crate::executor::stages::sources::own_umask;
use crate::executor::steps::SharedProgram;
use crate::forge::gitlab::GitLab;
use crate::forge::{Assignment, Demand, Forge as _, RunnerFacts};
use crate::pipeline::definition::{JobDirs, SourceStrategy, When};
use crate::pipeline::{
    FailureReason, ForgeInstance, JobFailure, JobId, JobKey, JobOutcome, Owner, PipelineJob, ProjectId, Trust,
};
use crate::state::JobJournal;

/// Where workflows look for tools in a container, on the forge's own machines as well.
const USUAL_TOOLS: &str = "/opt/hostedtoolcache";

/// A job to run.
pub struct LocalJob {
    /// Its number in the run, from 1.
    pub id: usize,
    /// What it does.
    pub work: LocalWork,
    /// What people are told before it begins.
    pub remarks: Vec<String>,
    /// The project's path, `group/project`.
    pub project_path: String,
    /// The project's number.
    pub project: u32,
}

/// What a job does.
pub enum LocalWork {
    /// It has steps.
    Steps(JobSteps),
    /// It starts a child pipeline.
    Child(Box<ChildPipeline>),
    /// It does nothing here, and that is no failure: why.
    Nothing(String),
    /// It cannot be run here: why. It fails with these words.
    Refused(String),
}

/// The steps of a job, by where they are written.
pub enum JobSteps {
    /// A job of a GitLab pipeline.
    GitLab(GitLabSteps),
    /// A job of a workflow.
    Workflow(Box<WorkflowJob>),
    /// A job of a `forgehand.yml`.
    Native(Box<NativeJob>),
}

/// A job of a GitLab pipeline.
pub struct GitLabSteps {
    /// What GitLab would send a runner.
    pub response: String,
    /// What finds its coverage in what it prints.
    pub coverage: Option<CoveragePattern>,
}

/// Which job it is.
struct Who {
    id: usize,
    name: String,
    attempt: u32,
    project_path: String,
    project: u32,
}

/// How it ended.
#[derive(Clone, Debug)]
pub struct LocalEnd(pub JobOutcome);

impl JobEnd for LocalEnd {
    fn cancelled(_reason: &str) -> Self {
        Self(JobOutcome::Cancelled)
    }

    fn outcome(&self) -> &JobOutcome {
        &self.0
    }
}

/// Runs jobs. Cheap to clone.
#[derive(Clone)]
pub struct LocalWorker {
    /// What it works with.
    pub inner: Arc<Bench>,
}

/// What all jobs of a run share.
pub struct Bench {
    /// State, journal, engine.
    pub house: House,
    /// Reads the forge's words.
    pub forge: GitLab,
    /// The work tree.
    pub snapshot: Snapshot,
    /// Artifacts.
    pub shelf: Shelf,
    /// The server for caches that steps of a workflow ask for themselves, where there is one.
    pub caches: Option<RunCaches>,
    /// Who hears of it.
    pub narrator: Arc<Narrator>,
    /// The image of jobs that name none.
    pub image: Option<String>,
    /// The images that stand for labels of `runs-on`.
    pub labels: BTreeMap<String, String>,
    /// Where the operator wants tools of earlier jobs to lie in containers; `None`: nothing is said.
    pub tool_folder: Option<ToolFolder>,
    /// How many jobs may run at a time, those of child pipelines among them.
    pub slots: Semaphore,
    /// How pipelines are bounded.
    pub limits: Limits,
    /// Ends or pauses the run.
    pub control: Control,
    /// Is asked what becomes of a step that failed.
    pub on_failure: Option<Arc<dyn FailureHook>>,
    /// Child pipelines that nobody waits for.
    pub children: Mutex<JoinSet<()>>,
}

impl Worker<LocalJob, LocalEnd> for LocalWorker {
    async fn run(&self, task: Task<LocalJob>, demand: watch::Receiver<Demand>) -> LocalEnd {
        let LocalJob { id, work, remarks, project_path, project } = task.job;
        let who = Who { id, name: task.name, attempt: task.attempt, project_path, project };
        remarks.iter().for_each(|remark| self.inner.narrator.remark(&who.name, remark));
        let outcome = match work {
            LocalWork::Child(child) => self.start_child(*child, demand).await,
            LocalWork::Nothing(why) => {
                self.inner.narrator.remark(&who.name, &why);
                JobOutcome::Success
            }
            LocalWork::Refused(why) => JobOutcome::Failed(JobFailure::configuration(why)),
            LocalWork::Steps(steps) => self.run_steps(&who, &steps, demand).await.unwrap_or_else(JobOutcome::Failed),
        };
        // Somebody ended it: it is cancelled, whichever way it took that.
        LocalEnd(match outcome {
            JobOutcome::Failed(failure) if failure.reason == FailureReason::JobCanceled => JobOutcome::Cancelled,
            other => other,
        })
    }
}

impl LocalWorker {
    /// Returns when the child pipelines have ended that nobody waited for, those that they started too.
    pub async fn all_children(&self) {
        loop {
            let started = std::mem::take(&mut *self.inner.children.lock().unwrap_or_else(PoisonError::into_inner));
            if started.is_empty() {
                return;
            }
            started.join_all().await;
        }
    }

    async fn run_steps(
        &self,
        who: &Who,
        steps: &JobSteps,
        mut demand: watch::Receiver<Demand>,
    ) -> Result<JobOutcome, JobFailure> {
        // Jobs of child pipelines are counted with the others.
        let _slot = tokio::select! {
            slot = self.inner.slots.acquire() => slot.map_err(|error| JobFailure::system(error.to_string()))?,
            _ = demand.wait_for(|demand| *demand != Demand::Wanted) => return Ok(JobOutcome::Cancelled),
        };
        let house = &self.inner.house;
        let system = |error: String| JobFailure::system(error);
        let assignment = assignment(who, steps, house.tools.run.as_deref().unwrap_or_default());
        house
            .journal
            .accept_attempt(&assignment, "exec", who.attempt.max(1))
            .await
            .map_err(|error| system(words(error)))?;
        let page = house.journal.job(&assignment.key);
        let ran = self.run_accepted(who, steps, assignment, &page, demand).await;
        // For whoever looks at the run later: nothing depends on it.
        let _ = match &ran {
            Ok(outcome) => page.set_outcome(outcome).await,
            Err(failure) => page.set_outcome(&JobOutcome::Failed(failure.clone())).await,
        };
        ran
    }

    async fn run_accepted(
        &self,
        who: &Who,
        steps: &JobSteps,
        assignment: Assignment,
        page: &JobJournal,
        demand: watch::Receiver<Demand>,
    ) -> Result<JobOutcome, JobFailure> {
        let Bench { house, forge, .. } = &*self.inner;
        let system = |error: String| JobFailure::system(error);
        let paths = JobPaths {
            private: house.dir.job(&assignment.key),
            run: house.dir.run(&assignment.key),
            workspace: house.dir.builds().join(assignment.key.as_str()),
        };
        let facts = RunnerFacts {
            concurrent_id: u32::try_from(who.id).unwrap_or(0),
            concurrent_project_id: u32::try_from(who.id).unwrap_or(0),
            builds_dir: match house.sandbox {
                Sandbox::Docker => house.tools.builds_dir.clone(),
                Sandbox::Host => paths.workspace.to_string_lossy().into_owned(),
            },
            shared_environment: house.tools.place.is_shared(),
        };
        make_folders(&paths).map_err(|error| system(format!("the job's folders cannot be made: {error}")))?;
        page.set_facts(&facts, &paths).await.map_err(|error| system(words(error)))?;
        // What it lets in is let in until this function ends.
        let mut admission = None;
        let (job, program) = match steps {
            JobSteps::GitLab(steps) => {
                self.inner.narrator.look_for_coverage(&who.name, steps.coverage.clone());
                let mut job = forge.define(&assignment, &facts)?;
                let sources = &mut job.sources;
                if matches!(sources.strategy, SourceStrategy::Clone | SourceStrategy::Fetch) {
                    sources.strategy = SourceStrategy::Snapshot;
                    sources.snapshot = Some(self.inner.snapshot.root().to_owned());
                }
                (job, None)
            }
            JobSteps::Native(native) => {
                let tools = self.tools_of_native();
                let job = native::job::define(native, &assignment, &facts, house.sandbox, tools);
                self.copy_to(&job.dirs, &paths).await?;
                (job, Some(Arc::clone(&native.steps) as SharedProgram))
            }
            JobSteps::Workflow(work) => {
                let offer = Offer {
                    sandbox: house.sandbox,
                    image: self.inner.image.as_deref(),
                    labels: &self.inner.labels,
                    snapshot: self.inner.snapshot.root().to_owned(),
                    tool_cache: self.tools_of_workflow(&paths),
                };
                let job = workflow::job::define(&work.leg, &assignment, &facts, offer)?;
                admission = self.inner.caches.as_ref().map(|caches| caches.admit(&assignment, job.timeouts.job));
                if let Some(admission) = &admission {
                    work.steps.lock().unwrap_or_else(PoisonError::into_inner).offer_caches(admission);
                }
                (job, Some(Arc::clone(&work.steps) as SharedProgram))
            }
        };
        let log = {
            let (path, spec) = (house.dir.job_log(&assignment.key), job.log.clone());
            blocking(move || JobLog::open(&path, &spec, 0).map_err(words)).await.map_err(system)?
        };
        let (narrator, name) = (self.inner.narrator.clone(), who.name.clone());
        log.observe(Arc::new(move |event: JobEvent<'_>| narrator.job(&name, event)));
        let archive = archive_of(&job);
        let (deadline, interrupt) = (Instant::now() + job.timeouts.job, CancellationToken::new());
        let halt = Halt { deadline, demand, interrupt, pauses: self.inner.control.pauses().clone() };
        let run = JobRun {
            halt,
            job,
            paths: paths.clone(),
            reporter: Arc::new(self.inner.shelf.reporter(&assignment.id, &who.name)),
            journal: page.clone(),
            log: log.clone(),
            tools: house.tools.clone(),
            progress: Progress::begin(now_ms()),
            sandbox: None,
            program,
            on_failure: self.inner.on_failure.clone(),
        };
        let (outcome, sandbox) = job::run(run, false, |_| {}).await;
        drop(admission);
        if archive.is_some_and(|when| when.is_due(matches!(outcome, JobOutcome::Success))) {
            self.inner.shelf.expect_archive(assignment.id.as_str());
            let run = house.tools.run.as_deref().unwrap_or_default();
            held::hold(&house.tools.store, run, &assignment.owner, &assignment.key).await;
        }
        let digest = log.close();
        let _ = page.set_digest(digest).await;
        if let Some(sandbox) = &sandbox {
            house.tools.place.remove(sandbox, &paths).await;
        }
        Ok(outcome)
    }

    /// Where a workflow's job finds tools of earlier ones: its language has such a folder always.
    fn tools_of_workflow(&self, paths: &JobPaths) -> Option<String> {
        match self.inner.house.sandbox {
            Sandbox::Docker => match &self.inner.tool_folder {
                Some(folder) => folder.path().map(str::to_owned),
                None => Some(USUAL_TOOLS.to_owned()),
            },
            Sandbox::Host => JobTools::own_folder(&paths.tools()).to_str().map(str::to_owned),
        }
    }

    /// The same for a job of a `forgehand.yml`: where the operator wants it.
    fn tools_of_native(&self) -> Option<String> {
        let folder = self.inner.tool_folder.as_ref().filter(|_| self.inner.house.sandbox == Sandbox::Docker);
        folder.and_then(ToolFolder::path).map(str::to_owned)
    }

    /// Copies the snapshot into a job's work tree before its place is made, for places that show the tree itself.
    async fn copy_to(&self, dirs: &JobDirs, paths: &JobPaths) -> Result<(), JobFailure> {
        let outside = |_| JobFailure::system(format!("{} lies outside {}", dirs.project, dirs.builds));
        let below = Path::new(&dirs.project).strip_prefix(&dirs.builds).map_err(outside)?;
        let (to, bench) = (paths.workspace.join(below), self.inner.clone());
        let umask = match bench.house.sandbox {
            Sandbox::Docker => 0,
            Sandbox::Host => own_umask(),
        };
        let copied = blocking(move || {
            let mut folder = bench_parent(&to);
            fs::create_dir_all(&folder).map_err(words)?;
            // The folders between are as open as the work tree.
            while folder.file_name().is_some()
                && fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).is_ok()
            {
                if !folder.pop() || !folder.starts_with(bench.house.dir.builds()) {
                    break;
                }
            }
            bench.snapshot.copy_to(&to, umask).map_err(words)
        });
        copied.await.map_err(|error| JobFailure::system(format!("the work tree cannot be copied: {error}")))
    }
}

fn bench_parent(path: &Path) -> std::path::PathBuf {
    path.parent().unwrap_or(path).to_owned()
}

/// After which results a job leaves an archive for later ones; `None`: it leaves none.
fn archive_of(job: &PipelineJob) -> Option<When> {
    job.artifacts.iter().find(|artifact| matches!(artifact.kind.as_str(), "" | "archive")).map(|artifact| artifact.when)
}

/// A job of the run `run`: its number is one of every run.
fn assignment(who: &Who, steps: &JobSteps, run: &str) -> Assignment {
    let forge = ForgeInstance::new("local");
    let id = JobId::new(who.id.to_string());
    Assignment {
        key: JobKey::of(&forge, &id, &format!("{run}/{}", who.attempt)),
        id,
        name: who.name.clone(),
        project_path: who.project_path.clone(),
        owner: Owner { forge, project: ProjectId::new(who.project.to_string()), trust: Trust::Member },
        payload: match steps {
            JobSteps::GitLab(steps) => Bytes::from(steps.response.clone()),
            JobSteps::Workflow(_) | JobSteps::Native(_) => Bytes::from_static(b"{}"),
        },
        correlation_id: String::new(),
    }
}

/// Private ones 0700, those the job's processes share 0777 below.
fn make_folders(paths: &JobPaths) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&paths.private)?;
    for shared in [&paths.run, &paths.workspace] {
        if let Some(parent) = shared.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
        }
        fs::create_dir(shared)?;
        fs::set_permissions(shared, fs::Permissions::from_mode(0o777))?;
    }
    Ok(())
}
