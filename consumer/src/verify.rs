//! `sidelog-consumer verify`: is everything there that was numbered?
//!
//! Asks the views `completeness` and `gaps`; what they mean is said in their migration.

use crate::store::{Store, StoreError};
use clickhouse::Row;
use serde::Deserialize;
use std::fmt;
use uuid::Uuid;

/// Gaps told one by one; the totals count all.
const GAPS: usize = 100;

/// One boot of one producer.
#[derive(Debug, Clone, PartialEq, Row, Deserialize)]
pub struct Boot {
    #[serde(with = "clickhouse::serde::uuid")]
    pub producer: Uuid,
    pub boot: u64,
    pub service: String,
    pub first_seq: u64,
    pub last_seq: u64,
    pub records: u64,
    /// Of `records`: of a number that another one has too.
    pub doubled: u64,
    /// On purpose.
    pub removed: u64,
    pub known_lost: u64,
    pub missing: u64,
    /// RFC 3339, UTC.
    pub complete_until: String,
}

/// Numbers that are nowhere.
#[derive(Debug, Clone, PartialEq, Row, Deserialize)]
pub struct Gap {
    #[serde(with = "clickhouse::serde::uuid")]
    pub producer: Uuid,
    pub boot: u64,
    pub first: u64,
    pub last: u64,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    pub boots: Vec<Boot>,
    /// The first [`GAPS`].
    pub gaps: Vec<Gap>,
}

impl Report {
    pub fn missing(&self) -> u64 {
        self.boots.iter().map(|boot| boot.missing).sum()
    }

    pub fn doubled(&self) -> u64 {
        self.boots.iter().map(|boot| boot.doubled).sum()
    }

    /// Each number once, or known to be lost.
    pub fn is_sound(&self) -> bool {
        self.missing() == 0 && self.doubled() == 0
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for b in &self.boots {
            writeln!(
                f,
                "producer {} boot {} ({}): {} to {}, {} stored, {} doubled, {} removed, {} known lost, {} missing, complete until {}",
                b.producer,
                b.boot,
                if b.service.is_empty() { "-" } else { &b.service },
                b.first_seq,
                b.last_seq,
                b.records,
                b.doubled,
                b.removed,
                b.known_lost,
                b.missing,
                b.complete_until
            )?;
        }
        for gap in &self.gaps {
            let Gap { producer, boot, first, last } = gap;
            writeln!(f, "missing: producer {producer} boot {boot}: {first} to {last}")?;
        }
        let known: u64 = self.boots.iter().map(|boot| boot.known_lost).sum();
        match (self.missing(), self.doubled()) {
            (0, 0) => writeln!(f, "complete: {known} known lost, none missing, none doubled"),
            (0, doubled) => writeln!(f, "complete: {known} known lost, none missing; {doubled} doubled"),
            (missing, doubled) => {
                writeln!(f, "not complete: {known} known lost, {missing} missing; {doubled} doubled")
            }
        }
    }
}

/// Of all producers, or of one.
pub async fn verify(store: &Store, producer: Option<Uuid>) -> Result<Report, StoreError> {
    let which = producer.map(|id| format!("WHERE producer = '{id}'")).unwrap_or_default();
    let boots = store
        .rows(&format!(
            "SELECT producer, boot, service, first_seq, last_seq, records, doubled, removed, known_lost, missing, \
               formatDateTime(complete_until, '%Y-%m-%dT%H:%i:%SZ', 'UTC') AS complete_until \
             FROM completeness {which} ORDER BY producer, boot"
        ))
        .await?;
    let gaps = store
        .rows(&format!(
            "SELECT producer, boot, first, last FROM gaps {which} ORDER BY producer, boot, first LIMIT {GAPS}"
        ))
        .await?;
    Ok(Report { boots, gaps })
}
