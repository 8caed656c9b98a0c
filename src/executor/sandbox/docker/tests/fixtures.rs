//! What tests share: a job, a log, an agent with a folder and a label of its own.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use bollard::query_parameters::{ListContainersOptions, ListNetworksOptions};
use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use super::images;
use crate::executor::log::{StageLog, Tone};
use crate::executor::sandbox::docker::*;
use crate::executor::sandbox::{JobPaths, SandboxRecord};
use crate::pipeline::definition::*;
use crate::pipeline::*;

/// A job that asks for nothing.
pub(in crate::executor::sandbox::docker) fn a_job() -> PipelineJob {
    let forge = ForgeInstance::new("https://gitlab.example.com");
    let id = JobId::new("42");
    PipelineJob {
        key: JobKey::of(&forge, &id, &uuid::Uuid::new_v4().to_string()),
        id,
        name: "job".into(),
        stage: "test".into(),
        owner: Owner { forge, project: ProjectId::new("7"), trust: Trust::Member },
        variables: Variables::default(),
        dirs: JobDirs {
            builds: "/builds".into(),
            project: "/builds/group/project".into(),
            temp: "/builds/group/project.tmp".into(),
            also_at: None,
            tool_cache: None,
        },
        image: None,
        services: Vec::new(),
        registry_auth: RegistryAuth::default(),
        sources: SourceSpec { begins_empty: false, ..SourceSpec::none() },
        steps: Vec::new(),
        caches: Vec::new(),
        artifacts: Vec::new(),
        dependencies: Vec::new(),
        timeouts: Timeouts {
            job: Duration::from_secs(600),
            prepare: None,
            get_sources: None,
            script: None,
            after_script: Duration::from_secs(300),
            services: Some(Duration::from_secs(30)),
        },
        attempts: Attempts { get_sources: 1, restore_cache: 1, download_artifacts: 1, executor: 1 },
        log: LogSpec::plain(4 << 20),
        options: JobOptions::default(),
        warnings: Vec::new(),
        labels: vec![("com.gitlab.gitlab-runner.job.id".into(), "42".into())],
    }
}

/// A log that keeps what is said.
#[derive(Default)]
pub(super) struct KeptLog(std::sync::Mutex<String>);

impl KeptLog {
    pub(super) fn text(&self) -> String {
        self.0.lock().unwrap().clone()
    }
}

impl StageLog for KeptLog {
    fn say(&self, tone: Tone, line: &str) {
        let head = match tone {
            Tone::Warning => "WARNING: ",
            Tone::Error => "ERROR: ",
            Tone::Plain | Tone::Notice => "",
        };
        *self.0.lock().unwrap() += &format!("{head}{line}\n");
    }

    fn output(&self, bytes: &[u8]) {
        *self.0.lock().unwrap() += &String::from_utf8_lossy(bytes);
    }
}

/// An agent of a test: a state directory and a label of its own. [`House::leave`] removes all and says what was left.
pub(super) struct House {
    pub(super) docker: Docker,
    pub(super) folder: tempfile::TempDir,
    pub(super) agent: String,
    pub(super) log: KeptLog,
}

/// A job with folders, as the executor hands it over.
pub(super) struct Case {
    pub(super) job: PipelineJob,
    pub(super) paths: JobPaths,
    pub(super) settings: DockerSettings,
    pub(super) env: Vec<(String, Secret)>,
    pub(super) command: Vec<String>,
    shim: PathBuf,
}

impl House {
    pub(super) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// A house whose engine settings are changed first.
    pub(super) async fn with(change: impl FnOnce(&mut EngineSettings)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let agent = format!("test-{}", uuid::Uuid::new_v4().simple());
        let mut settings = EngineSettings {
            proof: None,
            host: None,
            agent: agent.clone(),
            process: Some(uuid::Uuid::new_v4().to_string()),
            folder: folder.path().join("docker"),
            auth: MachineAuth::default(),
            pool: PoolSettings { upkeep: Upkeep { ready: 0, most: None }, ..PoolSettings::default() },
            utility: UtilityProgram {
                path: std::env::current_exe().unwrap(),
                args: ["--exact", "executor::sandbox::docker::tests::utility_process", "--ignored", "--nocapture"]
                    .map(str::to_owned)
                    .to_vec(),
            },
        };
        change(&mut settings);
        let docker = Docker::connect(settings).await.expect("a Docker engine answers (start dockerd)");
        images::build(&docker).await;
        Self { docker, folder, agent, log: KeptLog::default() }
    }

    /// A second agent on the same state directory, as after a crash of the first.
    pub(super) async fn next_agent(&self) -> Docker {
        let process = Some(uuid::Uuid::new_v4().to_string());
        Docker::connect(EngineSettings { process, ..self.docker.inner.settings.clone() }).await.unwrap()
    }

    /// A job that runs `script` in the shell image, on no network.
    pub(super) fn case(&self, script: &str) -> Case {
        let job = a_job();
        let root = self.folder.path().join("jobs").join(job.key.as_str());
        let paths =
            JobPaths { private: root.join("private"), run: root.join("run"), workspace: root.join("workspace") };
        for folder in [&paths.private, &paths.run, &paths.workspace] {
            std::fs::create_dir_all(folder).unwrap();
            std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o777)).unwrap();
        }
        let shim = self.folder.path().join("shim");
        std::fs::write(&shim, "").unwrap();
        let settings = DockerSettings {
            image: Some(images::SH.into()),
            network_mode: NetworkMode::None,
            ..DockerSettings::default()
        };
        let command = ["sh", "-c", script].map(str::to_owned).to_vec();
        Case { job, paths, settings, env: Vec::new(), command, shim }
    }

    /// Prepares a case whose shim answers at once.
    pub(super) async fn start(&self, case: &Case) -> Result<Prepared<()>, PrepareError> {
        self.start_until(case, &CancellationToken::new(), || Box::pin(std::future::ready(Ok(())))).await
    }

    pub(super) async fn start_until(
        &self,
        case: &Case,
        cancel: &CancellationToken,
        connect: impl Fn() -> BoxFuture<'static, Result<(), JobFailure>> + Send + Sync,
    ) -> Result<Prepared<()>, PrepareError> {
        let spec = SandboxSpec {
            job: &case.job,
            paths: &case.paths,
            settings: &case.settings,
            env: &case.env,
            shim: &case.shim,
            command: case.command.clone(),
            tools: None,
        };
        let hooks = Hooks { on_created: &|_| Box::pin(std::future::ready(Ok(()))), connect: &connect };
        self.docker.prepare(&spec, &self.log, cancel, &hooks).await
    }

    /// Runs a case to its end: exit code and output.
    pub(super) async fn run(&self, case: &Case) -> (i32, String) {
        let prepared = self.start(case).await.unwrap_or_else(|error| panic!("{error:?}\n{}", self.log.text()));
        let end = self.end_of(&prepared.record).await;
        self.docker.remove(&prepared.record).await.unwrap();
        end
    }

    /// Waits for the end of a sandbox's container.
    pub(super) async fn end_of(&self, record: &SandboxRecord) -> (i32, String) {
        let id = container_of(record);
        let code =
            tokio::time::timeout(Duration::from_secs(60), self.docker.engine().wait_exit(id)).await.unwrap().unwrap();
        let output = self.docker.output_of(id, 1 << 20).await.unwrap();
        (code, String::from_utf8_lossy(&output).trim().to_owned())
    }

    /// Names of everything at the engine that carries this agent's label.
    pub(super) async fn made(&self) -> Vec<String> {
        let filters = Some(labels::made_by(&self.agent));
        let api = self.docker.engine().api();
        let containers = api.list_containers(Some(ListContainersOptions {
            all: true,
            filters: filters.clone(),
            ..Default::default()
        }));
        let networks = api.list_networks(Some(ListNetworksOptions { filters }));
        let (containers, networks) = tokio::try_join!(containers, networks).unwrap();
        let containers = containers.into_iter().map(|container| format!("container {:?}", container.names));
        containers.chain(networks.into_iter().map(|network| format!("network {:?}", network.name))).collect()
    }

    /// The end of a test: nothing may be left at the engine but idle networks, and then not these either.
    pub(super) async fn leave(self) {
        self.docker.close().await;
        let left = self.made().await;
        self.docker.sweep(&Vec::new).await.unwrap();
        assert!(left.is_empty(), "left behind: {left:?}");
    }
}

impl Drop for House {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        // A failed test has not left by its door. The command line needs no runtime.
        let label = format!("label=forgehand.agent={}", self.agent);
        let script = "docker ps -aq --filter $L | xargs -r docker rm -fv; docker network ls -q --filter $L | xargs -r docker network rm";
        let _ = std::process::Command::new("sh").args(["-c", script]).env("L", label).output();
    }
}

/// The id of a record's own container.
pub(super) fn container_of(record: &SandboxRecord) -> &str {
    match record {
        SandboxRecord::Docker { container, .. } => container,
        SandboxRecord::Host { .. } => panic!("a host record"),
    }
}
