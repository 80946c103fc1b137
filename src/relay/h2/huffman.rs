//! HPACK's Huffman code (RFC 7541, appendix B), decoded four bits at a time.
//!
//! The code is canonical: the lengths of its 257 symbols say all. An automaton over nibbles is built
//! from them when this is compiled; its states are the inner nodes of the code tree.

/// Bits of each symbol's code; the last is EOS.
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28,
    28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6,
    6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7,
    8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7,
    15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24,
    23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23,
    23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26,
    26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20,
    21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27,
    27, 27, 26, 30,
];
const EOS: usize = 256;
const LONGEST: u8 = 30;

/// What four bits do in a state. At most one symbol ends within them: no code is shorter than five.
#[derive(Clone, Copy)]
struct Turn {
    next: u8,
    symbol: u8,
    emits: bool,
    /// EOS stands in the text.
    fails: bool,
}

struct Automaton {
    turns: [[Turn; 16]; 256],
    /// States in which a text may end: at most seven bits of ones since the last symbol.
    ends: [bool; 256],
}

static AUTOMATON: Automaton = build();

/// The tree: a child is 0 (none yet), an inner node, or `-1 - symbol`.
const fn build() -> Automaton {
    const NOT_ONES: u8 = u8::MAX;
    let mut tree = [[0i16; 2]; 256];
    // Depth of the nodes that only ones lead to.
    let mut ones = [NOT_ONES; 256];
    ones[0] = 0;
    let (mut nodes, mut code, mut length) = (1, 0u32, 1u8);
    while length <= LONGEST {
        let mut symbol = 0;
        while symbol <= EOS {
            if LENGTHS[symbol] == length {
                let (mut node, mut shift) = (0, length - 1);
                while shift > 0 {
                    let bit = (code >> shift & 1) as usize;
                    if tree[node][bit] == 0 {
                        tree[node][bit] = nodes as i16;
                        if bit == 1 && ones[node] != NOT_ONES {
                            ones[nodes] = ones[node] + 1;
                        }
                        nodes += 1;
                    }
                    node = tree[node][bit] as usize;
                    shift -= 1;
                }
                tree[node][(code & 1) as usize] = -1 - symbol as i16;
                code += 1;
            }
            symbol += 1;
        }
        code <<= 1;
        length += 1;
    }
    let nothing = Turn { next: 0, symbol: 0, emits: false, fails: false };
    let mut automaton = Automaton { turns: [[nothing; 16]; 256], ends: [false; 256] };
    let mut state = 0;
    while state < 256 {
        let mut nibble = 0;
        while nibble < 16 {
            automaton.turns[state][nibble] = turn(&tree, state, nibble);
            nibble += 1;
        }
        automaton.ends[state] = ones[state] <= 7;
        state += 1;
    }
    automaton
}

const fn turn(tree: &[[i16; 2]; 256], state: usize, nibble: usize) -> Turn {
    let mut turn = Turn { next: 0, symbol: 0, emits: false, fails: false };
    let (mut node, mut shift) = (state, 4);
    while shift > 0 {
        shift -= 1;
        let child = tree[node][nibble >> shift & 1];
        if child >= 0 {
            node = child as usize;
            continue;
        }
        let symbol = (-1 - child) as usize;
        if symbol == EOS {
            turn.fails = true;
        } else {
            turn.emits = true;
            turn.symbol = symbol as u8;
        }
        node = 0;
    }
    turn.next = node as u8;
    turn
}

/// Appends the text to `out`: at most 8/5 of the coded bytes. False: EOS within, or padding that is
/// not the beginning of EOS or longer than seven bits (RFC 7541 §5.2).
#[must_use]
pub fn decode(coded: &[u8], out: &mut Vec<u8>) -> bool {
    let mut state = 0u8;
    for byte in coded {
        for nibble in [byte >> 4, byte & 15] {
            let turn = AUTOMATON.turns[usize::from(state)][usize::from(nibble)];
            if turn.emits {
                out.push(turn.symbol);
            } else if turn.fails {
                return false;
            }
            state = turn.next;
        }
    }
    AUTOMATON.ends[usize::from(state)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(coded: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        decode(coded, &mut out).then_some(out)
    }

    #[test]
    fn texts_of_the_rfc() {
        for (coded, plain) in [
            (
                &[0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff][..],
                "www.example.com",
            ),
            (&[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf], "no-cache"),
            (&[0xae, 0xc3, 0x77, 0x1a, 0x4b], "private"),
            (&[], ""),
        ] {
            assert_eq!(text(coded).as_deref(), Some(plain.as_bytes()));
        }
    }

    #[test]
    fn a_text_ends_in_few_ones_and_has_no_eos() {
        // `0` is 00000; then three ones.
        assert_eq!(text(&[0b0000_0111]).as_deref(), Some(&b"0"[..]));
        assert_eq!(text(&[0b0000_0110]), None);
        assert_eq!(text(&[0b0000_0111, 0xff]), None, "eleven bits of padding");
        assert_eq!(text(&[0xff, 0xff, 0xff, 0xff]), None, "EOS");
        assert_eq!(text(&[0xff]), None, "eight ones");
    }
}
