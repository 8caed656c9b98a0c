//! How bytes lie in a pack: a frame holds a chunk, or some small objects one after the other, and is compressed and
//! encrypted by itself, so that any of them is read without its neighbours.

use super::error::StoreError;

/// Bytes of a frame before compression, at most: what a reader makes room for whatever a file says.
pub(super) const MAX_FRAME: usize = 8 << 20;

/// The level of compression. Measured on programs, logs and source code: level 2 and 3 save 1 to 3 % of the bytes and take
/// 15 to 35 % more time; the negative levels are 10 to 20 % faster and take 14 to 50 % more room.
const LEVEL: i32 = 1;

/// Saving less than this share of a frame is not worth unpacking it: one in 32.
const WORTH: usize = 32;

/// How the bytes of a frame are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// As they are.
    Raw,
    /// One frame of Zstandard.
    Zstd,
}

impl Encoding {
    pub(super) fn to_byte(self) -> u8 {
        match self {
            Encoding::Raw => 0,
            Encoding::Zstd => 1,
        }
    }

    pub(super) fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Encoding::Raw),
            1 => Some(Encoding::Zstd),
            _ => None,
        }
    }
}

/// Compresses frame after frame. One for each thread.
pub(super) struct Compressor {
    zstd: zstd::bulk::Compressor<'static>,
    out: Vec<u8>,
}

impl Compressor {
    pub(super) fn new() -> Result<Self, StoreError> {
        let zstd =
            zstd::bulk::Compressor::new(LEVEL).map_err(|e| StoreError::file("setting up", "zstd".as_ref(), e))?;
        Ok(Self { zstd, out: Vec::new() })
    }

    /// The frame's bytes as they are to be stored.
    pub(super) fn encode<'a>(&'a mut self, raw: &'a [u8]) -> (Encoding, &'a [u8]) {
        // With less room than this, compressing fails as soon as it is seen not to be worth it.
        let room = raw.len() - raw.len() / WORTH;
        self.out.clear();
        self.out.reserve(room);
        // What is put into `out` never exceeds its capacity, which may be more than was asked for.
        match self.zstd.compress_to_buffer(raw, &mut self.out) {
            Ok(length) if length <= room => (Encoding::Zstd, &self.out),
            _ => (Encoding::Raw, raw),
        }
    }
}

/// Decompresses frame after frame. One for each thread.
pub(super) struct Decompressor {
    zstd: zstd::bulk::Decompressor<'static>,
}

impl Decompressor {
    pub(super) fn new() -> Result<Self, StoreError> {
        let zstd = zstd::bulk::Decompressor::new().map_err(|e| StoreError::file("setting up", "zstd".as_ref(), e))?;
        Ok(Self { zstd })
    }

    /// The frame's content in `out`, which must be `length` bytes long. `None`: it is not what it was.
    pub(super) fn decode(&mut self, encoding: Encoding, stored: &[u8], length: usize, out: &mut Vec<u8>) -> Option<()> {
        out.clear();
        if length > MAX_FRAME {
            return None;
        }
        match encoding {
            Encoding::Raw => out.extend_from_slice(stored),
            Encoding::Zstd => {
                out.reserve(length);
                self.zstd.decompress_to_buffer(stored, out).ok()?;
            }
        }
        (out.len() == length).then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_shrink_is_kept_as_it_is() {
        let mut compressor = Compressor::new().unwrap();
        let mut decompressor = Decompressor::new().unwrap();
        let noise: Vec<u8> = (0..50_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()).collect();
        let noise: Vec<u8> = noise.chunks(64).flat_map(|c| *super::super::id::ObjectId::of(c).as_bytes()).collect();
        for (raw, expected) in
            [(vec![b'x'; 70_000], Encoding::Zstd), (noise, Encoding::Raw), (Vec::new(), Encoding::Raw)]
        {
            let (encoding, stored) = compressor.encode(&raw);
            assert_eq!(encoding, expected);
            let mut out = Vec::new();
            decompressor.decode(encoding, stored, raw.len(), &mut out).unwrap();
            assert_eq!(out, raw);
            assert!(decompressor.decode(encoding, stored, raw.len() + 1, &mut out).is_none(), "the size is checked");
        }
    }

    #[test]
    fn a_frame_that_would_fill_the_memory_is_refused() {
        let bomb = zstd::bulk::compress(&vec![0; MAX_FRAME + 1], 1).unwrap();
        let mut out = Vec::new();
        assert!(Decompressor::new().unwrap().decode(Encoding::Zstd, &bomb, MAX_FRAME + 1, &mut out).is_none());
        assert!(Decompressor::new().unwrap().decode(Encoding::Zstd, &bomb, 10, &mut out).is_none());
    }
}
