//! The Docker engine goes away while a job runs: a second engine of this test's own, never the machine's.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use super::house::{House, archive_of, several};
use crate::support::agent::said;
use crate::support::{Agent, TestForge, docker, try_until, wait_until};

/// A second engine, without a network, below a folder of its own.
struct Engine {
    dir: tempfile::TempDir,
    child: Option<Child>,
    keeps_containers: bool,
    /// Root in its containers is another user on the machine (`userns-remap`).
    remaps_users: bool,
}

/// The first of the machine's users that a remapping engine's containers have, and how many they are.
const REMAPPED: (u32, u32) = (231_072, 65_536);

impl Engine {
    /// `keeps_containers`: they run on while the engine is away (`live-restore`).
    fn start(keeps_containers: bool) -> Self {
        Self::with(keeps_containers, false)
    }

    fn with(keeps_containers: bool, remaps_users: bool) -> Self {
        let dir = tempfile::Builder::new().prefix("fh-engine-").tempdir().expect("a folder");
        // A remapped root has to get at what is below.
        fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o711)).expect("ours");
        let mut engine = Self { dir, child: None, keeps_containers, remaps_users };
        engine.run();
        engine.load("case/bash:1");
        engine
    }

    fn run(&mut self) {
        // What a killed engine had started dies with it, but not at once, and a new one would wait for it.
        let _ = try_until(Duration::from_secs(20), || (!self.containerd_runs()).then_some(()));
        let _ = fs::remove_file(self.dir.path().join("exec/containerd/containerd.pid"));
        let path = |name: &str| self.dir.path().join(name);
        let log = File::options().create(true).append(true).open(path("log")).expect("a file");
        // In a network namespace of its own: an engine without a bridge removes the one that is there, which is another
        // engine's.
        let mut command = Command::new("unshare");
        if self.remaps_users {
            // With files of its own that know the user it maps to: the machine's stay as they are.
            self.write_users();
            let script =
                "for f in passwd group subuid subgid; do mount --bind \"$0/$f\" /etc/$f; done; exec dockerd \"$@\"";
            command.args(["--net", "--mount", "--propagation", "slave", "--", "sh", "-c", script]).arg(self.dir.path());
            command.arg("--userns-remap=default");
        } else {
            command.args(["--net", "--", "dockerd"]);
        }
        command
            .arg("--data-root")
            .arg(path("data"))
            .arg("--exec-root")
            .arg(path("exec"))
            .arg("--pidfile")
            .arg(path("pid"));
        command.arg("--host").arg(self.host()).args(["--bridge", "none", "--iptables=false", "--ip6tables=false"]);
        command.arg("--config-file").arg(path("none.json")).arg(format!("--live-restore={}", self.keeps_containers));
        fs::write(path("none.json"), "{}").expect("written");
        let errors = log.try_clone().expect("a second handle");
        self.child = Some(command.stdin(Stdio::null()).stdout(log).stderr(errors).spawn().expect("dockerd starts"));
        let answers = || self.docker(&["version"]).status.success().then_some(());
        let said = || fs::read_to_string(path("log")).unwrap_or_default();
        assert!(try_until(Duration::from_secs(90), answers).is_some(), "the second engine does not answer: {}", said());
    }

    fn write_users(&self) {
        let (first, count) = REMAPPED;
        for (name, line) in [
            ("passwd", "dockremap:x:988:988::/nonexistent:/usr/sbin/nologin".to_owned()),
            ("group", "dockremap:x:988:".to_owned()),
            ("subuid", format!("dockremap:{first}:{count}")),
            ("subgid", format!("dockremap:{first}:{count}")),
        ] {
            let known = fs::read_to_string(Path::new("/etc").join(name)).unwrap_or_default();
            // The machine's file has to be there for another one to be laid over it.
            let _ = File::options().create(true).append(true).open(Path::new("/etc").join(name));
            let others: Vec<&str> = known.lines().filter(|known| !known.starts_with("dockremap:")).collect();
            fs::write(self.dir.path().join(name), format!("{}\n{line}\n", others.join("\n"))).expect("written");
        }
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("sock")
    }

    fn host(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    fn docker(&self, arguments: &[&str]) -> std::process::Output {
        Command::new("docker").arg("--host").arg(self.host()).args(arguments).output().expect("docker runs")
    }

    fn containers(&self) -> String {
        String::from_utf8_lossy(&self.docker(&["ps", "--all", "--format", "{{.Names}} {{.Status}}"]).stdout)
            .into_owned()
    }

    /// The first process of each container that runs.
    fn processes(&self) -> Vec<String> {
        let listed = String::from_utf8_lossy(&self.docker(&["ps", "--quiet"]).stdout).into_owned();
        let pid = |id: &str| self.docker(&["inspect", "--format", "{{.State.Pid}}", id]).stdout;
        listed.split_whitespace().map(|id| String::from_utf8_lossy(&pid(id)).trim().to_owned()).collect()
    }

    /// Copies an image of the machine's engine.
    fn load(&self, image: &str) {
        let mut saved =
            Command::new("docker").args(["save", image]).stdout(Stdio::piped()).spawn().expect("docker runs");
        let load = Command::new("docker")
            .args(["--host", &self.host(), "load"])
            .stdin(saved.stdout.take().expect("piped"))
            .output()
            .expect("docker runs");
        assert!(load.status.success(), "{}", String::from_utf8_lossy(&load.stderr));
        saved.wait().expect("it ends");
    }

    /// Sends its process a signal and waits for its end.
    fn end(&mut self, signal: Signal) {
        let mut child = self.child.take().expect("it runs");
        kill_process(Pid::from_child(&child), signal).expect("the signal is sent");
        child.wait().expect("it ends");
    }

    fn containerd_runs(&self) -> bool {
        let pid = self.containerd();
        let state = pid.and_then(|pid| fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok());
        state.is_some_and(|state| !state.contains(") Z "))
    }

    fn containerd(&self) -> Option<Pid> {
        let path = self.dir.path().join("exec/containerd/containerd.pid");
        fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok()).and_then(Pid::from_raw)
    }

    /// Ends what a killed engine left running: the container daemon that it had started.
    fn end_containerd(&self) {
        if let Some(pid) = self.containerd().filter(|_| self.containerd_runs()) {
            let _ = kill_process(pid, Signal::TERM);
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let listed = self.docker(&["ps", "--all", "--quiet"]).stdout;
        for id in String::from_utf8_lossy(&listed).split_whitespace() {
            self.docker(&["rm", "--force", "--volumes", id]);
        }
        if self.child.is_some() {
            self.end(Signal::TERM);
        }
        self.end_containerd();
        end_keepers(self.dir.path());
        unmount_below(self.dir.path());
    }
}

/// An engine that was killed leaves the keepers of its containers, which name its folder.
fn end_keepers(folder: &Path) {
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = process.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw);
        let line = fs::read(process.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line);
        if let Some(pid) = pid
            && line.starts_with("/usr/bin/containerd-shim")
            && line.contains(&format!("{}/", folder.display()))
        {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

/// An engine that was killed leaves its mounts.
fn unmount_below(folder: &Path) {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let below = mounts.lines().filter_map(|line| line.split(' ').nth(1)).filter(|at| Path::new(at).starts_with(folder));
    for at in below.collect::<Vec<_>>().into_iter().rev() {
        let _ = rustix::mount::unmount(at, rustix::mount::UnmountFlags::DETACH);
    }
}

fn house_on(engine: &Engine) -> House {
    docker::build_images();
    let forge = TestForge::start();
    let project = forge.case_project("team/app");
    let config = format!("[docker]\nhost = \"{}\"\n", engine.host());
    let options = crate::support::AgentOptions { config, ..several().without_network() };
    let agent = Agent::start(&forge, options);
    House { forge, agent, project }
}

const COUNT: &str = "for n in $(seq 1 40); do echo line-$n; sleep 0.25; done";

#[test]
fn an_engine_that_keeps_its_containers_may_go_and_come_back() {
    docker::build_images();
    let mut engine = Engine::start(true);
    let mut house = house_on(&engine);
    let id = house.queue(&[COUNT], json!({}));
    house.wait_for_output(id, "line-2\n");
    let inside = engine.processes();
    engine.end(Signal::KILL);
    // The steps do not need the engine: the log goes on.
    house.wait_for_output(id, "line-20\n");
    // A job that comes now needs it: another runner may have it.
    let patient = house.queue(&["echo at-last"], json!({}));
    wait_for_words(&mut house, "no jobs are taken: the Docker engine cannot be reached");
    let status = said(&house.agent.forgehand(&["status"]));
    assert!(status.contains("no jobs are taken: the Docker engine cannot be reached"), "{status}");
    assert_eq!(house.forge.job(patient).and_then(|job| job.runner), None, "it was not asked for");
    engine.run();
    house.end(patient).succeeded().said("at-last");
    let ended = house.end(id);
    ended.succeeded();
    for n in 1..=40 {
        assert_eq!(ended.log.text.matches(&format!("line-{n}\n")).count(), 1, "{}", ended.log.text);
    }
    house.assert_goes_on();
    wait_until(Duration::from_secs(90), "every container is removed", || engine.containers().is_empty().then_some(()));
    // Whatever the engine remembers of the container: its process is gone.
    let is_gone = |pid: &String| !Path::new("/proc").join(pid).exists();
    wait_until(Duration::from_secs(30), "the job's processes end", || inside.iter().all(is_gone).then_some(()));
    assert!(!inside.is_empty());
    house.close_as_it_is();
}

fn wait_for_words(house: &mut House, words: &str) {
    let file = house.agent.stderr_file();
    let says = || fs::read_to_string(&file).unwrap_or_default().contains(words).then_some(());
    house.agent.wait_until(Duration::from_secs(60), words, says);
}

#[test]
fn a_job_that_gets_ready_waits_for_an_engine_that_goes_and_comes_back() {
    docker::build_images();
    let mut engine = Engine::start(false);
    let mut house = house_on(&engine);
    let slow = json!({ "name": "case/bash:1", "entrypoint": ["sh", "-c", "sleep 8; exec \"$0\" \"$@\""] });
    let all_removed = |engine: &Engine| {
        let is_empty = || engine.containers().is_empty().then_some(());
        wait_until(Duration::from_secs(90), "every container is removed", is_empty);
    };
    for signal in [Signal::TERM, Signal::KILL] {
        all_removed(&engine);
        let id = house.queue(&["echo step-$((40 + 2))"], json!({ "image": slow.clone() }));
        let House { agent, .. } = &mut house;
        let inside = agent.wait_until(Duration::from_secs(60), "the job's container runs", || {
            Some(engine.processes()).filter(|processes| !processes.is_empty())
        });
        engine.end(signal);
        if signal == Signal::KILL {
            // The container ends while nobody can tell.
            let pids = inside.iter().filter_map(|pid| pid.parse().ok().and_then(Pid::from_raw));
            pids.for_each(|pid| kill_process(pid, Signal::KILL).expect("it runs"));
        } else {
            house.wait_for_output(id, "The job waits for the engine");
        }
        engine.run();
        let ended = house.end(id);
        ended.succeeded().said("Preparation failed");
        assert_eq!(ended.log.text.matches("step-42\n").count(), 1, "{}", ended.log.text);
    }
    house.assert_goes_on();
    all_removed(&engine);
    house.close_as_it_is();
}

#[test]
fn an_engine_that_takes_its_containers_along_fails_their_jobs_only() {
    docker::build_images();
    let mut engine = Engine::start(false);
    let mut house = house_on(&engine);
    for signal in [Signal::TERM, Signal::KILL] {
        let id = house.queue(&[COUNT, "sleep 100"], json!({}));
        house.wait_for_output(id, "line-2\n");
        engine.end(signal);
        if signal == Signal::KILL {
            engine.run(); // without live-restore it ends what it finds
        }
        let ended = house.end(id);
        eprintln!("{signal:?}: {}", ended.log.text.lines().last().unwrap_or_default());
        ended.failed("runner_system_failure").said("line-2").said("run the job again");
        if signal == Signal::TERM {
            engine.run();
        }
        house.assert_goes_on();
    }
    wait_until(Duration::from_secs(90), "every container is removed", || engine.containers().is_empty().then_some(()));
    house.close_as_it_is();
}

#[test]
fn an_engine_whose_root_is_another_user_serves_whole_jobs() {
    docker::build_images();
    let engine = Engine::with(false, true);
    engine.load("case/user:1");
    let mut house = house_on(&engine);
    let job = |image: &str, policy: &str| {
        json!({
            "image": { "name": image },
            "variables": [{ "key": "GIT_STRATEGY", "value": "fetch" },
                          { "key": "KEY_FILE", "value": "of-the-file", "file": true }],
            "cache": [{ "key": image, "paths": ["kept/"], "policy": policy, "when": "on_success", "untracked": false }],
            "artifacts": archive_of(&["out/"]),
        })
    };
    let (first, count) = REMAPPED;
    let inside = [
        "tr -s ' ' </proc/self/uid_map; cat \"$KEY_FILE\"; test -d .git",
        "mkdir -p kept out a/b; echo kept >kept/file; echo out >out/file; chmod 0500 a/b a; touch tracked-by-nobody",
    ];
    for image in ["case/bash:1", "case/user:1"] {
        let made = house.run(&inside, job(image, "pull-push"));
        made.succeeded().said(&format!("0 {first} {count}")).said("of-the-file").said("Created cache");
        assert_eq!(made.view.artifacts.len(), 1, "{}", made.log.text);
        // The next one finds the cache, writes over it, and nothing else of the first.
        let again = ["cat kept/file; echo more >>kept/file; test ! -e a -a ! -e tracked-by-nobody -a ! -e out"];
        house.run(&again, job(image, "pull")).succeeded().said("Successfully extracted cache").said("kept");
    }
    // A job outlives its agent here, too.
    let id = house.queue(&[COUNT], json!({}));
    house.wait_for_output(id, "line-2\n");
    house.agent.kill9();
    house.agent.run();
    let ended = house.end(id);
    ended.succeeded();
    for n in 1..=40 {
        assert_eq!(ended.log.text.matches(&format!("line-{n}\n")).count(), 1, "{}", ended.log.text);
    }
    wait_until(Duration::from_secs(90), "every container is removed", || engine.containers().is_empty().then_some(()));
    house.close();
}
