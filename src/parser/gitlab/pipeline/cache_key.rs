//! The keys of caches.
//!
//! Source: gitlabhq `lib/gitlab/ci/pipeline/seed/build/cache.rb` and `lib/gitlab/ci/build/cache.rb`.

use sha1::{Digest, Sha1};
use smol_str::SmolStr;

use super::super::config::model::{Cache, CacheKey};
use super::pattern::Pattern;
use crate::parser::document::Files;

/// The last commits that changed files, for keys that are made of those.
pub trait LastCommits {
    /// The hash of the last commit that changed `path`.
    fn last_commit(&self, path: &str) -> Option<String>;
}

/// No history: such keys are made of the content.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoHistory;

impl LastCommits for NoHistory {
    fn last_commit(&self, _: &str) -> Option<String> {
        None
    }
}

/// The key of the cache at `index` among those of a job, variables in it.
pub fn key(cache: &Cache, index: usize, files: &dyn Files, history: &dyn LastCommits) -> String {
    match &cache.key {
        None => "default".to_owned(),
        Some(CacheKey::Text(text)) => text.to_string(),
        Some(CacheKey::Files { files: named, prefix, commits }) => {
            let digest = if *commits { of_commits(named, files, history) } else { of_contents(named, files) };
            let digest = digest.unwrap_or_else(|| "default".to_owned());
            let prefix = prefix.as_ref().map_or_else(|| own_prefix(named, index), SmolStr::to_string);
            if prefix.is_empty() { digest } else { format!("{prefix}-{digest}") }
        }
    }
}

/// What tells keys of files apart that have no prefix.
fn own_prefix(files: &[SmolStr], index: usize) -> String {
    let names: Vec<&str> = files.iter().map(|file| file.split('.').next().unwrap_or_default()).collect();
    format!("{index}_{}", names.join("_"))
}

fn of_contents(named: &[SmolStr], files: &dyn Files) -> Option<String> {
    let mut hashes = Vec::new();
    for path in paths(named, files) {
        if let Ok(Some(bytes)) = files.read(&path) {
            hashes.push(blob(&bytes));
        }
    }
    digest(hashes)
}

fn of_commits(named: &[SmolStr], files: &dyn Files, history: &dyn LastCommits) -> Option<String> {
    let commits: Vec<String> = named.iter().filter_map(|path| history.last_commit(path)).collect();
    digest(commits).or_else(|| of_contents(named, files))
}

fn paths(named: &[SmolStr], files: &dyn Files) -> Vec<String> {
    let mut all = Vec::new();
    for path in named {
        if !path.contains('*') {
            all.push(path.to_string());
            continue;
        }
        let pattern = Pattern::new(path);
        let list = files.list().ok();
        all.extend(list.iter().flat_map(|list| list.iter()).filter(|path| pattern.matches(path)).cloned());
    }
    all
}

/// The hash that git gives a file's content.
fn blob(bytes: &[u8]) -> String {
    let mut hash = Sha1::new();
    hash.update(format!("blob {}\0", bytes.len()));
    hash.update(bytes);
    hex::encode(hash.finalize())
}

fn digest(mut hashes: Vec<String>) -> Option<String> {
    hashes.sort();
    hashes.dedup();
    (!hashes.is_empty()).then(|| hex::encode(Sha1::digest(hashes.join("-"))))
}
