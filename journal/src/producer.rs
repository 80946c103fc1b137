//! The file that names the directory: producer id, boot number, salt.
//!
//! It holds its own inode and time of birth, so that a copied directory is seen to be one. It is
//! replaced as a whole at every open, durably, before the boot number is used.

use crate::disk::{self, FileId};
use std::fs::File;
use std::io;
use std::path::Path;
use uuid::Uuid;

pub(crate) const NAME: &str = "producer";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Producer {
    pub id: Uuid,
    pub boot: u64,
    /// Part of every record's checksum; see [`crate::frame`]. Never leaves the directory.
    pub salt: u64,
}

impl Producer {
    pub(crate) fn fresh() -> Producer {
        Producer { id: Uuid::new_v4(), boot: 0, salt: Uuid::new_v4().as_u64_pair().0 }
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    None,
    Damaged,
    /// Written here.
    Ours(Producer),
    /// Written somewhere else and copied.
    Copied(Producer),
}

pub(crate) fn load(dir: &Path) -> Found {
    let path = dir.join(NAME);
    let Ok(file) = File::open(&path) else { return Found::None };
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    match (parse(&text), disk::file_id(&file)) {
        (Some((producer, written)), Ok(here)) if written == here => Found::Ours(producer),
        (Some((producer, _)), _) => Found::Copied(producer),
        (None, _) => Found::Damaged,
    }
}

pub(crate) fn store(dir: &Path, producer: &Producer) -> io::Result<()> {
    disk::replace(dir, NAME, |file| Ok(render(producer, disk::file_id(file)?).into_bytes()))
}

fn render(p: &Producer, id: FileId) -> String {
    let body = format!(
        "sidelog-journal 1\nproducer {}\nboot {}\nsalt {:016x}\nfile {} {}\n",
        p.id, p.boot, p.salt, id.ino, id.born
    );
    let crc = crc32c::crc32c(body.as_bytes());
    format!("{body}crc {crc:08x}\n")
}

fn parse(text: &str) -> Option<(Producer, FileId)> {
    let (body, crc) = text.strip_suffix('\n')?.rsplit_once("crc ")?;
    if u32::from_str_radix(crc, 16).ok()? != crc32c::crc32c(body.as_bytes()) {
        return None;
    }
    let mut lines = body.lines();
    if lines.next()? != "sidelog-journal 1" {
        return None;
    }
    let id = Uuid::parse_str(lines.next()?.strip_prefix("producer ")?).ok()?;
    let boot = lines.next()?.strip_prefix("boot ")?.parse().ok()?;
    let salt = u64::from_str_radix(lines.next()?.strip_prefix("salt ")?, 16).ok()?;
    let (ino, born) = lines.next()?.strip_prefix("file ")?.split_once(' ')?;
    Some((Producer { id, boot, salt }, FileId { ino: ino.parse().ok()?, born: born.parse().ok()? }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_back_a_copy_is_seen_and_damage_too() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(load(dir.path()), Found::None);
        let mut producer = Producer::fresh();
        for boot in 1..4 {
            producer.boot = boot;
            store(dir.path(), &producer).unwrap();
            assert_eq!(load(dir.path()), Found::Ours(producer));
        }
        let copy = tempfile::tempdir().unwrap();
        std::fs::copy(dir.path().join(NAME), copy.path().join(NAME)).unwrap();
        assert_eq!(load(copy.path()), Found::Copied(producer));
        let good = std::fs::read(dir.path().join(NAME)).unwrap();
        for byte in 0..good.len() {
            let mut bad = good.clone();
            bad[byte] ^= 1;
            std::fs::write(dir.path().join(NAME), &bad).unwrap();
            assert_eq!(load(dir.path()), Found::Damaged, "byte {byte}");
        }
    }
}
