//! Where files are cut: by their content, so that a byte more or less makes one new chunk and not all that follow.
//! (FastCDC: Xia et al., USENIX ATC 2016, and the 2020 paper's rolling of two bytes.)

use fastcdc::v2020::FastCDC;

/// Files up to this size are one object.
pub(super) const WHOLE: u64 = 64 << 10;

/// Bytes of a chunk. Recorded in `store/format`: with other numbers nothing new would be found to be known.
pub(super) const MIN: u32 = 16 << 10;
/// The mean.
pub(super) const MEAN: u32 = 64 << 10;
/// The maximum.
pub(super) const MAX: u32 = 256 << 10;

/// The ends of the chunks of `data`, which begins where a chunk does. Unless `is_end`, what comes behind the last end is to be
/// taken in again with what follows.
pub(super) fn cuts(data: &[u8], is_end: bool, cuts: &mut Vec<usize>) {
    cuts.clear();
    cuts.extend(FastCDC::new(data, MIN, MEAN, MAX).map(|chunk| chunk.offset + chunk.length));
    // The last one may end only because the data does.
    if !is_end {
        cuts.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(length: usize) -> Vec<u8> {
        let mut state = 88_172_645_463_325_252_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        };
        (0..length).map(|_| next()).collect()
    }

    /// The ends in a file that is read `piece` bytes at a time.
    fn in_pieces(data: &[u8], piece: usize) -> Vec<usize> {
        let (mut ends, mut found, mut buffer, mut start) = (Vec::new(), Vec::new(), Vec::new(), 0);
        let mut rest = data;
        loop {
            let (next, later) = rest.split_at(rest.len().min(piece));
            rest = later;
            buffer.extend_from_slice(next);
            cuts(&buffer, rest.is_empty(), &mut found);
            ends.extend(found.iter().map(|end| start + end));
            if rest.is_empty() {
                return ends;
            }
            let taken = found.last().copied().unwrap_or(0);
            buffer.drain(..taken);
            start += taken;
        }
    }

    #[test]
    fn the_cuts_do_not_hang_on_how_a_file_is_read() {
        let data = noise(3 << 20);
        let whole = in_pieces(&data, data.len());
        for piece in [300 << 10, 512 << 10, 1 << 20] {
            assert_eq!(in_pieces(&data, piece), whole);
        }
        assert_eq!(whole.last(), Some(&data.len()));
        let lengths = whole.iter().zip(std::iter::once(&0).chain(&whole)).map(|(end, start)| end - start);
        let mut lengths: Vec<usize> = lengths.collect();
        assert!(lengths.iter().all(|length| *length <= MAX as usize));
        lengths.pop();
        assert!(lengths.iter().all(|length| *length >= MIN as usize));
    }

    #[test]
    fn a_byte_more_moves_no_later_cut() {
        let data = noise(2 << 20);
        let longer = [b"x", data.as_slice()].concat();
        let (before, after) = (in_pieces(&data, data.len()), in_pieces(&longer, longer.len()));
        let common = before.iter().filter(|end| after.contains(&(*end + 1))).count();
        assert!(common * 10 >= before.len() * 9, "{common} of {}", before.len());
    }
}
