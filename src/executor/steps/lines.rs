//! Bytes of a stream to whole lines.

/// A longer line is taken in pieces of so many bytes.
const LONGEST: usize = 1 << 20;

/// Cuts one stream into lines.
#[derive(Default)]
pub(super) struct LineCutter {
    open: Vec<u8>,
}

impl LineCutter {
    /// Hands each line that `bytes` complete to `take`, without its newline.
    pub(super) fn add(&mut self, bytes: &[u8], mut take: impl FnMut(&[u8])) {
        let mut rest = bytes;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            if self.open.is_empty() {
                take(&rest[..end]);
            } else {
                self.open.extend_from_slice(&rest[..end]);
                take(&self.open);
                self.open.clear();
            }
            rest = &rest[end + 1..];
        }
        self.open.extend_from_slice(rest);
        if self.open.len() > LONGEST {
            take(&self.open);
            self.open.clear();
        }
    }

    /// Hands over the last line, if it had no newline.
    pub(super) fn end(&mut self, take: impl FnOnce(&[u8])) {
        if !self.open.is_empty() {
            take(&std::mem::take(&mut self.open));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_whole_however_the_stream_is_cut() {
        let text = b"one\n\nthree\r\nlast";
        for cut in 0..text.len() {
            let (mut cutter, mut lines) = (LineCutter::default(), Vec::new());
            cutter.add(&text[..cut], |line| lines.push(line.to_vec()));
            cutter.add(&text[cut..], |line| lines.push(line.to_vec()));
            cutter.end(|line| lines.push(line.to_vec()));
            assert_eq!(lines, [&b"one"[..], b"", b"three\r", b"last"], "cut at {cut}");
        }
    }
}
