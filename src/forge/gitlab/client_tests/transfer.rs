//! Artifacts, there and back.

use std::io::Write;

use super::*;
use crate::forge::{ArchiveFile, ArchiveWriter, begin_archive};

mod growing;

fn artifact(expire_in: &str) -> ArtifactSpec {
    ArtifactSpec {
        name: "a".into(),
        files: FileSelection::default(),
        when: When::Always,
        kind: "archive".into(),
        format: ArtifactFormat::Zip,
        format_on_wire: "zip".into(),
        expire_in: expire_in.into(),
    }
}

/// An archive and the folder it lies in.
struct Packed {
    _folder: tempfile::TempDir,
    file: ArchiveFile,
}

fn begun() -> (ArchiveWriter, Packed) {
    let folder = tempfile::tempdir().unwrap();
    let (writer, file) = begin_archive(&folder.path().join("archive")).unwrap();
    (writer, Packed { _folder: folder, file })
}

fn packed() -> Packed {
    let (mut writer, packed) = begun();
    writer.write_all(b"the archive's bytes").unwrap();
    writer.finish().unwrap();
    packed
}

#[tokio::test]
async fn an_upload_is_one_part_with_a_known_length() {
    let (server, reporter) = with_job(|_, _| Reply::new(201, &[], "")).await;
    reporter.upload_artifact(&artifact("1 week"), "a.zip", &packed().file).await.unwrap();
    let request = &server.seen()[1];
    let query = "artifact_format=zip&artifact_type=archive&expire_in=1+week";
    assert_eq!(request.target, format!("/api/v4/jobs/987654/artifacts?{query}"));
    assert!(request.header("content-length").is_some());
    let body = String::from_utf8_lossy(&request.body);
    assert!(body.contains("name=\"file\"; filename=\"a.zip\"") && body.contains("the archive's bytes"), "{body}");
    assert_eq!(body.matches("Content-Disposition").count(), 1);
    reporter.upload_artifact(&artifact(""), "a.zip", &packed().file).await.unwrap();
    assert!(!server.seen()[2].target.contains("expire_in"));
}

#[tokio::test]
async fn an_upload_follows_to_another_host_and_keeps_its_path() {
    let other = TestServer::start(|_, _| Reply::new(201, &[], "")).await;
    let location = format!("{}some/path?x=y", other.url());
    let (_server, reporter) = with_job(move |_, _| Reply::new(307, &[("Location", &location)], "")).await;
    reporter.upload_artifact(&artifact(""), "a.zip", &packed().file).await.unwrap();
    let request = &other.seen()[0];
    assert!(request.target.starts_with("/api/v4/jobs/987654/artifacts?"), "{}", request.target);
    assert_eq!(request.header("job-token"), Some("glcbt-64_examplejobtoken"));
}

#[tokio::test]
async fn uploads_that_cannot_succeed_are_not_repeated() {
    for (status, tries) in [(403_u16, 1), (413, 1), (400, 3), (503, 6 * 5)] {
        let (server, reporter) = with_job(move |_, _| Reply::new(status, &[], "")).await;
        let error = reporter.upload_artifact(&artifact(""), "a.zip", &packed().file).await.unwrap_err();
        assert_eq!((server.seen().len() - 1, error.is_own_disk), (tries, false), "{status}: {error}");
    }
}

#[tokio::test]
async fn a_success_counts_whatever_its_body_is() {
    let endless = "x".repeat(3 << 20);
    let cut = |status: &str| format!("HTTP/1.1 {status}\r\nContent-Length: 99\r\n\r\n{{").into_bytes();
    let (server, reporter) = with_job(move |number, request| match (number % 2, request.method.as_str()) {
        (0, "POST") => Reply::new(201, &[], endless.as_str()),
        (0, "PATCH") => Reply::new(202, &[], endless.as_str()),
        (0, _) => Reply::new(200, &[], endless.as_str()),
        (_, "POST") => Reply::Bytes(cut("201 Created")),
        (_, "PATCH") => Reply::Bytes(cut("202 Accepted")),
        (_, _) => Reply::Bytes(cut("200 OK")),
    })
    .await;
    for _ in 0..2 {
        reporter.upload_artifact(&artifact(""), "a.zip", &packed().file).await.unwrap();
    }
    for _ in 0..2 {
        let ack = reporter.append_log(0, Bytes::from_static(b"abc")).await.unwrap();
        assert_eq!(ack.next, 3);
    }
    for _ in 0..2 {
        assert_eq!(reporter.keep_alive(LogDigest::default()).await.unwrap(), Demand::Wanted);
    }
    assert_eq!(server.seen().len(), 1 + 6, "nothing was sent twice");
}

#[tokio::test]
async fn json_is_asked_for_where_it_is_read() {
    let (server, reporter) = with_job(|_, _| Reply::new(200, &[], "")).await;
    reporter.keep_alive(LogDigest::default()).await.unwrap();
    let accepted: Vec<_> = server.seen().iter().map(|request| request.header("accept").map(str::to_owned)).collect();
    assert_eq!(accepted[0].as_deref(), Some("application/json"), "the request for a job");
    assert_ne!(accepted[1].as_deref(), Some("application/json"), "news of a job");
}

#[tokio::test]
async fn an_upload_without_a_file_says_so() {
    let (_server, reporter) = with_job(|_, _| Reply::new(201, &[], "")).await;
    let Packed { _folder: folder, file } = packed();
    folder.close().unwrap();
    let error = reporter.upload_artifact(&artifact(""), "a.zip", &file).await.unwrap_err();
    assert!(error.is_own_disk && error.message.contains("a.zip"), "{error}");
}

fn dependency() -> DependencySpec {
    DependencySpec {
        id: JobId::new("987600"),
        name: "build".into(),
        token: Secret::new("glcbt-dependency"),
        file_name: "artifacts.zip".into(),
        size: 7,
    }
}

#[tokio::test]
async fn a_download_follows_to_object_storage_without_the_token() {
    let storage = TestServer::start(|_, _| Reply::new(200, &[], "archive")).await;
    let location = format!("{}bucket/key?signature=1", storage.url());
    let (server, reporter) = with_job(move |_, _| Reply::new(302, &[("Location", &location)], "")).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.zip");
    reporter.download_artifact(&dependency(), &file).await.unwrap();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "archive");
    let first = &server.seen()[1];
    assert_eq!(first.target, "/api/v4/jobs/987600/artifacts?direct_download=true");
    assert_eq!(first.header("job-token"), Some("glcbt-dependency"));
    let second = &storage.seen()[0];
    assert_eq!(second.target, "/bucket/key?signature=1");
    assert!(second.header("job-token").is_none());
}

#[tokio::test]
async fn a_download_that_fails_is_tried_again_without_the_short_cut() {
    let (server, reporter) = with_job(|number, _| match number {
        0 => Reply::new(400, &[], ""),
        1 => Reply::Bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\narc".to_vec()),
        _ => Reply::new(200, &[], "archive"),
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.zip");
    reporter.download_artifact(&dependency(), &file).await.unwrap();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "archive");
    let targets: Vec<_> =
        server.seen().iter().skip(1).map(|request| request.target.contains("direct_download")).collect();
    assert_eq!(targets, [true, false, false]);
}

/// The answer to a request for an archive of 3 MiB in which the connection breaks after the first byte of each further MiB.
fn broken(archive: &[u8], request: &Received, tag: &str) -> Reply {
    let range = request.header("range").filter(|_| request.header("if-range") == Some(tag));
    let from: usize = range.map_or(0, |text| text.trim_start_matches("bytes=").trim_end_matches('-').parse().unwrap());
    let status = if range.is_some() { "206 Partial Content" } else { "200 OK" };
    let mut answer = format!(
        "HTTP/1.1 {status}\r\nETag: {tag}\r\nContent-Length: {}\r\nContent-Range: bytes {from}-{}/{}\r\n\r\n",
        archive.len() - from,
        archive.len() - 1,
        archive.len(),
    )
    .into_bytes();
    answer.extend_from_slice(&archive[from..archive.len().min(from + (1 << 20) + 1)]);
    Reply::Bytes(answer)
}

fn archive() -> Vec<u8> {
    (0..3_u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

#[tokio::test]
async fn a_download_goes_on_where_it_broke_off() {
    let storage = TestServer::start(|_, request| broken(&archive(), request, "\"one\"")).await;
    let location = format!("{}bucket/key", storage.url());
    let (_server, reporter) = with_job(move |_, _| Reply::new(302, &[("Location", &location)], "")).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.zip");
    reporter.download_artifact(&dependency(), &file).await.unwrap();
    assert!(std::fs::read(&file).unwrap() == archive());
    let asked: Vec<_> = storage.seen().iter().map(|seen| seen.header("range").map(str::to_owned)).collect();
    let rest = |pieces: usize| Some(format!("bytes={}-", pieces * ((1 << 20) + 1)));
    assert_eq!(asked, [None, rest(1), rest(2)]);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn the_rest_of_another_archive_is_not_put_behind_the_beginning_of_one() {
    // Another version, whose server sends all of it; then one that sends another part than was asked for.
    let (server, reporter) = with_job(|number, request| match number {
        0 => broken(&archive(), request, "\"one\""),
        1 => Reply::new(200, &[("ETag", "\"two\"")], "another"),
        _ => unreachable!("it is whole"),
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.zip");
    reporter.download_artifact(&dependency(), &file).await.unwrap();
    assert_eq!(std::fs::read(&file).unwrap(), b"another");
    assert_eq!(server.seen()[2].header("if-range"), Some("\"one\""));

    let (_server, reporter) = with_job(|number, request| match number {
        0 => broken(&archive(), request, "\"one\""),
        1 => Reply::new(206, &[("Content-Range", "bytes 0-6/7")], "another"),
        _ => Reply::new(200, &[], "archive"),
    })
    .await;
    reporter.download_artifact(&dependency(), &file).await.unwrap();
    assert_eq!(std::fs::read(&file).unwrap(), b"archive");
}

#[tokio::test]
async fn downloads_that_cannot_succeed_say_why() {
    let xml = "<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code><Message>expired</Message></Error>";
    for (status, body, word) in
        [(401_u16, "", "may not read"), (403, xml, "AccessDenied: expired"), (404, "", "expired or were deleted")]
    {
        let (server, reporter) = with_job(move |_, _| Reply::new(status, &[], body)).await;
        let folder = tempfile::tempdir().unwrap();
        let error = reporter.download_artifact(&dependency(), &folder.path().join("a")).await.unwrap_err();
        assert!(!error.is_own_disk && error.message.contains(word), "{status}: {error}");
        assert_eq!(server.seen().len(), 2);
    }
}

#[tokio::test]
async fn a_download_in_circles_ends() {
    let (server, reporter) = with_job(|_, _| Reply::new(302, &[("Location", "/again")], "")).await;
    let folder = tempfile::tempdir().unwrap();
    let error = reporter.download_artifact(&dependency(), &folder.path().join("a")).await.unwrap_err();
    assert!(error.message.contains("without end"), "{error}");
    assert!(server.seen().len() < 20);
}

// === registration ===
