//! Files that are cut into chunks. One thread reads and cuts, its partner hashes, and those who pack take the chunks that are new:
//! so a single file keeps all of them busy.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::mpsc::{Receiver, SyncSender};

use super::super::chunks::{Cut, Cutting};
use super::super::id::ObjectId;
use super::super::list::{ListWriter, Listed};
use super::super::pack::Kind;
use super::super::pack::writer::Part;
use super::super::sha256::{self, Hasher};
use super::buffers::{Buffer, Pool};
use super::{Intake, Payload};
use crate::artifact::Interrupt;

/// A part of a file, from the beginning of a chunk to the end of one.
pub(super) struct Piece<'p> {
    buffer: Buffer<'p>,
    cuts: Vec<Cut>,
    is_last: bool,
}

/// A chunk that has to be stored, and where in a buffer it lies.
pub(super) struct NewChunk {
    pub(super) part: Part,
    pub(super) range: Range<usize>,
}

/// What the partner found out about a file.
pub(super) struct Hashed {
    id: ObjectId,
    list: Listed,
}

/// The reading half of a pair.
pub(super) struct Cutter<'p> {
    pub(super) pool: &'p Pool,
    pub(super) pieces: SyncSender<Piece<'p>>,
    pub(super) hashed: Receiver<Hashed>,
}

/// What a file turned out to be.
pub(super) struct Read {
    pub(super) id: ObjectId,
    pub(super) size: u64,
}

impl<'p> Cutter<'p> {
    /// Reads `size` bytes of the file, or as many as there are, and stores them. `None`: somebody else ended the put.
    pub(super) fn put(
        &self,
        file: &File,
        size: u64,
        intake: &Intake<'_, 'p>,
        interrupt: &Interrupt,
    ) -> io::Result<Option<Read>> {
        let mut at = 0;
        let mut cutting = Cutting::default();
        // The buffer that is read into, and how much of a chunk is in it already.
        let mut next = Some((self.pool.take(), 0));
        while let Some((mut buffer, carried)) = next.take() {
            let room = (buffer.len() - carried) as u64;
            let wanted = room.min(size - at) as usize;
            let got = match read_at(file, &mut buffer[carried..carried + wanted], at) {
                Ok(got) => got,
                Err(error) => {
                    self.give_up(buffer);
                    return Err(error);
                }
            };
            at += got as u64;
            let filled = carried + got;
            // The same length as when it was opened; what is shorter ends where it ends.
            let is_last = at == size || got < wanted;
            let cuts = cutting.cut(&buffer[..filled], is_last);
            if !is_last {
                let rest = &buffer[cuts.last().map_or(0, |cut| cut.end)..filled];
                let mut following = self.pool.take();
                following[..rest.len()].copy_from_slice(rest);
                next = Some((following, rest.len()));
            }
            if interrupt.is_raised() || self.pieces.send(Piece { buffer, cuts, is_last }).is_err() {
                return Ok(None);
            }
            intake.progress.add_bytes(got as u64);
        }
        let Ok(hashed) = self.hashed.recv() else { return Ok(None) };
        let id = hashed.id;
        if !intake.store_list(id, hashed.list) {
            return Ok(None);
        }
        Ok(Some(Read { id, size: at }))
    }
}

impl<'p> Cutter<'p> {
    /// Has the partner forget a file that cannot be read to its end.
    fn give_up(&self, buffer: Buffer<'p>) {
        if self.pieces.send(Piece { buffer, cuts: Vec::new(), is_last: true }).is_ok() {
            let _ = self.hashed.recv();
        }
    }
}

/// Reads until the buffer is full or the file ends.
fn read_at(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], at + filled as u64) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// The hashing half of a pair: works until no more pieces come.
pub(super) fn hash<'p>(pieces: &Receiver<Piece<'p>>, hashed: &SyncSender<Hashed>, intake: &Intake<'_, 'p>) {
    let mut whole = Hasher::new();
    let mut list = ListWriter::new();
    let mut before = None;
    for Piece { buffer, cuts, is_last } in pieces {
        let mut new = Vec::new();
        let mut start = 0;
        for Cut { end, is_again } in cuts {
            let range = start..end;
            start = end;
            let chunk = &buffer[range.clone()];
            let id = match before {
                Some(id) if is_again => {
                    whole.update(chunk);
                    id
                }
                _ => {
                    let mut part = Hasher::new();
                    sha256::update_two(&mut whole, chunk, &mut part, chunk);
                    part.finish()
                }
            };
            before = Some(id);
            let length = chunk.len() as u32;
            if !list.push(id, length, |part| intake.store(Payload::owned(part))) {
                return;
            }
            if intake.claim(&id) {
                new.push(NewChunk { part: Part { id, kind: Kind::Data, length }, range });
            }
        }
        // All at once: handing them over one by one takes a good part of the time that compressing them takes.
        if !new.is_empty() && !intake.send(Payload::Chunks { buffer, chunks: new }) {
            return;
        }
        if is_last {
            let whole = std::mem::replace(&mut whole, Hasher::new());
            let list = std::mem::replace(&mut list, ListWriter::new());
            before = None;
            if hashed
                .send(Hashed { id: whole.finish(), list: list.finish(|part| intake.store(Payload::owned(part))) })
                .is_err()
            {
                return;
            }
        }
    }
}
