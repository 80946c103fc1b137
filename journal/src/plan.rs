//! How `max_bytes` is shared out. Pure.

use crate::losses;
use crate::open_calls::Geometry;
use crate::segment;
use crate::types::{OpenError, Options};

/// Room for the loss records of a segment's end, kept free in each.
pub(crate) const RESERVE: usize = losses::MAX * losses::FRAME;
/// Lock, producer, cursor, their successors while they are replaced, and the directories.
const SMALL_FILES: u64 = 64 << 10;
/// More segments than this would be a waste of file descriptors.
const MAX_SEGMENTS: u64 = 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Plan {
    pub max_bytes: u64,
    pub segment: u64,
    /// For all segments together.
    pub segments: u64,
    pub quarantine: u64,
    /// Everything that is not a segment.
    pub fixed: u64,
}

impl Plan {
    pub(crate) fn new(options: &Options, table: Geometry) -> Result<Plan, OpenError> {
        if options.max_open_calls == 0 || options.slot_bytes == 0 {
            return Err(OpenError::NoSlots);
        }
        let max = options.max_bytes;
        let quarantine = (max / 64).clamp(16 << 10, 4 << 20);
        // Twice the table: a new one is made before the old one goes.
        let fixed = 2 * table.bytes().next_multiple_of(4096) + SMALL_FILES + quarantine;
        let segments = max.saturating_sub(fixed);
        let wanted = options.segment_bytes.clamp(segment::MIN_BYTES, segment::MAX_BYTES);
        let fair = (segments / 8).max(64 << 10).max(segment::MIN_BYTES);
        let segment = wanted.min(fair).max(segments / MAX_SEGMENTS).min(segment::MAX_BYTES) & !4095;
        // One being written, one ready, one kept for the next start, one to deliver from.
        if segments < 4 * segment {
            return Err(OpenError::TooSmall { given: max, least: fixed + 4 * segment });
        }
        Ok(Plan { max_bytes: max, segment, segments, quarantine, fixed })
    }

    /// The largest frame: a fresh segment holds it after all the losses that may wait, and its own
    /// reserve stays free.
    pub(crate) fn max_frame(&self) -> usize {
        usize::try_from(self.segment).unwrap_or(usize::MAX) - segment::START - 2 * RESERVE
    }

    /// Segments made ready ahead: what may be appended while the disk stands still. Two, unless that
    /// would be most of the room.
    pub(crate) fn spares(&self) -> usize {
        if self.segments >= 8 * self.segment { 2 } else { 1 }
    }

    /// Whether one more segment may be made while running: one is always left for the next start,
    /// so that a restart with a full journal has somewhere to write.
    pub(crate) fn may_grow(&self, footprint: u64) -> bool {
        footprint + 2 * self.segment <= self.segments
    }

    /// The same at the start.
    pub(crate) fn may_start(&self, footprint: u64) -> bool {
        footprint + self.segment <= self.segments
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(max_bytes: u64, segment_bytes: u64) -> Result<Plan, OpenError> {
        let options = Options { max_bytes, segment_bytes, ..Options::new("x") };
        Plan::new(&options, Geometry::new(64, 1024))
    }

    #[test]
    fn segments_shrink_with_the_bound_and_all_parts_fit() {
        assert_eq!(plan(256 << 20, 16 << 20).unwrap().segment, 16 << 20);
        for max in [1 << 20, 4 << 20, 64 << 20, 1 << 30, 1 << 40] {
            for segment in [0, 4096, 1 << 20, 16 << 20, u64::MAX] {
                let p = plan(max, segment).unwrap();
                assert!(p.segments + p.fixed <= max && 4 * p.segment <= p.segments, "{p:?}");
                assert!(p.segment.is_multiple_of(4096) && p.max_frame() >= 1600, "{p:?}");
            }
        }
        assert!(plan(1 << 20, 16 << 20).unwrap().segment < 256 << 10);
    }

    #[test]
    fn too_small_names_a_size_that_works() {
        let Err(OpenError::TooSmall { least, .. }) = plan(100_000, 16 << 20) else { panic!() };
        plan(least, 16 << 20).unwrap();
    }
}
