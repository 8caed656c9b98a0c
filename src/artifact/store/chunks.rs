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

/// Where a chunk ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    pub(super) end: usize,
    /// It is the same as the chunk before it.
    pub(super) is_again: bool,
}

/// Cuts a file that is taken in a piece at a time.
#[derive(Default)]
pub(super) struct Cutting {
    /// The last chunk, where it is of the greatest length: what repeats itself with any period and no cut in it comes in such.
    longest: Vec<u8>,
}

impl Cutting {
    /// The chunks of `data`, which begins where a chunk does. Unless `is_end`, what comes behind the last of them is to be taken in
    /// again with what follows.
    pub(super) fn cut(&mut self, data: &[u8], is_end: bool) -> Vec<Cut> {
        const LONGEST: usize = MAX as usize;
        let gear = FastCDC::new(data, MIN, MEAN, MAX);
        let mut cuts = Vec::with_capacity(data.len() / MEAN as usize + 1);
        let mut start = 0;
        while start < data.len() {
            let rest = &data[start..];
            let before = if start == 0 { self.longest.as_slice() } else { last_longest(data, &cuts) };
            // Where no cut was found in so many bytes, none is found in the same bytes again: it need not be looked for.
            let is_again = before.len() == LONGEST && rest.starts_with(before);
            let end = if is_again { start + LONGEST } else { gear.cut(start, rest.len()).1 };
            // One that is shorter than it may be ends here only because the data does.
            if end == data.len() && rest.len() < LONGEST && !is_end {
                break;
            }
            cuts.push(Cut { end, is_again });
            start = end;
        }
        if !cuts.is_empty() {
            let last = last_longest(data, &cuts);
            self.longest.clear();
            self.longest.extend_from_slice(last);
        }
        cuts
    }
}

/// The last chunk, if it is of the greatest length.
fn last_longest<'d>(data: &'d [u8], cuts: &[Cut]) -> &'d [u8] {
    let start = cuts.len().checked_sub(2).map_or(0, |before| cuts[before].end);
    let last = cuts.last().map_or(&data[..0], |last| &data[start..last.end]);
    if last.len() == MAX as usize { last } else { &[] }
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
        let (mut ends, mut buffer, mut start) = (Vec::new(), Vec::new(), 0);
        let mut cutting = Cutting::default();
        let mut rest = data;
        loop {
            let (next, later) = rest.split_at(rest.len().min(piece));
            rest = later;
            buffer.extend_from_slice(next);
            let found = cutting.cut(&buffer, rest.is_empty());
            ends.extend(found.iter().map(|cut| start + cut.end));
            if rest.is_empty() {
                return ends;
            }
            let taken = found.last().map_or(0, |cut| cut.end);
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

    /// Data in which chunks of the greatest length repeat themselves, between others.
    fn with_repeats() -> Vec<u8> {
        let page = noise(4096);
        let mut data = noise(100_000);
        data.resize(2_000_000, 0);
        data.extend(noise(70_000));
        data.extend(page.iter().cycle().take(1_500_000));
        data.extend(vec![7; 900_000]);
        data.push(8);
        data.extend(vec![7; 262_144 * 3]);
        data
    }

    #[test]
    fn what_repeats_itself_is_cut_as_anything_else() {
        let data = with_repeats();
        let expected: Vec<usize> =
            FastCDC::new(&data, MIN, MEAN, MAX).map(|chunk| chunk.offset + chunk.length).collect();
        for piece in [300 << 10, 512 << 10, 1 << 20, data.len()] {
            assert_eq!(in_pieces(&data, piece), expected, "{piece}");
        }
    }

    #[test]
    fn a_chunk_that_is_the_same_as_the_one_before_is_known_to_be() {
        let data = with_repeats();
        let (mut cutting, mut at, mut before, mut again) = (Cutting::default(), 0, Vec::new(), 0);
        while at < data.len() {
            let piece = &data[at..data.len().min(at + (1 << 20))];
            let mut start = 0;
            for Cut { end, is_again } in cutting.cut(piece, at + piece.len() == data.len()) {
                assert!(!is_again || piece[start..end] == before, "at {}", at + start);
                again += usize::from(is_again);
                before = piece[start..end].to_vec();
                start = end;
            }
            at += start;
        }
        assert!(again >= 7, "{again}");
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
