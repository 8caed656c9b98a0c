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

    /// `forgehand store` with the store of these runs, in which nothing is in grace.
    fn store(&self, words: &[&str]) -> Output {
        let config = self.path("store.toml");
        let dir = self.path("state/exec/store");
        fs::write(&config, format!("[store]\ngrace = \"0s\"\ndir = \"{}\"\n", dir.display())).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_forgehand"));
        command.arg("--state-dir").arg(self.path("other-state")).arg("--config").arg(config);
        let output = command.arg("store").args(words).stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", said(&output));
        output
    }

    /// How many artifacts a collection would remove.
    fn collected(&self) -> serde_json::Value {
        let collected: serde_json::Value = serde_json::from_slice(&self.store(&["gc", "--json"]).stdout).unwrap();
        collected["deleted"].clone()
    }

    /// Starts a run, and lets it come to the job between the others.
    fn start_and_wait(&self, source: &str) -> Child {
        fs::write(self.path("meet/wait"), "").unwrap();
        let _ = fs::remove_file(self.path("meet/waits"));
        let run = self.start(source);
        wait_until(LIMIT, "the run is between its jobs", || self.path("meet/waits").exists().then_some(()));
        run
    }

    /// Lets it go on to its end.
    fn finish(&self, run: Child) -> Output {
        fs::remove_file(self.path("meet/wait")).unwrap();
        run.wait_with_output().unwrap()
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

/// As one of the files above, with artifacts that expire at once.
fn short_lived(file: &'static str) -> Place {
    match file {
        "forgehand.yml" => Place::new(file, &NATIVE.replace("paths: [out]", "paths: [out], expire_in: 1 second")),
        _ => Place::new(file, &GITLAB.replace("paths: [out]", "paths: [out], expire_in: 1 second")),
    }
}

/// Waits until nothing but a reference keeps what is kept.
fn wait_expired(place: &Place) {
    wait_until(LIMIT, "the artifact has expired", || {
        let listed: serde_json::Value = serde_json::from_slice(&place.store(&["ls", "--json"]).stdout).unwrap();
        let expires: jiff::Timestamp = listed[0]["expires_at"].as_str().unwrap().parse().unwrap();
        (jiff::Timestamp::now() > expires).then_some(())
    });
}

#[test]
fn what_a_waiting_job_needs_outlives_a_collection() {
    for file in ["forgehand.yml", ".gitlab-ci.yml"] {
        let place = short_lived(file);
        let run = place.start_and_wait("AAAA");
        wait_expired(&place);
        assert_eq!(place.collected(), 0, "{file}");
        assert_got(&place.finish(run), "AAAA");
        // The run is over: nobody needs it.
        assert_eq!(place.collected(), 1, "{file}");
    }
}

#[test]
fn what_a_killed_run_held_is_given_back_by_the_next() {
    let place = short_lived(".gitlab-ci.yml");
    let mut run = place.start_and_wait("AAAA");
    run.kill().unwrap();
    run.wait().unwrap();
    assert_eq!(supervisors(&place).len(), 1, "it outlives the run");
    wait_expired(&place);
    assert_eq!(place.collected(), 0, "nobody knows yet that it is dead");
    let next = place.start_and_wait("BBBB");
    wait_until(LIMIT, "it is given back", || (place.collected() == 1).then_some(()));
    assert_got(&place.finish(next), "BBBB");
    wait_expired(&place);
    assert_eq!(place.collected(), 1, "what the next one made");
    assert_eq!(supervisors(&place), Vec::<String>::new(), "what the killed run left running is ended, too");
}

/// Processes that supervise jobs on this host for runs of `place`.
fn supervisors(place: &Place) -> Vec<String> {
    let mut found = Vec::new();
    let root = fs::canonicalize(place.path("state")).unwrap();
    for process in fs::read_dir("/proc").unwrap().flatten() {
        let is_supervisor = fs::read(process.path().join("cmdline"))
            .is_ok_and(|line| line.starts_with(b"forgehand-shim\0host-sandbox"));
        let is_here = fs::read_link(process.path().join("cwd")).is_ok_and(|folder| folder.starts_with(&root));
        if is_supervisor && is_here {
            found.push(process.file_name().to_string_lossy().into_owned());
        }
    }
    found
}

#[test]
fn artifacts_that_are_gone_fail_the_job_that_needs_them_and_name_who_made_them() {
    for file in ["forgehand.yml", ".gitlab-ci.yml"] {
        let place = short_lived(file);
        let run = place.start_and_wait("AAAA");
        fs::remove_dir_all(place.path("state/exec/store/owners")).unwrap();
        for run in fs::read_dir(place.path("state/exec/runs")).unwrap() {
            fs::remove_dir_all(run.unwrap().path().join("artifacts")).unwrap();
        }
        let output = place.finish(run);
        let text = said(&output);
        assert_eq!(output.status.code(), Some(1), "{file}: {text}");
        assert!(text.contains("the artifacts of build could not be downloaded"), "{file}: {text}");
        assert!(!text.contains("] got "), "{file}: {text}");
    }
}

#[test]
fn a_job_is_told_of_artifacts_that_were_to_be_there_and_never_were() {
    let remark = "`build` was to leave artifacts, and left none";
    for (file, text) in [("forgehand.yml", NATIVE), (".gitlab-ci.yml", GITLAB)] {
        let use_it =
            |text: &str| text.replace("WAIT", "true").replace("cat out/file", "ls out 2>/dev/null || echo nothing");
        let nothing = Place::new(file, &use_it(&text.replace("paths: [out]", "paths: [elsewhere]")));
        let output = nothing.run("AAAA");
        let text = said(&output);
        // As on the forge: there is nothing to download, and that is no failure.
        assert!(output.status.success() && text.contains("] got nothing"), "{file}: {text}");
        let told: Vec<&str> = text.lines().filter(|line| line.contains(remark)).collect();
        assert_eq!(told.len(), 2, "both jobs behind it are told: {text}");
    }
    let without =
        Place::new(".gitlab-ci.yml", &GITLAB.replace("  artifacts: {paths: [out]}\n", "").replace("WAIT", "true"));
    let text = said(&without.run("AAAA"));
    assert!(!text.contains("was to leave"), "{text}");
}
