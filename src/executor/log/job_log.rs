//! The job's log: one file, appended by the stages and the steps' output, read by the pump that brings it to the forge.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::watch;

use super::filter::{Chain, ChainRules, StreamTag};
use super::{StageLog, Tone};
use crate::forge::LogDigest;
use crate::pipeline::definition::LogSpec;

/// How much of a log is kept in memory while the disk has no room: of output, and of everything. The difference is for the
/// runner's own last words, which say that the disk is full.
const OUTPUT_IN_MEMORY: usize = 48 << 10;
const MOST_IN_MEMORY: usize = 64 << 10;

/// Which of a job's streams bytes belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogStream {
    /// The runner's own words.
    Runner,
    /// Standard output of a step, or of a program run for the job.
    Stdout,
    /// Standard error of a step.
    Stderr,
    /// Output of services.
    Service,
}

/// The log of one job. Cheap to clone; all clones write the same file.
///
/// Writing never fails towards the writer: what the disk has no room for stays in memory up to a limit and goes to the disk
/// when there is room again; [`JobLog::checkpoint`] finds the error meanwhile.
#[derive(Clone)]
pub struct JobLog {
    inner: Arc<Mutex<Inner>>,
    grown: watch::Sender<Growth>,
}

/// How far the log has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Growth {
    /// Bytes in the file.
    pub size: u64,
    /// Nothing more will come.
    pub is_closed: bool,
}

struct Inner {
    file: File,
    size: u64,
    /// Up to here the file holds what an earlier agent wrote. The forge may have it, so it stays as it is: see
    /// [`Inner::repeat`].
    written: u64,
    hasher: crc32fast::Hasher,
    chains: [Chain; 4],
    limit: u64,
    is_cut: bool,
    /// The end of the log that is not in the file yet: the disk is full.
    unwritten: Vec<u8>,
    broken: Option<io::Error>,
    scratch: Vec<u8>,
    sections: bool,
}

impl JobLog {
    /// Opens the log at `path`; goes on behind the first `keep` bytes of what an earlier agent wrote there.
    ///
    /// What it wrote behind them is made again by the caller, and stays as it stands: the forge may have it already. Where
    /// the caller comes to say something else, that stands behind all the earlier agent wrote.
    pub fn open(path: &Path, spec: &LogSpec, keep: u64) -> io::Result<Self> {
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        let written = file.metadata()?.len();
        let size = keep.min(written);
        let rules = ChainRules::new(spec);
        let mut inner = Inner {
            file,
            size: 0,
            written,
            hasher: crc32fast::Hasher::new(),
            chains: [StreamTag::RUNNER, StreamTag::STDOUT, StreamTag::STDERR, StreamTag::SERVICE]
                .map(|tag| rules.chain(tag)),
            limit: spec.limit,
            is_cut: size >= spec.limit,
            unwritten: Vec::new(),
            broken: None,
            scratch: Vec::new(),
            sections: spec.sections,
        };
        inner.take_as_written(size)?;
        let (grown, _) = watch::channel(Growth { size: inner.end(), is_closed: false });
        Ok(Self { inner: Arc::new(Mutex::new(inner)), grown })
    }

    /// Adds what `stream` brought at `time_us` (microseconds since 1970).
    pub fn write(&self, stream: LogStream, time_us: u64, bytes: &[u8]) {
        let mut inner = self.lock();
        inner.write(stream, time_us, bytes);
        self.tell(&inner);
    }

    /// Gives out everything that filters hold back, so that what comes next stands behind it. Returns the size, up to
    /// which the log is final.
    ///
    /// # Errors
    /// The disk's, if any write since the last call failed.
    pub fn checkpoint(&self) -> io::Result<u64> {
        let mut inner = self.lock();
        inner.flush(now_us());
        inner.write_out();
        self.tell(&inner);
        match inner.broken.take() {
            Some(error) => Err(error),
            None => Ok(inner.size),
        }
    }

    /// Ends the log: nothing more will come.
    pub fn close(&self) -> LogDigest {
        let mut inner = self.lock();
        inner.flush(now_us());
        inner.stand_by_what_is_written();
        inner.write_out();
        self.grown.send_replace(Growth { size: inner.size, is_closed: true });
        inner.digest()
    }

    /// What the log amounts to so far.
    pub fn digest(&self) -> LogDigest {
        self.lock().digest()
    }

    /// Whether nothing more is kept because the limit was reached.
    pub fn is_cut(&self) -> bool {
        self.lock().is_cut
    }

    /// Tells of growth, the latest state only.
    pub fn growth(&self) -> watch::Receiver<Growth> {
        self.grown.subscribe()
    }

    /// At most `most` bytes from `at`. Fewer, or none, at the end of what is there.
    pub fn read_at(&self, at: u64, most: usize) -> io::Result<Vec<u8>> {
        let inner = self.lock();
        let there = usize::try_from(inner.end().saturating_sub(at)).unwrap_or(usize::MAX).min(most);
        let mut bytes = vec![0; there];
        let on_disk = inner.end() - inner.unwritten.len() as u64;
        let from_disk = usize::try_from(on_disk.saturating_sub(at)).unwrap_or(usize::MAX).min(there);
        let (written, unwritten) = bytes.split_at_mut(from_disk);
        inner.file.read_exact_at(written, at)?;
        let skipped = usize::try_from(at.saturating_sub(on_disk)).unwrap_or(usize::MAX);
        unwritten.copy_from_slice(&inner.unwritten[skipped..skipped + unwritten.len()]);
        Ok(bytes)
    }

    /// Begins a section that the forge's UI folds and times, with its title line. (protocols: GitLab 4.7.)
    pub fn begin_section(&self, name: &str, title: &str) {
        let now = now_us();
        let mut inner = self.lock();
        inner.flush(now);
        if inner.sections {
            let marker = format!("section_start:{}:{name}\r\x1b[0K", now / 1_000_000);
            inner.write(LogStream::Runner, now, marker.as_bytes());
        }
        let title = format!("\x1b[0K\x1b[36;1m{title}\x1b[0;m\x1b[0;m\n");
        inner.write(LogStream::Runner, now, title.as_bytes());
        self.tell(&inner);
    }

    /// Ends a section.
    pub fn end_section(&self, name: &str) {
        let now = now_us();
        let mut inner = self.lock();
        inner.flush(now);
        if inner.sections {
            let marker = format!("section_end:{}:{name}\r\x1b[0K", now / 1_000_000);
            inner.write(LogStream::Runner, now, marker.as_bytes());
        }
        self.tell(&inner);
    }

    fn tell(&self, inner: &Inner) {
        self.grown.send_if_modified(|growth| {
            let changed = growth.size != inner.end();
            growth.size = inner.end();
            changed
        });
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A writer that panicked leaves bytes, at worst fewer than it meant to: the log is still worth having.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StageLog for JobLog {
    fn say(&self, tone: Tone, line: &str) {
        let (before, after) = match tone {
            Tone::Plain => ("\x1b[0K", "\x1b[0;m"),
            Tone::Notice => ("\x1b[0K\x1b[32;1m", "\x1b[0;m"),
            Tone::Warning => ("\x1b[0K\x1b[0;33mWARNING: ", "\x1b[0;m"),
            Tone::Error => ("\x1b[0K\x1b[31;1mERROR: ", "\x1b[0;m"),
        };
        let (before, after) = if tone == Tone::Plain { ("", "") } else { (before, after) };
        self.write(LogStream::Runner, now_us(), format!("{before}{line}{after}\n").as_bytes());
    }

    fn output(&self, bytes: &[u8]) {
        self.write(LogStream::Stdout, now_us(), bytes);
    }
}

impl Inner {
    fn write(&mut self, stream: LogStream, time_us: u64, bytes: &[u8]) {
        if self.is_cut {
            return;
        }
        let mut out = std::mem::take(&mut self.scratch);
        out.clear();
        self.chains[stream as usize].write(time_us, bytes, &mut out);
        self.append(&out, room_in_memory(stream == LogStream::Runner));
        self.scratch = out;
    }

    fn flush(&mut self, time_us: u64) {
        let mut out = std::mem::take(&mut self.scratch);
        for index in 0..self.chains.len() {
            out.clear();
            self.chains[index].flush(time_us, &mut out);
            if !self.is_cut {
                self.append(&out, room_in_memory(index == LogStream::Runner as usize));
            }
        }
        self.scratch = out;
    }

    /// Appends up to the limit; where the limit is reached, once, the notice. (protocols: GitLab 4.4.)
    fn append(&mut self, bytes: &[u8], in_memory: usize) {
        let room = usize::try_from(self.limit.saturating_sub(self.size)).unwrap_or(usize::MAX);
        if bytes.len() < room || bytes.is_empty() {
            self.store(bytes, in_memory);
            return;
        }
        let mut end = room.min(bytes.len());
        while end > 0 && end < bytes.len() && (bytes[end] & 0b1100_0000) == 0b1000_0000 {
            end -= 1; // not inside a character
        }
        self.store(&bytes[..end], in_memory);
        let notice = format!(
            "\n\x1b[33;1mJob's log exceeded limit of {} bytes.\nJob execution will continue but no more output will be \
             collected.\x1b[0;m\n",
            self.limit
        );
        self.store(notice.as_bytes(), MOST_IN_MEMORY);
        self.is_cut = true;
    }

    /// Adds `bytes` to the file, or to what waits for room there, up to `in_memory` bytes; more is lost.
    fn store(&mut self, bytes: &[u8], in_memory: usize) {
        if bytes.is_empty() {
            return;
        }
        let bytes = match self.repeat(bytes) {
            Ok([]) => return,
            Ok(new) => new,
            Err(error) => {
                self.broken = Some(error);
                return;
            }
        };
        self.write_out();
        if self.unwritten.is_empty() {
            match self.file.write_all_at(bytes, self.size) {
                Ok(()) => return self.count(bytes),
                Err(error) => self.broken = Some(error),
            }
        }
        if self.unwritten.len() + bytes.len() <= in_memory {
            self.unwritten.extend_from_slice(bytes);
            self.count(bytes);
        }
    }

    /// Tries to bring what waits for room into the file.
    fn write_out(&mut self) {
        if self.unwritten.is_empty() {
            return;
        }
        match self.file.write_all_at(&self.unwritten, self.size - self.unwritten.len() as u64) {
            Ok(()) => self.unwritten.clear(),
            Err(error) => self.broken = Some(error),
        }
    }

    fn count(&mut self, bytes: &[u8]) {
        self.size += bytes.len() as u64;
        self.hasher.update(bytes);
    }

    /// Passes over what an earlier agent wrote as long as `bytes` are the same, but for digits: a section's end carries
    /// the time at which it was written. Gives back what is new.
    fn repeat<'b>(&mut self, bytes: &'b [u8]) -> io::Result<&'b [u8]> {
        let left = usize::try_from(self.written.saturating_sub(self.size)).unwrap_or(usize::MAX);
        if left == 0 {
            return Ok(bytes);
        }
        let mut known = vec![0; left.min(bytes.len())];
        self.file.read_exact_at(&mut known, self.size)?;
        let is_other = |(old, new): (&u8, &u8)| old != new && !(old.is_ascii_digit() && new.is_ascii_digit());
        let same = known.iter().zip(bytes).position(is_other).unwrap_or(known.len());
        self.hasher.update(&known[..same]);
        self.size += same as u64;
        if same < known.len() {
            self.take_as_written(self.written)?;
            self.is_cut |= self.size >= self.limit;
        }
        Ok(&bytes[same..])
    }

    /// What is written and was not made again stays all the same.
    fn stand_by_what_is_written(&mut self) {
        if self.size < self.written
            && let Err(error) = self.take_as_written(self.written)
        {
            self.broken = Some(error);
        }
    }

    /// Counts what stands in the file up to `end` as this log's.
    fn take_as_written(&mut self, end: u64) -> io::Result<()> {
        let mut buffer = vec![0; 64 * 1024];
        while self.size < end {
            let most = usize::try_from(end - self.size).unwrap_or(usize::MAX).min(buffer.len());
            self.file.read_exact_at(&mut buffer[..most], self.size)?;
            self.hasher.update(&buffer[..most]);
            self.size += most as u64;
        }
        Ok(())
    }

    /// How much can be read.
    fn end(&self) -> u64 {
        self.size.max(self.written)
    }

    fn digest(&self) -> LogDigest {
        LogDigest { crc32: self.hasher.clone().finalize(), size: self.size }
    }
}

fn room_in_memory(is_own_words: bool) -> usize {
    if is_own_words { MOST_IN_MEMORY } else { OUTPUT_IN_MEMORY }
}

/// Microseconds since 1970.
pub(crate) fn now_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::Secret;

    fn spec(limit: u64) -> LogSpec {
        LogSpec {
            sections: true,
            script_sections: false,
            legacy_eval: false,
            timestamps: false,
            trace_commands: false,
            services: false,
            mask: vec![Secret::new("hunter2-hunter2")],
            mask_prefixes: vec![],
            limit,
        }
    }

    fn text(log: &JobLog) -> String {
        String::from_utf8(log.read_at(0, 1 << 20).unwrap()).unwrap()
    }

    #[test]
    fn the_limit_cuts_between_characters_and_says_so_once() {
        let dir = tempfile::tempdir().unwrap();
        let log = JobLog::open(&dir.path().join("log"), &spec(5), 0).unwrap();
        log.write(LogStream::Stdout, 0, "abcdüx".as_bytes());
        log.write(LogStream::Stdout, 0, b"more");
        let digest = log.close();
        let text = text(&log);
        assert!(text.starts_with("abcd\n\u{1b}[33;1mJob's log exceeded limit of 5 bytes.\n"), "{text:?}");
        assert_eq!(text.matches("exceeded").count(), 1);
        assert_eq!(digest, LogDigest { crc32: crc32fast::hash(text.as_bytes()), size: text.len() as u64 });
    }

    #[test]
    fn a_later_agent_goes_on_where_the_log_is_final() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let log = JobLog::open(&path, &spec(1000), 0).unwrap();
        log.write(LogStream::Stdout, 0, b"one hunter2-");
        let keep = log.checkpoint().unwrap();
        log.write(LogStream::Stdout, 0, b"two\nthr");
        let known = text(&log);
        drop(log);
        let log = JobLog::open(&path, &spec(1000), keep).unwrap();
        assert_eq!(log.growth().borrow().size, known.len() as u64, "the forge may have all of it");
        for piece in ["two\n", "three\n"] {
            log.write(LogStream::Stdout, 0, piece.as_bytes());
        }
        let digest = log.close();
        assert_eq!(text(&log), "one hunter2-two\nthree\n");
        assert_eq!(digest.crc32, crc32fast::hash(text(&log).as_bytes()));
    }

    #[test]
    fn a_marker_made_again_is_the_first_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        std::fs::write(&path, "out\nsection_end:1000000000:step_script\r\x1b[0K").unwrap();
        let log = JobLog::open(&path, &spec(1000), 0).unwrap();
        log.write(LogStream::Stdout, 0, b"out\n");
        log.end_section("step_script");
        log.say(Tone::Plain, "done");
        let digest = log.close();
        assert_eq!(text(&log), "out\nsection_end:1000000000:step_script\r\x1b[0Kdone\n");
        assert_eq!(digest, LogDigest { crc32: crc32fast::hash(text(&log).as_bytes()), size: text(&log).len() as u64 });
    }

    #[test]
    fn what_was_written_is_never_taken_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        for (again, expected) in [("one\nother\n", "one\ntwo\nother\n"), ("one\n", "one\ntwo\n"), ("", "one\ntwo\n")] {
            std::fs::write(&path, "one\ntwo\n").unwrap();
            let log = JobLog::open(&path, &spec(1000), 0).unwrap();
            log.write(LogStream::Stdout, 0, again.as_bytes());
            let digest = log.close();
            assert_eq!(text(&log), expected);
            assert_eq!(digest.crc32, crc32fast::hash(expected.as_bytes()));
        }
    }

    #[test]
    fn sections_stand_where_the_ui_looks_for_them() {
        let dir = tempfile::tempdir().unwrap();
        let log = JobLog::open(&dir.path().join("log"), &spec(1000), 0).unwrap();
        log.begin_section("get_sources", "Getting source from Git repository");
        log.end_section("get_sources");
        log.close();
        let text = text(&log);
        let (start, end) = text.split_once('\n').unwrap();
        assert!(start.starts_with("section_start:") && start.contains(":get_sources\r\u{1b}[0K\u{1b}[0K\u{1b}[36;1m"));
        assert!(end.starts_with("section_end:") && end.ends_with(":get_sources\r\u{1b}[0K"));
    }
}
