//! Caches of jobs in a bucket that gitlab-runner uses, too.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use forgehand::emulator::JobView;
use serde_json::{Value, json};

use crate::kept_artifacts::{JOB_LIMIT, job, run};
use crate::support::forge::root;
use crate::support::s3::S3Server;
use crate::support::{Agent, AgentOptions, TestForge, docker};

/// A bucket, and a fleet whose jobs keep their caches there.
pub(crate) struct Fleet {
    forge: TestForge,
    server: S3Server,
    project: u64,
    /// Jobs find it at `/meet`.
    meet: tempfile::TempDir,
}

impl Fleet {
    pub(crate) fn new() -> Self {
        let forge = TestForge::start();
        let project = forge.case_project("team/cached");
        Self { forge, server: S3Server::start(), project, meet: tempfile::tempdir().unwrap() }
    }

    /// A machine with a state directory of its own.
    pub(crate) fn machine(&self) -> Agent {
        docker::build_images();
        let config = format!("[docker]\nvolumes = [\"{}:/meet\"]\n", self.meet.path().display());
        let options = AgentOptions { config, ..AgentOptions::default() }.without_network();
        let mut agent = Agent::registered(&self.forge, options);
        let mut file = OpenOptions::new().append(true).open(agent.config_file()).unwrap();
        let remote = self.server.remote();
        write!(
            file,
            "\n[registration.runner_cache]\npath = \"ci\"\nshared = true\n[registration.runner_cache.remote]\n{remote}deadline_seconds = \
             1\n"
        )
        .unwrap();
        drop(file);
        agent.run();
        agent
    }

    /// Runs a job that succeeds, whatever becomes of its cache; its log.
    pub(crate) fn run(&self, agent: &mut Agent, name: &str, script: &[&str], cache: Value) -> (JobView, String) {
        self.run_with(agent, name, script, json!({ "cache": [cache] }))
    }

    /// [`Fleet::run`], with `more` laid over the job's response.
    pub(crate) fn run_with(&self, agent: &mut Agent, name: &str, script: &[&str], more: Value) -> (JobView, String) {
        let spec = job(agent, self.project, name, script, more);
        let (ended, log) = run(&self.forge, agent, spec);
        assert_eq!(ended.state, "success", "{log}\nthe agent wrote:\n{}", agent.output());
        (ended, log)
    }

    pub(crate) fn printed(&self, job: &JobView) -> Vec<String> {
        self.forge.job_log(job.id).output("step_script")
    }

    /// Where the object of a key lies, by gitlab-runner's rules.
    pub(crate) fn object(&self, key: &str) -> PathBuf {
        self.server.bucket().join(format!("ci/project/{}/{key}", self.project))
    }

    pub(crate) fn leave(&self, agents: Vec<Agent>) {
        for mut agent in agents {
            agent.stop();
            agent.assert_nothing_left();
        }
        self.forge.assert_no_violations();
    }
}

pub(crate) fn cache(key: &str, policy: &str) -> Value {
    json!({
        "key": key, "untracked": false, "policy": policy, "paths": ["deps/"], "when": "on_success", "fallback_keys": [],
    })
}

const FILL: &str = "mkdir -p deps; echo made > deps/file; ln -s file deps/link; chmod 750 deps/file";

#[test]
fn what_a_job_on_one_machine_keeps_a_job_on_another_finds() {
    let fleet = Fleet::new();
    let (mut one, mut other) = (fleet.machine(), fleet.machine());
    let (_, log) = fleet.run(&mut one, "fill", &[FILL], cache("deps-1", "pull-push"));
    assert!(log.contains("Created cache"), "{log}");
    let mut zip = zip::ZipArchive::new(fs::File::open(fleet.object("deps-1")).unwrap()).unwrap();
    assert_eq!(std::io::read_to_string(zip.by_name("deps/file").unwrap()).unwrap(), "made\n");
    let look = ["cat deps/link", "stat -c %a deps/file"];
    let (used, log) = fleet.run(&mut other, "use", &look, cache("deps-1", "pull-push"));
    assert_eq!(fleet.printed(&used), ["made", "750"], "{log}");
    assert!(log.contains("Archive is up to date!"), "{log}");
    // Neither machine keeps it in a store of its own.
    for agent in [&one, &other] {
        assert_eq!(agent.forgehand(&["store", "ls", "--json"]).stdout, b"[]\n");
    }
    fleet.leave(vec![one, other]);
}

#[test]
fn what_gitlab_runner_keeps_a_job_finds() {
    let fleet = Fleet::new();
    let mut agent = fleet.machine();
    let archives = root().join("fixtures/gitlab/archives");
    let names = ["zip-legacy.zip", "zip-fastzip.zip", "tarzstd.zip"];
    for name in names {
        let object = fleet.object(name);
        fs::create_dir_all(object.parent().unwrap()).unwrap();
        fs::copy(archives.join(name), object).unwrap();
        let look = ["cat c/a.txt", "stat -c %a c/run.sh", "readlink c/link", "wc -c < c/sub/zeros", "ls c/empty"];
        let (used, log) = fleet.run(&mut agent, "use", &look, cache(name, "pull"));
        let expected: Vec<String> = CONTENT.iter().map(|line| (*line).to_owned()).collect();
        assert_eq!(fleet.printed(&used), expected, "{name}: {log}");
    }
    fleet.leave(vec![agent]);
}

/// What the archives hold, by `unzip -Z` and `tar tv`.
const CONTENT: [&str; 4] = ["one", "755", "a.txt", "3000"];

#[test]
fn a_job_of_a_fork_reads_and_never_writes() {
    let fleet = Fleet::new();
    let mut agent = fleet.machine();
    fleet.run(&mut agent, "fill", &[FILL], cache("deps-1", "push"));
    let before = fs::read(fleet.object("deps-1")).unwrap();
    let evil = ["cat deps/link", "echo evil > deps/file"];
    let mut spec = job(&agent, fleet.project, "fork", &evil, json!({ "cache": [cache("deps-1", "pull-push")] }));
    spec.overlay["variables"] = json!([{ "key": "CI_MERGE_REQUEST_SOURCE_PROJECT_ID", "value": "999999" }]);
    let (ended, log) = run(&fleet.forge, &mut agent, spec);
    assert_eq!((ended.state, fleet.printed(&ended)), ("success", vec!["made".to_owned()]), "{log}");
    assert!(log.contains("the cache was not kept: jobs of forks keep none in a bucket"), "{log}");
    assert_eq!(fs::read(fleet.object("deps-1")).unwrap(), before);
    fleet.leave(vec![agent]);
}

/// A job that runs until it is let go, so that something can happen meanwhile.
fn meanwhile(fleet: &Fleet, agent: &mut Agent, key: &str, meddle: impl FnOnce()) -> String {
    let (begun, go) = (fleet.meet.path().join("begun"), fleet.meet.path().join("go"));
    let wait = ["touch /meet/begun; until test -e /meet/go; do sleep 0.05; done", FILL];
    let spec = job(agent, fleet.project, "fill", &wait, json!({ "cache": [cache(key, "pull-push")] }));
    let id = fleet.forge.queue(spec).expect("the job is queued");
    agent.wait_until(JOB_LIMIT, "the job runs", || begun.exists().then_some(()));
    meddle();
    fs::write(&go, "").unwrap();
    let ended = agent.wait_until(JOB_LIMIT, "the job ends", || fleet.forge.job(id).filter(JobView::has_ended));
    let log = fleet.forge.job_log(id).text;
    assert_eq!(ended.state, "success", "{log}");
    for path in [begun, go] {
        fs::remove_file(path).unwrap();
    }
    log
}

fn assert_not_there(object: &Path) {
    assert!(!object.exists(), "{} is there", object.display());
}

#[test]
fn a_bucket_that_falls_silent_or_goes_costs_a_job_its_cache_and_nothing_else() {
    let mut fleet = Fleet::new();
    let mut agent = fleet.machine();
    let log = meanwhile(&fleet, &mut agent, "silent", || fleet.server.be_silent_about(""));
    assert!(warnings(&log).any(|line| line.contains("the cache's bucket could not be used")), "{log}");
    let (_, log) = fleet.run(&mut agent, "use", &["test ! -e deps"], cache("silent", "pull"));
    assert!(warnings(&log).any(|line| line.contains("cache silent: not restored: ")), "{log}");
    fleet.server.speak();
    assert_not_there(&fleet.object("silent"));
    // It is none the worse for that.
    fleet.run(&mut agent, "fill", &[FILL], cache("deps-1", "push"));
    let (used, log) = fleet.run(&mut agent, "use", &["cat deps/link"], cache("deps-1", "pull"));
    assert_eq!(fleet.printed(&used), ["made"], "{log}");

    let mut server = std::mem::replace(&mut fleet.server, S3Server::start());
    let log = meanwhile(&fleet, &mut agent, "gone", || server.stop());
    assert!(warnings(&log).any(|line| line.contains("the cache's bucket could not be used")), "{log}");
    let (_, log) = fleet.run(&mut agent, "use", &["test ! -e deps"], cache("deps-1", "pull"));
    assert!(warnings(&log).any(|line| line.contains("cache deps-1: not restored: ")), "{log}");
    fleet.leave(vec![agent]);
}

/// What the log warns of.
fn warnings(log: &str) -> impl Iterator<Item = &str> {
    log.lines().filter(|line| line.contains("WARNING: "))
}
