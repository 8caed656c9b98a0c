//! Sockets: connections are taken, bounded, and ended in order.

use std::convert::Infallible;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use axum::routing::{get, patch, post, put};
use http::StatusCode;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_service::Service as _;

use super::leftover::Leftover;
use super::limits::Limits;
use super::peers::Peers;
use super::shared::{DOWNLOADS, Shared, UPLOADS};
use super::unread::Watched;
use super::{answer, blob, v1, v2};

/// How long the head of a request may take, and how long a connection may lie idle.
const HEAD: Duration = Duration::from_secs(60);
/// Headers of a request.
const MOST_HEADERS: usize = 64;
/// Bytes of a request's head, and of what is read at a time.
const BUFFER: usize = 128 << 10;
/// After an error of the listener.
const PAUSE: Duration = Duration::from_millis(20);

/// What is asked for where.
pub(super) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/_apis/artifactcache/cache", get(v1::find))
        .route("/_apis/artifactcache/caches", get(v1::list).post(v1::reserve))
        .route("/_apis/artifactcache/caches/{id}", patch(v1::write).post(v1::commit))
        .route("/_apis/artifactcache/clean", post(v1::clean))
        .route(&format!("/{DOWNLOADS}/{{id}}"), get(blob::get))
        .route(&format!("/{UPLOADS}/{{id}}"), put(blob::put))
        .route("/twirp/{service}/{method}", post(v2::call))
        .fallback(nothing)
        .method_not_allowed_fallback(nothing)
        .with_state(shared)
}

async fn nothing() -> Response {
    answer::json(
        StatusCode::NOT_FOUND,
        &json!({"message": "this server keeps caches; there is nothing at this address"}),
    )
}

/// Serves connections until `stop` is cancelled.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    stop: CancellationToken,
    connections: TaskTracker,
) {
    let turns = Arc::new(Semaphore::new(limits.connections));
    let peers = Arc::new(Peers::new(limits.peer_connections));
    loop {
        let accepted = async {
            // Who comes when all turns are taken waits in the listener's queue.
            let turn = Arc::clone(&turns).acquire_owned().await.ok();
            (turn, listener.accept().await)
        };
        let (turn, stream, address) = tokio::select! {
            () = stop.cancelled() => return,
            accepted = accepted => match accepted {
                (turn, Ok((stream, peer))) => (turn, stream, peer.ip()),
                // Out of descriptors, or a connection that was reset before it was taken: the next may do.
                (_, Err(_)) => {
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            },
        };
        // Hung up at once: who has so many must not take the turns of others.
        let Some(peer) = peers.enter(address) else { continue };
        let (router, stop, unread) = (router.clone(), stop.clone(), limits.unread);
        connections.spawn(async move {
            connection(stream, router, stop, unread).await;
            drop((turn, peer));
        });
    }
}

async fn connection(stream: TcpStream, router: Router, stop: CancellationToken, unread: Duration) {
    let _ = stream.set_nodelay(true);
    // Failing to set it leaves the limit of the system, which is longer.
    let millis = u32::try_from(unread.as_millis()).unwrap_or(u32::MAX);
    let _ = rustix::net::sockopt::set_tcp_user_timeout(stream.as_fd(), millis);
    let stream = Watched::new(stream, unread);
    let service = hyper::service::service_fn(move |request: http::Request<hyper::body::Incoming>| {
        let mut router = router.clone();
        async move {
            let (request, leftover) = Leftover::lend(request);
            let request: Request = request.map(Body::new);
            let answered: Result<Response, Infallible> = router.call(request).await;
            match answered {
                Ok(answer) => Ok::<_, Infallible>(leftover.settle(answer).await),
                Err(never) => match never {},
            }
        }
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD).max_headers(MOST_HEADERS).max_buf_size(BUFFER);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    // An error here is the client hanging up.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}
