//! The messages between agent and shim.
//!
//! A frame is `length (u32, little endian) | code (32 bytes) | body (JSON)`. The first frames of a connection are open:
//! the agent's [`Open`], the shim's [`HelloWire`], and, to a shim without a key, the agent's [`KeyWire`]. From then on
//! `code` is an HMAC-SHA256 over direction, both nonces, the number of the frame and the body: a frame can be neither
//! forged, repeated, reordered nor carried to another connection.

use std::time::Duration;

use hmac::Mac;
use serde::{Deserialize, Serialize, Serializer};

use super::key::{KEY_LENGTH, SessionKey, authenticate};
use super::step::{Program, StepExit, StepId, StepRequest};
use crate::pipeline::Secret;

/// The newest protocol that this build speaks.
pub const PROTOCOL_NEWEST: u16 = 1;
/// The oldest protocol that this build speaks: its own and the one before.
pub const PROTOCOL_OLDEST: u16 = 1;
/// Longest open frame, bytes.
pub const OPEN_LIMIT: usize = 4096;
/// Longest authenticated frame, bytes: a script with its environment.
pub const FRAME_LIMIT: usize = 64 << 20;
/// Bytes before the body.
pub const HEAD: usize = 4 + KEY_LENGTH;

/// First words of the agent.
#[derive(Debug, Serialize, Deserialize)]
pub struct Open {
    /// Oldest protocol it speaks.
    pub oldest: u16,
    /// Newest protocol it speaks.
    pub newest: u16,
    /// 32 random bytes, hex.
    pub nonce: String,
}

/// Answer of the shim. Not authenticated: nothing but the negotiation stands on it.
#[derive(Debug, Serialize, Deserialize)]
pub struct HelloWire {
    /// Oldest protocol it speaks.
    pub oldest: u16,
    /// Newest protocol it speaks.
    pub newest: u16,
    /// Version of the spools it writes.
    pub spool: u16,
    /// 32 random bytes of this shim's start, hex.
    pub instance: String,
    /// 32 random bytes of this connection, hex.
    pub nonce: String,
    /// Whether it has a key already.
    pub keyed: bool,
}

/// The session key, hex, for a shim that has none.
#[derive(Serialize, Deserialize)]
pub struct KeyWire {
    /// See [`SessionKey`].
    pub key: String,
}

/// What the agent asks.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Who are you? Answer: [`Reply::Facts`].
    Ping,
    /// Start a step, unless one of that name was started before. Answer: [`Reply::Step`] or [`Reply::Refused`].
    Start(StepWire),
    /// End a step: SIGTERM, `grace_ms`, SIGKILL. Answer at once: [`Reply::Step`] or [`Reply::Refused`].
    Terminate {
        /// Which.
        step: StepId,
        /// Milliseconds.
        grace_ms: u64,
    },
    /// Wait until a TCP port accepts a connection. Answer: [`Reply::Probe`].
    Probe {
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
        /// Milliseconds.
        timeout_ms: u64,
    },
    /// Pass on what connects to a port of the sandbox's loopback address. Asked again it is the same relay. Answer:
    /// [`Reply::Relay`] or [`Reply::Refused`]. An older shim does not know it; jobs that need it never meet one: they begin
    /// with this one.
    Relay {
        /// The port to listen at; 0: any free one.
        listen: u16,
        /// Name or address to pass on to.
        host: String,
        /// Its port.
        port: u16,
    },
    /// Which steps are there? Answer: [`Reply::Steps`].
    List,
    /// End all steps, then yourself. Answer when everything has ended: [`Reply::Done`].
    Shutdown {
        /// Milliseconds between SIGTERM and SIGKILL.
        grace_ms: u64,
    },
}

/// What the shim answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// See [`Facts`].
    Facts(Facts),
    /// Where a step stands.
    Step(StepState),
    /// All steps of this shim.
    Steps(Vec<(StepId, StepState)>),
    /// `None`: the port accepts connections; otherwise what the last attempt met.
    Probe(Option<String>),
    /// The port that is listened at.
    Relay(u16),
    /// What was asked will not be done, and why.
    Refused(String),
    /// Done.
    Done,
}

/// Where a step stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    /// It runs, or is being ended.
    Running,
    /// It ended.
    Ended(StepExit),
}

/// What the shim knows about where it lives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Version of its binary.
    pub version: String,
    /// Its process id as it sees it.
    pub pid: u32,
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// The sandbox's host name.
    pub hostname: String,
    /// The directory it was started in: the image's own working directory, or what the entrypoint made of it.
    pub cwd: String,
}

/// A [`StepRequest`] on the wire. Serialised only into an authenticated frame.
#[derive(Debug, Serialize, Deserialize)]
pub struct StepWire {
    /// Its name.
    pub id: StepId,
    /// What to run.
    pub program: ProgramWire,
    /// Laid over the shim's own environment.
    #[serde(serialize_with = "exposed_pairs")]
    pub env: Vec<(String, WireSecret)>,
    /// Folders in front of PATH. An older shim does not know it; jobs that need it never meet one: they began with this one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub path: Vec<String>,
    /// Working directory.
    pub cwd: String,
    /// `user[:group]`.
    pub user: Option<String>,
    /// Milliseconds.
    pub timeout_ms: Option<u64>,
    /// Milliseconds.
    pub grace_ms: u64,
}

/// A [`Program`] on the wire.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProgramWire {
    /// The script.
    Shell(#[serde(serialize_with = "exposed")] WireSecret),
    /// Program and arguments.
    Argv(Vec<String>),
    /// Programs of which the first that exists is taken, and its arguments. See [`StepWire::path`] for older shims.
    FirstOf(Vec<String>, Vec<String>),
}

/// A secret read from the wire.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "String")]
pub struct WireSecret(pub Secret);

impl From<String> for WireSecret {
    fn from(text: String) -> Self {
        Self(Secret::new(text))
    }
}

fn exposed<S: Serializer>(secret: &WireSecret, out: S) -> Result<S::Ok, S::Error> {
    out.serialize_str(secret.0.expose())
}

fn exposed_pairs<S: Serializer>(pairs: &[(String, WireSecret)], out: S) -> Result<S::Ok, S::Error> {
    out.collect_seq(pairs.iter().map(|(name, value)| (name, value.0.expose())))
}

/// Whole milliseconds, at most what the wire carries.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl From<&StepRequest> for StepWire {
    fn from(step: &StepRequest) -> Self {
        Self {
            id: step.id.clone(),
            program: match &step.program {
                Program::Shell { script } => ProgramWire::Shell(WireSecret(script.clone())),
                Program::Argv(argv) => ProgramWire::Argv(argv.clone()),
                Program::FirstOf { programs, arguments } => ProgramWire::FirstOf(programs.clone(), arguments.clone()),
            },
            path: step.path.clone(),
            env: step.env.iter().map(|(name, value)| (name.clone(), WireSecret(value.clone()))).collect(),
            cwd: step.cwd.clone(),
            user: step.user.clone(),
            timeout_ms: step.timeout.map(millis),
            grace_ms: millis(step.grace),
        }
    }
}

/// The newest protocol that both sides speak.
pub fn common_protocol(ours: (u16, u16), theirs: (u16, u16)) -> Option<u16> {
    let newest = ours.1.min(theirs.1);
    (newest >= ours.0 && newest >= theirs.0).then_some(newest)
}

/// Which side of the socket one is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The agent.
    Agent,
    /// The shim.
    Shim,
}

/// The authenticated part of one connection.
pub struct Channel {
    key: SessionKey,
    side: Side,
    nonces: [[u8; KEY_LENGTH]; 2],
    sent: u64,
    received: u64,
}

/// A frame that does not come from who holds the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a message is not authenticated by the job's key")]
pub struct NotAuthentic;

impl Channel {
    /// Begins after the open frames.
    pub fn new(key: SessionKey, side: Side, agent: [u8; KEY_LENGTH], shim: [u8; KEY_LENGTH]) -> Self {
        Self { key, side, nonces: [agent, shim], sent: 0, received: 0 }
    }

    fn code(&self, from: Side, number: u64, body: &[u8]) -> hmac::Hmac<sha2::Sha256> {
        let direction = [match from {
            Side::Agent => b'A',
            Side::Shim => b'S',
        }];
        let [agent, shim] = &self.nonces;
        authenticate(self.key.bytes(), &[b"frame", &direction, agent, shim, &number.to_le_bytes(), body])
    }

    /// The next frame to send.
    pub fn seal(&mut self, body: &[u8]) -> Vec<u8> {
        let code = self.code(self.side, self.sent, body).finalize().into_bytes();
        self.sent += 1;
        frame(&code.into(), body)
    }

    /// Checks the next received frame.
    pub fn verify(&mut self, code: &[u8; KEY_LENGTH], body: &[u8]) -> Result<(), NotAuthentic> {
        let from = match self.side {
            Side::Agent => Side::Shim,
            Side::Shim => Side::Agent,
        };
        self.code(from, self.received, body).verify_slice(code).map_err(|_| NotAuthentic)?;
        self.received += 1;
        Ok(())
    }
}

/// An open frame.
pub fn open_frame(message: &impl Serialize) -> Vec<u8> {
    frame(&[0; KEY_LENGTH], &body(message))
}

/// A message as JSON. Our own types always serialise; an empty body is refused by the other side.
pub fn body(message: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(message).unwrap_or_default()
}

fn frame(code: &[u8; KEY_LENGTH], body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEAD + body.len());
    // A body is below FRAME_LIMIT on both sides; a longer one is refused by its receiver.
    out.extend_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(code);
    out.extend_from_slice(body);
    out
}

/// Length of the body and code, from the first [`HEAD`] bytes of a frame.
pub fn parse_head(head: &[u8; HEAD]) -> (usize, [u8; KEY_LENGTH]) {
    let [a, b, c, d, code @ ..] = *head;
    (u32::from_le_bytes([a, b, c, d]) as usize, code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executor::sandbox::shim::key::ShimKey;

    fn pair() -> (Channel, Channel) {
        let key = ShimKey::generate().unwrap().session(&[7; KEY_LENGTH]);
        let make = |side| Channel::new(key.clone(), side, [1; KEY_LENGTH], [2; KEY_LENGTH]);
        (make(Side::Agent), make(Side::Shim))
    }

    fn split(frame: &[u8]) -> ([u8; KEY_LENGTH], Vec<u8>) {
        let (length, code) = parse_head(frame[..HEAD].try_into().unwrap());
        assert_eq!(length, frame.len() - HEAD);
        (code, frame[HEAD..].to_vec())
    }

    #[test]
    fn a_message_is_accepted_once_in_its_place_and_unchanged() {
        let (mut agent, mut shim) = pair();
        let (code, text) = split(&agent.seal(b"one"));
        assert_eq!(shim.verify(&code, b"two"), Err(NotAuthentic), "changed");
        assert_eq!(shim.verify(&code, &text), Ok(()));
        assert_eq!(shim.verify(&code, &text), Err(NotAuthentic), "repeated");
        assert_eq!(agent.verify(&code, &text), Err(NotAuthentic), "sent back");
    }

    #[test]
    fn another_connections_message_is_not_accepted() {
        let (mut agent, _) = pair();
        let (_, mut shim) = pair();
        let (code, text) = split(&agent.seal(b"one"));
        assert_eq!(shim.verify(&code, &text), Err(NotAuthentic));
    }

    #[test]
    fn versions_meet_at_the_newest_common_one_or_not_at_all() {
        assert_eq!(common_protocol((1, 2), (2, 3)), Some(2));
        assert_eq!(common_protocol((2, 3), (1, 2)), Some(2));
        assert_eq!(common_protocol((1, 1), (2, 3)), None, "the shim is too new");
        assert_eq!(common_protocol((3, 4), (1, 2)), None, "the shim is too old");
    }

    #[test]
    fn a_request_survives_the_wire_and_hides_its_secrets_from_debug() {
        let step = StepRequest {
            id: StepId::new("s").unwrap(),
            program: Program::Shell { script: Secret::new("echo hunter2") },
            env: vec![("TOKEN".into(), Secret::new("hunter2"))],
            path: Vec::new(),
            cwd: "/".into(),
            user: None,
            timeout: Some(Duration::from_secs(1)),
            grace: Duration::from_secs(2),
        };
        let text = body(&Request::Start(StepWire::from(&step)));
        let back: Request = serde_json::from_slice(&text).unwrap();
        assert!(!format!("{back:?}").contains("hunter2"));
        let Request::Start(back) = back else { panic!("another request") };
        assert_eq!(back.env[0].1.0.expose(), "hunter2");
        assert!(matches!(back.program, ProgramWire::Shell(s) if s.0.expose() == "echo hunter2"));
    }
}
