//! One direction of a connection: bytes read, framed, and written on.

use super::buffer::Buffer;
use super::framing::Framer;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::AsyncWrite;

/// The first `ready` bytes of `buffer` have been read along and may be written.
#[derive(Debug)]
pub(super) struct Lane {
    pub buffer: Buffer,
    pub ready: usize,
    pub framer: Framer,
    /// The sender has closed its side.
    pub eof: bool,
    /// The receiver takes no more; what comes is dropped.
    pub dead: bool,
    /// Our FIN has been sent.
    pub fin: bool,
    /// Written, but perhaps still held by the stream itself (TLS records).
    unflushed: bool,
    /// Bytes have moved since this was last cleared.
    pub moved: bool,
}

impl Lane {
    pub fn new() -> Self {
        Lane {
            buffer: Buffer::default(),
            ready: 0,
            framer: Framer::Done,
            eof: false,
            dead: false,
            fin: false,
            unflushed: false,
            moved: false,
        }
    }

    pub fn flushed(&self) -> bool {
        self.ready == 0 && !self.unflushed
    }

    /// Writes what is ready. True when all is gone.
    pub fn poll_flush<W: AsyncWrite + Unpin>(&mut self, cx: &mut Context<'_>, to: &mut W) -> bool {
        if self.flushed() {
            return true;
        }
        while self.ready > 0 {
            if self.dead {
                self.buffer.consume(self.ready);
                self.ready = 0;
                break;
            }
            let ready = self.buffer.bytes().get(..self.ready).unwrap_or_default();
            match Pin::new(&mut *to).poll_write(cx, ready) {
                Poll::Ready(Ok(n)) if n > 0 => {
                    self.buffer.consume(n);
                    self.ready -= n;
                    (self.unflushed, self.moved) = (true, true);
                }
                Poll::Ready(_) => self.dead = true,
                Poll::Pending => return false,
            }
        }
        if !self.dead {
            match Pin::new(to).poll_flush(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => self.dead = true,
                Poll::Pending => return false,
            }
        }
        self.unflushed = false;
        self.buffer.release();
        true
    }

    pub fn poll_fin<W: AsyncWrite + Unpin>(&mut self, cx: &mut Context<'_>, to: &mut W) {
        if !self.fin && !self.dead {
            self.fin = Pin::new(to).poll_shutdown(cx).is_ready();
        }
    }
}
