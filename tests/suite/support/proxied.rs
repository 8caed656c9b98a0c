//! A forge that only a proxy reaches: a network namespace, Debian's squid with basic authentication, and a front that
//! speaks TLS with a certificate of a private authority.
//!
//! The front listens on the machine's loopback, which is another one inside the namespace, and its name is known to squid
//! alone: who gets there from inside went through the proxy, and left the name to it. Needs root, as the engine does.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use forgehand::emulator::EmulatorOptions;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustix::process::{Pid, Signal, kill_process};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;

use super::{TestForge, try_until};

/// The name of the private authority.
pub const AUTHORITY: &str = "Example Works Root R1";
/// The forge's host name. No DNS server knows it.
pub const HOST: &str = "forge.example-works.test";
/// Who may use the proxy.
pub const PROXY_USER: &str = "runner";
/// The user's password.
pub const PROXY_PASSWORD: &str = "pr0xy-pass-Zt7";

/// The whole site. Everything of it goes when it is dropped.
pub struct ProxiedSite {
    pub forge: TestForge,
    pub namespace: Namespace,
    squid: Squid,
    _front: Runtime,
    dir: tempfile::TempDir,
}

impl ProxiedSite {
    /// Starts everything.
    pub fn start() -> Self {
        Self::with_clients(false)
    }

    /// As [`ProxiedSite::start`], with a front that lets in only who shows a certificate of the authority.
    pub fn asking_for_certificates() -> Self {
        Self::with_clients(true)
    }

    fn with_clients(asks: bool) -> Self {
        let dir = tempfile::Builder::new().prefix("fh-site-").tempdir().expect("a folder");
        let front = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let front = front.expect("a runtime starts");
        let listen = || front.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).expect("a port");
        let (api, storage) = (listen(), listen());
        let public = |listener: &TcpListener| {
            Some(format!("https://{HOST}:{}", listener.local_addr().expect("it is bound").port()))
        };
        let forge = TestForge::with(EmulatorOptions {
            trace_update_interval: 1,
            public_url: public(&api),
            public_storage_url: public(&storage),
            ..EmulatorOptions::default()
        });
        let acceptor = certificates(dir.path(), asks);
        front.spawn(terminate_tls(api, acceptor.clone(), forge.api_address()));
        front.spawn(terminate_tls(storage, acceptor, forge.storage_address()));
        let namespace = Namespace::new();
        let squid = Squid::start(dir.path(), &namespace);
        Self { forge, namespace, squid, _front: front, dir }
    }

    /// The certificate of the private authority.
    pub fn ca_file(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// A certificate of the authority for clients, and its key.
    pub fn client_files(&self) -> (PathBuf, PathBuf) {
        (self.dir.path().join("client.pem"), self.dir.path().join("client.key"))
    }

    /// `network.proxy`, with this password.
    pub fn proxy(&self, password: &str) -> String {
        format!("http://{PROXY_USER}:{password}@{}", self.squid.address)
    }

    /// What squid let through and refused.
    pub fn proxy_log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("access.log")).unwrap_or_default()
    }
}

/// A network namespace with one cable to the machine and no other way out.
pub struct Namespace {
    name: String,
    cable: String,
    /// The machine's end of the cable.
    pub outside: Ipv4Addr,
}

impl Namespace {
    fn new() -> Self {
        static COUNT: AtomicU16 = AtomicU16::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let process = std::process::id();
        // Of 198.18.0.0/15, which is for tests of networks; four addresses each.
        let [high, low] = u16::try_from((process * 4 + u32::from(number)) % 0x4000).expect("14 bits").to_be_bytes();
        let net = Ipv4Addr::new(198, 18, (high << 2) | (low >> 6), (low & 0x3f) << 2);
        let address = |offset| Ipv4Addr::from(u32::from(net) + offset);
        let made =
            Self { name: format!("fh{process}n{number}"), cable: format!("fh{process}c{number}"), outside: address(1) };
        let (name, cable, inner) = (made.name.as_str(), made.cable.as_str(), "inside");
        ip(&["netns", "add", name]);
        ip(&["link", "add", cable, "type", "veth", "peer", "name", inner, "netns", name]);
        ip(&["address", "add", &format!("{}/30", address(1)), "dev", cable]);
        ip(&["link", "set", cable, "up"]);
        ip(&["-n", name, "address", "add", &format!("{}/30", address(2)), "dev", inner]);
        ip(&["-n", name, "link", "set", inner, "up"]);
        ip(&["-n", name, "link", "set", "lo", "up"]);
        made
    }

    /// What runs a program inside. Only the network is another one: `ip netns exec` would hide the control groups.
    pub fn wrapper(&self) -> Vec<String> {
        vec!["nsenter".to_owned(), format!("--net=/run/netns/{}", self.name)]
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // The cable goes with either end; the namespace itself may live on in a process that is just ending.
        let _ = Command::new("ip").args(["link", "delete", &self.cable]).status();
        let _ = Command::new("ip").args(["netns", "delete", &self.name]).status();
    }
}

fn ip(arguments: &[&str]) {
    let output = Command::new("ip").args(arguments).output().expect("ip runs; see scripts/setup --tests");
    assert!(output.status.success(), "ip {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The proxy's password file. The password goes in by a pipe: other tests look for it in every process's arguments.
fn hashed_password() -> Vec<u8> {
    let child =
        Command::new("htpasswd").args(["-nim", PROXY_USER]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut child = child.expect("htpasswd runs; see scripts/setup --tests");
    let mut input = child.stdin.take().expect("its input is a pipe");
    input.write_all(PROXY_PASSWORD.as_bytes()).expect("htpasswd reads its input");
    drop(input);
    let output = child.wait_with_output().expect("htpasswd ends");
    assert!(output.status.success(), "htpasswd: {}", output.status);
    output.stdout
}

/// A squid of our own.
struct Squid {
    address: SocketAddr,
    child: Child,
}

impl Squid {
    fn start(dir: &Path, namespace: &Namespace) -> Self {
        use std::os::unix::fs::PermissionsExt;
        // It drops root and writes its logs here.
        std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o777)).expect("the folder is ours");
        let hashed = hashed_password();
        let write = |name: &str, text: &[u8]| std::fs::write(dir.join(name), text).expect("a file is written");
        write("users", &hashed);
        write("hosts", format!("127.0.0.1 {HOST}\n").as_bytes());
        let address = SocketAddr::from((namespace.outside, 3128));
        let folder = dir.display();
        let config = format!(
            "http_port {address}\n\
             auth_param basic program /usr/lib/squid/basic_ncsa_auth {folder}/users\n\
             auth_param basic children 2 startup=1 idle=1\n\
             auth_param basic realm test\n\
             acl known proxy_auth REQUIRED\n\
             http_access allow known\n\
             http_access deny all\n\
             hosts_file {folder}/hosts\n\
             dns_nameservers 127.0.0.1\n\
             cache deny all\n\
             cache_mem 1 MB\n\
             max_filedescriptors 1024\n\
             access_log stdio:{folder}/access.log\n\
             cache_log {folder}/cache.log\n\
             pid_filename {folder}/squid.pid\n\
             coredump_dir none\n\
             pinger_enable off\n\
             visible_hostname proxy.test\n\
             shutdown_lifetime 0 seconds\n"
        );
        write("squid.conf", config.as_bytes());
        let mut command = Command::new("/usr/sbin/squid");
        // Shared memory is named after the service: two squids must not meet there.
        command.arg("-N").args(["-n", &namespace.name]).arg("-f").arg(dir.join("squid.conf"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut squid = Self { address, child: command.spawn().expect("squid starts; see scripts/setup --tests") };
        let answers = try_until(Duration::from_secs(30), || std::net::TcpStream::connect(squid.address).ok());
        let said = || std::fs::read_to_string(dir.join("cache.log")).unwrap_or_default();
        assert!(answers.is_some(), "squid does not answer ({:?}): {}", squid.child.try_wait(), said());
        squid
    }
}

impl Drop for Squid {
    fn drop(&mut self) {
        // Tidily: it takes its helpers and its shared memory along.
        if let Some(pid) =
            self.child.try_wait().is_ok_and(|ended| ended.is_none()).then(|| Pid::from_child(&self.child))
        {
            let _ = kill_process(pid, Signal::TERM);
        }
        if try_until(Duration::from_secs(10), || self.child.try_wait().ok().flatten()).is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// What makes the front a server of [`HOST`]. The authority's certificate and a client's are written to `dir`.
fn certificates(dir: &Path, asks_clients: bool) -> TlsAcceptor {
    let write = |name: &str, text: String| std::fs::write(dir.join(name), text).expect("a file is written");
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, AUTHORITY);
    let key = KeyPair::generate().expect("a key");
    let authority = params.self_signed(&key).expect("a certificate");
    write("ca.pem", authority.pem());
    let issuer = Issuer::new(params, key);
    let signed = |name: &str, key: &KeyPair| {
        let params = CertificateParams::new(vec![name.to_owned()]).expect("a host name");
        params.signed_by(key, &issuer).expect("a certificate")
    };
    let key = KeyPair::generate().expect("a key");
    write("client.pem", signed("agent.example-works.test", &key).pem());
    write("client.key", key.serialize_pem());
    let key = KeyPair::generate().expect("a key");
    let server = signed(HOST, &key);
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("the provider's own versions");
    let builder = if asks_clients {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(authority.der().clone()).expect("an authority");
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        builder.with_client_cert_verifier(clients.build().expect("a verifier"))
    } else {
        builder.with_no_client_auth()
    };
    let config = builder.with_single_cert(vec![server.der().clone()], key).expect("a key that fits");
    TlsAcceptor::from(Arc::new(config))
}

async fn terminate_tls(listener: TcpListener, acceptor: TlsAcceptor, to: SocketAddr) {
    while let Ok((stream, _)) = listener.accept().await {
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            // Clients that trust nobody hang up here.
            let (Ok(mut inside), Ok(mut outside)) = (acceptor.accept(stream).await, TcpStream::connect(to).await)
            else {
                return;
            };
            let _ = tokio::io::copy_bidirectional(&mut inside, &mut outside).await;
        });
    }
}
