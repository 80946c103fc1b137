//! Payment card numbers in text: 13 to 19 digits, bare or in groups, in a range an issuer uses, with
//! a right check digit (ISO/IEC 7812).
//!
//! The ranges keep clocks (milliseconds since 1970 begin with 1), serial numbers and most ids out:
//! a check digit alone is right for one number in ten.

use super::tally::{Edits, Rule, Tally};
use std::ops::Range;
use std::sync::LazyLock;

const FROM_13: u32 = 0b1111_1110_0000_0000_0000;
const FROM_16: u32 = 0b1111_0000_0000_0000_0000;

/// First and last four digits of a range, and the lengths in use, one bit each.
const RANGES: &[(u16, u16, u32)] = &[
    (1000, 1999, 1 << 15),                     // UATP
    (2200, 2204, FROM_16),                     // Mir
    (2221, 2720, 1 << 16),                     // Mastercard
    (3000, 3059, 1 << 14 | 1 << 16 | 1 << 19), // Diners Club
    (3095, 3095, 1 << 14 | 1 << 16 | 1 << 19),
    (3400, 3499, 1 << 15), // American Express
    (3528, 3589, FROM_16), // JCB
    (3600, 3699, 1 << 14 | 1 << 16 | 1 << 19),
    (3700, 3799, 1 << 15),
    (3800, 3999, 1 << 14 | 1 << 16 | 1 << 19),
    (4000, 4999, 1 << 13 | 1 << 16 | 1 << 19), // Visa
    (5000, 5099, FROM_13),                     // Maestro, Verve, RuPay
    (5100, 5599, 1 << 16),                     // Mastercard
    (5600, 5899, FROM_13),                     // Maestro
    (6000, 6999, FROM_13),                     // Discover, UnionPay, Maestro, RuPay, Elo
    (8100, 8299, FROM_16),                     // UnionPay, RuPay
    (9792, 9792, 1 << 16),                     // Troy
];

/// Shortest and longest number, digits.
const MIN: usize = 13;
const MAX: usize = 19;

/// How far around a number to look for the hex string it may be part of.
const AROUND: usize = 32;

static RULE: LazyLock<Rule> = LazyLock::new(|| Rule::from("value:pan"));

/// What takes a number's place.
pub(super) const CARD_MASK: &str = "[redacted:pan]";

pub(super) fn tally() -> Tally {
    Tally::one(&RULE)
}

/// Digits and what may stand between groups of them: a space, a hyphen, a no-break space (two
/// bytes in UTF-8).
fn in_number(b: u8) -> bool {
    b.is_ascii_digit() || matches!(b, b' ' | b'-' | 0xC2 | 0xA0)
}

/// Runs of such bytes that may hold a number. Looks at every 13th byte only, which any number
/// covers, so text without digits costs next to nothing.
fn runs(bytes: &[u8]) -> impl Iterator<Item = Range<usize>> + '_ {
    let mut at = MIN - 1;
    std::iter::from_fn(move || {
        loop {
            if !in_number(*bytes.get(at)?) {
                at += MIN;
                continue;
            }
            let before = bytes.get(..at)?.iter().rev().take_while(|b| in_number(**b)).count();
            let after = bytes.get(at..)?.iter().take_while(|b| in_number(**b)).count();
            let run = at - before..at + after;
            at = run.end + MIN - 1;
            if run.len() >= MIN
                && bytes.get(run.clone())?.iter().filter(|b| b.is_ascii_digit()).count() >= MIN
            {
                return Some(run);
            }
        }
    })
}

/// Whether a number may be in these bytes: false is certain.
pub(super) fn possible(bytes: &[u8]) -> bool {
    runs(bytes).next().is_some()
}

/// Names the spans to mask.
pub(super) fn find(text: &str, edits: &mut Edits) {
    let bytes = text.as_bytes();
    for run in runs(bytes) {
        let mut at = run.start;
        while at < run.end {
            match number(bytes, at, run.end) {
                Some(end) => {
                    edits.replace(at..end, CARD_MASK, tally());
                    at = end;
                }
                // To the next group.
                None => {
                    let rest = bytes.get(at..run.end).unwrap_or_default();
                    let group = rest.iter().take_while(|b| b.is_ascii_digit()).count();
                    at += group.max(1);
                }
            }
        }
    }
}

/// The end of the longest card number that starts at `start` and ends at the end of a group.
fn number(bytes: &[u8], start: usize, limit: usize) -> Option<usize> {
    let mut digits = [0u8; MAX];
    let (mut count, mut group, mut best) = (0, 0, None);
    let mut at = start;
    while at < limit {
        let b = *bytes.get(at)?;
        if b.is_ascii_digit() {
            *digits.get_mut(count).map_or(&mut 0, |d| d) = b - b'0';
            count += 1;
            group += 1;
            if count > MAX {
                break;
            }
            at += 1;
            let ends = bytes.get(at).is_none_or(|next| !next.is_ascii_digit());
            if ends && digits.get(..count).is_some_and(is_card) {
                best = Some(at);
            }
        } else {
            let gap = if bytes.get(at..at + 2) == Some(&[0xC2, 0xA0]) { 2 } else { 1 };
            // Groups of a card number have three digits or more, and one separator between them.
            if group < 3 || matches!(b, 0xA0) || (b == 0xC2 && gap == 1) {
                break;
            }
            group = 0;
            at += gap;
        }
    }
    best.filter(|end| !phone(bytes, start, count) && !in_hex(bytes, start, *end))
}

fn is_card(digits: &[u8]) -> bool {
    if digits.len() < MIN {
        return false;
    }
    let head = digits.iter().take(4).fold(0u16, |n, d| n * 10 + u16::from(*d));
    let known = RANGES
        .iter()
        .any(|(first, last, lengths)| (*first..=*last).contains(&head) && lengths >> digits.len() & 1 == 1);
    known && luhn(digits)
}

fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(i, d)| {
            let d = u32::from(*d) * if i % 2 == 1 { 2 } else { 1 };
            if d > 9 { d - 9 } else { d }
        })
        .sum();
    sum.is_multiple_of(10)
}

/// `+` and at most 15 digits: E.164.
fn phone(bytes: &[u8], start: usize, digits: usize) -> bool {
    digits <= 15 && start.checked_sub(1).and_then(|i| bytes.get(i)) == Some(&b'+')
}

/// Part of a longer string of hex digits, as digests and UUIDs are: letters a–f directly around,
/// and no other letter nearby.
fn in_hex(bytes: &[u8], start: usize, end: usize) -> bool {
    let word = |b: &&u8| b.is_ascii_alphanumeric() || **b == b'-';
    let left = bytes.get(..start).unwrap_or_default().iter().rev().take_while(word).take(AROUND);
    let right = bytes.get(end..).unwrap_or_default().iter().take_while(word).take(AROUND);
    let (mut letters, mut others) = (0, 0);
    for b in left.chain(right) {
        match b {
            b'a'..=b'f' | b'A'..=b'F' => letters += 1,
            b if b.is_ascii_alphabetic() => others += 1,
            _ => {}
        }
    }
    letters > 0 && others == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(text: &str) -> String {
        let mut edits = Edits::default();
        find(text, &mut edits);
        let found = !edits.is_empty();
        assert!(!found || possible(text.as_bytes()), "{text}");
        edits.apply(text).map_or_else(|| text.to_owned(), |(text, _)| text)
    }

    #[test]
    fn the_networks_test_numbers() {
        for pan in [
            "4111111111111111",
            "4222222222222",
            "5555555555554444",
            "2223003122003222",
            "378282246310005",
            "6011111111111117",
            "3530111333300000",
            "30569309025904",
            "6759649826438453",
            "4111 1111 1111 1111",
            "4111-1111-1111-1111",
            "3782 822463 10005",
            "4111\u{a0}1111\u{a0}1111\u{a0}1111",
        ] {
            for (before, after) in
                [("", ""), ("card ", " please"), ("(", ")"), ("card:", ","), ("nr", "x"), ("5 ", "")]
            {
                assert_eq!(
                    masked(&format!("{before}{pan}{after}")),
                    format!("{before}[redacted:pan]{after}")
                );
            }
        }
    }

    #[test]
    fn several_in_a_row() {
        assert_eq!(masked("4111 1111 1111 1111 5555555555554444"), "[redacted:pan] [redacted:pan]");
        assert_eq!(masked("4111111111111111 12/29"), "[redacted:pan] 12/29");
    }

    #[test]
    fn other_numbers_stay() {
        for kept in [
            "1700000000000",
            "1700000000000000",
            "4111111111111112",
            "41111111111111111111",
            "2024-01-02 10:20:30",
            "2024-01-02-10-20-30",
            "550e8400-e29b-41d4-a716-446655440000",
            "4111.111111111111",
            "+4915112345678",
            "e3b0c44298fc4111111111111111afbf4c8996fb",
            "192.168.100.200",
            "0000000000000000",
        ] {
            assert_eq!(masked(kept), kept);
        }
    }
}
