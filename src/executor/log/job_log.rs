//! The job's log as its writers see it: streams that pass the filters, up to the limit, in sections.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::watch;

use super::file::{LogFile, MOST_IN_MEMORY, OUTPUT_IN_MEMORY};
use super::filter::{Chain, ChainRules, StreamTag};
use super::observer::{self, Ears, JobEvent, LineStream, Observer, StepName, StepStatus};
use super::{StageLog, Tone};
use crate::forge::LogDigest;
use crate::pipeline::Secret;
use crate::pipeline::definition::LogSpec;

/// How much of what services say is kept while the log is made again.
const MOST_ASIDE: usize = 256 << 10;

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

impl LogStream {
    /// Whose words observers hear in it.
    fn heard_as(self) -> LineStream {
        match self {
            LogStream::Runner | LogStream::Service => LineStream::Command,
            LogStream::Stdout => LineStream::Stdout,
            LogStream::Stderr => LineStream::Stderr,
        }
    }
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

pub(super) struct Inner {
    file: LogFile,
    pub(super) rules: ChainRules,
    /// How often the rules have changed.
    pub(super) rules_version: u32,
    /// Whoever listens beside the log.
    pub(super) ears: Option<Ears>,
    chains: [Chain; 4],
    limit: u64,
    is_cut: bool,
    /// What services say while the log is made again: nobody said it before, so it comes behind all that.
    aside: Vec<u8>,
    scratch: Vec<u8>,
    sections: bool,
}

impl JobLog {
    /// Opens the log at `path`; goes on behind the first `keep` bytes of what an earlier agent wrote there.
    ///
    /// What it wrote behind them is made again by the caller, and stays as it stands: the forge may have it already. Where
    /// the caller comes to say something else, that stands behind all the earlier agent wrote.
    ///
    /// Blocks: for the disk, and for long secrets.
    pub fn open(path: &Path, spec: &LogSpec, keep: u64) -> io::Result<Self> {
        let rules = ChainRules::new(spec)
            .map_err(|error| io::Error::other(format!("the job's secrets cannot be masked: {error}")))?;
        let file = LogFile::open(path, keep)?;
        let goes_on = spec.timestamps && file.last_runner_line()?.contains(&b'\r');
        let mut inner = Inner {
            chains: [StreamTag::RUNNER, StreamTag::STDOUT, StreamTag::STDERR, StreamTag::SERVICE]
                .map(|tag| rules.chain(tag)),
            rules,
            rules_version: 0,
            ears: None,
            limit: spec.limit,
            is_cut: file.size() >= spec.limit,
            file,
            aside: Vec::new(),
            scratch: Vec::new(),
            sections: spec.sections,
        };
        // The marker of a section, which was not given a line of its own.
        if goes_on {
            inner.chains[LogStream::Runner as usize].go_on();
        }
        let (grown, _) = watch::channel(Growth { size: inner.file.end(), is_closed: false });
        Ok(Self { inner: Arc::new(Mutex::new(inner)), grown })
    }

    /// From now on `observer` hears what happens, see [`Observer`].
    pub fn observe(&self, observer: Arc<dyn Observer>) {
        let mut inner = self.lock();
        inner.chains.iter_mut().for_each(Chain::listen);
        inner.ears = Some(Ears::new(observer));
    }

    /// Hides `more` from now on, whoever prints it.
    ///
    /// # Errors
    /// They cannot be searched for: then nothing that may hold them must be shown.
    pub fn hide(&self, more: &[Secret]) -> io::Result<()> {
        let inner = &mut *self.lock();
        inner.rules.hide(more).map_err(io::Error::other)?;
        inner.rules_version += 1;
        let rules = &inner.rules;
        inner.chains.iter_mut().for_each(|chain| chain.follow(rules));
        Ok(())
    }

    /// `text` as the log would show it: without what is to be hidden.
    pub fn masked(&self, text: &str) -> String {
        let mut chain = self.lock().rules.chain_without_stamps();
        let mut out = Vec::with_capacity(text.len());
        chain.write(0, text.as_bytes(), &mut out);
        chain.flush(0, &mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    /// Commands run that are no step; their script shows them by the lines `echoes`.
    pub fn begin_aside(&self, echoes: &[String]) {
        let mut inner = self.lock();
        inner.flush(now_us());
        if inner.ears.is_some() {
            let echoes = observer::masked(inner.rules.chain_without_stamps(), echoes.iter().map(String::as_str));
            inner.with_ears(|ears, _| ears.begin_aside(echoes));
        }
    }

    /// A step begins that runs alone. Its script shows its commands by the lines `echoes`.
    pub fn begin_step(&self, step: StepName, echoes: &[String]) {
        let mut inner = self.lock();
        inner.flush(now_us());
        if inner.ears.is_some() {
            let echoes = observer::masked(inner.rules.chain_without_stamps(), echoes.iter().map(String::as_str));
            inner.with_ears(|ears, now| ears.begin_step(step, echoes, now));
        }
        self.tell(&inner);
    }

    /// The step that runs alone has ended.
    pub fn end_step(&self, status: StepStatus, exit_code: Option<i32>) {
        let mut inner = self.lock();
        inner.flush(now_us());
        inner.with_ears(|ears, now| ears.end_step(status, exit_code, now));
        self.tell(&inner);
    }

    /// Tells observers that a step never began, and why.
    pub fn skip_step(&self, step: &StepName, reason: Option<&str>) {
        self.lock().with_ears(|ears, at_us| {
            let status = StepStatus::Skipped;
            ears.tell(JobEvent::StepFinished { step, status, exit_code: None, reason, at_us });
        });
    }

    /// Adds what `stream` brought at `time_us` (microseconds since 1970).
    pub fn write(&self, stream: LogStream, time_us: u64, bytes: &[u8]) {
        self.write_as(stream, stream.heard_as(), time_us, bytes);
    }

    fn write_as(&self, stream: LogStream, heard_as: LineStream, time_us: u64, bytes: &[u8]) {
        let mut inner = self.lock();
        inner.write_as(stream, heard_as, time_us, bytes);
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
        let settled = inner.file.settle();
        self.tell(&inner);
        settled
    }

    /// Says why the job failed, in the last line: also where the limit was reached, or nobody would learn it.
    pub fn say_last(&self, line: &str) {
        let mut inner = self.lock();
        if inner.is_cut {
            inner.add_beyond_limit(now_us(), in_tone(Tone::Error, line).as_bytes());
        } else {
            inner.write(LogStream::Runner, now_us(), in_tone(Tone::Error, line).as_bytes());
        }
        self.tell(&inner);
    }

    /// How far the log is final without giving anything out, if it is so here: filters hold nothing back and all of it is in
    /// the file, or the log was cut. A log that is opened there goes on as this one does.
    pub fn resting_place(&self) -> Option<u64> {
        let inner = self.lock();
        let is_at_rest = inner.is_cut || inner.chains.iter().all(Chain::is_at_rest);
        if is_at_rest { inner.file.settled() } else { None }
    }

    /// Ends the log: nothing more will come.
    pub fn close(&self) -> LogDigest {
        let mut inner = self.lock();
        inner.flush(now_us());
        inner.file.close();
        inner.add_aside();
        self.grown.send_replace(Growth { size: inner.file.size(), is_closed: true });
        inner.file.digest()
    }

    /// What the log amounts to so far.
    pub fn digest(&self) -> LogDigest {
        self.lock().file.digest()
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
        self.lock().file.read_at(at, most)
    }

    /// The filters of one more stream, before lines and time stamps are made of it.
    pub(super) fn masks(&self) -> Chain {
        self.lock().rules.chain_without_stamps()
    }

    /// When an earlier agent wrote to it last. `None`: none did.
    pub fn left_at(&self) -> Option<SystemTime> {
        self.lock().file.left_at()
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

    pub(super) fn tell(&self, inner: &Inner) {
        self.grown.send_if_modified(|growth| {
            let changed = growth.size != inner.file.end();
            growth.size = inner.file.end();
            changed
        });
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        // A writer that panicked leaves bytes, at worst fewer than it meant to: the log is still worth having.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StageLog for JobLog {
    fn say(&self, tone: Tone, line: &str) {
        self.write(LogStream::Runner, now_us(), in_tone(tone, line).as_bytes());
    }

    fn output(&self, bytes: &[u8]) {
        self.write_as(LogStream::Stdout, LineStream::Command, now_us(), bytes);
    }
}

/// A line of the runner's own, as users of GitLab know them.
pub(super) fn in_tone(tone: Tone, line: &str) -> String {
    let (before, after) = match tone {
        Tone::Plain => ("", ""),
        Tone::Notice => ("\x1b[0K\x1b[32;1m", "\x1b[0;m"),
        Tone::Warning => ("\x1b[0K\x1b[0;33mWARNING: ", "\x1b[0;m"),
        Tone::Error => ("\x1b[0K\x1b[31;1mERROR: ", "\x1b[0;m"),
    };
    format!("{before}{line}{after}\n")
}

impl Inner {
    fn write(&mut self, stream: LogStream, time_us: u64, bytes: &[u8]) {
        self.write_as(stream, stream.heard_as(), time_us, bytes);
    }

    fn write_as(&mut self, stream: LogStream, heard_as: LineStream, time_us: u64, bytes: &[u8]) {
        if self.is_cut && self.ears.is_none() {
            return;
        }
        let mut out = std::mem::take(&mut self.scratch);
        out.clear();
        let chain = &mut self.chains[stream as usize];
        chain.write(time_us, bytes, &mut out);
        if let (Some(ears), Some(heard)) = (&mut self.ears, chain.take_heard()) {
            ears.hear(stream as usize, heard_as, time_us, &heard);
        }
        if self.is_cut {
            // Only the observers have heard it.
        } else if stream == LogStream::Service && self.file.is_made_again() {
            if self.aside.len() + out.len() <= MOST_ASIDE {
                self.aside.extend_from_slice(&out);
            }
        } else {
            self.append(&out, room_in_memory(stream == LogStream::Runner));
            self.add_aside();
        }
        self.scratch = out;
    }

    fn add_aside(&mut self) {
        if !self.aside.is_empty() && !self.file.is_made_again() && !self.is_cut {
            let aside = std::mem::take(&mut self.aside);
            self.append(&aside, room_in_memory(false));
        }
    }

    /// Whole lines of the runner's own, masked like all others.
    fn add_beyond_limit(&mut self, time_us: u64, bytes: &[u8]) {
        let mut out = Vec::new();
        let mut chain = self.rules.chain(StreamTag::RUNNER);
        chain.write(time_us, bytes, &mut out);
        chain.flush(time_us, &mut out);
        self.file.store(&out, MOST_IN_MEMORY);
        if let Some(ears) = &mut self.ears {
            ears.hear(LogStream::Runner as usize, LineStream::Command, time_us, &out);
        }
    }

    /// Calls `tell` with whoever listens and the time.
    pub(super) fn with_ears(&mut self, tell: impl FnOnce(&mut Ears, u64)) {
        if let Some(ears) = &mut self.ears {
            tell(ears, now_us());
        }
    }

    fn flush(&mut self, time_us: u64) {
        let mut out = std::mem::take(&mut self.scratch);
        for index in 0..self.chains.len() {
            out.clear();
            self.chains[index].flush(time_us, &mut out);
            if let (Some(ears), Some(heard)) = (&mut self.ears, self.chains[index].take_heard()) {
                ears.hear_rest(index, time_us, &heard);
            }
            if !self.is_cut {
                self.append(&out, room_in_memory(index == LogStream::Runner as usize));
            }
        }
        self.scratch = out;
    }

    /// Appends up to the limit; where the limit is reached, once, the notice. (protocols: GitLab 4.4.)
    pub(super) fn append(&mut self, bytes: &[u8], in_memory: usize) {
        if self.is_cut {
            return;
        }
        let room = usize::try_from(self.limit.saturating_sub(self.file.size())).unwrap_or(usize::MAX);
        if bytes.len() < room || bytes.is_empty() {
            self.file.store(bytes, in_memory);
            // With what an earlier agent wrote it may be full all the same.
            self.is_cut |= self.file.size() >= self.limit;
            return;
        }
        let mut end = room.min(bytes.len());
        while end > 0 && end < bytes.len() && (bytes[end] & 0b1100_0000) == 0b1000_0000 {
            end -= 1; // not inside a character
        }
        self.file.store(&bytes[..end], in_memory);
        let notice = format!(
            "\n\x1b[33;1mJob's log exceeded limit of {} bytes.\nJob execution will continue but no more output will be \
             collected.\x1b[0;m\n",
            self.limit
        );
        self.file.store(notice.as_bytes(), MOST_IN_MEMORY);
        self.is_cut = true;
    }
}

pub(super) fn room_in_memory(is_own_words: bool) -> usize {
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
        LogSpec { sections: true, mask: vec![Secret::new("hunter2-hunter2")], ..LogSpec::plain(limit) }
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
    fn why_the_job_failed_stands_behind_the_limit_too() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let log = JobLog::open(&path, &spec(5), 0).unwrap();
        log.write(LogStream::Stdout, 0, b"more than five");
        log.say(Tone::Warning, "unheard");
        log.say_last("Job failed: hunter2-hunter2");
        let digest = log.close();
        let said = text(&log);
        assert!(said.ends_with("ERROR: Job failed: [MASKED]\u{1b}[0;m\n") && !said.contains("unheard"), "{said:?}");
        assert_eq!(digest, LogDigest { crc32: crc32fast::hash(said.as_bytes()), size: said.len() as u64 });
        // An agent that was killed behind it says it once more, in the same place.
        drop(log);
        let log = JobLog::open(&path, &spec(5), said.find("\u{1b}[0K\u{1b}[31;1m").unwrap() as u64).unwrap();
        log.say_last("Job failed: hunter2-hunter2");
        assert_eq!((log.close(), text(&log)), (digest, said));
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
    fn what_stands_behind_a_marker_is_made_again_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let spec = LogSpec { timestamps: true, ..spec(10_000) };
        let log = JobLog::open(&path, &spec, 0).unwrap();
        log.begin_section("upload", "Uploading");
        log.end_section("upload");
        let keep = log.checkpoint().unwrap();
        log.say(Tone::Notice, "Job succeeded");
        let known = text(&log);
        drop(log);
        let log = JobLog::open(&path, &spec, keep).unwrap();
        log.say(Tone::Notice, "Job succeeded");
        log.close();
        assert_eq!(text(&log), known);
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
