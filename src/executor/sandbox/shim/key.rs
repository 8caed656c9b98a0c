//! The secret between an agent and the shim of one job.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use hmac::{Hmac, KeyInit, Mac};
use rustix::rand::{GetRandomFlags, getrandom};
use sha2::Sha256;

/// Length of keys, nonces and authentication codes, bytes.
pub const KEY_LENGTH: usize = 32;

/// The job's key, kept by the agent in the job's private folder and nowhere else. A shim gets only what
/// [`ShimKey::session`] makes of it.
#[derive(Clone, PartialEq, Eq)]
pub struct ShimKey([u8; KEY_LENGTH]);

/// What one started shim and the agent authenticate with: the job's key bound to that shim's own random instance
/// number, so that the key that another process calling itself a shim might be given is of no use elsewhere.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionKey([u8; KEY_LENGTH]);

/// Random bytes from the kernel.
pub(super) fn random() -> io::Result<[u8; KEY_LENGTH]> {
    let mut bytes = [0; KEY_LENGTH];
    let mut filled = 0;
    while filled < bytes.len() {
        match getrandom(&mut bytes[filled..], GetRandomFlags::empty()) {
            Ok(more) => filled += more,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(bytes)
}

pub(super) fn parse_hex(text: &str) -> Option<[u8; KEY_LENGTH]> {
    let mut bytes = [0; KEY_LENGTH];
    hex::decode_to_slice(text, &mut bytes).ok()?;
    Some(bytes)
}

/// HMAC-SHA256 over the parts as they stand; callers keep them unambiguous by fixed lengths.
pub(super) fn authenticate(key: &[u8; KEY_LENGTH], parts: &[&[u8]]) -> Hmac<Sha256> {
    // A key of 32 bytes is within every length that HMAC takes; the other arm cannot be reached.
    let mut mac = match Hmac::<Sha256>::new_from_slice(key) {
        Ok(mac) => mac,
        Err(_) => Hmac::<Sha256>::new(&Default::default()),
    };
    for part in parts {
        mac.update(part);
    }
    mac
}

impl ShimKey {
    /// A fresh key.
    pub fn generate() -> io::Result<Self> {
        random().map(Self)
    }

    /// Writes the key to a new 0600 file, durably. Fails where the file exists.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(hex::encode(self.0).as_bytes())?;
        file.sync_all()
    }

    /// Reads a key that [`ShimKey::save`] wrote.
    pub fn load(path: &Path) -> io::Result<Self> {
        let mut text = String::new();
        File::open(path)?.take(256).read_to_string(&mut text)?;
        let bad = || io::Error::new(io::ErrorKind::InvalidData, format!("{} holds no shim key", path.display()));
        parse_hex(text.trim()).map(Self).ok_or_else(bad)
    }

    /// The key for the shim that calls itself `instance`.
    pub(super) fn session(&self, instance: &[u8; KEY_LENGTH]) -> SessionKey {
        let mac = authenticate(&self.0, &[b"forgehand shim session", instance]);
        SessionKey(mac.finalize().into_bytes().into())
    }

    /// The bytes, for the pipe on which a host sandbox's shim gets them.
    pub(in crate::executor::sandbox) fn to_bytes(&self) -> [u8; KEY_LENGTH] {
        self.0
    }

    pub(super) fn from_bytes(bytes: [u8; KEY_LENGTH]) -> Self {
        Self(bytes)
    }
}

impl SessionKey {
    pub(super) fn to_hex(&self) -> String {
        hex::encode(self.0)
    }

    pub(super) fn from_hex(text: &str) -> Option<Self> {
        parse_hex(text).map(Self)
    }

    pub(super) fn bytes(&self) -> &[u8; KEY_LENGTH] {
        &self.0
    }
}

impl fmt::Debug for ShimKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ShimKey(…)")
    }
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_saved_key_comes_back_and_is_nobody_elses_to_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("shim.key");
        let key = ShimKey::generate().unwrap();
        key.save(&path).unwrap();
        assert_eq!(ShimKey::load(&path).unwrap(), key);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(key.save(&path).is_err(), "a key is never replaced");
        assert!(!format!("{key:?}").contains(&hex::encode(key.0)));
    }

    #[test]
    fn the_key_of_one_instance_is_of_no_use_to_another() {
        let key = ShimKey::generate().unwrap();
        assert_ne!(key.session(&[1; KEY_LENGTH]), key.session(&[2; KEY_LENGTH]));
    }
}
