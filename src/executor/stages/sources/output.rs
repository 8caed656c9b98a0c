//! What git prints, on its way into the job's log: the machine's paths become what the job knows them as.

use std::borrow::Cow;
use std::path::Path;

use super::settings::names_of;
use crate::executor::log::StageLog;

/// A line longer than this is passed on in pieces.
const LINE_LIMIT: usize = 16 * 1024;

/// How much of the end of a program's output is kept to tell why it failed.
const TAIL_LIMIT: usize = 8 * 1024;

/// Which texts are replaced by which before anybody reads them.
#[derive(Clone, Debug, Default)]
pub(super) struct Rewrites(Vec<(Vec<u8>, Vec<u8>)>);

impl Rewrites {
    /// From here on `shown` stands for `real`.
    pub fn add(&mut self, real: impl Into<Vec<u8>>, shown: impl Into<Vec<u8>>) {
        let real = real.into();
        if !real.is_empty() {
            self.0.push((real, shown.into()));
            // The longest first: a folder's path must not hide that of a folder inside it.
            self.0.sort_by_key(|(real, _)| std::cmp::Reverse(real.len()));
        }
    }

    /// The same for a folder of the machine, whatever name git has for it.
    pub fn add_folder(&mut self, folder: &Path, shown: &str) {
        for name in names_of(folder) {
            self.add(name.as_os_str().as_encoded_bytes(), shown);
        }
    }

    /// `text` with everything replaced.
    pub fn apply<'t>(&self, text: &'t [u8]) -> Cow<'t, [u8]> {
        let mut text = Cow::Borrowed(text);
        for (real, shown) in &self.0 {
            if let Some(replaced) = replace_all(&text, real, shown) {
                text = Cow::Owned(replaced);
            }
        }
        text
    }

    fn longest(&self) -> usize {
        self.0.first().map_or(0, |(real, _)| real.len())
    }
}

fn replace_all(text: &[u8], real: &[u8], shown: &[u8]) -> Option<Vec<u8>> {
    let find = |from: usize| text[from..].windows(real.len()).position(|window| window == real).map(|at| from + at);
    let mut next = find(0)?;
    let mut replaced = Vec::with_capacity(text.len());
    let mut done = 0;
    loop {
        replaced.extend_from_slice(&text[done..next]);
        replaced.extend_from_slice(shown);
        done = next + real.len();
        match find(done) {
            Some(at) => next = at,
            None => break,
        }
    }
    replaced.extend_from_slice(&text[done..]);
    Some(replaced)
}

/// Passes a program's output on, line by line, and keeps its end.
pub(super) struct Printer<'a> {
    log: Option<&'a dyn StageLog>,
    rewrites: &'a Rewrites,
    pending: Vec<u8>,
    tail: Vec<u8>,
}

impl<'a> Printer<'a> {
    /// Output goes to `log`, or nowhere; its end is kept in both cases.
    pub fn new(log: Option<&'a dyn StageLog>, rewrites: &'a Rewrites) -> Self {
        Self { log, rewrites, pending: Vec::new(), tail: Vec::new() }
    }

    /// Takes output as it comes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
        // Progress lines end with a carriage return.
        let complete = self.pending.iter().rposition(|byte| matches!(byte, b'\n' | b'\r')).map_or(0, |at| at + 1);
        let complete = if complete == 0 && self.pending.len() > LINE_LIMIT {
            // A path that is cut in two would not be recognised: hold back as much as one may have.
            self.pending.len().saturating_sub(self.rewrites.longest())
        } else {
            complete
        };
        self.emit(complete);
    }

    /// Passes on what is left, and returns the end of all output.
    pub fn finish(mut self) -> String {
        self.emit(self.pending.len());
        String::from_utf8_lossy(&self.tail).into_owned()
    }

    fn emit(&mut self, length: usize) {
        if length == 0 {
            return;
        }
        let rest = self.pending.split_off(length);
        let text = std::mem::replace(&mut self.pending, rest);
        let text = self.rewrites.apply(&text);
        if let Some(log) = self.log {
            log.output(&text);
        }
        self.tail.extend_from_slice(&text);
        if self.tail.len() > TAIL_LIMIT {
            self.tail.drain(..self.tail.len() - TAIL_LIMIT);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::log::TestLog;
    use super::*;

    #[test]
    fn a_path_is_replaced_wherever_the_output_is_cut() {
        let mut rewrites = Rewrites::default();
        rewrites.add("/state/ws/team/app", "/builds/team/app");
        rewrites.add("/state/ws", "/builds");
        let text = b"in /state/ws/team/app/.git/\rand /state/ws/x\nlast /state/ws/team/app";
        for cut in 0..text.len() {
            let log = TestLog::default();
            let mut printer = Printer::new(Some(&log), &rewrites);
            printer.push(&text[..cut]);
            printer.push(&text[cut..]);
            let tail = printer.finish();
            assert_eq!(log.text(), "in /builds/team/app/.git/\rand /builds/x\nlast /builds/team/app", "cut at {cut}");
            assert_eq!(tail, log.text());
        }
    }

    #[test]
    fn a_line_without_end_is_passed_on_in_bounded_memory() {
        let mut rewrites = Rewrites::default();
        rewrites.add("SECRETPATH", "shown");
        let log = TestLog::default();
        let mut printer = Printer::new(Some(&log), &rewrites);
        for _ in 0..1000 {
            printer.push(&[b'x'; 1000]);
            assert!(printer.pending.len() <= LINE_LIMIT + 1000);
        }
        printer.finish();
        assert_eq!(log.text().len(), 1_000_000);
    }
}
