//! What is left in the work tree's repositories when git on the agent's machine has done its part: what the job's own
//! git needs for further fetches, and the record for the next job.
//!
//! From here on the agent runs no git in these repositories before hygiene has made them anew.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags};

use super::error::SourcesError;
use super::folder::Folder;
use super::git::{Git, Place, Reach, WorkTree, config_value};
use super::record::{RecordFolder, RepositoryRecord, TreeRecord, identities, worktree_of};
use super::request::Request;

/// The longest list of refs that is recorded.
const REFS_LIMIT: u64 = 64 << 20;

/// The largest small file of a repository that is read.
const SMALL_FILE_LIMIT: u64 = 4 << 20;

/// More nested repositories than this are not looked for.
const DEPTH_LIMIT: usize = 32;

/// Appends to each repository's configuration what the job's own git needs. The password is not in it: the job has it in
/// the variable `token_variable`.
pub(super) fn configure_for_job(request: &Request<'_>, tree: &Folder, token_variable: Option<&str>) -> io::Result<()> {
    let text = job_config(request, token_variable);
    if text.is_empty() {
        return Ok(());
    }
    let Some(git) = tree.folder(".git")? else { return Ok(()) };
    append(&git, &text)?;
    for module in modules(&git)? {
        if let Some(folder) = git.descend(&module)? {
            append(&folder, &text)?;
        }
    }
    Ok(())
}

fn job_config(request: &Request<'_>, token_variable: Option<&str>) -> String {
    let mut text = String::new();
    let is_name = |name: &&str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if let (Some(credentials), Some(variable)) = (&request.spec.credentials, token_variable.filter(is_name)) {
        let username = super::settings::quoted(&credentials.username);
        // printf is part of the shell: the token is in no process's arguments.
        let helper = format!(
            "!f() {{ test \"$1\" != get || printf 'username=%s\\npassword=%s\\n' {username} \"${variable}\"; }}; f"
        );
        for host in &credentials.hosts {
            text.push_str(&format!("[credential {}]\n\thelper = {}\n", config_value(host), config_value(&helper)));
        }
    }
    for rewrite in &request.spec.url_rewrites {
        let (to, from) = (config_value(&rewrite.to), config_value(&rewrite.from));
        text.push_str(&format!("[url {to}]\n\tinsteadOf = {from}\n"));
    }
    text
}

fn append(git: &Folder, text: &str) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(git, c"config", flags, Mode::empty())?;
    if FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode) != FileType::RegularFile {
        return Err(io::Error::from(rustix::io::Errno::LOOP));
    }
    std::fs::File::from(fd).write_all(text.as_bytes())
}

/// Records what the repositories consist of, so that the next job of the owner can use them. Where that cannot be done
/// there is no record, and the next job starts anew.
pub(super) async fn record(
    git: &Git<'_>,
    request: &Request<'_>,
    tree: &WorkTree,
    records: &RecordFolder,
) -> Result<(), SourcesError> {
    let machine = || SourcesError::machine("recording the work tree");
    records.renew().map_err(machine())?;
    let Some(folder) = tree.folder.folder(".git").map_err(machine())? else { return Ok(()) };
    let mut paths = vec![PathBuf::new()];
    paths.extend(modules(&folder).map_err(machine())?);
    let mut repositories = Vec::new();
    for path in paths {
        let number = repositories.len();
        match record_one(git, request, tree, &folder, path, records, number).await? {
            Some(repository) => repositories.push(repository),
            // Without the work tree's own repository there is nothing to go on with.
            None if number == 0 => return Ok(()),
            None => {}
        }
    }
    let object_format = if request.spec.object_format == "sha256" { "sha256" } else { "sha1" };
    records.put(&TreeRecord::new(object_format, repositories)).map_err(machine())
}

async fn record_one(
    git: &Git<'_>,
    request: &Request<'_>,
    tree: &WorkTree,
    top: &Folder,
    path: PathBuf,
    records: &RecordFolder,
    number: usize,
) -> Result<Option<RepositoryRecord>, SourcesError> {
    let machine = || SourcesError::machine("recording the work tree");
    let is_own = path.as_os_str().is_empty();
    let place = if is_own { Place::WorkTree(tree) } else { Place::Module(tree, &path) };
    let Some(folder) = top.descend(&path).map_err(machine())? else { return Ok(None) };
    let Some(head) = head_of(&folder).map_err(machine())? else { return Ok(None) };
    let (worktree, origin) = match is_own {
        true => (PathBuf::new(), None),
        false => match configuration_of(git, place, &path).await? {
            Some((worktree, origin)) => (worktree, origin),
            None => return Ok(None),
        },
    };
    let listed = git.call("recording the work tree", place, Reach::Nothing);
    let listed = listed.args(["for-each-ref", "--format=%(objectname) %(refname)"]).output(REFS_LIMIT).await?;
    let (true, Ok(refs)) = (listed.0.is_success(), String::from_utf8(listed.1)) else { return Ok(None) };
    let shallow = folder.read("shallow", SMALL_FILE_LIMIT).map_err(machine())?;
    let Some(files) = settled_identities(&folder).await.map_err(machine())? else { return Ok(None) };
    let index_time = records.keep_index(&folder, number).map_err(machine())?;
    Ok(Some(RepositoryRecord {
        is_partial: is_own && super::checkout::is_partial(request),
        path,
        worktree,
        head,
        refs,
        shallow: shallow.map(|text| String::from_utf8_lossy(&text).into_owned()),
        origin,
        files,
        index_time,
    }))
}

/// Files written just now could still be changed without a trace; a moment later they could not.
async fn settled_identities(
    folder: &Folder,
) -> io::Result<Option<std::collections::BTreeMap<PathBuf, super::record::Identity>>> {
    if let Some(files) = identities(folder)? {
        return Ok(Some(files));
    }
    tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    identities(folder)
}

/// The commit that is checked out; `None` where it is not a commit by name.
fn head_of(git: &Folder) -> io::Result<Option<String>> {
    let Some(head) = git.read("HEAD", SMALL_FILE_LIMIT)? else { return Ok(None) };
    let head = String::from_utf8_lossy(&head).trim().to_owned();
    let is_commit = matches!(head.len(), 40 | 64) && head.bytes().all(|byte| byte.is_ascii_hexdigit());
    Ok(is_commit.then_some(head))
}

/// A submodule's folder and remote, if they are what git could have written.
async fn configuration_of(
    git: &Git<'_>,
    place: Place<'_>,
    path: &Path,
) -> Result<Option<(PathBuf, Option<String>)>, SourcesError> {
    let (finished, listed) = git
        .call("recording the work tree", place, Reach::Nothing)
        .args(["config", "--local", "--no-includes", "--list", "-z"])
        .output(SMALL_FILE_LIMIT)
        .await?;
    if !finished.is_success() {
        return Ok(None);
    }
    let listed = String::from_utf8_lossy(&listed).into_owned();
    let value = |name: &str| {
        let mut settings = listed.split('\0').filter_map(|setting| setting.split_once('\n'));
        settings.find(|(key, _)| *key == name).map(|(_, value)| value.to_owned())
    };
    let is_plain = |path: &PathBuf| !path.to_string_lossy().chars().any(char::is_control);
    let worktree = value("core.worktree").and_then(|configured| worktree_of(path, &configured)).filter(is_plain);
    let origin = value("remote.origin.url").filter(|url| !url.chars().any(char::is_control));
    Ok(worktree.filter(|_| is_plain(&path.to_owned())).map(|worktree| (worktree, origin)))
}

/// The repositories of submodules, relative to `git`, outer ones before inner ones.
fn modules(git: &Folder) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    if let Some(folder) = git.folder("modules")? {
        find_modules(&folder, Path::new("modules"), 0, &mut found)?;
    }
    Ok(found)
}

fn find_modules(folder: &Folder, path: &Path, depth: usize, found: &mut Vec<PathBuf>) -> io::Result<()> {
    const ENTRY_LIMIT: usize = 10_000;
    if depth > DEPTH_LIMIT {
        return Ok(());
    }
    for entry in folder.entries(ENTRY_LIMIT)? {
        let Some(inner) = folder.folder(&entry.name)? else { continue };
        let path = path.join(&entry.name);
        let is_repository = inner.stat("HEAD")?.is_some() && inner.stat("objects")?.is_some();
        if !is_repository {
            // Submodules' names may have slashes.
            find_modules(&inner, &path, depth + 1, found)?;
            continue;
        }
        found.push(path.clone());
        if let Some(nested) = inner.folder("modules")? {
            find_modules(&nested, &path.join("modules"), depth + 1, found)?;
        }
    }
    Ok(())
}
