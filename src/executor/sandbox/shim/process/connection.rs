//! One connection of an agent: frames in, frames out, and who may say what.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;

use super::super::frame::SPOOL_VERSION;
use super::super::key::{KEY_LENGTH, SessionKey, parse_hex, random};
use super::super::wire::{
    self, Channel, FRAME_LIMIT, HEAD, HelloWire, KeyWire, OPEN_LIMIT, Open, PROTOCOL_NEWEST, PROTOCOL_OLDEST, Reply,
    Request, Side,
};

/// How long a connection may take until its first authenticated message.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// Replies are small; a peer that reads none of them is dropped at this many bytes.
const OUT_LIMIT: usize = 4 << 20;

/// What the shim knows of keys.
pub struct Keyring {
    /// This start of the shim, random.
    pub instance: [u8; KEY_LENGTH],
    /// The session key, once it is known.
    pub key: Option<SessionKey>,
    /// Whether a peer may hand over the key; otherwise it was handed over at the start.
    pub takes_key: bool,
}

enum Stage {
    Opening,
    Keying { agent: [u8; KEY_LENGTH], shim: [u8; KEY_LENGTH] },
    Trusted { channel: Box<Channel>, proven: bool },
}

/// A connection.
pub struct Connection {
    /// Tells it from the others.
    pub id: u64,
    stream: UnixStream,
    stage: Stage,
    since: Instant,
    inbox: Vec<u8>,
    outbox: Vec<u8>,
}

/// A message's code and body, as they came.
type Frame = ([u8; KEY_LENGTH], Vec<u8>);

/// A connection that is to be closed. Nothing is said to who cannot be trusted.
pub struct Close;

impl Connection {
    /// Takes over an accepted socket.
    pub fn new(id: u64, stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self { id, stream, stage: Stage::Opening, since: Instant::now(), inbox: Vec::new(), outbox: Vec::new() })
    }

    /// What to poll.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// Whether there is something to write.
    pub fn has_output(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// When a peer that proves nothing is dropped.
    pub fn drop_at(&self) -> Option<Instant> {
        match self.stage {
            Stage::Trusted { proven: true, .. } => None,
            Stage::Trusted { proven: false, .. } | Stage::Opening | Stage::Keying { .. } => {
                Some(self.since + HANDSHAKE_LIMIT)
            }
        }
    }

    /// Whether the peer holds the key.
    pub fn is_trusted(&self) -> bool {
        matches!(self.stage, Stage::Trusted { proven: true, .. })
    }

    /// Reads what there is and returns the authenticated requests in it.
    pub fn receive(&mut self, keyring: &mut Keyring) -> Result<Vec<Request>, Close> {
        let mut requests = Vec::new();
        let mut block = [0; 16 << 10];
        loop {
            match self.stream.read(&mut block) {
                Ok(0) => return if requests.is_empty() { Err(Close) } else { Ok(requests) },
                Ok(length) => {
                    self.inbox.extend_from_slice(&block[..length]);
                    while let Some((code, body)) = self.take_frame()? {
                        requests.extend(self.accept(&code, &body, keyring)?);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(requests),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Err(Close),
            }
        }
    }

    fn take_frame(&mut self) -> Result<Option<Frame>, Close> {
        let Some(head) = self.inbox.first_chunk::<HEAD>() else { return Ok(None) };
        let (length, code) = wire::parse_head(head);
        let limit = match self.stage {
            Stage::Trusted { .. } => FRAME_LIMIT,
            Stage::Opening | Stage::Keying { .. } => OPEN_LIMIT,
        };
        if length > limit {
            return Err(Close);
        }
        if self.inbox.len() < HEAD + length {
            return Ok(None);
        }
        let body = self.inbox[HEAD..HEAD + length].to_vec();
        self.inbox.drain(..HEAD + length);
        if self.inbox.is_empty() {
            // A script is let go of as soon as it is read.
            self.inbox = Vec::new();
        }
        Ok(Some((code, body)))
    }

    fn accept(
        &mut self,
        code: &[u8; KEY_LENGTH],
        body: &[u8],
        keyring: &mut Keyring,
    ) -> Result<Option<Request>, Close> {
        match &mut self.stage {
            Stage::Opening => {
                let open: Open = parse(body)?;
                let agent = parse_hex(&open.nonce).ok_or(Close)?;
                self.say_hello(agent, keyring)?;
                Ok(None)
            }
            Stage::Keying { agent, shim } => {
                let (agent, shim) = (*agent, *shim);
                let offered = SessionKey::from_hex(&parse::<KeyWire>(body)?.key).ok_or(Close)?;
                // First come: a key is never replaced. The second of two at once fails at its first message.
                let key = keyring.key.get_or_insert(offered).clone();
                self.trust(key, agent, shim);
                Ok(None)
            }
            Stage::Trusted { channel, proven } => {
                channel.verify(code, body).map_err(|_| Close)?;
                *proven = true;
                parse(body).map(Some)
            }
        }
    }

    fn say_hello(&mut self, agent: [u8; KEY_LENGTH], keyring: &Keyring) -> Result<(), Close> {
        let shim = random().map_err(|_| Close)?;
        self.queue(wire::open_frame(&HelloWire {
            oldest: PROTOCOL_OLDEST,
            newest: PROTOCOL_NEWEST,
            spool: SPOOL_VERSION,
            instance: hex::encode(keyring.instance),
            nonce: hex::encode(shim),
            keyed: keyring.key.is_some(),
        }))?;
        match &keyring.key {
            Some(key) => self.trust(key.clone(), agent, shim),
            None if keyring.takes_key => self.stage = Stage::Keying { agent, shim },
            None => return Err(Close),
        }
        Ok(())
    }

    fn trust(&mut self, key: SessionKey, agent: [u8; KEY_LENGTH], shim: [u8; KEY_LENGTH]) {
        let channel = Box::new(Channel::new(key, Side::Shim, agent, shim));
        self.stage = Stage::Trusted { channel, proven: false };
    }

    /// Answers a request.
    pub fn reply(&mut self, reply: &Reply) -> Result<(), Close> {
        let Stage::Trusted { channel, .. } = &mut self.stage else { return Err(Close) };
        let frame = channel.seal(&wire::body(reply));
        self.queue(frame)
    }

    fn queue(&mut self, frame: Vec<u8>) -> Result<(), Close> {
        self.outbox.extend_from_slice(&frame);
        self.send()
    }

    /// Writes as much as the peer takes.
    pub fn send(&mut self) -> Result<(), Close> {
        while !self.outbox.is_empty() {
            match self.stream.write(&self.outbox) {
                Ok(length) => drop(self.outbox.drain(..length)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Err(Close),
            }
        }
        if self.outbox.len() > OUT_LIMIT { Err(Close) } else { Ok(()) }
    }

    /// Writes what is left before the process ends, for a moment at most.
    pub fn flush(mut self) {
        let _ = self.stream.set_nonblocking(false);
        let _ = self.stream.set_write_timeout(Some(Duration::from_secs(1)));
        let _ = self.stream.write_all(&self.outbox);
    }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Close> {
    serde_json::from_slice(body).map_err(|_| Close)
}
