//! A connection that is given up when the other side takes nothing: what is written must move now and then.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::clock;

/// A stream whose writes fail with [`io::ErrorKind::TimedOut`] when not one byte could be written for `idle_max`.
/// Reading has its own deadlines elsewhere.
pub(crate) struct WriteDeadline<S> {
    stream: S,
    idle_max: Duration,
    /// Since the first write that had to wait.
    stalled: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl<S> WriteDeadline<S> {
    pub(crate) const fn new(stream: S, idle_max: Duration) -> Self {
        Self { stream, idle_max, stalled: None }
    }

    /// Passes on what a write gave, or its failure when it has waited too long.
    fn limit<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let idle_max = self.idle_max;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(clock::pause(idle_max)));
        ready!(stalled.as_mut().poll(context));
        self.stalled = None;
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the other side takes nothing")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WriteDeadline<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WriteDeadline<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.limit(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.limit(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A flush of nothing says nothing about a write that waits: its time goes on.
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(context);
        self.limit(context, shut)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    /// Room between the two sides, in bytes.
    const ROOM: usize = 16;

    #[tokio::test]
    async fn a_write_that_nobody_takes_fails() {
        let (near, far) = duplex(ROOM);
        let mut near = WriteDeadline::new(near, Duration::from_millis(50));
        near.write_all(&[1; ROOM]).await.unwrap();
        let error = near.write_all(&[2; ROOM]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(far);
    }

    #[tokio::test]
    async fn a_write_that_moves_slowly_goes_through_however_long_it_takes() {
        const PIECES: usize = 12;
        let (near, mut far) = duplex(ROOM);
        let idle_max = Duration::from_millis(500);
        let mut near = WriteDeadline::new(near, idle_max);
        let begun = clock::instant();
        let writes = tokio::spawn(async move {
            near.write_all(&[7; ROOM * PIECES]).await.unwrap();
            near.shutdown().await
        });
        let mut read = vec![0; ROOM];
        for _ in 0..PIECES {
            clock::pause(idle_max / 8).await;
            far.read_exact(&mut read).await.unwrap();
            assert_eq!(read, [7; ROOM]);
        }
        writes.await.unwrap().unwrap();
        assert!(begun.elapsed() > idle_max, "it took longer than one pause may");
    }
}
