//! Files that somebody writes to while they are kept.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;

use forgehand::emulator::{Endpoint, JobView};
use serde_json::json;

use super::House;
use crate::kept_artifacts::{JOB_LIMIT, archive, job, run};
use crate::support::agent::said;
use crate::support::{Agent, AgentOptions, TestForge};

/// So long that reading it takes many ticks of the clock that times of files go by.
const LONG: u64 = 256 << 20;

/// Does `work` while somebody writes to the file without a pause, from before it begins until after it has ended.
fn while_it_is_written<T>(path: &Path, work: impl FnOnce() -> T) -> T {
    let file = File::options().write(true).open(path).unwrap();
    let is_over = AtomicBool::new(false);
    let (begun, has_begun) = channel();
    std::thread::scope(|scope| {
        let is_over = &is_over;
        scope.spawn(move || {
            for number in 0_u64.. {
                file.write_all_at(&number.to_le_bytes(), 0).unwrap();
                let _ = begun.send(());
                if is_over.load(Ordering::Acquire) {
                    break;
                }
                std::thread::yield_now();
            }
        });
        has_begun.recv().unwrap();
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        is_over.store(true, Ordering::Release);
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[test]
fn a_file_that_changes_while_it_is_put_is_told_of_and_kept_as_it_was_read() {
    let house = House::new();
    let tree = house.folder("tree");
    File::create(tree.join("busy")).unwrap().set_len(LONG).unwrap();
    fs::write(tree.join("quiet"), "x").unwrap();
    let words = ["put", tree.to_str().unwrap(), "--name", "both"];
    let output = while_it_is_written(&tree.join("busy"), || house.run(&words));
    let text = said(&output);
    assert!(output.status.success(), "{text}");
    let warnings: Vec<_> = text.lines().filter(|line| line.starts_with("warning: ")).collect();
    let [warning] = warnings[..] else { panic!("one file changes: {text}") };
    assert!(warning.contains("busy: it changed while it was read"), "{text}");
    let got = house.got("both");
    assert_eq!(got.iter().map(|one| one.path.as_slice()).collect::<Vec<_>>(), [&b"busy"[..], b"quiet"]);
    house.ends_with(0, &["verify"]);
    // Nothing is told of it when it rests, and it is read again.
    house.put(&tree, "both");
    assert_eq!(house.got("both"), super::seen(&tree));
}

/// The work tree's file of this name, as soon as it has so many bytes.
fn in_work_tree(state: &Path, name: &str, bytes: u64) -> Option<PathBuf> {
    let mut folders = vec![state.to_owned()];
    while let Some(folder) = folders.pop() {
        // Folders come and go.
        for path in fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
            match fs::symlink_metadata(&path) {
                Ok(stat) if stat.is_dir() => folders.push(path),
                Ok(stat) if stat.len() == bytes && path.ends_with(name) => return Some(path),
                _ => {}
            }
        }
    }
    None
}

#[test]
fn artifacts_that_change_while_they_are_kept_are_the_forges_alone() {
    let forge = TestForge::start();
    let mut agent = Agent::start(&forge, AgentOptions::default().without_network());
    let project = forge.case_project("team/busy");
    let bytes = 64 << 20;
    let fill = format!("mkdir out; echo quiet > out/quiet; truncate -s {bytes} out/busy");
    let make = job(&agent, project, "make", &[&fill, "until test -e go; do sleep 0.05; done"], archive());
    let id = forge.queue(make).expect("the job is queued");
    let state = agent.state_dir();
    let busy = agent.wait_until(JOB_LIMIT, "the file is made", || in_work_tree(&state, "out/busy", bytes));
    let go = busy.parent().unwrap().parent().unwrap().join("go");
    let made = while_it_is_written(&busy, || {
        fs::write(go, "").unwrap();
        agent.wait_until(JOB_LIMIT, "the job ends", || forge.job(id).filter(JobView::has_ended))
    });
    assert_eq!(made.state, "success", "{}", forge.job_log(id).text);
    assert!(made.artifact("archive").is_some(), "the forge has it");
    let listed = agent.forgehand(&["store", "ls", "--json"]);
    assert_eq!(listed.stdout, b"[]\n", "{}", said(&listed));
    let told = agent.output();
    let told = told.lines().find(|line| line.contains("an artifact is not kept on this machine"));
    assert!(told.is_some_and(|line| line.contains("busy: it changed while it was read")), "{}", agent.output());
    // Whoever needs it gets it there.
    let take = job(&agent, project, "take", &["cat out/quiet; wc -c < out/busy"], json!({ "dependencies": ["make"] }));
    let (taken, log) = run(&forge, &mut agent, take);
    assert_eq!(taken.state, "success", "{log}");
    assert_eq!(forge.job_log(taken.id).output("step_script"), ["quiet".to_owned(), bytes.to_string()]);
    assert!(forge.requests().iter().any(|request| request.endpoint == Endpoint::DownloadArtifact));
    agent.stop();
    agent.assert_nothing_left();
    forge.assert_no_violations();
}
