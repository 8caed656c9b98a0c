//! Whether everything that a tree needs is there.

use std::collections::HashMap;

use super::super::catalog::Catalog;
use super::super::error::{ObjectTrouble, StoreError};
use super::super::get;
use super::super::id::ObjectId;
use super::super::list;
use super::super::manifest::TreeNode;
use super::super::pack::reader::Buffers;
use super::super::pack::{Kind, PackId};
use super::Look;

/// Objects that were read and found to be something else, and the hash of what they are, where there is one.
pub(super) type Suspects = HashMap<ObjectId, Option<ObjectId>>;

/// What has to be there, and what was found out about it.
pub(in super::super) struct Checker<'c> {
    catalog: &'c Catalog,
    buffers: Buffers,
    /// What was found whole.
    known: HashMap<ObjectId, u64>,
    /// Bytes of content that may still be read. Of the rest it is looked whether it is there, and as long as it should be.
    budget: u64,
    suspects: Option<&'c Suspects>,
    pub(super) damaged: Vec<PackId>,
}

impl<'c> Checker<'c> {
    /// One that reads manifests and lists, and no content.
    pub(in super::super) fn new(catalog: &'c Catalog) -> Result<Self, StoreError> {
        Ok(Self {
            catalog,
            buffers: Buffers::new()?,
            known: HashMap::new(),
            budget: 0,
            suspects: None,
            damaged: Vec::new(),
        })
    }

    /// Has it read so many bytes of content, of all trees together.
    pub(in super::super) fn reading(self, bytes: u64) -> Self {
        Self { budget: bytes, ..self }
    }

    /// Has it know what was found to be something else. It may be gone by now.
    pub(super) fn suspecting(self, suspects: &'c Suspects) -> Self {
        Self { suspects: Some(suspects), ..self }
    }

    /// Bytes of content that may still be read.
    pub(in super::super) fn budget(&self) -> u64 {
        self.budget
    }

    /// Looks at a tree.
    ///
    /// # Errors
    /// Something cannot be read for a reason that says nothing about it.
    pub(in super::super) fn look(&mut self, id: &ObjectId) -> Result<Look, StoreError> {
        let error = match self.tree(id) {
            Ok(size) => return Ok(Look::Whole { size }),
            Err(error) if error.is_damage() => error,
            Err(error) => return Err(error),
        };
        self.catalog.look_of(id, &error, self.suspects, &mut self.buffers)
    }

    /// Bytes of a tree that is whole.
    pub(in super::super) fn tree(&mut self, id: &ObjectId) -> Result<u64, StoreError> {
        let root = get::root(self.catalog, id, &mut self.buffers, &mut self.damaged)?;
        let mut size = 0;
        for (segment, _) in &root.segments {
            for entry in get::segment(self.catalog, segment, &mut self.buffers, &mut self.damaged)? {
                if let TreeNode::File { size: bytes, id: file } = entry.node {
                    let wrong = || StoreError::Object { id: *id, how: ObjectTrouble::Damaged };
                    size = u64::checked_add(size, bytes).ok_or_else(wrong)?;
                    if bytes > 0 {
                        self.file(&file, bytes)?;
                    }
                }
            }
        }
        Ok(size)
    }

    fn file(&mut self, id: &ObjectId, size: u64) -> Result<(), StoreError> {
        if self.is_known(id, size)? {
            return Ok(());
        }
        if self.catalog.find(id)?.record.kind == Kind::List {
            let mut chunks = Vec::new();
            let mut take = |some: &[list::Chunk]| {
                chunks.extend_from_slice(some);
                Ok(())
            };
            list::chunks(self.catalog, id, size, &mut self.buffers, &mut self.damaged, &mut take)?;
            for chunk in chunks {
                self.data(&chunk.id, chunk.length)?;
            }
        } else {
            self.data(id, size)?;
        }
        self.known.insert(*id, size);
        Ok(())
    }

    /// Whether it was found whole already, and as long as it is said to be.
    fn is_known(&self, id: &ObjectId, size: u64) -> Result<bool, StoreError> {
        match self.known.get(id) {
            Some(known) if *known != size => Err(StoreError::Object { id: *id, how: ObjectTrouble::Damaged }),
            known => Ok(known.is_some()),
        }
    }

    fn data(&mut self, id: &ObjectId, size: u64) -> Result<(), StoreError> {
        if self.is_known(id, size)? {
            return Ok(());
        }
        let is_suspect = self.suspects.is_some_and(|suspects| suspects.contains_key(id));
        let length = if is_suspect || size <= self.budget {
            self.budget = self.budget.saturating_sub(size);
            self.catalog.read(id, Kind::Data, &mut self.buffers, &mut self.damaged)?.len() as u64
        } else {
            u64::from(self.catalog.find(id)?.record.length)
        };
        if length != size {
            return Err(StoreError::Object { id: *id, how: ObjectTrouble::Damaged });
        }
        self.known.insert(*id, size);
        Ok(())
    }
}

impl Catalog {
    /// What an error that is damage says of a tree: what is wrong, and what is there in its place.
    ///
    /// # Errors
    /// What is there cannot be read for a reason that says nothing about it.
    pub(in super::super) fn look_of(
        &self,
        tree: &ObjectId,
        error: &StoreError,
        suspects: Option<&Suspects>,
        buffers: &mut Buffers,
    ) -> Result<Look, StoreError> {
        let (object, how) = match error {
            StoreError::Object { id, how } => (*id, *how),
            StoreError::Manifest { id, .. } => (*id, ObjectTrouble::Damaged),
            _ => (*tree, ObjectTrouble::Damaged),
        };
        // What was found damaged a moment ago has been put aside by now.
        if let Some(calculated) = suspects.and_then(|suspects| suspects.get(&object)) {
            let error = StoreError::Object { id: object, how: ObjectTrouble::Damaged };
            return Ok(Look::Differs { object, calculated: *calculated, error: error.to_string() });
        }
        Ok(match how {
            ObjectTrouble::Missing => Look::NotThere { object, error: error.to_string() },
            ObjectTrouble::Damaged => {
                Look::Differs { object, calculated: self.calculated(&object, buffers)?, error: error.to_string() }
            }
        })
    }
}
