//! One local run, from the request to the end.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use url::Url;

use super::cache_server::RunCaches;
use super::choice::{self, Choice};
use super::events::Narrator;
use super::front::github::begin_workflow;
use super::front::native::begin_native;
use super::gitlab::GitLabJobs;
use super::history::History;
use super::house::{Ground, House, Sandbox, blocking, words};
use super::ledger;
use super::native::NativeJobs;
use super::project::{PipelineFile, Project};
use super::reporter::Shelf;
use super::request::Request;
use super::snapshot::Snapshot;
use super::surroundings::Surroundings;
use super::sweep::sweep;
use super::worker::{Bench, LocalWorker};
use super::workflow::book::{Common, WorkflowBook};
use crate::config::docker_values::ToolFolder;
use crate::config::{CacheServerAddress, DockerConfig};
use crate::executor::on_failure::FailureHook;
use crate::executor::pipeline::fixed::FixedPlaybook;
use crate::executor::pipeline::{Control, Limits, drive};
use crate::forge::gitlab::GitLab;
use crate::forge::gitlab::settings::{Executor, GitLabSettings};
use crate::outbound::Outbound;
use crate::parser::diagnostics::{Checked, Diagnostics};
use crate::parser::dialect::Dialect;
use crate::parser::document::Sources;
use crate::pipeline::schedule::{PipelineEnd, Schedule};
use crate::pipeline::{PipelineDefinition, Secret};

/// How long a pipeline may take.
const PIPELINE_TIMEOUT: Duration = Duration::from_secs(4 * 3600);

/// What to run and how.
pub struct Order {
    /// The checkout.
    pub project: Project,
    /// The pipeline file.
    pub file: PipelineFile,
    /// What it is started with.
    pub request: Request,
    /// Jobs to run; empty: all.
    pub jobs: Vec<String>,
    /// Whether what these need runs too.
    pub with_needs: bool,
    /// Where jobs live.
    pub sandbox: Sandbox,
    /// The image of jobs that name none.
    pub image: Option<String>,
    /// The images that stand for labels of `runs-on`.
    pub labels: BTreeMap<String, String>,
    /// How many jobs run at a time.
    pub parallel: usize,
    /// The agent's state directory; ours lies below it.
    pub state_dir: PathBuf,
    /// How containers are made.
    pub docker: DockerConfig,
    /// Where the server for caches of steps listens.
    pub cache_server: CacheServerAddress,
    /// Whether what cannot be honoured is an error.
    pub strict: bool,
    /// Hears what cannot be honoured.
    pub note: Box<Note>,
    /// Is asked what becomes of a step that failed.
    pub on_failure: Option<Arc<dyn FailureHook>>,
    /// Hears what was found in a file that can be run all the same, before anything runs.
    pub tell: Box<Tell>,
}

/// Hears a note for people.
pub type Note = dyn Fn(&str) + Send + Sync;

/// Hears findings.
pub type Tell = dyn Fn(&Diagnostics, &Sources) + Send + Sync;

/// Why nothing was run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The definition or what was asked for is wrong.
    #[error("{0}")]
    BadInput(String),
    /// The file has errors.
    #[error("the pipeline file has errors")]
    Findings(Box<(Diagnostics, Sources)>),
    /// The event starts no job: why. Nothing is wrong.
    #[error("{0}")]
    Nothing(String),
    /// Somebody ended it before its first job.
    #[error("it was cancelled")]
    Stopped,
    /// Something of the machine's is missing.
    #[error("{0}")]
    Environment(String),
}

/// How a run went.
#[derive(Debug)]
pub struct Report {
    /// How the pipeline ended.
    pub end: PipelineEnd,
    /// How long it took.
    pub took: Duration,
    /// Folders with artifacts of this run.
    pub artifacts: Vec<PathBuf>,
    /// What it was.
    pub definition: PipelineDefinition,
    /// By what `forgehand debug` knows it; empty: its record is not kept.
    pub run: String,
}

/// Runs a pipeline.
pub async fn run(order: Order, narrator: Arc<Narrator>, control: Control) -> Result<Report, RunError> {
    let began = Instant::now();
    let ground = Ground::take(&order.state_dir).await.map_err(RunError::Environment)?;
    let dir = ground.dir().clone();
    let shelf = Shelf::new(order.project.root().join(".forgehand").join("artifacts"), dir.root().join("artifacts"));
    // The engine is connected to while git is asked and the file read.
    let house = House::open(ground, order.sandbox, &order.docker, order.parallel);
    let both = async { Ok(tokio::join!(house, read(&order, shelf.clone()))) };
    let (house, read) = unless(&control, both).await.inspect_err(|_| {
        narrator.finished(PipelineEnd::Cancelled, began.elapsed());
    })?;
    let house = house.map_err(RunError::Environment)?;
    let described = blocking({
        let (dir, root, file) = (dir.clone(), order.project.root().to_owned(), order.file.path.to_string());
        move || ledger::begin(&dir, &root, &file).map_err(words)
    });
    described.await.map_err(RunError::Environment)?;
    let swept = tokio::spawn(sweep(order.state_dir.clone(), order.docker.clone(), house.tools.store.clone()));
    let (made, snapshot, forge) = match unless(&control, prepare(&order, &house, read)).await {
        Ok(prepared) => prepared,
        Err(error) => {
            if matches!(error, RunError::Stopped) {
                // Else its record says that it was killed.
                ledger::end(&dir, PipelineEnd::Cancelled);
            }
            house.close(PipelineEnd::Cancelled).await;
            match error {
                RunError::Nothing(_) => narrator.finished(PipelineEnd::Success, began.elapsed()),
                RunError::Stopped => narrator.finished(PipelineEnd::Cancelled, began.elapsed()),
                _ => {}
            }
            return Err(error);
        }
    };
    let mut bench = bench(&order, house, forge, snapshot, shelf.clone(), narrator.clone(), control.clone());
    if let Err(error) = say_unhonoured(&order, &made, &bench) {
        bench.house.close(PipelineEnd::Cancelled).await;
        return Err(error);
    }
    if let Made::Workflow(_, book) = &made {
        bench.caches = caches(&order, &bench.house, book).await;
    }
    if let Made::Native(_, jobs) = &made {
        bench.limits.timeout = jobs.timeout();
    }
    let worker = LocalWorker { inner: Arc::new(bench) };
    let limits = worker.inner.limits;
    worker.inner.house.expect_jobs(made.definition().jobs.len()).await;
    let history = History::of(&order.state_dir, order.project.root(), &order.file.path);
    narrator.expect(history.expected(made.definition(), limits.parallel));
    let tell = |event| narrator.pipeline(&event);
    let dice = rand::random::<f64>;
    let (definition, end) = match made {
        Made::GitLab(schedule, jobs) => {
            let definition = schedule.definition().clone();
            let book = FixedPlaybook::new(*schedule, *jobs);
            (definition, drive(book, &worker, limits, &control, tell, dice).await)
        }
        Made::Native(schedule, jobs) => {
            let definition = schedule.definition().clone();
            let book = FixedPlaybook::new(*schedule, *jobs);
            (definition, drive(book, &worker, limits, &control, tell, dice).await)
        }
        Made::Workflow(definition, book) => (definition, drive(*book, &worker, limits, &control, tell, dice).await),
    };
    worker.all_children().await;
    let took = began.elapsed();
    narrator.finished(end, took);
    let run = ledger::end(&dir, end);
    if let Err(error) = history.record(&narrator.ended(), jiff::Timestamp::now().as_second()) {
        tracing::warn!(%error, "how long the jobs took could not be kept");
    }
    // Nobody else holds it: all jobs have ended.
    if let Some(bench) = Arc::into_inner(worker.inner) {
        if let Some(caches) = bench.caches {
            caches.close().await;
        }
        bench.house.close(end).await;
    }
    swept.abort();
    Ok(Report { end, took, artifacts: shelf.folders(), definition, run })
}

/// What `work` gives, unless an end is asked for before. What it began on other threads goes on there until the process ends.
async fn unless<T>(control: &Control, work: impl Future<Output = Result<T, RunError>>) -> Result<T, RunError> {
    tokio::select! {
        done = work => done,
        () = control.stopped() => Err(RunError::Stopped),
    }
}

/// The jobs, whatever language they are written in.
enum Made {
    /// Created from GitLab's configuration.
    GitLab(Box<Schedule>, Box<GitLabJobs>),
    /// Those of a `forgehand.yml`.
    Native(Box<Schedule>, Box<NativeJobs>),
    /// Known as the run goes on.
    Workflow(PipelineDefinition, Box<WorkflowBook>),
}

impl Made {
    fn definition(&self) -> &PipelineDefinition {
        match self {
            Made::GitLab(schedule, _) | Made::Native(schedule, _) => schedule.definition(),
            Made::Workflow(definition, _) => definition,
        }
    }
}

/// Says what the file asks for and a local run cannot give.
fn say_unhonoured(order: &Order, made: &Made, bench: &Bench) -> Result<(), RunError> {
    let unhonoured = match made {
        Made::GitLab(_, jobs) => jobs.unhonoured(),
        Made::Native(_, jobs) => jobs.unhonoured(),
        Made::Workflow(_, book) => book.unhonoured(bench),
    };
    if unhonoured.is_empty() {
        return Ok(());
    }
    match order.strict {
        true => Err(RunError::BadInput(unhonoured.to_text())),
        false => {
            (order.note)(&unhonoured.to_text());
            Ok(())
        }
    }
}

fn make(order: &Order, surroundings: Surroundings, shelf: Shelf) -> Result<Made, RunError> {
    match order.file.dialect {
        Dialect::GitLab => {
            let (definition, jobs) = whole(GitLabJobs::new(&order.file, surroundings, shelf, order.sandbox), order)?;
            let (mut definition, mut jobs) = (definition, jobs);
            let kept = choice(order).among(&definition, |job| jobs.values(job));
            let kept = kept.map_err(RunError::BadInput)?;
            jobs.keep(&kept);
            choice::keep(&mut definition, &kept);
            Ok(Made::GitLab(Box::new(schedule(definition, order)?), Box::new(jobs)))
        }
        Dialect::Native => {
            let mut begun = whole(begin_native(&order.file, &surroundings), order)?;
            if let Some(reason) = begun.refused {
                return Err(RunError::Nothing(format!("{} does not start: {reason}", order.file.path)));
            }
            begun.narrow(&choice(order)).map_err(RunError::BadInput)?;
            let image = order.image.as_deref();
            let (definition, jobs) =
                NativeJobs::new(begun.planned, begun.run, &surroundings, image, shelf, order.sandbox);
            Ok(Made::Native(Box::new(schedule(definition, order)?), Box::new(jobs)))
        }
        _ => {
            let checked = begin_workflow(&order.project, &order.file, &surroundings, &order.jobs, order.with_needs);
            let (definition, book) = whole(checked, order)?;
            let common = Common { project_path: surroundings.project_path(), project: surroundings.project_id() };
            Ok(Made::Workflow(definition, Box::new(WorkflowBook::new(book, common))))
        }
    }
}

fn choice(order: &Order) -> Choice<'_> {
    Choice { jobs: &order.jobs, with_needs: order.with_needs, matrix: &order.request.matrix }
}

fn schedule(definition: PipelineDefinition, order: &Order) -> Result<Schedule, RunError> {
    let wanted = |name: &str| order.jobs.iter().any(|job| job == name || choice::is_leg(name, job));
    Schedule::new(definition, &wanted).map_err(|error| RunError::BadInput(words(error)))
}

/// What a front end made, or what it found.
fn whole<T>(checked: Checked<T>, order: &Order) -> Result<T, RunError> {
    let Checked { value, diagnostics, sources } = checked;
    if let Some(value) = value {
        (order.tell)(&diagnostics, &sources);
        return Ok(value);
    }
    let note = diagnostics.iter().next().filter(|_| !diagnostics.has_errors()).map(|note| note.message.clone());
    Err(match note {
        Some(note) => RunError::Nothing(note),
        None => RunError::Findings(Box::new((diagnostics, sources))),
    })
}

/// The jobs of the file, and whether there are commits.
type Read = (Made, bool);

/// Reads the file, after git was asked: what needs no engine.
async fn read(order: &Order, shelf: Shelf) -> Result<Read, RunError> {
    let surroundings = blocking({
        let (project, request) = (order.project.clone(), order.request.clone());
        move || Ok(Surroundings::of(&project, &request))
    });
    let surroundings = surroundings.await.map_err(RunError::Environment)?;
    let has_commits = surroundings.facts.commit.is_some();
    Ok((make(order, surroundings, shelf)?, has_commits))
}

/// What jobs need of their project: its work tree, copied once they are known to run, and the forge's words.
async fn prepare(
    order: &Order,
    house: &House,
    read: Result<Read, RunError>,
) -> Result<(Made, Snapshot, GitLab), RunError> {
    let (made, has_commits) = read?;
    let snapshot = blocking({
        let project = order.project.clone();
        let (to, private) = (house.dir.root().join("snapshot"), order.state_dir.clone());
        move || Snapshot::take(&project, has_commits, &to, &private).map_err(words)
    });
    let uncopied = |error| RunError::Environment(format!("the work tree cannot be copied: {error}"));
    let snapshot = snapshot.await.map_err(uncopied)?;
    let forge = forge(order, house.tools.outbound.clone()).map_err(RunError::Environment)?;
    Ok((made, snapshot, forge))
}

fn bench(
    order: &Order,
    house: House,
    forge: GitLab,
    snapshot: Snapshot,
    shelf: Shelf,
    narrator: Arc<Narrator>,
    control: Control,
) -> Bench {
    Bench {
        house,
        forge,
        snapshot,
        shelf,
        caches: None,
        narrator,
        image: order.image.clone(),
        labels: order.labels.clone(),
        tool_folder: order.docker.tool_cache.clone(),
        slots: Semaphore::new(order.parallel.max(1)),
        limits: Limits { parallel: order.parallel, timeout: PIPELINE_TIMEOUT },
        control,
        on_failure: order.on_failure.clone(),
        children: Mutex::default(),
    }
}

/// The server for caches that steps ask for themselves. Nobody needs one: a run without it is told, and goes on.
async fn caches(order: &Order, house: &House, book: &WorkflowBook) -> Option<RunCaches> {
    match RunCaches::open(house, order.cache_server, book.cache_scopes()).await {
        Ok(caches) => caches,
        Err(why) => {
            let note = format!(
                "tools in steps have no cache: {why}. Name an address of this machine that jobs reach, or `off`, in \
                 `exec.cache_server`"
            );
            (order.note)(&note);
            None
        }
    }
}

fn forge(order: &Order, outbound: Outbound) -> Result<GitLab, String> {
    let url = Url::parse("https://gitlab.local.invalid").map_err(words)?;
    let mut settings =
        GitLabSettings::new("exec", url, Secret::new(uuid::Uuid::new_v4().simple().to_string()), "local");
    settings.executor = match order.sandbox {
        Sandbox::Docker => Executor::Docker,
        Sandbox::Host => Executor::Host,
    };
    settings.default_image = order.image.clone();
    settings.tool_cache = match order.sandbox {
        Sandbox::Docker => order.docker.tool_cache.as_ref().and_then(ToolFolder::path).map(str::to_owned),
        Sandbox::Host => None,
    };
    // A local run is the user's own: its log is not cut, and it may lie where it wants to.
    settings.output_limit = u64::MAX / 2;
    settings.custom_build_dir = Some(true);
    GitLab::new(settings, outbound).map_err(words)
}
