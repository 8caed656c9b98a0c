//! The shim, as a real process: on the machine ([`host`], [`hostile`], [`disk`]) and in containers ([`docker`]).

mod disk;
mod docker;
mod host;
mod hostile;
mod rate;

use std::path::{Path, PathBuf};
use std::time::Duration;

use forgehand::executor::sandbox::host::{HostPrepared, HostSandbox, HostSpec, leftovers};
use forgehand::executor::sandbox::shim::process::tree;
use forgehand::executor::sandbox::shim::{
    Program, ShimBinary, ShimClient, ShimKey, SpoolError, SpoolEvent, SpoolReader, StepExit, StepId, StepRecord,
    StepRequest, Stream,
};
use forgehand::executor::sandbox::{JobPaths, SandboxRecord};
use forgehand::pipeline::Secret;

/// The built binary.
pub const FORGEHAND: &str = env!("CARGO_BIN_EXE_forgehand");
/// Nothing in these tests takes longer unless it hangs.
pub const LIMIT: Duration = Duration::from_secs(60);

/// Fails a test that hangs.
pub async fn soon<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, work).await.expect("the test hangs")
}

/// One job's folders and, for tests on the machine itself, its sandbox.
pub struct Job {
    _dir: tempfile::TempDir,
    pub paths: JobPaths,
    pub binary: ShimBinary,
    pub key: ShimKey,
}

impl Job {
    /// Folders below a fresh state directory.
    pub async fn new() -> Self {
        Self::below("state").await
    }

    /// The same with a state directory of that name.
    pub async fn below(name: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        // Anybody may pass: the tests run steps as other users.
        std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let root = dir.path().join(name);
        std::fs::create_dir_all(&root).unwrap();
        let paths = JobPaths {
            private: root.join("jobs/1/private"),
            run: root.join("jobs/1/run"),
            workspace: root.join("jobs/1/work"),
        };
        for folder in [&paths.private, &paths.workspace] {
            std::fs::create_dir_all(folder).unwrap();
        }
        let binary = ShimBinary::install_from(Path::new(FORGEHAND), &root.join("shim")).await.unwrap();
        Self { _dir: dir, paths, binary, key: ShimKey::generate().unwrap() }
    }

    pub fn spec<'a>(&'a self, user: Option<&'a str>) -> HostSpec<'a> {
        HostSpec { paths: &self.paths, shim: &self.binary, key: &self.key, user, env: &[] }
    }

    /// Starts a host sandbox.
    pub async fn start(self) -> House {
        self.start_as(None).await
    }

    pub async fn start_as(self, user: Option<&str>) -> House {
        let HostPrepared { record, shim, .. } =
            soon(HostSandbox::prepare(&self.spec(user), async |_| Ok(()))).await.unwrap();
        House { job: self, record, shim }
    }
}

/// A host sandbox that is running. Ends with the test, whatever became of it.
pub struct House {
    pub job: Job,
    pub record: SandboxRecord,
    pub shim: ShimClient,
}

impl House {
    pub async fn new() -> Self {
        Job::new().await.start().await
    }

    pub fn pid(&self) -> i32 {
        let SandboxRecord::Host { pid, .. } = &self.record else { panic!("no host sandbox") };
        *pid as i32
    }

    pub fn run_dir(&self) -> &Path {
        &self.job.paths.run
    }

    /// Runs a step to its end.
    pub async fn step(&self, request: &StepRequest) -> Outcome {
        soon(self.shim.start(request)).await.unwrap();
        self.outcome(&request.id).await.unwrap()
    }

    pub async fn script(&self, script: &str) -> Outcome {
        self.step(&script_step("s", script)).await
    }

    pub async fn outcome(&self, id: &StepId) -> Result<Outcome, SpoolError> {
        soon(read_step(self.run_dir(), id)).await
    }

    /// Removes the sandbox and checks that nothing of it is left.
    pub async fn close(self) {
        soon(HostSandbox::remove(&self.record, &self.job.paths, &self.job.key)).await.unwrap();
        assert!(leftovers::why_gone(&self.record).unwrap().is_some(), "the shim lives");
        soon(HostSandbox::remove(&self.record, &self.job.paths, &self.job.key)).await.unwrap();
    }
}

impl Drop for House {
    fn drop(&mut self) {
        // A test that failed must not leave a shim on the machine; one that closed its house has none.
        let pid = self.pid();
        let SandboxRecord::Host { start_time, .. } = &self.record else { return };
        let start_time = *start_time;
        let is_it = |p: &&tree::Process| p.pid == pid && p.start_time == start_time;
        let members = |all: &[tree::Process]| {
            let Some(root) = all.iter().find(is_it) else { return Vec::new() };
            let mut members = tree::below(all, [pid]);
            members.push(*root);
            members
        };
        tree::kill_all(members);
    }
}

/// What a step did.
#[derive(Debug)]
pub struct Outcome {
    pub exit: StepExit,
    pub stdout: String,
    pub stderr: String,
    pub lost: u64,
    pub record: StepRecord,
}

/// Follows a step to its end.
pub async fn read_step(run: &Path, id: &StepId) -> Result<Outcome, SpoolError> {
    let mut reader = SpoolReader::open(run, id)?;
    let (mut stdout, mut stderr, mut lost, mut last) = (Vec::new(), Vec::new(), 0, 0);
    loop {
        match reader.next().await? {
            SpoolEvent::Frame { time_us, stream, bytes } => {
                assert!(time_us >= last, "time runs backwards");
                last = time_us;
                match stream {
                    Stream::Stdout => stdout.extend_from_slice(&bytes),
                    Stream::Stderr => stderr.extend_from_slice(&bytes),
                }
            }
            SpoolEvent::Lost { bytes, .. } => lost += bytes,
            SpoolEvent::Ended(exit) => {
                let record = reader.record().unwrap().clone();
                let text = |bytes| String::from_utf8(bytes).unwrap();
                return Ok(Outcome { exit, stdout: text(stdout), stderr: text(stderr), lost, record });
            }
        }
    }
}

pub fn id(name: &str) -> StepId {
    StepId::new(name).unwrap()
}

pub fn script_step(name: &str, script: &str) -> StepRequest {
    StepRequest {
        id: id(name),
        program: Program::Shell { script: Secret::new(script) },
        env: Vec::new(),
        path: Vec::new(),
        cwd: "/".into(),
        user: None,
        timeout: None,
        grace: Duration::from_secs(2),
    }
}

pub fn argv_step(name: &str, argv: &[&str]) -> StepRequest {
    StepRequest {
        program: Program::Argv(argv.iter().map(|word| (*word).to_owned()).collect()),
        ..script_step(name, "")
    }
}

/// Living processes whose command line contains `needle`.
pub fn processes_with(needle: &str) -> Vec<i32> {
    let all = tree::snapshot().unwrap();
    let has = |p: &&tree::Process| {
        let line = std::fs::read(format!("/proc/{}/cmdline", p.pid)).unwrap_or_default();
        p.lives && String::from_utf8_lossy(&line).contains(needle)
    };
    all.iter().filter(has).map(|p| p.pid).collect()
}

/// A number that no other process of the machine sleeps for.
pub fn unique_seconds() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{}.{:07}{:03}", 86_000, std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A FIFO on which a test waits for a word of a step, instead of hoping that it is there by now.
pub struct Gate(PathBuf);

impl Gate {
    pub fn new(folder: &Path, name: &str) -> Self {
        let path = folder.join(name);
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::from_raw_mode(0o666)).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
        Self(path)
    }

    pub fn path(&self) -> std::path::Display<'_> {
        self.0.display()
    }

    /// Waits until the step has written to it (and closed it).
    pub async fn word(&self) -> String {
        let path = self.0.clone();
        let read = tokio::task::spawn_blocking(move || std::fs::read_to_string(path).unwrap());
        soon(read).await.unwrap().trim().to_owned()
    }

    /// Lets a step go on that reads from it.
    pub async fn open(&self) {
        let path = self.0.clone();
        soon(tokio::task::spawn_blocking(move || std::fs::write(path, "go\n").unwrap())).await.unwrap();
    }
}
