//! Uploads of archives that are still being written, to a server that takes bodies apart as they come.

use axum::Router;
use axum::body::Body;
use axum::extract::{Multipart, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use http::StatusCode;
use tokio::sync::mpsc;

use super::*;

/// What the server saw of uploads.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    /// The first bytes of a file.
    Some { has_length: bool },
    /// A whole file.
    Whole(Vec<u8>),
    /// A body that breaks off.
    Broken,
}

#[derive(Clone)]
struct Forge {
    seen: mpsc::UnboundedSender<Seen>,
    /// Whether the first upload is refused after its first bytes.
    refuses: Arc<std::sync::atomic::AtomicBool>,
}

async fn receive(State(forge): State<Forge>, request: Request) -> Response {
    use axum::extract::FromRequest;

    let has_length = request.headers().contains_key("content-length");
    let mut parts = Multipart::from_request(request, &()).await.unwrap();
    let Ok(Some(mut file)) = parts.next_field().await else {
        forge.seen.send(Seen::Broken).unwrap();
        return StatusCode::BAD_REQUEST.into_response();
    };
    assert_eq!((file.name(), file.file_name()), (Some("file"), Some("a.zip")));
    let mut all = Vec::new();
    loop {
        match file.chunk().await {
            Ok(Some(bytes)) => {
                if all.is_empty() {
                    forge.seen.send(Seen::Some { has_length }).unwrap();
                    if forge.refuses.swap(false, std::sync::atomic::Ordering::Relaxed) {
                        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
                    }
                }
                all.extend(bytes);
            }
            Ok(None) => break,
            Err(_) => {
                forge.seen.send(Seen::Broken).unwrap();
                return StatusCode::BAD_REQUEST.into_response();
            }
        }
    }
    drop(file);
    assert!(parts.next_field().await.unwrap().is_none(), "one part, and its end");
    forge.seen.send(Seen::Whole(all)).unwrap();
    StatusCode::CREATED.into_response()
}

/// A job of such a server, and what it sees.
async fn with_job_of(refuses: bool) -> (GitLabReporter, mpsc::UnboundedReceiver<Seen>) {
    let (seen, sees) = mpsc::unbounded_channel();
    let job = || async { (StatusCode::CREATED, [("content-type", "application/json")], Body::from(JOB)) };
    let app = Router::new()
        .route("/api/v4/jobs/request", post(job))
        .route("/api/v4/jobs/987654/artifacts", post(receive))
        .layer(axum::extract::DefaultBodyLimit::disable())
        .with_state(Forge { seen, refuses: Arc::new(refuses.into()) });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
    tokio::spawn(async { axum::serve(listener, app).await.unwrap() });
    let forge = GitLab::new(settings(url), outbound()).unwrap();
    let Ok(Polled::Job(assignment)) = poll(&forge).await else { panic!("no job") };
    (crate::forge::Forge::reporter(&forge, &assignment).unwrap(), sees)
}

fn content() -> Vec<u8> {
    (0..3_u32 << 20).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

#[tokio::test]
async fn an_archive_is_sent_while_it_is_written() {
    for refuses in [false, true] {
        let (reporter, mut sees) = with_job_of(refuses).await;
        let (mut writer, packed) = begun();
        let artifact = artifact("");
        let upload = reporter.upload_artifact(&artifact, "a.zip", &packed.file);
        let content = content();
        let write = async {
            let (first, rest) = content.split_at(2 << 20);
            writer.write_all(first).unwrap();
            // Only when they have begun to arrive is the rest written.
            assert_eq!(sees.recv().await, Some(Seen::Some { has_length: false }));
            writer.write_all(rest).unwrap();
            writer.finish().unwrap();
        };
        let (sent, ()) = tokio::join!(upload, write);
        sent.unwrap();
        if refuses {
            assert!(matches!(sees.recv().await, Some(Seen::Some { .. })), "the second try, from the beginning");
        }
        assert!(sees.recv().await == Some(Seen::Whole(content)));
    }
}

#[tokio::test]
async fn a_small_archive_is_sent_when_it_is_whole() {
    let (reporter, mut sees) = with_job_of(false).await;
    let (mut writer, packed) = begun();
    let artifact = artifact("");
    let upload = reporter.upload_artifact(&artifact, "a.zip", &packed.file);
    let write = async {
        writer.write_all(b"small").unwrap();
        writer.flush().unwrap();
        tokio::task::yield_now().await;
        writer.finish().unwrap();
    };
    tokio::join!(upload, write).0.unwrap();
    assert_eq!(sees.recv().await, Some(Seen::Some { has_length: true }));
    assert_eq!(sees.recv().await, Some(Seen::Whole(b"small".to_vec())));
}

#[tokio::test]
async fn an_archive_that_cannot_be_finished_is_never_a_whole_upload() {
    let (reporter, mut sees) = with_job_of(false).await;
    let (mut writer, packed) = begun();
    let artifact = artifact("");
    let upload = reporter.upload_artifact(&artifact, "a.zip", &packed.file);
    let write = async {
        writer.write_all(&content()).unwrap();
        assert_eq!(sees.recv().await, Some(Seen::Some { has_length: false }));
        drop(writer);
    };
    assert!(tokio::join!(upload, write).0.is_err());
    drop(reporter);
    assert_eq!(sees.recv().await, Some(Seen::Broken));
    while let Ok(seen) = sees.try_recv() {
        assert!(!matches!(seen, Seen::Whole(_)));
    }
}
