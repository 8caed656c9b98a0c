//! What a job notices of tools, and what one can do to another's.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::*;
use crate::artifact::store::Limits;
use crate::artifact::{Interrupt, Remark};
use crate::pipeline::{ForgeInstance, JobId, JobKey, Owner, ProjectId, Trust};

struct Shed {
    temp: tempfile::TempDir,
    store: Arc<Store>,
    tools: ToolCache,
}

/// A job that has begun.
struct Job {
    folder: PathBuf,
    laid: Laid,
    owner: Owner,
    key: JobKey,
}

impl Job {
    fn own(&self) -> &Path {
        &self.laid.tools.own
    }

    /// The tools that it was given.
    fn given(&self) -> Vec<String> {
        self.laid.tools.given.iter().map(ToString::to_string).collect()
    }

    /// What its log says of them.
    fn words(&self) -> String {
        self.laid.remarks.iter().map(|remark| remark.text.clone() + "\n").collect()
    }

    /// What the job sees of a file, below its own folder or in it.
    fn sees(&self, path: &str) -> Option<String> {
        let lower = self.laid.tools.overlay.as_ref().map(|overlay| overlay.lower.join(path));
        [Some(self.own().join(path)), lower].into_iter().flatten().find_map(|path| fs::read_to_string(path).ok())
    }
}

impl Shed {
    fn new() -> Self {
        let temp = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let limits = Limits { reserve_bytes: 0, ..Limits::default() };
        let store = Store::open(&temp.path().join("store"), limits, None, Arc::new(jiff::Timestamp::now));
        let store = Arc::new(store.unwrap());
        let mut tools = ToolCache::new(store.clone(), temp.path().join("tools"));
        tools.bounds.reserve = 0;
        Self { tools, store, temp }
    }

    fn begin_as(&self, owner: &Owner, layering: Layering) -> Job {
        let id = uuid::Uuid::new_v4().simple().to_string();
        let key = JobKey::of(&owner.forge, &JobId::new("1"), &id);
        let folder = self.temp.path().join("jobs").join(id);
        let view = self.tools.view(owner).unwrap();
        let laying = Laying { view: &view, job: &key, folder: &folder, layering, interrupt: Interrupt::default() };
        let laid = self.tools.lay(&laying).unwrap();
        assert_eq!(JobTools::load(&folder).as_ref(), Some(&laid.tools), "the next agent finds what was laid");
        Job { folder, laid, owner: owner.clone(), key }
    }

    fn begin(&self, owner: &Owner) -> Job {
        self.begin_as(owner, Layering::Overlay)
    }

    fn keep(&self, job: &Job) -> Vec<Remark> {
        let keeping = Keeping {
            owner: &job.owner,
            job: &job.key,
            job_name: "a job",
            folder: &job.folder,
            tools: &job.laid.tools,
            interrupt: Interrupt::default(),
        };
        self.tools.keep(&keeping).unwrap()
    }

    /// Keeps it, and takes the job away.
    fn end(&self, job: Job) -> String {
        let said = self.keep(&job);
        fs::remove_dir_all(&job.folder).unwrap();
        said.into_iter().map(|remark| remark.text + "\n").collect()
    }

    /// A job that installs one tool.
    fn installs(&self, owner: &Owner, tool: &str, content: &str) -> String {
        let job = self.begin(owner);
        install(job.own(), tool, content);
        self.end(job)
    }

    fn names(&self, owner: &Owner) -> Vec<String> {
        self.tools.view(owner).unwrap().tools.keys().map(ToString::to_string).collect()
    }
}

fn name(text: &str) -> ToolName {
    ToolName::try_from(text.to_owned()).unwrap()
}

fn install(root: &Path, tool: &str, content: &str) {
    let folder = root.join(tool);
    fs::create_dir_all(folder.join("bin")).unwrap();
    fs::write(folder.join("bin/run"), content).unwrap();
    fs::set_permissions(folder.join("bin/run"), fs::Permissions::from_mode(0o4755)).unwrap();
    fs::write(root.join(format!("{tool}.complete")), "").unwrap();
}

fn owner(project: &str, trust: Trust) -> Owner {
    Owner { forge: ForgeInstance::new("https://f"), project: ProjectId::new(project), trust }
}

fn member() -> Owner {
    owner("1", Trust::Member)
}

#[test]
fn what_one_job_installs_lies_there_for_the_next_as_it_was() {
    let shed = Shed::new();
    let first = shed.begin(&member());
    assert_eq!(first.laid.tools.given(), 0);
    assert_eq!(first.laid.tools.overlay, None, "with nothing below it, it is a folder like any other");
    install(first.own(), "node/20.1.0/x64", "one");
    let folder = first.own().join("node/20.1.0/x64");
    symlink("bin/run", folder.join("link")).unwrap();
    symlink("/etc/passwd", folder.join("outside")).unwrap();
    let made = fs::metadata(folder.join("bin/run")).unwrap().modified().unwrap();
    let said = shed.end(first);
    assert!(said.contains("Kept the tool node/20.1.0/x64"), "{said}");
    for layering in [Layering::Overlay, Layering::Copy] {
        let next = shed.begin_as(&member(), layering);
        assert_eq!(next.laid.tools.given(), 1);
        let root = next.laid.tools.overlay.as_ref().map_or_else(|| next.own().to_owned(), |o| o.lower.clone());
        let tool = root.join("node/20.1.0/x64");
        assert!(root.join("node/20.1.0/x64.complete").is_file());
        let run = fs::metadata(tool.join("bin/run")).unwrap();
        assert_eq!(fs::read_to_string(tool.join("bin/run")).unwrap(), "one");
        assert_eq!(run.permissions().mode() & 0o7777, 0o777, "any user may run it; it gives nobody another's rights");
        assert_eq!(run.modified().unwrap(), made);
        assert_eq!(fs::read_link(tool.join("link")).unwrap(), Path::new("bin/run"));
        assert_eq!(fs::read_link(tool.join("outside")).unwrap(), Path::new("/etc/passwd"), "kept as a link");
        assert_eq!(shed.end(next), "", "nothing is new");
    }
    let listed = shed.store.list(Some(&member())).unwrap();
    assert_eq!(listed[0].info.what.text(), Some("tools/node/20.1.0/x64"), "its operator finds it");
}

#[test]
fn a_copy_is_the_job_s_own() {
    let shed = Shed::new();
    shed.installs(&member(), "go/1/x64", "one");
    let job = shed.begin_as(&member(), Layering::Copy);
    fs::write(job.own().join("go/1/x64/bin/run"), "changed").unwrap();
    fs::remove_file(job.own().join("go/1/x64.complete")).unwrap();
    assert_eq!(shed.end(job), "");
    for layering in [Layering::Overlay, Layering::Copy] {
        assert_eq!(shed.begin_as(&member(), layering).sees("go/1/x64/bin/run").as_deref(), Some("one"));
    }
}

#[test]
fn nothing_is_kept_of_what_the_job_did_to_tools_that_it_was_given() {
    let shed = Shed::new();
    shed.installs(&member(), "go/1/x64", "one");
    let job = shed.begin(&member());
    // What an overlay has of a folder in which one file was changed, and of one that was made anew.
    install(job.own(), "go/1/x64", "changed");
    assert_eq!(shed.end(job), "");
    assert_eq!(shed.begin(&member()).sees("go/1/x64/bin/run").as_deref(), Some("one"));
}

#[test]
fn only_whole_tools_are_kept_and_nothing_is_followed() {
    let shed = Shed::new();
    let outside = tempfile::tempdir().unwrap();
    install(outside.path(), "loot/1/x64", "loot");
    let job = shed.begin(&member());
    let own = job.own();
    // Not complete, in every way.
    install(own, "half/1/x64", "x");
    fs::remove_file(own.join("half/1/x64.complete")).unwrap();
    install(own, "folder/1/x64", "x");
    fs::remove_file(own.join("folder/1/x64.complete")).unwrap();
    fs::create_dir(own.join("folder/1/x64.complete")).unwrap();
    install(own, "linked/1/x64", "x");
    fs::remove_file(own.join("linked/1/x64.complete")).unwrap();
    symlink("/etc/passwd", own.join("linked/1/x64.complete")).unwrap();
    // Links in place of folders, at each level.
    symlink(outside.path().join("loot"), own.join("tool")).unwrap();
    fs::create_dir(own.join("version")).unwrap();
    symlink(outside.path().join("loot/1"), own.join("version/1")).unwrap();
    fs::create_dir_all(own.join("arch/1")).unwrap();
    symlink(outside.path().join("loot/1/x64"), own.join("arch/1/x64")).unwrap();
    fs::write(own.join("arch/1/x64.complete"), "").unwrap();
    // Names that are none.
    install(own, "na me/1/x64", "x");
    install(own, ".hidden/1/x64", "x");
    install(own, "evil/1/x64.complete", "x");
    fs::write(own.join("file"), "x").unwrap();
    // What no tool has.
    install(own, "pipe/1/x64", "x");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        own.join("pipe/1/x64/bin/pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    let said = shed.end(job);
    assert_eq!(shed.names(&member()), Vec::<String>::new(), "{said}");
    for tool in ["half", "folder", "linked"] {
        assert!(said.contains(&format!("{tool}/1/x64 is not kept: there is no file x64.complete")), "{said}");
    }
    assert!(said.contains("pipe/1/x64 is not kept: `bin/pipe` is neither"), "{said}");
    assert!(!said.contains("loot"), "{said}");
}

#[test]
fn trees_without_an_end_are_given_up() {
    let shed = Shed::new();
    let job = shed.begin(&member());
    install(job.own(), "deep/1/x64", "x");
    let deep = job.own().join("deep/1/x64").join(vec!["d"; 100].join("/"));
    fs::create_dir_all(deep).unwrap();
    install(job.own(), "large/1/x64", "x");
    fs::File::create(job.own().join("large/1/x64/sparse")).unwrap().set_len(found::MAX_BYTES + 1).unwrap();
    let said = shed.end(job);
    assert_eq!(shed.names(&member()), Vec::<String>::new());
    assert_eq!(said.matches("is not kept: it is larger than").count(), 2, "{said}");
}

#[test]
fn tools_flow_from_more_trusted_jobs_to_less_trusted_ones_of_one_project() {
    let shed = Shed::new();
    let all = |project| [Trust::Fork, Trust::Member, Trust::Protected].map(|trust| owner(project, trust));
    for owner in all("1") {
        shed.installs(&owner, &format!("by/{}/x64", owner.trust), "x");
    }
    let seen: BTreeMap<String, Vec<String>> =
        all("1").into_iter().map(|owner| (owner.trust.to_string(), shed.names(&owner))).collect();
    assert_eq!(seen["protected"], ["by/protected/x64"]);
    assert_eq!(seen["member"], ["by/member/x64", "by/protected/x64"]);
    assert_eq!(seen["fork"], ["by/member/x64", "by/protected/x64"], "a fork's are nobody's");
    assert!(all("2").iter().all(|owner| shed.names(owner).is_empty()));
    let elsewhere = Owner { forge: ForgeInstance::new("https://g"), ..member() };
    assert!(shed.names(&elsewhere).is_empty());
    // A project whose jobs keep the same has layers and files of its own.
    shed.installs(&owner("2", Trust::Member), "by/member/x64", "x");
    let inode = |project| {
        let job = shed.begin(&owner(project, Trust::Member));
        let lower = job.laid.tools.overlay.unwrap().lower;
        fs::metadata(lower.join("by/member/x64/bin/run")).unwrap().ino()
    };
    assert_ne!(inode("1"), inode("2"));
}

#[test]
fn the_first_of_two_jobs_with_the_same_tool_is_right() {
    let shed = Shed::new();
    let jobs: Vec<Job> = (0..4).map(|_| shed.begin(&member())).collect();
    for (job, content) in jobs.iter().zip(["one", "one", "two", "two"]) {
        install(job.own(), "go/1/x64", content);
        // Else they differ in time, which is not looked at.
        install(job.own(), "other/1/x64", "x");
    }
    let said: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = jobs
            .iter()
            .map(|job| scope.spawn(|| shed.keep(job).into_iter().map(|remark| remark.text + "\n").collect()))
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let all = said.concat();
    assert_eq!(all.matches("Kept the tool go/1/x64").count(), 1, "{all}");
    assert_eq!(all.matches("go/1/x64 is kept already, with the same content").count(), 1, "{all}");
    assert_eq!(all.matches("go/1/x64 is not kept: another job (a job) installed it first").count(), 2, "{all}");
    assert_eq!(all.matches("other/1/x64 is kept already, with the same content").count(), 3, "{all}");
    let first = said.iter().position(|said| said.contains("Kept the tool go/1/x64")).unwrap();
    let expected = if first < 2 { "one" } else { "two" };
    assert_eq!(shed.begin(&member()).sees("go/1/x64/bin/run").as_deref(), Some(expected));
    assert_eq!(shed.store.list(None).unwrap().len(), 2, "nothing else is kept");
}

#[test]
fn a_layer_stays_as_it_is_while_a_job_has_it_and_goes_after() {
    let shed = Shed::new();
    let lower = |job: &Job| job.laid.tools.overlay.clone().unwrap().lower;
    shed.installs(&member(), "go/1/x64", "one");
    let old = shed.begin(&member());
    let (layer, inside) = (lower(&old), || fs::read_dir(lower(&old)).unwrap().count());
    assert_eq!(lower(&shed.begin(&member())), layer, "the same tools lie there once");
    shed.installs(&member(), "node/1/x64", "one");
    let new = shed.begin(&member());
    assert_ne!(lower(&new), layer);
    assert_eq!(inside(), 1, "what others install does not appear under a running job");
    // What somebody who was killed left.
    fs::create_dir_all(shed.tools.new_folder().join("half")).unwrap();
    fs::create_dir_all(shed.tools.layers().join("nobodys")).unwrap();
    assert_eq!(shed.tools.tidy(&Interrupt::default()).unwrap(), 1);
    assert_eq!(inside(), 1, "a job has it");
    assert!(!shed.tools.new_folder().join("half").exists() && !shed.tools.layers().join("nobodys").exists());

    let newest = lower(&new);
    for job in [old, new] {
        shed.end(job);
    }
    fs::remove_dir_all(shed.temp.path().join("jobs")).unwrap();
    assert_eq!(shed.tools.tidy(&Interrupt::default()).unwrap(), 1);
    assert!(!layer.exists() && newest.exists(), "the next job will have it");

    // When the store keeps them no more, nothing of them stays.
    fs::remove_dir_all(shed.temp.path().join("store/owners")).unwrap();
    let store = Store::open(&shed.temp.path().join("store"), Limits::default(), None, Arc::new(jiff::Timestamp::now));
    let tools = ToolCache::new(Arc::new(store.unwrap()), shed.temp.path().join("tools"));
    assert_eq!(tools.tidy(&Interrupt::default()).unwrap(), 3);
    for folder in [tools.layers(), tools.leases(), tools.new_folder()] {
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "{}", folder.display());
    }
}

#[test]
fn a_damaged_tool_is_not_there_and_is_installed_again() {
    let shed = Shed::new();
    shed.installs(&member(), "go/1/x64", "one");
    shed.installs(&member(), "node/1/x64", &(0..20_000).map(|n| format!("{n:x}")).collect::<String>());
    let packs = files(&shed.temp.path().join("store/owners"));
    let packs = packs.iter().filter(|path| path.iter().any(|part| part == "packs"));
    let largest = packs.max_by_key(|pack| fs::metadata(pack).unwrap().len()).unwrap();
    let mut bytes = fs::read(largest).unwrap();
    bytes[40] ^= 1;
    fs::write(largest, bytes).unwrap();
    let job = shed.begin(&member());
    assert_eq!(job.given(), ["go/1/x64"], "{}", job.words());
    assert!(job.words().contains("the tool node/1/x64 is not there"), "{}", job.words());
    // The next one does not read it again: it would wait for whoever is at it.
    let damaged = shed.tools.view(&member()).unwrap().tools[&name("node/1/x64")].clone();
    let _reading = shed.tools.alone(&shed.tools.tree(&damaged), &Interrupt::default()).unwrap();
    let next = shed.begin(&member());
    assert_eq!(next.given(), ["go/1/x64"]);
    assert!(next.words().contains("node/1/x64 is left out: what is kept of it is damaged"), "{}", next.words());
    assert_eq!(next.laid.tools.overlay.unwrap().lower, job.laid.tools.overlay.clone().unwrap().lower);
    install(job.own(), "node/1/x64", "again");
    let said = shed.end(job);
    assert!(said.contains("Kept the tool node/1/x64"), "{said}");
    assert_eq!(shed.begin(&member()).sees("node/1/x64/bin/run").as_deref(), Some("again"));
}

#[test]
fn tools_that_would_fill_the_disk_are_left_out_and_leave_nothing() {
    let mut shed = Shed::new();
    for tool in ["old/1/x64", "new/1/x64"] {
        let job = shed.begin(&member());
        install(job.own(), tool, tool);
        // Nothing in the store, and a lot when it is unpacked.
        fs::File::create(job.own().join(tool).join("zeros")).unwrap().set_len(8 << 20).unwrap();
        shed.end(job);
    }
    // Whatever was unpacked for the second job.
    fs::remove_dir_all(shed.temp.path().join("tools")).unwrap();
    shed.tools.bounds.most = 12 << 20;
    let job = shed.begin(&member());
    assert_eq!(job.given(), ["new/1/x64"], "the one that was used last: {}", job.words());
    assert!(job.words().contains("the tool old/1/x64 is left out"), "{}", job.words());
    shed.tools.tidy(&Interrupt::default()).unwrap();
    assert_eq!(job.sees("new/1/x64/bin/run").as_deref(), Some("new/1/x64"), "it stays for the next job");

    shed.tools.bounds = room::Bounds { reserve: u64::MAX, ..room::Bounds::default() };
    let job = shed.begin(&member());
    assert_eq!(job.given(), ["new/1/x64"], "it lies there already");
    assert!(job.words().contains("the tool old/1/x64 is not there: there is no room for 9 MiB"), "{}", job.words());
    assert_eq!(fs::read_dir(shed.tools.new_folder()).unwrap().count(), 0);
    let view = shed.tools.view(&member()).unwrap();
    let folder = shed.temp.path().join("copied");
    let laying = Laying {
        view: &view,
        job: &JobKey::new("1"),
        folder: &folder,
        layering: Layering::Copy,
        interrupt: Interrupt::default(),
    };
    assert!(matches!(shed.tools.lay(&laying), Err(ToolError::NoRoom { .. })), "nor is there for copies");
}

#[test]
fn room_is_promised_once() {
    let mut shed = Shed::new();
    let disk = rustix::fs::statvfs(shed.temp.path()).unwrap();
    let free = disk.f_bavail * disk.f_frsize;
    let first = shed.tools.room(shed.temp.path(), free / 4 * 3).unwrap();
    assert!(matches!(shed.tools.room(shed.temp.path(), free / 4 * 3), Err(ToolError::NoRoom { .. })));
    drop(first);
    drop(shed.tools.room(shed.temp.path(), free / 4 * 3).unwrap());
    shed.tools.bounds.reserve = free / 4 * 3;
    assert!(shed.tools.room(shed.temp.path(), free / 4 * 3).is_err());
}

#[test]
fn what_cannot_be_restored_leaves_no_half_of_it() {
    let shed = Shed::new();
    shed.installs(&member(), "go/1/x64", &(0..20_000).map(|n| format!("{n:x}")).collect::<String>());
    let view = shed.tools.view(&member()).unwrap();
    let interrupt = Interrupt::default();
    interrupt.raise();
    let folder = shed.temp.path().join("job");
    let laying =
        Laying { view: &view, job: &JobKey::new("1"), folder: &folder, layering: Layering::Overlay, interrupt };
    assert!(matches!(shed.tools.lay(&laying), Err(ToolError::Interrupted)));
    assert_eq!(fs::read_dir(shed.tools.new_folder()).unwrap().count(), 0);
    assert_eq!(shed.begin(&member()).given(), ["go/1/x64"]);
}

#[test]
fn nobody_waits_for_the_tools_of_another_project_and_what_is_being_made_stays() {
    let shed = Shed::new();
    shed.installs(&member(), "go/1/x64", "one");
    shed.installs(&owner("2", Trust::Member), "go/1/x64", "two");
    let found = shed.tools.view(&member()).unwrap().tools[&name("go/1/x64")].clone();
    // As a job of the first project holds it that unpacks a large tool.
    let held = shed.tools.lock(lock::How::Shared, &Interrupt::default()).unwrap();
    let _unpacking = shed.tools.alone(&shed.tools.tree(&found), &Interrupt::default()).unwrap();
    let half = shed.tools.new_folder().join("half");
    fs::create_dir_all(&half).unwrap();
    let making = lock::hold(&half).unwrap();
    let other = shed.begin(&owner("2", Trust::Member));
    assert_eq!(other.sees("go/1/x64/bin/run").as_deref(), Some("two"));
    drop(held);
    shed.tools.tidy(&Interrupt::default()).unwrap();
    assert!(half.exists());
    drop(making);
    shed.tools.tidy(&Interrupt::default()).unwrap();
    assert!(!half.exists(), "whoever made it is gone");
}

#[test]
fn of_folders_without_an_end_the_first_are_looked_at_and_none_stays_open() {
    let shed = Shed::new();
    let job = shed.begin(&member());
    for tool in 0..keep::MAX_NEW + 20 {
        install(job.own(), &format!("t{tool:03}/1/x64"), "x");
    }
    let root = job.laid.tools.open(&job.folder).unwrap();
    let look = |most, interrupt: &Interrupt| found::look(&root, &Default::default(), most, interrupt);
    let found = look(3, &Interrupt::default()).unwrap();
    assert_eq!(found.complete, ["t000/1/x64", "t001/1/x64", "t002/1/x64"].map(name));
    assert!(found.is_cut);
    let raised = Interrupt::default();
    raised.raise();
    assert!(matches!(look(3, &raised), Err(found::Unfit::Interrupted)));
    let said = shed.end(job);
    assert!(said.contains("Only 100 of the new tools are kept"), "{said}");
    assert_eq!(shed.names(&member()).len(), keep::MAX_NEW);

    // Those without an end are never whole.
    let job = shed.begin(&owner("2", Trust::Member));
    for tool in 0..30 {
        for version in 0..400 {
            fs::create_dir_all(job.own().join(format!("t{tool}/v{version}/x"))).unwrap();
        }
    }
    let said = shed.end(job);
    assert!(said.contains("Not everything in the folder of the tools was looked at"), "{said}");
    assert_eq!(said.lines().count(), keep::MAX_NEW + 1, "{said}");

    let job = shed.begin(&owner("2", Trust::Fork));
    install(job.own(), "a/1/x64", "x");
    fs::create_dir_all(job.own().join("half/1/x64")).unwrap();
    assert_eq!(shed.end(job), "Tools are not kept for later jobs: this one is of a fork\n");
}

#[test]
fn a_copy_ends_when_it_is_to_end() {
    let temp = tempfile::tempdir().unwrap();
    for folder in ["from", "to"] {
        fs::create_dir(temp.path().join(folder)).unwrap();
    }
    fs::write(temp.path().join("from/file"), "x").unwrap();
    let [from, to] = ["from", "to"].map(|folder| tree::open(&temp.path().join(folder)).unwrap());
    let interrupt = Interrupt::default();
    interrupt.raise();
    assert!(matches!(tree::bring(&from, &to, tree::How::Copy, &interrupt), Err(ToolError::Interrupted)));
    tree::bring(&from, &to, tree::How::Copy, &Interrupt::default()).unwrap();
    assert_eq!(fs::read_to_string(temp.path().join("to/file")).unwrap(), "x");
}

#[test]
fn a_path_that_a_mount_cannot_say_gets_copies() {
    let shed = Shed::new();
    shed.installs(&member(), "go/1/x64", "one");
    let view = shed.tools.view(&member()).unwrap();
    let folder = shed.temp.path().join("a,b:c");
    let key = JobKey::new("1");
    let laying = Laying {
        view: &view,
        job: &key,
        folder: &folder,
        layering: Layering::Overlay,
        interrupt: Interrupt::default(),
    };
    let laid = shed.tools.lay(&laying).unwrap();
    assert_eq!(laid.tools.overlay, None);
    assert_eq!(fs::read_to_string(laid.tools.own.join("go/1/x64/bin/run")).unwrap(), "one");
}

/// The files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}
