//! One file of the log: its header, its name, and what the process knows of it.
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0    | 64 | header |
//! | 512  | 64 | the header again, in another sector |
//! | 1024 | …  | frames |
//!
//! The header: magic `SLOGSEG1`, format version (u32), zeros (u32), producer (16), boot (u64), base
//! seq (u64), salt (u64), zeros (u32), CRC32C of all before (u32). If both copies are lost, the
//! file's name and the producer file say the same.
//!
//! A file is made as `BOOT-NUMBER.new`, with its blocks reserved, and gets its name after its header was
//! written: what a file is, the header says, never the name.

use crate::disk;
use crate::frame::{put, u32_at, u64_at, uuid_at};
use crate::map::{Mapped, Pen};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use uuid::Uuid;

pub(crate) const MAGIC: &[u8; 8] = b"SLOGSEG1";
pub(crate) const VERSION: u32 = 1;
pub(crate) const HEADER: usize = 64;
pub(crate) const SECOND: usize = 512;
/// Where the frames start.
pub(crate) const START: usize = 1024;
pub(crate) const MIN_BYTES: u64 = 4096;
pub(crate) const MAX_BYTES: u64 = 256 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub producer: Uuid,
    pub boot: u64,
    /// The first number that may stand in it.
    pub base: u64,
    pub salt: u64,
}

impl Header {
    pub(crate) fn encode(&self) -> [u8; HEADER] {
        let mut h = [0u8; HEADER];
        put(&mut h, 0, MAGIC);
        put(&mut h, 8, &VERSION.to_le_bytes());
        put(&mut h, 16, self.producer.as_bytes());
        put(&mut h, 32, &self.boot.to_le_bytes());
        put(&mut h, 40, &self.base.to_le_bytes());
        put(&mut h, 48, &self.salt.to_le_bytes());
        let crc = crc32c::crc32c(h.get(..60).unwrap_or_default());
        put(&mut h, 60, &crc.to_le_bytes());
        h
    }

    fn decode(h: &[u8]) -> Option<Header> {
        let sound = h.get(..8)? == MAGIC
            && u32_at(h, 8)? == VERSION
            && crc32c::crc32c(h.get(..60)?) == u32_at(h, 60)?;
        sound.then_some(())?;
        Some(Header {
            producer: uuid_at(h, 16)?,
            boot: u64_at(h, 32)?,
            base: u64_at(h, 40)?,
            salt: u64_at(h, 48)?,
        })
    }

    /// Either copy, and whether every byte before the frames is as it was written.
    pub(crate) fn read(start: &[u8]) -> (Option<Header>, bool) {
        let start = start.get(..START).unwrap_or(start);
        let first = Header::decode(start);
        let header = first.or_else(|| Header::decode(start.get(SECOND..)?));
        let sound = header.is_some_and(|h| {
            let mut expected = [0u8; START];
            put(&mut expected, 0, &h.encode());
            put(&mut expected, SECOND, &h.encode());
            start == expected
        });
        (header, sound)
    }

    pub(crate) fn file_name(&self) -> String {
        format!("{:010}-{:020}.seg", self.boot, self.base)
    }
}

/// Boot and base of a file by its name.
pub(crate) fn parse_name(name: &str) -> Option<(u64, u64)> {
    let (boot, base) = name.strip_suffix(".seg")?.split_once('-')?;
    Some((boot.parse().ok()?, base.parse().ok()?))
}

/// The extension of files without a final name.
pub(crate) const NEW: &str = "new";

/// A segment as readers, sync and keeper see it. Dropped by the last of them: then its room is free.
pub(crate) struct Segment {
    /// Its place in the log of this open journal.
    pub ordinal: u64,
    pub header: Header,
    path: Mutex<PathBuf>,
    file: Mutex<Option<Arc<File>>>,
    /// Frames end here; grows until sealed.
    end: AtomicU64,
    sealed: AtomicBool,
    /// On the disk up to here. Owned by the sync thread.
    pub synced: AtomicU64,
    /// The keeper saw that the file was removed or cut, and said so.
    pub lost: AtomicBool,
    room: Room,
}

impl Segment {
    pub(crate) fn bytes(&self) -> u64 {
        self.room.bytes
    }

    pub(crate) fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    pub(crate) fn set_end(&self, end: u64) {
        self.end.store(end, Ordering::Release);
    }

    /// True: [`Segment::end`], read after this, is final.
    pub(crate) fn sealed(&self) -> bool {
        self.sealed.load(Ordering::Acquire)
    }

    pub(crate) fn seal(&self) {
        self.sealed.store(true, Ordering::Release);
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.path.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_path(&self, path: PathBuf) {
        *self.path.lock().unwrap_or_else(PoisonError::into_inner) = path;
    }

    /// Opened when first wanted; segments of this boot are open already and can be read even after
    /// their names are gone.
    pub(crate) fn file(&self) -> io::Result<Arc<File>> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = &*file {
            return Ok(Arc::clone(file));
        }
        let opened = Arc::new(File::open(self.path())?);
        *file = Some(Arc::clone(&opened));
        Ok(opened)
    }

    /// A segment found by recovery.
    pub(crate) fn old(ordinal: u64, header: Header, path: PathBuf, end: u64, room: Room) -> Segment {
        Segment {
            ordinal,
            header,
            path: Mutex::new(path),
            file: Mutex::new(None),
            end: AtomicU64::new(end),
            sealed: AtomicBool::new(true),
            synced: AtomicU64::new(end),
            lost: AtomicBool::new(false),
            room,
        }
    }
}

/// A file with reserved blocks and no header yet. Counts towards the footprint.
pub(crate) struct Spare {
    file: File,
    path: PathBuf,
    map: Arc<Mapped>,
    populated: usize,
    room: Room,
}

/// A share of the footprint, given back when dropped.
pub(crate) struct Room {
    bytes: u64,
    footprint: Arc<AtomicU64>,
}

impl Room {
    pub(crate) fn take(bytes: u64, footprint: &Arc<AtomicU64>) -> Room {
        footprint.fetch_add(bytes, Ordering::Relaxed);
        Room { bytes, footprint: Arc::clone(footprint) }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.footprint.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// The segment being written.
pub(crate) struct Active {
    pub segment: Arc<Segment>,
    pub map: Arc<Mapped>,
    pen: Pen,
    pub at: usize,
    /// Pages up to here have been made ready.
    pub populated: usize,
}

impl Spare {
    /// Pages made ready before the first append.
    const FIRST_PAGES: usize = 256 << 10;

    pub(crate) fn prepare(
        dir: &Path,
        boot: u64,
        number: u64,
        bytes: u64,
        footprint: &Arc<AtomicU64>,
    ) -> io::Result<Spare> {
        let room = Room::take(bytes, footprint);
        let path = dir.join(format!("{boot:010}-{number:08}.{NEW}"));
        let file = disk::create_reserved(&path, bytes)?;
        let len = usize::try_from(bytes).map_err(|_| io::Error::from_raw_os_error(libc::EFBIG))?;
        let map = Mapped::new(&file, len)?;
        let populated = Self::FIRST_PAGES.min(len);
        map.populate(0, populated);
        Ok(Spare { file, path, map, populated, room })
    }

    /// Writes the header. Only stores: no system call.
    pub(crate) fn activate(self, ordinal: u64, header: Header) -> Active {
        let mut pen = Pen::new(&self.map);
        pen.write(0, &header.encode());
        pen.write(SECOND, &header.encode());
        let segment = Segment {
            ordinal,
            header,
            path: Mutex::new(self.path),
            file: Mutex::new(Some(Arc::new(self.file))),
            end: AtomicU64::new(START as u64),
            sealed: AtomicBool::new(false),
            synced: AtomicU64::new(0),
            lost: AtomicBool::new(false),
            room: self.room,
        };
        Active { segment: Arc::new(segment), map: self.map, pen, at: START, populated: self.populated }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn in_place(&self) -> bool {
        disk::in_place(&self.file, &self.path, self.room.bytes)
    }
}

impl Active {
    pub(crate) fn room(&self) -> usize {
        self.map.len().saturating_sub(self.at)
    }

    /// Writes a frame whose room was checked, its first word last.
    pub(crate) fn write(&mut self, header: &[u8; crate::frame::HEADER], payload: &[u8]) {
        let (word, rest) = header.split_first_chunk::<8>().unwrap_or((&[0; 8], &[]));
        self.pen.write(self.at + crate::frame::HEADER, payload);
        self.pen.write(self.at + 8, rest);
        self.pen.seal(self.at, *word);
        self.at += crate::frame::size(payload.len());
        self.segment.set_end(self.at as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header { producer: Uuid::from_u128(5), boot: 12, base: 700, salt: 99 }
    }

    #[test]
    fn any_flipped_byte_before_the_frames_is_seen_and_none_hides_the_header() {
        let mut start = vec![0u8; START];
        put(&mut start, 0, &header().encode());
        put(&mut start, SECOND, &header().encode());
        assert_eq!(Header::read(&start), (Some(header()), true));
        for byte in 0..START {
            start[byte] ^= 0x10;
            assert_eq!(Header::read(&start), (Some(header()), false), "byte {byte}");
            start[byte] ^= 0x10;
        }
        assert_eq!(Header::read(&start[..100]), (Some(header()), false));
        assert_eq!(Header::read(&[0; START]), (None, false));
    }

    #[test]
    fn the_name_says_boot_and_base() {
        assert_eq!(parse_name(&header().file_name()), Some((12, 700)));
        assert_eq!(parse_name("00000001.new"), None);
        assert_eq!(parse_name("x-1.seg"), None);
    }

    #[test]
    fn room_is_given_back_by_the_last_holder() {
        let dir = tempfile::tempdir().unwrap();
        let footprint = Arc::new(AtomicU64::new(0));
        let spare = Spare::prepare(dir.path(), 1, 1, 8192, &footprint).unwrap();
        assert_eq!(footprint.load(Ordering::Relaxed), 8192);
        let active = spare.activate(1, header());
        let held = Arc::clone(&active.segment);
        drop(active);
        assert_eq!(footprint.load(Ordering::Relaxed), 8192);
        drop(held);
        assert_eq!(footprint.load(Ordering::Relaxed), 0);
        drop(Spare::prepare(dir.path(), 1, 2, 8192, &footprint).unwrap());
        assert!(Spare::prepare(&dir.path().join("no"), 1, 3, 8192, &footprint).is_err());
        assert_eq!(footprint.load(Ordering::Relaxed), 0);
    }
}
