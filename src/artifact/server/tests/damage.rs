//! What lies in the store and is not what it was.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::Dir;

use super::*;
use crate::artifact::Interrupt;
use crate::artifact::cache::{CacheStore as _, CacheStyle, LocalCache, SaveRequest};
use crate::artifact::select;
use crate::pipeline::definition::FileSelection;

fn files_below(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.path().is_dir() { files_below(&entry.path(), found) } else { found.push(entry.path()) }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_byte_that_is_not_proved_is_served() {
    let place = Place::new().await;
    let job = place.job("a");
    job.save("old-1", "v", b"older, and sound").await;
    place.pass(10);
    let bytes = noise(3, 1 << 20);
    job.save("old-2", "v", &bytes).await;
    let mut files = Vec::new();
    files_below(&place.temp.path().join("store"), &mut files);
    files.retain(|path| path.iter().any(|name| name == "packs"));
    let largest = files.into_iter().max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    let pack = fs::File::options().write(true).open(largest).unwrap();
    pack.write_all_at(&[0x55; 64], 500_000).unwrap();
    let found = job.find(&["old-"], "v").await.unwrap();
    assert_eq!(found["cacheKey"], "old-2");
    let answer = job.http.get(found["archiveLocation"].as_str().unwrap()).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);
    // From now on it counts as not there: the next one is found, and it can be written again.
    assert_eq!(job.content(&["old-"], "v").await.unwrap(), b"older, and sound");
    job.save("old-2", "v", &bytes).await;
    assert!(job.content(&["old-2"], "v").await.unwrap() == bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_caches_are_no_entries_whatever_they_are_called() {
    let place = Place::new().await;
    let job = place.job("a");
    let tree = tempfile::tempdir().unwrap();
    fs::write(tree.path().join("00000000"), "of another kind").unwrap();
    let root = Dir::open_ambient_dir(tree.path(), ambient_authority()).unwrap();
    let files = FileSelection { paths: vec!["**".into()], ..FileSelection::default() };
    let selection = select::select(&root, "/p", &files, Vec::new()).unwrap();
    let owner = member();
    let request = SaveRequest {
        owner: &owner,
        key: b"actions refs/heads/main v k",
        job: &JobKey::of(&owner.forge, &JobId::new("x"), "1"),
        style: CacheStyle::default(),
        interrupt: Interrupt::default(),
    };
    LocalCache::new(Arc::clone(&place.store)).save(&request, &root, &selection).unwrap();
    assert_eq!(job.find(&["k"], "v").await, None);
    job.save("k2", "v", b"x").await;
    assert_eq!(job.content(&["k"], "v").await.unwrap(), b"x");
}
