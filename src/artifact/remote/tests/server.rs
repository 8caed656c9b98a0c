//! A real S3 server on loopback, whose requests are written down.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use http::{HeaderMap, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::config::remote::{RemoteConfig, SecretText};
use crate::pipeline::Secret;

pub(crate) const ACCESS_KEY: &str = "AKIAIOSFODNN7EXAMPLE";
pub(crate) const SECRET_KEY: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
}

type Intercept = dyn Fn(&Seen) -> Option<Response<s3s::Body>> + Send + Sync;

/// What the server does beside what it should.
#[derive(Default)]
struct Manners {
    seen: Mutex<Vec<Seen>>,
    intercept: Mutex<Option<Box<Intercept>>>,
}

/// A server with one bucket, `ci-bucket`.
pub(crate) struct S3Server {
    pub(crate) runtime: Runtime,
    dir: tempfile::TempDir,
    endpoint: String,
    manners: Arc<Manners>,
}

impl S3Server {
    pub(crate) fn start() -> Self {
        let runtime = super::runtime();
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("ci-bucket")).unwrap();
        let mut builder = S3ServiceBuilder::new(s3s_fs::FileSystem::new(dir.path()).unwrap());
        builder.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        let service = builder.build();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let manners = Arc::new(Manners::default());
        let of_task = manners.clone();
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (service, manners) = (service.clone(), of_task.clone());
                let answer =
                    hyper::service::service_fn(move |request| answer(service.clone(), manners.clone(), request));
                let connection =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
                tokio::spawn(connection);
            }
        });
        Self { runtime, dir, endpoint, manners }
    }

    /// The configuration that reaches it, with a prefix.
    pub(crate) fn config(&self, prefix: &str) -> RemoteConfig {
        RemoteConfig {
            endpoint: Some(self.endpoint.parse().unwrap()),
            access_key_id: Some(ACCESS_KEY.to_owned()),
            secret_access_key: Some(SecretText(Secret::new(SECRET_KEY))),
            ..super::at(&format!("s3://ci-bucket/{prefix}"))
        }
    }

    /// Where the bucket's objects lie.
    pub(crate) fn bucket(&self) -> PathBuf {
        self.dir.path().join("ci-bucket")
    }

    /// All requests until now.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.manners.seen.lock().unwrap().clone()
    }

    /// Answers some requests itself.
    pub(crate) fn intercept(&self, with: impl Fn(&Seen) -> Option<Response<s3s::Body>> + Send + Sync + 'static) {
        *self.manners.intercept.lock().unwrap() = Some(Box::new(with));
    }
}

async fn answer(
    service: S3Service,
    manners: Arc<Manners>,
    request: Request<Incoming>,
) -> Result<Response<s3s::Body>, s3s::HttpError> {
    let seen = Seen {
        method: request.method().to_string(),
        target: request.uri().to_string(),
        headers: request.headers().clone(),
    };
    manners.seen.lock().unwrap().push(seen.clone());
    let own = manners.intercept.lock().unwrap().as_ref().and_then(|intercept| intercept(&seen));
    if let Some(own) = own {
        // What was sent is read first, as servers do: a connection closed in the middle of it would hide the answer.
        let _ = http_body_util::BodyExt::collect(request.into_body()).await;
        return Ok(own);
    }
    service.call(request.map(s3s::Body::from)).await
}

/// An error as S3 servers say it.
pub(crate) fn refusal(status: u16, code: &str) -> Response<s3s::Body> {
    let mut response =
        Response::new(s3s::Body::from(format!("<Error><Code>{code}</Code><Message>m</Message></Error>")));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}
