//! Hides secrets in a stream, across the borders of writes. Of secrets that overlap, all is hidden.

use std::ops::Range;
use std::sync::Arc;

use aho_corasick::automaton::Automaton as _;
use aho_corasick::nfa::contiguous;
use aho_corasick::{AhoCorasick, AhoCorasickKind, Anchored, BuildError, Input, MatchKind};

use super::forms;
use crate::pipeline::Secret;
use crate::pipeline::definition::MaskWord;

/// A longer secret is hidden piece by piece: what could still become a phrase is looked for in so much of the stream at
/// each write.
const PIECE: usize = 8 * 1024;

/// Encoded forms of all secrets together; beyond them, secrets are hidden as they are. More than any forge takes.
const MOST_ENCODED: usize = 8 << 20;

/// The texts to hide, ready to be searched for. Cheap to clone.
#[derive(Clone)]
pub struct Masks(Arc<Inner>);

struct Inner {
    /// What stands in place of each.
    word: &'static [u8],
    /// Sorted, so that "could more bytes complete one of them" is a binary search.
    phrases: Vec<Vec<u8>>,
    finder: Option<Finder>,
    longest: usize,
    /// Whether a phrase begins with this byte.
    begins: [bool; 256],
}

impl Masks {
    /// Hides each secret and its encoded forms. White space around a secret does not count; empty ones are ignored.
    ///
    /// # Errors
    /// The secrets together are too long to be searched for. Then nothing may be shown.
    pub fn new<'a>(secrets: impl Iterator<Item = &'a Secret>, word: MaskWord) -> Result<Self, BuildError> {
        Self::of(Vec::new(), secrets, word.bytes())
    }

    /// These and `more`, which became known while the job ran.
    ///
    /// # Errors
    /// As [`Masks::new`].
    pub fn with<'a>(&self, more: impl Iterator<Item = &'a Secret>) -> Result<Self, BuildError> {
        Self::of(self.0.phrases.clone(), more, self.0.word)
    }

    fn of<'a>(
        mut phrases: Vec<Vec<u8>>,
        secrets: impl Iterator<Item = &'a Secret>,
        word: &'static [u8],
    ) -> Result<Self, BuildError> {
        let mut encoded: usize = phrases.iter().map(Vec::len).sum();
        for secret in secrets.map(|secret| secret.expose().trim()).filter(|secret| !secret.is_empty()) {
            if secret.len() <= PIECE && encoded <= MOST_ENCODED {
                let forms = forms::of(secret);
                encoded += forms.iter().map(Vec::len).sum::<usize>();
                phrases.extend(forms);
            } else {
                phrases.extend(pieces(secret.as_bytes()).map(<[u8]>::to_vec));
            }
        }
        phrases.sort();
        phrases.dedup();
        let finder = if phrases.is_empty() { None } else { Some(Finder::new(&phrases)?) };
        let longest = phrases.iter().map(Vec::len).max().unwrap_or(0);
        let mut begins = [false; 256];
        for phrase in &phrases {
            begins[usize::from(phrase[0])] = true;
        }
        Ok(Self(Arc::new(Inner { word, phrases, finder, longest, begins })))
    }

    /// Where in `bytes` a phrase could begin that is not complete yet; the length when nowhere.
    fn undecided(&self, bytes: &[u8]) -> usize {
        let start = bytes.len().saturating_sub(self.0.longest.saturating_sub(1));
        (start..bytes.len())
            .find(|&at| self.0.begins[usize::from(bytes[at])] && self.is_beginning(&bytes[at..]))
            .unwrap_or(bytes.len())
    }

    /// Whether some phrase begins with `bytes` and goes on after them.
    fn is_beginning(&self, bytes: &[u8]) -> bool {
        let phrases = &self.0.phrases;
        let mut at = phrases.partition_point(|phrase| phrase.as_slice() < bytes);
        if phrases.get(at).is_some_and(|phrase| phrase == bytes) {
            at += 1;
        }
        phrases.get(at).is_some_and(|phrase| phrase.starts_with(bytes))
    }
}

/// Finds what phrases cover.
struct Finder {
    /// Where the next phrase begins: quickly, as there mostly is none.
    next: AhoCorasick,
    /// What follows a phrase's beginning, byte by byte, for those that overlap it.
    overlaps: contiguous::NFA,
}

impl Finder {
    fn new(phrases: &[Vec<u8>]) -> Result<Self, BuildError> {
        let overlaps = contiguous::Builder::new().match_kind(MatchKind::Standard).build(phrases)?;
        Ok(Self { next: finder(phrases, false)?, overlaps })
    }

    /// What is covered, in order. Phrases that overlap make one stretch, those that only touch make two.
    fn covered(&self, bytes: &[u8]) -> Vec<Range<usize>> {
        let mut stretches = Vec::new();
        let mut from = 0;
        while let Some(first) = self.next.find(Input::new(bytes).span(from..bytes.len())) {
            from = self.follow(bytes, first.start(), &mut stretches);
        }
        stretches
    }

    /// Goes on from `start`, where a phrase begins, until none can go on; gives where that is. Each byte costs the same, whatever
    /// the phrases are.
    fn follow(&self, bytes: &[u8], start: usize, stretches: &mut Vec<Range<usize>>) -> usize {
        // It refuses anchored searches alone, and this is none.
        let Ok(idle) = self.overlaps.start_state(Anchored::No) else { return bytes.len() };
        let mut state = idle;
        for (at, byte) in bytes.iter().enumerate().skip(start) {
            state = self.overlaps.next_state(Anchored::No, state, *byte);
            if self.overlaps.is_match(state) {
                // Of those that end here the first is the longest.
                let length = self.overlaps.pattern_len(self.overlaps.match_pattern(state, 0));
                cover(at + 1 - length..at + 1, stretches);
            } else if state == idle {
                return at + 1;
            }
        }
        bytes.len()
    }
}

/// Adds a phrase behind which nothing is covered yet.
fn cover(mut phrase: Range<usize>, stretches: &mut Vec<Range<usize>>) {
    while let Some(last) = stretches.pop_if(|last| last.end > phrase.start) {
        phrase.start = phrase.start.min(last.start);
    }
    stretches.push(phrase);
}

/// Finds the longest of `phrases` wherever one begins. Phrases come from the job, so that the automaton is of the kind
/// that takes time and memory in proportion to them, whatever they are; the library's own choice may take their square.
pub(super) fn finder(phrases: &[Vec<u8>], ignore_case: bool) -> Result<AhoCorasick, BuildError> {
    AhoCorasick::builder()
        .kind(Some(AhoCorasickKind::ContiguousNFA))
        .match_kind(MatchKind::LeftmostLongest)
        .ascii_case_insensitive(ignore_case)
        .build(phrases)
}

/// `secret` in pieces of [`PIECE`] bytes, the last one up to twice that, so that no piece is so short that it hides other
/// text.
fn pieces(secret: &[u8]) -> impl Iterator<Item = &[u8]> {
    let count = (secret.len() / PIECE).max(1);
    (0..count).map(move |index| {
        let end = if index + 1 == count { secret.len() } else { (index + 1) * PIECE };
        &secret[index * PIECE..end]
    })
}

/// Hides the phrases of one [`Masks`] in one stream.
pub(super) struct Masker {
    masks: Masks,
    held: Vec<u8>,
    /// So many bytes at the beginning of what is held stand under a word that came out already.
    covered: usize,
    /// Whether what came out last stands for a phrase.
    ends_hidden: bool,
}

impl Masker {
    pub(super) fn new(masks: Masks) -> Self {
        Self { masks, held: Vec::new(), covered: 0, ends_hidden: false }
    }

    /// From now on these are hidden, in what is held back, too.
    pub(super) fn hide(&mut self, masks: Masks) {
        self.masks = masks;
    }

    /// What is certain after `bytes`. Keeps back what could be the beginning of a phrase.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut buffer = std::mem::take(&mut self.held);
        buffer.extend_from_slice(bytes);
        let certain = self.masks.undecided(&buffer);
        let out = self.hidden(&buffer, certain);
        buffer.drain(..certain);
        self.held = buffer;
        out
    }

    /// The first `certain` bytes with the phrases in them hidden; what a phrase covers behind them is remembered.
    fn hidden(&mut self, buffer: &[u8], certain: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(certain);
        let mut done = self.covered;
        let masks = self.masks.clone();
        let stretches = masks.0.finder.iter().flat_map(|finder| finder.covered(buffer));
        // In what begins behind, a longer phrase may begin.
        for stretch in stretches.take_while(|stretch| stretch.start < certain) {
            if stretch.start >= done {
                self.show(&buffer[done..stretch.start], &mut out);
                self.stand_in(&mut out);
            }
            done = done.max(stretch.end);
        }
        self.show(buffer.get(done..certain).unwrap_or_default(), &mut out);
        self.covered = done.saturating_sub(certain);
        out
    }

    fn show(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        self.ends_hidden &= bytes.is_empty();
        out.extend_from_slice(bytes);
    }

    /// Puts the word in place of a phrase. On GitHub one word stands for phrases that follow each other closely.
    fn stand_in(&mut self, out: &mut Vec<u8>) {
        let word = self.masks.0.word;
        if !(self.ends_hidden && word == MaskWord::Stars.bytes()) {
            out.extend_from_slice(word);
        }
        self.ends_hidden = true;
    }

    /// Whether nothing is kept back.
    pub(super) fn is_at_rest(&self) -> bool {
        self.held.is_empty()
    }

    /// What was kept back, with complete phrases in it hidden: no more bytes will come.
    pub(super) fn flush(&mut self) -> Vec<u8> {
        let held = std::mem::take(&mut self.held);
        self.hidden(&held, held.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn mask(secrets: &[&str], writes: &[&[u8]]) -> Vec<u8> {
        let secrets: Vec<Secret> = secrets.iter().map(|s| Secret::new(*s)).collect();
        let mut masker = Masker::new(Masks::new(secrets.iter(), MaskWord::default()).unwrap());
        let mut out = Vec::new();
        for write in writes {
            out.extend(masker.write(write));
        }
        out.extend(masker.flush());
        out
    }

    #[test]
    fn the_longest_phrase_wins_wherever_the_write_ends() {
        assert_eq!(mask(&["abc", "abcdef"], &[b"abc", b"def abc", b"dex"]), b"[MASKED] [MASKED]dex");
    }

    #[test]
    fn of_secrets_that_overlap_all_is_hidden() {
        assert_eq!(mask(&["abcd", "cdef"], &[b"<abcdef>"]), b"<[MASKED]>");
        assert_eq!(mask(&["abcd", "cdef"], &[b"<abc", b"d", b"e", b"f> cde cdef"]), b"<[MASKED]> cde [MASKED]");
        assert_eq!(mask(&["abcd", "cdef"], &[b"abcde"]), b"[MASKED]e");
        assert_eq!(mask(&["aa"], &[b"aaa", b"aa ", b"a"]), b"[MASKED] a");
        // The third covers the border between the two that only touch.
        assert_eq!(mask(&["abc", "xyz", "cxyz1"], &[b"abcxyz abcxyz1"]), b"[MASKED][MASKED] [MASKED]");
    }

    #[test]
    fn what_is_to_be_hidden_later_is_hidden_from_then_on() {
        let known = Masks::new([Secret::new("first-secret")].iter(), MaskWord::Stars).unwrap();
        let mut masker = Masker::new(known.clone());
        let mut out = masker.write(b"second-secret first-");
        masker.hide(known.with([Secret::new("second-secret")].iter()).unwrap());
        out.extend(masker.write(b"secret second-secret"));
        out.extend(masker.flush());
        assert_eq!(String::from_utf8(out).unwrap(), "second-secret *** ***");
    }

    #[test]
    fn secrets_side_by_side_have_one_word_where_github_has_one() {
        let secrets = [Secret::new("abc"), Secret::new("xyz")];
        let mut stars = Masker::new(Masks::new(secrets.iter(), MaskWord::Stars).unwrap());
        let mut out = stars.write(b"<abcxyz> abc");
        out.extend(stars.write(b"xyz abc xyz"));
        out.extend(stars.flush());
        assert_eq!(String::from_utf8(out).unwrap(), "<***> *** *** ***");
        assert_eq!(mask(&["abc", "xyz"], &[b"abcxyz"]), b"[MASKED][MASKED]");
    }

    #[test]
    fn a_secret_hidden_in_a_false_start_is_found() {
        assert_eq!(mask(&["aab"], &[b"aa", b"ab"]), b"a[MASKED]");
    }

    #[test]
    fn the_encoded_form_is_hidden_too() {
        // base64 of "user:s3cr3tValue99"
        let out = String::from_utf8(mask(&["s3cr3tValue99"], &[b"dXNlcjpzM2NyM3RWYWx1ZTk5"])).unwrap();
        assert!(out.contains("[MASKED]"), "{out}");
    }

    /// Job payloads may hold such secrets; a job that does must not hold up the agent.
    #[test]
    fn secrets_of_any_length_and_shape_are_hidden() {
        let repeated = "a".repeat(10_000);
        assert_eq!(mask(&[&repeated], &[repeated.as_bytes()]), b"[MASKED]");
        let long: String = (0..20_000).map(|number| format!("{number:05}")).collect();
        let halves = long.as_bytes().split_at(33_333);
        let out = String::from_utf8(mask(&[&long], &[b"<", halves.0, halves.1, b">"])).unwrap();
        assert_eq!(out.replace("[MASKED]", ""), "<>");
    }

    proptest! {
        /// Whatever the cuts, no secret is left, and cutting does not change the result.
        #[test]
        fn cuts_do_not_matter(text in "[ab]{0,40}", cuts in proptest::collection::vec(0usize..40, 0..6)) {
            let secrets = ["aba", "abab", "bb", "baaab"];
            let whole = mask(&secrets, &[text.as_bytes()]);
            // What is shown are the bytes that no occurrence covers.
            let mut shown: Vec<Option<u8>> = text.bytes().map(Some).collect();
            for secret in secrets {
                for at in 0..text.len() {
                    if text[at..].starts_with(secret) {
                        shown[at..at + secret.len()].fill(None);
                    }
                }
            }
            let shown: Vec<u8> = shown.into_iter().flatten().collect();
            let left = String::from_utf8(whole.clone()).unwrap().replace("[MASKED]", "").into_bytes();
            prop_assert_eq!(left, shown);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(text.len())).collect();
            cuts.sort_unstable();
            let mut writes = Vec::new();
            let mut from = 0;
            for cut in cuts {
                writes.push(&text.as_bytes()[from..cut]);
                from = cut;
            }
            writes.push(&text.as_bytes()[from..]);
            prop_assert_eq!(mask(&secrets, &writes), whole);
        }
    }
}
