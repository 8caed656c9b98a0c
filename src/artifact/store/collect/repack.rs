//! Copying what is still of use in packs into new ones.

use std::collections::HashMap;

use super::super::catalog::slice;
use super::super::error::StoreError;
use super::super::frame::{Compressor, MAX_FRAME};
use super::super::layout::Home;
use super::super::opened::Store;
use super::super::pack::files::Trouble;
use super::super::pack::reader::{Buffers, Pack};
use super::super::pack::writer::Part;
use super::super::pack::{ObjectRecord, PackId};
use super::super::put::{Packer, Room, Unpacked};
use super::super::session::Session;
use super::super::verify::proves;

/// Copies the objects of `packs` for which `is_kept` says so, and which are what their names say. The new packs have their names when this
/// returns, and are told: one that came out as an old one was is that one, and must stay. The old ones are left alone; those that something
/// was left out of are told, too.
///
/// Frames are made anew of what is left of them, so what of a frame is not kept is gone.
///
/// # Errors
/// Something cannot be read or written for a reason that says nothing about what is in the packs.
pub(in super::super) fn copy(
    store: &Store,
    home: &Home,
    session: &Session,
    packs: &[&Pack],
    is_kept: impl Fn(&Pack, u32) -> bool,
) -> Result<Copied, StoreError> {
    let (packer, full) = Packer::new(session, store.key.as_ref(), Room::Any);
    let written = (|| {
        let mut copier = Copier {
            packer: &packer,
            compressor: Compressor::new()?,
            raw: Vec::new(),
            parts: Vec::new(),
            left_out: HashMap::new(),
        };
        let mut buffers = Buffers::new()?;
        for pack in packs {
            copier.pack(pack, &mut buffers, &is_kept)?;
        }
        copier.flush()?;
        Ok(copier.left_out)
    })();
    packer.finish(written.is_err());
    let left_out = written?;
    // Even where others have all of its objects: those are the ones that will go.
    Ok(Copied { packs: full.close_all(&packer, home)?.packs, left_out })
}

/// What came of copying.
pub(in super::super) struct Copied {
    /// The copies.
    pub(in super::super) packs: Vec<PackId>,
    /// Packs that have something that was to be copied and could not be, and what is the matter with them.
    pub(in super::super) left_out: HashMap<PackId, Trouble>,
}

struct Copier<'a, 'p> {
    packer: &'a Packer<'p>,
    compressor: Compressor,
    /// The frame that is being made.
    raw: Vec<u8>,
    parts: Vec<Part>,
    left_out: HashMap<PackId, Trouble>,
}

impl Copier<'_, '_> {
    fn pack(
        &mut self,
        pack: &Pack,
        buffers: &mut Buffers,
        is_kept: &impl Fn(&Pack, u32) -> bool,
    ) -> Result<(), StoreError> {
        let mut content = Vec::new();
        let mut frame: Option<(u32, bool)> = None;
        for number in 0..pack.objects() {
            if !is_kept(pack, number) {
                continue;
            }
            let record = match pack.object(number) {
                Ok(record) => record,
                Err(error) => {
                    self.leave_out(pack, error)?;
                    continue;
                }
            };
            let is_whole = match frame {
                Some((loaded, is_whole)) if loaded == record.frame => is_whole,
                _ => {
                    self.flush()?;
                    let read = pack.read_frame(record.frame, buffers, &mut content);
                    let is_whole =
                        read.map_or_else(|error| self.leave_out(pack, error).map(|()| false), |()| Ok(true))?;
                    frame = Some((record.frame, is_whole));
                    is_whole
                }
            };
            if is_whole {
                self.object(pack, &record, &content)?;
            }
        }
        self.flush()
    }

    /// Goes on without what is damaged.
    fn leave_out(&mut self, pack: &Pack, error: std::io::Error) -> Result<(), StoreError> {
        let trouble = Trouble::of(&error);
        if !trouble.is_damage() {
            return Err(StoreError::file("reading", &pack.path, error));
        }
        // What could not be read at all weighs more: it may be there another time.
        let known = self.left_out.entry(pack.id).or_insert(trouble);
        if trouble == Trouble::Unreadable {
            *known = trouble;
        }
        Ok(())
    }

    fn object(&mut self, pack: &Pack, record: &ObjectRecord, content: &[u8]) -> Result<(), StoreError> {
        let Some(bytes) = slice(content, record).filter(|bytes| proves(&record.id, record.kind, bytes)) else {
            tracing::warn!(object = %record.id, "an object of the store is damaged, and was left out of the copy");
            self.left_out.entry(pack.id).or_insert(Trouble::Wrong);
            return Ok(());
        };
        if self.raw.len() + bytes.len() > MAX_FRAME {
            self.flush()?;
        }
        self.raw.extend_from_slice(bytes);
        self.parts.push(Part { id: record.id, kind: record.kind, length: record.length });
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        if !self.parts.is_empty() {
            self.packer.pack(&mut self.compressor, &[Unpacked { raw: &self.raw, parts: &self.parts }])?;
        }
        self.raw.clear();
        self.parts.clear();
        Ok(())
    }
}
