//! Memory of a process, read from `/proc/PID/smaps`: resident pages of all mappings but the journal's.
//!
//! The journal maps its segments, and a mapped page counts as resident although the system may drop it
//! whenever it likes and its size is `journal.max_bytes`, not a need of the program. Everything else counts:
//! heap, stacks, and the program's own file.

use std::path::Path;

/// MiB.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Resident {
    pub all: f64,
    /// What is no file's: heap and stacks.
    pub anonymous: f64,
}

/// Of these processes, without mappings of files below `journal`.
pub fn of(pids: &[u32], journal: Option<&Path>) -> Resident {
    let smaps = |pid| std::fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap_or_default();
    let smaps: String = pids.iter().map(smaps).collect();
    let mib = |field| kib(&smaps, field, journal) as f64 / 1024.0;
    Resident { all: mib("Rss:"), anonymous: mib("Anonymous:") }
}

fn kib(smaps: &str, field: &str, journal: Option<&Path>) -> u64 {
    let (mut sum, mut counts) = (0, true);
    for line in smaps.lines() {
        let mut words = line.split_whitespace();
        let first = words.next().unwrap_or("");
        if first.ends_with(':') {
            if counts && first == field {
                sum += words.next().and_then(|w| w.parse::<u64>().ok()).unwrap_or(0);
            }
        } else {
            // A mapping begins: addresses, rights, offset, device, inode, and the file if there is one.
            let file = words.nth(4).unwrap_or("");
            counts = journal.is_none_or(|dir| !Path::new(file).starts_with(dir));
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMAPS: &str = "\
5500-5600 r-xp 00000000 fe:00 12 /usr/bin/sidelog
Size:                 8 kB
Rss:                100 kB
Pss:                 90 kB
Anonymous:           10 kB
7f00-7f10 rw-s 00000000 fe:00 13 /data/journal/1-1.seg
Rss:              16384 kB
7f20-7f30 rw-p 00000000 00:00 0
Rss:                 20 kB
Anonymous:           20 kB
7f40-7f50 rw-p 00000000 00:00 0                          [stack]
Rss:                  3 kB
";

    #[test]
    fn mappings_of_the_journal_do_not_count() {
        assert_eq!(kib(SMAPS, "Rss:", Some(Path::new("/data/journal"))), 123);
        assert_eq!(kib(SMAPS, "Rss:", None), 16384 + 123);
        assert_eq!(kib(SMAPS, "Anonymous:", None), 30);
    }
}
