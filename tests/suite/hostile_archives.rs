//! Archives made to get out of the work tree, to explode or to confuse, on their two ways to a job: as the artifacts of another, and as a
//! cache in a bucket.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::kept_artifacts::{archive, job, run};
use crate::runner_cache::{Fleet, cache};
use crate::support::{Agent, AgentOptions, TestForge};

const FILE: u32 = 0o100_644;
const LINK: u32 = 0o120_777;
const FIFO: u32 = 0o010_644;

/// An entry as no decent program writes it.
struct Entry {
    name: String,
    mode: u32,
    content: Vec<u8>,
    /// It says that it lies where the one before it does.
    shares: bool,
}

fn entry(name: &str, mode: u32, content: &str) -> Entry {
    Entry { name: name.to_owned(), mode, content: content.as_bytes().to_vec(), shares: false }
}

/// A zip of these, stored. (The format: PKWARE's APPNOTE.)
fn zip(entries: &[Entry]) -> Vec<u8> {
    let (mut out, mut directory, mut offset) = (Vec::new(), Vec::new(), 0_u32);
    for entry in entries {
        let size = (entry.content.len() as u32).to_le_bytes();
        let head = [
            &[20, 0, 0, 0, 0, 0, 0, 0, 0x21, 0][..],
            &crc32fast::hash(&entry.content).to_le_bytes(),
            &size,
            &size,
            &(entry.name.len() as u16).to_le_bytes(),
            &[0, 0],
        ]
        .concat();
        if !entry.shares {
            offset = out.len() as u32;
            out.extend([b"PK\x03\x04", &head[..], entry.name.as_bytes(), &entry.content].concat());
        }
        directory.extend([b"PK\x01\x02\x14\x03", &head[..], &[0; 6]].concat());
        directory.extend((entry.mode << 16).to_le_bytes());
        directory.extend(offset.to_le_bytes());
        directory.extend(entry.name.as_bytes());
    }
    let (start, count) = (out.len() as u32, (entries.len() as u16).to_le_bytes());
    out.extend(&directory);
    out.extend([&b"PK\x05\x06\0\0\0\0"[..], &count, &count].concat());
    out.extend((directory.len() as u32).to_le_bytes());
    out.extend(start.to_le_bytes());
    out.extend([0, 0]);
    out
}

/// An archive with a comment that makes it so long.
fn as_long(mut archive: Vec<u8>, length: usize) -> Vec<u8> {
    let comment = (length - archive.len()) as u16;
    archive.truncate(archive.len() - 2);
    archive.extend(comment.to_le_bytes());
    archive.resize(length, b' ');
    archive
}

/// What an archive tries.
struct Try {
    title: &'static str,
    archive: Vec<u8>,
    /// What the job's script finds of it in its folder; `None`: the archive is refused.
    finds: Option<&'static [&'static str]>,
}

/// `outside` is a folder of this machine that jobs have nothing to do with; `folder` is what the job expects.
fn tries(outside: &Path, folder: &str) -> Vec<Try> {
    let outside = outside.to_str().unwrap();
    let refused = |title, entries: &[Entry]| Try { title, archive: zip(entries), finds: None };
    let taken = |title, entries: &[Entry], finds| Try { title, archive: zip(entries), finds: Some(finds) };
    // Of few bytes many more, as long as the archive were they its own.
    let content = "x".repeat(9000);
    let again = |number| Entry { shares: number > 0, ..entry(&format!("{folder}/{number}"), FILE, &content) };
    let bomb: Vec<Entry> = (0..8).map(again).collect();
    let ups = "../".repeat(30);
    vec![
        refused("up", &[entry("../evil", FILE, "evil")]),
        refused("up from within", &[entry(&format!("{folder}/../../evil"), FILE, "evil")]),
        refused("to the top", &[entry(&format!("{ups}{outside}/evil"), FILE, "evil")]),
        refused("from the top", &[entry(&format!("{outside}/evil"), FILE, "evil")]),
        refused("a name with a NUL", &[entry("a\0b", FILE, "evil")]),
        refused("the same bytes again and again", &bomb),
        refused("nothing at all", &[]).cut_to(10),
        taken(
            "through a link of its own",
            &[entry(&format!("{folder}/sub"), LINK, outside), entry(&format!("{folder}/sub/evil"), FILE, "evil")],
            &["sub", "sub/evil"],
        ),
        taken(
            "a pipe",
            &[entry(&format!("{folder}/pipe"), FIFO, ""), entry(&format!("{folder}/file"), FILE, "x")],
            &["file"],
        ),
        taken(
            "the same name twice",
            &[entry(&format!("{folder}/file"), FILE, "first"), entry(&format!("{folder}/file"), FILE, "last")],
            &["file"],
        ),
        taken("for another user", &[entry(&format!("{folder}/suid"), 0o106_755, "x")], &["suid"]),
    ]
}

impl Try {
    fn cut_to(mut self, bytes: usize) -> Self {
        self.archive.truncate(bytes);
        self
    }

    /// Shows what there is, and what nobody may have brought.
    fn script(folder: &str) -> [String; 2] {
        [
            format!("if cd {folder} 2>/dev/null; then find . -mindepth 1 | sed 's,^./,,' | sort; fi"),
            "find . -perm /6000 -o -name a; find .. -name evil -not -path '*/sub/evil'".to_owned(),
        ]
    }
}

fn assert_empty(outside: &Path, agent: &Agent, title: &str) {
    assert_eq!(fs::read_dir(outside).unwrap().count(), 0, "{title}: something got out");
    let mut folders = vec![agent.state_dir()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            // In a folder of the work tree, where it may be.
            let is_inside = entry.path().ends_with("sub/evil");
            assert!(is_inside || entry.file_name() != "evil", "{title}: {}", entry.path().display());
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(entry.path());
            }
        }
    }
}

#[test]
fn artifacts_of_another_job_that_are_not_what_they_should_be() {
    let forge = TestForge::start();
    let mut agent = Agent::start(&forge, AgentOptions::default().without_network());
    let project = forge.case_project("team/hostile");
    let outside = tempfile::tempdir().unwrap();
    for tried in tries(outside.path(), "out") {
        let spec = job(&agent, project, "make", &["mkdir out", "head -c 20000 /dev/urandom > out/x"], archive());
        let (made, log) = run(&forge, &mut agent, spec);
        assert_eq!(made.state, "success", "{log}");
        let kept = &made.artifact("archive").expect("it is uploaded").path;
        // The forge says how large it was.
        fs::write(kept, as_long(tried.archive, fs::metadata(kept).unwrap().len() as usize)).unwrap();
        agent.forget_artifacts();
        let script = Try::script("out");
        let script: Vec<&str> = script.iter().map(String::as_str).collect();
        let spec = job(&agent, project, "use", &script, json!({ "dependencies": ["make"] }));
        let (used, log) = run(&forge, &mut agent, spec);
        let title = tried.title;
        match tried.finds {
            Some(finds) => {
                assert_eq!(used.state, "success", "{title}: {log}");
                assert_eq!(forge.job_log(used.id).output("step_script"), finds, "{title}: {log}");
            }
            None => {
                assert_eq!((used.state, used.failure_reason.as_deref()), ("failed", Some("script_failure")), "{title}");
                assert!(log.contains("the downloaded archive cannot be unpacked"), "{title}: {log}");
                assert!(!log.contains("step_script"), "{title}: no command runs without what it needs: {log}");
            }
        }
        assert_empty(outside.path(), &agent, title);
    }
    agent.stop();
    agent.assert_nothing_left();
    forge.assert_no_violations();
}

#[test]
fn caches_in_a_bucket_that_are_not_what_they_should_be() {
    let fleet = Fleet::new();
    let mut agent = fleet.machine();
    let outside = tempfile::tempdir().unwrap();
    for (number, tried) in tries(outside.path(), "deps").into_iter().enumerate() {
        let key = format!("key-{number}");
        let object: PathBuf = fleet.object(&key);
        fs::create_dir_all(object.parent().unwrap()).unwrap();
        fs::write(&object, &tried.archive).unwrap();
        let script = Try::script("deps");
        let script: Vec<&str> = script.iter().map(String::as_str).collect();
        // A job goes on without its cache.
        let (used, log) = fleet.run(&mut agent, "use", &script, cache(&key, "pull"));
        let title = tried.title;
        assert_eq!(fleet.printed(&used), tried.finds.unwrap_or_default(), "{title}: {log}");
        assert_eq!(tried.finds.is_some(), log.contains("Successfully extracted cache"), "{title}: {log}");
        assert_empty(outside.path(), &agent, title);
    }
    fleet.leave(vec![agent]);
}
