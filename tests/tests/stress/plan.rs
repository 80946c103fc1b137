//! What is to become of a call: chosen by dice, told to the service in a field of the request.

use harness::Random;

/// How a connection is broken off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    Fin,
    Rst,
}

/// What the service does with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    Answers,
    /// After so many bytes of the request's body, if there are as many.
    BreaksOffRequest(usize, How),
    /// After so many bytes of the answer.
    BreaksOffAnswer(usize, How),
    /// Says so many bytes of the answer, and no more as long as it is waited for.
    Hangs(usize),
}

/// What the client does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client {
    Reads,
    /// After so many bytes of the request, in 1/1000.
    BreaksOffRequest(usize, How),
    /// So many milliseconds after the request.
    BreaksOffWaiting(u64, How),
    /// After so many bytes of the answer.
    BreaksOffAnswer(usize, How),
    /// Never ends its head.
    Dawdles,
}

#[derive(Debug, Clone)]
pub struct Plan {
    pub id: String,
    pub method: &'static str,
    pub target: String,
    pub body: Vec<u8>,
    pub chunked: bool,
    pub client: Client,
    pub service: Service,
    /// Of the answer.
    pub status: u16,
    pub length: usize,
    pub answer_chunked: bool,
}

const METHODS: [&str; 4] = ["POST", "PUT", "PATCH", "DELETE"];
const STATUSES: [u16; 6] = [200, 201, 204, 404, 409, 500];

impl Plan {
    /// The `n`th call. Two of three go well.
    pub fn dice(n: u64, random: &mut Random) -> Plan {
        let mut size = |most: u64| {
            let bound = 1 << (1 + random.below(most));
            random.below(bound) as usize
        };
        let (body, length, near) = (size(15), size(15), size(9));
        let how = if random.below(2) == 0 { How::Fin } else { How::Rst };
        let (client, service) = match random.below(100) {
            0..6 => (Client::BreaksOffRequest(random.below(1000) as usize, how), Service::Answers),
            6..10 => (Client::BreaksOffWaiting(random.below(4), how), Service::Answers),
            10..14 => (Client::BreaksOffAnswer(near, how), Service::Answers),
            14..16 => (Client::BreaksOffWaiting(20 + random.below(20), how), Service::Hangs(0)),
            34..37 => (Client::BreaksOffAnswer(1 + random.below(900) as usize, how), Service::Hangs(900)),
            37 => (Client::Dawdles, Service::Answers),
            16..20 => (Client::Reads, Service::BreaksOffRequest(near, how)),
            20..24 => (Client::Reads, Service::BreaksOffAnswer(0, how)),
            24..28 => (Client::Reads, Service::BreaksOffAnswer(random.below(40) as usize, how)),
            28..32 => (Client::Reads, Service::BreaksOffAnswer(near + 40, how)),
            32..34 => (Client::BreaksOffAnswer(near, how), Service::BreaksOffAnswer(near, how)),
            _ => (Client::Reads, Service::Answers),
        };
        let status = STATUSES[random.below(6) as usize];
        let (status, length) =
            if let Service::Hangs(1..) = service { (200, length + 900) } else { (status, length) };
        Plan {
            // Not to be taken for the number of a card.
            id: format!("call-{n}-r{:x}", random.below(1 << 30)),
            method: METHODS[random.below(4) as usize],
            target: format!("/things/{n}?of={}", random.below(1000)),
            body: pattern(n, body),
            chunked: random.below(2) == 0,
            client,
            service,
            status,
            length: if status == 204 { 0 } else { length },
            answer_chunked: status != 204 && random.below(2) == 0,
        }
    }

    /// The plan for the service, as the value of `X-Orders`.
    pub fn orders(&self) -> String {
        let (what, at, how) = match self.service {
            Service::Answers => ("answer", 0, How::Fin),
            Service::Hangs(at) => ("hang", at, How::Fin),
            Service::BreaksOffRequest(at, how) => ("request", at, how),
            Service::BreaksOffAnswer(at, how) => ("cut", at, how),
        };
        let Plan { status, length, answer_chunked, .. } = self;
        format!("{what} {at} {} {status} {length} {answer_chunked}", how == How::Rst)
    }
}

/// What the service reads of a plan.
#[derive(Debug, Clone, Copy)]
pub struct Orders {
    pub service: Service,
    pub status: u16,
    pub length: usize,
    pub chunked: bool,
}

impl Orders {
    /// Without orders: answer.
    pub fn read(text: &str) -> Orders {
        let mut words = text.split(' ');
        let (what, mut next) = (words.next().unwrap_or_default(), || words.next().unwrap_or("0"));
        let at = next().parse().unwrap();
        let how = if next() == "true" { How::Rst } else { How::Fin };
        let service = match what {
            "hang" => Service::Hangs(at),
            "request" => Service::BreaksOffRequest(at, how),
            "cut" => Service::BreaksOffAnswer(at, how),
            _ => Service::Answers,
        };
        let status = next().parse().unwrap();
        let (length, chunked) = (next().parse().unwrap(), next() == "true");
        Orders { service, status: if status == 0 { 200 } else { status }, length, chunked }
    }
}

/// Bytes that differ from call to call and from place to place.
pub fn pattern(seed: u64, length: usize) -> Vec<u8> {
    let byte = |at: usize| (at as u64).wrapping_mul(seed | 1).wrapping_add(at as u64 >> 8) as u8;
    (0..length).map(byte).collect()
}
