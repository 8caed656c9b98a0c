//! A second level that several machines share, behind the store on this one's disk.

mod level;

pub use level::{Blob, BlobName, LevelError, SecondLevel};
