//! Which objects an owner has, and where: read from the footers of its packs. There is no other list that could disagree.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};
use std::io;

use super::disk;
use super::error::{ObjectTrouble, StoreError};
use super::frame::Encoding;
use super::id::{ObjectId, ShortId};
use super::layout::Home;
use super::pack::files::Trouble;
use super::pack::reader::{Buffers, Pack};
use super::pack::{Kind, ObjectRecord, PackId};
use super::seal::StoreKey;
use super::verify::{hash_of, proves};

/// Keys are parts of hashes already.
#[derive(Default)]
pub(super) struct NoHash(u64);

impl Hasher for NoHash {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 << 8) | u64::from(*byte);
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

type Places = HashMap<ShortId, Place, BuildHasherDefault<NoHash>>;

/// Where an object lies: the number of a pack of the catalog, and its own in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub(super) pack: u32,
    pub(super) object: u32,
}

/// An object of a pack that is still being written.
const PENDING: Place = Place { pack: u32::MAX, object: 0 };

/// What an owner has.
pub(super) struct Catalog {
    home: Home,
    key: Option<StoreKey>,
    packs: Vec<Pack>,
    known: HashSet<PackId>,
    places: Places,
    /// Further copies of objects.
    spares: Vec<(ShortId, Place)>,
    /// Packs whose footer is not what it was.
    damaged: Vec<std::path::PathBuf>,
}

/// An object's place and what its pack says of it.
pub(super) struct Found<'c> {
    pub(super) pack: &'c Pack,
    pub(super) place: Place,
    pub(super) record: ObjectRecord,
}

impl Catalog {
    /// Reads the footers of all packs.
    pub(super) fn load(home: Home, key: Option<StoreKey>) -> Result<Self, StoreError> {
        Self::without(home, key, &[])
    }

    /// Reads the footers of all packs but these.
    pub(super) fn without(home: Home, key: Option<StoreKey>, others: &[PackId]) -> Result<Self, StoreError> {
        let mut catalog = Self::empty(home, key);
        catalog.known.extend(others);
        catalog.refresh()?;
        Ok(catalog)
    }

    /// A catalog that has read nothing.
    pub(super) fn empty(home: Home, key: Option<StoreKey>) -> Self {
        Self {
            home,
            key,
            packs: Vec::new(),
            known: HashSet::new(),
            places: Places::default(),
            spares: Vec::new(),
            damaged: Vec::new(),
        }
    }

    /// Reads the footers of packs that came since.
    pub(super) fn refresh(&mut self) -> Result<(), StoreError> {
        for path in disk::fanned(&self.home.packs())? {
            let named = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse::<PackId>().ok());
            if named.is_some_and(|id| self.known.contains(&id)) || self.damaged.contains(&path) {
                continue;
            }
            let number = self.packs.len() as u32;
            let mut objects: Vec<ShortId> = Vec::new();
            match Pack::open(&path, self.key.as_ref(), |_, record| objects.push(record.id.short())) {
                Ok(pack) if named == Some(pack.id) => {
                    self.known.insert(pack.id);
                    self.packs.push(pack);
                    for (object, short) in (0..).zip(objects) {
                        self.insert(short, Place { pack: number, object });
                    }
                }
                Ok(_) | Err(StoreError::Damaged { .. }) => self.damaged.push(path),
                // A collector was faster.
                Err(StoreError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
                // The other packs are of use without it.
                Err(StoreError::File { source, .. }) if Trouble::of(&source).is_damage() => self.damaged.push(path),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Takes in a pack that has no name yet. Its objects are used where no other pack has them. Tells its number.
    pub(super) fn take_in(&mut self, path: &std::path::Path) -> Result<u32, StoreError> {
        let number = self.packs.len() as u32;
        let mut objects: Vec<ShortId> = Vec::new();
        self.packs.push(Pack::open(path, self.key.as_ref(), |_, record| objects.push(record.id.short()))?);
        for (object, short) in (0..).zip(objects) {
            self.insert(short, Place { pack: number, object });
        }
        Ok(number)
    }

    fn insert(&mut self, short: ShortId, place: Place) {
        match self.places.insert(short, place) {
            None | Some(PENDING) => {}
            // The first copy stays the one that is used.
            Some(first) => {
                self.places.insert(short, first);
                self.spares.push((short, place));
            }
        }
    }

    /// Notes that somebody is about to write the object. False: it is there, or somebody else is.
    pub(super) fn claim(&mut self, id: &ObjectId) -> bool {
        match self.places.entry(id.short()) {
            std::collections::hash_map::Entry::Occupied(_) => false,
            std::collections::hash_map::Entry::Vacant(vacant) => {
                vacant.insert(PENDING);
                true
            }
        }
    }

    /// Whether the object is on disk, or about to be.
    pub(super) fn has(&self, id: &ObjectId) -> bool {
        self.places.contains_key(&id.short())
    }

    /// Whether the object is on disk, and not only about to be.
    pub(super) fn is_settled(&self, id: &ObjectId) -> bool {
        self.places.get(&id.short()).is_some_and(|place| *place != PENDING)
    }

    /// Takes an object for missing, so that the next that has it writes it.
    pub(super) fn distrust(&mut self, id: &ObjectId) {
        let short = id.short();
        self.places.remove(&short);
        self.spares.retain(|(spare, _)| *spare != short);
    }

    /// The pack that an object is read from.
    pub(super) fn pack_of(&self, short: ShortId) -> Option<u32> {
        self.places.get(&short).filter(|place| **place != PENDING).map(|place| place.pack)
    }

    /// Whether all of them are in packs that have a name.
    pub(super) fn has_settled(&self, objects: &[ObjectRecord]) -> bool {
        objects.iter().all(|object| self.places.get(&object.id.short()).is_some_and(|place| *place != PENDING))
    }

    /// Packs whose footer is damaged.
    pub(super) fn damaged(&self) -> &[std::path::PathBuf] {
        &self.damaged
    }

    /// The packs. A [`Place`] has the number of one.
    pub(super) fn packs(&self) -> &[Pack] {
        &self.packs
    }

    /// Bytes of all packs.
    pub(super) fn bytes(&self) -> u64 {
        self.packs.iter().map(|pack| pack.bytes).sum()
    }

    /// The number of objects, each counted once.
    pub(super) fn objects(&self) -> usize {
        self.places.len()
    }

    /// Calls `each` with the objects of a pack, in order, and whether this is the copy that is used.
    pub(super) fn each_object(&self, number: u32, mut each: impl FnMut(ObjectRecord, bool)) -> Result<(), StoreError> {
        let Some(pack) = self.packs.get(number as usize) else { return Ok(()) };
        Pack::open(&pack.path, self.key.as_ref(), |object, record| {
            let place = Place { pack: number, object };
            each(record, self.places.get(&record.id.short()) == Some(&place));
        })
        .map(drop)
    }

    /// The copies of an object, the one to be used first.
    fn copies(&self, id: &ObjectId) -> impl Iterator<Item = Place> {
        let short = id.short();
        let spares = self.spares.iter().filter(move |(spare, _)| *spare == short).map(|(_, place)| *place);
        self.places.get(&short).copied().filter(|place| *place != PENDING).into_iter().chain(spares)
    }

    /// Where the object lies.
    ///
    /// # Errors
    /// It is nowhere, or no copy's record is what it was; or reading one failed for a reason that says nothing about it.
    pub(super) fn find(&self, id: &ObjectId) -> Result<Found<'_>, StoreError> {
        let mut how = ObjectTrouble::Missing;
        let mut failure = None;
        for place in self.copies(id) {
            let Some(pack) = self.packs.get(place.pack as usize) else { continue };
            match pack.object(place.object) {
                Ok(record) if record.id == *id => return Ok(Found { pack, place, record }),
                Err(error) if !Trouble::of(&error).is_damage() => failure = Some(unread(pack, error)),
                _ => how = ObjectTrouble::Damaged,
            }
        }
        // Whether it is damaged is not known as long as a copy was not looked at.
        Err(failure.unwrap_or(StoreError::Object { id: *id, how }))
    }

    /// The content of an object, proved to be what its id says; a list, to be one as it was written. `found` is called with each pack that has
    /// a damaged copy.
    pub(super) fn read(
        &self,
        id: &ObjectId,
        kind: Kind,
        buffers: &mut Buffers,
        damaged: &mut Vec<PackId>,
    ) -> Result<Vec<u8>, StoreError> {
        let mut how = ObjectTrouble::Missing;
        let mut failure = None;
        let mut frame = Vec::new();
        for place in self.copies(id) {
            let Some(pack) = self.packs.get(place.pack as usize) else { continue };
            let content = pack.object(place.object).and_then(|record| {
                pack.read_frame(record.frame, buffers, &mut frame)?;
                Ok(slice(&frame, &record).map(<[u8]>::to_vec).filter(|_| record.id == *id && record.kind == kind))
            });
            match content {
                Ok(Some(content)) if proves(id, kind, &content) => return Ok(content),
                Err(error) if !Trouble::of(&error).is_damage() => failure = Some(unread(pack, error)),
                _ => {
                    how = ObjectTrouble::Damaged;
                    damaged.push(pack.id);
                }
            }
        }
        Err(failure.unwrap_or(StoreError::Object { id: *id, how }))
    }
}

impl Catalog {
    /// How the frame is stored that an object lies in. `None`: it is no content of files, or not there, or damaged.
    ///
    /// # Errors
    /// It cannot be read for a reason that says nothing about it.
    pub(super) fn content_encoding(&self, short: ShortId) -> Result<Option<Encoding>, StoreError> {
        let Some(place) = self.places.get(&short).filter(|place| **place != PENDING) else { return Ok(None) };
        let Some(pack) = self.packs.get(place.pack as usize) else { return Ok(None) };
        let found = pack.object(place.object).and_then(|record| match record.kind {
            Kind::Data => pack.encoding(record.frame).map(Some),
            Kind::List | Kind::Tree | Kind::Segment => Ok(None),
        });
        match found {
            Err(error) if Trouble::of(&error).is_damage() => Ok(None),
            found => found.map_err(|error| unread(pack, error)),
        }
    }

    /// The hash of the bytes that lie where an object should: of the first copy that has another than its own, where there is one. `None`:
    /// there are no bytes that can be had, or it is a list, which is not named after its bytes.
    ///
    /// # Errors
    /// They cannot be read for a reason that says nothing about them.
    pub(super) fn calculated(&self, id: &ObjectId, buffers: &mut Buffers) -> Result<Option<ObjectId>, StoreError> {
        let mut calculated = None;
        let mut frame = Vec::new();
        for place in self.copies(id) {
            let Some(pack) = self.packs.get(place.pack as usize) else { continue };
            let hash = pack.object(place.object).and_then(|record| {
                pack.read_frame(record.frame, buffers, &mut frame)?;
                Ok(slice(&frame, &record).and_then(|bytes| hash_of(record.kind, bytes)))
            });
            match hash {
                Ok(Some(hash)) if hash != *id => return Ok(Some(hash)),
                Ok(hash) => calculated = calculated.or(hash),
                Err(error) if Trouble::of(&error).is_damage() => {}
                Err(error) => return Err(unread(pack, error)),
            }
        }
        Ok(calculated)
    }
}

fn unread(pack: &Pack, error: io::Error) -> StoreError {
    StoreError::file("reading", &pack.path, error)
}

/// The bytes of an object in the content of its frame. `None`: the frame has no such place.
pub(super) fn slice<'f>(frame: &'f [u8], record: &ObjectRecord) -> Option<&'f [u8]> {
    let start = record.offset as usize;
    frame.get(start..start.checked_add(record.length as usize)?)
}
