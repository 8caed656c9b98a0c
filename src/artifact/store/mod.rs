//! The content-addressed store that artifacts and caches stand on.
//!
//! A tree of files goes in ([`Store::put`]) and comes out again ([`Store::restore`]) by its id. What is equal inside an owner is
//! kept once, compressed, and proved on the way out.
//!
//! From the bottom up:
//!
//! - `id`, `sha256`: what things are called by. `frame`, `seal`: compression, encryption. `disk`: durable files.
//! - `pack`: files of objects, written once. `catalog`: which objects an owner has, and where.
//! - `chunks`, `list`: files that are cut. `manifest`: trees.
//! - `put`, `get`: a tree in, a tree out, on all cores, in bounded memory.
//! - `record`: what is kept, as small checksummed files: the truth. `index`: the same in SQLite, to be searched: a cache;
//!   `reconcile`: making it say what the records say.
//! - `lineage`: which jobs used what, beside the records.
//! - `session`: who works with the store, and who may remove from it. `format`: which version wrote it.
//! - `opened`: putting it all together: [`Store`].
//! - `second`: a second level that other machines use, too.
//! - `keep`, `restore`: naming and finding. `collect`: removing, as `retention` says; `audit`: what was decided. `verify`: looking for damage and mending it;
//!   `scrub`: when that was done last; `looking`: what is being looked at just now.
//!   `compression`: how something is stored.
//!
//! Everything blocks on the disk: call it from `spawn_blocking`.

mod alone;
mod audit;
mod ballast;
mod budget;
mod catalog;
mod chunks;
mod collect;
mod compression;
mod disk;
mod error;
mod format;
mod frame;
mod get;
mod id;
mod index;
mod keep;
mod layout;
mod lineage;
mod list;
mod looking;
mod manifest;
mod opened;
mod pack;
mod put;
mod reconcile;
mod record;
mod references;
mod restore;
mod scrub;
mod seal;
mod second;
mod session;
mod sha256;
mod stats;
mod verify;

#[cfg(test)]
mod tests;

pub use collect::{Collected, Collection, Evicted};
pub use compression::Compression;
pub use error::{ObjectTrouble, StoreError};
pub use get::{GetOptions, Got};
pub use id::{NotAnId, ObjectId};
pub use index::Listed;
pub use keep::{Files, Keep, Kept};
pub use looking::Verifications;
pub use put::{Progress, Put, PutOptions};
pub use record::{ArtifactInfo, Origin, RecordKey, What};
pub use references::Holder;
pub use restore::Wanted;
pub use seal::StoreKey;
pub use second::{Blob, BlobName, Brought, LevelError, Offered, Offering, SecondLevel, Tidied};
pub use stats::Stats;

pub use opened::{Clock, Limits, Store};
pub use verify::{Verification, VerificationResult, Verified, Verifying};
