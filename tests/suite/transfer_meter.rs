//! A transfer that lasts says in the job's log how far it is.

use std::sync::mpsc::channel;
use std::time::Duration;

use forgehand::emulator::{Endpoint, FaultAction, FaultRule, JobSpec, JobView};
use serde_json::{Value, json};

use crate::kept_artifacts::{archive, job, run};
use crate::support::storage::{Answer, Sent, Storage};
use crate::support::{Agent, AgentOptions, TestForge};

const LIMIT: Duration = Duration::from_secs(60);
const MIB: usize = 1 << 20;

/// The job says how often; twice a second is the most that anybody gets.
fn told_often(mut spec: JobSpec) -> JobSpec {
    spec.overlay["variables"] = json!([{ "key": "TRANSFER_METER_FREQUENCY", "value": "100ms", "public": true }]);
    spec
}

fn make(agent: &Agent, project: u64, bytes: usize, more: Value) -> JobSpec {
    job(agent, project, "make", &["mkdir out", &format!("head -c {bytes} /dev/urandom > out/file")], more)
}

/// How the sizes stand in the log.
fn mebibytes(bytes: usize) -> String {
    format!("{:.2} MiB", bytes as f64 / MIB as f64)
}

/// What follows `Uploading artifacts.zip: ` in the line that has all that is to be sent: how much was, and of how much.
fn sent_of(log: &str) -> Option<(String, String)> {
    let lines = log.lines().filter_map(|line| line.split_once("Uploading artifacts.zip: "));
    lines.filter_map(|(_, far)| far.split_once(" of ")).map(|(sent, all)| (sent.to_owned(), all.to_owned())).next()
}

#[test]
fn an_upload_says_how_far_it_is_while_the_forge_does_not_take_it() {
    let forge = TestForge::start();
    let mut agent = Agent::start(&forge, AgentOptions::default().without_network());
    let project = forge.case_project("team/slow");
    let rule = forge.fail(FaultRule::all(Endpoint::UploadArtifact, FaultAction::UntilHealed));
    let id = forge.queue(told_often(make(&agent, project, 30 * MIB, archive()))).expect("the job is queued");
    let told = agent.wait_until(LIMIT, "it says how far it is", || sent_of(&forge.job_log(id).text));
    assert!(!forge.job(id).unwrap().has_ended());
    forge.heal(rule);
    let ended = agent.wait_until(LIMIT, "the job ends", || forge.job(id).filter(JobView::has_ended));
    assert_eq!(ended.state, "success", "{}", forge.job_log(id).text);
    let size = ended.artifact("archive").expect("it was sent").size as usize;
    let (sent, all) = told;
    assert!(all.starts_with(&mebibytes(size)), "{all} are {size} bytes");
    // What lies between the two, in buffers.
    let sent: f64 = sent.strip_suffix(" MiB").expect("more than nothing").parse().expect("a number");
    assert!(sent > 0.0 && sent < (size / MIB) as f64, "{sent}");
    agent.stop();
    agent.assert_nothing_left();
    forge.assert_no_violations();
}

#[test]
fn a_download_says_how_far_it_is_while_the_rest_does_not_come() {
    let forge = TestForge::start();
    let mut agent = Agent::start(&forge, AgentOptions::default().without_network());
    let project = forge.case_project("team/slow");
    let made = make(&agent, project, 3 * MIB, archive());
    let (made, log) = run(&forge, &mut agent, made);
    assert_eq!(made.state, "success", "{log}");
    agent.forget_artifacts();
    let body = std::fs::read(&made.artifact("archive").expect("it was sent").path).unwrap();
    let size = body.len();
    let (go, word) = channel();
    let mut word = Some(word);
    let storage = Storage::start(move |_, _| {
        let sent = word.take().map_or(Sent::Whole, |word| Sent::Held(2 * MIB, word));
        Answer::whole(&body, &[]).sent(sent)
    });
    let headers = vec![("Location".to_owned(), storage.url())];
    let elsewhere = FaultAction::Status { code: 302, headers, body: String::new() };
    forge.fail(FaultRule::all(Endpoint::DownloadArtifact, elsewhere));
    let taking = job(&agent, project, "take", &["wc -c < out/file"], json!({ "dependencies": ["make"] }));
    let id = forge.queue(told_often(taking)).expect("the job is queued");
    let told = format!("Downloading artifacts of make: 2.00 MiB of {}", mebibytes(size));
    agent.wait_until(LIMIT, &told, || forge.log_contains(id, &told).then_some(()));
    assert!(!forge.job(id).unwrap().has_ended());
    go.send(()).unwrap();
    let ended = agent.wait_until(LIMIT, "the job ends", || forge.job(id).filter(JobView::has_ended));
    assert_eq!(ended.state, "success", "{}", forge.job_log(id).text);
    assert_eq!(forge.job_log(id).output("step_script"), [(3 * MIB).to_string()]);
    assert_eq!(storage.asked().len(), 1);
    agent.stop();
    agent.assert_nothing_left();
    forge.assert_no_violations();
}
