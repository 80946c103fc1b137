//! The table of calls that are open, and the few words that must outlive a kill beside the log.
//!
//! Owns the file `calls`: a page of header, then slots of one size. A claim copies an intent into a
//! free slot of the mapped file, a clear stores one zero word: no system call. The last slot freed is
//! the next one taken, so that few pages are ever touched.
//!
//! Promises: an intent claimed and not cleared is found by the next open, whatever killed the
//! process. Refuses: nothing on the way in but a full table and an intent that does not fit. What a
//! power cut leaves of it is what the kernel had written back: calls that need more than that append
//! a record and wait for it.
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0    | 24 | magic `SLOGCAL1`, version, slot size, slots (u32 each), CRC32C of these |
//! | 64   | 48 | this life: generation, boot, last seq given out, first lost seq without a record, its reason, CRC32C of these (u64 each) |
//! | 128  | 48 | the same, written in turn: a kill between two stores, or damage, costs the younger of them |
//! | 512  | …  | losses of earlier lives nobody recorded yet: count, CRC32C, then 48 bytes each |
//! | 4096 | …  | slots: length and magic in one word (0: free), CRC32C, id, intent |
//!
//! The file is written anew at every open and put in place of the old one, so neither a change of
//! its geometry nor a crash half-way needs care. Unreadable parts are counted and forgotten: they
//! can cost the report of an open call, never the start of the process.

use crate::disk::{self, PAGE};
use crate::frame::{put, u32_at, u64_at, uuid_at};
use crate::map::Mapped;
use crate::types::{ClaimError, Missing, Orphan, Reason};
use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use uuid::Uuid;

pub(crate) const NAME: &str = "calls";
const MAGIC: &[u8; 8] = b"SLOGCAL1";
const VERSION: u32 = 2;
const LIFE: [usize; 2] = [64, 128];
const LIFE_WORDS: usize = 6;
const UNREPORTED: usize = 512;
const ENTRY: usize = 48;
/// Ranges of earlier lives remembered until [`OpenCalls::recovered`].
const MAX_UNREPORTED: usize = 64;
const SLOT_MAGIC: u64 = 0x51A7 << 48;
pub(crate) const SLOT_HEADER: usize = 32;
const MAX_SLOT: u32 = 1 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub slots: u32,
    pub slot_bytes: u32,
}

impl Geometry {
    /// Slots are whole words.
    pub(crate) fn new(slots: u32, slot_bytes: u32) -> Geometry {
        Geometry { slots, slot_bytes: slot_bytes.clamp(64, MAX_SLOT).next_multiple_of(8) }
    }

    pub(crate) fn bytes(self) -> u64 {
        PAGE as u64 + u64::from(self.slots) * u64::from(self.slot_bytes)
    }

    fn offset(self, slot: u32) -> usize {
        PAGE + slot as usize * self.slot_bytes as usize
    }

    fn capacity(self) -> usize {
        self.slot_bytes as usize - SLOT_HEADER
    }
}

/// What the last life had given out when it ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Life {
    pub boot: u64,
    pub issued: u64,
    /// The first number lost without a record; 0: none.
    pub lost_from: u64,
    pub lost_reason: u64,
}

/// What an earlier life left.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub life: Life,
    pub unreported: Vec<Missing>,
    pub occupied: Vec<Orphan>,
    pub damaged_slots: u64,
}

/// Reads the table of an earlier life. `expected` is used if the header is unreadable.
pub(crate) fn load(dir: &Path, expected: Geometry) -> Found {
    let mut found = Found::default();
    let Ok(file) = File::open(dir.join(NAME)) else { return found };
    let mut page = Vec::new();
    disk::read_tolerant(&file, 0, PAGE, &mut page);
    let geometry = read_geometry(&page).unwrap_or(expected);
    let lives = LIFE.iter().filter_map(|at| read_life(page.get(*at..)?));
    found.life = lives.max_by_key(|(generation, _)| *generation).map(|(_, life)| life).unwrap_or_default();
    found.unreported = read_unreported(&page).unwrap_or_default();
    let mut slot = Vec::new();
    for i in 0..geometry.slots {
        disk::read_tolerant(&file, geometry.offset(i) as u64, geometry.slot_bytes as usize, &mut slot);
        match u64_at(&slot, 0) {
            None => break,
            Some(0) => {}
            Some(word) => match read_slot(word, &slot) {
                Some(orphan) => found.occupied.push(orphan),
                None => found.damaged_slots += 1,
            },
        }
    }
    found
}

fn read_life(bytes: &[u8]) -> Option<(u64, Life)> {
    let mut words = [0; LIFE_WORDS];
    for (i, word) in words.iter_mut().enumerate() {
        *word = u64_at(bytes, 8 * i)?;
    }
    let [generation, boot, issued, lost_from, lost_reason, _] = words;
    let life = Life { boot, issued, lost_from, lost_reason };
    (life_words(generation, &life) == words).then_some((generation, life))
}

/// The last one is a checksum, and never zero.
fn life_words(generation: u64, life: &Life) -> [u64; LIFE_WORDS] {
    let Life { boot, issued, lost_from, lost_reason } = *life;
    let words = [generation, boot, issued, lost_from, lost_reason];
    let crc = words.iter().fold(0, |crc, word| crc32c::crc32c_append(crc, &word.to_le_bytes()));
    [generation, boot, issued, lost_from, lost_reason, 1 << 32 | u64::from(crc)]
}

fn read_geometry(page: &[u8]) -> Option<Geometry> {
    let sound = page.get(..8)? == MAGIC
        && u32_at(page, 8)? == VERSION
        && crc32c::crc32c(page.get(..20)?) == u32_at(page, 20)?;
    sound.then_some(())?;
    Some(Geometry { slot_bytes: u32_at(page, 12)?, slots: u32_at(page, 16)? })
}

fn read_slot(word: u64, slot: &[u8]) -> Option<Orphan> {
    let len = usize::try_from(word.checked_sub(SLOT_MAGIC)?).ok()?;
    let bytes = slot.get(SLOT_HEADER..SLOT_HEADER.checked_add(len)?)?;
    let id = uuid_at(slot, 16)?;
    (slot_crc(id, bytes) == u32_at(slot, 8)?).then(|| Orphan { id, bytes: bytes.to_vec() })
}

fn slot_crc(id: Uuid, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(id.as_bytes()), bytes)
}

fn read_unreported(page: &[u8]) -> Option<Vec<Missing>> {
    let count = usize::try_from(u64_at(page, UNREPORTED)?).ok()?.min(MAX_UNREPORTED);
    let entries = page.get(UNREPORTED + 16..UNREPORTED + 16 + count * ENTRY)?;
    if crc32c::crc32c(entries) != u32_at(page, UNREPORTED + 8)? {
        return None;
    }
    entries
        .chunks_exact(ENTRY)
        .map(|e| {
            Some(Missing {
                producer: uuid_at(e, 0)?,
                boot: u64_at(e, 16)?,
                first: u64_at(e, 24)?,
                last: u64_at(e, 32)?,
                reason: Reason::from_code(u64_at(e, 40)?),
            })
        })
        .collect()
}

fn unreported_bytes(missing: &[Missing]) -> Vec<u8> {
    let mut entries = Vec::new();
    for m in missing.iter().take(MAX_UNREPORTED) {
        entries.extend_from_slice(m.producer.as_bytes());
        for word in [m.boot, m.first, m.last, m.reason.code()] {
            entries.extend_from_slice(&word.to_le_bytes());
        }
    }
    let mut out = ((entries.len() / ENTRY) as u64).to_le_bytes().to_vec();
    out.extend_from_slice(&u64::from(crc32c::crc32c(&entries)).to_le_bytes());
    out.extend(entries);
    out
}

/// The table of this life.
pub(crate) struct OpenCalls {
    dir: PathBuf,
    geometry: Geometry,
    /// `None` once closed: what is open then is for the next life to report.
    place: RwLock<Option<Place>>,
    free: Mutex<Vec<u32>>,
    /// Slots of calls of earlier lives.
    carried: Mutex<Vec<u32>>,
    abandoned: AtomicU64,
    refused: AtomicU64,
    /// By slot, the call (by the random end of its id) whose intent is in the log already.
    told: Box<[AtomicU64]>,
}

struct Place {
    file: Arc<File>,
    map: Arc<Mapped>,
}

impl OpenCalls {
    /// Makes the table of this life with the orphans of earlier ones in it. Those that do not fit
    /// (the table was made smaller) are reported this once.
    pub(crate) fn create(
        dir: &Path,
        geometry: Geometry,
        life: Life,
        orphans: &[Orphan],
        unreported: &[Missing],
    ) -> io::Result<OpenCalls> {
        let mut carried = 0;
        let place = build(dir, geometry, |file| {
            let mut page = vec![0u8; PAGE];
            put(&mut page, 0, &geometry_bytes(geometry));
            for (i, word) in life_words(0, &life).into_iter().enumerate() {
                put(&mut page, LIFE[0] + 8 * i, &word.to_le_bytes());
            }
            put(&mut page, UNREPORTED, &unreported_bytes(unreported));
            file.write_all_at(&page, 0)?;
            for orphan in orphans.iter().filter(|o| o.bytes.len() <= geometry.capacity()) {
                if carried == geometry.slots {
                    break;
                }
                file.write_all_at(&slot_bytes(orphan), geometry.offset(carried) as u64)?;
                carried += 1;
            }
            Ok(())
        })?;
        Ok(OpenCalls {
            dir: dir.to_path_buf(),
            geometry,
            place: RwLock::new(Some(place)),
            free: Mutex::new((carried..geometry.slots).rev().collect()),
            carried: Mutex::new((0..carried).collect()),
            abandoned: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            told: (0..geometry.slots).map(|_| AtomicU64::new(0)).collect(),
        })
    }

    pub(crate) fn claim(self: &Arc<Self>, id: Uuid, bytes: &[u8]) -> Result<Slot, ClaimError> {
        let result = self.try_claim(id, bytes);
        if result.is_err() {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        result
    }

    fn try_claim(self: &Arc<Self>, id: Uuid, bytes: &[u8]) -> Result<Slot, ClaimError> {
        let max = self.geometry.capacity();
        if bytes.len() > max {
            return Err(ClaimError::TooLong { len: bytes.len(), max });
        }
        let crc = slot_crc(id, bytes);
        let place = self.place.read().unwrap_or_else(PoisonError::into_inner);
        let Some(Place { map, .. }) = &*place else { return Err(ClaimError::Closed) };
        let Some(slot) = lock(&self.free).pop() else {
            return Err(ClaimError::TableFull { max: self.geometry.slots });
        };
        let at = self.geometry.offset(slot);
        map.store_bytes(at + SLOT_HEADER, bytes);
        map.store_bytes(at + 16, id.as_bytes());
        map.store_bytes(at + 8, &crc.to_le_bytes());
        map.store(at, (SLOT_MAGIC + bytes.len() as u64).to_le());
        Ok(Slot { table: Arc::clone(self), slot, id, cleared: false })
    }

    /// Gives the intents of the calls of this life that are `due` to `record`, each until that says
    /// that it was kept. Reads the file, never the mapping; what changes meanwhile fails its checksum.
    pub(crate) fn open(&self, due: impl Fn(Uuid) -> bool, mut record: impl FnMut(Uuid, &[u8]) -> bool) {
        let file = {
            let place = self.place.read().unwrap_or_else(PoisonError::into_inner);
            let Some(place) = &*place else { return };
            Arc::clone(&place.file)
        };
        let mut bytes = Vec::new();
        for (slot, told) in self.taken().into_iter().zip(&self.told).filter_map(|(s, t)| Some((s?, t))) {
            let at = self.geometry.offset(slot) as u64;
            disk::read_tolerant(&file, at, SLOT_HEADER, &mut bytes);
            let Some(id) =
                uuid_at(&bytes, 16).filter(|id| told.load(Ordering::Relaxed) != tail(*id) && due(*id))
            else {
                continue;
            };
            disk::read_tolerant(&file, at, self.geometry.slot_bytes as usize, &mut bytes);
            let intent = u64_at(&bytes, 0).and_then(|word| read_slot(word, &bytes));
            if intent.is_some_and(|intent| intent.id == id && record(id, &intent.bytes)) {
                told.store(tail(id), Ordering::Relaxed);
            }
        }
    }

    /// For each slot: its number if a call of this life holds it.
    fn taken(&self) -> Vec<Option<u32>> {
        let mut taken: Vec<_> = (0..self.geometry.slots).map(Some).collect();
        for slots in [&self.free, &self.carried] {
            for slot in lock(slots).iter() {
                if let Some(slot) = taken.get_mut(*slot as usize) {
                    *slot = None;
                }
            }
        }
        taken
    }

    /// The orphans and the unreported losses are in the log: forget them.
    pub(crate) fn recovered(&self) {
        let place = self.place.read().unwrap_or_else(PoisonError::into_inner);
        let Some(Place { map, .. }) = &*place else { return };
        for slot in lock(&self.carried).drain(..) {
            map.store(self.geometry.offset(slot), 0);
            lock(&self.free).push(slot);
        }
        map.store(UNREPORTED, 0);
    }

    /// Where [`note`] writes.
    pub(crate) fn life(&self) -> Option<Arc<Mapped>> {
        let place = self.place.read().unwrap_or_else(PoisonError::into_inner);
        place.as_ref().map(|p| Arc::clone(&p.map))
    }

    pub(crate) fn in_place(&self) -> bool {
        let place = self.place.read().unwrap_or_else(PoisonError::into_inner);
        let path = self.dir.join(NAME);
        place.as_ref().is_none_or(|p| disk::in_place(&p.file, &path, self.geometry.bytes()))
    }

    /// Makes the file again after it was removed, with what is open in it.
    pub(crate) fn rebuild(&self) -> io::Result<()> {
        let mut place = self.place.write().unwrap_or_else(PoisonError::into_inner);
        let Some(old) = &*place else { return Ok(()) };
        let mut bytes = Vec::new();
        let new = build(&self.dir, self.geometry, |file| {
            let mut at = 0;
            while at < self.geometry.bytes() {
                disk::read_tolerant(&old.file, at, 64 * PAGE, &mut bytes);
                if bytes.is_empty() {
                    break;
                }
                file.write_all_at(&bytes, at)?;
                at += bytes.len() as u64;
            }
            // The header is the one part that may have been lost with a file that was cut short.
            file.write_all_at(&geometry_bytes(self.geometry), 0)
        })?;
        *place = Some(new);
        Ok(())
    }

    pub(crate) fn close(&self) {
        *self.place.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Open calls of this life, abandoned slots, refused claims.
    pub(crate) fn counts(&self) -> (u64, u64, u64) {
        let abandoned = self.abandoned.load(Ordering::Relaxed);
        let taken = self.geometry.slots as usize - lock(&self.free).len() - lock(&self.carried).len();
        ((taken as u64).saturating_sub(abandoned), abandoned, self.refused.load(Ordering::Relaxed))
    }

    fn clear(&self, slot: u32) {
        let place = self.place.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(Place { map, .. }) = &*place {
            map.store(self.geometry.offset(slot), 0);
            lock(&self.free).push(slot);
        }
    }
}

/// Notes in the mapped table what was given out: survives a kill, costs six stores.
pub(crate) fn note(map: &Mapped, generation: u64, life: &Life) {
    let at = if generation.is_multiple_of(2) { LIFE[0] } else { LIFE[1] };
    for (i, word) in life_words(generation, life).into_iter().enumerate() {
        map.store(at + 8 * i, word.to_le());
    }
}

fn build(dir: &Path, geometry: Geometry, fill: impl FnOnce(&File) -> io::Result<()>) -> io::Result<Place> {
    let temporary = dir.join(format!("{NAME}.tmp"));
    let file = disk::create_reserved(&temporary, geometry.bytes())?;
    fill(&file)?;
    file.sync_all()?;
    std::fs::rename(&temporary, dir.join(NAME))?;
    disk::sync_dir(dir)?;
    let len = usize::try_from(geometry.bytes()).map_err(|_| io::Error::from_raw_os_error(libc::EFBIG))?;
    let map = Mapped::new(&file, len)?;
    map.populate(0, 8 * PAGE);
    Ok(Place { file: Arc::new(file), map })
}

fn geometry_bytes(geometry: Geometry) -> [u8; 24] {
    let mut out = [0u8; 24];
    put(&mut out, 0, MAGIC);
    put(&mut out, 8, &VERSION.to_le_bytes());
    put(&mut out, 12, &geometry.slot_bytes.to_le_bytes());
    put(&mut out, 16, &geometry.slots.to_le_bytes());
    let crc = crc32c::crc32c(out.get(..20).unwrap_or_default());
    put(&mut out, 20, &crc.to_le_bytes());
    out
}

fn slot_bytes(orphan: &Orphan) -> Vec<u8> {
    let mut out = vec![0u8; SLOT_HEADER];
    put(&mut out, 0, &(SLOT_MAGIC + orphan.bytes.len() as u64).to_le_bytes());
    put(&mut out, 8, &slot_crc(orphan.id, &orphan.bytes).to_le_bytes());
    put(&mut out, 16, orphan.id.as_bytes());
    out.extend_from_slice(&orphan.bytes);
    out
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The least slot size that carries these.
pub(crate) fn least_slot(orphans: &[Orphan]) -> u32 {
    let longest = orphans.iter().map(|o| o.bytes.len()).max().unwrap_or(0);
    u32::try_from(longest + SLOT_HEADER).unwrap_or(u32::MAX)
}

/// Ids to look for in the log.
pub(crate) fn ids(occupied: &[Orphan]) -> HashSet<Uuid> {
    occupied.iter().map(|o| o.id).collect()
}

/// An open call.
///
/// Clear it once the call's record is in the log. A slot that is dropped instead stays occupied, is
/// counted ([`crate::Stats::abandoned_calls`]) and is reported by the next open: a call whose end
/// nobody recorded must not vanish because a task was dropped.
#[must_use = "a slot that is dropped is reported as an orphan by the next open"]
pub struct Slot {
    table: Arc<OpenCalls>,
    slot: u32,
    id: Uuid,
    cleared: bool,
}

fn tail(id: Uuid) -> u64 {
    id.as_u64_pair().1
}

impl Slot {
    /// The call's intent is in the log: [`crate::Journal::append_open_calls`] leaves it out.
    pub fn told(&self) {
        if let Some(told) = self.table.told.get(self.slot as usize) {
            told.store(tail(self.id), Ordering::Relaxed);
        }
    }

    /// The call's record is in the log. After the journal was closed this does nothing.
    pub fn clear(mut self) {
        self.cleared = true;
        self.table.clear(self.slot);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if !self.cleared {
            self.table.abandoned.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Geometry = Geometry { slots: 4, slot_bytes: 128 };

    fn orphan(n: u128, len: usize) -> Orphan {
        Orphan { id: Uuid::from_u128(n), bytes: vec![n as u8; len] }
    }

    fn table(dir: &Path, orphans: &[Orphan]) -> Arc<OpenCalls> {
        Arc::new(OpenCalls::create(dir, SMALL, Life::default(), orphans, &[]).unwrap())
    }

    #[test]
    fn what_is_claimed_and_not_cleared_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let t = table(dir.path(), &[]);
        let a = t.claim(Uuid::from_u128(1), &[1; 96]).unwrap();
        let b = t.claim(Uuid::from_u128(2), b"").unwrap();
        let _c = t.claim(Uuid::from_u128(3), &[3; 7]).unwrap();
        b.clear();
        assert_eq!(load(dir.path(), SMALL).occupied, [orphan(1, 96), orphan(3, 7)]);
        a.clear();
        assert_eq!(load(dir.path(), SMALL).occupied, [orphan(3, 7)]);
    }

    #[test]
    fn a_dropped_slot_stays_and_a_full_table_refuses() {
        let dir = tempfile::tempdir().unwrap();
        let t = table(dir.path(), &[]);
        drop(t.claim(Uuid::from_u128(1), &[1; 8]).unwrap());
        let held: Vec<Slot> = (2..5).map(|n| t.claim(Uuid::from_u128(n), b"").unwrap()).collect();
        let refusal = t.claim(Uuid::from_u128(9), b"").err();
        assert_eq!(refusal, Some(ClaimError::TableFull { max: 4 }));
        assert_eq!(t.counts(), (3, 1, 1));
        held.into_iter().for_each(Slot::clear);
        assert_eq!(load(dir.path(), SMALL).occupied, [orphan(1, 8)]);
        let too_long = t.claim(Uuid::from_u128(9), &[0; 97]).err();
        assert_eq!(too_long, Some(ClaimError::TooLong { len: 97, max: 96 }));
    }

    #[test]
    fn orphans_stay_until_they_are_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let orphans = [orphan(1, 8), orphan(2, 9)];
        drop(table(dir.path(), &orphans));
        let t = table(dir.path(), &load(dir.path(), SMALL).occupied);
        let mine = t.claim(Uuid::from_u128(7), b"").unwrap();
        assert_eq!(load(dir.path(), SMALL).occupied.len(), 3);
        t.recovered();
        assert_eq!(load(dir.path(), SMALL).occupied, [orphan(7, 0)]);
        mine.clear();
        let held: Vec<_> = (0..4).map(|n| t.claim(Uuid::from_u128(n), b"").unwrap()).collect();
        held.into_iter().for_each(Slot::clear);
    }

    #[test]
    fn another_geometry_keeps_what_the_old_one_held() {
        let dir = tempfile::tempdir().unwrap();
        let t = table(dir.path(), &[]);
        std::mem::forget(t.claim(Uuid::from_u128(1), &[1; 96]).unwrap());
        let other = Geometry::new(2, least_slot(&load(dir.path(), SMALL).occupied));
        let found = load(dir.path(), other).occupied;
        OpenCalls::create(dir.path(), other, Life::default(), &found, &[]).unwrap();
        assert_eq!(load(dir.path(), SMALL).occupied, [orphan(1, 96)]);
    }

    #[test]
    fn any_damaged_byte_costs_one_slot_at_most_and_is_counted() {
        let dir = tempfile::tempdir().unwrap();
        drop(table(dir.path(), &[orphan(1, 16), orphan(2, 16)]));
        let path = dir.path().join(NAME);
        let good = std::fs::read(&path).unwrap();
        for byte in (0..24).chain(PAGE..PAGE + 48) {
            let mut bad = good.clone();
            bad[byte] ^= 4;
            std::fs::write(&path, &bad).unwrap();
            let found = load(dir.path(), SMALL);
            let padding = (PAGE + 12..PAGE + 16).contains(&byte);
            let hit = byte >= PAGE && !padding;
            assert_eq!(found.occupied.len(), if hit { 1 } else { 2 }, "byte {byte}");
            assert_eq!(found.damaged_slots, u64::from(hit), "byte {byte}");
        }
    }

    #[test]
    fn losses_nobody_recorded_are_kept_until_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let m = Missing { producer: Uuid::from_u128(8), boot: 2, first: 5, last: 9, reason: Reason::Full };
        let life = Life { boot: 3, issued: 7, lost_from: 6, lost_reason: 1 };
        let t =
            OpenCalls::create(dir.path(), SMALL, Life { boot: 3, ..Life::default() }, &[], &[m, m]).unwrap();
        note(&t.life().unwrap(), 1, &life);
        let found = load(dir.path(), SMALL);
        assert_eq!((found.life, found.unreported), (life, vec![m, m]));
        t.recovered();
        assert_eq!(load(dir.path(), SMALL).unreported, []);
    }

    #[test]
    fn a_removed_table_is_made_again_with_what_was_open() {
        let dir = tempfile::tempdir().unwrap();
        let t = table(dir.path(), &[]);
        let a = t.claim(Uuid::from_u128(1), &[1; 8]).unwrap();
        let _b = t.claim(Uuid::from_u128(2), &[2; 8]).unwrap();
        assert!(t.in_place());
        std::fs::remove_file(dir.path().join(NAME)).unwrap();
        assert!(!t.in_place());
        t.rebuild().unwrap();
        assert!(t.in_place());
        a.clear();
        assert_eq!(load(dir.path(), SMALL).occupied, [orphan(2, 8)]);
    }
}
