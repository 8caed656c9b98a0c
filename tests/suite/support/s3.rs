//! A real S3 server on loopback.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

const ACCESS_KEY: &str = "AKIAIOSFODNN7EXAMPLE";
const SECRET_KEY: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

/// A server with one bucket, `ci-bucket`, until it is dropped.
pub struct S3Server {
    runtime: Option<Runtime>,
    dir: tempfile::TempDir,
    endpoint: String,
    /// Requests whose targets have this part are taken and never answered.
    silent_about: Arc<Mutex<Option<String>>>,
}

impl S3Server {
    pub fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let dir = tempfile::Builder::new().prefix("fh-s3-").tempdir().unwrap();
        std::fs::create_dir(dir.path().join("ci-bucket")).unwrap();
        let mut builder = S3ServiceBuilder::new(s3s_fs::FileSystem::new(dir.path()).unwrap());
        builder.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        let service = builder.build();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let silent_about = Arc::new(Mutex::new(None::<String>));
        let of_task = silent_about.clone();
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (service, silent_about) = (service.clone(), of_task.clone());
                let answer = hyper::service::service_fn(move |request: http::Request<hyper::body::Incoming>| {
                    let target = request.uri().to_string();
                    let is_silent = silent_about.lock().unwrap().as_ref().is_some_and(|part| target.contains(part));
                    let service = service.clone();
                    async move {
                        if is_silent {
                            std::future::pending::<()>().await;
                        }
                        service.call(request.map(s3s::Body::from)).await
                    }
                });
                let connection =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
                tokio::spawn(connection);
            }
        });
        Self { runtime: Some(runtime), dir, endpoint, silent_about }
    }

    /// From now on it takes requests whose targets have this part, and never answers them.
    pub fn be_silent_about(&self, part: &str) {
        *self.silent_about.lock().unwrap() = Some(part.to_owned());
    }

    /// It answers everything again.
    pub fn speak(&self) {
        *self.silent_about.lock().unwrap() = None;
    }

    /// Closes its port and all connections. What the bucket holds stays on the disk.
    pub fn stop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    /// The text of `forgehand.toml` that has the store know it.
    pub fn config(&self) -> String {
        format!("[store.remote]\n{}", self.remote())
    }

    /// The text that says where it is and who we are there.
    pub fn remote(&self) -> String {
        format!(
            "url = \"s3://ci-bucket/team\"\nendpoint = \"{}\"\naccess_key_id = \"{ACCESS_KEY}\"\n\
             secret_access_key = \"{SECRET_KEY}\"\n",
            self.endpoint
        )
    }

    /// Where the objects of the bucket lie.
    pub fn bucket(&self) -> PathBuf {
        self.dir.path().join("ci-bucket/team")
    }

    /// The objects whose names have this part.
    pub fn objects(&self, part: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.bucket()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.is_dir() { folders.push(path) } else { found.push(path) }
            }
        }
        found.retain(|path: &PathBuf| below(path, self.dir.path()).contains(part));
        found
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        self.stop();
    }
}

fn below(path: &Path, root: &Path) -> String {
    path.strip_prefix(root).unwrap().to_string_lossy().into_owned()
}
