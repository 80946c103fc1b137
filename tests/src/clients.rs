//! Clients that call again and again, each call under an id of its own and never twice.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// An answer a client got.
#[derive(Debug, Clone)]
pub struct Answer {
    pub id: String,
    pub status: u16,
    pub began: Instant,
    pub took: Duration,
    pub body: Vec<u8>,
}

/// When a client calls next.
#[derive(Debug, Clone, Copy)]
pub enum Pace {
    /// So long after an answer.
    After(Duration),
    /// So long after the last call was due. A call that had to wait for the one before it is timed from
    /// when it was due: a slow answer cannot hide those it keeps waiting.
    Every(Duration),
}

/// What clients do.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub clients: usize,
    pub pace: Pace,
    pub media_type: &'static str,
    pub body: &'static [u8],
    /// Called in turn.
    pub paths: &'static [&'static str],
}

pub struct Load {
    stop: Arc<AtomicBool>,
    target: Arc<Mutex<Option<SocketAddr>>>,
    clients: Vec<JoinHandle<Vec<Answer>>>,
}

impl Load {
    pub fn start(plan: Plan, target: SocketAddr) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let target = Arc::new(Mutex::new(Some(target)));
        let client = |_| {
            let (stop, target) = (stop.clone(), target.clone());
            std::thread::spawn(move || client(plan, &stop, &target))
        };
        let clients = (0..plan.clients).map(client).collect();
        Load { stop, target, clients }
    }

    /// Where new connections go; `None`: nowhere for now.
    pub fn aim(&self, target: Option<SocketAddr>) {
        *self.target.lock().unwrap() = target;
    }

    /// Ends it: all answers there were.
    pub fn stop(self) -> Vec<Answer> {
        self.stop.store(true, Ordering::Relaxed);
        self.clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    }
}

fn client(plan: Plan, stop: &AtomicBool, target: &Mutex<Option<SocketAddr>>) -> Vec<Answer> {
    let mut answers = Vec::new();
    let mut paths = plan.paths.iter().cycle();
    while !stop.load(Ordering::Relaxed) {
        let address = *target.lock().unwrap();
        let connected = address.and_then(|a| TcpStream::connect(a).ok());
        let Some(stream) = connected else {
            std::thread::sleep(Duration::from_millis(2));
            continue;
        };
        stream.set_nodelay(true).unwrap();
        let mut stream = BufReader::new(stream);
        let mut due = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let Some(answer) = call(&mut stream, paths.next().unwrap(), &plan, due) else { break };
            let refused = answer.status != 200;
            answers.push(answer);
            if refused {
                break;
            }
            due = match plan.pace {
                Pace::After(pause) => Instant::now() + pause,
                Pace::Every(interval) => due + interval,
            };
        }
    }
    answers
}

/// One call that was due when it `began`; `None`: its connection broke.
fn call(stream: &mut BufReader<TcpStream>, path: &str, plan: &Plan, began: Instant) -> Option<Answer> {
    let id = Uuid::new_v4().to_string();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: origin\r\nX-Request-Id: {id}\r\nContent-Type: {}\r\nContent-Length: {}\r\n\r\n",
        plan.media_type,
        plan.body.len()
    );
    let request = [head.as_bytes(), plan.body].concat();
    stream.get_mut().write_all(&request).ok()?;
    let (mut status, mut length) = (0, 0);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        if let Some(rest) = line.strip_prefix("HTTP/1.1 ") {
            status = rest.split(' ').next()?.parse().ok()?;
        }
        if let Some(value) = line.strip_prefix("Content-Length: ") {
            length = value.parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    Some(Answer { id, status, began, took: began.elapsed(), body })
}

/// The p-th percentile of how long answers took.
pub fn percentile(answers: &[Answer], p: f64) -> Duration {
    let mut times: Vec<Duration> = answers.iter().map(|a| a.took).collect();
    times.sort_unstable();
    times.get((times.len() as f64 * p / 100.0) as usize).copied().unwrap_or_default()
}
