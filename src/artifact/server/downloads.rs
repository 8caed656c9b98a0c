//! Entries that are being fetched. A file that was proved when it was put there is served, and nothing else.

use std::collections::{HashMap, VecDeque};
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
use super::shared::Asking;
use super::spool::{self, Budget, Folder, Hold};
use crate::artifact::Interrupt;

/// Entries that were found and may be fetched, of all jobs; beyond that the oldest is forgotten of the job that has most.
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
    _holds: [Hold; 2],
}

/// A copy, or somebody who makes it.
type Slot = Arc<OnceCell<Arc<Fetched>>>;

/// A copy, when it was used last, and the job that wanted it first: it is of that job's share.
struct Copy {
    slot: Slot,
    used: u64,
    grant: u128,
}

/// Entries that are being fetched, and copies of those that were.
pub(super) struct Downloads {
    folder: PathBuf,
    reserve: u64,
    job_tickets: usize,
    budget: Arc<Budget>,
    interrupt: Interrupt,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    tickets: HashMap<u64, Ticket>,
    /// The numbers of each job, the oldest first.
    by_job: HashMap<u128, VecDeque<u64>>,
    next_ticket: u64,
    copies: HashMap<Content, Copy>,
    /// Counts uses, so that it is known which copy was not used for longest.
    uses: u64,
}

impl Downloads {
    pub(super) fn new(folder: PathBuf, limits: &Limits, interrupt: Interrupt) -> Self {
        let budget = Arc::new(Budget::new(limits.download_bytes));
        let (reserve, job_tickets) = (limits.reserve_bytes, limits.job_tickets);
        Self { folder, reserve, job_tickets, budget, interrupt, state: Mutex::default() }
    }

    /// A number under which the job can fetch the entry.
    pub(super) fn promise(&self, grant: Arc<Grant>, entry: Entry) -> u64 {
        let mut state = self.lock();
        state.next_ticket += 1;
        let id = state.next_ticket;
        // Of a job that is over nobody would remove it.
        if !grant.over.is_cancelled() {
            state.add_ticket(id, Ticket { grant, entry: Arc::new(entry) }, self.job_tickets);
        }
        id
    }

    /// What was promised under a number.
    pub(super) fn ticket(&self, id: u64) -> Result<Ticket, Refusal> {
        self.lock().tickets.get(&id).cloned().ok_or(Refusal::Unknown("entry"))
    }

    /// The job fetches nothing any more.
    pub(super) fn end_job(&self, grant: u128) {
        let mut state = self.lock();
        for id in state.by_job.remove(&grant).unwrap_or_default() {
            state.tickets.remove(&id);
        }
    }

    /// The content of an entry, brought here and proved if it is not here already. Several who want the same wait for one. It is brought
    /// also when whoever asked has hung up, and takes the job's turn as long: else asking and hanging up would begin it again and again.
    pub(super) async fn copy(
        self: &Arc<Self>,
        entries: &Arc<Entries>,
        ticket: &Ticket,
        asking: &Arc<Asking>,
    ) -> Result<Arc<Fetched>, Refusal> {
        let slot = self.slot(&ticket.entry.content(), ticket.grant.id);
        if let Some(copy) = slot.get() {
            return Ok(Arc::clone(copy));
        }
        let (this, entries, turn) = (Arc::clone(self), Arc::clone(entries), Arc::clone(asking));
        let wanted = ticket.clone();
        let making = tokio::spawn(async move {
            let made = this.make_once(slot, entries, wanted).await;
            drop(turn);
            made
        });
        tokio::select! {
            () = ticket.grant.over.cancelled() => Err(Refusal::Over),
            made = making => made.unwrap_or_else(|_| Err(Refusal::Failed("fetching the entry broke off".into()))),
        }
    }

    async fn make_once(
        self: &Arc<Self>,
        slot: Slot,
        entries: Arc<Entries>,
        ticket: Ticket,
    ) -> Result<Arc<Fetched>, Refusal> {
        let over = ticket.grant.over.clone();
        let make = || {
            let this = Arc::clone(self);
            blocking(move || this.make(&entries, &ticket).map(Arc::new))
        };
        let made = slot.get_or_try_init(|| async {
            // Who has waited for another's attempt may be over by now.
            if over.is_cancelled() { Err(Refusal::Over) } else { make().await }
        });
        let made = made.await.cloned();
        // Else it would look as if somebody were still making it.
        drop(slot);
        if made.is_err() {
            self.drop_empty();
        }
        made
    }

    fn make(&self, entries: &Entries, ticket: &Ticket) -> Result<Fetched, Refusal> {
        let bytes = ticket.entry.bytes();
        let grant = &ticket.grant;
        let mut own = Hold::of(vec![Arc::clone(&grant.downloads)]);
        while !own.raise(bytes) {
            if !self.drop_oldest(Some(grant.id)) {
                return Err(Refusal::Busy("entries that the job is fetching take all the room there is for one job"));
            }
        }
        let mut hold = Hold::of(vec![Arc::clone(&self.budget)]);
        while !hold.raise(bytes) {
            if !self.drop_oldest(None) {
                return Err(Refusal::Busy("entries that are being fetched take all the room there is for them"));
            }
        }
        while let Err(refusal) = spool::check_room(&self.folder, bytes, self.reserve) {
            if !self.drop_oldest(None) {
                return Err(refusal);
            }
        }
        let folder = Folder::new(&self.folder).map_err(|error| disk("making a folder for a cache entry", &error))?;
        let parts = entries.bring(&ticket.entry, &ticket.grant.access, &folder, &self.interrupt)?;
        Ok(Fetched { folder, parts, _holds: [own, hold] })
    }

    fn slot(&self, content: &Content, grant: u128) -> Slot {
        let mut state = self.lock();
        state.uses += 1;
        let now = state.uses;
        if let Some(copy) = state.copies.get_mut(content) {
            copy.used = now;
            return Arc::clone(&copy.slot);
        }
        let oldest = if state.copies.len() >= COPIES { state.take_oldest(None) } else { None };
        let slot = Slot::default();
        state.copies.insert(content.clone(), Copy { slot: Arc::clone(&slot), used: now, grant });
        drop(state);
        if let Some(oldest) = oldest {
            spool::discard(oldest);
        }
        slot
    }

    /// Removes the copy that was not used for longest and that nobody reads, of one job or of all. False: there is none. Blocking.
    fn drop_oldest(&self, of: Option<u128>) -> bool {
        let oldest = self.lock().take_oldest(of);
        // Its files go when nobody is kept waiting by it.
        oldest.is_some()
    }

    /// Forgets copies that could not be made and that nobody is making.
    fn drop_empty(&self) {
        self.lock().copies.retain(|_, copy| copy.slot.get().is_some() || Arc::strong_count(&copy.slot) > 1);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take_oldest(&mut self, of: Option<u128>) -> Option<Copy> {
        let is_unused = |slot: &Slot| {
            Arc::strong_count(slot) == 1 && slot.get().is_some_and(|fetched| Arc::strong_count(fetched) == 1)
        };
        let meant = self.copies.iter().filter(|(_, copy)| of.is_none_or(|grant| copy.grant == grant));
        let unused = meant.filter(|(_, copy)| is_unused(&copy.slot));
        let oldest = unused.min_by_key(|(_, copy)| copy.used).map(|(content, _)| content.clone());
        oldest.and_then(|content| self.copies.remove(&content))
    }

    fn add_ticket(&mut self, id: u64, ticket: Ticket, most: usize) {
        let grant = ticket.grant.id;
        self.tickets.insert(id, ticket);
        let own = self.by_job.entry(grant).or_default();
        own.push_back(id);
        let forgotten = if own.len() > most {
            own.pop_front()
        } else if self.tickets.len() > TICKETS {
            self.by_job.values_mut().max_by_key(|ids| ids.len()).and_then(VecDeque::pop_front)
        } else {
            None
        };
        if let Some(id) = forgotten {
            self.tickets.remove(&id);
        }
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
