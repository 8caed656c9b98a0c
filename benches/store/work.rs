//! What the processes do that are measured.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::num::NonZeroUsize;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cap_std::fs::Dir;
use forgehand::artifact::Interrupt;
use forgehand::artifact::retention::{Cycle, Expiry, Policies};
use forgehand::artifact::store::{
    Collection, Files, Keep, Limits, Progress, PutOptions, Store, Verifying, Wanted, What,
};
use forgehand::pipeline::{ForgeInstance, Owner, ProjectId, Trust};

use crate::numbers::Numbers;
use crate::{Failure, data, floors};

/// Does what the arguments say, and prints what it took.
pub fn run(arguments: &[String]) -> Result<(), Failure> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let numbers = match words.as_slice() {
        ["make", kind, tree] => {
            let kind = data::KINDS.into_iter().find(|one| one.name() == *kind).ok_or("no such kind")?;
            kind.make(Path::new(tree))?;
            Numbers::default()
        }
        ["floors", tree, scratch] => floors::measure(Path::new(tree), Path::new(scratch))?,
        ["new-chunks", tree, known] => floors::new_chunks(Path::new(tree), Path::new(known))?,
        ["flip", tree] => {
            flip(Path::new(tree))?;
            Numbers::default()
        }
        ["touch", tree] => {
            touch(Path::new(tree))?;
            Numbers::default()
        }
        ["put", store, tree, name] => measured(|numbers| put(Path::new(store), Path::new(tree), name, numbers))?,
        ["get", store, name, out] => measured(|_| get(Path::new(store), name, Path::new(out)))?,
        ["verify", store] => measured(|_| verify(Path::new(store)))?,
        ["gc", store, hours] => {
            let hours = hours.parse()?;
            measured(|numbers| collect(Path::new(store), hours, numbers))?
        }
        _ => return Err("no such work".into()),
    };
    numbers.print();
    Ok(())
}

/// Time and memory of some work.
fn measured(work: impl FnOnce(&mut Numbers) -> Result<(), Failure>) -> Result<Numbers, Failure> {
    // The highest use of memory is counted from here. (proc(5), `clear_refs`.)
    fs::write("/proc/self/clear_refs", "5")?;
    let mut numbers = Numbers::default();
    let start = Instant::now();
    work(&mut numbers)?;
    numbers.set("time", start.elapsed().as_secs_f64());
    let status = fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    let peak: f64 = peak.trim().trim_end_matches(" kB").parse()?;
    numbers.set("peak", peak * 1024.0);
    Ok(numbers)
}

fn owner() -> Owner {
    Owner { forge: ForgeInstance::new("bench"), project: ProjectId::new("bench"), trust: Trust::Protected }
}

/// The store, as it will be in so many hours.
fn open(root: &Path, hours: i64) -> Result<Store, Failure> {
    let later = jiff::SignedDuration::from_hours(hours);
    let clock = move || jiff::Timestamp::now().checked_add(later).unwrap_or(jiff::Timestamp::MAX);
    Ok(Store::open(root, Limits::default(), None, Arc::new(clock))?)
}

fn folder(path: &Path) -> Result<Dir, Failure> {
    Ok(Dir::open_ambient_dir(path, cap_std::ambient_authority())?)
}

fn put(root: &Path, tree: &Path, name: &str, numbers: &mut Numbers) -> Result<(), Failure> {
    let store = open(root, 0)?;
    // What is called `old` may go now, and the other in some hours.
    let lasts = jiff::SignedDuration::from_hours(if name == "old" { 0 } else { 3 });
    let expires = Expiry::At(jiff::Timestamp::now().checked_add(lasts)?);
    let kept = store.put(&Keep {
        owner: &owner(),
        what: What::Artifact { name: Some(name.to_owned()) },
        root: &folder(tree)?,
        files: Files::Everything,
        options: PutOptions::default(),
        expires,
        producer: None,
        job: None,
        pipeline: None,
        origin: None,
        metadata: BTreeMap::new(),
        interrupt: Interrupt::default(),
        progress: &Progress::default(),
    })?;
    numbers.set("new_bytes", kept.put.new_bytes as f64);
    Ok(())
}

fn get(root: &Path, name: &str, out: &Path) -> Result<(), Failure> {
    let store = open(root, 0)?;
    let found = store.find(&owner(), &Wanted::Named(name.to_owned()))?.ok_or("it is not there")?;
    fs::create_dir(out)?;
    store.restore(&owner(), &found.info.content_hash, &folder(out)?, &Progress::default(), &Interrupt::default())?;
    Ok(())
}

fn verify(root: &Path) -> Result<(), Failure> {
    let verified = open(root, 0)?.verify(&Verifying::default(), &Progress::default())?;
    if verified.is_sound() { Ok(()) } else { Err("the store is damaged".into()) }
}

fn collect(root: &Path, hours: i64, numbers: &mut Numbers) -> Result<(), Failure> {
    let store = open(root, hours)?;
    let policies = Policies::new(Vec::new())?;
    let collected = store.collect(&Collection {
        policies: &policies,
        cycle: Cycle { max_deletions: NonZeroUsize::MAX, grace: Duration::ZERO },
        is_dry_run: false,
        elapsed: None,
        interrupt: Interrupt::default(),
    })?;
    let collected = collected.ok_or("somebody else collects")?;
    numbers.set("deleted", collected.deleted as f64);
    numbers.set("freed", collected.freed as f64);
    Ok(())
}

/// Changes one byte in the middle of the file in the middle.
fn flip(tree: &Path) -> Result<(), Failure> {
    let mut files: Vec<PathBuf> = Vec::new();
    floors::each_file(tree, &mut |path| {
        files.push(path.to_owned());
        Ok(())
    })?;
    let path = files.get(files.len() / 2).ok_or("an empty tree")?;
    let file = File::options().read(true).write(true).open(path)?;
    let at = file.metadata()?.len() / 2;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at)?;
    file.write_all_at(&[byte[0] ^ 1], at)?;
    Ok(())
}

/// Changes the status of each file and nothing else, so that nobody can know that its content is as it was.
fn touch(tree: &Path) -> Result<(), Failure> {
    floors::each_file(tree, &mut |path| {
        let mode = fs::metadata(path)?.permissions().mode();
        Ok(fs::set_permissions(path, fs::Permissions::from_mode(mode))?)
    })
}
