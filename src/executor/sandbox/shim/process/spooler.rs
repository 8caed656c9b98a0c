//! One thread per running step: pipes in, spool out.
//!
//! What the pipes hold is collected into one buffer, frame by frame, and written with one call: a step that writes
//! much costs two copies and few calls, one that writes little is on disk as soon as it has written.
//!
//! **A full disk.** A write that fails is repeated for [`PATIENCE`]; meanwhile the pipes are not read, so the step
//! waits and nothing is lost. After that the step is ended, its remaining output is counted, and the spool says how
//! many bytes are missing where there is room again; the exit file says it in any case. A step that has printed much takes the
//! disk for full a little earlier: the agent has its journal there, without which it could not give the spool's room back.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::super::frame::{self, HEADER, MAX_DATA, Stream};
use super::super::step::StepRecord;
use super::folder::RunFolder;
use super::sys::{Waker, now_us};

/// How long a spool may be unwritable before its step is ended.
pub const PATIENCE: Duration = Duration::from_secs(15);
/// How long it may be so when the step has ended already.
const PATIENCE_AT_END: Duration = Duration::from_secs(3);
/// Between two attempts to write.
const RETRY: Duration = Duration::from_millis(200);
/// How long a pipe is emptied after the last process of the step has gone: somebody else may hold it and write on.
const LAST_READ: Duration = Duration::from_secs(2);
/// A spool beyond this size leaves [`LEFT`] bytes of its disk to others.
const MUCH: u64 = 8 << 20;
/// Room for the agent's journal and the end of a log.
const LEFT: u64 = 4 << 20;
/// Frames are collected up to here before they are written.
const BATCH: usize = 256 << 10;

/// What the thread and the loop tell each other.
struct Shared {
    born: Instant,
    /// Milliseconds after `born` of the last output.
    last_output: AtomicU64,
    at_end: AtomicBool,
    failed: AtomicBool,
    recorded: AtomicBool,
    order: Mutex<Option<StepRecord>>,
    to_thread: Waker,
    to_loop: Arc<Waker>,
}

/// The loop's handle of a spool thread.
pub struct Spooler {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    ordered: bool,
}

/// What a spool thread works on.
pub struct SpoolFiles {
    /// The folder of both.
    pub folder: Arc<RunFolder>,
    /// Where the output goes, still empty.
    pub spool: File,
    /// Becomes the exit file.
    pub pending_exit: File,
}

impl Spooler {
    /// Writes the spool's header and starts the thread that reads standard output and standard error from `pipes`.
    pub fn start(files: SpoolFiles, pipes: [OwnedFd; 2], to_loop: Arc<Waker>) -> io::Result<Self> {
        files.spool.write_all_at(&frame::file_header(), 0)?;
        let shared = Arc::new(Shared {
            born: Instant::now(),
            last_output: AtomicU64::new(0),
            at_end: AtomicBool::new(false),
            failed: AtomicBool::new(false),
            recorded: AtomicBool::new(false),
            order: Mutex::new(None),
            to_thread: Waker::new()?,
            to_loop,
        });
        let mut work = Work {
            files,
            shared: shared.clone(),
            pipes: pipes.map(Some),
            batch: Vec::new(),
            frames: Vec::new(),
            at: HEADER as u64,
            lost: 0,
            unreported: 0,
            order: None,
        };
        let thread = std::thread::Builder::new().name("spool".into()).stack_size(128 << 10);
        let thread = thread.spawn(move || work.run())?;
        Ok(Self { shared, thread: Some(thread), ordered: false })
    }

    /// Both pipes are at their end.
    pub fn is_at_end(&self) -> bool {
        self.shared.at_end.load(Ordering::Acquire)
    }

    /// Output could not be written for [`PATIENCE`].
    pub fn has_failed(&self) -> bool {
        self.shared.failed.load(Ordering::Acquire)
    }

    /// Since when nothing was printed.
    pub fn quiet_since(&self) -> Instant {
        self.shared.born + Duration::from_millis(self.shared.last_output.load(Ordering::Acquire))
    }

    /// Reads what is left in the pipes, completes the record with the spool's length and publishes it. Once.
    pub fn finish(&mut self, record: StepRecord) {
        if !self.ordered {
            self.ordered = true;
            *self.shared.order.lock().unwrap_or_else(PoisonError::into_inner) = Some(record);
            self.shared.to_thread.wake();
        }
    }

    /// Whether the exit file is there.
    pub fn is_recorded(&self) -> bool {
        self.shared.recorded.load(Ordering::Acquire) || self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits until the exit file is durable.
    pub fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Work {
    files: SpoolFiles,
    shared: Arc<Shared>,
    pipes: [Option<OwnedFd>; 2],
    batch: Vec<u8>,
    /// For each frame of the batch: where it ends, and how much of it is output.
    frames: Vec<(usize, usize)>,
    /// Where the next frame goes: always the end of a whole one.
    at: u64,
    /// Output not written, bytes.
    lost: u64,
    /// The part of it that no frame tells of yet.
    unreported: u64,
    order: Option<(StepRecord, Instant)>,
}

impl Work {
    fn run(&mut self) {
        loop {
            // Before the pipes are read: what was written before the order was given is read after it.
            self.take_order();
            let ordered = self.order.as_ref().map(|(_, since)| *since);
            let got = self.collect();
            self.write_batch();
            if self.pipes.iter().all(Option::is_none) && !self.shared.at_end.swap(true, Ordering::AcqRel) {
                self.shared.to_loop.wake();
            }
            if ordered.is_some_and(|since| got == 0 || since.elapsed() > LAST_READ) {
                break;
            }
            if got == 0 && self.order.is_none() {
                self.wait(None);
            }
        }
        self.pipes = [None, None];
        self.record();
    }

    /// Waits for output or an order, or only for an order where `limit` is given.
    fn wait(&mut self, limit: Option<Duration>) {
        let mut polled = vec![PollFd::new(self.shared.to_thread.descriptor(), PollFlags::IN)];
        if limit.is_none() {
            polled.extend(self.pipes.iter().flatten().map(|pipe| PollFd::new(pipe, PollFlags::IN)));
        }
        let limit = limit.and_then(|limit| Timespec::try_from(limit).ok());
        // An interrupted wait is one that ends early.
        let _ = poll(&mut polled, limit.as_ref());
    }

    fn take_order(&mut self) {
        self.shared.to_thread.clear();
        let order = self.shared.order.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(record) = order {
            self.order = Some((record, Instant::now()));
        }
    }

    /// Reads the pipes in turn until they are empty or the batch is full. Returns how many bytes it got.
    fn collect(&mut self) -> usize {
        let mut total = 0;
        loop {
            let before = total;
            for (index, stream) in [Stream::Stdout, Stream::Stderr].into_iter().enumerate() {
                total += self.collect_one(index, stream);
            }
            if total == before || self.batch.len() >= BATCH {
                break;
            }
        }
        if total > 0 {
            let now = u64::try_from(self.shared.born.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.shared.last_output.store(now, Ordering::Release);
        }
        total
    }

    fn collect_one(&mut self, index: usize, stream: Stream) -> usize {
        let Some(pipe) = &self.pipes[index] else { return 0 };
        let start = self.batch.len();
        // Room for one read; pages are touched only as far as there is output.
        if self.batch.capacity() < start + HEADER + MAX_DATA {
            self.batch.reserve(if start == 0 { BATCH + 2 * (HEADER + MAX_DATA) } else { HEADER + MAX_DATA });
        }
        self.batch.extend_from_slice(&[0; HEADER]);
        let spare = self.batch.spare_capacity_mut();
        let room = spare.len().min(MAX_DATA);
        let read = loop {
            match rustix::io::read(pipe, &mut spare[..room]) {
                Ok((filled, _)) => break Ok(filled.len()),
                Err(Errno::INTR) => {}
                Err(error) => break Err(error),
            }
        };
        match read {
            Ok(length @ 1..) => {
                // SAFETY: the kernel has just initialised `length` bytes of the spare capacity behind the header.
                unsafe { self.batch.set_len(start + HEADER + length) };
                let header = frame::output_header(now_us(), stream, length);
                self.batch[start..start + HEADER].copy_from_slice(&header);
                self.frames.push((self.batch.len(), length));
                length
            }
            other => {
                self.batch.truncate(start);
                if !matches!(other, Err(Errno::AGAIN)) {
                    self.pipes[index] = None;
                }
                0
            }
        }
    }

    /// Writes the batch, or gives it up as lost when the disk stays full.
    fn write_batch(&mut self) {
        if self.unreported > 0 && !self.report_loss() {
            self.lose(0);
        } else if !self.batch.is_empty() {
            let written = self.write_patiently();
            let whole = self.frames.iter().take_while(|(end, _)| *end <= written).map(|(end, _)| *end).last();
            let whole = whole.unwrap_or(0);
            self.at += whole as u64;
            if whole < self.batch.len() {
                // A frame cut in two would break the framing for good.
                let _ = self.files.spool.set_len(self.at);
                self.lose(whole);
                if !self.shared.failed.swap(true, Ordering::AcqRel) {
                    self.shared.to_loop.wake();
                }
            }
        }
        self.batch.clear();
        self.frames.clear();
    }

    fn lose(&mut self, after: usize) {
        let lost: usize = self.frames.iter().filter(|(end, _)| *end > after).map(|(_, length)| *length).sum();
        self.lost += lost as u64;
        self.unreported += lost as u64;
    }

    /// Says in the spool how much is missing, if there is room again.
    fn report_loss(&mut self) -> bool {
        let frame = frame::lost_frame(now_us(), self.unreported);
        if self.files.spool.write_all_at(&frame, self.at).is_err() {
            let _ = self.files.spool.set_len(self.at);
            return false;
        }
        self.at += frame.len() as u64;
        self.unreported = 0;
        true
    }

    fn write_patiently(&mut self) -> usize {
        let mut done = 0;
        let mut stalled: Option<Instant> = None;
        while done < self.batch.len() {
            match self.write_from(done) {
                Ok(more @ 1..) => {
                    done += more;
                    stalled = None;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(_) | Err(_) => {
                    let since = *stalled.get_or_insert_with(Instant::now);
                    let patience = if self.order.is_some() { PATIENCE_AT_END } else { PATIENCE };
                    if since.elapsed() >= patience || self.shared.failed.load(Ordering::Acquire) {
                        break;
                    }
                    self.wait(Some(RETRY));
                    self.take_order();
                }
            }
        }
        done
    }

    /// Writes the batch from `done` on, as far as it goes; nothing where others need what is left of the disk.
    fn write_from(&self, done: usize) -> io::Result<usize> {
        let rest = &self.batch[done..];
        let is_scarce = |disk: rustix::fs::StatVfs| {
            disk.f_bavail.saturating_mul(disk.f_frsize) < LEFT + rest.len() as u64 // a batch is small
        };
        if self.at > MUCH && rustix::fs::fstatvfs(&self.files.spool).is_ok_and(is_scarce) {
            return Ok(0);
        }
        self.files.spool.write_at(rest, self.at + done as u64)
    }

    fn record(&mut self) {
        let Some((mut record, _)) = self.order.take() else { return };
        if self.unreported > 0 {
            self.report_loss();
        }
        record.spool_bytes = self.at;
        record.lost_bytes = self.lost;
        // Its room is taken, so this works on a full disk. It fails when the job has removed the file or put a folder in
        // its way; then another is made, as long as the job lets us.
        if self.files.folder.publish_exit(&self.files.pending_exit, &record).is_err()
            && let Ok(another) = self.files.folder.create_pending_exit(&record.step)
        {
            self.files.pending_exit = another;
            let _ = self.files.folder.publish_exit(&self.files.pending_exit, &record);
        }
        // The agent sees it now; that it is durable, too, need not delay the next step.
        self.shared.recorded.store(true, Ordering::Release);
        self.shared.to_loop.wake();
        let _ = self.files.pending_exit.sync_all();
        self.files.folder.sync();
    }
}
