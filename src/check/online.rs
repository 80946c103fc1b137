//! `check --online`: whether what the configuration names is there and lets us in: the service, Kafka
//! and its topic, ClickHouse and its tables, the journal's directory.
//!
//! Only asks: nothing is written but an empty file in the journal's directory, which is removed again.
//! Messages name addresses and no credentials.

use crate::config::{ClickHouse, Config, Kafka, Problem, Severity, Upstream};
use crate::emit;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

const CONNECT: Duration = Duration::from_secs(3);
/// For an answer of Kafka or ClickHouse.
const ANSWER: Duration = Duration::from_secs(5);
/// Bytes of ClickHouse's answer that are read.
const MAX_ANSWER: u64 = 64 << 10;
/// Where ClickHouse is taken to be when the configuration does not say.
const UNSAID: &str = "http://127.0.0.1:8123";

pub(super) fn problems(config: &Config) -> Vec<Problem> {
    let mut found: Vec<Problem> = service(&config.upstream).into_iter().collect();
    if let Some(kafka) = &config.kafka {
        let brokers: Vec<_> = kafka.brokers.iter().filter_map(|b| unreachable("kafka", b)).collect();
        // One broker that answers tells of the others.
        if brokers.len() < kafka.brokers.len() {
            found.extend(topic(kafka));
        }
        found.extend(brokers);
    }
    // The consumer's, so that a sidecar's configuration need not have it.
    if config.clickhouse.url != UNSAID || config.clickhouse.password.is_some() {
        found.extend(clickhouse(&config.clickhouse));
    }
    found.extend(journal(&config.journal.dir));
    found
}

fn problem(severity: Severity, message: String, help: &str) -> Problem {
    Problem { place: None, message, help: Some(help.to_owned()), severity }
}

fn service(upstream: &Upstream) -> Option<Problem> {
    match upstream {
        Upstream::Tcp { host, port, .. } => unreachable("the service", &format!("{host}:{port}")),
        Upstream::Unix(path) => {
            let why = UnixStream::connect(path).err()?.to_string();
            Some(cannot_reach("the service", &upstream.to_string(), &why))
        }
    }
}

fn unreachable(what: &str, address: &str) -> Option<Problem> {
    let why = match address.to_socket_addrs().map(|mut a| a.next()) {
        Err(error) => error.to_string(),
        Ok(None) => "the name has no address".into(),
        Ok(Some(socket)) => TcpStream::connect_timeout(&socket, CONNECT).err()?.to_string(),
    };
    Some(cannot_reach(what, address, &why))
}

fn cannot_reach(what: &str, address: &str, why: &str) -> Problem {
    let message = format!("cannot reach {what} at {address}: {why}");
    problem(Severity::Error, message, "start it, or correct its address")
}

/// Whether the topic is there and may be used.
fn topic(kafka: &Kafka) -> Option<Problem> {
    let topic = &kafka.topic;
    match emit::topic_partitions(kafka, ANSWER) {
        Ok(0) => Some(problem(
            Severity::Warning,
            format!("kafka has no topic `{topic}`"),
            "make it, or let the brokers make topics by themselves",
        )),
        Ok(_) => None,
        Err(why) => Some(problem(
            Severity::Error,
            format!("kafka does not tell of the topic `{topic}`: {why}"),
            "see to `kafka.properties` (security.protocol, sasl…) and to the rights of this user",
        )),
    }
}

/// Whether ClickHouse lets this user in, and how far its tables are.
fn clickhouse(config: &ClickHouse) -> Option<Problem> {
    let fail = |why: String| {
        let message = format!("clickhouse at {}: {why}", config.url);
        Some(problem(Severity::Error, message, "start it, or correct `clickhouse`"))
    };
    if let Err(why) = query(config, "SELECT 1") {
        return fail(why);
    }
    let database = &config.database;
    match query(config, &format!("SELECT max(version) FROM {database}.migrations")) {
        Ok(version) if version.trim() != "0" => {
            let message = format!("clickhouse: the tables of `{database}` are of version {}", version.trim());
            Some(problem(Severity::Note, message, "`sidelog-consumer migrate` brings them up to date"))
        }
        _ => Some(problem(
            Severity::Warning,
            format!("clickhouse: there are no tables in `{database}`, or this user may not read them"),
            "`sidelog-consumer migrate` makes them, and so does the consumer when it starts",
        )),
    }
}

/// Asks ClickHouse's HTTP interface. 1.0, so that the answer ends with the connection.
fn query(config: &ClickHouse, sql: &str) -> Result<String, String> {
    let rest = config.url.strip_prefix("http://").ok_or("not an http:// URL")?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let named = authority.rsplit_once(':').is_some_and(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()));
    let address = if named { authority.to_owned() } else { format!("{authority}:8123") };
    let told = |error: io::Error| error.to_string();
    let socket = address.to_socket_addrs().map_err(told)?.next().ok_or("the name has no address")?;
    let mut stream = TcpStream::connect_timeout(&socket, CONNECT).map_err(told)?;
    stream.set_read_timeout(Some(ANSWER)).map_err(told)?;
    let mut request =
        format!("POST /{path} HTTP/1.0\r\nHost: {authority}\r\nX-ClickHouse-User: {}\r\n", config.user);
    if let Some(password) = &config.password {
        request.push_str(&format!("X-ClickHouse-Key: {}\r\n", password.0));
    }
    request.push_str(&format!("Content-Length: {}\r\n\r\n{sql}", sql.len()));
    stream.write_all(request.as_bytes()).map_err(told)?;
    let mut answer = String::new();
    stream.take(MAX_ANSWER).read_to_string(&mut answer).map_err(told)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("no HTTP answer")?;
    match head.split(' ').nth(1) {
        Some("200") => Ok(body.to_owned()),
        Some("401" | "403") => Err("the user or the password is not accepted".into()),
        status => Err(format!("it answers with status {}", status.unwrap_or("none"))),
    }
}

/// Whether the journal can be kept there, and will be there after a restart.
fn journal(dir: &Path) -> Option<Problem> {
    let there = dir.ancestors().map(|d| if d.as_os_str().is_empty() { Path::new(".") } else { d });
    let there = there.into_iter().find(|d| d.exists())?;
    let probe = there.join(format!(".sidelog-check-{}", std::process::id()));
    let written = std::fs::OpenOptions::new().write(true).create_new(true).open(&probe);
    match written {
        Ok(_) => _ = std::fs::remove_file(&probe),
        Err(error) => {
            let message = format!("the journal cannot be written in {}: {}", there.display(), error.kind());
            let help = "give this user the directory, or name another as `journal.dir`";
            return Some(problem(Severity::Error, message, help));
        }
    }
    let (kind, why) = unfit(file_system(there)?)?;
    let message = format!("the journal's directory {} is on {kind}: {why}", dir.display());
    Some(problem(Severity::Warning, message, "name a directory on a disk of this host, or on a volume"))
}

/// The kind of a directory's file system, by its magic number.
#[cfg(target_os = "linux")]
fn file_system(dir: &Path) -> Option<i64> {
    let path = std::ffi::CString::new(dir.as_os_str().as_bytes()).ok()?;
    // SAFETY: all zeros is a valid statfs, the path ends with a zero, and the call fills the struct.
    unsafe {
        let mut stat: libc::statfs = std::mem::zeroed();
        #[allow(clippy::unnecessary_cast)] // its type differs between C libraries
        (libc::statfs(path.as_ptr(), &mut stat) == 0).then_some(stat.f_type as i64)
    }
}

#[cfg(not(target_os = "linux"))]
fn file_system(dir: &Path) -> Option<i64> {
    let _ = dir.as_os_str().as_bytes();
    None
}

/// File systems that a journal should not be on, and why (magic numbers of statfs(2)).
fn unfit(magic: i64) -> Option<(&'static str, &'static str)> {
    const MEMORY: &str = "what is in it is lost when the host restarts, and counts as memory";
    const REMOTE: &str = "a file mapped from a network can stall or end the process";
    Some(match magic {
        0x0102_1994 => ("tmpfs", MEMORY),
        0x8584_58f6 => ("ramfs", MEMORY),
        0x794c_7630 => ("overlayfs", "a container's own layer is lost with the container"),
        0x6969 => ("NFS", REMOTE),
        0xff53_4d42 | 0xfe53_4d42 | 0x517b => ("SMB", REMOTE),
        0x00c3_6400 => ("Ceph", REMOTE),
        0x0102_1997 => ("9P", REMOTE),
        0x6573_5546 => ("FUSE", REMOTE),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_file_systems_that_forget_or_stall_are_unfit() {
        assert_eq!(unfit(0x0102_1994).map(|(kind, _)| kind), Some("tmpfs"));
        assert_eq!(unfit(0x6969).map(|(kind, _)| kind), Some("NFS"));
        for ext4_xfs_btrfs in [0xef53, 0x5846_5342, 0x9123_683e] {
            assert_eq!(unfit(ext4_xfs_btrfs), None);
        }
    }

    #[test]
    fn a_directory_that_is_not_there_yet_is_looked_for_above() {
        let dir = tempfile::tempdir().unwrap();
        let told = journal(&dir.path().join("a/b"));
        assert!(told.is_none_or(|p| p.severity == Severity::Warning));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is left behind");
        std::fs::write(dir.path().join("file"), "").unwrap();
        let told = journal(&dir.path().join("file/journal")).unwrap();
        assert_eq!(told.severity, Severity::Error, "{told}");
    }

    /// A ClickHouse that answers with what is scripted, one connection after the other.
    fn scripted(answers: &'static [&'static str]) -> (ClickHouse, std::thread::JoinHandle<Vec<String>>) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = std::thread::spawn(move || {
            let answer = |answer: &&str| {
                let (mut stream, _) = listener.accept().unwrap();
                let mut buffer = [0; 1024];
                let n = stream.read(&mut buffer).unwrap();
                stream.write_all(answer.as_bytes()).unwrap();
                String::from_utf8_lossy(&buffer[..n]).into_owned()
            };
            answers.iter().map(answer).collect()
        });
        let password = Some(crate::config::Secret("hunter2".into()));
        let time = std::time::Duration::from_secs(1);
        let readers = crate::config::ReadLimits { max_rows: 1, max_bytes: 1, max_time: time, max_memory: 1 };
        let (database, user) = ("audit".into(), "writer".into());
        let config = ClickHouse { url, database, user, password, cluster: None, readers };
        (config, asked)
    }

    #[test]
    fn clickhouse_is_asked_as_the_user_and_for_its_version() {
        let (config, asked) = scripted(&["HTTP/1.0 200 OK\r\n\r\n1\n", "HTTP/1.0 200 OK\r\n\r\n4\n"]);
        let told = clickhouse(&config).unwrap();
        assert_eq!(
            (told.severity, told.message.ends_with("are of version 4")),
            (Severity::Note, true),
            "{told}"
        );
        let asked = asked.join().unwrap();
        assert!(asked[0].contains("X-ClickHouse-User: writer\r\nX-ClickHouse-Key: hunter2\r\n"), "{asked:?}");

        let (config, _asked) =
            scripted(&["HTTP/1.0 200 OK\r\n\r\n1\n", "HTTP/1.0 404 Not Found\r\n\r\nno table"]);
        assert_eq!(clickhouse(&config).unwrap().severity, Severity::Warning);
        let (config, _asked) = scripted(&["HTTP/1.0 403 Forbidden\r\n\r\nhunter2 is wrong"]);
        let told = clickhouse(&config).unwrap();
        assert_eq!(told.severity, Severity::Error);
        assert!(!told.to_string().contains("hunter2"), "{told}");
    }
}
