//! Against a real S3 server.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::server::refusal;
use super::*;
use crate::config::remote::SecretText;
use crate::pipeline::Secret;

fn open(server: &S3Server, config: &RemoteConfig) -> Remote {
    Remote::open(config, door(), server.runtime.handle().clone()).unwrap()
}

#[test]
fn a_bucket_does_all_that_is_asked_of_a_second_level() {
    let server = S3Server::start();
    let remote = open(&server, &server.config("team/ci"));
    does_all_that_a_second_level_does(&remote);
    assert!(server.bucket().join("team/ci/large/b").exists(), "below the prefix");
    assert_eq!(remote.title(), "s3://ci-bucket/team/ci");
}

#[test]
fn what_lies_outside_of_the_prefix_is_not_seen() {
    let server = S3Server::start();
    let (ours, theirs) = (open(&server, &server.config("ours")), open(&server, &server.config("ours-not")));
    ours.write(&name("a"), b"1", &never()).unwrap();
    theirs.write(&name("b"), b"1", &never()).unwrap();
    assert_eq!(listed(&ours, ""), [("a".to_owned(), 1)]);
    let whole = open(&server, &server.config(""));
    assert_eq!(listed(&whole, ""), [("ours-not/b".to_owned(), 1), ("ours/a".to_owned(), 1)]);
}

#[test]
fn a_listing_has_every_page() {
    let server = S3Server::start();
    let remote = open(&server, &server.config("p"));
    let folder = server.bucket().join("p/x");
    std::fs::create_dir_all(&folder).unwrap();
    for number in 0..2345 {
        std::fs::write(folder.join(format!("{number:04}")), "1").unwrap();
    }
    std::fs::write(folder.join("not one of ours"), "1").unwrap();
    let found = listed(&remote, "x/");
    assert_eq!(found.len(), 2345);
    assert_eq!(found[2344], ("x/2344".to_owned(), 1));
    assert!(server.seen().iter().filter(|seen| seen.target.contains("list-type=2")).count() >= 3);
}

#[test]
fn wrong_credentials_are_told_as_such() {
    let server = S3Server::start();
    let mut config = server.config("p");
    config.secret_access_key = Some(SecretText(Secret::new("wrong-secret")));
    let remote = open(&server, &config);
    for error in [
        remote.read(&name("a"), 9, &never()).unwrap_err(),
        remote.write(&name("a"), b"1", &never()).unwrap_err(),
        remote.look(&never()).unwrap_err(),
    ] {
        let text = said(&error);
        assert!(text.contains("SignatureDoesNotMatch") && text.contains("check the credentials"), "{text}");
        assert!(text.contains("s3://ci-bucket/p") && !text.contains("wrong-secret"), "{text}");
    }
    config.access_key_id = Some("AKIAUNKNOWN".to_owned());
    let text = said(&open(&server, &config).look(&never()).unwrap_err());
    assert!(text.contains("check the credentials"), "{text}");
}

#[test]
fn a_bucket_that_is_not_there_is_no_empty_one() {
    let server = S3Server::start();
    let mut config = server.config("p");
    config.url = "s3://gone-bucket/p".parse().unwrap();
    let remote = open(&server, &config);
    let text = said(&remote.look(&never()).unwrap_err());
    assert!(text.contains("NoSuchBucket"), "{text}");
    server.intercept(|_| Some(refusal(404, "NoSuchBucket")));
    let text = said(&remote.read(&name("a"), 9, &never()).unwrap_err());
    assert!(text.contains("NoSuchBucket") && text.contains("check the bucket's name"), "{text}");
}

#[test]
fn the_secret_may_stand_in_a_file() {
    let server = S3Server::start();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("secret");
    std::fs::write(&file, format!("{SECRET_KEY}\n")).unwrap();
    let config =
        RemoteConfig { secret_access_key: None, secret_access_key_file: Some(file.clone()), ..server.config("p") };
    open(&server, &config).look(&never()).unwrap();
    std::fs::remove_file(&file).unwrap();
    let error = Remote::open(&config, door(), server.runtime.handle().clone()).unwrap_err();
    assert!(said(&error).contains("secret_access_key_file"), "{error}");
}

#[test]
fn an_upload_that_fails_half_way_leaves_nothing_behind() {
    let server = S3Server::start();
    let remote = open(&server, &server.config("p"));
    server.intercept(|seen| seen.target.contains("partNumber=2").then(|| refusal(403, "AccessDenied")));
    let from = file_of(20 << 20);
    let text = said(&remote.upload(&name("a"), from.path(), &never()).unwrap_err());
    assert!(text.contains("AccessDenied"), "{text}");
    let last = server.seen().pop().unwrap();
    assert!(last.method == "DELETE" && last.target.contains("uploadId="), "{last:?}");
    assert!(listed(&remote, "").is_empty());
}

#[test]
fn an_upload_that_is_interrupted_is_taken_back() {
    let server = S3Server::start();
    let remote = open(&server, &server.config("p"));
    let interrupt = never();
    let raised = interrupt.clone();
    server.intercept(move |seen| {
        if seen.target.contains("partNumber=2") {
            raised.raise();
            return Some(refusal(503, "SlowDown"));
        }
        None
    });
    let from = file_of(20 << 20);
    let error = remote.upload(&name("a"), from.path(), &interrupt).unwrap_err();
    assert!(matches!(error, LevelError::Interrupted), "{error:?}");
    assert!(server.seen().iter().any(|seen| seen.method == "DELETE" && seen.target.contains("uploadId=")));
}

#[test]
fn a_busy_server_is_asked_again() {
    let server = S3Server::start();
    let remote = open(&server, &server.config("p"));
    let times = AtomicUsize::new(0);
    server.intercept(move |_| (times.fetch_add(1, Ordering::Relaxed) % 3 != 2).then(|| refusal(503, "SlowDown")));
    remote.write(&name("a"), b"1", &never()).unwrap();
    assert_eq!(remote.read(&name("a"), 9, &never()).unwrap().as_deref(), Some(&b"1"[..]));
    assert_eq!(listed(&remote, "").len(), 1);
}

#[test]
fn encryption_is_asked_for_as_configured() {
    use crate::config::remote::RemoteEncryption as E;
    let server = S3Server::start();
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("key");
    std::fs::write(&key, "00".repeat(32)).unwrap();
    let written = |config: RemoteConfig| {
        let before = server.seen().len();
        open(&server, &config).write(&name("a"), b"1", &never()).unwrap();
        let seen = server.seen()[before].headers.clone();
        move |header: &str| seen.get(header).map(|value| value.to_str().unwrap().to_owned())
    };
    let base = || server.config("p");
    assert_eq!(written(base())("x-amz-server-side-encryption"), None);
    let header = written(RemoteConfig { encryption: E::Aes256, ..base() });
    assert_eq!(header("x-amz-server-side-encryption").as_deref(), Some("AES256"));
    let header = written(RemoteConfig { encryption: E::Kms, kms_key_id: Some("alias/ci".to_owned()), ..base() });
    assert_eq!(header("x-amz-server-side-encryption").as_deref(), Some("aws:kms"));
    assert_eq!(header("x-amz-server-side-encryption-aws-kms-key-id").as_deref(), Some("alias/ci"));
    let header = written(RemoteConfig { encryption: E::Customer, customer_key_file: Some(key), ..base() });
    assert_eq!(header("x-amz-server-side-encryption-customer-algorithm").as_deref(), Some("AES256"));
    // printf '%064d' 0 | xxd -r -p | openssl base64
    let zeros = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    assert_eq!(header("x-amz-server-side-encryption-customer-key").as_deref(), Some(zeros));
}

#[test]
fn memory_does_not_grow_with_the_file() {
    let server = S3Server::start();
    let remote = open(&server, &server.config("p"));
    let from = file_of(33 << 20);
    remote.upload(&name("a"), from.path(), &never()).unwrap();
    let seen = server.seen();
    let largest = seen.iter().filter_map(|seen| seen.headers.get("content-length")?.to_str().ok()?.parse().ok());
    assert_eq!(largest.max(), Some(8 << 20), "no request has more than a piece");
}
