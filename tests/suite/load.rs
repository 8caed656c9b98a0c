//! Under load: a forge that holds every poll, a job that burns the whole machine, many jobs and networks at once.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use forgehand::emulator::{EmulatorOptions, Endpoint, FaultAction, FaultRule, JobSpec, JobView};

use crate::support::{Agent, AgentOptions, TestForge, docker};

/// How long the job that burns everything does so, unless `FORGEHAND_BURN_SECONDS` says otherwise.
const BURN: u64 = 30;

/// These tests measure: not two at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn job(agent: &Agent, project: u64, name: &str, script: &[&str]) -> JobSpec {
    let mut spec = JobSpec { runner: Some(agent.runner), ..JobSpec::script(project, name, script) };
    spec.overlay["variables"] = serde_json::json!([{ "key": "GIT_STRATEGY", "value": "none", "public": true }]);
    spec
}

fn succeed(forge: &TestForge, agent: &mut Agent, id: u64, limit: Duration) -> JobView {
    let ended = agent.wait_until(limit, "the job ends", || forge.job(id).filter(|job| job.has_ended()));
    let log = forge.log(id);
    assert_eq!(ended.state, "success", "{:?}: {}", ended.failure_reason, String::from_utf8_lossy(&log));
    ended
}

/// With one job at a time, so that the two registrations want the same slot.
#[test]
fn a_forge_that_holds_every_poll_does_not_hold_up_another() {
    let _alone = alone();
    let held_for = Duration::from_secs(50);
    let quick = TestForge::with(EmulatorOptions { long_poll: Some(held_for), ..EmulatorOptions::default() });
    let slow = TestForge::start();
    slow.fail(FaultRule::all(Endpoint::RequestJob, FaultAction::Delay(held_for)));
    let mut agent = Agent::registered(&quick, AgentOptions::default().without_network());
    docker::build_images();
    let (_, token) = slow.add_runner(Default::default());
    agent.register(slow.url(), &token, "slow");
    agent.run();
    let open_poll = || slow.requests().into_iter().rfind(|one| one.endpoint == Endpoint::RequestJob);
    let limit = Duration::from_secs(30);
    let poll = agent.wait_until(limit, "the slow forge is asked", open_poll);
    let project = quick.case_project("team/quick");
    for round in 1..=3 {
        let polls = |forge: &TestForge| {
            forge.requests().iter().filter(|one| one.endpoint == Endpoint::RequestJob && one.status.is_none()).count()
        };
        agent.wait_until(limit, "both forges are asked", || (polls(&quick) > 0 && polls(&slow) > 0).then_some(()));
        let id = quick.queue(job(&agent, project, "quick", &["echo quick"])).expect("it is queued");
        let ended = succeed(&quick, &mut agent, id, limit);
        let waited = ended.started_at.expect("it ran").duration_since(ended.queued_at);
        println!("round {round}: assigned {} ms after it was queued", waited.as_millis());
        assert!(waited < Duration::from_secs(1), "{waited:?}");
    }
    let is_held = slow.requests()[poll.index].status.is_none();
    assert!(is_held, "the poll was answered after {:?}", poll.at.elapsed());
    let began = Instant::now();
    agent.stop();
    println!("the agent ended {} ms after SIGTERM", began.elapsed().as_millis());
    agent.assert_nothing_left();
}

/// On a server that does not hold polls and is asked rarely.
#[test]
fn a_job_that_follows_another_is_asked_for_at_once() {
    let _alone = alone();
    let pace = Duration::from_secs(60);
    let forge = TestForge::start();
    let options = AgentOptions { max_jobs: 4, ..AgentOptions::default() }.without_network();
    let mut agent = Agent::registered(&forge, options.env("FORGEHAND_CHECK_INTERVAL", "60s"));
    docker::build_images();
    let project = forge.case_project("team/chain");
    let mut next = forge.queue(job(&agent, project, "first", &["echo first"])).expect("it is queued");
    agent.run();
    for round in 1..=3 {
        succeed(&forge, &mut agent, next, Duration::from_secs(50));
        next = forge.queue(job(&agent, project, "next", &["echo next"])).expect("it is queued");
        let limit = Duration::from_secs(50);
        let begun = agent.wait_until(limit, "the next job begins", || forge.job(next)?.started_at);
        let waited = begun.duration_since(forge.job(next).expect("it is known").queued_at);
        println!("round {round}: assigned {} ms after it was queued", waited.as_millis());
        assert!(waited < pace / 10, "{waited:?}");
    }
    succeed(&forge, &mut agent, next, Duration::from_secs(50));
    agent.stop();
    agent.assert_nothing_left();
    forge.assert_no_violations();
}

#[test]
fn a_job_that_burns_everything_does_not_delay_its_updates() {
    let _alone = alone();
    let interval = Duration::from_secs(3);
    let forge = TestForge::with(EmulatorOptions { trace_update_interval: 3, ..EmulatorOptions::default() });
    let options = AgentOptions::default().without_network().env("FORGEHAND_DOCKER__MEMORY", "256MiB");
    let mut agent = Agent::start(&forge, options);
    let project = forge.case_project("team/burn");
    let seconds = std::env::var("FORGEHAND_BURN_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(BURN);
    let script = [
        "for i in $(seq $(( 2 * $(nproc) ))); do while :; do :; done & done",
        // Filled to the limit and given back, again and again.
        "while :; do head -c 400m /dev/zero | tail -c 230m > /dev/null; done &",
        &format!("end=$(( $(date +%s) + {seconds} ))"),
        "while [ $(date +%s) -lt $end ]; do read up rest < /proc/uptime; echo \"tick $up\"; sleep 0.2; done",
        "kill $(jobs -p)",
        "cd /sys/fs/cgroup; cat memory/memory.max_usage_in_bytes memory.peak 2>/dev/null || true",
    ];
    let id = forge.queue(job(&agent, project, "burn", &script)).expect("it is queued");
    let ended = succeed(&forge, &mut agent, id, Duration::from_secs(seconds + 60));
    // Where the kernel tells (version 2 of the control groups has no such file before 5.19), the memory was full.
    let output = forge.job_log(id).output("step_script");
    let most = output.iter().filter_map(|line| line.parse::<u64>().ok()).max();
    assert!(most.is_none_or(|most| most > 220 << 20), "{most:?}");
    println!("the job used {most:?} bytes of memory");
    let mut heard: Vec<Instant> = ended.started_at.into_iter().collect();
    heard.extend(forge.requests().iter().filter(|one| one.job() == Some(id)).map(|one| one.at));
    let gaps = gaps(&heard);
    let longest = gaps.iter().max().copied().unwrap_or_default();
    // A job that starves itself prints nothing for a while; there is nothing to send then.
    let ticks: Vec<f64> = output.iter().filter_map(|line| line.strip_prefix("tick ")?.parse().ok()).collect();
    let silence = ticks.windows(2).map(|pair| pair[1] - pair[0]).fold(0.0, f64::max);
    let silence = Duration::from_secs_f64(silence);
    println!("{} updates in {seconds} s, the longest gap {longest:.1?}; the job's own {silence:.1?}", heard.len());
    assert!(longest <= (interval + silence).max(interval * 3 / 2), "{gaps:?}");
    assert!(heard.len() as u64 >= seconds / 3, "{gaps:?}");
    agent.stop();
    agent.assert_nothing_left();
}

/// On a server that has no wish, and on one that wants a piece each second.
#[test]
fn the_log_arrives_in_at_least_one_piece_a_second() {
    let _alone = alone();
    for trace_update_interval in [0, 1] {
        let forge = TestForge::with(EmulatorOptions { trace_update_interval, ..EmulatorOptions::default() });
        let mut agent = Agent::start(&forge, AgentOptions::default().without_network());
        let project = forge.case_project("team/live");
        let script = ["for i in $(seq 100); do echo line $i; sleep 0.1; done"];
        let id = forge.queue(job(&agent, project, "live", &script)).expect("it is queued");
        let ended = succeed(&forge, &mut agent, id, Duration::from_secs(60));
        let at: Vec<Instant> = ended.pieces.iter().map(|piece| piece.at).collect();
        let (first, last) = (at[0], at[at.len() - 1]);
        let longest = gaps(&at).into_iter().max().unwrap_or_default();
        let took = last.duration_since(first).as_secs_f64();
        let (count, gap) = (at.len(), longest.as_millis());
        println!("interval {trace_update_interval}: {count} pieces in {took:.1} s, the longest gap {gap} ms");
        assert!(count as f64 >= took.floor(), "{:?}", gaps(&at));
        assert!(longest < Duration::from_millis(1500), "{:?}", gaps(&at));
        agent.stop();
        agent.assert_nothing_left();
    }
}

#[test]
fn twenty_jobs_at_once_succeed() {
    let _alone = alone();
    at_once(20, AgentOptions::default().without_network());
}

/// Each in a network of its own.
#[test]
fn a_hundred_jobs_at_once_each_have_a_network() {
    let _alone = alone();
    at_once(100, AgentOptions::default());
}

/// Runs so many jobs that all wait for each other.
fn at_once(count: usize, options: AgentOptions) {
    let forge = TestForge::with(EmulatorOptions { long_poll: Some(Duration::from_secs(20)), ..Default::default() });
    let barrier = tempfile::Builder::new().prefix("fh-barrier-").tempdir().expect("a folder");
    let has_network = options.environment.is_empty();
    let config = format!("[docker]\nvolumes = [\"{}:/barrier\"]\n", barrier.path().display());
    let mut agent = Agent::start(&forge, AgentOptions { max_jobs: count as u32, config, ..options });
    let project = forge.case_project("team/many");
    let script = [
        "ls /sys/class/net > /barrier/$CI_JOB_ID",
        "until [ -e /barrier/go ]; do sleep 1; done",
        "echo \"$CI_JOB_ID is done\"",
    ];
    let began = Instant::now();
    let queue = |number: usize| {
        let spec = JobSpec { git_ref: "main".to_owned(), ..job(&agent, project, &format!("job {number}"), &script) };
        forge.queue(spec).expect("it is queued")
    };
    let ids: Vec<u64> = (0..count).map(queue).collect();
    let limit = Duration::from_secs(170);
    agent.wait_until(limit, "all jobs run at once", || (files(barrier.path()).len() == count).then_some(()));
    println!("{count} jobs ran {:.1} s after the first was queued", began.elapsed().as_secs_f64());
    if has_network {
        let networks = docker::docker(&["ps", "--filter", &forge_label(&forge), "--format", "{{.Networks}}"]);
        let different: BTreeSet<&String> = networks.iter().collect();
        assert_eq!((networks.len(), different.len()), (count, count), "{networks:#?}");
        let interfaces = fs::read_to_string(barrier.path().join(ids[0].to_string())).expect("the job wrote it");
        assert!(interfaces.contains("eth0"), "{interfaces}");
    }
    fs::write(barrier.path().join("go"), "").expect("the barrier is ours");
    for id in ids {
        succeed(&forge, &mut agent, id, limit);
        assert!(forge.log_contains(id, &format!("{id} is done")));
    }
    println!("{count} jobs took {:.1} s", began.elapsed().as_secs_f64());
    agent.stop();
    agent.assert_nothing_left();
    forge.assert_no_violations();
}

fn forge_label(forge: &TestForge) -> String {
    format!("label=forgehand.forge={}", forge.url().trim_end_matches('/'))
}

fn files(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("the folder is there").flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn gaps(at: &[Instant]) -> Vec<Duration> {
    at.windows(2).map(|pair| pair[1].saturating_duration_since(pair[0])).collect()
}
