//! A runner's folders around one project, and a forge with that project's repository.

use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::super::{
    AllowedRemotes, GitNetwork, GitProgram, JobSide, Mirrors, SourcesContext, SourcesError, get_sources,
};
use super::git_server::GitServer;
use super::log::TestLog;
use crate::pipeline::definition::{GitCredentials, SourceSpec};
use crate::pipeline::{ForgeInstance, Owner, ProjectId, Secret, Trust};

/// The token that must not be anywhere.
pub(crate) const TOKEN: &str = "glcbt-64_5ecr3t-t0k3n";

/// One project's forge and runner.
pub(crate) struct House {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) forge: GitServer,
    pub(crate) mirrors: Mirrors,
    pub(crate) owner: Owner,
    pub(crate) program: GitProgram,
    pub(crate) network: GitNetwork,
    pub(crate) cancel: CancellationToken,
    pub(crate) attempt: u32,
    pub(crate) limit: Duration,
}

impl House {
    pub(crate) async fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        for folder in ["forge", "state/builds/ws", "state/private", "work"] {
            std::fs::create_dir_all(dir.path().join(folder)).expect("made");
        }
        std::fs::set_permissions(dir.path().join("state/builds/ws"), std::fs::Permissions::from_mode(0o777))
            .expect("set");
        let forge = GitServer::start(&dir.path().join("forge")).await;
        Self {
            forge,
            mirrors: Mirrors::new(dir.path().join("state/mirrors")),
            owner: owner("42", Trust::Member),
            program: GitProgram::find(&std::env::var_os("PATH").unwrap_or_default()).expect("git"),
            network: GitNetwork::default(),
            cancel: CancellationToken::new(),
            attempt: 1,
            limit: Duration::from_secs(120),
            dir,
        }
    }

    /// The project's repository on the forge, made with a first commit.
    pub(crate) fn repository(&self, name: &str) -> Repository {
        Repository::new(
            &self.dir.path().join("work").join(name),
            &self.dir.path().join("forge").join(format!("{name}.git")),
        )
    }

    /// The repository that most tests use: a tag, then 25 commits, as in the corpus.
    pub(crate) fn usual_repository(&self) -> Repository {
        let repository = self.repository("app");
        repository.write("src/hello.txt", "hello from the tag\n");
        repository.write("build.sh", "#!/bin/sh\necho built > out.bin\n");
        repository.write(".gitignore", "ignored/\n");
        repository.run(&["update-index", "--add", "--chmod=+x", "build.sh"]);
        repository.commit("first");
        repository.run(&["tag", "v1.0"]);
        for number in 1..=24 {
            repository.run(&["commit", "-q", "--allow-empty", "-m", &format!("step {number}")]);
        }
        repository.write("src/hello.txt", "hello from the repository\n");
        repository.write("second.txt", "two\n");
        repository.commit("last");
        repository.publish();
        repository
    }

    pub(crate) fn spec(&self, name: &str, sha: &str) -> SourceSpec {
        super::spec::spec(&format!("{}/{name}.git", self.forge.url()), sha)
    }

    /// Like [`Self::spec`], with a token that the forge asks for from now on.
    pub(crate) fn private_spec(&self, name: &str, sha: &str) -> SourceSpec {
        self.forge.require("gitlab-ci-token", TOKEN);
        let credentials = GitCredentials {
            username: "gitlab-ci-token".to_owned(),
            password: Secret::new(TOKEN),
            hosts: vec![self.forge.url().to_owned()],
        };
        SourceSpec { credentials: Some(credentials), ..self.spec(name, sha) }
    }

    pub(crate) fn project(&self) -> PathBuf {
        self.dir.path().join("state/builds/ws/team/app")
    }

    /// Gets the sources into the usual place.
    pub(crate) async fn get(&self, spec: &SourceSpec) -> (Result<(), SourcesError>, String) {
        self.get_into(spec, "team/app", "state/private").await
    }

    /// The same, and it must succeed.
    pub(crate) async fn get_well(&self, spec: &SourceSpec) -> String {
        let (result, log) = self.get(spec).await;
        if let Err(error) = result {
            panic!("{error}\n{log}");
        }
        log
    }

    pub(crate) async fn get_into(
        &self,
        spec: &SourceSpec,
        place: &str,
        private: &str,
    ) -> (Result<(), SourcesError>, String) {
        let (log, private_dir) = (TestLog::default(), self.dir.path().join(private));
        std::fs::create_dir_all(&private_dir).expect("made");
        let workspace = self.dir.path().join("state/builds/ws");
        let (job_side, shown) = (TestSide(workspace.clone()), format!("/builds/{place}"));
        let cx = SourcesContext {
            program: &self.program,
            mirrors: &self.mirrors,
            owner: &self.owner,
            private_dir: &private_dir,
            workspace: &workspace,
            job_project_dir: &shown,
            network: &self.network,
            remotes: AllowedRemotes::Http,
            token_variable: Some("CI_JOB_TOKEN"),
            job_side: &job_side,
            deadline: Instant::now() + self.limit,
            attempt: self.attempt,
        };
        let result = get_sources(&cx, spec, &workspace.join(place), &log, &self.cancel).await;
        (result, log.text())
    }

    /// Calls `work` with a context of this house.
    pub(crate) async fn with_context<T>(&self, work: impl AsyncFnOnce(&SourcesContext<'_>) -> T) -> T {
        let (workspace, private_dir) = (self.dir.path().join("state/builds/ws"), self.dir.path().join("state/private"));
        let job_side = TestSide(workspace.clone());
        let cx = SourcesContext {
            program: &self.program,
            mirrors: &self.mirrors,
            owner: &self.owner,
            private_dir: &private_dir,
            workspace: &workspace,
            job_project_dir: "/builds/team/app",
            network: &self.network,
            remotes: AllowedRemotes::Http,
            token_variable: None,
            job_side: &job_side,
            deadline: Instant::now() + self.limit,
            attempt: self.attempt,
        };
        work(&cx).await
    }

    /// Writes a file into the work tree as a job would.
    pub(crate) fn plant(&self, name: &str, content: &str) {
        let path = self.project().join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        std::fs::write(path, content).expect("written");
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.project().join(name)).unwrap_or_default()
    }

    /// Makes git-lfs one that writes down how it is called.
    pub(crate) fn install_fake_lfs(&mut self) {
        let bin = self.dir.path().join("bin");
        std::fs::create_dir(&bin).expect("made");
        let script = "#!/bin/sh\necho \"lfs $* $(git config filter.lfs.required)\" >> .git/lfs-calls\n";
        write_program(&bin.join("git-lfs"), script);
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths([bin].into_iter().chain(std::env::split_paths(&path))).expect("joined");
        self.program = GitProgram::find(&path).expect("git");
    }

    /// What git says of the work tree, as the job's own git would.
    pub(crate) fn git(&self, args: &[&str]) -> String {
        git(&self.project(), args)
    }
}

pub(crate) fn owner(project: &str, trust: Trust) -> Owner {
    Owner { forge: ForgeInstance::new("http://forge.test"), project: ProjectId::new(project), trust }
}

/// Hooks leave a line in the workspace; root is this process.
struct TestSide(PathBuf);

impl JobSide for TestSide {
    fn run_hook<'h>(
        &'h self,
        hook: &'static str,
        commands: &'h [String],
    ) -> BoxFuture<'h, Result<(), (String, Option<i32>)>> {
        Box::pin(async move {
            for command in commands {
                let mut shell = std::process::Command::new("sh");
                let code =
                    shell.args(["-c", command]).current_dir(&self.0).env("HOOK", hook).status().expect("sh").code();
                if code != Some(0) {
                    return Err(("a command failed".to_owned(), code));
                }
            }
            Ok(())
        })
    }

    fn remove_as_root<'h>(&'h self, folder: &'h Path) -> BoxFuture<'h, io::Result<()>> {
        Box::pin(async move {
            std::process::Command::new("chattr").args(["-R", "-i"]).arg(folder).status()?;
            std::fs::remove_dir_all(folder)
        })
    }
}

/// A repository somebody works in, and the bare one on the forge.
pub(crate) struct Repository {
    pub(crate) work: PathBuf,
    pub(crate) bare: PathBuf,
}

impl Repository {
    fn new(work: &Path, bare: &Path) -> Self {
        std::fs::create_dir_all(work).expect("made");
        git(work, &["init", "-q", "-b", "main"]);
        Self { work: work.to_owned(), bare: bare.to_owned() }
    }

    pub(crate) fn write(&self, name: &str, content: &str) {
        let path = self.work.join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        std::fs::write(path, content).expect("written");
        self.run(&["add", "-A"]);
    }

    pub(crate) fn run(&self, args: &[&str]) -> String {
        git(&self.work, args)
    }

    /// Commits and returns the commit's name.
    pub(crate) fn commit(&self, message: &str) -> String {
        self.run(&["commit", "-q", "--allow-empty", "-m", message]);
        self.head()
    }

    pub(crate) fn head(&self) -> String {
        self.run(&["rev-parse", "HEAD"])
    }

    /// Brings everything to the forge.
    pub(crate) fn publish(&self) {
        if !self.bare.exists() {
            git(&self.work, &["init", "-q", "--bare", "-b", "main", &self.bare.to_string_lossy()]);
        }
        git(&self.work, &["push", "-q", "--force", "--mirror", &self.bare.to_string_lossy()]);
    }
}

/// Runs git as somebody at a desk would; it must succeed.
pub(crate) fn git(folder: &Path, args: &[&str]) -> String {
    let output = desk_git(folder, args).output().expect("git");
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

pub(crate) fn desk_git(folder: &Path, args: &[&str]) -> std::process::Command {
    let mut command = std::process::Command::new("git");
    let who = [("GIT_AUTHOR_NAME", "a"), ("GIT_AUTHOR_EMAIL", "a@example.com")];
    let committer = [("GIT_COMMITTER_NAME", "a"), ("GIT_COMMITTER_EMAIL", "a@example.com")];
    command.args(["-c", "protocol.file.allow=always", "-c", "safe.directory=*"]).args(args).current_dir(folder);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).envs(who).envs(committer);
    command
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("HOME", OsStr::new("/nonexistent"));
    command
}

/// Writes a program, by another process: one that this process has open for writing cannot be run while any other thread
/// forks.
pub(crate) fn write_program(path: &Path, script: &str) {
    let command = "printf %s \"$2\" > \"$1\" && chmod 755 \"$1\"";
    let status = std::process::Command::new("sh").args(["-c", command, "sh"]).arg(path).arg(script).status();
    assert!(status.expect("sh").success());
}
