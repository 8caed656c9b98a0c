//! Objects into packs: what compresses and writes, and what closes a pack when it is full.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

use super::super::budget::{Answer, Budget};
use super::super::catalog::Catalog;
use super::super::disk;
use super::super::error::StoreError;
use super::super::frame::Compressor;
use super::super::layout::Home;
use super::super::pack::writer::{Finished, Frame, OpenPack, Part};
use super::super::pack::{PACK_OBJECTS, PACK_SIZE, PackId};
use super::super::seal::StoreKey;
use super::super::session::Session;

/// How much may be written.
pub(in super::super) enum Room<'a> {
    /// As much as there is: it is on the way to fewer bytes.
    Any,
    Within(Budget<'a>),
}

/// What a frame will hold.
#[derive(Clone, Copy)]
pub(in super::super) struct Unpacked<'a> {
    pub(in super::super) raw: &'a [u8],
    /// The objects in it, one after the other.
    pub(in super::super) parts: &'a [Part],
}

/// Takes the frames of a put.
pub(in super::super) struct Packer<'a> {
    pub(in super::super) session: &'a Session,
    pub(in super::super) key: Option<&'a StoreKey>,
    pub(in super::super) room: Room<'a>,
    current: Mutex<Option<Arc<OpenPack>>>,
    full: Mutex<Option<Sender<OpenPack>>>,
    written: AtomicU64,
}

/// The packs that are full, on their way to the thread that closes them.
pub(in super::super) struct Full(Receiver<OpenPack>);

impl<'a> Packer<'a> {
    pub(in super::super) fn new(session: &'a Session, key: Option<&'a StoreKey>, room: Room<'a>) -> (Self, Full) {
        let (full, to_close) = channel();
        let packer = Self {
            session,
            key,
            room,
            current: Mutex::new(None),
            full: Mutex::new(Some(full)),
            written: AtomicU64::new(0),
        };
        (packer, Full(to_close))
    }

    /// Compresses frames and writes them, one after the other.
    pub(in super::super) fn pack(
        &self,
        compressor: &mut Compressor,
        frames: &[Unpacked<'_>],
    ) -> Result<(), StoreError> {
        let encoded = compressor.encode(frames.iter().map(|frame| frame.raw));
        let frames: Vec<_> = frames
            .iter()
            .zip(encoded)
            .map(|(frame, (encoding, bytes))| Frame {
                encoding,
                raw: frame.raw.len() as u32,
                bytes,
                parts: frame.parts,
            })
            .collect();
        self.append(&frames)
    }

    /// Writes frames to the pack that is open.
    fn append(&self, frames: &[Frame<'_>]) -> Result<(), StoreError> {
        let taken = frames.iter().map(Frame::taken).sum();
        let written = self.written.fetch_add(taken, Ordering::Relaxed) + taken;
        if let Room::Within(budget) = &self.room
            && budget.covers(written, taken)? == Answer::Count
        {
            return Ok(());
        }
        let (pack, place) = {
            let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
            let pack = match current.as_ref() {
                Some(pack) => Arc::clone(pack),
                None => Arc::clone(current.insert(Arc::new(OpenPack::create(&self.session.new_file(), self.key)?))),
            };
            let (place, extent) = pack.reserve(frames)?;
            if extent.bytes >= PACK_SIZE || extent.objects >= PACK_OBJECTS {
                *current = None;
                if let Room::Within(budget) = &self.room {
                    budget.note_full();
                }
            }
            (pack, place)
        };
        let result = pack.write(place, frames);
        self.close_if_full(pack);
        result
    }

    /// # Errors
    /// More was to be written than there is room for.
    pub(in super::super) fn check(&self) -> Result<(), StoreError> {
        match &self.room {
            Room::Any => Ok(()),
            Room::Within(budget) => budget.check(self.written.load(Ordering::Relaxed)),
        }
    }

    /// The last one that writes to a pack that takes no more has it closed.
    fn close_if_full(&self, pack: Arc<OpenPack>) {
        if let Some(pack) = Arc::into_inner(pack)
            && let Some(full) = self.full.lock().unwrap_or_else(PoisonError::into_inner).as_ref()
        {
            // Nobody takes it any more when closing has failed, which is told elsewhere.
            let _ = full.send(pack);
        }
    }

    /// Has a pack that is closed count as what there is.
    fn settle(&self, bytes: u64, moved: impl FnOnce() -> Result<(), StoreError>) -> Result<(), StoreError> {
        match &self.room {
            Room::Any => moved(),
            Room::Within(budget) => budget.settle(bytes, moved),
        }
    }

    /// Has the last pack closed, unless it is of no use: then it goes. Nothing is written afterwards.
    pub(in super::super) fn finish(&self, is_useless: bool) {
        let last = self.current.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(pack) = last.filter(|_| !is_useless) {
            self.close_if_full(pack);
        }
        *self.full.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// What became of the packs of a put.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Closed {
    /// Bytes that the store has more than before.
    pub(in super::super) bytes: u64,
    pub(in super::super) packs: Vec<PackId>,
}

impl Full {
    /// Closes packs as they come, until there are no more. A pack all of whose objects somebody else has stored meanwhile is dropped.
    pub(in super::super) fn close(
        self,
        packer: &Packer<'_>,
        home: &Home,
        catalog: &Mutex<Catalog>,
    ) -> Result<Closed, StoreError> {
        self.close_unless(packer, home, |pack| {
            let mut catalog = catalog.lock().unwrap_or_else(PoisonError::into_inner);
            catalog.refresh()?;
            Ok(catalog.has_settled(&pack.objects))
        })
    }

    /// Closes packs as they come, whoever has their objects, too.
    pub(in super::super) fn close_all(self, packer: &Packer<'_>, home: &Home) -> Result<Closed, StoreError> {
        self.close_unless(packer, home, |_| Ok(false))
    }

    fn close_unless(
        self,
        packer: &Packer<'_>,
        home: &Home,
        is_known: impl Fn(&Finished) -> Result<bool, StoreError>,
    ) -> Result<Closed, StoreError> {
        let mut closed = Closed::default();
        for pack in self.0 {
            let pack = pack.finish()?;
            if is_known(&pack)? {
                packer.settle(0, || disk::remove(&pack.path))?;
                continue;
            }
            packer.settle(pack.bytes, || disk::rename(&pack.path, &home.pack(pack.id)))?;
            closed.bytes += pack.bytes;
            closed.packs.push(pack.id);
        }
        Ok(closed)
    }
}
