//! Bytes read and not yet passed on. Memory is held only while there are bytes: an idle connection
//! holds none.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, ReadBuf};

/// A read that fills this much is likely to be followed by more.
pub const SMALL: usize = 8 << 10;
/// The usual bound of bytes held back per direction.
pub const LARGE: usize = 64 << 10;
/// Idle blocks kept per thread: 2 MiB small, 2 MiB large.
const KEEP: [usize; 2] = [256, 32];

thread_local! {
    static POOL: RefCell<[Vec<Box<[u8]>>; 2]> = const { RefCell::new([Vec::new(), Vec::new()]) };
}

fn take(size: usize) -> Box<[u8]> {
    let class = match size {
        SMALL => 0,
        LARGE => 1,
        _ => return vec![0; size].into(),
    };
    POOL.with_borrow_mut(|pool| pool[class].pop()).unwrap_or_else(|| vec![0; size].into())
}

fn give_back(block: Box<[u8]>) {
    let class = match block.len() {
        SMALL => 0,
        LARGE => 1,
        _ => return,
    };
    POOL.with_borrow_mut(|pool| {
        if pool[class].len() < KEEP[class] {
            pool[class].push(block);
        }
    });
}

/// What one attempt to read gave.
#[derive(Debug, PartialEq, Eq)]
pub enum Fill {
    Read(usize),
    Eof,
    /// The bound is reached; nothing was read.
    Full,
}

#[derive(Default)]
pub struct Buffer {
    block: Option<Box<[u8]>>,
    start: usize,
    end: usize,
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Buffer({} bytes)", self.len())
    }
}

impl Buffer {
    pub fn bytes(&self) -> &[u8] {
        self.block.as_ref().map_or(&[], |b| &b[self.start..self.end])
    }

    pub fn len(&self) -> usize {
        self.end - self.start
    }

    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    pub fn consume(&mut self, n: usize) {
        self.start += n;
        debug_assert!(self.start <= self.end);
        if self.is_empty() {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Puts `extra` before the byte at `at`; what follows moves back. Takes a larger block if need be.
    pub fn insert(&mut self, at: usize, extra: &[u8]) {
        let (len, more) = (self.len(), extra.len());
        debug_assert!(at <= len);
        if self.block.as_ref().is_none_or(|b| b.len() - self.end < more) {
            let mut bigger = take((len + more).max(SMALL).next_power_of_two());
            bigger[..len].copy_from_slice(self.bytes());
            if let Some(old) = self.block.replace(bigger) {
                give_back(old);
            }
            (self.start, self.end) = (0, len);
        }
        if let Some(block) = self.block.as_mut() {
            let at = self.start + at;
            block.copy_within(at..self.end, at + more);
            block[at..at + more].copy_from_slice(extra);
            self.end += more;
        }
    }

    /// Puts `by`, which is no longer, in the place of the first `len` bytes.
    pub fn replace_front(&mut self, len: usize, by: &[u8]) {
        debug_assert!(by.len() <= len && len <= self.len());
        self.start += len - by.len();
        if let Some(block) = self.block.as_mut() {
            block[self.start..self.start + by.len()].copy_from_slice(by);
        }
    }

    /// Gives an empty block back.
    pub fn release(&mut self) {
        if self.is_empty() {
            (self.start, self.end) = (0, 0);
            if let Some(block) = self.block.take() {
                give_back(block);
            }
        }
    }

    /// One read. `expect_more`: the message is known to go on past a small block. Never holds more
    /// than `bound` bytes (or [`LARGE`], if that is more).
    pub fn poll_fill<R: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut R,
        expect_more: bool,
        bound: usize,
    ) -> Poll<io::Result<Fill>> {
        if expect_more && self.is_empty() && self.block.as_ref().is_some_and(|b| b.len() < LARGE) {
            self.release();
        }
        if self.block.is_none() {
            self.block = Some(take(if expect_more { LARGE } else { SMALL }));
        }
        if !self.make_room(bound) {
            return Poll::Ready(Ok(Fill::Full));
        }
        let Some(block) = self.block.as_mut() else { return Poll::Ready(Ok(Fill::Full)) };
        let mut room = ReadBuf::new(&mut block[self.end..]);
        match Pin::new(io).poll_read(cx, &mut room) {
            Poll::Ready(Ok(())) => {
                let n = room.filled().len();
                self.end += n;
                if n == 0 {
                    self.release();
                    return Poll::Ready(Ok(Fill::Eof));
                }
                Poll::Ready(Ok(Fill::Read(n)))
            }
            Poll::Ready(Err(e)) => Poll::Ready(Err(e)),
            Poll::Pending => {
                self.release();
                Poll::Pending
            }
        }
    }

    /// Shifts or grows when the block is full. False: the bound is reached.
    fn make_room(&mut self, bound: usize) -> bool {
        let Some(block) = self.block.as_mut() else { return false };
        if self.end < block.len() {
            return true;
        }
        if self.start > 0 {
            block.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            return true;
        }
        if block.len() >= bound.max(LARGE) {
            return false;
        }
        let size = if block.len() < LARGE { LARGE } else { (block.len() * 2).min(bound) };
        let mut bigger = take(size);
        bigger[..self.end].copy_from_slice(&block[..self.end]);
        give_back(std::mem::replace(block, bigger));
        true
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(block) = self.block.take() {
            give_back(block);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    fn fill(buffer: &mut Buffer, mut wire: &[u8], bound: usize) -> Fill {
        let mut cx = Context::from_waker(Waker::noop());
        match buffer.poll_fill(&mut cx, &mut wire, false, bound) {
            Poll::Ready(Ok(fill)) => fill,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn grows_to_its_bound_and_no_further() {
        let wire = vec![7u8; 1 << 20];
        let mut buffer = Buffer::default();
        let mut held = 0;
        while let Fill::Read(n) = fill(&mut buffer, &wire, 256 << 10) {
            held += n;
        }
        assert_eq!((held, buffer.len()), (256 << 10, 256 << 10));
        buffer.consume(1000);
        assert_eq!(fill(&mut buffer, &wire, 256 << 10), Fill::Read(1000));
    }

    #[test]
    fn bytes_are_inserted_in_place_or_in_a_larger_block() {
        for size in [10, SMALL - 3, SMALL, LARGE - 1, LARGE] {
            let wire: Vec<u8> = (0..size).map(|i| i as u8).collect();
            let mut buffer = Buffer::default();
            while buffer.len() < size {
                let held = buffer.len();
                fill(&mut buffer, &wire[held..], LARGE);
            }
            buffer.consume(3);
            buffer.insert(5, b"extra");
            let expected = [&wire[3..8], b"extra", &wire[8..]].concat();
            assert!(buffer.bytes() == expected, "{size}");
        }
    }

    #[test]
    fn the_front_gives_way_to_something_shorter() {
        let mut buffer = Buffer::default();
        fill(&mut buffer, b"0head and body", LARGE);
        buffer.consume(1);
        buffer.replace_front(4, b"he");
        assert_eq!(buffer.bytes(), b"he and body");
        buffer.insert(2, b"ap");
        assert_eq!(buffer.bytes(), b"heap and body");
    }

    #[test]
    fn holds_no_memory_when_empty() {
        let mut buffer = Buffer::default();
        assert_eq!(fill(&mut buffer, b"abc", LARGE), Fill::Read(3));
        buffer.consume(3);
        assert_eq!(fill(&mut buffer, b"", LARGE), Fill::Eof);
        assert!(buffer.block.is_none());
    }
}
