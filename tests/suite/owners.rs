//! Who may read, change and learn of what, through jobs of one agent: every trust of an attacker in the victim's project, in another
//! one and at another forge, against every trust of a victim. The attackers know everything: keys, ids of jobs, contents, even what the
//! victim's archive is called and how large it is.

use std::collections::BTreeMap;
use std::fs;

use forgehand::emulator::{Endpoint, FaultAction, FaultRule, JobSpec};
use serde_json::{Value, json};

use crate::kept_artifacts::JOB_LIMIT;
use crate::support::agent::said;
use crate::support::{Agent, AgentOptions, JobLog, TestForge, docker};

/// How far the project trusts a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Trust {
    Fork,
    Member,
    Protected,
}

const TRUSTS: [Trust; 3] = [Trust::Protected, Trust::Member, Trust::Fork];

impl Trust {
    /// One letter, so that what is called after them is equally long.
    fn letter(self) -> char {
        match self {
            Self::Protected => 'p',
            Self::Member => 'm',
            Self::Fork => 'f',
        }
    }
}

/// A trust that nobody has: what would be called after it is nowhere.
const NOBODY: char = 'n';

/// Where an attacker is, seen from the victim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    SameProject,
    OtherProject,
    /// There the project has the same number.
    OtherForge,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Who {
    place: Place,
    trust: Trust,
}

impl Who {
    fn victim(trust: Trust) -> Self {
        Self { place: Place::SameProject, trust }
    }

    fn all() -> impl Iterator<Item = Self> {
        let places = [Place::SameProject, Place::OtherProject, Place::OtherForge];
        places.into_iter().flat_map(|place| TRUSTS.map(|trust| Self { place, trust }))
    }

    /// Design, section 8: inside a project, what is trusted as much or more.
    fn may_read(self, other: Self) -> bool {
        self.place == other.place && other.trust >= self.trust
    }

    /// What it names things after itself.
    fn label(self) -> String {
        let place = match self.place {
            Place::SameProject => 's',
            Place::OtherProject => 'o',
            Place::OtherForge => 'x',
        };
        format!("{place}{}", self.trust.letter())
    }
}

/// Two forges, and one agent that serves both.
struct Field {
    forge: TestForge,
    other_forge: TestForge,
    agent: Agent,
    other_runner: u64,
    project: u64,
    other_project: u64,
    /// What jobs know, mounted at `/known`: the victims' contents, each in a file called by its letter.
    _known: tempfile::TempDir,
}

impl Field {
    fn new() -> Self {
        docker::build_images();
        let known = tempfile::tempdir().unwrap();
        for (seed, letter) in TRUSTS.map(Trust::letter).into_iter().chain([NOBODY]).enumerate() {
            // As much as is kept in one piece: then the same length takes the same room.
            fs::write(known.path().join(letter.to_string()), crate::store::noise(60_000, seed as u64)).unwrap();
        }
        let (forge, other_forge) = (TestForge::start(), TestForge::start());
        let config = format!("[docker]\nvolumes = [\"{}:/known:ro\"]\n", known.path().display());
        let options = AgentOptions { max_jobs: 4, config, ..AgentOptions::default() }.without_network();
        let mut agent = Agent::registered(&forge, options.clone());
        let (other_runner, token) = other_forge.add_runner(options.runner);
        agent.register(other_forge.url(), &token, "other");
        agent.run();
        let projects = [&forge, &other_forge].map(|forge| forge.case_project("team/owners"));
        assert_eq!(projects[0], projects[1], "the number does not tell them apart");
        let other_project = forge.case_project("team/others");
        Self { forge, other_forge, agent, other_runner, project: projects[0], other_project, _known: known }
    }

    fn forge_of(&self, who: Who) -> &TestForge {
        if who.place == Place::OtherForge { &self.other_forge } else { &self.forge }
    }

    fn queue(&self, who: Who, name: &str, script: &str, more: Value) -> u64 {
        let project = if who.place == Place::OtherProject { self.other_project } else { self.project };
        let runner = if who.place == Place::OtherForge { self.other_runner } else { self.agent.runner };
        let mut spec = JobSpec { runner: Some(runner), ..JobSpec::script(project, name, &[script]) };
        let (Some(overlay), Value::Object(more)) = (spec.overlay.as_object_mut(), more) else { panic!("objects") };
        overlay.extend(more);
        overlay.insert("git_info".to_owned(), json!({ "protected": who.trust == Trust::Protected }));
        let mut variables = vec![json!({ "key": "GIT_STRATEGY", "value": "none" })];
        if who.trust == Trust::Fork {
            variables.push(json!({ "key": "CI_MERGE_REQUEST_SOURCE_PROJECT_ID", "value": "999999" }));
        }
        overlay.insert("variables".to_owned(), variables.into());
        self.forge_of(who).queue(spec).expect("the job is queued")
    }

    /// The log of a job when it has succeeded.
    fn end(&mut self, who: Who, id: u64) -> JobLog {
        let (forge, agent) = match who.place {
            Place::OtherForge => (&self.other_forge, &mut self.agent),
            _ => (&self.forge, &mut self.agent),
        };
        let ended = agent.wait_until(JOB_LIMIT, "the job ends", || forge.job(id).filter(|job| job.has_ended()));
        let log = forge.job_log(id);
        assert_eq!(ended.state, "success", "{who:?}: {}\nthe agent wrote:\n{}", log.text, self.agent.output());
        log
    }

    /// Runs a job of each, some at the same time.
    fn run_all(&mut self, all: &[Who], job: impl Fn(&Self, Who) -> u64) -> Vec<(Who, JobLog)> {
        let queued: Vec<(Who, u64)> = all.iter().map(|who| (*who, job(self, *who))).collect();
        queued.into_iter().map(|(who, id)| (who, self.end(who, id))).collect()
    }

    fn leave(mut self) {
        self.agent.stop();
        self.agent.assert_nothing_left();
        for forge in [&self.forge, &self.other_forge] {
            forge.assert_no_violations();
            let jobs = forge.jobs().into_iter().collect();
            assert_eq!(docker::leftovers(forge.url(), &jobs), Vec::<String>::new());
        }
    }
}

fn cache(key: &str, path: &str, policy: &str, fallback: &[&str]) -> Value {
    json!({
        "key": key, "untracked": false, "policy": policy, "paths": [path], "when": "on_success", "fallback_keys": fallback,
    })
}

/// The lines of a section from the one that says `begin` up to the next of its kind, with `name` and `number` taken out: what is left
/// must not tell a thing that is there from one that is not.
fn told(log: &JobLog, section: &str, begin: &str, name: &str, number: &str) -> Vec<String> {
    let lines = &log.sections.iter().find(|one| one.name == section).unwrap_or_else(|| panic!("{}", log.text)).lines;
    let start = lines.iter().position(|line| line.starts_with(&format!("{begin}{name}")));
    let start = start.unwrap_or_else(|| panic!("nothing of {name}: {}", log.text));
    let end =
        lines[start + 1..].iter().position(|line| line.starts_with(begin)).map_or(lines.len(), |at| start + 1 + at);
    lines[start..end].iter().map(|line| line.replace(name, "NAME").replace(number, "NUMBER")).collect()
}

/// Bytes that keeping a cache took.
fn took(log: &JobLog, key: &str) -> u64 {
    let lines = told(log, "archive_cache", "Creating cache ", key, "NUMBER");
    let bytes =
        lines.iter().find_map(|line| line.strip_prefix("Created cache: ")?.split(' ').rev().nth(1)?.parse().ok());
    bytes.unwrap_or_else(|| panic!("{key} was not kept: {}", log.text))
}

/// What a victim left at the forge.
struct Left {
    id: u64,
    file: Value,
}

/// The victims keep a cache and leave an artifact each.
fn furnish(field: &mut Field) -> BTreeMap<char, Left> {
    let mut left = BTreeMap::new();
    for trust in TRUSTS {
        let id = leaves(field, Who::victim(trust), trust.letter(), trust.letter());
        field.end(Who::victim(trust), id);
        left.insert(trust.letter(), Left { id, file: archive_of(&field.forge, id) });
    }
    left
}

/// A job that leaves `content` as the artifact, and the cache, that are called after `letter`.
fn leaves(field: &Field, who: Who, letter: char, content: char) -> u64 {
    let script = format!(
        "for d in deps out; do mkdir $d-{letter}; cp /known/{content} $d-{letter}/file; touch -d '2001-09-09 01:46:40' \
         $d-{letter}/file $d-{letter}; done"
    );
    let more = json!({
        "cache": [cache(&format!("deps-{letter}"), &format!("deps-{letter}/"), "push", &[])],
        "artifacts": [{
            "name": "", "untracked": false, "paths": [format!("out-{letter}/")], "exclude": [], "when": "on_success",
            "expire_in": "1 week", "artifact_type": "archive", "artifact_format": "zip",
        }],
    });
    field.queue(who, &format!("left-{letter}"), &script, more)
}

fn archive_of(forge: &TestForge, id: u64) -> Value {
    let job = forge.job(id).expect("the job is known");
    let archive = job.artifact("archive").expect("an archive");
    json!({ "filename": archive.filename, "size": archive.size })
}

/// Gives numbers away, so that the next thing of the forge has `number`.
fn count_up_to(forge: &TestForge, number: u64) {
    while forge.add_runner(Default::default()).0 + 1 < number {}
}

/// What the forge gives whoever asks it for an artifact.
fn of_the_forge() -> FaultRule {
    use std::io::Write as _;
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    zip.start_file("of-the-forge", zip::write::SimpleFileOptions::default()).unwrap();
    zip.write_all(b"x").unwrap();
    let body = zip.finish().unwrap().into_inner();
    FaultRule::all(
        Endpoint::DownloadArtifact,
        FaultAction::Garbage { body, content_type: "application/zip".to_owned() },
    )
}

/// A job that tries to get what the victims have, and what nobody has.
fn reads(field: &Field, who: Who, left: &BTreeMap<char, Left>) -> u64 {
    let letters: Vec<char> = TRUSTS.map(Trust::letter).into_iter().chain([NOBODY]).collect();
    let caches = letters.iter().flat_map(|letter| {
        let (key, path) = (format!("deps-{letter}"), format!("deps-{letter}/"));
        [cache(&key, &path, "pull", &[]), cache(&format!("else-{letter}"), &path, "pull", &[&key])]
    });
    let dependencies = letters.iter().map(|letter| {
        // What nobody left looks like what the first one did.
        let Left { id, file } =
            left.get(letter).unwrap_or_else(|| left.values().next().expect("somebody left something"));
        let id = if left.contains_key(letter) { *id } else { NOT_A_JOB };
        json!({ "id": id, "name": format!("left-{letter}"), "token": "known", "artifacts_file": file })
    });
    let script = "for v in p m f; do for d in deps out; do cmp -s $d-$v/file /known/$v && echo $d-$v; done; done; true";
    let more = json!({
        "cache": caches.collect::<Vec<_>>(), "dependencies": dependencies.collect::<Vec<_>>(),
    });
    field.queue(who, "reads", script, more)
}

/// The number of no job.
const NOT_A_JOB: u64 = 999_999_999;

fn assert_reads(who: Who, log: &JobLog, left: &BTreeMap<char, Left>) {
    let had = log.output("step_script");
    for victim in TRUSTS.map(Who::victim) {
        let (may, letter) = (who.may_read(victim), victim.trust.letter());
        let cell = format!("{who:?} against {victim:?}: {}", log.text);
        for what in ["deps", "out"] {
            assert_eq!(had.contains(&format!("{what}-{letter}")), may, "{what}: {cell}");
        }
        for (key, fallback) in [("deps", false), ("else", true)] {
            let of = |letter: char| {
                told(log, "restore_cache", "Checking cache for ", &format!("{key}-{letter}"), &format!("deps-{letter}"))
            };
            let lines = of(letter);
            assert_eq!(lines.iter().any(|line| line.starts_with("Successfully extracted")), may, "{fallback}: {cell}");
            assert!(may || lines == of(NOBODY), "{fallback}: that it is there shows: {cell}");
        }
        let of = |letter: char| {
            let number = left.get(&letter).map_or(NOT_A_JOB, |left| left.id).to_string();
            told(log, "download_artifacts", "Downloading artifacts for ", &format!("left-{letter}"), &number)
        };
        let lines = of(letter);
        assert_eq!(lines.iter().any(|line| line.contains("from this machine")), may, "{cell}");
        assert!(may || lines == of(NOBODY), "that the artifact is there shows: {cell}");
    }
}

/// A job that puts something else where the victims look, something where nobody has anything yet, and what the victims have under
/// keys of its own.
fn writes(field: &Field, who: Who) -> u64 {
    let script = format!(
        "for v in p m f n; do for d in deps copy; do mkdir -p $d-$v; cp /known/$v $d-$v/file; done; echo evil > deps-$v/file; touch -d \
         '2001-09-09 01:46:40' copy-$v/file copy-$v; done; mkdir plant-{0}; echo evil > plant-{0}/file",
        who.label()
    );
    let plant = format!("plant-{}", who.label());
    let mut caches = vec![cache(&plant, &format!("{plant}/"), "push", &[])];
    for letter in TRUSTS.map(Trust::letter).into_iter().chain([NOBODY]) {
        let kinds: &[&str] = if who == Who::victim(trust_of(letter)) { &["copy"] } else { &["copy", "deps"] };
        caches.extend(kinds.iter().map(|kind| {
            let key = format!("{kind}-{letter}");
            cache(&key, &format!("{key}/"), "push", &[])
        }));
    }
    field.queue(who, "writes", &script, json!({ "cache": caches }))
}

/// Whose letter it is; nobody's is taken for a fork's, which changes nothing.
fn trust_of(letter: char) -> Trust {
    TRUSTS.into_iter().find(|trust| trust.letter() == letter).unwrap_or(Trust::Fork)
}

/// What it takes to keep what a victim has is what it takes to keep what nobody has.
fn assert_learns_nothing(who: Who, log: &JobLog) {
    let usual = took(log, &format!("copy-{NOBODY}"));
    assert!(usual > 60_000, "{}", log.text);
    for victim in TRUSTS.map(Who::victim) {
        let bytes = took(log, &format!("copy-{}", victim.trust.letter()));
        if who == victim {
            assert!(bytes < usual / 10, "its own costs nothing again, so one could see it: {}", log.text);
        } else {
            assert_eq!(bytes, usual, "{who:?} against {victim:?}: {}", log.text);
        }
    }
}

/// A job of a victim that looks for its own, and for what others planted.
fn looks(field: &Field, who: Who) -> u64 {
    let letter = who.trust.letter();
    let own = cache(&format!("deps-{letter}"), &format!("deps-{letter}/"), "pull", &[]);
    let plants = Who::all().map(|other| {
        let plant = format!("plant-{}", other.label());
        cache(&plant, &format!("{plant}/"), "pull", &[])
    });
    let script = format!(
        "for d in deps out; do cmp -s $d-{letter}/file /known/{letter} && echo $d; done; for p in plant-*; do test -e $p/file && echo $p; \
         done; true"
    );
    let caches: Vec<Value> = [own].into_iter().chain(plants).collect();
    field.queue(who, "looks", &script, json!({ "cache": caches, "dependencies": [format!("left-{letter}")] }))
}

#[test]
fn jobs_read_change_and_learn_only_what_is_for_them() {
    let mut field = Field::new();
    count_up_to(&field.forge, 2000);
    let left = furnish(&mut field);
    let attackers: Vec<Who> = Who::all().collect();

    let rules = [&field.forge, &field.other_forge].map(|forge| forge.fail(of_the_forge()));
    for (who, log) in field.run_all(&attackers, |field, who| reads(field, who, &left)) {
        assert_reads(who, &log, &left);
    }
    field.forge.heal(rules[0]);
    field.other_forge.heal(rules[1]);

    for (who, log) in field.run_all(&attackers, writes) {
        assert_learns_nothing(who, &log);
    }
    // Jobs at the other forge that have the numbers of the victims', and leave archives of the same names and sizes.
    count_up_to(&field.other_forge, left[&TRUSTS[0].letter()].id);
    for trust in TRUSTS {
        let (letter, twin) = (trust.letter(), Who { place: Place::OtherForge, trust });
        let Left { id, file } = &left[&letter];
        assert_eq!(leaves(&field, twin, letter, NOBODY), *id);
        field.end(twin, *id);
        assert_eq!(archive_of(&field.other_forge, *id), *file);
    }

    let downloads = |forge: &TestForge| {
        forge.requests().iter().filter(|request| request.endpoint == Endpoint::DownloadArtifact).count()
    };
    let before = downloads(&field.forge);
    for (who, log) in field.run_all(&TRUSTS.map(Who::victim), looks) {
        let planted = Who::all().filter(|other| who.may_read(*other)).map(|other| format!("plant-{}", other.label()));
        let mut expected: Vec<String> = planted.collect();
        expected.sort();
        expected.splice(0..0, ["deps", "out"].map(str::to_owned));
        assert_eq!(log.output("step_script"), expected, "{who:?}: {}", log.text);
        assert!(log.text.contains("from this machine"), "{}", log.text);
    }
    assert_eq!(downloads(&field.forge), before, "the forge was not asked");
    let verified = field.agent.forgehand(&["store", "verify"]);
    assert!(verified.status.success(), "{}", said(&verified));
    field.leave();
}
