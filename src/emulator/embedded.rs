//! [`Emulator`]: one embedded forge, started and asked from tests and the demo.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::ci::{self, PipelineRequest};
use super::fault::FaultRule;
use super::options::EmulatorOptions;
use super::record::{RecordedRequest, Violation};
use super::repository::{Repository, RepositoryError};
use super::server::{Port, serve};
use super::world::World;
use super::world::job::{JobSpec, JobView};
use super::world::pipeline::PipelineView;
use super::world::project::Project;
use super::world::runner::{Manager, RunnerSpec};
use super::{api, storage};

/// Why the emulator could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum EmulatorError {
    /// No socket or no folder to be had.
    #[error("the embedded forge cannot start: {0}")]
    Start(#[source] std::io::Error),
    /// Something about a repository.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// The pipeline file cannot be used.
    #[error(transparent)]
    Pipeline(#[from] ci::CiError),
}

/// An embedded forge on two loopback ports. Everything ends, and its folder goes, when it is dropped.
#[derive(Debug)]
pub struct Emulator {
    world: Arc<World>,
    stop: CancellationToken,
    connections: TaskTracker,
    api_address: SocketAddr,
    storage_address: SocketAddr,
    _dir: tempfile::TempDir,
}

impl Emulator {
    /// Starts one within the running tokio runtime.
    pub async fn start(options: EmulatorOptions) -> Result<Self, EmulatorError> {
        Self::start_at(0, options).await
    }

    /// The same with the API on a port that was chosen before (0: any), so that a server can come back at its address.
    pub async fn start_at(port: u16, options: EmulatorOptions) -> Result<Self, EmulatorError> {
        let dir = tempfile::Builder::new().prefix("forgehand-forge-").tempdir().map_err(EmulatorError::Start)?;
        for folder in ["repositories", "traces", "artifacts"] {
            std::fs::create_dir(dir.path().join(folder)).map_err(EmulatorError::Start)?;
        }
        let api_listener = TcpListener::bind(("127.0.0.1", port)).await.map_err(EmulatorError::Start)?;
        let storage_listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(EmulatorError::Start)?;
        let api_address = api_listener.local_addr().map_err(EmulatorError::Start)?;
        let storage_address = storage_listener.local_addr().map_err(EmulatorError::Start)?;
        let base_url = options.public_url.clone().unwrap_or_else(|| format!("http://{api_address}"));
        let storage_url = options.public_storage_url.clone().unwrap_or_else(|| format!("http://{storage_address}"));
        let world = Arc::new(World::new(dir.path().to_owned(), base_url, storage_url, options));
        let (stop, connections) = (CancellationToken::new(), TaskTracker::new());
        let ports = [
            (api_listener, Port::Api, api::router(world.clone())),
            (storage_listener, Port::Storage, storage::router(world.clone())),
        ];
        for (listener, port, router) in ports {
            let serving = serve(listener, port, world.clone(), router, stop.clone(), connections.clone());
            connections.spawn(serving);
        }
        connections.spawn(keep_time(world.clone(), stop.clone()));
        Ok(Self { world, stop, connections, api_address, storage_address, _dir: dir })
    }

    /// Closes both ports and every connection, and waits until that is done.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.connections.close();
        // Each task ends at its next await; the limit is for a runtime that is starved.
        let _ = tokio::time::timeout(Duration::from_secs(10), self.connections.wait()).await;
    }

    /// Where the API port listens, whatever clients call it.
    pub fn api_address(&self) -> SocketAddr {
        self.api_address
    }

    /// Where the object storage listens.
    pub fn storage_address(&self) -> SocketAddr {
        self.storage_address
    }

    /// Where clients find the forge: `http://127.0.0.1:PORT`, or its public address.
    pub fn url(&self) -> &str {
        &self.world.base_url
    }

    /// All that the server knows, for what this type has no word for.
    pub fn world(&self) -> &Arc<World> {
        &self.world
    }

    /// Makes a project with a repository; its id. Blocking.
    pub fn add_project(&self, path: &str, repository: &Repository) -> Result<u64, EmulatorError> {
        let id = self.world.know().next_id();
        let bare = self.world.dir.join("repositories").join(format!("{id}.git"));
        repository.create(&bare)?;
        let project = Project {
            id,
            path: path.to_owned(),
            repository: bare,
            default_branch: "main".to_owned(),
            open_to_jobs: false,
            variables: Vec::new(),
        };
        self.world.know().projects.insert(id, project);
        Ok(id)
    }

    /// Changes a project: its variables, who may read it.
    pub fn change_project(&self, id: u64, change: impl FnOnce(&mut Project)) {
        if let Some(project) = self.world.know().projects.get_mut(&id) {
            change(project);
        }
    }

    /// The folder of a project's bare repository.
    pub fn repository(&self, project: u64) -> Option<std::path::PathBuf> {
        self.world.know().projects.get(&project).map(|project| project.repository.clone())
    }

    /// Makes a runner; its id and token.
    pub fn add_runner(&self, spec: RunnerSpec) -> (u64, String) {
        self.world.know().add_runner(spec)
    }

    /// The machines of a runner by system id, as they described themselves last.
    pub fn managers(&self, runner: u64) -> Vec<(String, Manager)> {
        let know = self.world.know();
        know.runners.get(&runner).map(|r| r.managers.clone().into_iter().collect()).unwrap_or_default()
    }

    /// The token a runner has now; `None`: it is gone.
    pub fn runner_token(&self, runner: u64) -> Option<String> {
        self.world.know().runners.get(&runner).map(|runner| runner.token.clone())
    }

    /// Removes a runner: its token is refused from now on.
    pub fn remove_runner(&self, runner: u64) {
        self.world.know().runners.remove(&runner);
        self.world.changed();
    }

    /// Pauses or resumes a runner: a paused one gets no jobs.
    pub fn pause_runner(&self, runner: u64, paused: bool) {
        if let Some(runner) = self.world.know().runners.get_mut(&runner) {
            runner.spec.paused = paused;
            runner.queue += 1;
        }
        self.world.changed();
    }

    /// Queues a job; its id. Blocking.
    pub fn queue(&self, spec: JobSpec) -> Result<u64, EmulatorError> {
        Ok(self.world.queue(spec)?)
    }

    /// The pipeline that a push of a branch or tag creates from its `.gitlab-ci.yml`; its id. Blocking.
    pub fn create_pipeline(&self, project: u64, git_ref: &str) -> Result<u64, EmulatorError> {
        self.request_pipeline(project, &PipelineRequest::push(git_ref))
    }

    /// The pipeline that another event creates; its id. Blocking.
    pub fn request_pipeline(&self, project: u64, request: &PipelineRequest) -> Result<u64, EmulatorError> {
        Ok(ci::create_pipeline(&self.world, project, request)?)
    }

    /// Starts a job that waits for somebody, or before its delay is over. `false`: it does not wait.
    pub fn play(&self, job: u64) -> bool {
        self.world.play(job)
    }

    /// Cancels what is left of a pipeline.
    pub fn cancel_pipeline(&self, id: u64) {
        self.world.cancel_pipeline(id);
    }

    /// Hands a running job out once more, to the runner that has it.
    pub fn redeliver(&self, job: u64) {
        let mut know = self.world.know();
        know.redeliveries.push(job);
        let place = know.jobs.get(&job).map(|job| (job.spec.project, job.runner));
        if let Some((project, runner)) = place {
            know.bump_queues(project, runner);
        }
        drop(know);
        self.world.changed();
    }

    /// Cancels a job as its user would: tidily where the runner can.
    pub fn cancel(&self, job: u64) -> bool {
        self.world.cancel(job)
    }

    /// Cancels a job at once.
    pub fn force_cancel(&self, job: u64) -> bool {
        self.world.force_cancel(job)
    }

    /// How a job looks now.
    pub fn job(&self, id: u64) -> Option<JobView> {
        self.world.know().jobs.get(&id).map(super::world::job::Job::view)
    }

    /// The ids of all jobs.
    pub fn jobs(&self) -> Vec<u64> {
        self.world.know().jobs.keys().copied().collect()
    }

    /// How a pipeline looks now.
    pub fn pipeline(&self, id: u64) -> Option<PipelineView> {
        self.world.know().pipeline_view(id)
    }

    /// What was handed out for a job, as JSON; null when it was not.
    pub fn response(&self, job: u64) -> Value {
        let know = self.world.know();
        let text = know.jobs.get(&job).and_then(|job| job.response.clone());
        text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
    }

    /// A job's log from `offset` on. Blocking.
    pub fn log_from(&self, job: u64, offset: u64) -> Vec<u8> {
        let trace = self.world.know().jobs.get(&job).map(|job| job.trace.clone());
        trace.and_then(|trace| trace.read(offset, u64::MAX).ok()).unwrap_or_default()
    }

    /// A job's whole log. Blocking.
    pub fn log(&self, job: u64) -> Vec<u8> {
        self.log_from(job, 0)
    }

    /// Where a job's log lies; absent while it is empty.
    pub fn log_path(&self, job: u64) -> Option<std::path::PathBuf> {
        self.world.know().jobs.get(&job).map(|job| Path::to_owned(job.trace.path()))
    }

    /// Puts a failure in force; its number.
    pub fn fail(&self, rule: FaultRule) -> u64 {
        self.world.faults.add(rule)
    }

    /// Takes a failure out of force.
    pub fn heal(&self, rule: u64) {
        self.world.faults.remove(rule);
        self.world.changed();
    }

    /// Changes the settings from now on.
    pub fn set_options(&self, change: impl FnOnce(&mut EmulatorOptions)) {
        self.world.set_options(change);
    }

    /// Every request so far.
    pub fn requests(&self) -> Vec<RecordedRequest> {
        self.world.recorder.requests()
    }

    /// Everything so far that a well-made runner would not have done.
    pub fn violations(&self) -> Vec<Violation> {
        self.world.recorder.violations()
    }

    /// Waits until `look` finds something, looking again at each change; `None` after `limit`.
    pub async fn wait_for<T>(&self, limit: Duration, mut look: impl FnMut(&Self) -> Option<T>) -> Option<T> {
        let mut changes = self.world.changes();
        let found = async {
            loop {
                if let Some(found) = look(self) {
                    return found;
                }
                // The world cannot end before `self`, so this is a change, not the end.
                let _ = changes.changed().await;
            }
        };
        tokio::time::timeout(limit, found).await.ok()
    }
}

/// Lets delayed jobs go on when their time has come.
async fn keep_time(world: Arc<World>, stop: CancellationToken) {
    let mut changes = world.changes();
    loop {
        let next = world.know().next_timer();
        let due = async {
            match next {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = due => world.tick(),
            changed = changes.changed() => {
                if changed.is_err() {
                    return;
                }
            }
        }
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
