//! Connections whose peer takes nothing of what is sent to it come to an end.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

/// Bytes that a peer takes at least within the time that it has: else one by one would do.
const LEAST: usize = 64 << 10;

/// A connection whose writing fails when the peer takes next to nothing for a while.
pub(super) struct Watched {
    stream: TcpStream,
    patience: Duration,
    /// Runs while bytes wait, and how many went since it began.
    waiting: Option<(Pin<Box<Sleep>>, usize)>,
}

impl Watched {
    pub(super) fn new(stream: TcpStream, patience: Duration) -> Self {
        Self { stream, patience, waiting: None }
    }
}

impl AsyncRead for Watched {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if let Poll::Ready(written) = Pin::new(&mut this.stream).poll_write(cx, bytes) {
            let gone = *written.as_ref().unwrap_or(&0);
            let is_enough = match &mut this.waiting {
                Some((_, sum)) => {
                    *sum += gone;
                    *sum >= LEAST
                }
                None => false,
            };
            if is_enough || gone == bytes.len() {
                this.waiting = None;
            }
            return Poll::Ready(written);
        }
        let patience = this.patience;
        let (deadline, _) = this.waiting.get_or_insert_with(|| (Box::pin(sleep(patience)), 0));
        ready!(deadline.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
