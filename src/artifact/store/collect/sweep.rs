//! Giving back the room of objects that nobody needs.
//!
//! First, beside others at work: what is needed is marked, and what is left of packs of which little is needed is copied into new
//! ones. Then, alone: whoever kept something meanwhile is asked again, and packs that nobody needs are removed. Killed at any
//! moment, this leaves objects twice or not needed, never fewer than needed; so it does where others are at work all the time, and one is never
//! alone: the next collection makes the same copies, which are then there already, and removes the packs.

use std::collections::HashSet;

use super::super::alone::Turns;
use super::super::catalog::Catalog;
use super::super::disk;
use super::super::error::StoreError;
use super::super::id::ObjectId;
use super::super::layout::Home;
use super::super::opened::{Store, slug_of};
use super::super::pack::PackId;
use super::super::pack::reader::Pack;
use super::super::record::Record;
use super::super::session::Session;
use super::mark::Marks;
use super::repack::{self, Copied};
use crate::artifact::Interrupt;

/// A pack of which less is needed, in percent, is copied.
const WORTH_COPYING: u64 = 70;

/// Packs below this size ...
const SMALL: u64 = 4 << 20;

/// ... are put together when there are so many.
const MANY_SMALL: usize = 32;

/// What of a pack is needed.
struct Use {
    id: PackId,
    bytes: u64,
    needed_objects: u64,
    needed_bytes: u64,
    content_bytes: u64,
}

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Swept {
    pub(super) packs: u64,
    /// By how much it became less.
    pub(super) bytes: u64,
}

/// Removes what none of the owner's records needs. Where others are at work for long nothing goes, as `turns` says then.
pub(super) fn sweep(store: &Store, home: &Home, turns: &mut Turns, interrupt: &Interrupt) -> Result<Swept, StoreError> {
    let swept = try_sweep(store, home, turns, interrupt);
    // However it ended: copies may have come, and packs may have gone.
    let counted = store.recount(home);
    let swept = swept?;
    counted.map(|()| swept)
}

fn try_sweep(store: &Store, home: &Home, turns: &mut Turns, interrupt: &Interrupt) -> Result<Swept, StoreError> {
    // No copies for nothing, where it was in vain a moment ago.
    if turns.is_in_vain() && turns.alone(&store.layout, interrupt)?.is_none() {
        return Ok(Swept::default());
    }
    let (keys, doomed, grown) = {
        let work = store.begin(interrupt)?;
        let (records, lost) = store.records(home)?;
        if lost > 0 {
            tracing::warn!(owner = %slug_of(home), lost, "records are damaged: no object of their owner is removed");
            return Ok(Swept::default());
        }
        let catalog = store.catalog(home)?;
        let mut marks = Marks::new(&catalog, interrupt)?;
        for record in &records {
            marks.record(record)?;
        }
        if marks.is_blind || !marks.damaged.is_empty() || !catalog.damaged().is_empty() {
            // What can be read may be a copy of what cannot, or what that needs: looking at everything deals with it first.
            tracing::warn!(owner = %slug_of(home), "packs are damaged: no object of their owner is removed until the store has been verified");
            store.want_scrub()?;
            return Ok(Swept::default());
        }
        let mut doomed = doomed(&catalog, &marks)?;
        let mut grown = 0;
        let copied = copy_what_is_left(store, home, &work.session, &catalog, &marks, &doomed);
        match copied {
            // What could not be copied is still needed: looking at everything deals with it.
            Ok(copied) => {
                grown = bytes_that_came(home, &catalog, &copied.packs);
                doomed.retain(|pack| !copied.packs.contains(pack) && !copied.left_out.contains_key(pack));
            }
            // Without room for copies, what nobody needs anything of goes first.
            Err(StoreError::NoSpace { .. }) => doomed = unneeded(&catalog, &marks)?,
            Err(error) => return Err(error),
        }
        (keys(&records), doomed, grown)
    };
    if doomed.is_empty() {
        return Ok(Swept::default());
    }
    let mut swept = remove(store, home, &keys, &doomed, turns, interrupt)?;
    // What only lies in another pack now was not given back.
    swept.bytes = swept.bytes.saturating_sub(grown);
    Ok(swept)
}

/// Bytes of those packs that were not there before.
fn bytes_that_came(home: &Home, before: &Catalog, packs: &[PackId]) -> u64 {
    let came = packs.iter().filter(|id| before.packs().iter().all(|pack| pack.id != **id));
    came.map(|id| std::fs::metadata(home.pack(*id)).map_or(0, |file| file.len())).sum()
}

/// What records keep: key and tree.
type Keys = HashSet<(String, String)>;

fn keys(records: &[Record]) -> Keys {
    let each = |record: &Record| {
        let key = record.key().to_string();
        record.trees().iter().map(move |tree| (key.clone(), tree.to_string())).collect::<Vec<_>>()
    };
    records.iter().flat_map(each).collect()
}

/// The packs that are to go.
fn doomed(catalog: &Catalog, marks: &Marks<'_>) -> Result<Vec<PackId>, StoreError> {
    let mut uses = Vec::new();
    for (number, pack) in (0..).zip(catalog.packs()) {
        uses.push(used(catalog, number, pack, marks)?);
    }
    let small = uses.iter().filter(|of| of.bytes < SMALL).count();
    let is_doomed = |of: &&Use| {
        of.needed_objects == 0
            || of.needed_bytes * 100 < of.content_bytes * WORTH_COPYING
            || (of.bytes < SMALL && small >= MANY_SMALL)
    };
    Ok(uses.iter().filter(is_doomed).map(|of| of.id).collect())
}

/// The packs that nobody needs anything of.
fn unneeded(catalog: &Catalog, marks: &Marks<'_>) -> Result<Vec<PackId>, StoreError> {
    let mut found = Vec::new();
    for (number, pack) in (0..).zip(catalog.packs()) {
        if used(catalog, number, pack, marks)?.needed_objects == 0 {
            found.push(pack.id);
        }
    }
    Ok(found)
}

fn used(catalog: &Catalog, number: u32, pack: &Pack, marks: &Marks<'_>) -> Result<Use, StoreError> {
    let mut of = Use { id: pack.id, bytes: pack.bytes, needed_objects: 0, needed_bytes: 0, content_bytes: 0 };
    catalog.each_object(number, |record, is_first| {
        of.content_bytes += u64::from(record.length);
        if is_first && marks.has(record.id.short()) {
            of.needed_objects += 1;
            of.needed_bytes += u64::from(record.length);
        }
    })?;
    Ok(of)
}

fn copy_what_is_left(
    store: &Store,
    home: &Home,
    session: &Session,
    catalog: &Catalog,
    marks: &Marks<'_>,
    doomed: &[PackId],
) -> Result<Copied, StoreError> {
    let packs: Vec<(u32, &Pack)> = (0..).zip(catalog.packs()).filter(|(_, pack)| doomed.contains(&pack.id)).collect();
    let mut wanted = HashSet::new();
    for (number, pack) in &packs {
        let mut object = 0;
        catalog.each_object(*number, |record, is_first| {
            if is_first && marks.has(record.id.short()) {
                wanted.insert((pack.id, object));
            }
            object += 1;
        })?;
    }
    let packs: Vec<&Pack> = packs.into_iter().map(|(_, pack)| pack).collect();
    repack::copy(store, home, session, &packs, |pack, object| wanted.contains(&(pack.id, object)))
}

/// Removes packs, unless somebody has kept something meanwhile that needs what only they have.
fn remove(
    store: &Store,
    home: &Home,
    known: &Keys,
    doomed: &[PackId],
    turns: &mut Turns,
    interrupt: &Interrupt,
) -> Result<Swept, StoreError> {
    let Some(_alone) = turns.alone(&store.layout, interrupt)? else { return Ok(Swept::default()) };
    let (records, lost) = store.records(home)?;
    let new: Option<HashSet<ObjectId>> =
        keys(&records).difference(known).map(|(_, tree)| tree.parse::<ObjectId>().ok()).collect();
    let catalog = Catalog::without(home.clone(), store.key.clone(), doomed)?;
    let mut swept = Swept::default();
    let may_go = match &new {
        Some(new) if lost == 0 => are_whole(&catalog, new)?,
        _ => false,
    };
    if !may_go {
        // The next cycle knows of them from the beginning.
        return Ok(swept);
    }
    for id in doomed {
        let path = home.pack(*id);
        swept.bytes += std::fs::metadata(&path).map_or(0, |file| file.len());
        disk::remove(&path)?;
        swept.packs += 1;
    }
    Ok(swept)
}

/// Whether what was kept meanwhile has all its objects in other packs.
fn are_whole(catalog: &Catalog, new: &HashSet<ObjectId>) -> Result<bool, StoreError> {
    let mut checker = super::super::verify::Checker::new(catalog)?;
    for tree in new {
        match checker.tree(tree) {
            Err(error) if error.is_damage() => return Ok(false),
            done => done.map(drop)?,
        }
    }
    Ok(true)
}
