//! Artifacts between the jobs of one `forgehand exec`: those of other runs, whose jobs have the same numbers, are never among them.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::support::agent::said;
use crate::support::wait_until;

const LIMIT: Duration = Duration::from_secs(60);

/// What is made has the same times in each run: the same content is the same tree.
const NATIVE: &str = "
name: demo
jobs:
  build:
    steps: [{name: make, script: ['mkdir out', 'cp source out/file', 'touch -d @1000000000 out/file out']}]
    artifacts: {paths: [out]}
  between:
    depends_on: [build]
    steps: [{name: wait, script: 'WAIT'}]
  use:
    depends_on: [between, build]
    steps: [{name: show, script: 'echo \"got $(cat out/file)\"'}]
";

const GITLAB: &str = "
stages: [build, between, use]
build:
  stage: build
  script: ['mkdir out', 'cp source out/file', 'touch -d @1000000000 out/file out']
  artifacts: {paths: [out]}
between:
  stage: between
  script: ['WAIT']
use:
  stage: use
  script: ['echo \"got $(cat out/file)\"']
";

struct Place {
    folder: TempDir,
    file: &'static str,
}

impl Place {
    /// A job between the others waits as long as `meet/wait` is there, and says so.
    fn new(file: &'static str, text: &str) -> Self {
        let place = Self { folder: tempfile::tempdir().unwrap(), file };
        fs::create_dir(place.path("project")).unwrap();
        fs::create_dir(place.path("meet")).unwrap();
        let meet = place.path("meet");
        let wait = format!("touch {0}/waits; while test -e {0}/wait; do sleep 0.02; done", meet.display());
        fs::write(place.path("project").join(file), text.replace("WAIT", &wait)).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts a run whose source has this content.
    fn start(&self, source: &str) -> Child {
        fs::write(self.path("project/source"), source).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_forgehand"));
        command.arg("--state-dir").arg(self.path("state"));
        command.args(["exec", self.file, "--executor", "host"]).current_dir(self.path("project"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    fn run(&self, source: &str) -> Output {
        self.start(source).wait_with_output().unwrap()
    }
}

fn assert_got(output: &Output, what: &str) {
    let text = said(output);
    assert!(output.status.success(), "{text}");
    let got: Vec<&str> =
        text.lines().filter_map(|line| line.split_once("] got ")).map(|(_, what)| what.trim()).collect();
    assert_eq!(got, [what], "{text}");
    assert!(text.contains("Restored artifacts of build from this machine"), "{text}");
}

fn each_run_has_its_own(file: &'static str, text: &str) {
    let place = Place::new(file, text);
    for source in ["AAAA", "BBBB", "AAAA"] {
        assert_got(&place.run(source), source);
    }
    // One that runs at the same time comes in between.
    fs::write(place.path("meet/wait"), "").unwrap();
    fs::remove_file(place.path("meet/waits")).unwrap();
    let first = place.start("CCCC");
    wait_until(LIMIT, "the first run is between its jobs", || place.path("meet/waits").exists().then_some(()));
    fs::remove_file(place.path("meet/waits")).unwrap();
    let second = place.start("DDDD");
    wait_until(LIMIT, "the second run is between its jobs", || place.path("meet/waits").exists().then_some(()));
    fs::remove_file(place.path("meet/wait")).unwrap();
    assert_got(&first.wait_with_output().unwrap(), "CCCC");
    assert_got(&second.wait_with_output().unwrap(), "DDDD");
}

#[test]
fn jobs_of_a_native_pipeline_get_what_their_own_run_made() {
    each_run_has_its_own("forgehand.yml", NATIVE);
}

#[test]
fn jobs_of_a_gitlab_pipeline_get_what_their_own_run_made() {
    each_run_has_its_own(".gitlab-ci.yml", GITLAB);
}
