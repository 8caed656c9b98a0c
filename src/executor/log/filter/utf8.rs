//! Makes a stream valid UTF-8: what is not becomes U+FFFD, and a character cut by the border of two writes is kept whole.

/// Mends one stream.
#[derive(Default)]
pub(super) struct Utf8Mender {
    /// The beginning of a character whose end has not come yet: at most three bytes.
    held: Vec<u8>,
}

impl Utf8Mender {
    /// `bytes` as valid UTF-8, as far as it is decided.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut buffer = std::mem::take(&mut self.held);
        buffer.extend_from_slice(bytes);
        let mut out = Vec::with_capacity(buffer.len());
        let mut rest = buffer.as_slice();
        loop {
            match std::str::from_utf8(rest) {
                Ok(text) => {
                    out.extend_from_slice(text.as_bytes());
                    return out;
                }
                Err(error) => {
                    let (good, bad) = rest.split_at(error.valid_up_to());
                    out.extend_from_slice(good);
                    match error.error_len() {
                        Some(len) => {
                            out.extend_from_slice(char::REPLACEMENT_CHARACTER.to_string().as_bytes());
                            rest = &bad[len..];
                        }
                        None => {
                            self.held = bad.to_vec();
                            return out;
                        }
                    }
                }
            }
        }
    }

    /// Whether no part of a character is kept back.
    pub(super) fn is_at_rest(&self) -> bool {
        self.held.is_empty()
    }

    /// What was kept back, as a replacement character.
    pub(super) fn flush(&mut self) -> String {
        if std::mem::take(&mut self.held).is_empty() { String::new() } else { char::REPLACEMENT_CHARACTER.to_string() }
    }
}
