//! [`TestForge`]: an embedded forge on a runtime of its own, for tests that are not async.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use forgehand::emulator::{Emulator, EmulatorOptions, JobView, PipelineStatus, PipelineView, Repository};
use tokio::runtime::Runtime;

use super::log::JobLog;
use super::try_until;

/// An embedded forge. Derefs to [`Emulator`], whose methods all can be called from a test.
pub struct TestForge {
    // Before the runtime: it ends first.
    emulator: Emulator,
    runtime: Runtime,
}

impl TestForge {
    /// A forge that behaves as a usual GitLab without long polling, and asks for the log every second.
    pub fn start() -> Self {
        Self::with(EmulatorOptions { trace_update_interval: 1, ..EmulatorOptions::default() })
    }

    /// A forge with these settings.
    pub fn with(options: EmulatorOptions) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("emulator")
            .enable_all()
            .build()
            .expect("a runtime starts");
        let emulator = runtime.block_on(Emulator::start(options)).expect("the embedded forge starts");
        Self { emulator, runtime }
    }

    /// A project with the repository of the job cases (`fixtures/repositories/job-cases`).
    pub fn case_project(&self, path: &str) -> u64 {
        self.add_project(path, &Repository::CopyOf(case_repository())).expect("a project with the cases' repository")
    }

    /// Closes the forge's ports, as a server that goes away.
    pub fn stop(&self) {
        self.runtime.block_on(self.emulator.stop());
    }

    /// Waits for a job's end; `None` when it has not ended in time.
    pub fn try_job_end(&self, id: u64, limit: Duration) -> Option<JobView> {
        try_until(limit, || self.job(id).filter(JobView::has_ended))
    }

    /// Waits for a pipeline's end; `None` when it has not ended in time.
    pub fn try_pipeline_end(&self, id: u64, limit: Duration) -> Option<PipelineView> {
        try_until(limit, || self.pipeline(id).filter(|view| view.status != PipelineStatus::Running))
    }

    /// A job's log, taken apart.
    pub fn job_log(&self, id: u64) -> JobLog {
        JobLog::parse(&self.log(id))
    }

    /// Whether a job's log holds `text`.
    pub fn log_contains(&self, id: u64, text: &str) -> bool {
        self.log(id).windows(text.len()).any(|part| part == text.as_bytes())
    }

    /// Fails the test when the agent did what a well-made runner does not.
    pub fn assert_no_violations(&self) {
        let violations: Vec<String> = self.violations().iter().map(ToString::to_string).collect();
        assert!(violations.is_empty(), "the forge complains:\n{}", violations.join("\n"));
    }
}

impl Deref for TestForge {
    type Target = Emulator;

    fn deref(&self) -> &Emulator {
        &self.emulator
    }
}

/// The root of this repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The bare repository of the job cases, made once for this process.
pub fn case_repository() -> PathBuf {
    static MADE: std::sync::OnceLock<tempfile::TempDir> = std::sync::OnceLock::new();
    let dir = MADE.get_or_init(|| {
        let dir = tempfile::Builder::new().prefix("fh-repository-").tempdir().expect("a folder");
        let script = root().join("fixtures/repositories/job-cases");
        let made = Command::new(script).arg(dir.path().join("cases.git")).output().expect("bash runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        dir
    });
    dir.path().join("cases.git")
}
