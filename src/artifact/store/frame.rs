//! How bytes lie in a pack: a frame holds a chunk, or some small objects one after the other, and is compressed and
//! encrypted by itself, so that any of them is read without its neighbours.

use super::error::StoreError;

/// Bytes of a frame before compression, at most: what a reader makes room for whatever a file says.
pub(super) const MAX_FRAME: usize = 8 << 20;

/// The level of compression. Measured on programs, logs and source code: level 2 and 3 save 1 to 3 % of the bytes and take
/// 15 to 35 % more time; the negative levels are 10 to 20 % faster and take 14 to 50 % more room.
const LEVEL: i32 = 1;

/// So many bytes of a frame are looked at to see whether it can shrink at all, in stretches of [`STRETCH`].
const SAMPLE: usize = 2 << 10;
const STRETCH: usize = 128;

/// Of frames in a row that look as if they cannot, one in so many is tried all the same.
const TRIED: usize = 16;

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

/// Compresses frames. One for each thread.
pub(super) struct Compressor {
    zstd: zstd::bulk::Compressor<'static>,
    /// Room for what comes out; it only grows.
    out: Vec<u8>,
    /// So many frames in a row did not shrink, or were taken to be such.
    noise: usize,
}

impl Compressor {
    pub(super) fn new() -> Result<Self, StoreError> {
        let zstd =
            zstd::bulk::Compressor::new(LEVEL).map_err(|e| StoreError::file("setting up", "zstd".as_ref(), e))?;
        Ok(Self { zstd, out: Vec::new(), noise: 0 })
    }

    /// The bytes of frames as they are to be stored.
    pub(super) fn encode<'a>(
        &'a mut self,
        frames: impl IntoIterator<Item = &'a [u8], IntoIter: Clone>,
    ) -> impl Iterator<Item = (Encoding, &'a [u8])> {
        let frames = frames.into_iter();
        let mut end = 0;
        let mut lengths = Vec::new();
        for raw in frames.clone() {
            let length = self.compress(raw, end);
            end += length.unwrap_or(0);
            lengths.push(length);
        }
        let mut out = self.out.as_slice();
        frames.zip(lengths).map(move |(raw, length)| {
            let Some(length) = length else { return (Encoding::Raw, raw) };
            let (bytes, rest) = out.split_at(length);
            out = rest;
            (Encoding::Zstd, bytes)
        })
    }

    /// Compresses into the room that begins at `start`, and says how many bytes came out. `None`: it is not worth it.
    fn compress(&mut self, raw: &[u8], start: usize) -> Option<usize> {
        // What is compressed already, or encrypted, comes in long runs: trying to compress each piece is work for nothing.
        if !self.noise.is_multiple_of(TRIED) && looks_like_noise(raw) {
            self.noise += 1;
            return None;
        }
        // With less room than this, compressing fails as soon as it is seen not to be worth it.
        let room = raw.len() - raw.len() / WORTH;
        if self.out.len() < start + room {
            self.out.resize(start + room, 0);
        }
        let length = self.zstd.compress_to_buffer(raw, &mut self.out[start..start + room]).ok();
        self.noise = if length.is_none() { self.noise + 1 } else { 0 };
        length
    }
}

/// Whether a sample's bytes are spread so evenly that a code for them would not save one in [`WORTH`]: each value occurs about as
/// often as any other. What is even and repeats itself all the same is found where it is tried.
fn looks_like_noise(raw: &[u8]) -> bool {
    if raw.len() < 4 * SAMPLE {
        return false;
    }
    let mut counts = [0_u32; 256];
    let step = raw.len() / (SAMPLE / STRETCH);
    for stretch in raw.chunks_exact(step).take(SAMPLE / STRETCH) {
        stretch[..STRETCH].iter().for_each(|byte| counts[usize::from(*byte)] += 1);
    }
    const EXPECTED: u32 = SAMPLE as u32 / 256;
    let unevenness: u32 = counts.iter().map(|count| count.abs_diff(EXPECTED).pow(2)).sum::<u32>() / EXPECTED;
    // Pearson's chi-squared: about 255 for noise, and 2 ln 2 more for each bit by which the entropy of a byte is lower, for
    // each byte of the sample. One in `WORTH` of eight bits: 16 ln 2 = 11.
    unevenness < 255 + SAMPLE as u32 * 11 / WORTH as u32
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
            let (encoding, stored) = compressor.encode([raw.as_slice()]).next().unwrap();
            assert_eq!(encoding, expected);
            let mut out = Vec::new();
            decompressor.decode(encoding, stored, raw.len(), &mut out).unwrap();
            assert_eq!(out, raw);
            assert!(decompressor.decode(encoding, stored, raw.len() + 1, &mut out).is_none(), "the size is checked");
        }
    }

    #[test]
    fn frames_that_are_encoded_together_are_read_one_by_one() {
        let noise: Vec<u8> =
            (0_u32..2_000).flat_map(|n| *super::super::id::ObjectId::of(&n.to_le_bytes()).as_bytes()).collect();
        let frames = [vec![b'a'; 50_000], noise.clone(), Vec::new(), b"text ".repeat(9_000), noise, vec![b'z'; 3]];
        let mut compressor = Compressor::new().unwrap();
        let mut decompressor = Decompressor::new().unwrap();
        for round in 0..2 {
            let encoded: Vec<_> = compressor.encode(frames.iter().map(Vec::as_slice)).collect();
            assert_eq!(encoded.len(), frames.len(), "round {round}");
            for (raw, (encoding, stored)) in frames.iter().zip(encoded) {
                let mut out = Vec::new();
                decompressor.decode(encoding, stored, raw.len(), &mut out).unwrap();
                assert_eq!(&out, raw);
            }
        }
    }

    #[test]
    fn what_shrinks_is_compressed_after_any_amount_of_noise() {
        let noise = |from: u32, length: u32| -> Vec<u8> {
            (from..from + length / 32)
                .flat_map(|n| *super::super::id::ObjectId::of(&n.to_le_bytes()).as_bytes())
                .collect()
        };
        let mut compressor = Compressor::new().unwrap();
        let mut encode = |raw: &[u8]| compressor.encode([raw]).next().unwrap().0;
        for n in 0..20 {
            assert_eq!(encode(&noise(n * 10_000, 65_536)), Encoding::Raw, "frame {n}");
        }
        let digits: Vec<u8> = noise(0, 32_768).iter().flat_map(|byte| format!("{byte:02x}").into_bytes()).collect();
        assert_eq!(encode(&digits), Encoding::Zstd, "half of it is nothing");
        // Seven bits in each byte.
        let text: Vec<u8> = noise(0, 65_536).iter().map(|byte| byte & 0x7f).collect();
        assert_eq!(encode(&text), Encoding::Zstd);
        for n in 0..20 {
            assert_eq!(encode(&noise(n * 10_000, 65_536)), Encoding::Raw, "frame {n}");
        }
        // As even as noise, and the same again and again: found after a while.
        let repeated = noise(1, 4_096).repeat(16);
        assert!((0..TRIED).any(|_| encode(&repeated) == Encoding::Zstd));
        assert_eq!(encode(&repeated), Encoding::Zstd, "and known then");
    }

    #[test]
    fn a_frame_that_would_fill_the_memory_is_refused() {
        let bomb = zstd::bulk::compress(&vec![0; MAX_FRAME + 1], 1).unwrap();
        let mut out = Vec::new();
        assert!(Decompressor::new().unwrap().decode(Encoding::Zstd, &bomb, MAX_FRAME + 1, &mut out).is_none());
        assert!(Decompressor::new().unwrap().decode(Encoding::Zstd, &bomb, 10, &mut out).is_none());
    }
}
