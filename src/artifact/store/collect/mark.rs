//! Which objects of an owner are still needed: everything that can be reached from what its records keep.

use std::collections::{BTreeSet, HashSet};
use std::hash::BuildHasherDefault;

use super::super::catalog::{Catalog, NoHash};
use super::super::error::{ObjectTrouble, StoreError};
use super::super::get;
use super::super::id::{ObjectId, ShortId};
use super::super::list;
use super::super::manifest::TreeNode;
use super::super::pack::reader::{Buffers, Pack};
use super::super::pack::{Kind, PackId};
use super::super::record::Record;
use crate::artifact::Interrupt;

/// The objects that are needed.
pub(in super::super) struct Marks<'c> {
    catalog: &'c Catalog,
    live: HashSet<ShortId, BuildHasherDefault<NoHash>>,
    buffers: Buffers,
    /// Something that tells what is needed could not be read: then nobody knows what is not.
    pub(super) is_blind: bool,
    /// Packs in which something of that was damaged, though another copy was whole.
    pub(super) damaged: Vec<PackId>,
    interrupt: Interrupt,
}

impl<'c> Marks<'c> {
    pub(in super::super) fn new(catalog: &'c Catalog, interrupt: &Interrupt) -> Result<Self, StoreError> {
        Ok(Self {
            catalog,
            live: HashSet::default(),
            buffers: Buffers::new()?,
            is_blind: false,
            damaged: Vec::new(),
            interrupt: interrupt.clone(),
        })
    }

    pub(in super::super) fn has(&self, short: ShortId) -> bool {
        self.is_blind || self.live.contains(&short)
    }

    /// True: it was not marked yet.
    fn mark(&mut self, id: &ObjectId) -> bool {
        self.live.insert(id.short())
    }

    /// Marks what a record keeps.
    pub(super) fn record(&mut self, record: &Record) -> Result<(), StoreError> {
        for tree in record.trees() {
            // Whoever pins or holds what he does not have keeps nothing, and hides nothing.
            let is_promise = !matches!(record, Record::Kept(_));
            if !is_promise || !self.is_missing(tree) {
                self.tree(tree)?;
            }
        }
        Ok(())
    }

    /// Marks a tree and everything that it needs. What cannot be read is an error.
    pub(in super::super) fn whole_tree(&mut self, id: &ObjectId) -> Result<(), StoreError> {
        self.mark(id);
        self.try_tree(id)
    }

    /// What is marked.
    pub(in super::super) fn objects(&self) -> impl Iterator<Item = ShortId> {
        self.live.iter().copied()
    }

    /// The packs that what is marked lies in.
    pub(in super::super) fn packs(&self) -> Vec<&'c Pack> {
        let used: BTreeSet<u32> = self.live.iter().filter_map(|short| self.catalog.pack_of(*short)).collect();
        used.into_iter().filter_map(|number| self.catalog.packs().get(number as usize)).collect()
    }

    fn is_missing(&self, tree: &ObjectId) -> bool {
        matches!(self.catalog.find(tree), Err(StoreError::Object { how: ObjectTrouble::Missing, .. }))
    }

    /// Marks a tree and everything that it needs.
    fn tree(&mut self, id: &ObjectId) -> Result<(), StoreError> {
        if !self.mark(id) {
            return Ok(());
        }
        match self.try_tree(id) {
            // What is damaged or gone itself needs nothing; but what it needed is not known any more.
            Err(error) if error.is_damage() => {
                self.is_blind = true;
                tracing::warn!(tree = %id, %error, "a manifest cannot be read: no object of its owner is removed");
                Ok(())
            }
            done => done,
        }
    }

    fn try_tree(&mut self, id: &ObjectId) -> Result<(), StoreError> {
        let root = get::root(self.catalog, id, &mut self.buffers, &mut self.damaged)?;
        for (segment, _) in &root.segments {
            if self.interrupt.is_raised() {
                return Err(StoreError::Interrupted);
            }
            if !self.mark(segment) {
                continue;
            }
            for entry in get::segment(self.catalog, segment, &mut self.buffers, &mut self.damaged)? {
                match entry.node {
                    TreeNode::File { size, id } if size > 0 => self.file(&id, size)?,
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn file(&mut self, id: &ObjectId, size: u64) -> Result<(), StoreError> {
        if !self.mark(id) {
            return Ok(());
        }
        match self.catalog.find(id) {
            Ok(found) if found.record.kind == Kind::List => {}
            // Without its list nobody has use for its chunks.
            Ok(_) | Err(StoreError::Object { how: ObjectTrouble::Missing, .. }) => return Ok(()),
            // One that cannot be read now may be read later: what it needs is not known.
            Err(error) => return Err(error),
        }
        for part in list::parts(self.catalog, id, &mut self.buffers, &mut self.damaged)? {
            self.mark(&part);
        }
        let live = &mut self.live;
        let mut mark = |chunks: &[list::Chunk]| {
            live.extend(chunks.iter().map(|chunk| chunk.id.short()));
            Ok(())
        };
        list::chunks(self.catalog, id, size, &mut self.buffers, &mut self.damaged, &mut mark)
    }
}
