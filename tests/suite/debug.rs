//! `forgehand debug`: what it says of jobs that failed in real containers, and whether its line runs the step again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use forgehand::emulator::JobSpec;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::agent::said;
use crate::support::{Agent, AgentOptions, TestForge, docker};

/// A checkout without git, and a state directory.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new(pipeline: &str) -> Self {
        docker::build_images();
        let place = Self { folder: tempfile::tempdir().unwrap() };
        fs::create_dir(place.root()).unwrap();
        fs::write(place.root().join(".gitlab-ci.yml"), pipeline).unwrap();
        fs::write(place.root().join("data"), "from the checkout").unwrap();
        place
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("it's a project")
    }

    fn forgehand(&self, words: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_forgehand"));
        command.arg("--state-dir").arg(self.folder.path().join("state")).args(words);
        command.current_dir(self.root()).stdin(Stdio::null()).output().unwrap()
    }

    /// `debug --json` of one job.
    fn debug(&self, job: &str) -> Value {
        first(&self.forgehand(&["debug", job, "--json"]))
    }
}

fn first(output: &Output) -> Value {
    let report: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", said(output)));
    report["jobs"][0].clone()
}

/// Runs what `debug` says to run.
fn reproduce(job: &Value, secret: &str) -> Output {
    let mut lines: Vec<&str> =
        job["reproduce"]["prepare"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
    lines.push(job["reproduce"]["command"].as_str().unwrap());
    Command::new("sh").args(["-ec", &lines.join("\n")]).env("TOP", secret).current_dir(Path::new("/")).output().unwrap()
}

const PIPELINE: &str = r#"
variables: {GREETING: "it's $$5 \"now\""}
broken:
  image: case/bash:1
  script:
    - echo "$GREETING / $TOP / $(cat data)"
    - echo made > data
    - no-such-command
killed:
  image: case/bash:1
  script: ['kill -9 $$']
fine:
  image: case/bash:1
  script: ['true']
"#;

#[test]
fn a_failed_job_of_exec_is_explained_and_its_line_runs_the_step_again() {
    let place = Place::new(PIPELINE);
    let ran = place.forgehand(&["exec", "--secret", "TOP=s3cr3t-value-99"]);
    assert_eq!(ran.status.code(), Some(1), "{}", said(&ran));
    assert!(said(&ran).contains(" debug "), "{}", said(&ran));

    let list = String::from_utf8(place.forgehand(&["debug"]).stdout).unwrap();
    assert!(list.contains("broken") && list.contains("killed") && !list.contains("fine"), "{list}");

    let job = place.debug("broken");
    assert_eq!(job["exit"]["code"], 127, "{job:#}");
    assert!(job["exit"]["meaning"].as_str().unwrap().contains("not found"));
    assert_eq!(job["evidence"]["stage"], "steps");
    assert_eq!(job["evidence"]["container"]["state"], "running", "{job:#}");
    assert_eq!(job["findings"], json!([]));
    let kinds: Vec<&str> =
        job["timeline"].as_array().unwrap().iter().map(|line| line["kind"].as_str().unwrap()).collect();
    for kind in ["accepted", "status", "stage", "step", "step_ended", "stage_failed"] {
        assert!(kinds.contains(&kind), "{kind} in {kinds:?}");
    }
    let text = String::from_utf8(place.forgehand(&["debug", "broken"]).stdout).unwrap();
    assert!(text.contains("exit code 127") && text.contains("docker run ") && !text.contains("s3cr3t"), "{text}");
    assert!(!job.to_string().contains("s3cr3t"));

    let again = reproduce(&job, "given again");
    assert_eq!(again.status.code(), Some(127), "{}\n{}", said(&again), job["reproduce"]);
    let printed = String::from_utf8_lossy(&again.stdout).into_owned();
    assert!(printed.contains("it's $5 \"now\" / given again / from the checkout"), "{printed}");
    assert_eq!(fs::read_to_string(place.root().join("data")).unwrap(), "from the checkout", "a copy was changed");

    let killed = place.debug("killed");
    assert_eq!(killed["exit"]["code"], 137);
    assert!(killed["exit"]["meaning"].as_str().unwrap().contains("no memory limit"), "{killed:#}");
    let unknown = place.forgehand(&["debug", "no-such-job"]);
    assert_eq!(unknown.status.code(), Some(1));
}

#[test]
fn a_job_of_the_agent_is_explained_beside_it_and_without_it() {
    let forge = TestForge::start();
    let mut agent = Agent::start(&forge, AgentOptions::default().without_network());
    let overlay = json!({
        "steps": [{ "name": "script", "script": ["echo $TOP", "exit 139"], "timeout": 3600, "when": "on_success", "allow_failure": false }],
        "variables": [{ "key": "TOP", "value": "s3cr3t-value-99", "public": false, "masked": true }],
    });
    let project = forge.case_project("team/debug");
    let spec = JobSpec { runner: Some(agent.runner), ..JobSpec::new(project, "crash", overlay) };
    let id = forge.queue(spec).expect("the job is queued");
    agent.wait_until(Duration::from_secs(60), "the job's end", || forge.job(id).filter(|job| job.has_ended()));
    let job = first(&agent.forgehand(&["debug", &id.to_string(), "--json"]));
    assert_eq!(job["exit"]["code"], 139, "{job:#}");
    assert!(job["exit"]["meaning"].as_str().unwrap().starts_with("SIGSEGV"));
    assert!(!job.to_string().contains("s3cr3t"));
    agent.stop();
    let text = String::from_utf8(agent.forgehand(&["debug", &id.to_string()]).stdout).unwrap();
    assert!(text.contains("exit code 139") && text.contains("-e TOP "), "{text}");
    let again = reproduce(&job, "x");
    assert_eq!(again.status.code(), Some(139), "{}", said(&again));
}
