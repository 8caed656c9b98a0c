//! Where the log's lines go while something else draws on the terminal.

use std::io::{self, Write};
use std::sync::{Arc, PoisonError, RwLock};

/// Takes one line, with its newline.
type Take = dyn Fn(&str) + Send + Sync;

static TAKES: RwLock<Option<Arc<Take>>> = RwLock::new(None);

/// Gives each line of the log to `take` instead of standard error, until what comes back is dropped.
pub fn divert(take: impl Fn(&str) + Send + Sync + 'static) -> Diverted {
    *TAKES.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(take));
    Diverted { _private: () }
}

/// The log is diverted.
pub struct Diverted {
    _private: (),
}

impl Drop for Diverted {
    fn drop(&mut self) {
        *TAKES.write().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// Where the next line goes.
pub(super) fn writer() -> Writer {
    Writer { take: TAKES.read().unwrap_or_else(PoisonError::into_inner).clone() }
}

/// Takes one line at a time, as the log writes them.
pub(super) struct Writer {
    take: Option<Arc<Take>>,
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &self.take {
            Some(take) => {
                take(&String::from_utf8_lossy(bytes));
                Ok(bytes.len())
            }
            None => io::stderr().write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.take.is_some() { Ok(()) } else { io::stderr().flush() }
    }
}
