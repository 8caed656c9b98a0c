//! Behind a proxy: the only way out is squid with authentication, and the forge's certificate is of a private authority.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use forgehand::emulator::{Endpoint, JobSpec};
use serde_json::{Value, json};

use crate::support::agent::said;
use crate::support::proxied::{AUTHORITY, PROXY_PASSWORD, ProxiedSite};
use crate::support::{Agent, AgentOptions};

const JOB_LIMIT: Duration = Duration::from_secs(60);

fn options(site: &ProxiedSite, password: &str, with_ca: bool) -> AgentOptions {
    let ca_files = if with_ca { format!("ca_files = [{:?}]\n", site.ca_file()) } else { String::new() };
    AgentOptions {
        wrapper: site.namespace.wrapper(),
        config: format!("[network]\nproxy = {:?}\n{ca_files}", site.proxy(password)),
        ..AgentOptions::default().without_network()
    }
}

fn job(agent: &Agent, project: u64, name: &str, script: &[&str], more: Value) -> JobSpec {
    let mut spec = JobSpec { runner: Some(agent.runner), ..JobSpec::script(project, name, script) };
    let (Some(overlay), Value::Object(more)) = (spec.overlay.as_object_mut(), more) else { panic!("objects") };
    overlay.extend(more);
    overlay.insert(
        "cache".to_owned(),
        json!([{ "key": "proxied", "paths": ["kept/"], "policy": "pull-push", "when": "on_success" }]),
    );
    spec
}

/// Runs the job to its good end; its output.
fn succeed(site: &ProxiedSite, agent: &mut Agent, spec: JobSpec) -> Vec<String> {
    let id = site.forge.queue(spec).expect("the job is queued");
    let ended = agent.wait_until(JOB_LIMIT, "the job ends", || site.forge.job(id).filter(|job| job.has_ended()));
    let log = String::from_utf8_lossy(&site.forge.log(id)).into_owned();
    assert_eq!(ended.state, "success", "{:?}\n{log}\nthe agent wrote:\n{}", ended.failure_reason, agent.output());
    assert!(!log.contains(PROXY_PASSWORD), "{log}");
    site.forge.job_log(id).output("step_script")
}

#[test]
fn clone_artifacts_and_cache_pass_through_the_proxy() {
    let site = ProxiedSite::start();
    let is_over = AtomicBool::new(false);
    let seen = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| watch_processes(&is_over));
        let stop = SetOnDrop(&is_over);
        let mut agent = Agent::start(&site.forge, options(&site, PROXY_PASSWORD, true));
        let project = site.forge.case_project("team/proxied");
        let archive = json!({ "artifacts": [{
            "name": "", "untracked": false, "paths": ["out/"], "exclude": [], "when": "on_success",
            "expire_in": "1 week", "artifact_type": "archive", "artifact_format": "zip",
        }] });
        let script = ["mkdir out kept", "cp src/hello.txt out/made", "echo from-the-cache > kept/file", "env"];
        let spec = job(&agent, project, "make", &script, archive);
        let output = succeed(&site, &mut agent, spec);
        assert!(output.iter().any(|line| line.starts_with("CI_JOB_ID=")), "{output:#?}");
        // As on another machine: what the first job left comes from the forge.
        agent.forget_artifacts();
        let needs = json!({ "dependencies": ["make"] });
        let script = ["cat out/made", "cat kept/file"];
        let spec = job(&agent, project, "use", &script, needs);
        let output = succeed(&site, &mut agent, spec);
        assert_eq!(output, ["hello from the repository", "from-the-cache"]);
        let checked = agent.forgehand(&["doctor", "--json"]);
        assert!(checked.status.success(), "{}", said(&checked));
        agent.stop();
        agent.assert_nothing_left();
        assert!(!agent.output().contains(PROXY_PASSWORD), "{}", agent.output());
        assert_not_written(&agent.state_dir());
        drop(stop);
        watcher.join().expect("the watcher does not panic")
    });
    for line in &seen {
        assert!(!line.contains(PROXY_PASSWORD), "a process shows the proxy's password: {line}");
    }
    assert!(seen.iter().any(|line| line.contains("fetch")), "git was not seen at work: {seen:#?}");
    let requests = site.forge.requests();
    for endpoint in [Endpoint::Git, Endpoint::UploadArtifact, Endpoint::DownloadArtifact, Endpoint::Storage] {
        assert!(requests.iter().any(|request| request.endpoint == endpoint), "no {endpoint:?}");
    }
    assert!(site.proxy_log().contains("TCP_TUNNEL/200"), "{}", site.proxy_log());
    site.forge.assert_no_violations();
}

/// The operator lets jobs have the proxy, too: they can use it, and its password stays hidden in the log.
#[test]
fn a_forge_that_asks_for_a_certificate_is_served_and_jobs_get_the_proxy_where_the_operator_says_so() {
    let site = ProxiedSite::asking_for_certificates();
    let (certificate, key) = site.client_files();
    let mut options = options(&site, PROXY_PASSWORD, true);
    options.config += &format!("client_certificate = {certificate:?}\nclient_key = {key:?}\npass_to_jobs = true\n");
    let mut agent = Agent::start(&site.forge, options);
    let project = site.forge.case_project("team/certified");
    let script = ["cat src/hello.txt", "echo $https_proxy | tr a-z A-Z", "echo $https_proxy", "echo $NO_PROXY"];
    let spec = job(&agent, project, "certified", &script, json!({}));
    let output = succeed(&site, &mut agent, spec);
    assert_eq!(output[0], "hello from the repository");
    assert!(output[1].contains(&PROXY_PASSWORD.to_uppercase()), "the job has it: {output:#?}");
    assert!(output[2].contains("://runner:[MASKED]@"), "{output:#?}");
    assert!(output[3].contains("localhost"), "{output:#?}");
    let checked = agent.forgehand(&["doctor", "--json"]);
    assert!(checked.status.success(), "{}", said(&checked));
    agent.stop();
    agent.assert_nothing_left();
    site.forge.assert_no_violations();
}

#[test]
fn without_the_authority_one_message_names_the_issuer_and_the_setting() {
    let site = ProxiedSite::start();
    let (agent, token) = Agent::unregistered(&site.forge, options(&site, PROXY_PASSWORD, false));
    let output = agent.try_register(site.forge.url(), &token, "test");
    let told = said(&output);
    assert_eq!(output.status.code(), Some(3), "{told}");
    let lines: Vec<&str> = told.lines().filter(|line| line.contains(AUTHORITY)).collect();
    assert_eq!(lines.len(), 1, "{told}");
    assert!(lines[0].contains("`network.ca_files`"), "{told}");
    assert!(!told.contains(PROXY_PASSWORD) && !told.contains(&token), "{told}");
    let listed = agent.forgehand(&["list", "--json"]);
    assert_eq!(String::from_utf8_lossy(&listed.stdout).trim(), "[]");
}

#[test]
fn a_wrong_proxy_password_is_said_and_never_shown() {
    let site = ProxiedSite::start();
    let wrong = "not-the-passw0rd";
    let (agent, token) = Agent::unregistered(&site.forge, options(&site, wrong, true));
    let output = agent.try_register(site.forge.url(), &token, "test");
    let told = said(&output);
    assert_eq!(output.status.code(), Some(3), "{told}");
    assert!(told.contains("407") && told.contains("`network.proxy`"), "{told}");
    assert!(!told.contains(wrong), "{told}");
    let shown = agent.forgehand(&["config", "show"]);
    assert!(shown.status.success() && !said(&shown).contains(wrong), "{}", said(&shown));
}

#[test]
fn an_agent_whose_proxy_password_is_changed_says_so_and_goes_on_when_it_is_right_again() {
    let site = ProxiedSite::start();
    let mut agent = Agent::registered(&site.forge, options(&site, PROXY_PASSWORD, true));
    let right = std::fs::read_to_string(agent.config_file()).expect("the configuration");
    std::fs::write(agent.config_file(), right.replace(PROXY_PASSWORD, "changed")).expect("it is written");
    agent.run();
    let limit = Duration::from_secs(30);
    let log = agent.stderr_file();
    agent.wait_until(limit, "the agent names the setting", || {
        std::fs::read_to_string(&log).ok().filter(|told| told.contains("`network.proxy`"))
    });
    assert!(!agent.output().contains("changed@"), "{}", agent.output());
    std::fs::write(agent.config_file(), right).expect("it is written");
    agent.signal(rustix::process::Signal::HUP);
    let project = site.forge.case_project("team/again");
    let spec = job(&agent, project, "again", &["cat src/hello.txt"], json!({}));
    assert_eq!(succeed(&site, &mut agent, spec), ["hello from the repository"]);
    agent.stop();
    agent.assert_nothing_left();
}

/// Ends the watcher, also when the test fails.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The command line of every process that was seen until `is_over`, as `ps` shows it.
fn watch_processes(is_over: &AtomicBool) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    while !is_over.load(Ordering::Relaxed) {
        let processes = std::fs::read_dir("/proc").expect("/proc is there").flatten();
        for process in processes.filter(|entry| entry.file_name().as_encoded_bytes()[0].is_ascii_digit()) {
            // One that has just ended has no command line.
            let words = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
            seen.insert(String::from_utf8_lossy(&words).replace('\0', " "));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    seen
}

/// Fails when a file below `dir` holds the proxy's password.
fn assert_not_written(dir: &Path) {
    let mut open: Vec<PathBuf> = vec![dir.to_owned()];
    while let Some(path) = open.pop() {
        let Ok(about) = path.symlink_metadata() else { continue };
        if about.is_dir() {
            open.extend(std::fs::read_dir(&path).expect("we may read it").flatten().map(|entry| entry.path()));
        } else if about.is_file() {
            let bytes = std::fs::read(&path).unwrap_or_default();
            let holds = bytes.windows(PROXY_PASSWORD.len()).any(|part| part == PROXY_PASSWORD.as_bytes());
            assert!(!holds, "{} holds the proxy's password", path.display());
        }
    }
}
