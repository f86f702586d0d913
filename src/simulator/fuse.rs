//! TCP connections that can be made to break at any byte of an answer.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

const WHOLE: u64 = u64::MAX;

/// Bytes a connection may still send before it is reset.
#[derive(Clone, Debug)]
pub(crate) struct Fuse(Arc<AtomicU64>);

impl Fuse {
    /// Resets the connection after `bytes` more bytes of what is answered.
    pub(crate) fn light(&self, bytes: u64) {
        self.0.store(bytes, Ordering::Release);
    }
}

pub(crate) struct FusedListener(pub(crate) TcpListener);

pub(crate) struct FusedStream {
    tcp: TcpStream,
    fuse: Fuse,
}

impl Listener for FusedListener {
    type Io = FusedStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (FusedStream, SocketAddr) {
        let (tcp, from) = Listener::accept(&mut self.0).await;
        // Nagle's algorithm would only add 40 ms to small answers; failing to turn it off is harmless.
        let _ = tcp.set_nodelay(true);
        (
            FusedStream {
                tcp,
                fuse: Fuse(Arc::new(AtomicU64::new(WHOLE))),
            },
            from,
        )
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

impl Connected<IncomingStream<'_, FusedListener>> for Fuse {
    fn connect_info(stream: IncomingStream<'_, FusedListener>) -> Self {
        stream.io().fuse.clone()
    }
}

impl AsyncRead for FusedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_read(cx, buf)
    }
}

impl AsyncWrite for FusedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let left = self.fuse.0.load(Ordering::Acquire);
        if left == WHOLE {
            return Pin::new(&mut self.tcp).poll_write(cx, buf);
        }
        if left == 0 {
            // Zero linger makes the close that follows a reset.
            let _ = self.tcp.set_zero_linger();
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
        let written = Pin::new(&mut self.tcp).poll_write(cx, &buf[..most]);
        if let Poll::Ready(Ok(n)) = &written {
            self.fuse.light(left - u64::try_from(*n).unwrap_or(left));
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}
