//! What happens to bytes between a process and the job's log: secrets, then tokens, then UTF-8, then time stamps.
//!
//! One [`Chain`] per stream (stdout, stderr, the runner's own words), because what one stream holds back must not be
//! mixed with another's. Given the same writes in the same order a chain gives the same bytes: a step's log can be made
//! again from its spool after a crash.

mod forms;
mod mask;
mod prefix;
mod timestamp;
mod utf8;

pub use mask::Masks;
pub use prefix::TokenRules;
pub use timestamp::StreamTag;

use aho_corasick::BuildError;
use mask::Masker;
use prefix::PrefixMasker;
use timestamp::Timestamper;
use utf8::Utf8Mender;

use crate::pipeline::Secret;
use crate::pipeline::definition::{LogSpec, MaskWord};

/// The filters of one stream, in order.
pub struct Chain {
    masker: Masker,
    parameters: PrefixMasker,
    tokens: PrefixMasker,
    mender: Utf8Mender,
    stamps: Option<Timestamper>,
    /// What came out since it was last asked for, without time stamps; `None`: nobody asks.
    heard: Option<Vec<u8>>,
}

/// What all chains of a job share.
#[derive(Clone)]
pub struct ChainRules {
    masks: Masks,
    word: MaskWord,
    parameters: TokenRules,
    tokens: TokenRules,
    timestamps: bool,
}

impl ChainRules {
    /// The rules that `spec` asks for. Takes time in proportion to the secrets: not for a thread that must not wait.
    ///
    /// # Errors
    /// What has to be hidden cannot be searched for. Then nothing may be shown.
    pub fn new(spec: &LogSpec) -> Result<Self, BuildError> {
        Ok(Self {
            masks: Masks::new(spec.mask.iter(), spec.mask_word)?,
            word: spec.mask_word,
            parameters: TokenRules::url_parameters()?,
            tokens: TokenRules::token_prefixes(&spec.mask_prefixes)?,
            timestamps: spec.timestamps,
        })
    }

    /// Hides `more`, too, in chains made from now on; see [`Chain::follow`] for those there are.
    ///
    /// # Errors
    /// As [`ChainRules::new`]; then nothing has changed.
    pub fn hide(&mut self, more: &[Secret]) -> Result<(), BuildError> {
        self.masks = self.masks.with(more.iter())?;
        Ok(())
    }

    /// A chain for one stream.
    pub fn chain(&self, tag: StreamTag) -> Chain {
        let stamps = self.timestamps.then(|| Timestamper::new(tag));
        Chain { stamps, ..self.chain_without_stamps() }
    }

    /// A chain for a stream whose lines come into another one.
    pub fn chain_without_stamps(&self) -> Chain {
        Chain {
            masker: Masker::new(self.masks.clone()),
            parameters: PrefixMasker::new(self.parameters.clone(), self.word),
            tokens: PrefixMasker::new(self.tokens.clone(), self.word),
            mender: Utf8Mender::default(),
            stamps: None,
            heard: None,
        }
    }
}

impl Chain {
    /// Passes `bytes`, written at `time_us` (microseconds since 1970), through the filters; what comes out so far is
    /// appended to `out`.
    pub fn write(&mut self, time_us: u64, bytes: &[u8], out: &mut Vec<u8>) {
        let masked = self.masker.write(bytes);
        let masked = self.parameters.write(&masked);
        let masked = self.tokens.write(&masked);
        self.finish_write(time_us, &masked, out);
    }

    /// Gives out what is still held back and closes an open line. The chain can be used again.
    pub fn flush(&mut self, time_us: u64, out: &mut Vec<u8>) {
        let mut rest = self.parameters.write(&self.masker.flush());
        rest.extend(self.parameters.flush());
        let mut rest = self.tokens.write(&rest);
        rest.extend(self.tokens.flush());
        self.finish_write(time_us, &rest, out);
        let tail = self.mender.flush();
        if let Some(heard) = &mut self.heard {
            heard.extend_from_slice(tail.as_bytes());
        }
        match &mut self.stamps {
            Some(stamps) => {
                stamps.write(time_us, tail.as_bytes(), out);
                stamps.close(out);
            }
            None => out.extend_from_slice(tail.as_bytes()),
        }
    }

    /// Hides from now on what `rules` say, in what is held back, too.
    pub fn follow(&mut self, rules: &ChainRules) {
        self.masker.hide(rules.masks.clone());
    }

    /// From now on what comes out is kept, without time stamps, for [`Chain::take_heard`].
    pub fn listen(&mut self) {
        self.heard.get_or_insert_default();
    }

    /// What came out since the last call, if somebody listens.
    pub fn take_heard(&mut self) -> Option<Vec<u8>> {
        self.heard.as_mut().map(std::mem::take)
    }

    /// What comes next goes on with a line that an earlier chain has broken.
    pub fn go_on(&mut self) {
        if let Some(stamps) = &mut self.stamps {
            stamps.go_on();
        }
    }

    /// Whether a new chain would go on from here as this one does.
    pub fn is_at_rest(&self) -> bool {
        self.masker.is_at_rest()
            && self.parameters.is_at_rest()
            && self.tokens.is_at_rest()
            && self.mender.is_at_rest()
            && self.stamps.as_ref().is_none_or(Timestamper::is_at_rest)
    }

    fn finish_write(&mut self, time_us: u64, bytes: &[u8], out: &mut Vec<u8>) {
        let mended = self.mender.write(bytes);
        if let Some(heard) = &mut self.heard {
            heard.extend_from_slice(&mended);
        }
        match &mut self.stamps {
            Some(stamps) => stamps.write(time_us, &mended, out),
            None => out.extend_from_slice(&mended),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::Secret;

    fn spec(secrets: &[&str], timestamps: bool) -> LogSpec {
        let mask = secrets.iter().map(|s| Secret::new(*s)).collect();
        LogSpec { sections: true, timestamps, mask, mask_prefixes: vec!["glpat-".into()], ..LogSpec::plain(1 << 20) }
    }

    fn run(spec: &LogSpec, writes: &[&[u8]]) -> String {
        let mut chain = ChainRules::new(spec).unwrap().chain(StreamTag::STDOUT);
        let mut out = Vec::new();
        for write in writes {
            chain.write(0, write, &mut out);
        }
        chain.flush(0, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_cut_of_the_stream_gives_the_same_text() {
        let spec = spec(&["s3cr3tValue99", "s3cr3t"], false);
        let text = "a s3cr3tValue99 b s3cr3t c s3cr3tVal glpat-abc.d e ?private_token=zz&x=1 ü\n".as_bytes();
        let whole = run(&spec, &[text]);
        assert_eq!(whole, "a [MASKED] b [MASKED] c [MASKED]Val glpat-[MASKED] e ?private_token=[MASKED]&x=1 ü\n");
        for cut in 0..text.len() {
            assert_eq!(run(&spec, &[&text[..cut], &text[cut..]]), whole, "cut at {cut}");
        }
        let bytes: Vec<&[u8]> = text.chunks(1).collect();
        assert_eq!(run(&spec, &bytes), whole, "byte by byte");
    }

    #[test]
    fn invalid_utf8_becomes_the_replacement_character() {
        assert_eq!(run(&spec(&[], false), &[b"a\xff\xfeb", b"\xc3", b"\xbc!"]), "a\u{fffd}\u{fffd}bü!");
    }

    #[test]
    fn a_line_carries_time_and_stream() {
        let line = run(&spec(&[], true), &[b"hel", b"lo\n"]);
        assert_eq!(line, "1970-01-01T00:00:00.000000Z 01O hello\n");
    }
}
