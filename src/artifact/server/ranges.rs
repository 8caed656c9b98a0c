//! Which bytes of a file are there.

use std::collections::BTreeMap;
use std::ops::Range;

/// Which bytes of a file are there: ranges that neither overlap nor touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RangeSet {
    /// Ends by starts.
    parts: BTreeMap<u64, u64>,
    total: u64,
}

impl RangeSet {
    /// These are there, too.
    pub(super) fn insert(&mut self, range: Range<u64>) {
        let Range { mut start, mut end } = range;
        if start >= end {
            return;
        }
        // From the last one that begins before the end, back to the first that reaches the start.
        while let Some((&from, &to)) = self.parts.range(..=end).next_back() {
            if to < start {
                break;
            }
            self.parts.remove(&from);
            self.total -= to - from;
            (start, end) = (start.min(from), end.max(to));
        }
        self.parts.insert(start, end);
        self.total += end - start;
    }

    /// How many pieces and bytes there would be with these, too.
    pub(super) fn with(&self, range: &Range<u64>) -> (usize, u64) {
        let Range { mut start, mut end } = *range;
        let (mut pieces, mut total) = (self.parts.len(), self.total);
        if start >= end {
            return (pieces, total);
        }
        for (&from, &to) in self.parts.range(..=range.end).rev().take_while(|(_, to)| **to >= range.start) {
            pieces -= 1;
            total -= to - from;
            (start, end) = (start.min(from), end.max(to));
        }
        (pieces + 1, total + (end - start))
    }

    /// How many bytes are there.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// How many pieces they are in.
    #[cfg(test)]
    pub(super) fn pieces(&self) -> usize {
        self.parts.len()
    }

    /// Whether the first `length` bytes are there, and no other.
    pub(super) fn is_whole(&self, length: u64) -> bool {
        match self.parts.first_key_value() {
            None => length == 0,
            Some((&start, &end)) => self.parts.len() == 1 && start == 0 && end == length,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_the_first_bytes_without_a_gap_are_a_whole() {
        let mut set = RangeSet::default();
        assert!(set.is_whole(0) && !set.is_whole(1));
        set.insert(10..20);
        assert!(!set.is_whole(20) && !set.is_whole(10));
        set.insert(0..10);
        assert!(set.is_whole(20) && !set.is_whole(19) && !set.is_whole(21));
    }

    proptest! {
        #[test]
        fn it_knows_each_byte(ranges in prop::collection::vec((0u64..60, 0u64..20), 0..40)) {
            let mut set = RangeSet::default();
            let mut bytes = [false; 80];
            for (start, length) in ranges {
                let told = set.with(&(start..start + length));
                set.insert(start..start + length);
                prop_assert_eq!(told, (set.pieces(), set.total()));
                (start..start + length).for_each(|at| bytes[at as usize] = true);
            }
            prop_assert_eq!(set.total(), bytes.iter().filter(|there| **there).count() as u64);
            let begins = (0..80).filter(|at| bytes[*at] && (*at == 0 || !bytes[at - 1])).count();
            prop_assert_eq!(set.pieces(), begins);
            for length in 0..80 {
                let is_whole = bytes[..length].iter().all(|there| *there) && bytes[length..].iter().all(|there| !*there);
                prop_assert_eq!(set.is_whole(length as u64), is_whole);
            }
        }
    }
}
