//! In which formats, how hard compressed and under which names jobs have their files kept, by the variables in which they say so.

use std::fs;
use std::io::Read as _;
use std::path::Path;

use forgehand::emulator::JobView;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::kept_artifacts::{archive, job, run};
use crate::runner_cache::{Fleet, cache};
use crate::support::{Agent, AgentOptions, TestForge};

/// A file of 1.3 MB that compresses, and a link to it.
const FILL: &str = "mkdir -p deps; seq 1 200000 > deps/file; ln -s file deps/link; chmod 750 deps/file";

/// The sum of that file, by `seq 1 200000 | sha256sum`.
fn sum() -> String {
    hex::encode(Sha256::digest(numbers()))
}

fn numbers() -> String {
    (1..=200_000).map(|number| format!("{number}\n")).collect()
}

const LOOK: [&str; 2] = ["sha256sum < deps/link", "stat -c %a deps/file"];

/// Variables as the forge sends those of `.gitlab-ci.yml`.
fn variables(pairs: &[(&str, &str)]) -> Value {
    pairs.iter().map(|(key, value)| json!({ "key": key, "value": value, "public": true, "masked": false })).collect()
}

/// Runs a job that keeps a cache under these variables, or uses one; what it printed.
fn with(
    fleet: &Fleet,
    agent: &mut Agent,
    script: &[&str],
    said: &[(&str, &str)],
    cache: Value,
) -> (Vec<String>, String) {
    let more = json!({ "cache": [cache], "variables": variables(said) });
    let (job, log) = fleet.run_with(agent, "cached", script, more);
    (fleet.printed(&job), log)
}

fn found() -> Vec<String> {
    vec![format!("{}  -", sum()), "750".to_owned()]
}

/// How a file of a zip is kept, as its header says it, and how many bytes it takes.
fn kept_in_zip(archive: &[u8], name: &str) -> (u16, u64) {
    let mut zip = zip::ZipArchive::new(std::io::Cursor::new(archive)).unwrap();
    let mut file = zip.by_name(name).unwrap();
    let mut content = String::new();
    file.read_to_string(&mut content).unwrap();
    assert_eq!(content, numbers());
    let at = file.header_start() as usize;
    assert!(archive[at..].starts_with(b"PK\x03\x04"));
    (u16::from_le_bytes([archive[at + 8], archive[at + 9]]), file.compressed_size())
}

const STORED: u16 = 0;
const DEFLATED: u16 = 8;
const ZSTD: u16 = 93;
/// Frames of Zstandard begin like this.
const FRAME: &[u8] = b"\x28\xb5\x2f\xfd";

#[test]
fn caches_are_in_the_format_that_the_job_names() {
    let fleet = Fleet::new();
    let mut agent = fleet.machine();
    for (format, method) in [("zip", Some(DEFLATED)), ("zipzstd", Some(ZSTD)), ("tarzstd", None)] {
        let said = [("CACHE_COMPRESSION_FORMAT", format)];
        let (_, log) = with(&fleet, &mut agent, &[FILL], &said, cache(format, "push"));
        assert!(log.contains("Created cache"), "{log}");
        let object = fs::read(fleet.object(format)).unwrap();
        match method {
            Some(method) => {
                assert_eq!(kept_in_zip(&object, "deps/file").0, method, "{format}");
                let mut zip = zip::ZipArchive::new(std::io::Cursor::new(&object)).unwrap();
                let start = zip.by_name("deps/file").unwrap().data_start().unwrap() as usize;
                assert_eq!(object[start..].starts_with(FRAME), method == ZSTD, "{format}");
            }
            None => assert_eq!(in_tar(&object), numbers()),
        }
        // Who reads looks at what there is.
        let (printed, log) = with(&fleet, &mut agent, &LOOK, &[], cache(format, "pull"));
        assert_eq!(printed, found(), "{format}: {log}");
    }
    fleet.leave(vec![agent]);
}

/// What a tar in Zstandard has as `deps/file`, beside the link to it.
fn in_tar(object: &[u8]) -> String {
    assert!(object.starts_with(FRAME));
    let mut tar = tar::Archive::new(zstd::stream::read::Decoder::new(object).unwrap());
    let (mut content, mut link) = (String::new(), None);
    for entry in tar.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().into_owned();
        if path == Path::new("deps/file") {
            assert_eq!(entry.header().mode().unwrap() & 0o777, 0o750);
            entry.read_to_string(&mut content).unwrap();
        } else if path == Path::new("deps/link") {
            link = entry.link_name().unwrap().map(|target| target.into_owned());
        }
    }
    assert_eq!(link.as_deref(), Some(Path::new("file")));
    content
}

#[test]
fn caches_are_compressed_as_hard_as_the_job_says() {
    let fleet = Fleet::new();
    let mut agent = fleet.machine();
    let mut kept = |format: &str, level: &str| {
        let said = [("CACHE_COMPRESSION_FORMAT", format), ("CACHE_COMPRESSION_LEVEL", level)];
        let key = format!("{format}-{level}");
        let (_, log) = with(&fleet, &mut agent, &[FILL], &said, cache(&key, "push"));
        assert!(log.contains("Created cache"), "{log}");
        fs::read(fleet.object(&key)).unwrap()
    };
    let method = |object: &[u8]| kept_in_zip(object, "deps/file").0;
    let stored = kept("zipzstd", "fastest");
    assert_eq!(method(&stored), STORED);
    for (format, of) in [("zip", DEFLATED), ("zipzstd", ZSTD)] {
        let (fast, slowest) = (kept(format, "fast"), kept(format, "slowest"));
        assert_eq!((method(&fast), method(&slowest)), (of, of));
        assert!(slowest.len() < fast.len() && fast.len() < stored.len(), "{format}: {}", slowest.len());
    }
    let (fast, slowest) = (kept("tarzstd", "fast"), kept("tarzstd", "slowest"));
    assert_eq!((in_tar(&fast), in_tar(&slowest)), (numbers(), numbers()));
    assert!(slowest.len() < fast.len(), "tarzstd: {}", slowest.len());
    fleet.leave(vec![agent]);
}

#[test]
fn keys_are_hashed_where_the_job_wants_it() {
    let fleet = Fleet::new();
    let mut agent = fleet.machine();
    // Of which nothing is changed before it is hashed, as it would be otherwise.
    let key = "a/../b c%2f\\d ";
    let hashed = [("FF_HASH_CACHE_KEYS", "true")];
    let (_, log) = with(&fleet, &mut agent, &[FILL], &hashed, cache(key, "push"));
    assert!(log.contains("Created cache"), "{log}");
    let name = hex::encode(Sha256::digest(key));
    let object = fs::read(fleet.object(&format!("{}/{name}", &name[..2]))).unwrap();
    assert_eq!(kept_in_zip(&object, "deps/file").0, DEFLATED);
    for other in [name.as_str(), "b c/d"] {
        assert!(!fleet.object(other).exists(), "{other}");
    }
    let (printed, log) = with(&fleet, &mut agent, &LOOK, &hashed, cache(key, "pull"));
    assert_eq!(printed, found(), "{log}");
    // Without it the same key means another object.
    with(&fleet, &mut agent, &["test ! -e deps", FILL], &[], cache(key, "pull-push"));
    assert!(fleet.object("b c/d").is_file());
    fleet.leave(vec![agent]);
}

#[test]
fn artifacts_are_compressed_as_hard_as_the_job_says() {
    let forge = TestForge::start();
    let mut agent = Agent::start(&forge, AgentOptions::default().without_network());
    let project = forge.case_project("team/levels");
    let script = ["mkdir out", "seq 1 200000 > out/file", "touch -d @1000000000 out out/file"];
    let mut made = |level: &str| {
        let mut more = archive();
        if !level.is_empty() {
            more["variables"] = variables(&[("ARTIFACT_COMPRESSION_LEVEL", level)]);
        }
        let made = job(&agent, project, &format!("make-{level}"), &script, more);
        let (made, log) = run(&forge, &mut agent, made);
        assert_eq!(made.state, "success", "{log}");
        fs::read(&made.artifact("archive").unwrap().path).unwrap()
    };
    let (usual, unknown) = (made(""), made("nonsense"));
    assert!(usual == unknown, "what is no level says nothing");
    let sizes = ["fastest", "fast", "slowest"].map(|level| kept_in_zip(&made(level), "out/file"));
    let [(fastest, stored), (fast, larger), (slowest, smaller)] = sizes;
    assert_eq!((fastest, fast, slowest), (STORED, DEFLATED, DEFLATED));
    assert!(smaller < larger && larger < stored, "{smaller} {larger} {stored}");
    let (of_usual, middle) = kept_in_zip(&usual, "out/file");
    assert!(of_usual == DEFLATED && smaller <= middle && middle < larger, "{smaller} {middle} {larger}");
    // A job that gets one that is not compressed from the forge.
    agent.forget_artifacts();
    let taking = job(&agent, project, "take", &["sha256sum < out/file"], json!({ "dependencies": ["make-fastest"] }));
    let (taken, log): (JobView, String) = run(&forge, &mut agent, taking);
    assert_eq!(taken.state, "success", "{log}");
    assert_eq!(forge.job_log(taken.id).output("step_script"), [format!("{}  -", sum())]);
    agent.stop();
    agent.assert_nothing_left();
    forge.assert_no_violations();
}
