//! Against a real S3 server in this process, and against servers that no one would want to meet.

mod hostile;
mod local;
mod s3;
pub(crate) mod server;

pub(crate) use server::{ACCESS_KEY, S3Server, SECRET_KEY};

use std::io::{Seek, Write};

use super::*;
use crate::config::remote::RemoteConfig;
use crate::outbound::OutboundSettings;

fn door() -> Outbound {
    Outbound::new(OutboundSettings::default()).unwrap()
}

fn name(text: &str) -> BlobName {
    BlobName::new(text).unwrap()
}

fn never() -> Interrupt {
    Interrupt::default()
}

/// A file of so many bytes, no two pieces of it alike.
fn file_of(bytes: usize) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&content_of(bytes)).unwrap();
    file.rewind().unwrap();
    file
}

fn content_of(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let mut content = Vec::with_capacity(bytes + 4);
    while content.len() < bytes {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        content.extend_from_slice(&state.to_be_bytes());
    }
    content.truncate(bytes);
    content
}

fn said(error: &dyn std::error::Error) -> String {
    crate::artifact::in_full(error)
}

/// What every kind of store does with every call.
fn does_all_that_a_second_level_does(remote: &Remote) {
    let (small, large) = (name("small/a"), name("large/b"));
    assert_eq!(remote.read(&small, 100, &never()).unwrap(), None);
    assert_eq!(remote.download(&small, &mut tempfile::tempfile().unwrap(), 100, &never()).unwrap(), None);
    remote.remove(&small, &never()).unwrap();

    remote.write(&small, b"one", &never()).unwrap();
    remote.write(&small, b"two", &never()).unwrap();
    assert_eq!(remote.read(&small, 3, &never()).unwrap().as_deref(), Some(&b"two"[..]));
    let error = remote.read(&small, 2, &never()).unwrap_err();
    assert!(matches!(&error, LevelError::Wrong { what, .. } if what.contains("more than the 2 bytes")), "{error:?}");

    let bytes = 20 * 1024 * 1024 + 7;
    let from = file_of(bytes);
    remote.upload(&large, from.path(), &never()).unwrap();
    let mut into = tempfile::NamedTempFile::new().unwrap();
    let got = remote.download(&large, into.as_file_mut(), bytes as u64, &never()).unwrap();
    assert_eq!(got, Some(bytes as u64));
    assert!(std::fs::read(into.path()).unwrap() == content_of(bytes), "the content is another");
    let error = remote.download(&large, into.as_file_mut(), bytes as u64 - 1, &never()).unwrap_err();
    assert!(matches!(error, LevelError::Wrong { .. }), "{error:?}");

    let empty = file_of(0);
    remote.upload(&name("empty"), empty.path(), &never()).unwrap();
    assert_eq!(remote.read(&name("empty"), 0, &never()).unwrap(), Some(Vec::new()));

    assert_eq!(listed(remote, "small"), [("small/a".to_owned(), 3)]);
    assert_eq!(listed(remote, "la"), [("large/b".to_owned(), bytes as u64)], "also in the middle of a part");
    assert_eq!(listed(remote, "small/b"), []);
    let all: Vec<String> = listed(remote, "").into_iter().map(|(name, _)| name).collect();
    assert_eq!(all, ["empty", "large/b", "small/a"]);

    remote.remove(&small, &never()).unwrap();
    assert_eq!(remote.read(&small, 100, &never()).unwrap(), None);
    let raised = never();
    raised.raise();
    assert!(matches!(remote.upload(&large, from.path(), &raised), Err(LevelError::Interrupted)));
    remote.look(&never()).unwrap();
}

fn listed(remote: &Remote, prefix: &str) -> Vec<(String, u64)> {
    let mut found = Vec::new();
    remote.list(prefix, &mut |blob| found.push((blob.name.as_str().to_owned(), blob.bytes)), &never()).unwrap();
    found.sort();
    found
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn at(url: &str) -> RemoteConfig {
    RemoteConfig::at(url.parse().unwrap())
}
