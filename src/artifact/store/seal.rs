//! Encryption of packs, where the operator gives a key: AES-256-GCM, a key of its own for each pack.
//!
//! A pack's key is derived (HKDF-SHA-256) from the operator's and a random salt in the pack's header; so the number of a frame
//! is a nonce that is never used twice.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::{hkdf, hmac};

use super::error::StoreError;

/// Bytes that encryption adds to what it encrypts.
pub(super) const TAG: usize = 16;

/// Bytes of a salt.
pub(super) const SALT: usize = 16;

/// The number that stands for the footer. There are never so many frames.
const FOOTER: u64 = u64::MAX;

/// The operator's key.
#[derive(Clone)]
pub struct StoreKey(hkdf::Prk);

impl std::fmt::Debug for StoreKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StoreKey(***)")
    }
}

impl StoreKey {
    /// Reads the content of a key file: 32 bytes as they are, or 64 hexadecimal digits.
    ///
    /// # Errors
    /// It is neither.
    pub fn parse(file: &[u8]) -> Result<Self, StoreError> {
        let wrong = || {
            StoreError::Key(
                "the file of `store.key_file` is no key: 32 random bytes, or 64 hexadecimal digits (`openssl rand -hex 32`)"
                    .to_owned(),
            )
        };
        let bytes: [u8; 32] = match <[u8; 32]>::try_from(file) {
            Ok(bytes) => bytes,
            Err(_) => {
                let mut bytes = [0; 32];
                hex::decode_to_slice(file.trim_ascii(), &mut bytes).map_err(|_| wrong())?;
                bytes
            }
        };
        Ok(Self(hkdf::Salt::new(hkdf::HKDF_SHA256, b"forgehand store").extract(&bytes)))
    }

    /// The key of the pack with this salt.
    pub(super) fn for_pack(&self, salt: &[u8; SALT]) -> Result<PackKey, StoreError> {
        self.derived(b"pack", salt)
    }

    /// The key of a file that tells what was put from a folder before: one frame, the first.
    pub(super) fn for_seen(&self, salt: &[u8; SALT]) -> Result<PackKey, StoreError> {
        self.derived(b"seen", salt)
    }

    /// Proves to whoever has the key that whoever wrote this has it, too.
    pub(super) fn prove(&self, bytes: &[u8]) -> Result<Vec<u8>, StoreError> {
        let key = self.proof_key().ok_or_else(|| StoreError::Key("a key for a proof cannot be derived".to_owned()))?;
        Ok(hmac::sign(&key, bytes).as_ref().to_vec())
    }

    /// `None`: nobody who has the key wrote this.
    pub(super) fn check_proof(&self, bytes: &[u8], proof: &[u8]) -> Option<()> {
        hmac::verify(&self.proof_key()?, bytes, proof).ok()
    }

    fn proof_key(&self) -> Option<hmac::Key> {
        let okm = self.0.expand(&[b"proof"], hmac::HMAC_SHA256).ok()?;
        Some(hmac::Key::from(okm))
    }

    fn derived(&self, what: &[u8], salt: &[u8; SALT]) -> Result<PackKey, StoreError> {
        let failed = |_| StoreError::Key("a key for a file of the store cannot be derived".to_owned());
        let info = [what, salt];
        let okm = self.0.expand(&info, &AES_256_GCM).map_err(failed)?;
        Ok(PackKey(LessSafeKey::new(UnboundKey::from(okm))))
    }
}

/// The key of a pack.
pub(super) struct PackKey(LessSafeKey);

impl PackKey {
    /// Encrypts the frame of this number; the tag comes behind it.
    pub(super) fn seal_frame(&self, number: u32, bytes: &mut Vec<u8>) -> Result<(), StoreError> {
        self.seal(u64::from(number), bytes)
    }

    /// Encrypts the footer.
    pub(super) fn seal_footer(&self, bytes: &mut Vec<u8>) -> Result<(), StoreError> {
        self.seal(FOOTER, bytes)
    }

    /// Decrypts a frame. `None`: it is not what it was, or of another key.
    pub(super) fn open_frame(&self, number: u32, bytes: &mut Vec<u8>) -> Option<()> {
        self.open(u64::from(number), bytes)
    }

    /// Decrypts the footer. `None`: it is not what it was, or of another key.
    pub(super) fn open_footer(&self, bytes: &mut Vec<u8>) -> Option<()> {
        self.open(FOOTER, bytes)
    }

    fn seal(&self, number: u64, bytes: &mut Vec<u8>) -> Result<(), StoreError> {
        let failed = |_| StoreError::Key("a frame cannot be encrypted".to_owned());
        self.0.seal_in_place_append_tag(nonce(number), Aad::empty(), bytes).map_err(failed)
    }

    fn open(&self, number: u64, bytes: &mut Vec<u8>) -> Option<()> {
        let length = self.0.open_in_place(nonce(number), Aad::empty(), bytes).ok()?.len();
        bytes.truncate(length);
        Some(())
    }
}

fn nonce(number: u64) -> Nonce {
    let mut bytes = [0; NONCE_LEN];
    bytes[NONCE_LEN - 8..].copy_from_slice(&number.to_be_bytes());
    Nonce::assume_unique_for_key(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_key_salt_and_place_opens_a_frame() {
        let key = StoreKey::parse(&[7; 32]).unwrap();
        let hex = StoreKey::parse(format!("{}\n", "07".repeat(32)).as_bytes()).unwrap();
        let mut sealed = b"content".to_vec();
        key.for_pack(&[1; SALT]).unwrap().seal_frame(3, &mut sealed).unwrap();
        assert_eq!(sealed.len(), 7 + TAG);
        let open = |key: &StoreKey, salt, number| {
            let mut bytes = sealed.clone();
            key.for_pack(&[salt; SALT]).unwrap().open_frame(number, &mut bytes).map(|()| bytes)
        };
        assert_eq!(open(&hex, 1, 3).unwrap(), b"content");
        assert!(open(&key, 2, 3).is_none() && open(&key, 1, 4).is_none());
        assert!(open(&StoreKey::parse(&[8; 32]).unwrap(), 1, 3).is_none());
        assert!(StoreKey::parse(b"password").is_err());
    }
}
