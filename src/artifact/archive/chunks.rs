//! Compressing the pieces of many files on several threads, and handing them out in order.
//!
//! Files are cut at fixed offsets and each piece is compressed alone, so the bytes do not depend on the number of
//! threads. At most a window of pieces is in memory at a time.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use cap_std::fs::Dir;

use super::error::ArchiveError;
use super::source::{Meta, Opened, Source};
use crate::artifact::select::{Entry, Selection};
use crate::artifact::{Interrupt, Remark, shown};

/// Bytes of pieces in memory, before and after compression each.
const WINDOW_BYTES: usize = 16 << 20;

/// How a piece is compressed.
pub(super) trait Codec: Send {
    /// Bytes of a whole piece.
    const PIECE: usize;

    /// Compresses one piece; `last` is true for the last one of its file.
    fn compress(&mut self, piece: &[u8], last: bool) -> io::Result<Vec<u8>>;
}

/// One thing for the writer, in the order of the selection.
pub(super) enum Part {
    /// A folder, or a symlink with its target.
    Node { meta: Meta, target: Option<Vec<u8>> },
    /// A file of one piece.
    Whole { meta: Meta, piece: Piece },
    /// A file of several pieces begins; `size` is how long it was when opened.
    Begin { meta: Meta, size: u64, piece: Piece },
    /// It goes on; `last` ends it.
    More { piece: Piece, last: bool },
    /// An entry that could not be packed.
    LeftOut(Remark),
    /// The compression itself failed: there is nothing to go on with.
    Failed(io::Error),
}

/// Part of a file's content.
pub(super) struct Piece {
    /// Compressed.
    pub(super) packed: Vec<u8>,
    /// As it was, kept where a file has one piece only and compression did not help.
    pub(super) plain: Option<Vec<u8>>,
    /// Bytes before compression.
    pub(super) length: u64,
    /// Their checksum.
    pub(super) crc: crc32fast::Hasher,
}

/// A piece to be read and compressed.
struct Task {
    number: usize,
    work: Work,
}

enum Work {
    Ready(Part),
    Read { meta: Option<Meta>, file: Arc<File>, name: Arc<[u8]>, offset: u64, length: usize, size: u64, last: bool },
}

/// The file that is being cut.
struct Open {
    file: Arc<File>,
    name: Arc<[u8]>,
    offset: u64,
    size: u64,
}

struct Plan<'a> {
    source: Source<'a>,
    entries: std::slice::Iter<'a, Entry>,
    open: Option<Open>,
    piece: usize,
}

impl Plan<'_> {
    fn next(&mut self) -> Option<Work> {
        if let Some(open) = self.open.take() {
            return Some(self.cut(open, None));
        }
        let entry = self.entries.next()?;
        Some(match self.source.open(entry) {
            Err(remark) => Work::Ready(Part::LeftOut(remark)),
            Ok(Opened::Folder(meta)) => Work::Ready(Part::Node { meta, target: None }),
            Ok(Opened::Symlink { meta, target }) => Work::Ready(Part::Node { meta, target: Some(target) }),
            Ok(Opened::File { meta, file, size }) => {
                let open = Open { file: Arc::new(file), name: meta.name.as_slice().into(), offset: 0, size };
                self.cut(open, Some(meta))
            }
        })
    }

    fn cut(&mut self, mut open: Open, meta: Option<Meta>) -> Work {
        let rest = open.size - open.offset;
        let length = usize::try_from(rest).map_or(self.piece, |rest| rest.min(self.piece));
        let (file, name, offset, size) = (open.file.clone(), open.name.clone(), open.offset, open.size);
        open.offset += length as u64;
        let last = open.offset >= size;
        if !last {
            self.open = Some(open);
        }
        Work::Read { meta, file, name, offset, length, size, last }
    }
}

struct Shared<'a> {
    plan: Plan<'a>,
    next: usize,
    /// How many parts the writer has taken.
    taken: usize,
    done: BTreeMap<usize, Part>,
    /// All work is given out.
    planned: bool,
    /// Nobody takes parts any more, or a worker is lost with one.
    stop: bool,
}

struct Floor<'a> {
    shared: Mutex<Shared<'a>>,
    changed: Condvar,
    window: usize,
}

impl<'a> Floor<'a> {
    fn lock(&self) -> MutexGuard<'_, Shared<'a>> {
        // A poisoned lock means that a worker panicked; its bell has told the writer, who ends the work.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'g>(&self, guard: MutexGuard<'g, Shared<'a>>) -> MutexGuard<'g, Shared<'a>> {
        self.changed.wait(guard).unwrap_or_else(PoisonError::into_inner)
    }

    /// The next piece of work, as soon as the writer is not too far behind.
    fn task(&self) -> Option<Task> {
        let mut shared = self.lock();
        loop {
            if shared.stop || shared.planned {
                return None;
            }
            if shared.next < shared.taken + self.window {
                break;
            }
            shared = self.wait(shared);
        }
        let number = shared.next;
        match shared.plan.next() {
            Some(work) => {
                shared.next += 1;
                Some(Task { number, work })
            }
            None => {
                shared.planned = true;
                self.changed.notify_all(); // the writer may be waiting for a part that does not exist
                None
            }
        }
    }

    fn finish(&self, number: usize, part: Part) {
        self.lock().done.insert(number, part);
        self.changed.notify_all();
    }

    /// The next part in order; `None` at the end.
    fn part(&self) -> Result<Option<Part>, ArchiveError> {
        let mut shared = self.lock();
        loop {
            let number = shared.taken;
            if let Some(part) = shared.done.remove(&number) {
                shared.taken += 1;
                self.changed.notify_all();
                return Ok(Some(part));
            }
            if shared.stop {
                return Err(ArchiveError::io("compressing", io::Error::other("a compressing thread broke down")));
            }
            if shared.planned && number == shared.next {
                return Ok(None);
            }
            shared = self.wait(shared);
        }
    }
}

/// Tells everybody when a worker panicked: the part it had will never come.
struct Bell<'f, 'a>(&'f Floor<'a>);

impl Drop for Bell<'_, '_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.lock().stop = true;
            self.0.changed.notify_all();
        }
    }
}

/// Tells the workers that nobody takes parts any more.
struct Stop<'f, 'a>(&'f Floor<'a>);

impl Drop for Stop<'_, '_> {
    fn drop(&mut self) {
        self.0.lock().stop = true;
        self.0.changed.notify_all();
    }
}

/// Calls `write` with each part in the order of the selection. `codec` makes one codec a thread.
pub(super) fn compress<C: Codec>(
    root: &Dir,
    selection: &Selection,
    threads: usize,
    interrupt: &Interrupt,
    codec: impl Fn() -> io::Result<C>,
    mut write: impl FnMut(Part) -> Result<(), ArchiveError>,
) -> Result<(), ArchiveError> {
    let plan = Plan { source: Source::new(root), entries: selection.entries.iter(), open: None, piece: C::PIECE };
    let shared = Shared { plan, next: 0, taken: 0, done: BTreeMap::new(), planned: false, stop: false };
    let window = (WINDOW_BYTES / C::PIECE).max(threads + 1);
    let floor = Floor { shared: Mutex::new(shared), changed: Condvar::new(), window };
    let mut codecs = Vec::with_capacity(threads);
    for _ in 0..threads {
        codecs.push(codec().map_err(|e| ArchiveError::io("starting the compression", e))?);
    }
    std::thread::scope(|scope| {
        let stop = Stop(&floor);
        for mut codec in codecs {
            let floor = &floor;
            scope.spawn(move || {
                let _bell = Bell(floor);
                while let Some(Task { number, work }) = floor.task() {
                    floor.finish(number, run(work, &mut codec));
                }
            });
        }
        let result = (|| {
            while let Some(part) = floor.part()? {
                if interrupt.is_raised() {
                    return Err(ArchiveError::Interrupted);
                }
                write(part)?;
            }
            Ok(())
        })();
        drop(stop); // before the scope waits for the workers
        result
    })
}

fn run<C: Codec>(work: Work, codec: &mut C) -> Part {
    let (meta, file, name, offset, length, size, last) = match work {
        Work::Ready(part) => return part,
        Work::Read { meta, file, name, offset, length, size, last } => (meta, file, name, offset, length, size, last),
    };
    let left_out = |why: &io::Error| Part::LeftOut(Remark::warning(format!("{}: left out: {why}", shown(&name))));
    let plain = match read(&file, offset, length) {
        Ok(plain) => plain,
        Err(error) if meta.is_some() => return left_out(&error),
        Err(_) => Vec::new(), // the file is begun: what was read of it stays
    };
    let mut crc = crc32fast::Hasher::new();
    crc.update(&plain);
    let packed = match codec.compress(&plain, last) {
        Ok(packed) => packed,
        Err(error) => return Part::Failed(error),
    };
    let keep = last && meta.is_some() && packed.len() >= plain.len();
    let length = plain.len() as u64;
    let piece = Piece { packed, plain: keep.then_some(plain), length, crc };
    match (meta, last) {
        (Some(meta), true) => Part::Whole { meta, piece },
        (Some(meta), false) => Part::Begin { meta, size, piece },
        (None, last) => Part::More { piece, last },
    }
}

/// Up to `length` bytes from `offset`; fewer where the file has become shorter.
fn read(file: &File, offset: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut plain = vec![0; length];
    let mut filled = 0;
    while filled < length {
        match file.read_at(&mut plain[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    plain.truncate(filled);
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::select;
    use crate::pipeline::definition::FileSelection;

    struct Broken;

    impl Codec for Broken {
        const PIECE: usize = 4;

        fn compress(&mut self, piece: &[u8], _last: bool) -> io::Result<Vec<u8>> {
            assert_ne!(piece, b"bad!", "breaks on purpose");
            Ok(piece.to_vec())
        }
    }

    #[test]
    #[should_panic(expected = "scoped thread panicked")]
    fn a_thread_that_breaks_down_ends_the_work_and_hangs_nobody() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::write(temp.path().join("f"), "good".repeat(1000) + "bad!" + &"good".repeat(10_000_000)).unwrap();
        let root = Dir::open_ambient_dir(temp.path(), cap_std::ambient_authority()).unwrap();
        let files = FileSelection { paths: vec!["f".into()], ..FileSelection::default() };
        let selection = select::select(&root, "/p", &files, Vec::new()).unwrap();
        let _ = compress(&root, &selection, 2, &Interrupt::default(), || Ok(Broken), |_| Ok(()));
    }
}
