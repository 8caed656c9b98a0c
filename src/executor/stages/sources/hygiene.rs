//! Makes a work tree that a job has used fit for the next one, before any git sees it.
//!
//! The repository: only what the [record](super::record) knows stays; configuration, `HEAD`, refs, shallow boundary and
//! index are written anew. So there are no hooks, alternates, attributes, locks or includes of a job's.
//! The files: nested `.git` of any kind goes (submodules that we know get theirs back), and everybody may write
//! everything again, whatever user the last job was.
//!
//! Blocking: call from `spawn_blocking`.

use std::ffi::OsStr;
use std::io;
use std::path::{Component, Path};

use rustix::fs::{FileType, Timespec, Timestamps};

use super::folder::Folder;
use super::record::{Identity, KEPT, RecordFolder, RepositoryRecord, TreeRecord, is_derived};
use super::remove::clear_but;
use super::skeleton::{self, NOWHERE, RepositoryConfig};

/// A work tree deeper than this is not cleaned but removed.
const DEPTH_LIMIT: usize = 64;

/// More entries in one folder than any repository has.
const ENTRY_LIMIT: usize = 1_000_000;

/// With more packs than this the repository is fetched anew, as one pack.
const PACK_LIMIT: usize = 60;

/// What is left of a repository after hygiene.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// Objects and refs of the earlier job: only what is new is fetched.
    Everything,
    /// The files alone.
    FilesOnly,
}

/// Makes the work tree `project` fit for use, from `record`, whose copies lie in `kept`. The remote will be `origin`.
///
/// # Errors
/// It cannot be made fit (too deep, foreign files, not a repository): remove it and start anew.
pub(super) fn restore(project: &Folder, record: &TreeRecord, kept: &RecordFolder, origin: &str) -> io::Result<Left> {
    let git = project.folder(".git")?.ok_or_else(|| io::Error::other("no repository is left"))?;
    open_entry(project, OsStr::new(".git"))?;
    open_files(project, 0)?;
    open_folders(&git, 0)?;
    let mut left = Left::FilesOnly;
    let mut modules = Vec::new();
    for (number, repository) in record.repositories.iter().enumerate() {
        if repository.path.as_os_str().is_empty() {
            left = restore_own(&git, record, repository, origin)?;
            restore_index(&git, repository, kept, number)?;
        } else {
            modules.push((number, repository));
        }
    }
    keep_known_modules(&git, Path::new(""), &modules)?;
    for (number, repository) in modules {
        restore_module(project, &git, record, repository, kept, number)?;
    }
    Ok(left)
}

fn restore_own(git: &Folder, record: &TreeRecord, own: &RepositoryRecord, origin: &str) -> io::Result<Left> {
    clear_but(git, &["objects", "lfs", "modules"])?;
    let config = RepositoryConfig {
        object_format: &record.object_format,
        is_bare: false,
        origin: Some(origin),
        worktree: None,
        is_partial: own.is_partial,
        more: "",
    };
    if is_untouched(git, own)? {
        skeleton::write(git, &config, &format!("{}\n", own.head))?;
        restore_refs(git, own)?;
        return Ok(Left::Everything);
    }
    git.unlink("objects")?;
    skeleton::write(git, &RepositoryConfig { is_partial: false, ..config }, NOWHERE)?;
    Ok(Left::FilesOnly)
}

/// A submodule's repository stays where it and the submodule's folder are as we left them; otherwise it goes.
fn restore_module(
    project: &Folder,
    git: &Folder,
    record: &TreeRecord,
    module: &RepositoryRecord,
    kept: &RecordFolder,
    number: usize,
) -> io::Result<()> {
    let (Some(parent), Some(name)) = (module.path.parent(), module.path.file_name()) else { return Ok(()) };
    let Some(parent) = git.descend(parent)? else { return Ok(()) };
    let Some(folder) = parent.folder(name)? else { return Ok(()) };
    let worktree = project.descend(&module.worktree)?;
    clear_but(&folder, &["objects", "lfs", "modules"])?;
    let (Some(worktree), true) = (worktree, is_untouched(&folder, module)?) else {
        drop(folder);
        return parent.unlink(name);
    };
    let up = |path: &Path| "../".repeat(path.components().count());
    let config = RepositoryConfig {
        object_format: &record.object_format,
        is_bare: false,
        origin: module.origin.as_deref(),
        worktree: Some(&format!("{}../{}", up(&module.path), module.worktree.display())),
        is_partial: module.is_partial,
        more: "",
    };
    skeleton::write(&folder, &config, &format!("{}\n", module.head))?;
    restore_refs(&folder, module)?;
    restore_index(&folder, module, kept, number)?;
    let link = format!("gitdir: {}.git/{}\n", up(&module.worktree), module.path.display());
    worktree.write(".git", link.as_bytes())
}

fn restore_refs(git: &Folder, record: &RepositoryRecord) -> io::Result<()> {
    git.write("packed-refs", record.refs.as_bytes())?;
    match &record.shallow {
        Some(boundary) => git.write("shallow", boundary.as_bytes()),
        None => Ok(()),
    }
}

/// Puts our copy of the index back, with its time: a file changed after it was written is then seen as changed.
fn restore_index(git: &Folder, record: &RepositoryRecord, kept: &RecordFolder, number: usize) -> io::Result<()> {
    let Some((seconds, nanoseconds)) = record.index_time else { return Ok(()) };
    let Ok(mut copy) = std::fs::File::open(kept.index(number)) else { return Ok(()) };
    io::copy(&mut copy, &mut git.create("index")?)?;
    let time = Timespec { tv_sec: seconds, tv_nsec: i64::from(nanoseconds) };
    git.set_times("index", &Timestamps { last_access: time, last_modification: time })
}

/// Removes all files of objects but the recorded ones, and says whether those are all there, untouched.
fn is_untouched(git: &Folder, record: &RepositoryRecord) -> io::Result<bool> {
    let mut found = 0;
    for part in KEPT {
        if let Some(folder) = git.folder(part)? {
            found += keep_recorded(&folder, Path::new(part), record)?;
        } else {
            git.unlink(part)?;
        }
    }
    let packs = record.files.keys().filter(|path| path.extension() == Some(OsStr::new("pack"))).count();
    Ok(found == record.files.len() && packs <= PACK_LIMIT)
}

fn keep_recorded(folder: &Folder, path: &Path, record: &RepositoryRecord) -> io::Result<usize> {
    let mut found = 0;
    for entry in folder.entries(ENTRY_LIMIT)? {
        let path = path.join(&entry.name);
        let inner = if entry.kind == FileType::Directory { folder.folder(&entry.name)? } else { None };
        match inner {
            Some(inner) if !is_derived(&path) && holds_recorded(&path, record) => {
                found += keep_recorded(&inner, &path, record)?;
            }
            Some(_) => folder.unlink(&entry.name)?,
            None => {
                let stat = folder.stat(&entry.name)?;
                let known = record.files.get(&path);
                if known.is_some() && known.copied() == stat.as_ref().and_then(Identity::of) {
                    found += 1;
                } else {
                    folder.unlink(&entry.name)?;
                }
            }
        }
    }
    Ok(found)
}

fn holds_recorded(folder: &Path, record: &RepositoryRecord) -> bool {
    record.files.range(folder.to_owned()..).next().is_some_and(|(path, _)| path.starts_with(folder))
}

/// Removes every folder below `modules` that is neither a recorded repository nor on the way to one.
fn keep_known_modules(git: &Folder, path: &Path, modules: &[(usize, &RepositoryRecord)]) -> io::Result<()> {
    let Some(folder) = git.folder("modules")? else { return git.unlink("modules") };
    keep_known_below(&folder, &path.join("modules"), modules)
}

fn keep_known_below(folder: &Folder, path: &Path, modules: &[(usize, &RepositoryRecord)]) -> io::Result<()> {
    for entry in folder.entries(ENTRY_LIMIT)? {
        let path = path.join(&entry.name);
        let leads_on = modules.iter().any(|(_, module)| module.path.starts_with(&path));
        let inner = if entry.kind == FileType::Directory && leads_on { folder.folder(&entry.name)? } else { None };
        match inner {
            Some(inner) if modules.iter().any(|(_, module)| module.path == path) => {
                keep_known_modules(&inner, &path, modules)?;
            }
            // Submodules' names may have slashes.
            Some(inner) => keep_known_below(&inner, &path, modules)?,
            None => folder.unlink(&entry.name)?,
        }
    }
    Ok(())
}

/// Goes through the files of the work tree: nested repositories go, and everybody may write everything.
fn open_files(folder: &Folder, depth: usize) -> io::Result<()> {
    for entry in folder.entries(ENTRY_LIMIT)? {
        let is_git = entry.name == ".git";
        if is_git && depth == 0 {
            continue;
        }
        if is_git {
            folder.unlink(&entry.name)?;
            continue;
        }
        open_entry(folder, &entry.name)?;
        if let (FileType::Directory, Some(inner)) = (entry.kind, enter(folder, &entry.name, depth)?) {
            open_files(&inner, depth + 1)?;
        }
    }
    Ok(())
}

/// Only the folders of the repository: a changed mode would give its packs another identity.
fn open_folders(folder: &Folder, depth: usize) -> io::Result<()> {
    for entry in folder.entries(ENTRY_LIMIT)? {
        if entry.kind == FileType::Directory {
            open_entry(folder, &entry.name)?;
            if let Some(inner) = enter(folder, &entry.name, depth)? {
                open_folders(&inner, depth + 1)?;
            }
        }
    }
    Ok(())
}

fn open_entry(folder: &Folder, name: &OsStr) -> io::Result<()> {
    let Some(stat) = folder.stat(name)? else { return Ok(()) };
    match folder.open_to_all(name, &stat) {
        // Not our file: git replaces it where it has to, since the folder is ours.
        Err(error)
            if error.kind() == io::ErrorKind::PermissionDenied
                && FileType::from_raw_mode(stat.st_mode) != FileType::Directory =>
        {
            Ok(())
        }
        other => other,
    }
}

fn enter(folder: &Folder, name: &OsStr, depth: usize) -> io::Result<Option<Folder>> {
    if depth >= DEPTH_LIMIT {
        return Err(io::Error::other("the work tree's folders lie too deep in each other"));
    }
    let inner = folder.folder(name)?;
    if let Some(inner) = &inner
        && inner.own_stat()?.st_dev != folder.own_stat()?.st_dev
    {
        return Err(io::Error::other("another file system is mounted in the work tree"));
    }
    Ok(inner)
}

/// Opens the folder of the work tree below the workspace, a real one at each part of its way; others are replaced.
pub(super) fn open_project(workspace: &Folder, relative: &Path) -> io::Result<Folder> {
    let mut here = workspace.again()?;
    for part in relative.components() {
        let Component::Normal(name) = part else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the work tree is not below the workspace"));
        };
        here = here.folder_or_new(name)?;
    }
    Ok(here)
}
