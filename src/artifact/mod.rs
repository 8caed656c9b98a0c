//! What jobs leave for others: archives, caches.
//!
//! - [`select`]: which files of a work tree a list of globs means.
//! - [`archive`]: packing and unpacking, in the forges' formats, within limits.
//! - [`cache`]: folders kept from job to job; the trait every store implements, and the one on the local disk.
//!
//! Every access to a work tree goes through a directory handle: nothing a job names leads out of it.

pub mod archive;
pub mod cache;
pub mod select;
