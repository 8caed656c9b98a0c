//! Entries that are being fetched. A file that was proved when it was put there is served, and nothing else.

use std::collections::{BTreeMap, HashMap};
use std::io::SeekFrom;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio::sync::OnceCell;
use tokio_util::io::ReaderStream;

use super::access::Grant;
use super::body::blocking;
use super::entries::{Content, Entries, Entry, part_name};
use super::limits::Limits;
use super::refusal::{Refusal, disk};
use super::spool::{self, Budget, Folder, Hold};
use crate::artifact::Interrupt;

/// Entries that were found and may be fetched; beyond that the oldest are forgotten.
const TICKETS: usize = 32_768;

/// Copies on the disk.
const COPIES: usize = 4_096;

/// Bytes that are read at a time.
const PIECE: usize = 256 << 10;

/// An entry that a job was told of.
#[derive(Clone)]
pub(super) struct Ticket {
    pub(super) grant: Arc<Grant>,
    pub(super) entry: Arc<Entry>,
}

/// The content of an entry on the disk.
pub(super) struct Fetched {
    folder: Folder,
    /// The lengths of its files, in order.
    parts: Vec<u64>,
    _hold: Hold,
}

/// A copy, or somebody who makes it.
type Slot = Arc<OnceCell<Arc<Fetched>>>;

/// Entries that are being fetched, and copies of those that were.
pub(super) struct Downloads {
    folder: PathBuf,
    reserve: u64,
    budget: Arc<Budget>,
    interrupt: Interrupt,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    tickets: BTreeMap<u64, Ticket>,
    next_ticket: u64,
    copies: HashMap<Content, (Slot, u64)>,
    /// Counts uses, so that it is known which copy was not used for longest.
    uses: u64,
}

impl Downloads {
    pub(super) fn new(folder: PathBuf, limits: &Limits, interrupt: Interrupt) -> Self {
        let budget = Arc::new(Budget::new(limits.download_bytes));
        Self { folder, reserve: limits.reserve_bytes, budget, interrupt, state: Mutex::default() }
    }

    /// A number under which the job can fetch the entry.
    pub(super) fn promise(&self, grant: Arc<Grant>, entry: Entry) -> u64 {
        let mut state = self.lock();
        state.next_ticket += 1;
        let id = state.next_ticket;
        state.tickets.insert(id, Ticket { grant, entry: Arc::new(entry) });
        if state.tickets.len() > TICKETS {
            state.tickets.pop_first();
        }
        id
    }

    /// What was promised under a number.
    pub(super) fn ticket(&self, id: u64) -> Result<Ticket, Refusal> {
        self.lock().tickets.get(&id).cloned().ok_or(Refusal::Unknown("entry"))
    }

    /// The job fetches nothing any more.
    pub(super) fn end_job(&self, grant: u128) {
        self.lock().tickets.retain(|_, ticket| ticket.grant.id != grant);
    }

    /// The content of an entry, brought here and proved if it is not here already. Several who want the same wait for one.
    pub(super) async fn copy(
        self: &Arc<Self>,
        entries: &Arc<Entries>,
        ticket: &Ticket,
    ) -> Result<Arc<Fetched>, Refusal> {
        let slot = self.slot(&ticket.entry.content());
        let made = slot.get_or_try_init(|| {
            let (this, entries, ticket) = (Arc::clone(self), Arc::clone(entries), ticket.clone());
            blocking(move || this.make(&entries, &ticket).map(Arc::new))
        });
        let made = tokio::select! {
            () = ticket.grant.over.cancelled() => Err(Refusal::Over),
            made = made => made.cloned(),
        };
        // Else it would look as if somebody were still making it.
        drop(slot);
        if made.is_err() {
            self.drop_empty();
        }
        made
    }

    fn make(&self, entries: &Entries, ticket: &Ticket) -> Result<Fetched, Refusal> {
        let bytes = ticket.entry.bytes();
        let mut hold = Hold::of(vec![Arc::clone(&self.budget)]);
        while !hold.raise(bytes) {
            if !self.drop_oldest() {
                return Err(Refusal::Busy("entries that are being fetched take all the room there is for them"));
            }
        }
        while let Err(refusal) = spool::check_room(&self.folder, bytes, self.reserve) {
            if !self.drop_oldest() {
                return Err(refusal);
            }
        }
        let folder = Folder::new(&self.folder).map_err(|error| disk("making a folder for a cache entry", &error))?;
        let parts = entries.bring(&ticket.entry, &ticket.grant.access, &folder, &self.interrupt)?;
        Ok(Fetched { folder, parts, _hold: hold })
    }

    fn slot(&self, content: &Content) -> Slot {
        let mut state = self.lock();
        state.uses += 1;
        let now = state.uses;
        if let Some((slot, used)) = state.copies.get_mut(content) {
            *used = now;
            return Arc::clone(slot);
        }
        if state.copies.len() >= COPIES {
            state.drop_oldest();
        }
        let slot = Slot::default();
        state.copies.insert(content.clone(), (Arc::clone(&slot), now));
        slot
    }

    /// Removes the copy that was not used for longest and that nobody reads. False: there is none.
    fn drop_oldest(&self) -> bool {
        self.lock().drop_oldest()
    }

    /// Forgets copies that could not be made and that nobody is making.
    fn drop_empty(&self) {
        self.lock().copies.retain(|_, (slot, _)| slot.get().is_some() || Arc::strong_count(slot) > 1);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn drop_oldest(&mut self) -> bool {
        let is_unused = |slot: &Slot| slot.get().is_some_and(|copy| Arc::strong_count(copy) == 1);
        let unused = self.copies.iter().filter(|(_, (slot, _))| Arc::strong_count(slot) == 1 && is_unused(slot));
        let oldest = unused.min_by_key(|(_, (_, used))| *used).map(|(content, _)| content.clone());
        oldest.and_then(|content| self.copies.remove(&content)).is_some()
    }
}

impl Fetched {
    /// These bytes of it. It stays on the disk until they were read.
    pub(super) fn read(self: Arc<Self>, range: Range<u64>) -> impl Stream<Item = std::io::Result<Bytes>> + Send {
        let segments = segments(&self.parts, range);
        stream::iter(segments).map(Ok).and_then(move |segment| open(Arc::clone(&self), segment)).try_flatten()
    }
}

/// Bytes of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Segment {
    part: usize,
    range: Range<u64>,
}

/// Where the bytes of a range lie.
fn segments(parts: &[u64], wanted: Range<u64>) -> Vec<Segment> {
    let mut begin = 0u64;
    let mut found = Vec::new();
    for (part, length) in parts.iter().enumerate() {
        let end = begin + length;
        let (from, to) = (wanted.start.max(begin), wanted.end.min(end));
        if from < to {
            found.push(Segment { part, range: from - begin..to - begin });
        }
        begin = end;
    }
    found
}

async fn open(
    copy: Arc<Fetched>,
    segment: Segment,
) -> std::io::Result<impl Stream<Item = std::io::Result<Bytes>> + Send> {
    let mut file = tokio::fs::File::open(copy.folder.path().join(part_name(segment.part))).await?;
    file.seek(SeekFrom::Start(segment.range.start)).await?;
    let length = segment.range.end - segment.range.start;
    // The copy lies there as long as it is read.
    let bytes = ReaderStream::with_capacity(file.take(length), PIECE);
    Ok(bytes.map(move |piece| {
        let _copy = &copy;
        piece
    }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn segments_are_the_wanted_bytes(parts in prop::collection::vec(0u64..9, 0..8), start in 0u64..40, length in 0u64..40) {
            let whole: Vec<(usize, u64)> =
                parts.iter().enumerate().flat_map(|(part, length)| (0..*length).map(move |at| (part, at))).collect();
            let end = (start + length).min(whole.len() as u64);
            let wanted = whole.get(start as usize..end as usize).unwrap_or_default().to_vec();
            let found: Vec<(usize, u64)> = segments(&parts, start..start + length)
                .into_iter()
                .flat_map(|segment| segment.range.map(move |at| (segment.part, at)))
                .collect();
            prop_assert_eq!(found, wanted);
        }
    }
}
