//! Hides what follows a known prefix: tokens by their kind (`glpat-…`) and sensitive parameters of URLs.
//! (protocols: GitLab runner 10.5.)

use std::sync::Arc;

use aho_corasick::{AhoCorasick, BuildError};

use super::mask::finder;
use crate::pipeline::definition::MaskWord;

/// Of the prefixes, longest first, only so many are used: more than the known kinds of token and those a server adds.
const MOST_PREFIXES: usize = 100;

/// Longer ones are no prefixes of tokens. GitLab's own limit is 20.
const LONGEST_PREFIX: usize = 256;

/// Parameters whose value is hidden in `?key=value` and `&key=value`.
const URL_PARAMETERS: [&str; 6] =
    ["private_token", "authenticity_token", "rss_token", "x-amz-signature", "x-amz-credential", "x-amz-security-token"];

/// Which prefixes, and how far what follows them reaches.
#[derive(Clone)]
pub struct TokenRules(Option<Arc<Rules>>);

struct Rules {
    finder: AhoCorasick,
    prefixes: Vec<Vec<u8>>,
    ignore_case: bool,
    belongs: fn(u8) -> bool,
}

impl TokenRules {
    /// Sensitive parameters of URLs, in any case.
    ///
    /// # Errors
    /// As [`super::Masks::new`].
    pub fn url_parameters() -> Result<Self, BuildError> {
        let prefixes = URL_PARAMETERS.iter().flat_map(|key| [format!("?{key}="), format!("&{key}=")]);
        Self::new(prefixes.map(String::into_bytes).collect(), true, |byte| {
            !matches!(byte, b'?' | b'&') && !byte.is_ascii_whitespace() && !byte.is_ascii_control()
        })
    }

    /// Tokens that begin with one of `prefixes`.
    ///
    /// # Errors
    /// As [`super::Masks::new`].
    pub fn token_prefixes(prefixes: &[String]) -> Result<Self, BuildError> {
        let mut prefixes: Vec<Vec<u8>> = prefixes.iter().map(|prefix| prefix.trim().as_bytes().to_vec()).collect();
        prefixes.retain(|prefix| (1..=LONGEST_PREFIX).contains(&prefix.len()));
        prefixes.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        prefixes.dedup();
        prefixes.truncate(MOST_PREFIXES);
        Self::new(prefixes, false, |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'=' | b'-'))
    }

    fn new(prefixes: Vec<Vec<u8>>, ignore_case: bool, belongs: fn(u8) -> bool) -> Result<Self, BuildError> {
        if prefixes.is_empty() {
            return Ok(Self(None));
        }
        let finder = finder(&prefixes, ignore_case)?;
        Ok(Self(Some(Arc::new(Rules { finder, prefixes, ignore_case, belongs }))))
    }
}

impl Rules {
    /// Where in `bytes` a prefix could begin that is not complete yet; the length when nowhere.
    fn undecided(&self, bytes: &[u8]) -> usize {
        let longest = self.prefixes.iter().map(Vec::len).max().unwrap_or(0);
        let start = bytes.len().saturating_sub(longest.saturating_sub(1));
        (start..bytes.len()).find(|&at| self.is_beginning(&bytes[at..])).unwrap_or(bytes.len())
    }

    fn is_beginning(&self, bytes: &[u8]) -> bool {
        self.prefixes.iter().any(|prefix| {
            prefix.len() > bytes.len()
                && if self.ignore_case {
                    prefix[..bytes.len()].eq_ignore_ascii_case(bytes)
                } else {
                    prefix.starts_with(bytes)
                }
        })
    }
}

enum State {
    /// Looking for a prefix; these bytes could be the beginning of one.
    Looking(Vec<u8>),
    /// After a prefix, nothing of the token seen yet.
    Expecting,
    /// Inside a token that has been replaced already.
    Dropping,
}

/// Hides tokens in one stream.
pub(super) struct PrefixMasker {
    rules: TokenRules,
    word: &'static [u8],
    state: State,
}

impl PrefixMasker {
    pub(super) fn new(rules: TokenRules, word: MaskWord) -> Self {
        Self { rules, word: word.bytes(), state: State::Looking(Vec::new()) }
    }

    /// What is certain after `bytes`.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Vec<u8> {
        let Some(rules) = self.rules.0.clone() else { return bytes.to_vec() };
        let mut out = Vec::with_capacity(bytes.len() + self.word.len());
        let mut rest = bytes;
        while !rest.is_empty() {
            match &mut self.state {
                State::Looking(held) => {
                    let mut buffer = std::mem::take(held);
                    let held_before = buffer.len();
                    buffer.extend_from_slice(rest);
                    match rules.finder.find(&buffer) {
                        Some(found) => {
                            out.extend_from_slice(&buffer[..found.end()]);
                            rest = &rest[found.end() - held_before..];
                            self.state = State::Expecting;
                        }
                        None => {
                            let undecided = rules.undecided(&buffer);
                            out.extend_from_slice(&buffer[..undecided]);
                            self.state = State::Looking(buffer.split_off(undecided));
                            rest = &[];
                        }
                    }
                }
                State::Expecting | State::Dropping => {
                    let end = rest.iter().position(|&byte| !(rules.belongs)(byte)).unwrap_or(rest.len());
                    if end > 0 && matches!(self.state, State::Expecting) {
                        out.extend_from_slice(self.word);
                        self.state = State::Dropping;
                    }
                    if end < rest.len() {
                        self.state = State::Looking(Vec::new());
                    }
                    rest = &rest[end..];
                }
            }
        }
        out
    }

    /// Whether nothing is kept back, nor expected.
    pub(super) fn is_at_rest(&self) -> bool {
        matches!(&self.state, State::Looking(held) if held.is_empty())
    }

    /// What was kept back: no more bytes will come.
    pub(super) fn flush(&mut self) -> Vec<u8> {
        match std::mem::replace(&mut self.state, State::Looking(Vec::new())) {
            State::Looking(held) => held,
            State::Expecting | State::Dropping => Vec::new(),
        }
    }
}
