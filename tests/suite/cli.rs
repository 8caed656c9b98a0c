//! The command line as users and scripts meet it: exit codes, standard output, files.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;
use std::time::{Duration, Instant};

use forgehand::emulator::{EmulatorOptions, JobSpec, JobView};
use rustix::process::Signal;
use serde_json::Value;

use crate::support::agent::said;
use crate::support::{Agent, AgentOptions, TestForge, docker, wait_until};

const LIMIT: Duration = Duration::from_secs(60);

fn options() -> AgentOptions {
    AgentOptions::default().without_network()
}

/// A job of these commands, without sources.
fn job(agent: &Agent, project: u64, script: &[&str]) -> JobSpec {
    let mut spec = JobSpec { runner: Some(agent.runner), ..JobSpec::script(project, "job", script) };
    spec.overlay["variables"] = serde_json::json!([{ "key": "GIT_STRATEGY", "value": "none", "public": true }]);
    spec
}

/// Queues the job and waits until its log holds `ready`.
fn start_job(forge: &TestForge, agent: &mut Agent, project: u64, script: &[&str], ready: &str) -> u64 {
    let id = forge.queue(job(agent, project, script)).expect("it is queued");
    agent.wait_until(LIMIT, "the job prints", || forge.log_contains(id, ready).then_some(()));
    id
}

fn ended(forge: &TestForge, agent: &mut Agent, id: u64) -> JobView {
    agent.wait_until(LIMIT, "the job ends", || forge.job(id).filter(|job| job.has_ended()))
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", said(output)))
}

/// Runs a command that ends with `code`.
fn ends_with(agent: &Agent, code: i32, arguments: &[&str]) -> Output {
    let output = agent.forgehand(arguments);
    assert_eq!(output.status.code(), Some(code), "forgehand {arguments:?}:\n{}", said(&output));
    output
}

/// A file to which jobs wait, seen by them as `/gate/open`.
struct Gate(tempfile::TempDir);

impl Gate {
    fn new() -> Self {
        Self(tempfile::Builder::new().prefix("fh-gate-").tempdir().expect("a folder"))
    }

    fn config(&self) -> String {
        format!("[docker]\nvolumes = [\"{}:/gate\"]\n", self.0.path().display())
    }

    fn open(&self) {
        fs::write(self.0.path().join("open"), "").expect("it is written");
    }
}

const WAIT: &str = "until [ -e /gate/open ]; do sleep 0.1; done";

#[test]
fn a_registration_from_its_beginning_to_its_end() {
    let forge = TestForge::start();
    let (agent, token) = Agent::unregistered(&forge, options());
    assert_eq!(json(&ends_with(&agent, 0, &["list", "--json"])), serde_json::json!([]), "no file counts as empty");
    assert!(!agent.config_file().exists());
    ends_with(&agent, 3, &["register", "--url", "http://127.0.0.1:9", "--token", "glrt-x"]);
    let refused = ends_with(&agent, 3, &["register", "--url", forge.url(), "--token", "glrt-wrong"]);
    assert!(!said(&refused).contains("glrt-wrong"), "{}", said(&refused));
    ends_with(&agent, 2, &["register", "--url", "no url", "--token", "glrt-x"]);
    ends_with(&agent, 2, &["register", "--url", forge.url()]);
    assert!(!agent.config_file().exists(), "what failed left nothing");

    agent.register(forge.url(), &token, "test");
    let config = fs::read_to_string(agent.config_file()).expect("register creates the file");
    assert!(config.contains("[[registration]]") && !config.contains(&token), "{config}");
    let credentials = agent.state_dir().join("credentials.json");
    let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!((mode(&credentials), mode(&agent.state_dir())), (0o600, 0o700));
    assert!(fs::read_to_string(&credentials).expect("it is ours").contains(&token));
    ends_with(&agent, 2, &["register", "--url", forge.url(), "--token", &token, "--name", "test"]);

    let listed = json(&ends_with(&agent, 0, &["list", "--json"]));
    assert_eq!((&listed[0]["name"], &listed[0]["has_token"]), (&"test".into(), &true.into()));
    assert_eq!(listed[0]["runner_id"], agent.runner);
    assert!(stdout(&ends_with(&agent, 0, &["list"])).contains(forge.url()));
    assert!(stdout(&ends_with(&agent, 0, &["verify"])).contains("good"));
    let (_, other) = forge.add_runner(Default::default());
    agent.register(forge.url(), &other, "other");
    ends_with(&agent, 2, &["unregister"]);
    ends_with(&agent, 0, &["unregister", "--name", "other"]);

    forge.remove_runner(agent.runner);
    assert!(stdout(&ends_with(&agent, 1, &["verify"])).contains("refused"));
    forge.stop();
    ends_with(&agent, 3, &["verify"]);
    ends_with(&agent, 3, &["unregister"]);
    ends_with(&agent, 0, &["unregister", "--force"]);
    assert_eq!(json(&ends_with(&agent, 0, &["list", "--json"])), serde_json::json!([]));
    assert!(!fs::read_to_string(&credentials).expect("it is ours").contains(&token));
}

#[test]
fn the_configuration_is_checked_shown_and_described() {
    let forge = TestForge::start();
    let (agent, token) = Agent::unregistered(&forge, options());
    ends_with(&agent, 0, &["config", "check"]);
    let schema = json(&ends_with(&agent, 0, &["config", "schema"]));
    assert!(schema["properties"]["concurrent"].is_object(), "{schema}");
    agent.register(forge.url(), &token, "test");
    let shown = stdout(&ends_with(&agent, 0, &["config", "show"]));
    assert!(shown.contains("concurrent = 4") && shown.contains("FORGEHAND_DOCKER__NETWORK_MODE"), "{shown}");
    assert!(!shown.contains(&token));

    let good = fs::read_to_string(agent.config_file()).expect("it is there");
    let commands: [&[&str]; 6] =
        [&["config", "check"], &["config", "show"], &["run"], &["list"], &["verify"], &["doctor"]];
    for (bad, nearest) in [
        ("concurent = 2\n", "concurrent"),
        ("[docker]\npull_polcy = [\"always\"]\n", "pull_policy"),
        ("concurrent = \"many\"\n", "concurrent"),
        ("concurrent = = 2\n", "forgehand.toml:1"),
    ] {
        fs::write(agent.config_file(), format!("{bad}{good}")).expect("it is written");
        for command in commands {
            let told = stderr(&ends_with(&agent, 2, command));
            assert!(told.contains(nearest), "{command:?} says of {bad:?}: {told}");
        }
    }
    fs::remove_file(agent.config_file()).expect("it is there");
    fs::create_dir(agent.config_file()).expect("a folder in its place");
    ends_with(&agent, 2, &["list"]);
    fs::remove_dir(agent.config_file()).expect("it is empty");
    let mut command = agent.command();
    let output = command.env("FORGEHAND_CONCURENT", "3").arg("list").output().expect("it starts");
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(stderr(&output).contains("FORGEHAND_CONCURRENT"), "{}", said(&output));
    for wrong in [&["fly"][..], &["run", "--max-jobs", "0"], &["--log-format", "xml", "list"], &[]] {
        ends_with(&agent, 2, wrong);
    }
    assert!(stdout(&ends_with(&agent, 0, &["--help"])).contains("register"));
}

#[test]
fn status_and_logs_tell_of_a_job_while_it_runs_and_after() {
    let forge = TestForge::start();
    let gate = Gate::new();
    let mut agent = Agent::registered(&forge, AgentOptions { config: gate.config(), ..options() });
    docker::build_images();
    let idle = json(&ends_with(&agent, 0, &["status", "--json"]));
    assert!(idle["agent"].is_null() && idle["recent"] == serde_json::json!([]), "{idle}");
    ends_with(&agent, 1, &["logs", "1"]);
    ends_with(&agent, 3, &["pause"]);
    agent.run();
    let project = forge.case_project("team/told");
    let id = start_job(&forge, &mut agent, project, &["echo before", WAIT, "echo after"], "before\n");
    let status = json(&ends_with(&agent, 0, &["status", "--json"]));
    let pid = agent.pid().as_raw_nonzero().get();
    assert_eq!((&status["agent"]["pid"], &status["agent"]["state"]), (&pid.into(), &"serving".into()));
    let shown = &status["agent"]["jobs"][0];
    assert_eq!((&shown["id"], &shown["project"]), (&id.to_string().into(), &"team/told".into()), "{status}");
    assert!(stdout(&ends_with(&agent, 0, &["status"])).contains("team/told"));
    let during = stdout(&ends_with(&agent, 0, &["logs", &id.to_string()]));
    assert!(during.contains("before") && !during.contains("after\n"), "{during}");
    let mut follow = agent.command();
    follow.args(["logs", &id.to_string(), "--follow"]).stdout(std::process::Stdio::piped());
    let follower = follow.spawn().expect("it starts");
    gate.open();
    assert_eq!(ended(&forge, &mut agent, id).state, "success");
    let followed = follower.wait_with_output().expect("it ends with the job");
    assert!(followed.status.success());
    assert_eq!(followed.stdout, forge.log(id), "the log is the same everywhere");
    wait_until(LIMIT, "the job is over here, too", || {
        let status = json(&ends_with(&agent, 0, &["status", "--json"]));
        (status["agent"]["jobs"] == serde_json::json!([]) && status["recent"][0]["status"] == "success").then_some(())
    });
    assert_eq!(ends_with(&agent, 0, &["logs", &id.to_string()]).stdout, forge.log(id));
    ends_with(&agent, 1, &["logs", "4711"]);
    agent.stop();
    assert_eq!(ends_with(&agent, 0, &["logs", &id.to_string()]).stdout, forge.log(id), "without an agent, too");
    agent.assert_nothing_left();
}

#[test]
fn pause_resume_drain_and_a_second_agent() {
    let forge = TestForge::start();
    let gate = Gate::new();
    let mut agent = Agent::start(&forge, AgentOptions { config: gate.config(), max_jobs: 2, ..options() });
    let project = forge.case_project("team/paused");
    let first = start_job(&forge, &mut agent, project, &["echo begun", WAIT], "begun\n");

    let second = ends_with(&agent, 3, &["run"]);
    let pid = agent.pid().as_raw_nonzero().to_string();
    assert!(stderr(&second).contains(&pid), "{}", said(&second));

    ends_with(&agent, 0, &["pause"]);
    let waiting = forge.queue(job(&agent, project, &["echo waited"])).expect("it is queued");
    let status = json(&ends_with(&agent, 0, &["status", "--json"]));
    assert_eq!(status["agent"]["state"], "paused");
    gate.open();
    assert_eq!(ended(&forge, &mut agent, first).state, "success");
    ends_with(&agent, 0, &["pause", "--wait"]);
    assert_eq!(forge.job(waiting).expect("it is known").deliveries, 0);
    ends_with(&agent, 0, &["resume"]);
    assert_eq!(ended(&forge, &mut agent, waiting).state, "success");

    let last = start_job(&forge, &mut agent, project, &["echo begun", "sleep 2", "echo at-the-end"], "begun\n");
    let drained = ends_with(&agent, 0, &["drain", "--wait"]);
    assert!(forge.job(last).expect("it is known").has_ended(), "{}", said(&drained));
    assert!(agent.wait_exit(LIMIT).success());
    assert_eq!(forge.job(last).expect("it is known").state, "success");
    ends_with(&agent, 3, &["drain"]);
    ends_with(&agent, 3, &["resume"]);
    agent.assert_nothing_left();
}

#[test]
fn signals_let_jobs_end_and_twice_cancel_them() {
    let forge = TestForge::start();
    let mut agent = Agent::start(&forge, options());
    let project = forge.case_project("team/signals");
    for (signal, name) in [(Signal::TERM, "SIGTERM"), (Signal::QUIT, "SIGQUIT")] {
        let id = start_job(&forge, &mut agent, project, &["echo begun", "sleep 2", "echo last"], "begun\n");
        agent.signal(signal);
        let status = agent.wait_exit(LIMIT);
        assert_eq!(status.code(), Some(0), "{name}: {}", agent.output());
        assert_eq!(forge.job(id).expect("it is known").state, "success", "{name}");
        assert!(forge.log_contains(id, "last\n"), "{name}");
        agent.run();
    }
    let id = start_job(&forge, &mut agent, project, &["echo begun", "sleep 600"], "begun\n");
    agent.signal(Signal::TERM);
    wait_until(LIMIT, "the first signal is heard", || {
        let status = json(&ends_with(&agent, 0, &["status", "--json"]));
        (status["agent"]["state"] == "draining").then_some(())
    });
    agent.signal(Signal::TERM);
    agent.wait_exit(LIMIT);
    assert!(forge.job(id).expect("it is known").has_ended(), "{}", agent.output());
    agent.assert_nothing_left();
}

#[test]
fn the_agent_ends_by_itself_when_idle_and_when_its_time_is_over() {
    let forge = TestForge::start();
    let run_arguments = ["--exit-when-idle", "2s"].map(str::to_owned).to_vec();
    let mut agent = Agent::start(&forge, AgentOptions { run_arguments, ..options() });
    let project = forge.case_project("team/brief");
    let id = start_job(&forge, &mut agent, project, &["echo begun", "sleep 4"], "begun\n");
    assert_eq!(agent.wait_exit(LIMIT).code(), Some(0), "{}", agent.output());
    assert_eq!(forge.job(id).expect("it is known").state, "success", "a running job is not idle");
    agent.assert_nothing_left();

    let run_arguments = ["--max-uptime", "4s"].map(str::to_owned).to_vec();
    let mut agent = Agent::start(&forge, AgentOptions { run_arguments, ..options() });
    let id = start_job(&forge, &mut agent, project, &["echo begun", "sleep 5"], "begun\n");
    let late = forge.queue(job(&agent, project, &["true"])).expect("it is queued");
    assert_eq!(agent.wait_exit(LIMIT).code(), Some(0), "{}", agent.output());
    assert_eq!(forge.job(id).expect("it is known").state, "success");
    assert_eq!(forge.job(late).expect("it is known").deliveries, 0);
    agent.assert_nothing_left();
}

#[test]
fn what_earlier_versions_and_projects_left_is_removed() {
    let forge = TestForge::start();
    let mut agent = Agent::registered(&forge, options());
    let project = forge.case_project("team/tidy");
    let shim = agent.state_dir().join("shim").join("0".repeat(64));
    let mirror = agent.state_dir().join("mirrors").join("forge.example-1-member").join("repo");
    for (folder, file) in [(&shim, "forgehand-shim"), (&mirror, "packed-refs")] {
        fs::create_dir_all(folder).expect("a folder");
        let file = fs::File::create(folder.join(file)).expect("a file");
        let long_ago = std::time::SystemTime::now() - Duration::from_secs(60 * 24 * 3600);
        file.set_modified(long_ago).expect("the file is ours");
    }
    agent.run();
    agent.wait_until(LIMIT, "both are gone", || (!shim.exists() && !mirror.exists()).then_some(()));
    let id = forge.queue(job(&agent, project, &["echo well"])).expect("it is queued");
    assert_eq!(ended(&forge, &mut agent, id).state, "success");
    agent.stop();
    agent.assert_nothing_left();
}

#[test]
fn a_reload_takes_up_a_registration() {
    let forge = TestForge::start();
    let mut agent = Agent::start(&forge, options());
    wait_until(LIMIT, "the agent is there", || {
        (!json(&ends_with(&agent, 0, &["status", "--json"]))["agent"].is_null()).then_some(())
    });
    // Beside the agent, as an administrator's tools do it: the file and the signal.
    let (second, token) = forge.add_runner(Default::default());
    let told = agent.try_register(forge.url(), &token, "second");
    assert!(told.status.success(), "{}", said(&told));
    agent.signal(Signal::HUP);
    let project = forge.case_project("team/second");
    let spec = JobSpec { runner: Some(second), ..job(&agent, project, &["echo second"]) };
    let id = forge.queue(spec).expect("it is queued");
    assert_eq!(ended(&forge, &mut agent, id).state, "success");
    let pid = agent.pid();
    fs::write(agent.config_file(), "concurent = 1\n").expect("it is written");
    agent.signal(Signal::HUP);
    let log = agent.stderr_file();
    agent.wait_until(LIMIT, "a wrong file is refused", || {
        fs::read_to_string(&log).ok().filter(|told| told.contains("concurrent"))
    });
    assert_eq!(agent.pid(), pid);
    agent.stop();
    assert!(docker::leftovers(forge.url(), &[id].into()).is_empty());
}

#[test]
fn a_migrated_runner_serves_a_job() {
    let forge = TestForge::start();
    let (mut agent, token) = Agent::unregistered(&forge, options());
    docker::build_images();
    let file = agent.config_file().with_file_name("config.toml");
    let text = format!(
        "concurrent = 2\ncheck_interval = 1\n\n[[runners]]\n  name = \"old runner\"\n  url = \"{}\"\n  token = \"{token}\"\n  \
         executor = \"docker\"\n  [runners.docker]\n    image = \"case/bash:1\"\n    pull_policy = \"if-not-present\"\n    \
         privileged = false\n",
        forge.url()
    );
    fs::write(&file, &text).expect("it is written");
    let before = stdout(&ends_with(&agent, 0, &["migrate", "--dry-run", &file.to_string_lossy()]));
    assert!(before.contains("old runner") && !before.contains(&token) && !agent.config_file().exists(), "{before}");
    let migrated = ends_with(&agent, 0, &["migrate", &file.to_string_lossy()]);
    assert!(!said(&migrated).contains(&token), "{}", said(&migrated));
    assert_eq!(fs::read_to_string(&file).expect("it is there"), text, "it is only read");
    ends_with(&agent, 0, &["config", "check"]);
    ends_with(&agent, 0, &["verify"]);
    agent.run();
    let project = forge.case_project("team/migrated");
    let id = forge.queue(job(&agent, project, &["echo served"])).expect("it is queued");
    assert_eq!(ended(&forge, &mut agent, id).state, "success", "{}", String::from_utf8_lossy(&forge.log(id)));
    agent.stop();
    agent.assert_nothing_left();
    fs::write(&file, "[[runners]\n").expect("it is written");
    ends_with(&agent, 2, &["migrate", &file.to_string_lossy()]);
    ends_with(&agent, 2, &["migrate", "/nowhere/config.toml"]);
}

#[test]
fn doctor_finds_nothing_wrong_or_says_the_fix() {
    let forge = TestForge::start();
    let agent = Agent::registered(&forge, options());
    docker::build_images();
    let checked = json(&ends_with(&agent, 0, &["doctor", "--json"]));
    let checks = checked.as_array().expect("an array").clone();
    assert!(checks.len() >= 7, "{checked:#}");
    for check in &checks {
        assert_ne!(check["verdict"], "failed", "{check:#}");
    }
    assert!(checks.iter().any(|check| check["check"] == "engine and state directory"), "{checked:#}");
    let mut broken = agent.command();
    broken.env("FORGEHAND_DOCKER__HOST", "unix:///nowhere/docker.sock").env("PATH", "/nowhere");
    forge.stop();
    let output = broken.args(["doctor", "--json"]).output().expect("it starts");
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    let checked = json(&output);
    let failed: Vec<&Value> =
        checked.as_array().expect("an array").iter().filter(|check| check["verdict"] == "failed").collect();
    for check in &failed {
        assert!(check["fix"].as_str().is_some_and(|fix| !fix.is_empty()), "{check:#}");
    }
    let names = failed.iter().map(|check| check["check"].to_string()).collect::<Vec<_>>().join(", ");
    for part in ["git", "engine", "forge"] {
        assert!(names.contains(part), "{part} is not among: {names}");
    }
}

#[test]
fn without_an_engine_it_ends_and_without_a_forge_it_waits() {
    let forge = TestForge::start();
    let mut agent = Agent::registered(&forge, options());
    let mut no_engine = agent.command();
    no_engine.env("FORGEHAND_DOCKER__HOST", "unix:///nowhere/docker.sock").arg("run");
    let output = no_engine.output().expect("it starts");
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    let told = stderr(&output);
    assert!(told.contains("/nowhere/docker.sock") && told.contains("doctor"), "{told}");

    forge.stop();
    agent.run();
    let log = agent.stderr_file();
    agent.wait_until(LIMIT, "the agent says that its forge is gone", || {
        fs::read_to_string(&log).ok().filter(|told| told.contains("refuses connections"))
    });
    let status = json(&ends_with(&agent, 0, &["status", "--json"]));
    assert!(status["agent"]["registrations"][0]["last_error"].is_string(), "{status}");
    assert!(stdout(&ends_with(&agent, 0, &["status"])).contains("failing"));
    agent.stop();
}

#[test]
fn settings_of_the_environment_hold_for_jobs() {
    let forge = TestForge::start();
    let options = options().env("FORGEHAND_OUTPUT_LIMIT", "64KiB");
    let mut agent = Agent::start(&forge, options);
    let project = forge.case_project("team/settings");
    let script = ["ls /sys/class/net | tr '\\n' ' '", "head -c 200000 /dev/zero | tr '\\0' x"];
    let id = forge.queue(job(&agent, project, &script)).expect("it is queued");
    assert_eq!(ended(&forge, &mut agent, id).state, "success");
    let log = String::from_utf8_lossy(&forge.log(id)).into_owned();
    assert!(log.contains("lo ") && !log.contains("eth0"), "{}", &log[..2000]);
    let size = forge.log(id).len();
    assert!((64 * 1024..80 * 1024).contains(&size), "{size}");
    agent.stop();
    agent.assert_nothing_left();
}

/// A runner token that was made with a registration token of old.
#[test]
fn a_registration_token_of_old_makes_a_runner() {
    let old = "GR1348941oldtoken";
    let forge = TestForge::with(EmulatorOptions { registration_token: Some(old.to_owned()), ..Default::default() });
    let (agent, _) = Agent::unregistered(&forge, options());
    let began = Instant::now();
    let arguments = ["register", "--url", forge.url(), "--token", old, "--name", "old", "--labels", "a,b"];
    ends_with(&agent, 0, &arguments);
    println!("registered in {} ms", began.elapsed().as_millis());
    assert!(!fs::read_to_string(agent.config_file()).expect("it is written").contains(old));
    assert!(stdout(&ends_with(&agent, 0, &["verify"])).contains("good"));
    ends_with(&agent, 0, &["unregister"]);
}
