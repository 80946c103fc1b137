//! What the fuzzer feeds: everything that reads bytes of strangers. A target panics where a promise is
//! broken, not only where the code does.
//!
//! The targets by file: `wire` (HTTP/1 heads and bodies), `h2` (HTTP/2's frames and header blocks),
//! `calls` (operation, actor, address, inner calls), `bodies` (redaction), `records` (the consumer's
//! parser).

mod bodies;
mod calls;
mod h2;
mod records;
mod wire;

/// One thing to fuzz.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    pub name: &'static str,
    pub run: fn(&[u8]),
    /// Inputs to begin with: near enough to what is accepted.
    pub seeds: &'static [&'static [u8]],
}

pub const TARGETS: &[Target] = &[
    wire::REQUEST,
    wire::RESPONSE,
    wire::CHUNKS,
    h2::HPACK,
    h2::FRAMES,
    h2::STRICT,
    calls::OPERATION,
    calls::TOKEN,
    calls::COOKIE,
    calls::CERTIFICATE,
    calls::ADDRESS,
    calls::CALLS,
    bodies::JSON,
    bodies::FORM,
    bodies::MULTIPART,
    bodies::XML,
    bodies::ENCODED,
    records::RECORD,
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// Inputs that once broke a target.
    fn regressions(target: &Target) -> Vec<Vec<u8>> {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions").join(target.name);
        let Ok(files) = std::fs::read_dir(dir) else { return Vec::new() };
        files.map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect()
    }

    #[test]
    fn seeds_and_regressions_pass() {
        for target in TARGETS {
            (target.run)(b"");
            target.seeds.iter().for_each(|seed| (target.run)(seed));
            regressions(target).iter().for_each(|input| (target.run)(input));
        }
    }

    /// A little of what the fuzzer does: seeds with bytes changed, cut and doubled.
    #[test]
    fn mutated_seeds_pass() {
        const TELLING: &[u8] = b"\"\\{}[]<&=%\r\n\0\xff;,:";
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = move |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % below.max(1) as u64) as usize
        };
        for target in TARGETS {
            for seed in target.seeds {
                for _ in 0..200 {
                    let mut input = seed.to_vec();
                    for _ in 0..=random(4) {
                        let (at, other) = (random(input.len()), random(input.len()));
                        match random(4) {
                            0 if !input.is_empty() => input[at] = random(256) as u8,
                            1 => input.truncate(at),
                            2 if !input.is_empty() => input.insert(at, TELLING[random(TELLING.len())]),
                            _ => input.extend_from_within(at.min(other)..at.max(other)),
                        }
                    }
                    (target.run)(&input);
                }
            }
        }
    }
}
