//! SHA-256 of two texts at a time.
//!
//! What the store takes in is hashed twice: as a chunk and as a part of its file. A processor that has instructions for SHA-256
//! spends most of its time waiting for the result of the last one; so two hashes that do not depend on each other, taken in
//! turns, cost little more than one. The compression function of `sha2` does what is left over, and everything on
//! processors without these instructions.

use sha2::block_api::compress256;

use super::id::ObjectId;

#[cfg(target_arch = "x86_64")]
mod x86;

const BLOCK: usize = 64;

/// The initial state. (FIPS 180-4, 5.3.3.)
const INITIAL: [u32; 8] =
    [0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19];

/// A hash in the making.
#[derive(Clone)]
pub(super) struct Hasher {
    state: [u32; 8],
    /// What does not fill a block yet.
    rest: [u8; BLOCK],
    filled: usize,
    length: u64,
}

impl Hasher {
    pub(super) fn new() -> Self {
        Self { state: INITIAL, rest: [0; BLOCK], filled: 0, length: 0 }
    }

    /// Takes in `data`.
    pub(super) fn update(&mut self, data: &[u8]) {
        let blocks = self.begin(data);
        let (blocks, rest) = blocks.as_chunks::<BLOCK>();
        compress256(&mut self.state, blocks);
        self.keep(rest);
    }

    /// The hash of everything that was taken in.
    pub(super) fn finish(mut self) -> ObjectId {
        let bits = self.length.wrapping_mul(8);
        self.rest[self.filled] = 0x80;
        self.rest[self.filled + 1..].fill(0);
        if self.filled + 1 > BLOCK - 8 {
            compress256(&mut self.state, &[self.rest]);
            self.rest = [0; BLOCK];
        }
        self.rest[BLOCK - 8..].copy_from_slice(&bits.to_be_bytes());
        compress256(&mut self.state, &[self.rest]);
        let mut out = [0; 32];
        for (to, word) in out.as_chunks_mut::<4>().0.iter_mut().zip(self.state) {
            *to = word.to_be_bytes();
        }
        ObjectId::from_bytes(out)
    }

    /// Fills the block that was begun, and returns what of `data` comes after it. `filled` stays below a block's length.
    fn begin<'d>(&mut self, data: &'d [u8]) -> &'d [u8] {
        self.length = self.length.wrapping_add(data.len() as u64);
        if self.filled == 0 {
            return data;
        }
        let (first, later) = data.split_at(data.len().min(BLOCK - self.filled));
        self.rest[self.filled..self.filled + first.len()].copy_from_slice(first);
        self.filled += first.len();
        if self.filled == BLOCK {
            compress256(&mut self.state, &[self.rest]);
            self.filled = 0;
        }
        later
    }

    /// Keeps what is left of the data: less than a block, after whole ones; nothing where the block is still being filled.
    fn keep(&mut self, rest: &[u8]) {
        if !rest.is_empty() {
            self.rest[..rest.len()].copy_from_slice(rest);
            self.filled = rest.len();
        }
    }
}

/// Takes `one` into `a` and `other` into `b`.
pub(super) fn update_two(a: &mut Hasher, one: &[u8], b: &mut Hasher, other: &[u8]) {
    let (one, one_rest) = a.begin(one).as_chunks::<BLOCK>();
    let (other, other_rest) = b.begin(other).as_chunks::<BLOCK>();
    let both = one.len().min(other.len());
    let ((one, one_more), (other, other_more)) = (one.split_at(both), other.split_at(both));
    compress_two(&mut a.state, one, &mut b.state, other);
    compress256(&mut a.state, one_more);
    compress256(&mut b.state, other_more);
    a.keep(one_rest);
    b.keep(other_rest);
}

/// The hashes of two texts.
pub(super) fn hash_two(one: &[u8], other: &[u8]) -> (ObjectId, ObjectId) {
    let (mut a, mut b) = (Hasher::new(), Hasher::new());
    update_two(&mut a, one, &mut b, other);
    (a.finish(), b.finish())
}

/// As many blocks of the one as of the other.
fn compress_two(a: &mut [u32; 8], one: &[[u8; BLOCK]], b: &mut [u32; 8], other: &[[u8; BLOCK]]) {
    #[cfg(target_arch = "x86_64")]
    if x86::is_supported() {
        // SAFETY: the processor has the instructions.
        unsafe { x86::compress_two(a, one, b, other) };
        return;
    }
    compress256(a, one);
    compress256(b, other);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sha2::{Digest as _, Sha256};

    use super::*;

    fn expected(data: &[u8]) -> ObjectId {
        ObjectId::from_bytes(Sha256::digest(data).into())
    }

    #[test]
    fn every_length_around_a_block_is_right() {
        let data: Vec<u8> = (0..600_u32).map(|n| (n * 7 % 251) as u8).collect();
        for length in 0..data.len() {
            let (a, b) = hash_two(&data[..length], &data[data.len() - length..]);
            assert_eq!(a, expected(&data[..length]));
            assert_eq!(b, expected(&data[data.len() - length..]));
        }
    }

    proptest! {
        #[test]
        fn pieces_of_any_size_give_the_hash_of_the_whole(
            pieces in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 0..300), any::<bool>()), 0..20),
        ) {
            let (mut whole, mut part) = (Hasher::new(), Hasher::new());
            let (mut all, mut some) = (Vec::new(), Vec::new());
            for (piece, in_both) in &pieces {
                all.extend_from_slice(piece);
                if *in_both {
                    some.extend_from_slice(piece);
                    update_two(&mut whole, piece, &mut part, piece);
                } else {
                    whole.update(piece);
                }
            }
            prop_assert_eq!(whole.finish(), expected(&all));
            prop_assert_eq!(part.finish(), expected(&some));
        }
    }
}
