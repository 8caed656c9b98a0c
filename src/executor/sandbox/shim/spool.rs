//! The agent's reading of a spool, while it grows and after.
//!
//! Frames come in order, each exactly as the shim wrote it, so that reading again from an [`SpoolReader::offset`] gives
//! the same pieces. A reader needs no shim: files alone tell the whole story of a step.
//!
//! Output that nobody will read again need not stay on the disk: [`SpoolReader::forget`] makes a hole of it. The file
//! keeps its length and its offsets, so neither the shim nor a reader that begins behind the hole notices.

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rustix::fs::{FallocateFlags, SeekFrom, fallocate, inotify};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{sleep, timeout};

use super::frame::{self, Frame, FrameError, HEADER, Stream};
use super::run_dir::{RunDir, RunDirError};
use super::step::{StepExit, StepId, StepRecord};

/// Read at once: a first look, and when there is much to read.
const BLOCK: (usize, usize) = (128 << 10, 1 << 20);
/// A change that inotify should have told is found by then.
const SAFETY_NET: Duration = Duration::from_secs(5);
/// Without inotify (its instances are limited): first look, and at most.
const LOOK: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(200));
/// After so many changes in a row that brought nothing new each is answered with a pause: a job may touch its files as
/// often as it likes. A step's own beginning and end are fewer.
const HUSH: (u32, Duration) = (16, Duration::from_millis(5));

/// What comes out of a spool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SpoolEvent {
    /// Output of the step.
    Frame {
        /// When the shim read it, microseconds since the epoch.
        time_us: u64,
        /// Where the step wrote it.
        stream: Stream,
        /// What, 1 to 65,536 bytes.
        bytes: Bytes,
    },
    /// Here output is missing because the disk was full; say so in the log.
    Lost {
        /// When, microseconds since the epoch.
        time_us: u64,
        /// How much, bytes.
        bytes: u64,
    },
    /// The step has ended and all its output has been read. Every further call says so again.
    Ended(StepExit),
}

/// A spool or an exit file that is not what the shim left. Ends the job with `runner_system_failure`.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The file cannot be opened or is of another kind, or the exit file is not ours.
    #[error(transparent)]
    RunDir(#[from] RunDirError),
    /// It became shorter than what was read of it.
    #[error("the output of step {step} became shorter ({size} bytes, {read} had been read): the job changed {path}")]
    Shrunk {
        /// Which step.
        step: StepId,
        /// The run directory.
        path: PathBuf,
        /// Length now.
        size: u64,
        /// Length that was read.
        read: u64,
    },
    /// Its framing is broken.
    #[error("the output of step {step} cannot be read on from byte {offset}: {source}; the job changed {path}")]
    Broken {
        /// Which step.
        step: StepId,
        /// The run directory.
        path: PathBuf,
        /// Where.
        offset: u64,
        /// How.
        source: FrameError,
    },
    /// The exit file counts more output than there is.
    #[error(
        "the output of step {step} ends at byte {size}, but {told} bytes were written: the job changed {path}, or \
             the machine lost them"
    )]
    Short {
        /// Which step.
        step: StepId,
        /// The run directory.
        path: PathBuf,
        /// What is there.
        size: u64,
        /// What the exit file counts.
        told: u64,
    },
    /// The disk.
    #[error("cannot read the output of step {step} in {path}: {source}")]
    Io {
        /// Which step.
        step: StepId,
        /// The run directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Reads the spool of one step to its end.
pub struct SpoolReader {
    run: RunDir,
    id: StepId,
    file: Arc<File>,
    /// The first byte that has not been handed out.
    offset: u64,
    /// What was read from there on.
    ahead: Bytes,
    block: usize,
    /// Up to here the file is a hole, but for its header.
    forgotten: u64,
    /// The next frame is looked for: the file may be a hole here.
    is_seeking: bool,
    record: Option<StepRecord>,
    watch: Watch,
}

impl SpoolReader {
    /// Opens the spool of a step that was started, at its beginning. To be called within a tokio runtime.
    pub fn open(run: &Path, id: &StepId) -> Result<Self, SpoolError> {
        Self::resume(run, id, 0)
    }

    /// Opens it at an earlier reader's [`SpoolReader::offset`].
    pub fn resume(run: &Path, id: &StepId, offset: u64) -> Result<Self, SpoolError> {
        let run = RunDir::open(run)?;
        let file = Arc::new(run.open_file(&id.spool_name())?);
        let watch = Watch::new(&run);
        let offset = if offset < HEADER as u64 { 0 } else { offset };
        // Known from the start where the step has ended already: what stands behind its end is not read at all.
        let record = run.exit_of(id)?;
        let (ahead, block) = (Bytes::new(), BLOCK.0);
        Ok(Self { run, id: id.clone(), file, offset, ahead, block, forgotten: 0, is_seeking: false, record, watch })
    }

    /// Opens it behind whatever was forgotten from `offset` on, as an earlier reader may have done: for one who needs to know
    /// only how the step ends.
    pub fn resume_behind_hole(run: &Path, id: &StepId, offset: u64) -> Result<Self, SpoolError> {
        let reader = Self::resume(run, id, offset)?;
        Ok(Self { offset: reader.offset.max(HEADER as u64), is_seeking: true, ..reader })
    }

    /// Where to go on reading after what has been handed out, bytes into the file.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The exit file, once [`SpoolEvent::Ended`] was handed out.
    pub fn record(&self) -> Option<&StepRecord> {
        self.record.as_ref()
    }

    /// Gives the disk back what output before `until` took; it can be read no more. True: done. False where the file cannot
    /// have holes or is not ours to write to, and where the job has replaced it: then it stays as it is.
    pub async fn forget(&mut self, until: u64) -> bool {
        let begin = self.forgotten.max(HEADER as u64);
        if until <= begin {
            return true;
        }
        let punched = self.blocking(move |_, _, file| Ok(punch(file, begin, until)?)).await;
        if punched.is_ok() {
            self.forgotten = until;
        }
        punched.is_ok()
    }

    /// Waits for the end of the step without reading what it prints: that may have been forgotten.
    pub async fn ended(&mut self) -> Result<StepExit, SpoolError> {
        let mut fruitless = 0_u32;
        loop {
            if let Some(record) = &self.record {
                return Ok(record.exit);
            }
            self.record = self.blocking(|run, id, _| Ok(run.exit_of(id)?)).await?;
            if self.record.is_none() {
                self.watch.wait(fruitless).await;
                fruitless = fruitless.saturating_add(1);
            }
        }
    }

    /// The next piece of output, or the end. Waits for it; without limit, for only the caller knows whether anybody is
    /// still there to write ([`super::ShimWatch`], the engine). Cancel-safe: a dropped call loses nothing.
    pub async fn next(&mut self) -> Result<SpoolEvent, SpoolError> {
        let mut fruitless = 0_u32;
        loop {
            if let Some(event) = self.take_ahead()? {
                return Ok(event);
            }
            if let Some(record) = self.record.as_ref().filter(|record| self.offset >= record.spool_bytes) {
                return Ok(SpoolEvent::Ended(record.exit));
            }
            if self.read_on().await? {
                fruitless = 0;
                continue;
            }
            if let Some(record) = &self.record {
                if self.is_seeking {
                    return Ok(SpoolEvent::Ended(record.exit)); // all of it is a hole
                }
                let (told, path) = (record.spool_bytes, self.run.path().to_owned());
                let size = self.offset + self.ahead.len() as u64;
                return Err(SpoolError::Short { step: self.id.clone(), path, size, told });
            }
            self.watch.wait(fruitless).await;
            fruitless = fruitless.saturating_add(1);
        }
    }

    fn take_ahead(&mut self) -> Result<Option<SpoolEvent>, SpoolError> {
        if self.offset == 0 {
            let Some(header) = self.ahead.first_chunk::<HEADER>() else { return Ok(None) };
            frame::check_file_header(header).map_err(|source| self.broken(source))?;
            self.skip(HEADER);
        }
        if self.is_seeking {
            let found = frame::find_header(&self.ahead);
            self.skip(found.unwrap_or(self.ahead.len().saturating_sub(HEADER - 1)));
            self.is_seeking = found.is_none();
        }
        // What stands behind the counted end is not of the step.
        if self.record.as_ref().is_some_and(|record| self.offset >= record.spool_bytes) {
            return Ok(None);
        }
        if self.is_seeking {
            return Ok(None);
        }
        let parsed = frame::parse(&self.ahead).map_err(|source| self.broken(source))?;
        let Some((frame, length)) = parsed else { return Ok(None) };
        self.skip(length);
        Ok(Some(match frame {
            Frame::Output { time_us, stream, bytes } => SpoolEvent::Frame { time_us, stream, bytes },
            Frame::Lost { time_us, bytes } => SpoolEvent::Lost { time_us, bytes },
        }))
    }

    fn broken(&self, source: FrameError) -> SpoolError {
        let (step, path) = (self.id.clone(), self.run.path().to_owned());
        SpoolError::Broken { step, path, offset: self.offset, source }
    }

    fn skip(&mut self, length: usize) {
        self.offset += length as u64;
        // An empty slice would keep the whole block in memory.
        self.ahead = if length == self.ahead.len() { Bytes::new() } else { self.ahead.slice(length..) };
    }

    /// Reads the next block, and where that brings nothing looks for the exit file. False: neither brought anything.
    async fn read_on(&mut self) -> Result<bool, SpoolError> {
        let (mut offset, had, block) = (self.offset, self.ahead.len(), self.block);
        if self.is_seeking {
            offset = self.blocking(move |_, _, file| Ok(behind_hole(file, offset)?)).await?;
            self.offset = offset;
        }
        let ended = self.record.is_some();
        // From the first frame not handed out: a shim whose disk was full may have cut off and rewritten a half one.
        let (bytes, size, record) = self
            .blocking(move |run, id, file| {
                let mut buffer = BytesMut::zeroed(block);
                let length = read_full(file, &mut buffer, offset)?;
                buffer.truncate(length);
                let size = file.metadata()?.len();
                // It comes after the last output: once it is there, another read brings all that there ever will be.
                let record = if length > had || ended { None } else { run.exit_of(id)? };
                Ok((buffer.freeze(), size, record))
            })
            .await?;
        if size < offset {
            let (step, path) = (self.id.clone(), self.run.path().to_owned());
            return Err(SpoolError::Shrunk { step, path, size, read: offset });
        }
        self.block = if bytes.len() == block { BLOCK.1 } else { BLOCK.0 };
        let more = bytes.len() > had || record.is_some();
        self.record = self.record.take().or(record);
        self.ahead = if bytes.is_empty() { Bytes::new() } else { bytes };
        Ok(more)
    }

    /// Runs `work` where it may block. Dropping the future loses its result only.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&RunDir, &StepId, &File) -> Result<T, BlockingError> + Send + 'static,
    ) -> Result<T, SpoolError> {
        let (run, id, file) = (self.run.clone(), self.id.clone(), self.file.clone());
        let done = tokio::task::spawn_blocking(move || work(&run, &id, &file)).await;
        match done {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(BlockingError::RunDir(error))) => Err(error.into()),
            Ok(Err(BlockingError::Io(source))) => Err(self.io(source)),
            // The runtime is shutting down.
            Err(error) => Err(self.io(io::Error::other(error))),
        }
    }

    fn io(&self, source: io::Error) -> SpoolError {
        SpoolError::Io { step: self.id.clone(), path: self.run.path().to_owned(), source }
    }
}

enum BlockingError {
    RunDir(RunDirError),
    Io(io::Error),
}

impl From<RunDirError> for BlockingError {
    fn from(error: RunDirError) -> Self {
        Self::RunDir(error)
    }
}

impl From<io::Error> for BlockingError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Where after `offset` the file has content again, or its end.
fn behind_hole(file: &File, offset: u64) -> io::Result<u64> {
    match rustix::fs::seek(file, SeekFrom::Data(offset)) {
        Ok(content) => Ok(content),
        Err(Errno::NXIO) => Ok(file.metadata()?.len().max(offset)),
        // A file system without holes.
        Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(offset),
        Err(error) => Err(error.into()),
    }
}

/// Makes a hole of these bytes. By the handle, as a writable one of the same file: its name is the job's to change.
fn punch(file: &File, begin: u64, end: u64) -> io::Result<()> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let file = File::options().write(true).custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32).open(path)?;
    Ok(fallocate(file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, begin, end - begin)?)
}

fn read_full(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(more) => filled += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Wakes the reader when something in the run directory changes.
struct Watch(Option<AsyncFd<OwnedFd>>);

impl Watch {
    /// Without inotify, when its limits are reached, the reader looks by itself.
    fn new(run: &RunDir) -> Self {
        Self(Self::inotify(run).ok())
    }

    fn inotify(run: &RunDir) -> io::Result<AsyncFd<OwnedFd>> {
        let events = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
        // The spool is written in place, the exit file moved to its name.
        let flags = inotify::WatchFlags::MODIFY | inotify::WatchFlags::MOVED_TO | inotify::WatchFlags::ONLYDIR;
        inotify::add_watch(&events, run.handle_path(), flags)?;
        // SAFETY: the AsyncFd owns the descriptor, which is neither taken out nor replaced: it stays open and the same.
        Ok(unsafe { AsyncFd::register_with_interest(events, Interest::READABLE) }?)
    }

    /// Waits for a change; `fruitless` waits before it changed nothing that counts.
    async fn wait(&mut self, fruitless: u32) {
        match &self.0 {
            Some(events) => {
                if fruitless > HUSH.0 {
                    sleep(HUSH.1).await;
                }
                // Its end by time is the safety net.
                if let Ok(Ok(mut ready)) = timeout(SAFETY_NET, events.readable()).await
                    && drain(events.get_ref())
                {
                    ready.clear_ready();
                }
            }
            None => sleep((LOOK.0 * 2_u32.pow(fruitless.min(8))).min(LOOK.1)).await,
        }
    }
}

impl Drop for Watch {
    /// The kernel takes some ten milliseconds to close an inotify instance: not on a thread that drives futures.
    fn drop(&mut self) {
        if let (Some(events), Ok(runtime)) = (self.0.take(), tokio::runtime::Handle::try_current()) {
            let events = events.into_inner();
            runtime.spawn_blocking(move || drop(events));
        }
    }
}

/// Forgets the events that have come; what they say is read from the files. Whether none is left.
fn drain(events: &OwnedFd) -> bool {
    let mut buffer = [MaybeUninit::uninit(); 4096];
    // A few blocks at most: a job can make events as fast as we read them.
    for _ in 0..8 {
        if rustix::io::read(events, &mut buffer).is_err() {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests;
