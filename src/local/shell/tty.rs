//! The terminal that a person sits at: read by a handle of its own, so that nothing typed is lost in a read that nobody waits for.

use std::fs::File;
use std::io::{self, Read as _, Write as _};

use rustix::fs::{Mode, OFlags, open};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use tokio::io::unix::AsyncFd;

use crate::executor::sandbox::terminal::Window;
use crate::local::live::Size;

/// The longest answer that is read.
const LONGEST: usize = 1024;

/// The terminal of this process.
pub(super) struct Tty {
    file: AsyncFd<File>,
}

impl Tty {
    /// Opens it. Needs a running runtime.
    pub(super) fn open() -> io::Result<Self> {
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = open(c"/dev/tty", flags, Mode::empty())?;
        // SAFETY: the AsyncFd owns the descriptor, which is neither taken out nor replaced: it stays open and the same.
        Ok(Self { file: unsafe { AsyncFd::register(File::from(file)) }? })
    }

    /// Its columns and rows.
    pub(super) fn window(&self) -> Window {
        let size = Size::of(self.file.get_ref());
        (size.columns, size.rows)
    }

    /// Hands on each key as it is pressed, until what comes back is dropped.
    pub(super) fn raw(&self) -> io::Result<Raw<'_>> {
        let before = tcgetattr(self.file.get_ref())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(self.file.get_ref(), OptionalActions::Now, &raw)?;
        Ok(Raw { tty: self, before })
    }

    /// What is typed; nothing at the end of it.
    pub(super) async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut guard = self.file.readable().await?;
            if let Ok(done) = guard.try_io(|file| file.get_ref().read(buffer)) {
                return done;
            }
        }
    }

    /// Shows `bytes`.
    pub(super) async fn write(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let mut guard = self.file.writable().await?;
            match guard.try_io(|file| file.get_ref().write(bytes)) {
                Ok(Ok(written)) => bytes = bytes.get(written..).unwrap_or_default(),
                Ok(Err(error)) => return Err(error),
                Err(_would_block) => {}
            }
        }
        Ok(())
    }

    /// One line, without its end; `None` when there are no more.
    pub(super) async fn line(&self) -> io::Result<Option<String>> {
        let mut buffer = [0; LONGEST];
        let read = self.read(&mut buffer).await?;
        let text = String::from_utf8_lossy(buffer.get(..read).unwrap_or_default()).trim().to_owned();
        Ok((read > 0).then_some(text))
    }
}

/// The terminal hands on each key.
pub(super) struct Raw<'t> {
    tty: &'t Tty,
    before: Termios,
}

impl Drop for Raw<'_> {
    fn drop(&mut self) {
        let file = self.tty.file.get_ref();
        let _ = tcsetattr(file, OptionalActions::Now, &self.before);
        // Whatever ran there may have left colours and no cursor. The handle may have no room just now: then it stays so.
        let _ = (&*file).write(b"\x1b[0m\x1b[?25h");
    }
}
