//! Many words at once: every place in a text where one of a list occurs, overlaps included.
//!
//! A thin layer over aho-corasick's DFA, which is walked here, since one call per name through its
//! search interface costs more than the search.

use aho_corasick::automaton::{Automaton, StateID};
use aho_corasick::dfa::DFA;
use aho_corasick::{Anchored, MatchKind, StartKind};

pub(super) struct Words {
    dfa: DFA,
    start: StateID,
}

impl Words {
    pub fn new<W: AsRef<[u8]>>(words: &[W]) -> Result<Self, String> {
        let dfa = DFA::builder()
            .match_kind(MatchKind::Standard)
            .start_kind(StartKind::Unanchored)
            .build(words)
            .map_err(|e| e.to_string())?;
        let start = dfa.start_state(Anchored::No).map_err(|e| e.to_string())?;
        Ok(Words { dfa, start })
    }

    /// Whether any of the words occurs.
    pub fn any(&self, text: &[u8]) -> bool {
        let mut state = self.start;
        text.iter().any(|byte| {
            state = self.dfa.next_state(Anchored::No, state, *byte);
            self.dfa.is_special(state) && self.dfa.is_match(state)
        })
    }

    /// Calls `found(word, start, end)` for every occurrence, by where they end.
    pub fn each(&self, text: &[u8], mut found: impl FnMut(usize, usize, usize)) {
        let mut state = self.start;
        for (at, byte) in text.iter().enumerate() {
            state = self.dfa.next_state(Anchored::No, state, *byte);
            if self.dfa.is_special(state) && self.dfa.is_match(state) {
                for i in 0..self.dfa.match_len(state) {
                    let word = self.dfa.match_pattern(state, i);
                    found(word.as_usize(), at + 1 - self.dfa.pattern_len(word), at + 1);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlapping_words_are_all_found() {
        let mut found = Vec::new();
        let words = Words::new(&["she", "he", "hers", "s"]).unwrap();
        words.each(b"ushers", |word, start, end| found.push((word, start, end)));
        found.sort_unstable();
        assert_eq!(found, [(0, 1, 4), (1, 2, 4), (2, 2, 6), (3, 1, 2), (3, 5, 6)]);
        assert!(words.any(b"sea") && !words.any(b"tea"));
    }
}
