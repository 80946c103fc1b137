//! `sidelog journal`: what stands in a journal directory, for operators.
//!
//! `stat` and `dump` read only, take no lock and work while a sidecar runs. `repair` needs the directory
//! for itself. Everything shown was redacted before it was stored.

use serde_json::{Value, json};
use sidelog_journal::{CursorRepair, Inspection, Kind, Missing, OpenError, Orphan, Record, Repair};
use std::fmt::Write as _;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::SystemTime;

/// Which records `dump` shows; all bounds inclusive.
#[derive(Debug, Clone, Copy, Default)]
pub struct Selection {
    pub boot: Option<u64>,
    pub from: Option<u64>,
    pub to: Option<u64>,
}

impl Selection {
    fn shows(&self, record: &Record) -> bool {
        self.boot.is_none_or(|boot| boot == record.boot)
            && self.from.is_none_or(|from| from <= record.seq)
            && self.to.is_none_or(|to| record.seq <= to)
    }
}

/// Writes what is in the directory, for people or as one JSON object.
pub fn stat(dir: &Path, as_json: bool, out: &mut impl Write) -> io::Result<()> {
    let seen = sidelog_journal::inspect(dir)?;
    if as_json {
        return writeln!(out, "{}", stat_json(dir, &seen));
    }
    out.write_all(stat_text(dir, &seen).as_bytes())
}

fn stat_text(dir: &Path, seen: &Inspection) -> String {
    let r = &seen.recovery;
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name:<11} {value}");
    };
    line("journal", format!("{}{}", dir.display(), if seen.in_use { " (in use)" } else { "" }));
    line("producer", if seen.producer.is_nil() { "unknown".into() } else { seen.producer.to_string() });
    line("boot", seen.boot.to_string());
    let bytes: u64 = seen.segments.iter().map(|s| s.bytes).sum();
    line("segments", format!("{}, {bytes} bytes", seen.segments.len()));
    let range = match (seen.segments.first(), seen.segments.last()) {
        (Some(a), Some(b)) => format!(", boot {} seq {} to boot {} seq {}", a.boot, a.first, b.boot, b.last),
        _ => String::new(),
    };
    line("records", format!("{}{range}", r.records));
    let delivered =
        seen.delivered.map_or("nothing".into(), |(boot, seq)| format!("to boot {boot} seq {seq}"));
    line("delivered", if r.cursor_damaged { format!("{delivered} (cursor damaged)") } else { delivered });
    line("backlog", format!("{} records, {} bytes", r.pending, seen.pending_bytes));
    line("open calls", seen.open_calls.len().to_string());
    line("damage", damage_text(seen));
    if r.missing.is_empty() {
        line("missing", "none".into());
    }
    for m in &r.missing {
        line("missing", format!("boot {} seq {} to {}: {}", m.boot, m.first, m.last, m.reason.as_str()));
    }
    text
}

fn damage_text(seen: &Inspection) -> String {
    let r = &seen.recovery;
    let mut found = Vec::new();
    if r.corrupt_regions > 0 {
        found.push(format!("{} stretches, {} bytes", r.corrupt_regions, r.corrupt_bytes));
    }
    if r.torn_bytes > 0 {
        found.push(format!("{} bytes after the last record", r.torn_bytes));
    }
    if r.damaged_slots > 0 {
        found.push(format!("{} open calls", r.damaged_slots));
    }
    if r.foreign_files > 0 {
        found.push(format!("{} files nothing explains", r.foreign_files));
    }
    if r.producer_damaged {
        found.push("the producer file".into());
    }
    if found.is_empty() { "none".into() } else { found.join("; ") }
}

fn stat_json(dir: &Path, seen: &Inspection) -> Value {
    let r = &seen.recovery;
    let segments: Vec<Value> = seen
        .segments
        .iter()
        .map(|s| {
            json!({"file": s.file, "producer": s.producer, "boot": s.boot, "first": s.first, "last": s.last,
                "records": s.records, "bytes": s.bytes, "damaged": s.damaged})
        })
        .collect();
    json!({
        "dir": dir.display().to_string(),
        "in_use": seen.in_use,
        "producer": (!seen.producer.is_nil()).then_some(seen.producer),
        "boot": seen.boot,
        "segments": segments,
        "records": r.records,
        "delivered": seen.delivered.map(|(boot, seq)| json!({"boot": boot, "seq": seq})),
        "backlog": {"records": r.pending, "bytes": seen.pending_bytes},
        "open_calls": seen.open_calls.len(),
        "damage": {
            "stretches": r.corrupt_regions, "bytes": r.corrupt_bytes, "torn_bytes": r.torn_bytes,
            "open_calls": r.damaged_slots, "foreign_files": r.foreign_files,
            "cursor": r.cursor_damaged, "producer": r.producer_damaged,
        },
        "missing": r.missing.iter().map(missing_json).collect::<Vec<_>>(),
        "missing_cut": r.missing_cut,
    })
}

fn missing_json(m: &Missing) -> Value {
    json!({"producer": m.producer, "boot": m.boot, "first": m.first, "last": m.last, "reason": m.reason.as_str()})
}

/// Writes records as JSON lines, their content as it is stored.
pub fn dump(dir: &Path, selection: &Selection, out: &mut impl Write) -> io::Result<()> {
    let mut written = Ok(());
    sidelog_journal::visit(dir, |record| {
        if selection.shows(&record) {
            written = write_record(&record, out);
        }
        if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    written
}

fn write_record(record: &Record, out: &mut impl Write) -> io::Result<()> {
    let Record { producer, boot, seq, id, time, payload, .. } = record;
    let time = timestamp(*time);
    write!(out, r#"{{"producer":"{producer}","boot":{boot},"seq":{seq},"time":"{time}","#)?;
    match record.kind {
        Kind::Data => write!(out, r#""kind":"event","id":"{id}","content":"#)?,
        Kind::Open => write!(out, r#""kind":"open_call","id":"{id}","content":"#)?,
        Kind::Loss { boot, first, last, reason, time } => {
            let loss = json!({"boot": boot, "first": first, "last": last, "reason": reason.as_str(),
                "time": timestamp(time)});
            return writeln!(out, r#""kind":"loss","content":{loss}}}"#);
        }
    }
    write_content(payload, out)
}

/// Writes the calls that are open, or were when the last life ended.
pub fn dump_open_calls(dir: &Path, out: &mut impl Write) -> io::Result<()> {
    for Orphan { id, bytes } in sidelog_journal::inspect(dir)?.open_calls {
        write!(out, r#"{{"id":"{id}","content":"#)?;
        write_content(&bytes, out)?;
    }
    Ok(())
}

/// JSON as it is; what is none (nothing of ours) as text.
fn write_content(content: &[u8], out: &mut impl Write) -> io::Result<()> {
    match serde_json::from_slice::<serde::de::IgnoredAny>(content) {
        Ok(_) => out.write_all(content)?,
        Err(_) => write!(out, "{}", Value::from(String::from_utf8_lossy(content)))?,
    }
    out.write_all(b"}\n")
}

fn timestamp(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time).unwrap_or_default().to_string()
}

/// Mends what can be mended, and says what it did; in a dry run, what it would do.
pub fn repair(dir: &Path, dry_run: bool, out: &mut impl Write) -> Result<(), RepairError> {
    let done = sidelog_journal::repair(dir, dry_run)?;
    out.write_all(repair_text(&done, dry_run).as_bytes())?;
    Ok(())
}

#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    #[error("{0}")]
    Journal(#[from] OpenError),
    #[error(transparent)]
    Output(#[from] io::Error),
}

fn repair_text(done: &Repair, dry_run: bool) -> String {
    let r = &done.recovery;
    let mut lines = Vec::new();
    let (wrote, began) = if dry_run { ("would write", "would begin") } else { ("wrote", "begins") };
    if !dry_run && r.quarantined_bytes > 0 {
        lines.push(format!("copied {} damaged bytes to quarantine", r.quarantined_bytes));
    }
    if r.torn_bytes > 0 {
        lines.push(format!("{} bytes after a last record are cut off", r.torn_bytes));
    }
    for name in &done.rewritten {
        lines.push(format!("{wrote} {name} anew with its sound records"));
    }
    for name in &done.left {
        lines.push(format!("left {name} as it is: not all of its damage could be copied to quarantine"));
    }
    match done.cursor {
        Some(CursorRepair::OneSlot) => lines.push(format!("{wrote} the cursor's damaged slot anew")),
        Some(CursorRepair::FromOldest) => lines.push(format!(
            "{wrote} the cursor anew: delivery {began} at the oldest record, duplicates are known as such"
        )),
        None => {}
    }
    if r.producer_damaged {
        lines.push("the producer file is damaged: the next start makes a new producer".into());
    }
    if r.foreign_files > 0 {
        lines.push(format!("{} files that nothing explains are left alone", r.foreign_files));
    }
    if lines.is_empty() {
        lines.push("nothing to repair".into());
    }
    for m in &r.missing {
        let reason = m.reason.as_str();
        lines.push(format!(
            "lost: boot {} seq {} to {} ({reason}); the next start records it",
            m.boot, m.first, m.last
        ));
    }
    lines.into_iter().map(|line| line + "\n").collect()
}
