//! Dialogues: who says what on one connection, in which order, told once for both ends.
//!
//! A [`Shape`] is a list of [`Move`]s. Each move waits until its speaker has received all that the
//! other side said before it, so a dialogue is deterministic without timers, and its bytes are the
//! expectation too: the origin must receive exactly what the client says, and the client exactly
//! what the origin says.

use harness::origin::{Origin, Peer, Record, Step};
use std::net::SocketAddr;
use std::time::Duration;

/// Between two moves of the same speaker, so that they travel in separate packets.
const BREATH: Duration = Duration::from_millis(3);

/// `C…`: the client; `O…`: the origin.
#[derive(Debug, Clone)]
pub enum Move {
    C(Vec<u8>),
    O(Vec<u8>),
    /// One byte at a time.
    CDrip(Vec<u8>),
    ODrip(Vec<u8>),
    /// Several messages of the client in one write; the origin goes on when it has the first…
    CBurst(Vec<Vec<u8>>),
    /// …and here it waits for the next one.
    OHeeds,
    /// FIN.
    CFin,
    OFin,
    /// RST.
    CReset,
    OReset,
}

pub struct Shape {
    pub name: &'static str,
    pub why: &'static str,
    pub moves: Vec<Move>,
}

/// What a side still has to receive before its next move.
#[derive(Default)]
struct Owed {
    bytes: usize,
    end: bool,
}

impl Owed {
    fn settle(&mut self, steps: &mut Vec<Step>) {
        if self.bytes > 0 {
            steps.push(Step::Bytes(std::mem::take(&mut self.bytes)));
        }
        if std::mem::take(&mut self.end) {
            steps.push(Step::End);
        }
    }
}

impl Shape {
    pub fn client_steps(&self) -> Vec<Step> {
        let (mut steps, mut owed, mut over) = (Vec::new(), Owed::default(), false);
        for step in &self.moves {
            match step {
                Move::O(b) | Move::ODrip(b) => owed.bytes += b.len(),
                Move::OFin | Move::OReset => owed.end = true,
                Move::OHeeds => {}
                own => {
                    owed.settle(&mut steps);
                    say(&mut steps, own);
                    over |= matches!(own, Move::CFin | Move::CReset);
                }
            }
        }
        owed.settle(&mut steps);
        if !over {
            steps.push(Step::HalfClose);
        }
        steps
    }

    pub fn origin_steps(&self) -> Vec<Step> {
        let (mut steps, mut owed) = (Vec::new(), Owed::default());
        let mut burst: Vec<usize> = Vec::new();
        for step in &self.moves {
            match step {
                Move::C(b) | Move::CDrip(b) => owed.bytes += b.len(),
                Move::CBurst(all) => {
                    burst = all.iter().map(Vec::len).rev().collect();
                    owed.bytes += burst.pop().unwrap_or(0);
                }
                Move::OHeeds => owed.bytes += burst.pop().expect("a burst has a next message"),
                Move::CFin | Move::CReset => owed.end = true,
                own => {
                    owed.settle(&mut steps);
                    say(&mut steps, own);
                }
            }
        }
        owed.settle(&mut steps);
        steps
    }

    pub fn client_bytes(&self) -> Vec<u8> {
        self.moves
            .iter()
            .flat_map(|m| match m {
                Move::C(b) | Move::CDrip(b) => b.clone(),
                Move::CBurst(all) => all.concat(),
                _ => Vec::new(),
            })
            .collect()
    }

    pub fn origin_bytes(&self) -> Vec<u8> {
        self.moves
            .iter()
            .flat_map(|m| match m {
                Move::O(b) | Move::ODrip(b) => b.clone(),
                _ => Vec::new(),
            })
            .collect()
    }

    /// Hold the dialogue: the client talks to `addr`, at whose end, near or far, is `origin`.
    pub fn hold(&self, addr: SocketAddr, origin: &Origin) -> Held {
        origin.play(self.origin_steps());
        let client = Peer::converse(addr, &self.client_steps());
        Held { client, origin: origin.finished() }
    }

    /// What is wrong with a dialogue held, if anything.
    pub fn faults(&self, held: &Held) -> Vec<String> {
        let mut faults = Vec::new();
        let mut check = |who: &str, record: &Record, want: &[u8]| {
            if let Some(difference) = difference(want, &record.received) {
                faults.push(format!("{who} received {difference}"));
            }
            if let Some(trouble) = &record.trouble {
                faults.push(format!("{who}: {trouble}"));
            }
        };
        check("the client", &held.client, &self.origin_bytes());
        match held.origin.as_slice() {
            [one] => check("the origin", one, &self.client_bytes()),
            other => faults.push(format!("{} connections to the origin instead of one", other.len())),
        }
        faults
    }
}

/// The records of both ends.
pub struct Held {
    pub client: Record,
    pub origin: Vec<Record>,
}

impl Held {
    /// How both directions ended differs from a dialogue held without a sidecar between.
    pub fn ends_unlike(&self, direct: &Held) -> Vec<String> {
        let ends = |h: &Held| (h.client.end, h.origin.first().map(|o| o.end));
        let ((client, origin), (client_direct, origin_direct)) = (ends(self), ends(direct));
        let mut faults = Vec::new();
        if client != client_direct {
            faults.push(format!("the client saw {client:?}, directly it sees {client_direct:?}"));
        }
        if origin != origin_direct {
            faults.push(format!("the origin saw {origin:?}, directly it sees {origin_direct:?}"));
        }
        faults
    }
}

/// The steps by which a side makes a move of its own.
fn say(steps: &mut Vec<Step>, own: &Move) {
    if matches!(steps.last(), Some(Step::Send(_))) {
        steps.push(Step::Pause(BREATH));
    }
    steps.push(match own {
        Move::C(b) | Move::O(b) => Step::Send(b.clone()),
        Move::CDrip(b) | Move::ODrip(b) => Step::Drip(b.clone()),
        Move::CBurst(all) => Step::Send(all.concat()),
        Move::CFin | Move::OFin => Step::HalfClose,
        Move::CReset | Move::OReset => Step::Reset,
        Move::OHeeds => return,
    });
}

/// Where two byte strings part, with a little of what stands there.
pub fn difference(want: &[u8], got: &[u8]) -> Option<String> {
    if want == got {
        return None;
    }
    let at = want.iter().zip(got).take_while(|(a, b)| a == b).count();
    let near = |all: &[u8]| all.iter().skip(at.saturating_sub(20)).take(80).copied().collect::<Vec<_>>();
    Some(format!(
        "{} bytes instead of {}, parting at {at}: got …{:?} want …{:?}",
        got.len(),
        want.len(),
        String::from_utf8_lossy(&near(got)),
        String::from_utf8_lossy(&near(want)),
    ))
}
