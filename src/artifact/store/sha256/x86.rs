//! Two compressions in turns, by the SHA extensions of x86-64. (Intel, "Intel SHA Extensions", 2013; FIPS 180-4, 6.2.2.)

use std::arch::x86_64::{
    __m128i, _mm_add_epi32, _mm_alignr_epi8, _mm_blend_epi16, _mm_loadu_si128, _mm_set_epi8, _mm_sha256msg1_epu32,
    _mm_sha256msg2_epu32, _mm_sha256rnds2_epu32, _mm_shuffle_epi8, _mm_shuffle_epi32, _mm_storeu_si128,
};

use super::BLOCK;

/// The round constants. (FIPS 180-4, 4.2.2.)
static ROUNDS: [[u32; 4]; 16] = [
    [0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5],
    [0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5],
    [0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3],
    [0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174],
    [0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc],
    [0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da],
    [0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7],
    [0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967],
    [0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13],
    [0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85],
    [0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3],
    [0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070],
    [0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5],
    [0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3],
    [0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208],
    [0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2],
];

/// Whether the processor can do it.
pub(super) fn is_supported() -> bool {
    is_x86_feature_detected!("sha") && is_x86_feature_detected!("ssse3") && is_x86_feature_detected!("sse4.1")
}

/// One hash: its state as the instructions want it, and the sixteen words of the message that are being used.
#[derive(Clone, Copy)]
struct Lane {
    abef: __m128i,
    cdgh: __m128i,
    words: [__m128i; 4],
}

/// Compresses the blocks of `one` into `a` and as many of `other` into `b`.
///
/// # Safety
/// [`is_supported`] must have said yes.
#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
pub(super) fn compress_two(a: &mut [u32; 8], one: &[[u8; BLOCK]], b: &mut [u32; 8], other: &[[u8; BLOCK]]) {
    let (mut first, mut second) = (Lane::new(a), Lane::new(b));
    for (one, other) in one.iter().zip(other) {
        let before = (first, second);
        first.load(one);
        second.load(other);
        macro_rules! rounds {
            ($($index:literal)*) => { $( first.four_rounds::<$index>(); second.four_rounds::<$index>(); )* };
        }
        // Written out, so that the words stay in registers.
        rounds!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
        first.add(&before.0);
        second.add(&before.1);
    }
    first.store(a);
    second.store(b);
}

impl Lane {
    #[inline]
    #[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
    fn new(state: &[u32; 8]) -> Self {
        // SAFETY: eight words are two vectors; the loads need no alignment.
        let (dcba, hgfe) =
            unsafe { (_mm_loadu_si128(state.as_ptr().cast()), _mm_loadu_si128(state.as_ptr().add(4).cast())) };
        let cdab = _mm_shuffle_epi32::<0xb1>(dcba);
        let efgh = _mm_shuffle_epi32::<0x1b>(hgfe);
        let abef = _mm_alignr_epi8::<8>(cdab, efgh);
        Self { abef, cdgh: _mm_blend_epi16::<0xf0>(efgh, cdab), words: [abef; 4] }
    }

    #[inline]
    #[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
    fn store(&self, state: &mut [u32; 8]) {
        let feba = _mm_shuffle_epi32::<0x1b>(self.abef);
        let dchg = _mm_shuffle_epi32::<0xb1>(self.cdgh);
        let dcba = _mm_blend_epi16::<0xf0>(feba, dchg);
        let hgfe = _mm_alignr_epi8::<8>(dchg, feba);
        // SAFETY: as in `new`.
        unsafe {
            _mm_storeu_si128(state.as_mut_ptr().cast(), dcba);
            _mm_storeu_si128(state.as_mut_ptr().add(4).cast(), hgfe);
        }
    }

    #[inline]
    #[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
    fn load(&mut self, block: &[u8; BLOCK]) {
        // The words of a message have their first byte highest.
        let order = _mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3);
        for (word, bytes) in self.words.iter_mut().zip(block.as_chunks::<16>().0) {
            // SAFETY: sixteen bytes are a vector; the load needs no alignment.
            *word = _mm_shuffle_epi8(unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }, order);
        }
    }

    /// The four rounds of `INDEX`, and the four words of the message that are needed four times four rounds later.
    #[inline]
    #[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
    fn four_rounds<const INDEX: usize>(&mut self) {
        let (now, next) = (self.words[INDEX % 4], self.words[(INDEX + 1) % 4]);
        let (later, last) = (self.words[(INDEX + 2) % 4], self.words[(INDEX + 3) % 4]);
        // SAFETY: four words are a vector; the load needs no alignment.
        let with_constants = _mm_add_epi32(now, unsafe { _mm_loadu_si128(ROUNDS[INDEX].as_ptr().cast()) });
        self.cdgh = _mm_sha256rnds2_epu32(self.cdgh, self.abef, with_constants);
        let upper = _mm_shuffle_epi32::<0x0e>(with_constants);
        self.abef = _mm_sha256rnds2_epu32(self.abef, self.cdgh, upper);
        if INDEX < 12 {
            let sum = _mm_add_epi32(_mm_sha256msg1_epu32(now, next), _mm_alignr_epi8::<4>(last, later));
            self.words[INDEX % 4] = _mm_sha256msg2_epu32(sum, last);
        }
    }

    #[inline]
    #[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
    fn add(&mut self, before: &Self) {
        self.abef = _mm_add_epi32(self.abef, before.abef);
        self.cdgh = _mm_add_epi32(self.cdgh, before.cdgh);
    }
}
