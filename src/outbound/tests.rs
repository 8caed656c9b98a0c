//! Whole requests through the door, against servers of our own on the loopback.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use url::Url;

use super::test_server::{NoWaiting, Reply, TestServer, serve};
use super::*;

async fn get(outbound: &Outbound, url: &Url, within: Duration) -> Result<reqwest::Response, OutboundError> {
    outbound
        .send_with_retry(Patience::of(within), |client| {
            client.get(url.clone()).build().map_err(|error| OutboundError::Transport(error.to_string()))
        })
        .await
}

const LONG: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_busy_server_is_asked_again_as_it_wishes() {
    let server = TestServer::start(|number, _| match number {
        0 => Reply::new(500, &[], ""),
        1 => Reply::new(429, &[("Retry-After", "7")], ""),
        2 => Reply::new(503, &[("RateLimit-ResetTime", "Sat, 22 Aug 2026 10:00:20 GMT")], ""),
        _ => Reply::new(200, &[], "at last"),
    })
    .await;
    let pace = Arc::new(NoWaiting::default());
    let outbound = Outbound::with_pace(OutboundSettings::default(), pace.clone()).unwrap();
    let response = get(&outbound, &server.url(), LONG).await.unwrap();
    assert_eq!(read_limited(&outbound, response, 100).await.unwrap(), "at last");
    let want = [Duration::from_millis(100), Duration::from_secs(7), Duration::from_secs(20)];
    assert_eq!(*pace.slept.lock().unwrap(), want);
}

#[tokio::test]
async fn the_last_of_five_answers_is_handed_over() {
    let server = TestServer::start(|_, _| Reply::new(500, &[], "no")).await;
    let outbound = Outbound::with_pace(OutboundSettings::default(), Arc::new(NoWaiting::default())).unwrap();
    assert_eq!(get(&outbound, &server.url(), LONG).await.unwrap().status(), 500);
    assert_eq!(server.seen().len(), 5);
}

#[tokio::test]
async fn a_wait_that_is_too_long_is_left_to_the_caller() {
    let server = TestServer::start(|_, _| Reply::new(429, &[("Retry-After", "3600")], "")).await;
    let outbound = Outbound::with_pace(OutboundSettings::default(), Arc::new(NoWaiting::default())).unwrap();
    assert_eq!(get(&outbound, &server.url(), LONG).await.unwrap().status(), 429);
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn a_server_that_never_answers_is_not_waited_for() {
    let server = TestServer::start(|_, _| Reply::Silence).await;
    let outbound = Outbound::new(OutboundSettings::default()).unwrap();
    let error = get(&outbound, &server.url(), Duration::from_millis(100)).await.unwrap_err();
    assert!(error.to_string().contains("did not answer within"), "{error}");
}

#[tokio::test]
async fn endless_bodies_are_cut_and_broken_ones_noticed() {
    let server = TestServer::start(|number, _| match number {
        // No length announced, larger than the limit.
        0 => Reply::Bytes(
            format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2000\r\n{}\r\n", "x".repeat(0x2000)).into(),
        ),
        1 => Reply::Bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 9000000000\r\n\r\n".to_vec()),
        _ => Reply::Bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf".to_vec()),
    })
    .await;
    let outbound = Outbound::new(OutboundSettings::default()).unwrap();
    for _ in 0..2 {
        let response = get(&outbound, &server.url(), LONG).await.unwrap();
        let error = read_limited(&outbound, response, 0x1000).await.unwrap_err();
        assert!(matches!(error, OutboundError::TooLarge { limit: 0x1000, .. }), "{error}");
    }
    let folder = tempfile::tempdir().unwrap();
    let response = get(&outbound, &server.url(), LONG).await.unwrap();
    let mut download = Download::new(&folder.path().join("file"), 0x1000);
    let error = download.receive(&outbound, response).await.unwrap_err();
    assert!(matches!(error, OutboundError::Transport(_)), "{error}");
    drop(download);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing half is left");
}

#[tokio::test]
async fn a_remote_that_is_gone_is_left_alone_after_some_tries() {
    let address = { TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap() };
    let url = Url::parse(&format!("http://{address}/")).unwrap();
    let outbound = Outbound::new(OutboundSettings::default()).unwrap();
    for _ in 0..5 {
        let error = get(&outbound, &url, LONG).await.unwrap_err();
        assert!(error.to_string().contains("refuses connections"), "{error}");
    }
    let error = get(&outbound, &url, LONG).await.unwrap_err();
    assert!(matches!(error, OutboundError::Resting { .. }), "{error}");
}

#[tokio::test]
async fn a_request_that_has_time_waits_for_a_remote_that_is_left_alone() {
    let address = { TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap() };
    let url = Url::parse(&format!("http://{address}/")).unwrap();
    let outbound = Outbound::new(OutboundSettings::default()).unwrap();
    for _ in 0..5 {
        get(&outbound, &url, LONG).await.unwrap_err();
    }
    let listener = TcpListener::bind(address).await.unwrap();
    let server = async {
        let (connection, _) = listener.accept().await.unwrap();
        let mut connection = BufReader::new(connection);
        let mut line = String::new();
        while connection.read_line(&mut line).await.unwrap() > 2 {
            line.clear();
        }
        connection.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
        connection
    };
    let patience = Patience { through_rests: LONG, ..Patience::of(LONG) };
    let request = outbound.send_with_retry(patience, |client| {
        client.get(url.clone()).build().map_err(|error| OutboundError::Transport(error.to_string()))
    });
    let (answer, _connection) = tokio::join!(request, server);
    assert_eq!(answer.unwrap().status(), 204);
}

#[tokio::test]
async fn a_name_that_is_none_is_explained() {
    let outbound = Outbound::new(OutboundSettings::default()).unwrap();
    let url = Url::parse("http://no-such-host.invalid/").unwrap();
    let error = get(&outbound, &url, LONG).await.unwrap_err().to_string();
    assert!(error.contains("no-such-host.invalid") && error.contains("resolved"), "{error}");
}

/// A proxy that knows the verb CONNECT, one user, and one way: to `target`, whatever name is asked for.
struct TestProxy {
    address: std::net::SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for TestProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl TestProxy {
    async fn start(target: std::net::SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = asked.clone();
        let task = tokio::spawn(async move {
            let mut tunnels = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let log = log.clone();
                tunnels.spawn(async move {
                    let _ = tunnel(stream, target, &log).await;
                });
            }
        });
        Self { address, asked, task }
    }

    fn url(&self, credentials: &str) -> Option<Url> {
        Some(Url::parse(&format!("http://{credentials}{}", self.address)).unwrap())
    }
}

async fn tunnel(stream: TcpStream, target: std::net::SocketAddr, log: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut client = BufReader::new(stream);
    let (mut first, mut authorised) = (String::new(), false);
    client.read_line(&mut first).await?;
    log.lock().unwrap().push(first.trim().to_owned());
    let wanted = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode("user:p@ss"));
    loop {
        let mut line = String::new();
        client.read_line(&mut line).await?;
        match line.trim().split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("proxy-authorization") => authorised = value == wanted,
            Some(_) => {}
            None => break,
        }
    }
    if !authorised {
        let refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        return client.write_all(refusal).await;
    }
    client.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").await?;
    let mut server = TcpStream::connect(target).await?;
    tokio::io::copy_bidirectional(&mut client, &mut server).await.map(|_| ())
}

/// A server with a certificate of an authority of its own, for the name forge.test.
struct TlsServer {
    address: std::net::SocketAddr,
    ca_file: PathBuf,
    own_file: PathBuf,
    /// A certificate for clients, by the same authority, and its key.
    client_file: PathBuf,
    client_key: PathBuf,
    _folder: tempfile::TempDir,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl TlsServer {
    async fn start() -> Self {
        Self::with_versions(None).await
    }

    /// One that wants a certificate of its clients and speaks this version of TLS only.
    async fn asking_for_certificates(version: &'static rustls::SupportedProtocolVersion) -> Self {
        Self::with_versions(Some(version)).await
    }

    async fn with_versions(asking: Option<&'static rustls::SupportedProtocolVersion>) -> Self {
        let ca_key = KeyPair::generate().unwrap();
        let mut ca = CertificateParams::default();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.distinguished_name.push(DnType::CommonName, "Example Private Root");
        let ca_certificate = ca.self_signed(&ca_key).unwrap();
        let issuer = Issuer::new(ca, ca_key);
        let key = KeyPair::generate().unwrap();
        let own = CertificateParams::new(vec!["forge.test".into()]).unwrap().signed_by(&key, &issuer).unwrap();
        let client = KeyPair::generate().unwrap();
        let client_own =
            CertificateParams::new(vec!["agent.test".into()]).unwrap().signed_by(&client, &issuer).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: String| {
            let file = folder.path().join(name);
            std::fs::write(&file, text).unwrap();
            file
        };
        let (ca_file, own_file) = (write("ca.pem", ca_certificate.pem()), write("own.pem", own.pem()));
        let client_file = write("client.pem", client_own.pem());
        let client_key = write("client.key", client.serialize_pem());
        let chain: Vec<CertificateDer<'static>> = vec![own.der().clone()];
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ServerConfig::builder_with_provider(provider.clone());
        let builder = match asking {
            None => builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth(),
            Some(version) => {
                let mut roots = rustls::RootCertStore::empty();
                roots.add(ca_certificate.der().clone()).unwrap();
                let clients = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_protocol_versions(&[version]).unwrap().with_client_cert_verifier(clients.build().unwrap())
            }
        };
        let config = builder.with_single_cert(chain, key).unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                connections.spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        serve(stream, &Mutex::default(), &|_: usize, _: &_| Reply::new(200, &[], "hello")).await;
                    }
                });
            }
        });
        Self { address, ca_file, own_file, client_file, client_key, _folder: folder, task }
    }
}

/// No name server knows forge.test: only the proxy does, so that what arrives went through it.
fn forge() -> Url {
    Url::parse("https://forge.test:8443/").unwrap()
}

#[tokio::test]
async fn through_a_proxy_with_a_password_to_a_private_authority() {
    let server = TlsServer::start().await;
    let proxy = TestProxy::start(server.address).await;
    let settings = OutboundSettings {
        proxy: proxy.url("user:p%40ss@"),
        ca_files: vec![server.ca_file.clone()],
        ..OutboundSettings::default()
    };
    let outbound = Outbound::new(settings).unwrap();
    let response = get(&outbound, &forge(), LONG).await.unwrap();
    assert_eq!(read_limited(&outbound, response, 100).await.unwrap(), "hello");
    assert_eq!(proxy.asked.lock().unwrap()[0], "CONNECT forge.test:8443 HTTP/1.1");
    assert!(outbound.ca_pem().unwrap().starts_with("-----BEGIN CERTIFICATE-----"));
}

#[tokio::test]
async fn without_the_authority_the_message_names_issuer_and_setting() {
    let server = TlsServer::start().await;
    let proxy = TestProxy::start(server.address).await;
    let settings = OutboundSettings { proxy: proxy.url("user:p%40ss@"), ..OutboundSettings::default() };
    let error = get(&Outbound::new(settings).unwrap(), &forge(), LONG).await.unwrap_err().to_string();
    assert!(error.contains("Example Private Root") && error.contains("network.ca_files"), "{error}");
}

#[tokio::test]
async fn a_certificate_in_ca_files_is_trusted_itself_for_its_name_only() {
    let server = TlsServer::start().await;
    let proxy = TestProxy::start(server.address).await;
    let settings = OutboundSettings {
        proxy: proxy.url("user:p%40ss@"),
        ca_files: vec![server.own_file.clone()],
        ..OutboundSettings::default()
    };
    let outbound = Outbound::new(settings).unwrap();
    assert_eq!(get(&outbound, &forge(), LONG).await.unwrap().status(), 200);
    let other = Url::parse("https://other.test:8443/").unwrap();
    let error = get(&outbound, &other, LONG).await.unwrap_err().to_string();
    assert!(error.contains("other names"), "{error}");
}

#[tokio::test]
async fn a_server_that_asks_for_a_certificate_gets_ours() {
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let server = TlsServer::asking_for_certificates(version).await;
        let proxy = TestProxy::start(server.address).await;
        let without = OutboundSettings {
            proxy: proxy.url("user:p%40ss@"),
            ca_files: vec![server.ca_file.clone()],
            ..OutboundSettings::default()
        };
        let with = OutboundSettings {
            client_certificate: Some(server.client_file.clone()),
            client_key: Some(server.client_key.clone()),
            ..without.clone()
        };
        let outbound = Outbound::new(with).unwrap();
        let response = get(&outbound, &forge(), LONG).await.unwrap();
        assert_eq!(read_limited(&outbound, response, 100).await.unwrap(), "hello");
        let git = outbound.for_git(&forge());
        assert_eq!(git.client_certificate.as_ref(), Some(&server.client_file));
        assert_eq!(git.client_key.as_ref(), Some(&server.client_key));
        let error = get(&Outbound::new(without).unwrap(), &forge(), LONG).await.unwrap_err().to_string();
        assert!(error.contains("network.client_certificate"), "{version:?}: {error}");
    }
}

#[tokio::test]
async fn a_certificate_and_a_key_that_do_not_belong_together_are_named() {
    let (one, other) = (TlsServer::start().await, TlsServer::start().await);
    let settings = OutboundSettings {
        client_certificate: Some(one.client_file.clone()),
        client_key: Some(other.client_key.clone()),
        ..OutboundSettings::default()
    };
    let error = Outbound::new(settings).err().unwrap().to_string();
    assert!(error.contains("do not belong together") && error.contains("network.client_key"), "{error}");
}

#[tokio::test]
async fn a_proxy_that_wants_a_password_is_explained() {
    let server = TlsServer::start().await;
    let proxy = TestProxy::start(server.address).await;
    for url in [forge(), Url::parse("http://forge.test/").unwrap()] {
        let settings = OutboundSettings { proxy: proxy.url("user:wrong@"), ..OutboundSettings::default() };
        let error = get(&Outbound::new(settings).unwrap(), &url, LONG).await.unwrap_err().to_string();
        assert!(error.contains("network.proxy") && error.contains("407"), "{url}: {error}");
        assert!(!error.contains("wrong"), "{error}");
    }
}

#[tokio::test]
async fn a_proxy_that_is_not_there_is_named() {
    let address = { TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap() };
    let proxy = Some(Url::parse(&format!("http://user:pw@{address}")).unwrap());
    let settings = OutboundSettings { proxy, ..OutboundSettings::default() };
    let error = get(&Outbound::new(settings).unwrap(), &forge(), LONG).await.unwrap_err().to_string();
    assert!(
        error.contains("network.proxy") && error.contains(&address.to_string()) && !error.contains("pw"),
        "{error}"
    );
}

#[test]
fn settings_that_do_not_work_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    let missing = folder.path().join("missing.pem");
    for (settings, word) in [
        (OutboundSettings { ca_files: vec![empty.clone()], ..OutboundSettings::default() }, "network.ca_files"),
        (OutboundSettings { ca_files: vec![missing], ..OutboundSettings::default() }, "missing.pem"),
        (OutboundSettings { client_key: Some(empty), ..OutboundSettings::default() }, "network.client_certificate"),
    ] {
        let error = Outbound::new(settings).err().unwrap().to_string();
        assert!(error.contains(word), "{error}");
    }
}

#[tokio::test]
async fn git_gets_one_file_with_all_authorities() {
    let server = TlsServer::start().await;
    let folder = tempfile::tempdir().unwrap();
    let settings = OutboundSettings {
        ca_files: vec![server.ca_file.clone()],
        bundle_dir: Some(folder.path().join("ca")),
        ..OutboundSettings::default()
    };
    let outbound = Outbound::new(settings).unwrap();
    let file = outbound.for_git(&forge()).ca_file.unwrap();
    let bundle = std::fs::read_to_string(file).unwrap();
    let own = std::fs::read_to_string(&server.ca_file).unwrap();
    let one_line = |text: &str| text.lines().filter(|line| !line.starts_with('-')).collect::<String>();
    assert!(one_line(&bundle).ends_with(&one_line(&own)));
}
