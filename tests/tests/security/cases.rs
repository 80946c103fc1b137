//! The cases as data: `tests/data/security/cases.jsonl`, one case a line.
//!
//! A payload is exact bytes and what must come of them, said twice: as the client sees it
//! (`answers`, `refused`) and as the service and the journal do (`executed`, `events`). A case
//! without payloads is written in code; its line says what it is about.
//!
//! In `raw` and `body` each character is one byte (ISO 8859-1), and words in braces stand for what
//! only the run knows: `{CANARY}` for a secret, others for what a group adds (`{JWT_EXPIRED}`).

use serde::Deserialize;
use serde_json::{Map, Value};
use std::path::PathBuf;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    pub id: u32,
    pub group: Group,
    pub name: String,
    /// What has to hold, in words.
    pub must: String,
    /// What is sent, in a few words.
    pub sent: String,
    #[serde(default)]
    pub payloads: Vec<Payload>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Group {
    Framing,
    Operations,
    Targets,
    Attribution,
    Redaction,
}

impl Group {
    pub const ALL: [Group; 5] =
        [Group::Framing, Group::Operations, Group::Targets, Group::Attribution, Group::Redaction];

    /// The test that runs it.
    pub fn test(self) -> &'static str {
        match self {
            Group::Framing => "framing",
            Group::Operations => "operations",
            Group::Targets => "targets",
            Group::Attribution => "attribution",
            Group::Redaction => "redaction",
        }
    }

    pub fn title(self) -> &'static str {
        match self {
            Group::Framing => "Framing: where a message begins and ends",
            Group::Operations => "Method and operation: what is meant",
            Group::Targets => "Path and target: what it is done to",
            Group::Attribution => "Attribution: by whom and from where",
            Group::Redaction => "Redaction: what must never be kept",
        }
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Payload {
    raw: Text,
    /// Sent behind `raw`, which then is a head without its end: a length is added.
    body: Option<Text>,
    /// Codings that are applied to `body`, in turn; `raw` says which it claims.
    #[serde(default)]
    encode: Vec<Coding>,
    #[serde(default)]
    pub from: From,
    /// The configuration says that such a call is not recorded.
    #[serde(default)]
    pub ignored: bool,
    /// The statuses the client gets, in order.
    pub answers: Vec<u16>,
    /// The reason under which the one refusal is counted; none: nothing is refused.
    pub refused: Option<String>,
    /// `METHOD TARGET` of each complete request that reached the service; braces as in `raw`.
    #[serde(default)]
    pub executed: Vec<String>,
    /// One object for each event: members (`actor.id`) and what they must be; see `oracle`.
    #[serde(default)]
    pub events: Vec<Map<String, Value>>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Text {
    Whole(String),
    Parts(Vec<Part>),
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Part {
    Text(String),
    Repeat { repeat: String, times: usize },
}

/// Who sends: somebody, or a proxy whose word the configuration trusts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum From {
    #[default]
    Stranger,
    Proxy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Coding {
    Gzip,
    Deflate,
    Br,
    Zstd,
}

/// What words in braces stand for.
pub type Words = Vec<(String, String)>;

impl Payload {
    /// The bytes to send.
    pub fn bytes(&self, words: &Words) -> Vec<u8> {
        let mut bytes = self.raw.bytes(words);
        if let Some(body) = &self.body {
            let mut body = body.bytes(words);
            for coding in &self.encode {
                body = coding.apply(&body);
            }
            bytes.extend(format!("Content-Length: {}\r\n\r\n", body.len()).bytes());
            bytes.extend(body);
        }
        bytes
    }
}

impl Text {
    fn bytes(&self, words: &Words) -> Vec<u8> {
        let text = match self {
            Text::Whole(text) => text.clone(),
            Text::Parts(parts) => parts.iter().map(Part::text).collect(),
        };
        filled(&text, words).chars().map(|c| u8::try_from(c).expect("a character of ISO 8859-1")).collect()
    }
}

/// The words in braces replaced by what they mean.
pub fn filled(text: &str, words: &Words) -> String {
    words.iter().fold(text.to_owned(), |text, (word, meaning)| text.replace(&format!("{{{word}}}"), meaning))
}

impl Part {
    fn text(&self) -> String {
        match self {
            Part::Text(text) => text.clone(),
            Part::Repeat { repeat, times } => repeat.repeat(*times),
        }
    }
}

impl Coding {
    pub fn apply(self, bytes: &[u8]) -> Vec<u8> {
        use std::io::Write;
        match self {
            Coding::Gzip => {
                let mut to = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
                to.write_all(bytes).unwrap();
                to.finish().unwrap()
            }
            Coding::Deflate => {
                let mut to = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
                to.write_all(bytes).unwrap();
                to.finish().unwrap()
            }
            Coding::Br => {
                let mut to = Vec::new();
                brotli::CompressorWriter::new(&mut to, 4096, 5, 22).write_all(bytes).unwrap();
                to
            }
            Coding::Zstd => zstd::encode_all(bytes, 3).unwrap(),
        }
    }
}

fn file() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("data/security/cases.jsonl")
}

/// Every case, in order.
pub fn all() -> Vec<Case> {
    let text = std::fs::read_to_string(file()).unwrap();
    let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line:.120}"));
    text.lines().map(parse).collect()
}

pub fn of(group: Group) -> Vec<Case> {
    all().into_iter().filter(|case| case.group == group).collect()
}

/// Where the shared collection is at hand (`SIDELOG_SHARED`, or `../shared` beside the repository),
/// each of its cases of the groups here must be here.
pub fn must_be_all() {
    let package = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let dir = std::env::var_os("SIDELOG_SHARED").map_or_else(|| package.join("../../shared"), PathBuf::from);
    let Ok(text) = std::fs::read_to_string(dir.join("security-cases.jsonl")) else {
        println!("left out: the shared collection of security cases is not here (SIDELOG_SHARED)");
        return;
    };
    let own = all();
    for line in text.lines() {
        let shared: Value = serde_json::from_str(line).unwrap();
        if !shared["group"].as_str().unwrap().starts_with(['A', 'B', 'C', 'D', 'E']) {
            continue;
        }
        let id = shared["id"].as_u64().unwrap() as u32;
        let Some(case) = own.iter().find(|case| case.id == id) else { panic!("case {id} is missing") };
        let sent: Vec<Vec<u8>> = case.payloads.iter().map(|p| p.bytes(&Words::new())).collect();
        for raw in shared["raw_latin1"].as_array().into_iter().flatten() {
            let raw: Vec<u8> = raw.as_str().unwrap().chars().map(|c| u8::try_from(c).unwrap()).collect();
            assert!(sent.contains(&raw), "case {id} does not send {:?}", String::from_utf8_lossy(&raw));
        }
    }
}
