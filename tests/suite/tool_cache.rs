//! Tools that one job installs and later ones find, and that no job can change for another.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use forgehand::emulator::{JobSpec, JobView};
use serde_json::{Value, json};

use crate::support::agent::said;
use crate::support::docker::{self, docker};
use crate::support::{Agent, AgentOptions, TestForge};

const LIMIT: Duration = Duration::from_secs(90);
const CONFIG: &str = "[docker]\ntool_cache = \"/opt/hostedtoolcache\"\n";

/// Installs `node/1.0/x64`, as a setup action does it.
const INSTALL: &str = "t=$RUNNER_TOOL_CACHE/node/1.0/x64; mkdir -p $t/bin; echo one > $t/bin/node; chmod +x $t/bin/node; touch $t.complete";
/// Says what that tool is.
const LOOK: &str = "t=$RUNNER_TOOL_CACHE/node/1.0/x64; test -e $t.complete && cat $t/bin/node || echo none";

struct House {
    forge: TestForge,
    agent: Agent,
    project: u64,
}

/// How far the project trusts a job.
enum From {
    Fork,
    Member,
    Protected,
}

impl House {
    fn new(options: AgentOptions) -> Self {
        let forge = TestForge::start();
        let config = format!("{CONFIG}{}", options.config);
        let agent = Agent::start(&forge, AgentOptions { config, ..options }.without_network());
        let project = forge.case_project("team/tools");
        Self { forge, agent, project }
    }

    fn queue(&self, project: u64, from: &From, name: &str, script: &[&str]) -> u64 {
        let mut spec = JobSpec { runner: Some(self.agent.runner), ..JobSpec::script(project, name, script) };
        spec.overlay["git_info"] = json!({ "protected": matches!(from, From::Protected) });
        if matches!(from, From::Fork) {
            spec.overlay["variables"] = json!([{ "key": "CI_MERGE_REQUEST_SOURCE_PROJECT_ID", "value": "999999" }]);
        }
        self.forge.queue(spec).expect("the job is queued")
    }

    fn end(&mut self, id: u64) -> JobView {
        self.agent.wait_until(LIMIT, "the job ends", || self.forge.job(id).filter(JobView::has_ended))
    }

    /// What a job of a member prints.
    fn run(&mut self, script: &[&str]) -> Vec<String> {
        self.run_from(self.project, &From::Member, script)
    }

    fn run_from(&mut self, project: u64, from: &From, script: &[&str]) -> Vec<String> {
        let id = self.queue(project, from, "job", script);
        let ended = self.end(id);
        let log = self.forge.job_log(id);
        assert_eq!(ended.state, "success", "{}\nthe agent wrote:\n{}", log.text, self.agent.output());
        log.output("step_script").iter().map(ToString::to_string).collect()
    }

    fn leave(mut self) {
        self.agent.stop();
        self.agent.assert_nothing_left();
        assert!(volumes(&self.agent).is_empty(), "volumes stay");
        self.forge.assert_no_violations();
    }
}

/// The volumes of an agent.
fn volumes(agent: &Agent) -> Vec<String> {
    let id = fs::read_to_string(agent.state_dir().join("agent.id")).unwrap();
    docker(&["volume", "ls", "--quiet", "--filter", &format!("label=forgehand.agent={}", id.trim())])
}

#[test]
fn what_one_job_installs_others_find_and_none_can_change() {
    let mut house = House::new(AgentOptions::default());
    assert_eq!(house.run(&["echo $RUNNER_TOOL_CACHE", LOOK, INSTALL]), ["/opt/hostedtoolcache", "none"]);
    // It lies below the job's own folder, and is not copied for it.
    let mount = "grep ' /opt/hostedtoolcache ' /proc/mounts | cut -d' ' -f3";
    let vandal = [
        LOOK,
        mount,
        "cd $RUNNER_TOOL_CACHE",
        "echo two > node/1.0/x64/bin/node",
        LOOK,
        "chmod 000 node/1.0/x64/bin",
        "mv node/1.0/x64 node/1.0/y64; touch node/1.0/y64.complete",
        "rm -rf node/1.0/x64*; ln -s /etc node/1.0/x64; touch node/1.0/x64.complete",
        // Every file of that name that can be reached, through whatever mount.
        "find / \\( -path /proc -o -path /sys \\) -prune -o -type f -name node -path '*hostedtoolcache*' -exec sh -c 'echo three > \"$0\"' {} \\;",
        "cat node/1.0/y64/bin/node",
        "mkdir -p go/2/x64; echo go > go/2/x64/go; touch go/2/x64.complete",
        "mkdir -p half/1/x64; echo half > half/1/x64/half",
    ];
    assert_eq!(house.run(&vandal), ["one", "overlay", "two", "three"], "in its own view it did all that");
    let listed =
        "cd $RUNNER_TOOL_CACHE; find . -name '*.complete' | sort; cat go/2/x64/go; test -e half || echo no half";
    assert_eq!(
        house.run(&[LOOK, listed]),
        ["one", "./go/2/x64.complete", "./node/1.0/x64.complete", "./node/1.0/y64.complete", "go", "no half"]
    );
    assert_eq!(
        house.run(&["cat $RUNNER_TOOL_CACHE/node/1.0/y64/bin/node"]),
        ["three"],
        "a moved tool is a new, whole one"
    );
    let stored = house.agent.forgehand(&["store", "ls"]);
    assert!(said(&stored).contains("tools/node/1.0/x64"), "{}", said(&stored));
    house.leave();
}

#[test]
fn only_jobs_that_succeed_leave_tools_and_only_to_those_that_may_have_them() {
    let mut house = House::new(AgentOptions::default());
    let failed = house.queue(house.project, &From::Member, "fails", &[INSTALL, "false"]);
    assert_eq!(house.end(failed).state, "failed");
    assert_eq!(house.run(&[LOOK]), ["none"], "a failed job's");
    let fork = house.queue(house.project, &From::Fork, "fork", &[INSTALL]);
    assert_eq!(house.end(fork).state, "success");
    assert!(house.forge.log_contains(fork, "Tools are not kept for later jobs: this one is of a fork"));
    for from in [From::Fork, From::Member, From::Protected] {
        assert_eq!(house.run_from(house.project, &from, &[LOOK]), ["none"], "a fork's");
    }
    house.run(&[INSTALL]);
    for (from, sees) in [(From::Fork, "one"), (From::Member, "one"), (From::Protected, "none")] {
        assert_eq!(house.run_from(house.project, &from, &[LOOK]), [sees]);
    }
    let other = house.forge.case_project("team/other");
    assert_eq!(house.run_from(other, &From::Protected, &[LOOK]), ["none"], "another project's");
    house.leave();
}

#[test]
fn of_two_jobs_that_install_the_same_at_once_the_first_is_right() {
    let sync = tempfile::tempdir().unwrap();
    let config = format!("volumes = [\"{}:/sync\"]\n", sync.path().display());
    let mut house = House::new(AgentOptions { max_jobs: 2, config, ..AgentOptions::default() });
    let one = |me: &str, other: &str| {
        let content = format!("echo {me} > $RUNNER_TOOL_CACHE/node/1.0/x64/bin/node");
        let meet = format!("touch /sync/{me}; until test -e /sync/{other}; do sleep 0.05; done");
        house.queue(house.project, &From::Member, me, &[INSTALL, &content, &meet])
    };
    let ids = [one("a", "b"), one("b", "a")];
    for id in ids {
        assert_eq!(house.end(id).state, "success");
    }
    let first =
        ids.iter().position(|id| house.forge.log_contains(*id, "Kept the tool node/1.0/x64")).expect("one is kept");
    let lost = house.forge.log_contains(ids[1 - first], "installed it first, with other content; that one stays");
    assert!(lost, "{}", house.forge.job_log(ids[1 - first]).text);
    assert_eq!(house.run(&[LOOK]), [["a", "b"][first]]);
    house.leave();
}

#[test]
fn an_agent_that_is_killed_loses_no_tool_and_leaves_nothing() {
    // An agent without rights of its own: the engine mounts, and removes what root wrote.
    let sync = tempfile::tempdir().unwrap();
    let config = format!("volumes = [\"{}:/sync\"]\n", sync.path().display());
    let mut house = House::new(AgentOptions { unprivileged: true, config, ..AgentOptions::default() });
    house.run(&[INSTALL]);
    let more = "mkdir -p $RUNNER_TOOL_CACHE/go/1/x64; echo go > $RUNNER_TOOL_CACHE/go/1/x64/go; chmod -R go-w $RUNNER_TOOL_CACHE/go; touch $RUNNER_TOOL_CACHE/go/1/x64.complete; rm -rf $RUNNER_TOOL_CACHE/node";
    let id = house.queue(
        house.project,
        &From::Member,
        "killed",
        &[more, "echo installed", "until test -e /sync/on; do sleep 0.05; done"],
    );
    house.agent.wait_until(LIMIT, "it is installed", || house.forge.log_contains(id, "installed").then_some(()));
    house.agent.kill9();
    assert_ne!(volumes(&house.agent).len(), 0, "its tools are mounted");
    house.agent.run();
    fs::write(sync.path().join("on"), "").unwrap();
    let ended = house.end(id);
    assert_eq!(ended.state, "success", "{}\n{}", house.forge.job_log(id).text, house.agent.output());
    let go = "cat $RUNNER_TOOL_CACHE/go/1/x64/go";
    assert_eq!(house.run(&[LOOK, go]), ["one", "go"]);
    house.agent.stop();
    assert!(volumes(&house.agent).is_empty());
    let jobs = fs::read_dir(house.agent.state_dir().join("jobs")).unwrap().count();
    assert_eq!(jobs, 0, "folders of jobs stay");
    house.agent.assert_nothing_left();
    house.forge.assert_no_violations();
}

/// A checkout with one workflow, run with this executor: what its jobs printed.
fn exec(executor: &str, jobs: &str, config: &str) -> Vec<String> {
    exec_in("state", executor, jobs, config)
}

fn exec_in(state: &str, executor: &str, jobs: &str, config: &str) -> Vec<String> {
    docker::build_images();
    let place = tempfile::tempdir().unwrap();
    let workflows = place.path().join("project/.github/workflows");
    fs::create_dir_all(&workflows).unwrap();
    fs::write(workflows.join("ci.yml"), format!("on: push\njobs:\n{jobs}")).unwrap();
    fs::write(place.path().join("forgehand.toml"), config).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_forgehand"));
    command.arg("--state-dir").arg(place.path().join(state));
    command.arg("--config").arg(place.path().join("forgehand.toml"));
    command.args(["exec", ".github/workflows/ci.yml", "--json", "--image", "case/bash:1", "--executor", executor]);
    let output = command.current_dir(place.path().join("project")).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let events: Vec<Value> =
        String::from_utf8_lossy(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let logs = events.iter().filter(|event| event["event"] == "log" && event["stream"] != "command");
    logs.map(|event| event["text"].as_str().unwrap().to_owned()).collect()
}

const JOBS: &str = "  a:
    runs-on: x
    steps:
      - run: mkdir -p $RUNNER_TOOL_CACHE/go/1/x64 && echo one > $RUNNER_TOOL_CACHE/go/1/x64/go && touch $RUNNER_TOOL_CACHE/go/1/x64.complete
  b:
    runs-on: x
    needs: a
    steps:
      - run: cat $RUNNER_TOOL_CACHE/go/1/x64/go && echo two > $RUNNER_TOOL_CACHE/go/1/x64/go
  c:
    runs-on: x
    needs: b
    steps:
      - run: cat ${{ runner.tool_cache }}/go/1/x64/go
";

#[test]
fn jobs_of_workflows_find_tools_of_earlier_ones_wherever_they_run() {
    for executor in ["docker", "host"] {
        assert_eq!(exec(executor, JOBS, ""), ["one", "one"], "{executor}");
    }
    // What no mount can say is copied.
    assert_eq!(exec_in("a,state:of", "docker", JOBS, ""), ["one", "one"]);
}

#[test]
fn workflows_have_their_tools_where_the_operator_says() {
    let jobs = "  a:\n    runs-on: x\n    steps: [{run: echo $RUNNER_TOOL_CACHE}]\n";
    assert_eq!(exec("docker", jobs, ""), ["/opt/hostedtoolcache"]);
    assert_eq!(exec("docker", jobs, "[docker]\ntool_cache = \"/tools\"\n"), ["/tools"]);
    let none = exec("docker", jobs, "[docker]\ntool_cache = \"none\"\n");
    assert!(none[0].starts_with("/builds/"), "a folder of the job's: {none:?}");
}
