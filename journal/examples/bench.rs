//! What an append, a durable append and a read cost: `cargo run -p sidelog-journal --release --example bench [DIR]`.

use sidelog_journal::{Journal, Options, Storable};
use std::time::{Duration, Instant};
use uuid::Uuid;

struct Kilobyte(Uuid, Vec<u8>);

impl Storable for Kilobyte {
    fn id(&self) -> Uuid {
        self.0
    }

    fn bytes(&self) -> &[u8] {
        &self.1
    }
}

fn main() {
    let temporary = tempfile::tempdir().expect("a temporary directory");
    let dir = std::env::args().nth(1).map_or(temporary.path().to_path_buf(), Into::into);
    println!("1 KiB records, directory {}", dir.display());
    let record = Kilobyte(Uuid::new_v4(), vec![b'x'; 1024]);
    for rate in [1_000, 10_000] {
        paced(&dir.join(format!("paced{rate}")), &record, rate);
    }
    burst(&dir.join("burst"), &record);
    cycle(&dir.join("cycle"), &record);
    durable(&dir.join("durable"), &record, 1);
    durable(&dir.join("durable64"), &record, 64);
    claims(&dir.join("claims"), &record);
}

fn open(dir: &std::path::Path, max_bytes: u64) -> std::sync::Arc<Journal> {
    let options = Options { max_bytes, slot_bytes: 2048, ..Options::new(dir) };
    Journal::open(options).expect("the journal opens").journal
}

/// One thread as fast as it goes, with the disk written every 100 ms.
fn burst(dir: &std::path::Path, record: &Kilobyte) {
    let journal = open(dir, 1 << 30);
    let n = 200_000;
    let (cpu, started) = (cpu_time(), Instant::now());
    let mut times = Vec::with_capacity(n);
    let mut refused = 0;
    for _ in 0..n {
        let t = Instant::now();
        refused += u64::from(journal.append(record).is_err());
        times.push(t.elapsed());
    }
    let (wall, cpu) = (started.elapsed(), cpu_time() - cpu);
    print_times("append, full rate", &mut times);
    println!(
        "  {:.0} k/s; CPU of the process {:.2} us each; refused {refused}",
        n as f64 / wall.as_secs_f64() / 1e3,
        cpu.as_secs_f64() * 1e6 / n as f64
    );
}

fn paced(dir: &std::path::Path, record: &Kilobyte, rate: u32) {
    let journal = open(dir, 256 << 20);
    let step = Duration::from_secs(1) / rate;
    let mut times = Vec::new();
    let started = Instant::now();
    let mut next = started;
    while started.elapsed() < Duration::from_secs(4) {
        while Instant::now() < next {
            if step > Duration::from_micros(500) {
                std::thread::sleep(Duration::from_micros(100));
            } else {
                std::hint::spin_loop();
            }
        }
        next += step;
        let t = Instant::now();
        journal.append(record).expect("room");
        times.push(t.elapsed());
    }
    let resident = resident_mib();
    print_times(&format!("append, {rate}/s, resident {resident:.1} MiB"), &mut times);
}

/// Append, read, commit: what a record costs in its whole life.
fn cycle(dir: &std::path::Path, record: &Kilobyte) {
    let journal = open(dir, 256 << 20);
    let mut reader = journal.reader();
    let (cpu, started) = (cpu_time(), Instant::now());
    let (mut appended, mut read, mut out) = (0, 0, Vec::new());
    while read < 200_000 {
        for _ in 0..1000 {
            appended += u64::from(journal.append(record).is_ok());
        }
        out.clear();
        reader.next(Duration::ZERO, 1000, usize::MAX, &mut out);
        read += out.len();
        if let Some(last) = out.last() {
            journal.commit(&last.mark);
        }
    }
    let (wall, cpu) = (started.elapsed(), cpu_time() - cpu);
    println!(
        "append + read + delete: {:.0} k/s, CPU {:.2} us each ({appended} kept); resident {:.1} MiB",
        read as f64 / wall.as_secs_f64() / 1e3,
        cpu.as_secs_f64() * 1e6 / read as f64,
        resident_mib()
    );
}

fn durable(dir: &std::path::Path, record: &Kilobyte, waiters: usize) {
    let journal = open(dir, 256 << 20);
    let mut times: Vec<Duration> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..waiters)
            .map(|_| {
                scope.spawn(|| {
                    let mut times = Vec::new();
                    let started = Instant::now();
                    while started.elapsed() < Duration::from_secs(2) {
                        let t = Instant::now();
                        let seq = journal.append(record).expect("room");
                        journal.wait_durable(seq, Duration::from_secs(30)).expect("the disk works");
                        times.push(t.elapsed());
                    }
                    times
                })
            })
            .collect();
        threads.into_iter().flat_map(|t| t.join().expect("no panic")).collect()
    });
    print_times(&format!("append + wait for the disk, {waiters} at once"), &mut times);
}

fn claims(dir: &std::path::Path, record: &Kilobyte) {
    let journal = open(dir, 256 << 20);
    let mut times = Vec::new();
    for _ in 0..200_000 {
        let t = Instant::now();
        journal.claim(record).expect("a slot").clear();
        times.push(t.elapsed());
    }
    print_times("claim + clear", &mut times);
}

fn print_times(what: &str, times: &mut [Duration]) {
    times.sort();
    let at = |q: f64| times[((times.len() - 1) as f64 * q) as usize].as_secs_f64() * 1e6;
    let mean = times.iter().sum::<Duration>().as_secs_f64() * 1e6 / times.len() as f64;
    println!(
        "{what}: mean {mean:.2} us, p50 {:.2}, p99 {:.2}, p99.9 {:.1}, max {:.0} (n {})",
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0),
        times.len()
    );
}

fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    let own: u64 = stat.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0);
    let tasks = std::fs::read_dir("/proc/self/task").map_or(0, |tasks| {
        tasks
            .flatten()
            .filter_map(|t| std::fs::read_to_string(t.path().join("schedstat")).ok())
            .filter_map(|s| s.split(' ').next()?.parse::<u64>().ok())
            .sum()
    });
    Duration::from_nanos(tasks.max(own))
}

fn resident_mib() -> f64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: f64 = statm.split(' ').nth(1).and_then(|n| n.parse().ok()).unwrap_or(0.0);
    pages * 4096.0 / (1 << 20) as f64
}
