//! What was fetched, kept below the state directory: a file an address, mode 0600 in a folder of mode 0700.
//!
//! The first line says what it is (the address, its tag, the digest of the content), the rest is the content. What does not fit its
//! digest or its address is as if it were not there.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use url::Url;

/// The longest first line, in bytes.
const LONGEST_HEAD: usize = 64 << 10;

/// Something that was fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The content.
    pub bytes: Vec<u8>,
    /// What the server calls this version of it (`ETag`).
    pub tag: Option<String>,
}

/// The folder.
#[derive(Clone, Debug)]
pub struct Cache {
    folder: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Head {
    url: String,
    tag: Option<String>,
    sha256: String,
}

impl Cache {
    /// This folder, made when something is kept.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// What was fetched from `url` last.
    pub fn find(&self, url: &Url) -> Option<Kept> {
        let file = fs::File::open(self.path(url)).ok()?;
        let mut all = Vec::new();
        file.take(super::fetch::BIGGEST + LONGEST_HEAD as u64 + 1).read_to_end(&mut all).ok()?;
        let end = all.iter().take(LONGEST_HEAD).position(|byte| *byte == b'\n')?;
        let head: Head = serde_json::from_slice(all.get(..end)?).ok()?;
        let bytes = all.split_off(end + 1);
        let is_whole = head.url == url.as_str() && head.sha256 == digest(&bytes);
        is_whole.then_some(Kept { bytes, tag: head.tag })
    }

    /// Keeps what was fetched from `url`: all of it or nothing.
    ///
    /// # Errors
    /// The disk does not take it.
    pub fn keep(&self, url: &Url, kept: &Kept) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        let path = self.path(url);
        let partial = path.with_extension(format!("{}.part", uuid::Uuid::new_v4().simple()));
        let head = Head { url: url.to_string(), tag: kept.tag.clone(), sha256: digest(&kept.bytes) };
        let written = write(&partial, &head, &kept.bytes).and_then(|()| fs::rename(&partial, &path));
        if written.is_err() {
            // Nothing may be there to remove: the error is the one that counts.
            let _ = fs::remove_file(&partial);
        }
        written
    }

    fn path(&self, url: &Url) -> PathBuf {
        self.folder.join(digest(url.as_str().as_bytes()))
    }
}

fn write(path: &std::path::Path, head: &Head, bytes: &[u8]) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let mut line = serde_json::to_vec(head)?;
    line.push(b'\n');
    file.write_all(&line)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn digest(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_is_damaged_is_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path().join("state/includes"));
        let url = Url::parse("https://example.com/a.yml").unwrap();
        assert_eq!(cache.find(&url), None);
        let kept = Kept { bytes: b"a: {script: x}\n\n".to_vec(), tag: Some("\"1\"".to_owned()) };
        cache.keep(&url, &kept).unwrap();
        assert_eq!(cache.find(&url), Some(kept.clone()));
        let path = cache.path(&url);
        let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() = b'!';
        fs::write(&path, &bytes).unwrap();
        assert_eq!(cache.find(&url), None, "somebody changed it");
        cache.keep(&url, &kept).unwrap();
        let other = Url::parse("https://example.com/b.yml").unwrap();
        fs::rename(&path, cache.path(&other)).unwrap();
        assert_eq!(cache.find(&other), None, "it is another address's");
    }
}
