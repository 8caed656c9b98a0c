//! Steps that a program decides, in a real sandbox: on this machine and in containers.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use forgehand::artifact::cache::LocalCache;
use forgehand::artifact::store::{Limits, Store};
use forgehand::artifact::tools::ToolCache;
use forgehand::executor::halt::{Halt, HaltCause};
use forgehand::executor::job;
use forgehand::executor::log::{JobEvent, JobLog, LineStream, StepStatus};
use forgehand::executor::progress::Progress;
use forgehand::executor::running::{JobRun, now_ms};
use forgehand::executor::sandbox::JobPaths;
use forgehand::executor::sandbox::docker::{
    Docker, DockerSettings, EngineSettings, MachineAuth, PoolSettings, Upkeep, UtilityProgram,
};
use forgehand::executor::sandbox::place::{DockerPlace, HostPlace, Place};
use forgehand::executor::sandbox::shim::ShimBinary;
use forgehand::executor::stages::sources::{GitProgram, Mirrors};
use forgehand::executor::steps::*;
use forgehand::executor::tools::Tools;
use forgehand::forge::*;
use forgehand::outbound::{Outbound, OutboundSettings};
use forgehand::pipeline::definition::*;
use forgehand::pipeline::{ForgeInstance, JobFailure, JobId, JobKey, JobOutcome, Owner, ProjectId, Secret, Trust};
use forgehand::state::{Journal, LogLimits, StateDir};
use tokio_util::sync::CancellationToken;

mod dependencies;

/// Nobody is told.
#[derive(Default)]
struct Nobody {
    /// What others have left, where somebody asks for it.
    left: Option<dependencies::Left>,
}

impl Reporter for Nobody {
    async fn accept(&self) -> Result<Demand, ReportError> {
        Ok(Demand::Wanted)
    }
    async fn append_log(&self, at: u64, bytes: Bytes) -> Result<LogAck, ReportError> {
        Ok(LogAck { next: at + bytes.len() as u64, demand: Demand::Wanted })
    }
    async fn keep_alive(&self, _so_far: LogDigest) -> Result<Demand, ReportError> {
        Ok(Demand::Wanted)
    }
    async fn finish(&self, _outcome: &JobOutcome, _log: LogDigest) -> Result<FinishAck, ReportError> {
        Ok(FinishAck::Done)
    }
    fn update_interval(&self) -> Duration {
        Duration::from_secs(1)
    }
    fn keep_alive_interval(&self) -> Duration {
        Duration::from_secs(1)
    }
    async fn upload_artifact(&self, _a: &ArtifactSpec, _name: &str, _file: &ArchiveFile) -> Result<(), TransferError> {
        unreachable!("no artifacts")
    }
    async fn download_artifact(&self, dependency: &DependencySpec, to: &Path) -> Result<(), TransferError> {
        self.left.as_ref().expect("no artifacts").bring(dependency, to).await;
        Ok(())
    }
}

/// Images of `fixtures/images`: the job's, and another one.
const IMAGE: &str = "forgehand-test/sh:1";
const OTHER: &str = "forgehand-test/entry:1";

/// What a test wants done next.
#[allow(clippy::large_enum_variant, reason = "a handful, in a test")]
enum Do {
    Step(ReadyStep),
    Say(Next),
}

/// A program that does what the test says, in order, and keeps what it is told.
#[derive(Default)]
struct Told {
    todo: VecDeque<Do>,
    /// Asked for when the job must not go on.
    last: VecDeque<Do>,
    running: Vec<StepNumber>,
    ended: Vec<(u32, StepEnded)>,
    failed: bool,
    cancelled: Option<HaltCause>,
}

impl StepProgram for Told {
    fn begin(&mut self, place: &JobPlace) -> Beginning {
        assert!(!place.host_name.is_empty());
        let hide = vec![Secret::new("known-secret")];
        Beginning { hide, files: vec![(format!("{}/event.json", place.temp), b"{\"a\":1}".to_vec())] }
    }

    fn next(&mut self, tree: &WorkTree) -> Next {
        assert!(tree.root.is_absolute());
        let next = if self.cancelled.is_some() { self.last.pop_front() } else { self.todo.pop_front() };
        match next {
            Some(Do::Step(step)) => {
                self.running.push(step.number);
                Next::Start(Box::new(step))
            }
            Some(Do::Say(next)) => next,
            None if self.failed => Next::End(Err(JobFailure::exit(1))),
            None => Next::End(Ok(())),
        }
    }

    fn line(&mut self, _step: StepNumber, _stream: LineStream, line: &str) -> Heard {
        match line.strip_prefix("::mask::") {
            Some(secret) => {
                Heard { hide: vec![Secret::new(secret)], say: vec![Remark::plain("a mask")], ..Heard::default() }
            }
            None => Heard::shown(),
        }
    }

    fn ended(&mut self, step: StepNumber, ended: StepEnded) -> StepReport {
        self.running.retain(|running| *running != step);
        let status = match &ended.end {
            StepEnd::Code(0) => StepStatus::Success,
            StepEnd::Cancelled => StepStatus::Cancelled,
            _ => StepStatus::Failed,
        };
        self.failed |= status == StepStatus::Failed;
        let exit_code = ended.end.code();
        self.ended.push((step.0, ended));
        StepReport {
            number: step,
            name: format!("s{}", step.0),
            status,
            counts: true,
            exit_code,
            reason: None,
            remarks: Vec::new(),
        }
    }

    fn cancel(&mut self, cause: HaltCause, _tree: &WorkTree) -> Vec<StepNumber> {
        self.cancelled = Some(cause);
        self.running.clone()
    }
}

fn step(number: u32, text: &str) -> ReadyStep {
    ReadyStep {
        number: StepNumber(number),
        attempt: 0,
        tries_left: 0,
        name: format!("s{number}"),
        work: Work::Script(Script {
            text: format!("{text}\n"),
            extension: ".sh".into(),
            programs: vec!["no-such-shell".into(), "sh".into()],
            arguments: vec!["-e".into(), "{0}".into()],
            working_directory: String::new(),
        }),
        env: Vec::new(),
        path: Vec::new(),
        files: Vec::new(),
        timeout: None,
        background: false,
        pause: Duration::ZERO,
        image: None,
        remarks: Vec::new(),
    }
}

/// A job with folders and tools of its own.
struct House {
    dir: tempfile::TempDir,
    run: JobRun<Nobody>,
    heard: Arc<Mutex<Vec<String>>>,
    told: Arc<Mutex<Told>>,
    demand: tokio::sync::watch::Sender<Demand>,
}

impl House {
    async fn on_host(todo: Vec<Do>) -> Self {
        Self::new(todo, None).await
    }

    async fn new(todo: Vec<Do>, image: Option<&str>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let state = StateDir::open(dir.path().join("state")).unwrap();
        let journal = Journal::open(&state, jiff::Timestamp::now, LogLimits::default()).unwrap();
        let forge = ForgeInstance::new("https://forge.example.com");
        let id = JobId::new(now_ms().to_string());
        let key = JobKey::of(&forge, &id, &format!("{:?}", dir.path()));
        let owner = Owner { forge, project: ProjectId::new("1"), trust: Trust::Member };
        let assignment = Assignment {
            key: key.clone(),
            id: id.clone(),
            name: "job".into(),
            project_path: "g/p".into(),
            owner: owner.clone(),
            payload: Bytes::from_static(b"{}"),
            correlation_id: String::new(),
        };
        journal.accept(&assignment, "test").await.unwrap();
        let root = dir.path().join("job");
        let paths =
            JobPaths { private: root.join("private"), run: root.join("shared/run"), workspace: root.join("shared/w") };
        for folder in [&paths.private, &paths.run, &paths.workspace] {
            std::fs::create_dir_all(folder).unwrap();
            std::fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        }
        let snapshot = dir.path().join("snapshot");
        std::fs::create_dir(&snapshot).unwrap();
        std::fs::write(snapshot.join("readme"), "from the snapshot\n").unwrap();
        let shim = ShimBinary::install_from(Path::new(env!("CARGO_BIN_EXE_forgehand")), &dir.path().join("shim")).await;
        let shim = shim.unwrap();
        let builds = match image {
            Some(_) => "/builds".to_owned(),
            None => paths.workspace.to_str().unwrap().to_owned(),
        };
        let place = match image {
            Some(_) => {
                let engine = Docker::connect(EngineSettings {
                    proof: None,
                    agent: format!("steps-{id}"),
                    host: None,
                    process: None,
                    folder: dir.path().join("docker"),
                    auth: MachineAuth::default(),
                    pool: PoolSettings { upkeep: Upkeep { ready: 0, most: None }, ..PoolSettings::default() },
                    utility: UtilityProgram { path: env!("CARGO_BIN_EXE_forgehand").into(), args: Vec::new() },
                });
                let settings = DockerSettings::default();
                Place::Docker(Box::new(DockerPlace { engine: engine.await.unwrap(), settings, shim }))
            }
            None => Place::Host(Box::new(HostPlace { shim, host_name: "here".into() })),
        };
        let log = JobLog::open(
            &dir.path().join("log"),
            &LogSpec { mask_word: MaskWord::Stars, ..LogSpec::plain(4 << 20) },
            0,
        )
        .unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let ears = heard.clone();
        log.observe(Arc::new(move |event: JobEvent<'_>| {
            let line = match event {
                JobEvent::StepStarted { step, .. } => format!("+{}", step.name),
                JobEvent::Line { step: Some(step), stream, text, .. } => {
                    format!("{}:{}:{text}", step.name, stream.as_str())
                }
                JobEvent::Line { .. } => return,
                JobEvent::StepFinished { step, status, exit_code, .. } => {
                    format!("-{} {} {exit_code:?}", step.name, status.as_str())
                }
            };
            ears.lock().unwrap().push(line);
        }));
        let store = Store::open(&dir.path().join("store"), Limits::default(), None, Arc::new(jiff::Timestamp::now));
        let store = Arc::new(store.unwrap());
        let tools = Tools {
            place,
            caches: Arc::new(LocalCache::new(store.clone())),
            tool_cache: Arc::new(ToolCache::new(store.clone(), dir.path().join("tools"))),
            store,
            git: GitProgram::find(&std::env::var_os("PATH").unwrap()).unwrap(),
            mirrors: Arc::new(Mirrors::new(dir.path().join("mirrors"))),
            outbound: Outbound::new(OutboundSettings::default()).unwrap(),
            builds_dir: builds.clone(),
            name: "test".into(),
            run: None,
            introduction: "test".into(),
        };
        let told = Arc::new(Mutex::new(Told { todo: todo.into(), ..Told::default() }));
        let (demand, wanted) = tokio::sync::watch::channel(Demand::Wanted);
        let run = JobRun {
            job: job_of(key.clone(), id, owner, &builds, image, snapshot),
            paths,
            reporter: Arc::new(Nobody::default()),
            journal: journal.job(&key),
            log,
            tools: Arc::new(tools),
            halt: Halt {
                deadline: tokio::time::Instant::now() + Duration::from_secs(600),
                demand: wanted,
                interrupt: CancellationToken::new(),
                pauses: Default::default(),
            },
            progress: Progress::begin(now_ms()),
            sandbox: None,
            program: Some(told.clone()),
            on_failure: None,
        };
        Self { dir, run, heard, told, demand }
    }

    /// Runs the job; what was heard, and how it ended.
    async fn run(self) -> Ended {
        let (tools, paths) = (self.run.tools.clone(), self.run.paths.clone());
        let running = job::run(self.run, false, |_event| {});
        let (outcome, sandbox) = tokio::time::timeout(Duration::from_secs(120), running).await.expect("it hangs");
        if let Some(sandbox) = &sandbox {
            tools.place.remove(sandbox, &paths).await;
        }
        if let Place::Docker(place) = &tools.place {
            place.engine.close().await;
        }
        let heard = self.heard.lock().unwrap().clone();
        let told = std::mem::take(&mut *self.told.lock().unwrap());
        Ended { _dir: self.dir, heard, told, outcome }
    }
}

struct Ended {
    _dir: tempfile::TempDir,
    heard: Vec<String>,
    told: Told,
    outcome: JobOutcome,
}

fn job_of(
    key: JobKey,
    id: JobId,
    owner: Owner,
    builds: &str,
    image: Option<&str>,
    snapshot: std::path::PathBuf,
) -> PipelineJob {
    PipelineJob {
        key,
        id,
        name: "job".into(),
        stage: String::new(),
        owner,
        variables: Default::default(),
        dirs: JobDirs {
            builds: builds.to_owned(),
            project: format!("{builds}/g/p"),
            temp: format!("{builds}/g/p.tmp"),
            also_at: None,
            tool_cache: None,
        },
        image: image.map(|name| ImageSpec { name: name.into(), ..ImageSpec::default() }),
        services: Vec::new(),
        registry_auth: RegistryAuth::default(),
        sources: SourceSpec { snapshot: Some(snapshot), ..SourceSpec::none() },
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
            services: None,
        },
        attempts: Attempts { get_sources: 1, restore_cache: 1, download_artifacts: 1, executor: 1 },
        log: LogSpec { mask_word: MaskWord::Stars, ..LogSpec::plain(4 << 20) },
        options: JobOptions::default(),
        warnings: Vec::new(),
        labels: Vec::new(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_hand_on_files_and_hide_what_becomes_secret() {
    let mut first = step(
        0,
        "echo \"A=1\" >>\"$OUT\"; echo hello; echo ::mask::hunter2x; echo hunter2x known-secret; echo oops >&2; \
         test \"$MINE\" = 5; case $PATH in /first:*) ;; *) exit 9;; esac; cat ../p.tmp/event.json; printf last",
    );
    let house = House::on_host(Vec::new()).await;
    let out = format!("{}/files/out", house.run.job.dirs.temp);
    first.files = vec![out.clone()];
    first.env = vec![("OUT".into(), Secret::new(out)), ("MINE".into(), Secret::new("5"))];
    first.path = vec!["/first".into()];
    let skipped = StepReport {
        number: StepNumber(1),
        name: "s1".into(),
        counts: false,
        status: StepStatus::Skipped,
        exit_code: None,
        reason: Some("not due".into()),
        remarks: Vec::new(),
    };
    let checkout = ReadyStep {
        work: Work::Checkout(Checkout { path: "sub".into(), clean: true, ..Checkout::default() }),
        ..step(2, "")
    };
    let failing = step(3, "cat sub/readme; exit 7");
    let mut missing = step(4, "true");
    if let Work::Script(script) = &mut missing.work {
        script.working_directory = "nowhere".into();
    }
    house.told.lock().unwrap().todo = VecDeque::from([
        Do::Step(first),
        Do::Say(Next::Over(skipped)),
        Do::Step(checkout),
        Do::Step(failing),
        Do::Step(missing),
    ]);
    let ended = house.run().await;
    let lines: Vec<&str> = ended.heard.iter().map(String::as_str).collect();
    assert!(matches!(ended.outcome, JobOutcome::Failed(_)), "{:?}", ended.outcome);
    for expected in
        ["s0:stdout:hello", "s0:command:a mask", "s0:stdout:*** ***", "s0:stderr:oops", "s0:stdout:{\"a\":1}last"]
    {
        assert!(lines.contains(&expected), "{expected}: {lines:#?}");
    }
    assert!(!lines.iter().any(|line| line.contains("hunter2x")));
    for expected in [
        "-s0 success Some(0)",
        "-s1 skipped None",
        "-s2 success Some(0)",
        "s3:stdout:from the snapshot",
        "-s3 failed Some(7)",
    ] {
        assert!(lines.contains(&expected), "{expected}: {lines:#?}");
    }
    assert_eq!(ended.told.ended[0].1.files, [b"A=1\n"]);
    assert!(matches!(&ended.told.ended[3].1.end, StepEnd::Broken(why) if why.contains("nowhere does not exist")));
}

#[tokio::test(flavor = "multi_thread")]
async fn background_steps_run_beside_others_and_time_limits_hold() {
    let background = ReadyStep { background: true, ..step(0, "until test -e go; do sleep 0.05; done; echo went") };
    let endless = ReadyStep { background: true, ..step(2, "sleep 600") };
    let slow = ReadyStep { timeout: Some(Duration::from_secs(1)), ..step(3, "echo begun; sleep 600") };
    let house = House::on_host(vec![
        Do::Step(background),
        Do::Step(step(1, "touch go")),
        Do::Say(Next::Wait(vec![StepNumber(0)])),
        Do::Step(endless),
        Do::Step(slow),
        Do::Say(Next::Cancel(vec![StepNumber(2)])),
    ])
    .await;
    let ended = house.run().await;
    let mut ends: Vec<(u32, StepEnd)> =
        ended.told.ended.iter().map(|(step, ended)| (*step, ended.end.clone())).collect();
    ends.sort_by_key(|(step, _)| *step);
    assert_eq!(
        ends,
        [(0, StepEnd::Code(0)), (1, StepEnd::Code(0)), (2, StepEnd::Cancelled), (3, StepEnd::TimedOut)],
        "{:#?}",
        ended.heard
    );
    assert!(ended.heard.contains(&"s0:stdout:went".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_job_ends_its_step_and_runs_what_is_due_even_then() {
    let house = House::on_host(vec![Do::Step(step(0, "echo begun; sleep 600")), Do::Step(step(1, "echo never"))]).await;
    house.told.lock().unwrap().last.push_back(Do::Step(step(2, "echo always")));
    let (demand, heard) = (house.demand.clone(), house.heard.clone());
    tokio::spawn(async move {
        while !heard.lock().unwrap().iter().any(|line| line == "s0:stdout:begun") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        demand.send_replace(Demand::CancelGracefully);
    });
    let ended = house.run().await;
    assert_eq!(ended.told.cancelled, Some(HaltCause::CancelledGracefully));
    assert_eq!(ended.told.ended.len(), 2, "{:#?}", ended.heard);
    assert_eq!(ended.told.ended[0].1.end, StepEnd::Cancelled);
    assert!(ended.heard.contains(&"s2:stdout:always".to_owned()));
    assert!(matches!(ended.outcome, JobOutcome::Failed(_) | JobOutcome::Cancelled));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_of_its_own_image_shares_work_tree_and_network() {
    crate::support::docker::build_images();
    let own = |number, fresh, text| ReadyStep {
        image: Some(StepImage { image: ImageSpec { name: OTHER.into(), ..ImageSpec::default() }, fresh }),
        ..step(number, text)
    };
    let net = "cat /proc/net/fib_trie >$1 2>/dev/null || true";
    let house = House::new(
        vec![
            Do::Step(step(0, &format!("echo by the job >mark; echo \"$HOSTNAME\"; set -- a; {net}"))),
            Do::Step(own(
                1,
                false,
                "cat mark; touch /only-here; set -- b; cat /proc/net/fib_trie >$1; cmp a b && echo same",
            )),
            Do::Step(own(2, false, "test -e /only-here && echo shared")),
            Do::Step(own(3, true, "test -e /only-here || echo fresh; exit 3")),
            Do::Step(step(4, "test -e /only-here || echo the job again; test -z \"$GITLAB_ENV$CI_JOB_STATUS\"")),
        ],
        Some(IMAGE),
    )
    .await;
    let ended = house.run().await;
    for expected in [
        "s1:stdout:by the job",
        "s1:stdout:same",
        "s2:stdout:shared",
        "s3:stdout:fresh",
        "-s3 failed Some(3)",
        "s4:stdout:the job again",
        "-s4 success Some(0)",
    ] {
        assert!(ended.heard.iter().any(|line| line == expected), "{expected}: {:#?} {:?}", ended.heard, ended.outcome);
    }
}
