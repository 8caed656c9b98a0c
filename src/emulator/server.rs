//! Sockets: two listeners on loopback, each connection served by hyper, each request recorded, spoiled where a rule says
//! so, then routed.

use std::convert::Infallible;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_service::Service;

use super::fault::FaultAction;
use super::record::Endpoint;
use super::world::World;

/// Which of the two ports a connection came in on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// API and repositories.
    Api,
    /// Object storage.
    Storage,
}

/// The number of a request in the record, carried along with it.
#[derive(Clone, Copy, Debug)]
pub struct RequestIndex(pub usize);

/// Serves connections until `stop` is cancelled.
pub async fn serve(
    listener: TcpListener,
    port: Port,
    world: Arc<World>,
    router: Router,
    stop: CancellationToken,
    connections: TaskTracker,
) {
    loop {
        let stream = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                // Out of descriptors, or a connection that was reset before it was taken: the next may do.
                Err(_) => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                }
            },
        };
        let (world, router, stop) = (world.clone(), router.clone(), stop.clone());
        connections.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = connection(stream, port, world, router) => {}
            }
        });
    }
}

async fn connection(stream: TcpStream, port: Port, world: Arc<World>, router: Router) {
    let _ = stream.set_nodelay(true);
    // A second handle on the socket: setting its linger time to zero turns the close into a reset.
    let Ok(handle) = stream.as_fd().try_clone_to_owned() else { return };
    let handle = Arc::new(handle);
    let for_requests = handle.clone();
    let service = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
        let (world, router, handle) = (world.clone(), router.clone(), for_requests.clone());
        async move { answer(request.map(Body::new), port, world, router, &handle).await }
    });
    // An error here is the runner hanging up, or our own reset: both are in the record already.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// The connection is to be reset instead of answered.
#[derive(Debug, thiserror::Error)]
#[error("connection reset by rule")]
struct Reset;

async fn answer(
    request: Request<Body>,
    port: Port,
    world: Arc<World>,
    router: Router,
    handle: &OwnedFd,
) -> Result<Response<Body>, Reset> {
    let (mut head, body) = request.into_parts();
    let endpoint = match port {
        Port::Api => Endpoint::of(&head.method, head.uri.path()),
        Port::Storage => Endpoint::Storage,
    };
    let index = world.recorder.begin(endpoint, &head);
    // Tests wait for requests, too.
    world.changed();
    head.extensions.insert(RequestIndex(index));
    let action = world.faults.due(endpoint, &head);
    if action.is_some() {
        world.recorder.amend(index, |request| request.faulted = true);
    }
    let request = Request::from_parts(head, body);
    let response = match action {
        None => route(router, request).await,
        Some((rule, FaultAction::UntilHealed)) => {
            healed(&world, rule).await;
            route(router, request).await
        }
        Some((_, action)) => spoil(action, request, router, handle).await?,
    };
    world.recorder.amend(index, |record| {
        record.status = Some(response.status().as_u16());
        record.answer = response.headers().clone();
        record.took = Some(Instant::now().saturating_duration_since(record.at));
    });
    world.changed();
    Ok(response)
}

async fn route(mut router: Router, request: Request<Body>) -> Response<Body> {
    match router.call(request).await {
        Ok(response) => response,
        Err(never) => {
            let never: Infallible = never;
            match never {}
        }
    }
}

/// Waits until a rule is out of force.
async fn healed(world: &World, rule: u64) {
    let mut changes = world.changes();
    while world.faults.has(rule) {
        // The world cannot end before its connections, so this is a change.
        let _ = changes.changed().await;
    }
}

async fn spoil(
    action: FaultAction,
    request: Request<Body>,
    router: Router,
    handle: &OwnedFd,
) -> Result<Response<Body>, Reset> {
    match action {
        FaultAction::Delay(time) => {
            tokio::time::sleep(time).await;
            Ok(route(router, request).await)
        }
        // That a rule may end is known to the caller, who waits for it.
        FaultAction::Hang | FaultAction::UntilHealed => std::future::pending().await,
        FaultAction::Status { code, headers, body } => {
            drain(request).await;
            let mut response = Response::new(Body::from(body));
            *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            for (name, value) in headers {
                if let (Ok(name), Ok(value)) = (name.parse::<http::HeaderName>(), value.parse()) {
                    response.headers_mut().insert(name, value);
                }
            }
            Ok(response)
        }
        FaultAction::Garbage { body, content_type } => {
            drain(request).await;
            let mut response = Response::new(Body::from(body));
            if let Ok(value) = content_type.parse() {
                response.headers_mut().insert(http::header::CONTENT_TYPE, value);
            }
            Ok(response)
        }
        FaultAction::Reset => Err(reset(handle)),
        FaultAction::ServeThenReset => {
            let _ = route(router, request).await;
            Err(reset(handle))
        }
        FaultAction::CutBody => Ok(cut(route(router, request).await)),
    }
}

fn reset(handle: &OwnedFd) -> Reset {
    // Failing to set it leaves an orderly close without an answer: a failure for the runner as well.
    let _ = rustix::net::sockopt::set_socket_linger(handle, Some(Duration::ZERO));
    Reset
}

/// Reads what is left of the request: a server that answers early and closes would be another fault.
async fn drain(request: Request<Body>) {
    use http_body_util::BodyExt;
    let mut body = request.into_body();
    while let Some(Ok(_)) = body.frame().await {}
}

/// The answer's head as it is, half its body, then an error that closes the connection.
fn cut(response: Response<Body>) -> Response<Body> {
    use futures_util::{StreamExt, stream};
    let (head, body) = response.into_parts();
    let halves = body.into_data_stream().then(|chunk| async move {
        match chunk {
            Ok(bytes) => Ok::<_, std::io::Error>(bytes.slice(..bytes.len() / 2)),
            Err(error) => Err(std::io::Error::other(error)),
        }
    });
    let broken = halves.take(1).chain(stream::once(async {
        // Let the half go out before the connection ends.
        tokio::time::sleep(Duration::from_millis(50)).await;
        Err(std::io::Error::other("cut by rule"))
    }));
    Response::from_parts(head, Body::from_stream(broken))
}
