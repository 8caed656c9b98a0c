//! Against a real S3 server, with archives as gitlab-runner writes them.

use std::fs;
use std::io::Write as _;

use cap_std::ambient_authority;
use tempfile::TempDir;

use super::*;
use crate::artifact::archive::{Level, Limits};
use crate::artifact::remote::tests::S3Server;
use crate::artifact::remote::tests::server::refusal;
use crate::artifact::{Interrupt, select};
use crate::config::registration::CacheFormat;
use crate::outbound::OutboundSettings;
use crate::pipeline::definition::FileSelection;
use crate::pipeline::{ForgeInstance, JobId, ProjectId};

struct Fleet {
    server: S3Server,
    caches: RunnerCache,
    scratch: TempDir,
}

impl Fleet {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut RunnerCacheConfig)) -> Self {
        let server = S3Server::start();
        let mut config = RunnerCacheConfig {
            path: "ci/caches".to_owned(),
            shared: false,
            format: CacheFormat::Zip,
            remote: server.config(""),
        };
        change(&mut config);
        let scratch = tempfile::tempdir().unwrap();
        let outbound = Outbound::new(OutboundSettings::default()).unwrap();
        let runtime = server.runtime.handle().clone();
        let caches = RunnerCache::open(&config, "abcdefgh9", outbound, runtime, scratch.path()).unwrap();
        Self { server, caches, scratch }
    }

    fn save(&self, owner: &Owner, key: &str, style: CacheStyle, tree: &Path) -> Saved {
        let job = job_of(owner);
        let request = SaveRequest { owner, key: key.as_bytes(), job: &job, style, interrupt: Interrupt::default() };
        self.caches.save(&request, &dir(tree), &everything(tree)).unwrap()
    }

    fn restore(&self, owner: &Owner, keys: &[&str], style: CacheStyle, tree: &Path) -> Restored {
        let keys: Vec<Wanted> = keys.iter().map(|key| Wanted::Exact(key.as_bytes().to_vec())).collect();
        let staging = tempfile::tempdir().unwrap();
        let (job, staging) = (job_of(owner), dir(staging.path()));
        let (limits, interrupt) = (Limits::default(), Interrupt::default());
        let request = RestoreRequest { owner, job: &job, keys: &keys, staging: &staging, limits, style, interrupt };
        self.caches.restore(&request, &dir(tree)).unwrap()
    }

    /// The content of `f` that a job finds under one of the keys.
    fn finds(&self, owner: &Owner, keys: &[&str]) -> Option<String> {
        let into = tempfile::tempdir().unwrap();
        match self.restore(owner, keys, CacheStyle::default(), into.path()) {
            Restored::Hit(_) => Some(fs::read_to_string(into.path().join("f")).unwrap()),
            Restored::Miss { .. } => None,
        }
    }

    /// Puts an object where a runner would.
    fn put(&self, name: &str, content: &[u8]) {
        let path = self.server.bucket().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn writes(&self) -> usize {
        self.server.seen().iter().filter(|seen| seen.method == "PUT").count()
    }
}

fn owner(project: &str, trust: Trust) -> Owner {
    Owner { forge: ForgeInstance::new("https://gitlab.example.com"), project: ProjectId::new(project), trust }
}

fn member() -> Owner {
    owner("42", Trust::Member)
}

fn job_of(owner: &Owner) -> JobKey {
    JobKey::of(&owner.forge, &JobId::new("1"), &owner.slug())
}

fn dir(path: &Path) -> Dir {
    Dir::open_ambient_dir(path, ambient_authority()).unwrap()
}

fn everything(tree: &Path) -> Selection {
    let files = FileSelection { paths: vec!["**".to_owned()], ..FileSelection::default() };
    select::select(&dir(tree), "/builds/p", &files, Vec::new()).unwrap()
}

fn tree(content: &str) -> TempDir {
    let tree = tempfile::tempdir().unwrap();
    fs::write(tree.path().join("f"), content).unwrap();
    tree
}

/// A zip as another program makes it.
fn zip_of(name: &str, content: &str) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    zip.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
    zip.write_all(content.as_bytes()).unwrap();
    zip.finish().unwrap().into_inner()
}

#[test]
fn objects_lie_where_a_runner_looks_for_them() {
    let fleet = Fleet::new();
    assert!(matches!(
        fleet.save(&member(), "npm-1-protected", CacheStyle::default(), tree("one").path()),
        Saved::Stored { .. }
    ));
    let object = fleet.server.bucket().join("ci/caches/runner/abcdefgh9/project/42/npm-1-protected");
    let mut zip = zip::ZipArchive::new(fs::File::open(object).unwrap()).unwrap();
    assert_eq!(std::io::read_to_string(zip.by_name("f").unwrap()).unwrap(), "one");
    let put = fleet.server.seen().into_iter().find(|seen| seen.method == "PUT").unwrap();
    assert_eq!(put.headers.get("x-amz-meta-cachekey").unwrap(), "npm-1-protected");
    assert_eq!(put.headers.get("content-type").unwrap(), "application/octet-stream");
    assert_eq!(fs::read_dir(fleet.scratch.path()).unwrap().count(), 0, "nothing is left on the disk");
    assert_eq!(fleet.finds(&member(), &["npm-1-protected"]).as_deref(), Some("one"));
}

#[test]
fn runners_that_share_look_elsewhere() {
    let fleet = Fleet::with(|config| {
        config.shared = true;
        config.path = String::new();
    });
    let hashed = CacheStyle { hashed_keys: true, ..CacheStyle::default() };
    fleet.save(&member(), "a/b c", CacheStyle::default(), tree("plain").path());
    fleet.save(&member(), "ab12", hashed, tree("hashed").path());
    assert!(fleet.server.bucket().join("project/42/a/b c").exists());
    assert!(fleet.server.bucket().join("project/42/ab/ab12").exists());
}

#[test]
fn what_a_runner_left_is_restored_and_a_fallback_key_helps_out() {
    let fleet = Fleet::new();
    fleet.put("ci/caches/runner/abcdefgh9/project/42/main", &zip_of("f", "theirs"));
    assert_eq!(fleet.finds(&member(), &["main"]).as_deref(), Some("theirs"));
    assert_eq!(fleet.finds(&member(), &["feature", "main"]).as_deref(), Some("theirs"));
    assert_eq!(fleet.finds(&member(), &["feature"]), None);
    assert_eq!(fleet.finds(&owner("43", Trust::Member), &["main"]), None, "another project");
}

#[test]
fn every_format_is_told_by_its_content() {
    let fleet = Fleet::new();
    for (name, magic) in [("zip", &b"PK"[..]), ("zipzstd", &b"PK"[..]), ("TarZstd", &b"\x28\xb5\x2f\xfd"[..])] {
        let style = CacheStyle { format: Some(CacheStyle::format_named(name)), level: Level::Fast, hashed_keys: false };
        fleet.save(&member(), name, style, tree(name).path());
        let object = fleet.server.bucket().join(format!("ci/caches/runner/abcdefgh9/project/42/{name}"));
        assert!(fs::read(object).unwrap().starts_with(magic), "{name}");
        assert_eq!(fleet.finds(&member(), &[name]).as_deref(), Some(name));
    }
}

#[test]
fn a_fork_reads_and_never_writes() {
    let fleet = Fleet::new();
    let fork = owner("42", Trust::Fork);
    fleet.save(&member(), "k", CacheStyle::default(), tree("ours").path());
    let before = fleet.writes();
    assert!(matches!(fleet.save(&fork, "k", CacheStyle::default(), tree("evil").path()), Saved::Refused(_)));
    assert_eq!(fleet.writes(), before);
    assert_eq!(fleet.finds(&fork, &["k"]).as_deref(), Some("ours"));
}

#[test]
fn what_was_restored_and_not_changed_is_not_written_again() {
    let fleet = Fleet::new();
    fleet.save(&member(), "k", CacheStyle::default(), tree("one").path());
    let before = fleet.writes();
    let into = tempfile::tempdir().unwrap();
    fleet.restore(&member(), &["k"], CacheStyle::default(), into.path());
    assert_eq!(fleet.save(&member(), "k", CacheStyle::default(), into.path()), Saved::UpToDate);
    assert_eq!(fleet.writes(), before);

    fleet.restore(&member(), &["k"], CacheStyle::default(), into.path());
    let newer = fs::File::create(into.path().join("f")).unwrap();
    newer.set_modified(std::time::SystemTime::now() + std::time::Duration::from_secs(60)).unwrap();
    assert!(matches!(fleet.save(&member(), "k", CacheStyle::default(), into.path()), Saved::Stored { .. }));
    assert!(matches!(fleet.save(&member(), "other", CacheStyle::default(), into.path()), Saved::Stored { .. }));
}

#[test]
fn credentials_that_may_not_list_find_the_fallback_key() {
    let fleet = Fleet::new();
    fleet.save(&member(), "main", CacheStyle::default(), tree("of main").path());
    // S3 says so of what is not there to whoever may not list.
    fleet.server.intercept(|seen| seen.target.contains("branch").then(|| refusal(403, "AccessDenied")));
    let into = tempfile::tempdir().unwrap();
    let restored = fleet.restore(&member(), &["branch", "main"], CacheStyle::default(), into.path());
    let Restored::Hit(hit) = restored else { panic!("{restored:?}") };
    assert_eq!(fs::read_to_string(into.path().join("f")).unwrap(), "of main");
    assert!(hit.remarks.iter().any(|remark| remark.text.contains("AccessDenied")), "{:?}", hit.remarks);
    assert!(hit.origin().starts_with("kept at 20"), "{}", hit.origin());
}

#[test]
fn a_damaged_or_hostile_archive_leaves_the_tree_as_it_was() {
    let fleet = Fleet::new();
    let whole = zip_of("f", "theirs");
    let base = "ci/caches/runner/abcdefgh9/project/42";
    fleet.put(&format!("{base}/cut"), &whole[..whole.len() / 2]);
    fleet.put(&format!("{base}/noise"), b"not an archive at all");
    fleet.put(&format!("{base}/out"), &zip_of("../../evil", "x"));
    fleet.put(&format!("{base}/good"), &whole);
    for key in ["cut", "noise", "out"] {
        let into = tree("mine");
        let Restored::Miss { remarks } = fleet.restore(&member(), &[key], CacheStyle::default(), into.path()) else {
            panic!("{key} was restored");
        };
        assert!(remarks[0].text.starts_with(&format!("cache {key}: not restored")), "{remarks:?}");
        assert_eq!(fs::read_to_string(into.path().join("f")).unwrap(), "mine");
        assert_eq!(fleet.finds(&member(), &[key, "good"]).as_deref(), Some("theirs"));
    }
}

#[test]
fn a_key_leads_to_no_other_project() {
    let fleet = Fleet::new();
    fleet.put("ci/caches/runner/abcdefgh9/project/43/k", &zip_of("f", "secret"));
    for key in ["../43/k", "a/../../43/k", "", "a//b", "/", "a\nb"] {
        let into = tempfile::tempdir().unwrap();
        let restored = fleet.restore(&member(), &[key], CacheStyle::default(), into.path());
        assert!(matches!(&restored, Restored::Miss { remarks } if remarks.len() == 1), "{key:?}: {restored:?}");
        assert!(matches!(fleet.save(&member(), key, CacheStyle::default(), tree("x").path()), Saved::Refused(_)));
    }
    assert!(fleet.server.seen().is_empty(), "nothing is asked for");
}

/// The archives that a real gitlab-runner wrote, where they are at hand.
#[test]
fn archives_of_a_real_runner_are_restored() {
    let above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let mut places = above.map(|up| up.join("../shared/corpus/gitlab-jobs/archives"));
    let Some(archives) = places.find(|place| place.exists()) else {
        eprintln!("the corpus is not here: skipped");
        return;
    };
    let fleet = Fleet::new();
    for entry in fs::read_dir(archives).unwrap() {
        let path = entry.unwrap().path();
        let key = path.file_name().unwrap().to_str().unwrap().to_owned();
        fleet.put(&format!("ci/caches/runner/abcdefgh9/project/42/{key}"), &fs::read(&path).unwrap());
        let into = tempfile::tempdir().unwrap();
        let restored = fleet.restore(&member(), &[&key], CacheStyle::default(), into.path());
        assert!(matches!(restored, Restored::Hit(Hit { entries: 1.., .. })), "{key}: {restored:?}");
    }
}
