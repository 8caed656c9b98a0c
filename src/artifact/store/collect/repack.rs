//! Copying what is still of use in packs into new ones.

use super::super::catalog::slice;
use super::super::error::StoreError;
use super::super::frame::{Compressor, MAX_FRAME};
use super::super::layout::Home;
use super::super::opened::Store;
use super::super::pack::reader::{Buffers, Pack};
use super::super::pack::writer::Part;
use super::super::pack::{ObjectRecord, PackId};
use super::super::put::{Allowance, Packer, Unpacked};
use super::super::session::Session;
use super::super::verify::proves;

/// Copies the objects of `packs` for which `is_kept` says so, and which are what their names say. The new packs have their names when this
/// returns, and are told: one that came out as an old one was is that one, and must stay. The old ones are left alone.
///
/// Frames are made anew of what is left of them, so what of a frame is not kept is gone.
pub(in super::super) fn copy(
    store: &Store,
    home: &Home,
    session: &Session,
    packs: &[&Pack],
    is_kept: impl Fn(&Pack, u32) -> bool,
) -> Result<Vec<PackId>, StoreError> {
    // A copy is never refused: it is on the way to fewer bytes.
    let bytes = u64::MAX;
    let allowance = Allowance { bytes, counted: bytes, quota: bytes, whose: "the store's", setting: "store.max_size" };
    let (packer, full) = Packer::new(session, store.key.as_ref(), allowance);
    let written = (|| {
        let mut copier = Copier { packer: &packer, compressor: Compressor::new()?, raw: Vec::new(), parts: Vec::new() };
        let mut buffers = Buffers::new()?;
        for pack in packs {
            copier.pack(pack, &mut buffers, &is_kept)?;
        }
        copier.flush()
    })();
    packer.finish(written.is_err());
    written?;
    // Even where others have all of its objects: those are the ones that will go.
    Ok(full.close_all(home)?.packs)
}

struct Copier<'a, 'p> {
    packer: &'a Packer<'p>,
    compressor: Compressor,
    /// The frame that is being made.
    raw: Vec<u8>,
    parts: Vec<Part>,
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
            let Ok(record) = pack.object(number) else { continue };
            let is_whole = match frame {
                Some((loaded, is_whole)) if loaded == record.frame => is_whole,
                _ => {
                    self.flush()?;
                    let is_whole = pack.read_frame(record.frame, buffers, &mut content).is_ok();
                    frame = Some((record.frame, is_whole));
                    is_whole
                }
            };
            if is_whole {
                self.object(&record, &content)?;
            }
        }
        self.flush()
    }

    fn object(&mut self, record: &ObjectRecord, content: &[u8]) -> Result<(), StoreError> {
        let Some(bytes) = slice(content, record).filter(|bytes| proves(&record.id, record.kind, bytes)) else {
            tracing::warn!(object = %record.id, "an object of the store is damaged, and was left out of the copy");
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
