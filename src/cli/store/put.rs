//! `forgehand store put`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::progress::{self, Extent};
use super::{House, folder, share};
use crate::artifact::retention::Expiry;
use crate::artifact::select::{self, Selection};
use crate::artifact::store::{Files, Keep, Kept, ObjectId, PutOptions, StoreError, What};
use crate::artifact::{Remark, Severity};
use crate::cli::{Verdict, render};
use crate::config::units;
use crate::pipeline::definition::FileSelection;

/// Arguments of `forgehand store put`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  forgehand store put target/release/app --name app-1.2.0\n  \
                  forgehand store put dist --name site --expire '30 days'\n\n\
                  One folder: what is in it is kept. A file, or several paths: each under its own name. Files that the file \
                  system proves to be unchanged since the last time are not read again.")]
pub struct PutArgs {
    /// What to keep.
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// The name it is found by; without one only the id does.
    #[arg(long)]
    name: Option<String>,
    /// For how long it is kept at least: `12h`, `30 days`, `never` for without end.
    #[arg(long, value_name = "D", value_parser = expiry)]
    expire: Option<Lifetime>,
    /// Say something about it: KEY=VALUE.
    #[arg(long, value_name = "K=V")]
    metadata: Vec<String>,
    /// Keep extended attributes, too.
    #[arg(long)]
    xattrs: bool,
    /// Keep user and group, too; only root restores them.
    #[arg(long)]
    owners: bool,
    /// Print a JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug)]
enum Lifetime {
    For(Duration),
    Never,
}

fn expiry(text: &str) -> Result<Lifetime, String> {
    if text.trim() == "never" {
        return Ok(Lifetime::Never);
    }
    crate::parser::gitlab::config::duration::parse(text)
        .or_else(|| units::parse_duration(text).ok())
        .map(Lifetime::For)
        .ok_or_else(|| format!("`{text}` is no time: write it as in `12h`, `30 days`, `1 week`, or `never`"))
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Printed {
    id: ObjectId,
    content_id: ObjectId,
    name: Option<String>,
    entries: u64,
    bytes: u64,
    new_bytes: u64,
    is_up_to_date: bool,
    expires_at: Option<jiff::Timestamp>,
    remarks: Vec<String>,
}

/// What of which folder.
struct Source {
    root: PathBuf,
    selection: Option<Selection>,
}

impl Source {
    /// What is to be said about finding it.
    fn warnings(&self) -> impl Iterator<Item = &Remark> {
        let all = self.selection.iter().flat_map(|selection| &selection.remarks);
        all.filter(|remark| remark.severity == Severity::Warning)
    }
}

pub(super) fn run(args: &PutArgs, house: &House) -> Result<Verdict, StoreError> {
    let metadata = match args.metadata.iter().map(|pair| pair.split_once('=')).collect::<Option<Vec<_>>>() {
        Some(pairs) => pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
        None => return Ok(render::failed(&"`--metadata` is written KEY=VALUE", Verdict::BadInput)),
    };
    let source = match source(&args.paths) {
        Ok(source) => source,
        Err(message) => return Ok(render::failed(&message, Verdict::BadInput)),
    };
    let kept = put(args, house, &source, metadata)?;
    let remarks: Vec<String> =
        source.warnings().chain(&kept.put.remarks).map(|remark| render::plain(&remark.text)).collect();
    for remark in &remarks {
        eprintln!("warning: {remark}");
    }
    if !args.json {
        let verdict = render::result(&format!("{}\n", kept.put.id));
        share::tell(house);
        return Ok(verdict);
    }
    let info = house.store.find(
        &House::owner(),
        &crate::artifact::store::Wanted::Named(args.name.clone().unwrap_or_else(|| kept.put.id.to_string())),
    )?;
    let expires_at = info.and_then(|listed| match listed.info.expires {
        Expiry::At(at) => Some(at),
        Expiry::None | Expiry::Never => None,
    });
    let verdict = render::json(&Printed {
        id: kept.put.id,
        content_id: kept.put.content_id,
        name: args.name.clone(),
        entries: kept.put.entries,
        bytes: kept.put.bytes,
        new_bytes: kept.put.new_bytes,
        is_up_to_date: kept.is_up_to_date,
        expires_at,
        remarks,
    });
    share::tell(house);
    Ok(verdict)
}

fn put(args: &PutArgs, house: &House, source: &Source, metadata: BTreeMap<String, String>) -> Result<Kept, StoreError> {
    let owner = House::owner();
    let root = folder(&source.root)?;
    progress::shown(house, "keeping", Extent::Unknown, |progress| {
        house.store.put_shared(&Keep {
            owner: &owner,
            what: What::Artifact { name: args.name.clone() },
            root: &root,
            files: source.selection.as_ref().map_or(Files::Everything, Files::Selected),
            options: PutOptions { owners: args.owners, xattrs: args.xattrs, whole: false },
            expires: match args.expire {
                None => Expiry::None,
                Some(Lifetime::Never) => Expiry::Never,
                Some(Lifetime::For(time)) => house.store.expiry_after(time),
            },
            producer: None,
            job: None,
            pipeline: None,
            origin: None,
            metadata,
            interrupt: house.interrupt.clone(),
            progress,
        })
    })
}

/// One folder is what is in it; everything else is what it is called, and all must lie in one folder.
fn source(paths: &[PathBuf]) -> Result<Source, String> {
    let missing = |path: &Path, error: std::io::Error| format!("`{}` cannot be read: {error}", path.display());
    if let [one] = paths
        && std::fs::metadata(one).map_err(|error| missing(one, error))?.is_dir()
    {
        return Ok(Source { root: one.clone(), selection: None });
    }
    let mut root: Option<PathBuf> = None;
    let mut names = Vec::new();
    for path in paths {
        let stat = std::fs::symlink_metadata(path).map_err(|error| missing(path, error))?;
        let kind = stat.file_type();
        if !kind.is_file() && !kind.is_dir() && !kind.is_symlink() {
            return Err(format!("`{}` is a socket, a pipe or a device: those cannot be kept", path.display()));
        }
        if kind.is_file() {
            std::fs::File::open(path).map_err(|error| missing(path, error))?;
        }
        let name = path.file_name().ok_or_else(|| {
            format!("`{}` has no name of its own: put it alone, or name the folder above it", path.display())
        })?;
        let name = name.to_str().ok_or_else(|| {
            format!(
                "the name of `{}` is not UTF-8, which only names in a folder may be: name the folder",
                path.display()
            )
        })?;
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let parent = std::fs::canonicalize(parent).map_err(|error| missing(parent, error))?;
        if root.as_ref().is_some_and(|root| *root != parent) {
            return Err("the paths lie in different folders: put each by itself, or the folder above them".to_owned());
        }
        root = Some(parent);
        names.push(escaped(name));
    }
    let root = root.unwrap_or_else(|| PathBuf::from("."));
    let files = FileSelection { paths: names, ..FileSelection::default() };
    let dir = folder(&root).map_err(|error| error.to_string())?;
    let selection =
        select::select(&dir, &root.to_string_lossy(), &files, Vec::new()).map_err(|error| error.to_string())?;
    Ok(Source { root, selection: Some(selection) })
}

/// A name that means itself where patterns are expected.
fn escaped(name: &str) -> String {
    name.chars().flat_map(|c| if "*?[]{}\\".contains(c) { vec!['\\', c] } else { vec![c] }).collect()
}
