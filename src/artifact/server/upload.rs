//! An entry that is being uploaded: in ranges of one file, in any order and several at a time, or in blocks that a list puts in order.
//! Nothing of it can be fetched before it is whole and kept.

use std::collections::HashMap;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::Body;
use tokio::time::Instant;

use super::access::Grant;
use super::blocks::{self, Block};
use super::body::{self, Terms, blocking};
use super::key::EntryName;
use super::limits::Limits;
use super::ranges::RangeSet;
use super::refusal::{Refusal, disk};
use super::spool::{Budget, Folder, Hold};

/// Pieces that the ranges of an upload may be in.
const MOST_PIECES: usize = 16_384;

/// How the content comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// In ranges of one file (version 1).
    Ranges,
    /// In blocks (version 2).
    Blocks,
}

/// An entry that is being uploaded.
pub(super) struct Upload {
    pub(super) id: u64,
    pub(super) grant: Arc<Grant>,
    pub(super) name: EntryName,
    folder: Folder,
    budgets: Vec<Arc<Budget>>,
    limits: Limits,
    state: Mutex<State>,
}

struct State {
    phase: Phase,
    /// Requests that write.
    writers: usize,
    touched: Instant,
    content: Content,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// It is whole, and being kept.
    Sealed,
    /// Nothing comes of it.
    GivenUp,
}

impl Phase {
    fn check_open(self) -> Result<(), Refusal> {
        match self {
            Self::Open => Ok(()),
            Self::Sealed => Err(Refusal::Busy("the entry is being kept already")),
            Self::GivenUp => Err(Refusal::Unknown("upload")),
        }
    }
}

enum Content {
    Ranges(Ranges),
    Blocks(Blocks),
}

struct Ranges {
    file: Arc<File>,
    path: PathBuf,
    /// What was written, if only in part.
    written: RangeSet,
    /// What came whole.
    whole: RangeSet,
    hold: Hold,
}

#[derive(Default)]
struct Blocks {
    staged: HashMap<String, Arc<Block>>,
    /// The content, once somebody has said what it is.
    list: Option<Vec<Arc<Block>>>,
    next: u64,
}

/// What an upload has brought: files whose content follows each other.
#[derive(Debug)]
pub(super) struct Sealed {
    pub(super) parts: Vec<PathBuf>,
    pub(super) bytes: u64,
    /// Holds the files.
    _blocks: Vec<Arc<Block>>,
}

/// A request that writes. While there is one, the upload is neither sealed nor idle.
pub(super) struct Writing<'a>(&'a Upload);

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.writers -= 1;
        state.touched = Instant::now();
    }
}

impl Upload {
    /// Begins one. Blocking.
    pub(super) fn new(
        id: u64,
        grant: Arc<Grant>,
        name: EntryName,
        kind: Kind,
        place: (&Path, Arc<Budget>, &Limits),
    ) -> Result<Self, Refusal> {
        let (parent, all, limits) = place;
        let fail = |error: std::io::Error| disk("making a folder for a cache entry", &error);
        let folder = Folder::new(parent).map_err(fail)?;
        let budgets = vec![Arc::clone(&grant.budget), all];
        let content = match kind {
            Kind::Ranges => {
                let path = folder.path().join("content");
                let file = Arc::new(File::create_new(&path).map_err(fail)?);
                let hold = Hold::of(budgets.clone());
                Content::Ranges(Ranges { file, path, written: RangeSet::default(), whole: RangeSet::default(), hold })
            }
            Kind::Blocks => Content::Blocks(Blocks::default()),
        };
        let state = State { phase: Phase::Open, writers: 0, touched: Instant::now(), content };
        Ok(Self { id, grant, name, folder, budgets, limits: limits.clone(), state: Mutex::new(state) })
    }

    /// Where its files lie.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Nothing is to come of it, unless it is just being kept: then whoever keeps it ends it. Whether it is given up now.
    pub(super) fn give_up(&self) -> bool {
        self.give_up_if(|_| true)
    }

    /// The same where nobody has done anything with it since `moment`.
    pub(super) fn give_up_idle(&self, moment: Instant) -> bool {
        self.give_up_if(|state| state.writers == 0 && state.touched < moment)
    }

    fn give_up_if(&self, is_meant: impl Fn(&State) -> bool) -> bool {
        let mut state = self.lock();
        let is_given_up = state.phase != Phase::Sealed && is_meant(&state);
        if is_given_up {
            state.phase = Phase::GivenUp;
        }
        is_given_up
    }

    /// Takes the bytes of a range. They may overlap others; what comes last counts.
    pub(super) async fn write_range(&self, range: Range<u64>, body: Body) -> Result<(), Refusal> {
        if range.end > self.limits.entry_bytes {
            return Err(Refusal::TooLarge { limit: self.limits.entry_bytes });
        }
        let _writing = self.begin()?;
        let file = self.ranges(|ranges| Ok(Arc::clone(&ranges.file)))?;
        let came = body::receive(body, &file, range.start, &self.terms(), |piece| {
            if piece.end > range.end {
                return Err(Refusal::Invalid(format!(
                    "the body has more bytes than its range, {}",
                    range.end - range.start
                )));
            }
            self.ranges(|ranges| ranges.allow(piece))
        })
        .await?;
        let wanted = range.end - range.start;
        if came != wanted {
            return Err(Refusal::Invalid(format!("the body has {came} bytes, and its range {wanted}")));
        }
        self.ranges(|ranges| ranges.came(range))
    }

    /// Takes a block, which may come again and then is another.
    pub(super) async fn write_block(&self, id: &str, body: Body) -> Result<(), Refusal> {
        let id = blocks::checked_id(id)?;
        let _writing = self.begin()?;
        let block = Arc::new(self.receive_block(body).await?);
        self.blocks(|blocks| {
            if blocks.staged.len() >= blocks::MOST && !blocks.staged.contains_key(&id) {
                return Err(Refusal::Invalid(format!("an entry has {} blocks at most", blocks::MOST)));
            }
            blocks.staged.insert(id, block);
            Ok(())
        })
    }

    /// Takes the whole content at once.
    pub(super) async fn write_whole(&self, body: Body) -> Result<(), Refusal> {
        let _writing = self.begin()?;
        let block = Arc::new(self.receive_block(body).await?);
        self.blocks(|blocks| {
            blocks.list = Some(vec![block]);
            Ok(())
        })
    }

    /// The content is these blocks, in this order.
    pub(super) fn set_list(&self, ids: &[String]) -> Result<(), Refusal> {
        let _writing = self.begin()?;
        let most = self.limits.entry_bytes;
        self.blocks(|blocks| {
            let missing = || Refusal::Invalid("the list names a block that was not uploaded".into());
            let list: Option<Vec<_>> = ids.iter().map(|id| blocks.staged.get(id).cloned()).collect();
            let list = list.ok_or_else(missing)?;
            // One block may stand in the list more than once.
            let bytes = list.iter().try_fold(0u64, |sum, block| sum.checked_add(block.bytes));
            if bytes.is_none_or(|bytes| bytes > most) {
                return Err(Refusal::TooLarge { limit: most });
            }
            blocks.list = Some(list);
            Ok(())
        })
    }

    /// What it has brought, if that is whole and has `size` bytes. From here on nothing more is taken.
    pub(super) fn seal(&self, size: u64) -> Result<Sealed, Refusal> {
        let mut state = self.lock();
        state.phase.check_open()?;
        if state.writers > 0 {
            return Err(Refusal::Busy("parts of the entry are still being uploaded"));
        }
        let wrong = |has: u64| Refusal::Invalid(format!("the entry is to have {size} bytes, and {has} were uploaded"));
        let sealed = match &state.content {
            Content::Ranges(ranges) if !ranges.whole.is_whole(size) => return Err(wrong(ranges.whole.total())),
            Content::Ranges(ranges) => Sealed { parts: vec![ranges.path.clone()], bytes: size, _blocks: Vec::new() },
            Content::Blocks(blocks) => {
                let list = blocks.list.clone().ok_or_else(|| wrong(0))?;
                let bytes = list.iter().map(|block| block.bytes).sum();
                if bytes != size {
                    return Err(wrong(bytes));
                }
                let parts = list.iter().map(|block| block.path().to_owned()).collect();
                Sealed { parts, bytes, _blocks: list }
            }
        };
        state.phase = Phase::Sealed;
        Ok(sealed)
    }

    async fn receive_block(&self, body: Body) -> Result<Block, Refusal> {
        let mut count = Hold::of(vec![Arc::clone(&self.grant.blocks)]);
        if !count.raise(1) {
            return Err(Refusal::TooMany("blocks of entries that are being uploaded"));
        }
        let mut hold = Hold::of(self.budgets.clone());
        // An empty one is a file, too.
        raise(&mut hold, blocks::LEAST)?;
        let path = self.blocks(|blocks| {
            blocks.next += 1;
            Ok(self.folder.path().join(format!("block-{}", blocks.next)))
        })?;
        let file = {
            let path = path.clone();
            let made = move || File::create_new(path).map_err(|error| disk("making a file for a cache entry", &error));
            Arc::new(blocking(made).await?)
        };
        let most = self.limits.entry_bytes;
        let came = body::receive(body, &file, 0, &self.terms(), |piece| {
            if piece.end > most {
                return Err(Refusal::TooLarge { limit: most });
            }
            raise(&mut hold, piece.end)
        })
        .await;
        // Whatever came of it, the file goes with the block.
        let block = Block::new(path, came.as_ref().copied().unwrap_or_default(), [hold, count]);
        came.map(|_| block)
    }

    fn begin(&self) -> Result<Writing<'_>, Refusal> {
        let mut state = self.lock();
        state.phase.check_open()?;
        state.writers += 1;
        Ok(Writing(self))
    }

    fn terms(&self) -> Terms<'_> {
        Terms { limits: &self.limits, over: &self.grant.over, folder: self.folder.path() }
    }

    fn ranges<T>(&self, work: impl FnOnce(&mut Ranges) -> Result<T, Refusal>) -> Result<T, Refusal> {
        match &mut self.lock().content {
            Content::Ranges(ranges) => work(ranges),
            Content::Blocks(_) => Err(Refusal::Unknown("upload")),
        }
    }

    fn blocks<T>(&self, work: impl FnOnce(&mut Blocks) -> Result<T, Refusal>) -> Result<T, Refusal> {
        match &mut self.lock().content {
            Content::Blocks(blocks) => work(blocks),
            Content::Ranges(_) => Err(Refusal::Unknown("upload")),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ranges {
    /// A piece is going to be written.
    fn allow(&mut self, piece: Range<u64>) -> Result<(), Refusal> {
        let (pieces, bytes) = self.written.with(&piece);
        few(pieces)?;
        raise(&mut self.hold, bytes)?;
        self.written.insert(piece);
        Ok(())
    }

    /// A range came whole. What others left unfinished between them joins what was written, and not these: they are counted, too.
    fn came(&mut self, range: Range<u64>) -> Result<(), Refusal> {
        few(self.whole.with(&range).0)?;
        self.whole.insert(range);
        Ok(())
    }
}

fn few(pieces: usize) -> Result<(), Refusal> {
    if pieces <= MOST_PIECES {
        return Ok(());
    }
    Err(Refusal::Invalid(format!("the entry is in more than {MOST_PIECES} pieces; send larger ones")))
}

fn raise(hold: &mut Hold, bytes: u64) -> Result<(), Refusal> {
    if hold.raise(bytes) {
        return Ok(());
    }
    Err(Refusal::NoRoom("entries that are being uploaded take all the room there is for them".into()))
}
