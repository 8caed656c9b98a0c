//! The file of an archive that is given to a forge, perhaps while it is still being written: whoever packs writes it, whoever sends it
//! follows. It stays on the disk, so that it can be sent again from its beginning.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use tokio::io::AsyncReadExt;
use tokio::sync::watch;

/// Bytes that are written, and sent, at once.
const PIECE: usize = 256 << 10;

/// How much of it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Written {
    /// So many bytes, and there will be more.
    SoFar(u64),
    /// So many bytes, and that is all.
    Whole(u64),
}

impl Written {
    fn bytes(self) -> u64 {
        match self {
            Written::SoFar(bytes) | Written::Whole(bytes) => bytes,
        }
    }

    /// Whether there is more than `have`, or will never be.
    fn is_news_after(self, have: u64) -> bool {
        self.bytes() > have || matches!(self, Written::Whole(_))
    }
}

/// Begins an archive at `path`: what writes it, and what can be sent of it meanwhile.
pub fn begin(path: &Path) -> io::Result<(ArchiveWriter, ArchiveFile)> {
    let (published, written) = watch::channel(Written::SoFar(0));
    let out = Publishing { file: File::create(path)?, bytes: 0, published };
    let writer = ArchiveWriter(BufWriter::with_capacity(PIECE, out));
    Ok((writer, ArchiveFile { path: path.to_owned(), written, sent: Arc::default() }))
}

/// Writes an archive. Dropped before [`ArchiveWriter::finish`], it has been given up, and those who send it learn of that.
pub struct ArchiveWriter(BufWriter<Publishing>);

impl ArchiveWriter {
    /// It is whole.
    pub fn finish(mut self) -> io::Result<()> {
        self.0.flush()?;
        let out = self.0.get_ref();
        out.published.send_replace(Written::Whole(out.bytes));
        Ok(())
    }
}

impl Write for ArchiveWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// The file, and word of how far it is.
struct Publishing {
    file: File,
    bytes: u64,
    published: watch::Sender<Written>,
}

impl Write for Publishing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.bytes += written as u64;
        self.published.send_replace(Written::SoFar(self.bytes));
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// An archive that is to be sent.
#[derive(Clone, Debug)]
pub struct ArchiveFile {
    path: PathBuf,
    written: watch::Receiver<Written>,
    sent: Arc<AtomicU64>,
}

impl ArchiveFile {
    /// Bytes that were read for the latest try to send it, and how many there are, where it is whole.
    pub fn sent(&self) -> (u64, Option<u64>) {
        let all = match *self.written.borrow() {
            Written::SoFar(_) => None,
            Written::Whole(bytes) => Some(bytes),
        };
        (self.sent.load(Ordering::Relaxed), all)
    }

    /// Waits until it is whole or has `enough` bytes.
    ///
    /// # Errors
    /// It was given up before.
    pub async fn has(&self, enough: u64) -> io::Result<()> {
        let is_so = |written: &Written| written.is_news_after(enough.saturating_sub(1));
        self.written.clone().wait_for(is_so).await.map(drop).map_err(|_| given_up())
    }

    /// Waits until it is whole: where it lies.
    ///
    /// # Errors
    /// It was given up before.
    pub async fn whole(&self) -> io::Result<&Path> {
        self.has(u64::MAX).await.map(|()| self.path.as_path())
    }

    /// Comes back when it is given up; never where it is whole.
    pub async fn given_up(&self) {
        if self.has(u64::MAX).await.is_ok() {
            std::future::pending::<()>().await;
        }
    }

    /// Whether it was given up.
    pub fn is_given_up(&self) -> bool {
        let is_written = matches!(*self.written.borrow(), Written::SoFar(_));
        is_written && self.written.has_changed().is_err()
    }

    /// Its bytes from the beginning, the last of them as soon as they are written, and their number where it is whole already. The
    /// stream ends with an error when the archive is given up: so that nobody takes that for a fault of whom it is sent to, see
    /// [`ArchiveFile::given_up`], which tells it as early.
    pub fn open(&self) -> io::Result<(Option<u64>, impl Stream<Item = io::Result<Bytes>> + Send + 'static)> {
        let file = tokio::fs::File::from_std(File::open(&self.path)?);
        self.sent.store(0, Ordering::Relaxed);
        let (_, length) = self.sent();
        let following = Following { file, sent: 0, written: self.written.clone(), told: self.sent.clone() };
        let stream = futures_util::stream::try_unfold(following, async |mut following| {
            Ok(following.next().await?.map(|bytes| (bytes, following)))
        });
        Ok((length, stream))
    }
}

/// What was sent of it.
struct Following {
    file: tokio::fs::File,
    sent: u64,
    written: watch::Receiver<Written>,
    told: Arc<AtomicU64>,
}

impl Following {
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        let sent = self.sent;
        let written = *self.written.wait_for(|written| written.is_news_after(sent)).await.map_err(|_| given_up())?;
        let room = (written.bytes() - sent).min(PIECE as u64);
        if room == 0 {
            return Ok(None);
        }
        let mut piece = BytesMut::with_capacity(room as usize);
        let got = (&mut self.file).take(room).read_buf(&mut piece).await?;
        if got == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        self.sent += got as u64;
        self.told.store(self.sent, Ordering::Relaxed);
        Ok(Some(piece.freeze()))
    }
}

fn given_up() -> io::Error {
    io::Error::other("the archive was given up before it was whole")
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;

    use super::*;

    #[tokio::test]
    async fn what_is_written_is_sent_before_the_rest_is_there_and_again_from_its_beginning() {
        let folder = tempfile::tempdir().unwrap();
        let (mut writer, file) = begin(&folder.path().join("a")).unwrap();
        let (length, stream) = file.open().unwrap();
        assert_eq!(length, None);
        let mut stream = std::pin::pin!(stream);
        writer.write_all(b"first, ").unwrap();
        writer.flush().unwrap();
        assert_eq!(stream.next().await.unwrap().unwrap(), "first, ");
        writer.write_all(b"second").unwrap();
        writer.finish().unwrap();
        assert_eq!(stream.next().await.unwrap().unwrap(), "second");
        assert!(stream.next().await.is_none());
        let (length, stream) = file.open().unwrap();
        assert_eq!(length, Some(13));
        let all: Vec<_> = stream.map(Result::unwrap).collect().await;
        assert_eq!(all.concat(), b"first, second");
        assert_eq!(std::fs::read(file.whole().await.unwrap()).unwrap(), b"first, second");
        assert!(!file.is_given_up() && futures_util::FutureExt::now_or_never(file.given_up()).is_none());
    }

    #[tokio::test]
    async fn an_archive_that_is_given_up_is_never_taken_for_a_whole_one() {
        let folder = tempfile::tempdir().unwrap();
        let (mut writer, file) = begin(&folder.path().join("a")).unwrap();
        let (_, stream) = file.open().unwrap();
        writer.write_all(&vec![7; 2 * PIECE]).unwrap();
        file.has(1).await.unwrap();
        drop(writer);
        let mut stream = std::pin::pin!(stream);
        let mut sent = 0;
        while sent < 2 * PIECE {
            sent += stream.next().await.unwrap().unwrap().len();
        }
        assert!(stream.next().await.unwrap().is_err());
        assert!(stream.next().await.is_none());
        assert!(file.whole().await.is_err() && file.has(u64::MAX).await.is_err() && file.is_given_up());
        file.given_up().await;
    }

    #[tokio::test]
    async fn a_file_that_was_cut_by_somebody_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let (mut writer, file) = begin(&path).unwrap();
        writer.write_all(b"something").unwrap();
        writer.finish().unwrap();
        File::create(&path).unwrap();
        let (_, stream) = file.open().unwrap();
        let all: Vec<_> = stream.collect().await;
        assert!(matches!(&all[..], [Err(_)]), "{all:?}");
    }
}
