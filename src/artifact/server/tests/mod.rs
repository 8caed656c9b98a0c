//! The server as its clients see it: over HTTP, on a store on the disk.

mod attacks;
mod damage;
mod leftover;
mod limits;
mod once;
mod scopes;
mod v1;
mod v2;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Access, Admission, CacheServer, Limits, ServerPlace};
use crate::artifact::store::{self, Store};
use crate::pipeline::{ForgeInstance, JobId, JobKey, Owner, ProjectId, Trust};

const SERVICE: &str = "github.actions.results.api.v1.CacheService";

struct Place {
    temp: TempDir,
    store: Arc<Store>,
    server: CacheServer,
    http: reqwest::Client,
    now: Arc<AtomicI64>,
}

impl Place {
    async fn new() -> Self {
        Self::with(Limits { reserve_bytes: 0, ..Limits::default() }).await
    }

    async fn with(limits: Limits) -> Self {
        // A second test of the process finds the provider installed: that is what is wanted.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let temp = tempfile::tempdir().unwrap();
        let now = Arc::new(AtomicI64::new(1_800_000_000));
        let clock = clock(&now);
        let store_limits = store::Limits { reserve_bytes: 0, ..store::Limits::default() };
        let store = Arc::new(Store::open(&temp.path().join("store"), store_limits, None, clock.clone()).unwrap());
        let server = Self::serve(&temp, &store, limits, clock).await;
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(60)).build().unwrap();
        Self { temp, store, server, http, now }
    }

    async fn serve(temp: &TempDir, store: &Arc<Store>, limits: Limits, clock: store::Clock) -> CacheServer {
        let address = Ipv4Addr::LOCALHOST.into();
        let folder = temp.path().join("spool");
        let locks = temp.path().join("locks");
        CacheServer::start(ServerPlace { address, folder, locks, store: Arc::clone(store), limits, clock })
            .await
            .unwrap()
    }

    /// Time passes.
    fn pass(&self, seconds: i64) {
        self.now.fetch_add(seconds, Ordering::Relaxed);
    }

    fn job(&self, name: &str) -> Job {
        self.job_of(&member(), name, "refs/heads/main", &[])
    }

    fn job_of(&self, owner: &Owner, name: &str, scope: &str, fallbacks: &[&str]) -> Job {
        Self::admitted(&self.server, &self.http, owner, name, scope, fallbacks)
    }

    fn admitted(
        server: &CacheServer,
        http: &reqwest::Client,
        owner: &Owner,
        name: &str,
        scope: &str,
        fallbacks: &[&str],
    ) -> Job {
        let admission = server.admit(Access {
            owner: owner.clone(),
            job: JobKey::of(&owner.forge, &JobId::new(name), "1"),
            scope: scope.to_owned(),
            fallbacks: fallbacks.iter().map(|scope| (*scope).to_owned()).collect(),
            lasts: Duration::from_secs(3600),
        });
        Job {
            token: admission.token().expose().to_owned(),
            url: server.url().to_owned(),
            admission,
            http: http.clone(),
        }
    }

    /// Waits until no more than this lies in the server's folder: what is over is removed by a thread for it.
    async fn spooled_only(&self, most: usize) {
        let removed = async {
            while self.spooled() > most {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), removed).await.expect("what is over stays");
        assert_eq!(self.spooled(), most);
    }

    /// What lies in the server's folder.
    fn spooled(&self) -> usize {
        std::fs::read_dir(self.temp.path().join("spool")).unwrap().count()
    }
}

fn clock(now: &Arc<AtomicI64>) -> store::Clock {
    let now = Arc::clone(now);
    Arc::new(move || jiff::Timestamp::from_second(now.load(Ordering::Relaxed)).unwrap())
}

fn owner(forge: &str, project: &str, trust: Trust) -> Owner {
    Owner { forge: ForgeInstance::new(forge), project: ProjectId::new(project), trust }
}

fn member() -> Owner {
    owner("https://forge.example.com", "1", Trust::Member)
}

/// Bytes that do not compress and are others for each seed.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..length).map(|_| next()).collect()
}

/// A job and the tools in it.
struct Job {
    admission: Admission,
    token: String,
    url: String,
    http: reqwest::Client,
}

impl Job {
    fn ask(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.url)).bearer_auth(&self.token)
    }

    async fn find(&self, keys: &[&str], version: &str) -> Option<Value> {
        let query = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("keys", &keys.join(","))
            .append_pair("version", version)
            .finish();
        let request = self.ask(Method::GET, &format!("_apis/artifactcache/cache?{query}"));
        let answer = request.send().await.unwrap();
        match answer.status() {
            StatusCode::NO_CONTENT => None,
            StatusCode::OK => Some(answer.json().await.unwrap()),
            other => panic!("{other}: {}", answer.text().await.unwrap()),
        }
    }

    /// The key of what is found.
    async fn found(&self, keys: &[&str], version: &str) -> Option<String> {
        self.find(keys, version).await.map(|found| found["cacheKey"].as_str().unwrap().to_owned())
    }

    async fn content(&self, keys: &[&str], version: &str) -> Option<Vec<u8>> {
        let found = self.find(keys, version).await?;
        let answer = self.http.get(found["archiveLocation"].as_str().unwrap()).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        Some(answer.bytes().await.unwrap().to_vec())
    }

    async fn reserve(&self, key: &str, version: &str) -> Response {
        let body = json!({"key": key, "version": version});
        self.ask(Method::POST, "_apis/artifactcache/caches").json(&body).send().await.unwrap()
    }

    async fn reserved(&self, key: &str, version: &str) -> u64 {
        let answer = self.reserve(key, version).await;
        assert_eq!(answer.status(), StatusCode::CREATED);
        answer.json::<Value>().await.unwrap()["cacheId"].as_u64().unwrap()
    }

    async fn write(&self, id: u64, range: &str, bytes: &[u8]) -> StatusCode {
        let request = self.ask(Method::PATCH, &format!("_apis/artifactcache/caches/{id}"));
        let request = request.header("Content-Range", range).body(bytes.to_vec());
        request.send().await.unwrap().status()
    }

    async fn commit(&self, id: u64, size: u64) -> StatusCode {
        let request = self.ask(Method::POST, &format!("_apis/artifactcache/caches/{id}"));
        request.json(&json!({"size": size})).send().await.unwrap().status()
    }

    /// Saves an entry.
    async fn save(&self, key: &str, version: &str, bytes: &[u8]) {
        let id = self.reserved(key, version).await;
        let range = format!("bytes 0-{}/*", bytes.len() - 1);
        assert_eq!(self.write(id, &range, bytes).await, StatusCode::NO_CONTENT);
        assert_eq!(self.commit(id, bytes.len() as u64).await, StatusCode::NO_CONTENT);
    }

    /// A call of version 2 in JSON.
    async fn call(&self, method: &str, body: Value) -> (StatusCode, Value) {
        let answer = self.ask(Method::POST, &format!("twirp/{SERVICE}/{method}")).json(&body).send().await.unwrap();
        (answer.status(), answer.json().await.unwrap())
    }

    /// Where an entry of version 2 is uploaded.
    async fn created(&self, key: &str, version: &str) -> String {
        let (status, answer) = self.call("CreateCacheEntry", json!({"key": key, "version": version})).await;
        assert_eq!((status, &answer["ok"]), (StatusCode::OK, &json!(true)), "{answer}");
        answer["signed_upload_url"].as_str().unwrap().to_owned()
    }

    async fn put(&self, url: &str, bytes: impl Into<reqwest::Body>) -> StatusCode {
        let request = self.http.put(url).header("x-ms-blob-type", "BlockBlob").body(bytes);
        request.send().await.unwrap().status()
    }
}
