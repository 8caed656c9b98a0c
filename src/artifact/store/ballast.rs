//! A collection has to write a little (what it decided, where the time stands) before it may remove anything, and needs it most when
//! the disk is full; so has whoever takes back a pin or a name. So a file takes some room while there is room, and gives it up then.

use std::fs::{self, File};

use rustix::fs::FallocateFlags;

use super::disk;
use super::layout::Layout;

/// Bytes that are put by.
const SIZE: u64 = 2 << 20;

/// Puts room by, unless that was done before. Best effort: without it a collection may have to be helped by hand.
pub(super) fn lay(layout: &Layout) {
    let path = layout.ballast();
    let has_room = disk::disk_bytes(layout.root()).is_ok_and(|(free, _)| free > 3 * SIZE);
    if !has_room || fs::metadata(&path).is_ok_and(|file| file.len() == SIZE) {
        return;
    }
    let laid = File::create(&path).and_then(|file| Ok(rustix::fs::fallocate(file, FallocateFlags::empty(), 0, SIZE)?));
    if let Err(error) = laid {
        tracing::debug!(%error, "no room is put by for collections");
        let _ = fs::remove_file(&path);
    }
}

/// Gives the room up where the disk has hardly any other.
pub(super) fn give_up_if_needed(layout: &Layout) {
    if disk::disk_bytes(layout.root()).is_ok_and(|(free, _)| free < SIZE)
        && let Err(error) = disk::remove(&layout.ballast())
    {
        tracing::warn!(%error, "the room that is put by cannot be given up");
    }
}
