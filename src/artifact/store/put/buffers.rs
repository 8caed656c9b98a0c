//! The memory that a put works in: so many buffers, used again and again. Whoever wants one waits for it.

use std::ops::{Deref, DerefMut};
use std::sync::{Condvar, Mutex, PoisonError};

use super::super::chunks;

/// Bytes that are read at a time, besides the beginning of a chunk that was begun before.
const READ: usize = 512 << 10;

/// Bytes of a buffer.
const SIZE: usize = READ + chunks::MAX as usize;

/// A number of buffers.
pub(super) struct Pool {
    free: Mutex<Free>,
    returned: Condvar,
}

struct Free {
    idle: Vec<Box<[u8]>>,
    /// How many may still be made.
    unmade: usize,
}

impl Pool {
    /// At most so many buffers.
    pub(super) fn new(count: usize) -> Self {
        Self { free: Mutex::new(Free { idle: Vec::new(), unmade: count }), returned: Condvar::new() }
    }

    /// A buffer, as soon as there is one. What it holds is anything.
    pub(super) fn take(&self) -> Buffer<'_> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(bytes) = free.idle.pop() {
                return Buffer { bytes, pool: self };
            }
            if free.unmade > 0 {
                free.unmade -= 1;
                drop(free);
                return Buffer { bytes: vec![0; SIZE].into_boxed_slice(), pool: self };
            }
            free = self.returned.wait(free).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// A buffer, given back when it is dropped.
pub(super) struct Buffer<'p> {
    bytes: Box<[u8]>,
    pool: &'p Pool,
}

impl Deref for Buffer<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl DerefMut for Buffer<'_> {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl Drop for Buffer<'_> {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        self.pool.free.lock().unwrap_or_else(PoisonError::into_inner).idle.push(bytes);
        self.pool.returned.notify_one();
    }
}
