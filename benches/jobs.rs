//! What forgehand costs over the engine itself: jobs, log and memory, each beside its floor, measured in turn in the same
//! run. Trust the ratios; the machine's speed drifts.
//!
//! `scripts/bench` runs it. Needs a Docker engine and the images of `fixtures/images/build`.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bollard::Docker;
use bollard::models::{ContainerCreateBody, HostConfig, NetworkCreateRequest};
use bollard::query_parameters::{
    CreateContainerOptions, EventsOptionsBuilder, LogsOptions, RemoveContainerOptions, StartContainerOptions,
    WaitContainerOptions,
};
use forgehand::emulator::record::Endpoint;
use forgehand::emulator::repository::RepositoryFile;
use forgehand::emulator::{Emulator, EmulatorOptions, JobSpec, Repository, RunnerSpec};
use futures_util::StreamExt as _;
use serde_json::json;

const BINARY: &str = env!("CARGO_BIN_EXE_forgehand");
const IMAGE: &str = "case/sh:1";
const LIMIT: Duration = Duration::from_secs(300);
/// How long an idle agent is watched.
const IDLE: Duration = Duration::from_secs(10);
/// What each job of `exec` runs, and what it prints.
const EXEC_SCRIPT: &str = "echo done";
const EXEC_OUTPUT: &str = "done\n";
/// Bytes of output for the log row.
const LOG_BYTES: u64 = 64 << 20;

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    // `cargo bench` passes flags of the usual harness; a filter chooses rows.
    let rows: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let wanted = |row: &str| rows.is_empty() || rows.iter().any(|wanted| row.contains(wanted.as_str()));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let docker = Docker::connect_with_unix_defaults()?;
        let bench = Bench::start().await?;
        println!("| what | floor | forgehand | ratio |\n| --- | --- | --- | --- |");
        if wanted("idle") {
            bench.idle().await?;
            bench.first_poll(9).await?;
        }
        if wanted("one") {
            bench.jobs(&docker, "job with 1 step", 1, 15).await?;
        }
        if wanted("five") {
            bench.jobs(&docker, "job with 5 steps", 5, 15).await?;
        }
        if wanted("twenty") {
            bench.twenty(&docker, 3).await?;
        }
        if wanted("exec") {
            exec_twenty(&docker, "none", 5).await?;
            exec_twenty(&docker, "job", 5).await?;
        }
        if wanted("log") {
            bench.log(&docker, 3).await?;
        }
        if wanted("memory") {
            bench.memory_busy().await?;
        }
        Ok(())
    })
}

/// An agent with folders of its own.
struct Agent {
    dir: tempfile::TempDir,
}

impl Agent {
    fn register(forge: &Emulator) -> Result<Self, Failure> {
        let (_, token) = forge.add_runner(RunnerSpec::default());
        let agent = Self { dir: tempfile::tempdir()? };
        let registered = agent
            .command(&["register", "--url", forge.url(), "--token", &token, "--executor", "docker", "--image", IMAGE])
            .stdout(Stdio::null())
            .status()?;
        if registered.success() { Ok(agent) } else { Err("the agent could not be registered".into()) }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command
            .args(arguments)
            .env("FORGEHAND_CONFIG", self.dir.path().join("forgehand.toml"))
            .env("FORGEHAND_STATE_DIR", self.dir.path().join("state"))
            .env("FORGEHAND_DOCKER__NETWORK_MODE", "none")
            .env("FORGEHAND_OUTPUT_LIMIT", "1GiB")
            .stdin(Stdio::null());
        command
    }

    fn start(self) -> Result<RunningAgent, Failure> {
        let log = fs::File::create(self.dir.path().join("agent.log"))?;
        let child = self.command(&["run", "--max-jobs", "20"]).stdout(Stdio::null()).stderr(log).spawn()?;
        Ok(RunningAgent { child, _files: self })
    }
}

/// An agent at work; ended when it goes.
struct RunningAgent {
    child: Child,
    _files: Agent,
}

impl RunningAgent {
    fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for RunningAgent {
    fn drop(&mut self) {
        let Some(pid) = rustix::process::Pid::from_raw(self.id().cast_signed()) else { return };
        // The second ends what still runs, the third the agent itself. Signals that come at once are one.
        for _ in 0..3 {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            let asked = Instant::now();
            while asked.elapsed() < Duration::from_secs(3) {
                if !matches!(self.child.try_wait(), Ok(None)) {
                    return;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        let _ = self.child.wait();
    }
}

/// An embedded forge and an agent beside it.
struct Bench {
    /// First, for it ends first: it still has to speak to the forge.
    agent: RunningAgent,
    forge: Emulator,
    project: u64,
}

impl Bench {
    async fn start() -> Result<Self, Failure> {
        let options = EmulatorOptions { long_poll: Some(Duration::from_secs(50)), ..EmulatorOptions::default() };
        let forge = Emulator::start(options).await?;
        let project =
            forge.add_project("bench/project", &Repository::Files(vec![RepositoryFile::text("readme", "bench")]))?;
        let agent = Agent::register(&forge)?.start()?;
        Ok(Self { agent, forge, project })
    }

    /// Runs jobs and waits until the forge has their ends; how long it took from the first one queued.
    async fn run(&self, specs: Vec<JobSpec>) -> Result<Duration, Failure> {
        let began = Instant::now();
        let mut ids = Vec::new();
        for spec in specs {
            ids.push(self.forge.queue(spec)?);
        }
        for id in ids {
            let state = self
                .forge
                .wait_for(LIMIT, |forge| {
                    forge
                        .job(id)
                        .filter(|job| matches!(job.state, "success" | "failed" | "canceled"))
                        .map(|job| job.state)
                })
                .await
                .ok_or("a job did not end in time")?;
            if state != "success" {
                let log = self.forge.log(id);
                let end = String::from_utf8_lossy(&log[log.len().saturating_sub(2000)..]).into_owned();
                return Err(format!("a job ended as {state}:\n{end}").into());
            }
        }
        Ok(began.elapsed())
    }

    fn spec(&self, steps: &[&str]) -> JobSpec {
        let steps: Vec<_> = steps
            .iter()
            .enumerate()
            .map(|(index, command)| {
                let name = if index == 0 { "script".to_owned() } else { format!("part{index}") };
                json!({"name": name, "script": [command], "timeout": 600, "when": "on_success", "allow_failure": false})
            })
            .collect();
        let variables = json!([{"key": "GIT_STRATEGY", "value": "none", "public": true, "masked": false}]);
        JobSpec::new(self.project, "bench", json!({"steps": steps, "variables": variables, "image": {"name": IMAGE}}))
    }

    /// Runs jobs: how long until the forge has their ends, and how long until their containers are removed, which the
    /// floor includes and nobody who looks at the forge waits for.
    async fn run_and_remove(&self, docker: &Docker, specs: Vec<JobSpec>) -> Result<(Duration, Duration), Failure> {
        let began = Instant::now();
        let count = specs.len();
        let filters = HashMap::from([
            ("type", vec!["container"]),
            ("event", vec!["destroy"]),
            ("label", vec!["forgehand.agent"]),
        ]);
        // The engine answers the request for its events when it has the first: they are asked for from now on.
        let now = jiff::Timestamp::now();
        let since = format!("{}.{:09}", now.as_second(), now.subsec_nanosecond());
        let options = EventsOptionsBuilder::default().filters(&filters).since(&since).build();
        let mut removals = docker.events(Some(options));
        let removed = async {
            for _ in 0..count {
                removals.next().await.ok_or("the engine's events ended")??;
            }
            Ok::<_, Failure>(began.elapsed())
        };
        let reported = self.run(specs);
        let (reported, removed) = tokio::time::timeout(LIMIT, async { tokio::join!(reported, removed) }).await?;
        Ok((reported?, removed?))
    }

    async fn jobs(&self, docker: &Docker, what: &str, steps: usize, rounds: usize) -> Result<(), Failure> {
        let commands = vec!["true"; steps];
        let mut times = Times::default();
        self.run_and_remove(docker, vec![self.spec(&commands)]).await?; // warm
        container(docker, &["true"], None, "none").await?;
        for _ in 0..rounds {
            let floor = container(docker, &["true"], None, "none").await?;
            times.add(floor, self.run_and_remove(docker, vec![self.spec(&commands)]).await?);
        }
        times.print(what);
        Ok(())
    }

    async fn twenty(&self, docker: &Docker, rounds: usize) -> Result<(), Failure> {
        let mut times = Times::default();
        for _ in 0..rounds {
            let began = Instant::now();
            let all = (0..20).map(|_| container(docker, &["true"], None, "none"));
            for one in futures_util::future::join_all(all).await {
                one?;
            }
            let floor = began.elapsed();
            let specs = (0..20).map(|_| self.spec(&["true"])).collect();
            times.add(floor, self.run_and_remove(docker, specs).await?);
        }
        times.print("20 jobs at once");
        Ok(())
    }

    /// 64 MiB of lines: into a file by a bare container, to the forge by a job.
    async fn log(&self, docker: &Docker, rounds: usize) -> Result<(), Failure> {
        let lines = format!(
            "yes 'a line of output as builds print them, some eighty characters long, more or less' | head -c {LOG_BYTES} || true"
        );
        let dir = tempfile::tempdir()?;
        let (mut floor, mut ours, mut cores) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..rounds {
            let to_file = format!("{lines} >/out/spool");
            let empty = container(docker, &["true"], Some(dir.path()), "none").await?;
            let full = container(docker, &["sh", "-c", &to_file], Some(dir.path()), "none").await?;
            floor.push(full.saturating_sub(empty));
            let empty = self.run(vec![self.spec(&["true"])]).await?;
            let before = cpu_time(self.agent.id());
            let full = self.run(vec![self.spec(&[&lines])]).await?;
            let cpu = cpu_time(self.agent.id()).saturating_sub(before);
            cores.push(cpu.as_secs_f64() / (LOG_BYTES as f64 / 10e6));
            ours.push(full.saturating_sub(empty));
        }
        row("64 MiB of output", &mut floor, &mut ours);
        cores.sort_by(f64::total_cmp);
        println!("| agent's CPU for output, cores per 10 MB/s | 0.1 | {:.3} | |", cores[cores.len() / 2]);
        println!("| agent's peak memory after that | | {:.1} MiB | |", mib(status(self.agent.id(), "VmHWM")));
        Ok(())
    }

    async fn idle(&self) -> Result<(), Failure> {
        // Idle: after one job, so that everything that is made lazily is there.
        self.run(vec![self.spec(&["true"])]).await?;
        // Its last chores end, and it asks for a job again.
        tokio::time::sleep(Duration::from_secs(3)).await;
        let before = wake_ups(self.agent.id());
        tokio::time::sleep(IDLE).await;
        // A thread that ended meanwhile woke once to do so.
        let after = wake_ups(self.agent.id());
        let ended = before.keys().filter(|thread| !after.contains_key(*thread)).count() as u64;
        let woken = ended + after.iter().map(|(thread, count)| count - before.get(thread).unwrap_or(&0)).sum::<u64>();
        let pid = self.agent.id();
        println!("| idle agent, resident | 15 MiB | {:.1} MiB | |", mib(status(pid, "VmRSS")));
        println!("| of it, memory of its own | | {:.1} MiB | |", mib(status(pid, "RssAnon")));
        println!("| idle agent, wake-ups in {} s | 0 | {woken} | |", IDLE.as_secs());
        Ok(())
    }

    /// From the start of the process to the first request for a job.
    async fn first_poll(&self, rounds: usize) -> Result<(), Failure> {
        let mut times = Vec::new();
        for _ in 0..rounds {
            let agent = Agent::register(&self.forge)?;
            let seen = self.forge.requests().len();
            let began = Instant::now();
            let _running = agent.start()?;
            let first = |forge: &Emulator| {
                let requests = forge.requests();
                requests[seen..].iter().find(|request| request.endpoint == Endpoint::RequestJob).map(|poll| poll.at)
            };
            let at = self.forge.wait_for(LIMIT, first).await.ok_or("the agent did not ask for a job")?;
            times.push(at.duration_since(began));
        }
        times.sort();
        println!("| from start to first poll | 20 ms | {} ms | |", times[times.len() / 2].as_millis());
        Ok(())
    }

    async fn memory_busy(&self) -> Result<(), Failure> {
        // As it is between jobs.
        tokio::time::sleep(Duration::from_secs(3)).await;
        let idle = status(self.agent.id(), "VmRSS");
        let jobs = 10;
        let mut ids = Vec::new();
        for _ in 0..jobs {
            ids.push(self.forge.queue(self.spec(&["echo begun; while [ ! -e stop ]; do sleep 1; done"]))?);
        }
        for id in &ids {
            let begun = |forge: &Emulator| forge.log(*id).windows(6).any(|w| w == b"begun\n").then_some(());
            self.forge.wait_for(LIMIT, begun).await.ok_or("a job did not begin in time")?;
        }
        let busy = status(self.agent.id(), "VmRSS");
        let more = mib(busy.saturating_sub(idle)) / f64::from(jobs);
        println!("| one of ten running jobs, resident | 2 MiB | {more:.2} MiB | |");
        for id in ids {
            self.forge.cancel(id);
            self.forge
                .wait_for(LIMIT, |forge| forge.job(id).filter(|job| job.state != "running" && job.state != "canceling"))
                .await;
        }
        Ok(())
    }
}

/// The floor: one container through the raw API, created, started, waited for and removed.
async fn container(
    docker: &Docker,
    command: &[&str],
    mount: Option<&Path>,
    network: &str,
) -> Result<Duration, Failure> {
    let began = Instant::now();
    let body = ContainerCreateBody {
        image: Some(IMAGE.to_owned()),
        cmd: Some(command.iter().map(|word| (*word).to_owned()).collect()),
        host_config: Some(HostConfig {
            network_mode: Some(network.to_owned()),
            binds: mount.map(|path| vec![format!("{}:/out", path.display())]),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    };
    let id = docker.create_container(None::<CreateContainerOptions>, body).await?.id;
    docker.start_container(&id, None::<StartContainerOptions>).await?;
    let mut ended = docker.wait_container(&id, None::<WaitContainerOptions>);
    while ended.next().await.is_some() {}
    docker.remove_container(&id, Some(RemoveContainerOptions { force: true, ..Default::default() })).await?;
    Ok(began.elapsed())
}

/// One job through the raw API as a client would do it that has nothing but the engine: a network made for it in mode `job`,
/// a container with the work tree mounted where a shell runs the one-line script, its output read and its exit code waited
/// for, both removed. No copy of the work tree, no pull policy, no journal, no masking.
async fn raw_job(docker: &Docker, number: usize, tree: &Path, mode: &str) -> Result<(), Failure> {
    let network = format!("forgehand-bench-{number}");
    let mut network_mode = mode;
    if mode == "job" {
        let request = NetworkCreateRequest { name: network.clone(), ..NetworkCreateRequest::default() };
        docker.create_network(request).await?;
        network_mode = &network;
    }
    let ended = raw_container(docker, tree, network_mode).await;
    if mode == "job" {
        docker.remove_network(&network).await?;
    }
    ended
}

async fn raw_container(docker: &Docker, tree: &Path, network_mode: &str) -> Result<(), Failure> {
    let body = ContainerCreateBody {
        image: Some(IMAGE.to_owned()),
        cmd: Some(["sh", "-c", EXEC_SCRIPT].map(str::to_owned).to_vec()),
        working_dir: Some("/builds".to_owned()),
        host_config: Some(HostConfig {
            network_mode: Some(network_mode.to_owned()),
            binds: Some(vec![format!("{}:/builds", tree.display())]),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    };
    let id = docker.create_container(None::<CreateContainerOptions>, body).await?.id;
    docker.start_container(&id, None::<StartContainerOptions>).await?;
    let mut ended = docker.wait_container(&id, None::<WaitContainerOptions>);
    while let Some(end) = ended.next().await {
        end?;
    }
    let options = LogsOptions { stdout: true, stderr: true, ..LogsOptions::default() };
    let mut output = docker.logs(&id, Some(options));
    let mut bytes = Vec::new();
    while let Some(piece) = output.next().await {
        bytes.extend_from_slice(&piece?.into_bytes());
    }
    docker.remove_container(&id, Some(RemoveContainerOptions { force: true, ..Default::default() })).await?;
    if bytes == EXEC_OUTPUT.as_bytes() { Ok(()) } else { Err("a container did not print what it should".into()) }
}

/// 20 containers at once that do less than a job: the program itself in place of a shell, nothing mounted, no output read,
/// and one network for all in mode `job`, so that they see each other.
async fn lean_twenty(docker: &Docker, mode: &str) -> Result<(), Failure> {
    const NETWORK: &str = "forgehand-bench";
    let of_its_own = mode == "job";
    if of_its_own {
        let network = NetworkCreateRequest { name: NETWORK.to_owned(), ..NetworkCreateRequest::default() };
        docker.create_network(network).await?;
    }
    let network = if of_its_own { NETWORK } else { mode };
    let all = (0..20).map(|_| container(docker, &["true"], None, network));
    let ended = futures_util::future::join_all(all).await;
    if of_its_own {
        docker.remove_network(NETWORK).await?;
    }
    ended.into_iter().collect::<Result<Vec<_>, _>>().map(drop)
}

/// `exec` of a pipeline of 20 independent one-line jobs, from the command to its end, beside two floors that run all 20 at
/// once: the raw API doing the same ([`raw_job`]), and less than that ([`lean_twenty`]).
async fn exec_twenty(docker: &Docker, mode: &str, rounds: usize) -> Result<(), Failure> {
    let dir = tempfile::tempdir()?;
    let jobs: String =
        (0..20).map(|job| format!("job-{job}:\n  image: {IMAGE}\n  script: ['{EXEC_SCRIPT}']\n")).collect();
    fs::write(dir.path().join(".gitlab-ci.yml"), jobs)?;
    let config = dir.path().join("forgehand.toml");
    fs::write(&config, format!("[docker]\nnetwork_mode = \"{mode}\"\n"))?;
    let tree = tempfile::tempdir()?;
    // Not in the work tree, which jobs are given a copy of.
    let state = tempfile::tempdir()?;
    let (mut raw, mut lean, mut ours) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let began = Instant::now();
        let all = (0..20).map(|number| raw_job(docker, number, tree.path(), mode));
        futures_util::future::join_all(all).await.into_iter().collect::<Result<Vec<_>, _>>()?;
        raw.push(began.elapsed());
        let began = Instant::now();
        lean_twenty(docker, mode).await?;
        lean.push(began.elapsed());
        let began = Instant::now();
        let status = Command::new(BINARY)
            .arg("exec")
            .current_dir(dir.path())
            .env("FORGEHAND_STATE_DIR", state.path())
            .env("FORGEHAND_CONFIG", &config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()?;
        if !status.success() {
            return Err(format!("exec ended with {status}").into());
        }
        ours.push(began.elapsed());
    }
    row(&format!("exec of 20 jobs, network `{mode}`, to its end"), &mut raw, &mut ours.clone());
    row("beside bare containers that do less", &mut lean, &mut ours);
    Ok(())
}

/// Times of the same thing, taken in turn.
#[derive(Default)]
struct Times {
    floor: Vec<Duration>,
    reported: Vec<Duration>,
    removed: Vec<Duration>,
}

impl Times {
    fn add(&mut self, floor: Duration, (reported, removed): (Duration, Duration)) {
        self.floor.push(floor);
        self.reported.push(reported);
        self.removed.push(removed);
    }

    fn print(mut self, what: &str) {
        row(&format!("{what}, until reported"), &mut self.floor.clone(), &mut self.reported);
        row(&format!("{what}, until its container is gone"), &mut self.floor, &mut self.removed);
    }
}

fn row(what: &str, floor: &mut [Duration], ours: &mut [Duration]) {
    let mut ratios: Vec<f64> = floor.iter().zip(ours.iter()).map(|(f, o)| o.as_secs_f64() / f.as_secs_f64()).collect();
    ratios.sort_by(f64::total_cmp);
    floor.sort();
    ours.sort();
    let middle = ratios.len() / 2;
    println!(
        "| {what} | {} ms | {} ms | {:.2} ({:.2} to {:.2}) |",
        floor[middle].as_millis(),
        ours[middle].as_millis(),
        ratios[middle],
        ratios[0],
        ratios[ratios.len() - 1]
    );
}

/// A line of `/proc/PID/status` in KiB; 0 when the process is gone.
fn status(pid: u32, line: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    text.lines()
        .find_map(|l| l.strip_prefix(line)?.strip_prefix(':')?.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

/// How often each thread of a process has begun to run of its own accord.
fn wake_ups(pid: u32) -> HashMap<std::ffi::OsString, u64> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let of_thread = |thread: fs::DirEntry| {
        let text = fs::read_to_string(thread.path().join("status")).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        (thread.file_name(), line.and_then(|count| count.trim().parse().ok()).unwrap_or(0))
    };
    threads.map(of_thread).collect()
}

/// User and system time of a process.
fn cpu_time(pid: u32) -> Duration {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks: u64 = [11, 12].iter().filter_map(|&index| fields.get(index)?.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}
