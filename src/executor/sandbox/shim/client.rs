//! The agent's calls to a shim.
//!
//! A [`ShimClient`] survives broken connections: every request may be repeated (a step's name starts it once), so a call
//! connects anew where it must, within its deadline. Dropping a call's future closes its connection and no more.

use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout_at};

use super::frame::SPOOL_VERSION;
use super::key::{KEY_LENGTH, ShimKey, parse_hex, random};
use super::run_dir::{RunDir, RunDirError};
use super::step::{StepId, StepRequest};
use super::wire::{
    self, Channel, FRAME_LIMIT, Facts, HEAD, HelloWire, KeyWire, OPEN_LIMIT, Open, PROTOCOL_NEWEST, PROTOCOL_OLDEST,
    Reply, Request, Side, StepState, StepWire,
};

/// How long a shim may take for an answer that needs no waiting.
const CALL_LIMIT: Duration = Duration::from_secs(30);
/// Over what a probe or a shutdown was given itself.
const MARGIN: Duration = Duration::from_secs(15);
/// Of one attempt to connect and say hello.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(10);
/// Between attempts: first, and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(100));
/// Answers are short.
const REPLY_LIMIT: usize = 4 << 20;

/// A shim that cannot be spoken to.
#[derive(Debug, thiserror::Error)]
pub enum ShimError {
    /// It did not answer in time; `last` is what the last attempt met.
    #[error("the shim in {path} did not answer in time: {last}")]
    Unreachable {
        /// The run directory.
        path: PathBuf,
        /// What the last attempt met.
        last: String,
    },
    /// The run directory or the socket is not as it should be.
    #[error(transparent)]
    RunDir(#[from] RunDirError),
    /// It speaks other protocols than we do. The job can still be finished through its spool and exit file.
    #[error(
        "the shim speaks protocol {shim_oldest} to {shim_newest} and this agent {PROTOCOL_OLDEST} to {PROTOCOL_NEWEST}: \
         the running step is followed by its files, no further one can be started"
    )]
    Version {
        /// Oldest that it speaks.
        shim_oldest: u16,
        /// Newest that it speaks.
        shim_newest: u16,
    },
    /// The other end does not hold the job's key: it is not the shim that this agent spoke to.
    #[error("whoever listens in {path} does not hold the job's key: the job replaced the shim's socket")]
    Impostor {
        /// The run directory.
        path: PathBuf,
    },
    /// The shim asks for the key although it was given it before: it is another one.
    #[error("the shim in {path} was started anew and has lost the job: its container must be replaced")]
    Unkeyed {
        /// The run directory.
        path: PathBuf,
    },
    /// It will not do what was asked.
    #[error("{0}")]
    Refused(String),
    /// It says what no shim says.
    #[error("the shim in {path} broke the protocol: {what}")]
    Protocol {
        /// The run directory.
        path: PathBuf,
        /// What it did.
        what: String,
    },
    /// The kernel.
    #[error("cannot speak to the shim in {path}: {source}")]
    Io {
        /// The run directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl ShimError {
    /// Whether a later attempt can help.
    fn is_passing(&self) -> bool {
        match self {
            ShimError::Io { .. } | ShimError::Unreachable { .. } => true,
            ShimError::RunDir(error) => error.is_missing(),
            ShimError::Version { .. }
            | ShimError::Impostor { .. }
            | ShimError::Unkeyed { .. }
            | ShimError::Refused(_)
            | ShimError::Protocol { .. } => false,
        }
    }
}

/// What a shim says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The protocol that is spoken from here on.
    pub protocol: u16,
    /// Version of the spools that it writes; see [`Hello::spool_is_known`].
    pub spool_version: u16,
    /// Random number of this start of the shim, hex: another one means that the sandbox was started again.
    pub instance: String,
    /// Version, process, user, host name and directory.
    pub facts: Facts,
}

impl Hello {
    /// Whether this build reads the shim's spools.
    pub fn spool_is_known(&self) -> bool {
        self.spool_version == SPOOL_VERSION
    }
}

struct Shared {
    run: RunDir,
    key: ShimKey,
    /// Whether a shim that has no key is given one.
    introduces: bool,
    /// At rest; taken out for the time of a call, so that a call that is dropped leaves no half-read answer behind.
    idle: Mutex<Option<Connected>>,
}

struct Connected {
    stream: UnixStream,
    channel: Channel,
    hello: HelloWire,
    protocol: u16,
}

/// A handle on a shim. Cheap to clone; clones make their calls one after another, probes side by side.
#[derive(Clone)]
pub struct ShimClient(Arc<Shared>);

/// Tells when the shim is gone.
pub struct ShimWatch {
    stream: UnixStream,
}

impl ShimWatch {
    /// Returns when the shim's process has ended, however it did. Cancel-safe.
    pub async fn gone(&mut self) {
        // The shim never speaks unasked: whatever comes is the end, or no shim.
        let _ = self.stream.readable().await;
        let mut byte = [0];
        let _ = self.stream.read(&mut byte).await;
    }
}

impl ShimClient {
    /// Connects, waiting until the shim listens or `deadline` passes. A shim that has no key yet (a fresh container) is
    /// given the one made of `key`; a job cannot make use of that, see the module's documentation on trust.
    pub async fn connect(run: &Path, key: &ShimKey, deadline: Instant) -> Result<(Self, Hello), ShimError> {
        Self::begin(run, key, deadline, true).await
    }

    /// As [`ShimClient::connect`], to a shim that has got the key otherwise or before: one that asks for it is not it.
    pub async fn connect_keyed(run: &Path, key: &ShimKey, deadline: Instant) -> Result<(Self, Hello), ShimError> {
        Self::begin(run, key, deadline, false).await
    }

    async fn begin(run: &Path, key: &ShimKey, deadline: Instant, introduces: bool) -> Result<(Self, Hello), ShimError> {
        let run = RunDir::open(run)?;
        let client = Self(Arc::new(Shared { run, key: key.clone(), introduces, idle: Mutex::new(None) }));
        let hello = client.ping(deadline).await?;
        Ok((client, hello))
    }

    /// Asks who is there, until `deadline`.
    pub async fn ping(&self, deadline: Instant) -> Result<Hello, ShimError> {
        let mut idle = self.0.idle.lock().await;
        let mut connected = match idle.take() {
            Some(connected) => connected,
            None => self.reach(deadline).await?,
        };
        let reply = match connected.exchange(&self.0.run, &Request::Ping, deadline).await {
            Err(error) if error.is_passing() => {
                connected = self.reach(deadline).await?;
                connected.exchange(&self.0.run, &Request::Ping, deadline).await?
            }
            other => other?,
        };
        let Reply::Facts(facts) = reply else { return Err(self.unexpected(&reply)) };
        let hello = Hello {
            protocol: connected.protocol,
            spool_version: connected.hello.spool,
            instance: connected.hello.instance.clone(),
            facts,
        };
        *idle = Some(connected);
        Ok(hello)
    }

    /// Starts a step, once: a name that was started before is answered with the state of that step. [`ShimError::Refused`]
    /// says why it will not be started (another user without root, an impossible environment, no room on the disk); what
    /// goes wrong after that is in the step's output and exit code.
    pub async fn start(&self, step: &StepRequest) -> Result<StepState, ShimError> {
        let reply = self.call(&Request::Start(StepWire::from(step)), CALL_LIMIT).await?;
        self.step_state(reply)
    }

    /// Ends a step: SIGTERM to all its processes, `grace`, SIGKILL. Returns at once; the end is in the exit file.
    pub async fn terminate(&self, step: &StepId, grace: Duration) -> Result<StepState, ShimError> {
        let request = Request::Terminate { step: step.clone(), grace_ms: wire::millis(grace) };
        let reply = self.call(&request, CALL_LIMIT).await?;
        self.step_state(reply)
    }

    /// The steps that were started here, in no particular order.
    pub async fn steps(&self) -> Result<Vec<(StepId, StepState)>, ShimError> {
        match self.call(&Request::List, CALL_LIMIT).await? {
            Reply::Steps(steps) => Ok(steps),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Waits, inside the sandbox, until a TCP port accepts a connection; the error says what the last attempt met after
    /// `timeout`. Names are resolved by the sandbox's hosts file and name servers. Several may wait side by side.
    pub async fn probe_tcp(&self, host: &str, port: u16, timeout: Duration) -> Result<(), String> {
        let request = Request::Probe { host: host.to_owned(), port, timeout_ms: wire::millis(timeout) };
        let deadline = Instant::now() + timeout + MARGIN;
        // On a connection of its own, so that it holds up no other call.
        let mut connected = self.reach(deadline).await.map_err(|error| error.to_string())?;
        match connected.exchange(&self.0.run, &request, deadline).await {
            Ok(Reply::Probe(None)) => Ok(()),
            Ok(Reply::Probe(Some(met)) | Reply::Refused(met)) => Err(met),
            Ok(other) => Err(self.unexpected(&other).to_string()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Passes on what connects to `listen` (0: any free port) of the sandbox's loopback address to `host` and `port`. Returns the
    /// port that is listened at; [`ShimError::Refused`] says why none is.
    pub async fn relay(&self, listen: u16, host: &str, port: u16) -> Result<u16, ShimError> {
        match self.call(&Request::Relay { listen, host: host.to_owned(), port }, CALL_LIMIT).await? {
            Reply::Relay(bound) => Ok(bound),
            Reply::Refused(why) => Err(ShimError::Refused(why)),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Ends every step with `grace` and then the shim itself; returns when all have ended.
    pub async fn shutdown(&self, grace: Duration) -> Result<(), ShimError> {
        let deadline = Instant::now() + grace + MARGIN;
        let mut connected = self.reach(deadline).await?;
        match connected.exchange(&self.0.run, &Request::Shutdown { grace_ms: wire::millis(grace) }, deadline).await? {
            Reply::Done => Ok(()),
            other => Err(self.unexpected(&other)),
        }
    }

    /// A watch on the shim's life, for who follows a spool: without a shim nobody will write to it.
    pub async fn watch(&self) -> Result<ShimWatch, ShimError> {
        let deadline = Instant::now() + CALL_LIMIT;
        let mut connected = self.reach(deadline).await?;
        connected.exchange(&self.0.run, &Request::Ping, deadline).await?;
        Ok(ShimWatch { stream: connected.stream })
    }

    /// The run directory.
    pub fn run_dir(&self) -> &RunDir {
        &self.0.run
    }

    async fn call(&self, request: &Request, limit: Duration) -> Result<Reply, ShimError> {
        let deadline = Instant::now() + limit;
        let mut idle = self.0.idle.lock().await;
        if let Some(mut connected) = idle.take() {
            match connected.exchange(&self.0.run, request, deadline).await {
                Err(error) if error.is_passing() => {}
                other => {
                    *idle = Some(connected);
                    return other;
                }
            }
        }
        let mut connected = self.reach(deadline).await?;
        let reply = connected.exchange(&self.0.run, request, deadline).await?;
        *idle = Some(connected);
        Ok(reply)
    }

    /// Connects, again and again until `deadline` while that can help.
    async fn reach(&self, deadline: Instant) -> Result<Connected, ShimError> {
        let mut pause = BACKOFF.0;
        loop {
            let attempt = deadline.min(Instant::now() + ATTEMPT_LIMIT);
            let error = match self.attempt(attempt).await {
                Ok(connected) => return Ok(connected),
                Err(error) if error.is_passing() => error,
                Err(error) => return Err(error),
            };
            if Instant::now() + pause >= deadline {
                return Err(ShimError::Unreachable { path: self.path(), last: error.to_string() });
            }
            sleep(pause).await;
            pause = (pause * 2).min(BACKOFF.1);
        }
    }

    async fn attempt(&self, deadline: Instant) -> Result<Connected, ShimError> {
        let socket = self.0.run.socket()?;
        let path = format!("/proc/self/fd/{}", socket.as_raw_fd());
        let failed = |source| ShimError::Io { path: self.path(), source };
        let mut stream = within(deadline, UnixStream::connect(path)).await.map_err(failed)?;
        let agent = random().map_err(failed)?;
        let open = Open { oldest: PROTOCOL_OLDEST, newest: PROTOCOL_NEWEST, nonce: hex::encode(agent) };
        within(deadline, stream.write_all(&wire::open_frame(&open))).await.map_err(failed)?;
        let (_, body) = read_frame(&mut stream, OPEN_LIMIT, deadline).await.map_err(failed)?;
        let hello: HelloWire = serde_json::from_slice(&body).map_err(|error| self.broke(error.to_string()))?;
        let protocol = wire::common_protocol((PROTOCOL_OLDEST, PROTOCOL_NEWEST), (hello.oldest, hello.newest))
            .ok_or(ShimError::Version { shim_oldest: hello.oldest, shim_newest: hello.newest })?;
        let number = |text: &str| parse_hex(text).ok_or_else(|| self.broke("its hello has no nonce".into()));
        let (instance, shim) = (number(&hello.instance)?, number(&hello.nonce)?);
        let key = self.0.key.session(&instance);
        if !hello.keyed {
            if !self.0.introduces {
                return Err(ShimError::Unkeyed { path: self.path() });
            }
            let frame = wire::open_frame(&KeyWire { key: key.to_hex() });
            within(deadline, stream.write_all(&frame)).await.map_err(failed)?;
        }
        let channel = Channel::new(key, Side::Agent, agent, shim);
        Ok(Connected { stream, channel, hello, protocol })
    }

    fn step_state(&self, reply: Reply) -> Result<StepState, ShimError> {
        match reply {
            Reply::Step(state) => Ok(state),
            Reply::Refused(reason) => Err(ShimError::Refused(reason)),
            other => Err(self.unexpected(&other)),
        }
    }

    fn path(&self) -> PathBuf {
        self.0.run.path().to_owned()
    }

    fn broke(&self, what: String) -> ShimError {
        ShimError::Protocol { path: self.path(), what }
    }

    fn unexpected(&self, reply: &Reply) -> ShimError {
        let kind = match reply {
            Reply::Facts(_) => "facts",
            Reply::Step(_) => "a step's state",
            Reply::Steps(_) => "a list of steps",
            Reply::Relay(_) => "a port",
            Reply::Probe(_) => "a probe's result",
            Reply::Refused(reason) => return ShimError::Refused(reason.clone()),
            Reply::Done => "done",
        };
        self.broke(format!("it answered with {kind}"))
    }
}

impl Connected {
    async fn exchange(&mut self, run: &RunDir, request: &Request, deadline: Instant) -> Result<Reply, ShimError> {
        let path = || run.path().to_owned();
        let body = wire::body(request);
        if body.len() > FRAME_LIMIT {
            let (size, limit) = (body.len() >> 20, FRAME_LIMIT >> 20);
            return Err(ShimError::Refused(format!(
                "the step's script and variables are {size} MiB, at most {limit} work"
            )));
        }
        let frame = self.channel.seal(&body);
        let failed = |source| ShimError::Io { path: path(), source };
        within(deadline, self.stream.write_all(&frame)).await.map_err(failed)?;
        let (code, body) = read_frame(&mut self.stream, REPLY_LIMIT, deadline).await.map_err(failed)?;
        self.channel.verify(&code, &body).map_err(|_| ShimError::Impostor { path: path() })?;
        serde_json::from_slice(&body).map_err(|error| ShimError::Protocol { path: path(), what: error.to_string() })
    }
}

async fn within<T>(deadline: Instant, work: impl Future<Output = std::io::Result<T>>) -> std::io::Result<T> {
    match timeout_at(deadline, work).await {
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            let told = "it closed the connection: it has ended, or does not accept the job's key";
            Err(std::io::Error::new(error.kind(), told))
        }
        Ok(done) => done,
        Err(_) => Err(std::io::Error::new(std::io::ErrorKind::TimedOut, "it did not answer in time")),
    }
}

async fn read_frame(
    stream: &mut UnixStream,
    limit: usize,
    deadline: Instant,
) -> std::io::Result<([u8; KEY_LENGTH], Vec<u8>)> {
    let mut head = [0; HEAD];
    within(deadline, stream.read_exact(&mut head)).await?;
    let (length, code) = wire::parse_head(&head);
    if length > limit {
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, "its answer is too long to be one"));
    }
    let mut body = vec![0; length];
    within(deadline, stream.read_exact(&mut body)).await?;
    Ok((code, body))
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixListener;

    use super::*;

    /// A shim of the test's own making: answers the first frame with `hello` and hands the connection over.
    async fn fake(run: &RunDir, hello: HelloWire) -> tokio::task::JoinHandle<UnixStream> {
        let listener = UnixListener::bind(run.handle_path().join(super::super::SOCKET_NAME)).unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            read_frame(&mut stream, OPEN_LIMIT, Instant::now() + CALL_LIMIT).await.unwrap();
            stream.write_all(&wire::open_frame(&hello)).await.unwrap();
            stream
        })
    }

    fn hello(versions: (u16, u16), keyed: bool) -> HelloWire {
        let (oldest, newest) = versions;
        let number = hex::encode([5; KEY_LENGTH]);
        HelloWire { oldest, newest, spool: SPOOL_VERSION, instance: number.clone(), nonce: number, keyed }
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    #[tokio::test]
    async fn a_shim_of_unknown_protocols_is_named_and_not_spoken_to() {
        for (versions, told) in [((7, 9), "7 to 9"), ((0, 0), "0 to 0")] {
            let dir = tempfile::tempdir().unwrap();
            let run = RunDir::create(&dir.path().join("run")).unwrap();
            let shim = fake(&run, hello(versions, true)).await;
            let error = ShimClient::connect(run.path(), &ShimKey::generate().unwrap(), soon()).await.err().unwrap();
            assert!(matches!(error, ShimError::Version { .. }), "{error}");
            assert!(error.to_string().contains(told), "{error}");
            let mut stream = shim.await.unwrap();
            assert_eq!(stream.read(&mut [0; 64]).await.unwrap(), 0, "nothing more was said");
        }
    }

    #[tokio::test]
    async fn a_key_that_was_given_is_not_given_again() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::create(&dir.path().join("run")).unwrap();
        let shim = fake(&run, hello((1, 1), false)).await;
        let error = ShimClient::connect_keyed(run.path(), &ShimKey::generate().unwrap(), soon()).await.err().unwrap();
        assert!(matches!(error, ShimError::Unkeyed { .. }), "{error}");
        assert_eq!(shim.await.unwrap().read(&mut [0; 64]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn an_answer_without_the_key_is_an_impostors() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::create(&dir.path().join("run")).unwrap();
        let shim = fake(&run, hello((1, 1), true)).await;
        let answer = tokio::spawn(async move {
            let mut stream = shim.await.unwrap();
            read_frame(&mut stream, REPLY_LIMIT, soon()).await.unwrap();
            stream.write_all(&wire::open_frame(&Reply::Done)).await.unwrap();
            stream
        });
        let error = ShimClient::connect(run.path(), &ShimKey::generate().unwrap(), soon()).await.err().unwrap();
        assert!(matches!(error, ShimError::Impostor { .. }), "{error}");
        answer.await.unwrap();
    }

    #[tokio::test]
    async fn a_shim_that_never_comes_is_reported_at_the_deadline_with_its_cause() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::create(&dir.path().join("run")).unwrap();
        let deadline = Instant::now() + Duration::from_millis(50);
        let error = ShimClient::connect(run.path(), &ShimKey::generate().unwrap(), deadline).await.err().unwrap();
        assert!(matches!(error, ShimError::Unreachable { .. }));
        assert!(error.to_string().contains("shim.sock"), "{error}");
    }
}
