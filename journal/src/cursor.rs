//! The file that says how far the log was delivered.
//!
//! Two slots written in turn, each with a generation and a checksum; the valid one of the higher
//! generation counts. A write cut short spoils the older slot only. Both spoiled: reading starts at
//! the oldest segment, and records are delivered again, never skipped.

use crate::frame::{put, u32_at, u64_at};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

pub(crate) const NAME: &str = "cursor";
const MAGIC: &[u8; 8] = b"SLOGCUR1";
const SLOT: usize = 512;
const USED: usize = 40;

/// Everything up to `seq` of `boot`, and every earlier boot, was delivered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Delivered {
    pub boot: u64,
    pub seq: u64,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub delivered: Option<Delivered>,
    pub generation: u64,
    /// Bytes were there, and at least one slot that had been written made no sense.
    pub damaged: bool,
}

pub(crate) struct Cursor {
    file: File,
    generation: u64,
}

fn encode(generation: u64, at: Delivered) -> [u8; USED] {
    let mut out = [0u8; USED];
    put(&mut out, 0, MAGIC);
    put(&mut out, 8, &generation.to_le_bytes());
    put(&mut out, 16, &at.boot.to_le_bytes());
    put(&mut out, 24, &at.seq.to_le_bytes());
    let crc = crc32c::crc32c(out.get(..32).unwrap_or_default());
    put(&mut out, 32, &crc.to_le_bytes());
    out
}

fn decode(slot: &[u8]) -> Option<(u64, Delivered)> {
    let crc = u32_at(slot, 32)?;
    if slot.get(..8)? != MAGIC || crc32c::crc32c(slot.get(..32)?) != crc {
        return None;
    }
    Some((u64_at(slot, 8)?, Delivered { boot: u64_at(slot, 16)?, seq: u64_at(slot, 24)? }))
}

/// Reads the file of an earlier life.
pub(crate) fn load(dir: &Path) -> Found {
    let bytes = std::fs::read(dir.join(NAME)).unwrap_or_default();
    let slots = [bytes.get(..SLOT).unwrap_or(&bytes), bytes.get(SLOT..).unwrap_or_default()];
    let best = slots.iter().filter_map(|s| decode(s)).max_by_key(|(generation, _)| *generation);
    let damaged = slots.iter().any(|s| decode(s).is_none() && s.iter().any(|b| *b != 0));
    Found { delivered: best.map(|b| b.1), generation: best.map_or(0, |b| b.0), damaged }
}

impl Cursor {
    pub(crate) fn open(dir: &Path, generation: u64) -> io::Result<Cursor> {
        let path = dir.join(NAME);
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        file.set_len(2 * SLOT as u64)?;
        Ok(Cursor { file, generation })
    }

    /// Survives the process; [`Cursor::sync`] makes it survive the machine.
    pub(crate) fn write(&mut self, at: Delivered) -> io::Result<()> {
        let next = self.generation + 1;
        self.file.write_all_at(&encode(next, at), (next % 2) * SLOT as u64)?;
        self.generation = next;
        Ok(())
    }

    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Whether the file is still where it was.
    pub(crate) fn in_place(&self, dir: &Path) -> bool {
        crate::disk::in_place(&self.file, &dir.join(NAME), 0)
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seq: u64) -> Delivered {
        Delivered { boot: 3, seq }
    }

    #[test]
    fn the_last_write_counts_and_a_spoiled_one_falls_back() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(load(dir.path()), Found { delivered: None, generation: 0, damaged: false });
        let mut cursor = Cursor::open(dir.path(), 0).unwrap();
        for seq in 1..=5 {
            cursor.write(at(seq)).unwrap();
        }
        assert_eq!(load(dir.path()), Found { delivered: Some(at(5)), generation: 5, damaged: false });
        let path = dir.path().join(NAME);
        let good = std::fs::read(&path).unwrap();
        for byte in SLOT..SLOT + 36 {
            let mut bad = good.clone();
            bad[byte] ^= 0x40;
            std::fs::write(&path, &bad).unwrap();
            assert_eq!(load(dir.path()), Found { delivered: Some(at(4)), generation: 4, damaged: true });
        }
        std::fs::write(&path, [0x55; 2 * SLOT]).unwrap();
        assert_eq!(load(dir.path()), Found { delivered: None, generation: 0, damaged: true });
        std::fs::write(&path, good.get(..700).unwrap()).unwrap();
        assert_eq!(load(dir.path()).delivered, Some(at(5)));
    }
}
