//! What of packs that came from elsewhere becomes part of this store.
//!
//! Every object of a pack was proved by its name when it came. The list of a cut file is named after the file, so it is proved by reading
//! the file: otherwise whoever wrote the pack says what the file is, and whoever keeps that file later counts on it. A pack can have lists of
//! files whose chunks are elsewhere, since it was made of what several trees need; then only the objects that the wanted tree needs are copied.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::shared::Shared;
use crate::artifact::Interrupt;
use crate::artifact::store::catalog::{Catalog, slice};
use crate::artifact::store::collect::mark::Marks;
use crate::artifact::store::collect::repack;
use crate::artifact::store::disk;
use crate::artifact::store::error::{ObjectTrouble, StoreError};
use crate::artifact::store::id::ObjectId;
use crate::artifact::store::layout::Home;
use crate::artifact::store::list;
use crate::artifact::store::opened::{Store, Work};
use crate::artifact::store::pack::reader::{Buffers, Pack};
use crate::artifact::store::pack::{Kind, PackId};

/// What was found out about the lists of packs.
#[derive(Default)]
struct Lists {
    /// Files that are what their lists say.
    proved: HashSet<ObjectId>,
    /// There are others, of which nobody knows.
    has_others: bool,
}

impl Store {
    /// Takes packs into the store that lie in files of the session: as they are, or what the tree needs of them.
    pub(super) fn admit(
        &self,
        work: &Work,
        home: &Home,
        shared: &Shared,
        paths: &[PathBuf],
        interrupt: &Interrupt,
    ) -> Result<(), StoreError> {
        let mut catalog = self.catalog(home)?;
        let mut numbers = Vec::new();
        for path in paths {
            numbers.push(catalog.take_in(path)?);
        }
        let lists = prove_lists(&catalog, &numbers, interrupt)?;
        if lists.has_others {
            return self.copy_what_is_needed(work, home, shared, &catalog, &numbers, &lists, interrupt);
        }
        let packs: Vec<&Pack> = numbers.iter().filter_map(|number| catalog.packs().get(*number as usize)).collect();
        packs.iter().try_for_each(|pack| disk::rename(&pack.path, &home.pack(pack.id)))
    }

    #[allow(clippy::too_many_arguments)] // they are what `admit` has
    fn copy_what_is_needed(
        &self,
        work: &Work,
        home: &Home,
        shared: &Shared,
        catalog: &Catalog,
        numbers: &[u32],
        lists: &Lists,
        interrupt: &Interrupt,
    ) -> Result<(), StoreError> {
        let mut marks = Marks::new(catalog, interrupt)?;
        marks.whole_tree(&shared.info.content_hash)?;
        let mut wanted: HashSet<(PackId, u32)> = HashSet::new();
        let mut unproved = None;
        for number in numbers {
            let Some(pack) = catalog.packs().get(*number as usize) else { continue };
            let mut object = 0;
            catalog.each_object(*number, |record, is_first| {
                if is_first && marks.has(record.id.short()) {
                    wanted.insert((pack.id, object));
                    if record.kind == Kind::List && !lists.proved.contains(&record.id) {
                        unproved = Some(record.id);
                    }
                }
                object += 1;
            })?;
        }
        if let Some(id) = unproved {
            return Err(StoreError::Object { id, how: ObjectTrouble::Damaged });
        }
        let packs: Vec<&Pack> = numbers.iter().filter_map(|number| catalog.packs().get(*number as usize)).collect();
        repack::copy(self, home, &work.session, &packs, |pack, object| wanted.contains(&(pack.id, object))).map(drop)
    }
}

/// Reads all files that packs have lists of, some at the same time.
///
/// # Errors
/// One is not what its list is named after.
fn prove_lists(catalog: &Catalog, numbers: &[u32], interrupt: &Interrupt) -> Result<Lists, StoreError> {
    let mut all: Vec<(u32, u32, ObjectId)> = Vec::new();
    for number in numbers {
        let mut object = 0;
        catalog.each_object(*number, |record, _| {
            if record.kind == Kind::List {
                all.push((*number, object, record.id));
            }
            object += 1;
        })?;
    }
    let next = AtomicUsize::new(0);
    let (lists, failure) = (Mutex::new(Lists::default()), Mutex::new(None));
    let work = || {
        let mut buffers = match Buffers::new() {
            Ok(buffers) => buffers,
            Err(error) => {
                failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                return;
            }
        };
        while let Some((number, object, id)) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
            let proved = if interrupt.is_raised() {
                Err(StoreError::Interrupted)
            } else {
                prove_list(catalog, *number, *object, id, &mut buffers)
            };
            let mut lists = lists.lock().unwrap_or_else(PoisonError::into_inner);
            match proved {
                Ok(Some(true)) => {
                    lists.proved.insert(*id);
                }
                Ok(None) => lists.has_others = true,
                Ok(Some(false)) => {
                    let error = StoreError::Object { id: *id, how: ObjectTrouble::Damaged };
                    failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                }
                Err(error) => {
                    failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                    next.store(all.len(), Ordering::Relaxed);
                }
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(all.len());
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(lists.into_inner().unwrap_or_else(PoisonError::into_inner)),
    }
}

/// The copy of a list that lies in this pack, and no other.
fn prove_list(
    catalog: &Catalog,
    number: u32,
    object: u32,
    id: &ObjectId,
    buffers: &mut Buffers,
) -> Result<Option<bool>, StoreError> {
    let Some(pack) = catalog.packs().get(number as usize) else { return Ok(None) };
    let mut frame = Vec::new();
    let bytes = pack.object(object).and_then(|record| {
        pack.read_frame(record.frame, buffers, &mut frame)?;
        Ok(slice(&frame, &record).map(<[u8]>::to_vec))
    });
    match bytes {
        Ok(Some(bytes)) => list::proves_file(catalog, id, &bytes, buffers),
        Ok(None) => Ok(Some(false)),
        Err(error) => Err(StoreError::file("reading", &pack.path, error)),
    }
}
