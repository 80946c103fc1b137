//! The engine's accounts: password files, the users file, and a probe that logs in.
//!
//! ClickHouse's embedded session logs in as `default` without a password from 127.0.0.1, so that
//! account must exist; but it must be of no use to anyone who reaches the HTTP port. Its profile
//! fixes `max_query_size` at one byte, which the child alone may raise (on its command line): over
//! HTTP every query of `default` is refused.

use super::{EngineError, create_private, file_error};
use sha2::{Digest, Sha256};
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

/// A user and its password.
#[derive(Clone, PartialEq, Eq)]
pub struct Account {
    pub user: String,
    pub password: String,
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Account").field("user", &self.user).finish_non_exhaustive()
    }
}

impl Account {
    /// Reads `DIR/USER.password`; makes it with a random password first if it is absent.
    pub(super) fn load_or_create(dir: &Path, user: &str) -> Result<Self, EngineError> {
        let path = dir.join(format!("{user}.password"));
        match fs::read_to_string(&path) {
            Ok(text) if text.trim().len() >= 16 => {
                // A copied directory may have lost the mode.
                fs::set_permissions(&path, fs::Permissions::from_mode(0o600))
                    .map_err(|e| file_error("cannot protect", &path, e))?;
                Ok(Self { user: user.into(), password: text.trim().into() })
            }
            Ok(_) => Self::create(&path, user),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Self::create(&path, user),
            Err(e) => Err(file_error("cannot read", &path, e)),
        }
    }

    fn create(path: &Path, user: &str) -> Result<Self, EngineError> {
        let mut random = [0u8; 24];
        let source = Path::new("/dev/urandom");
        fs::File::open(source)
            .and_then(|mut f| f.read_exact(&mut random))
            .map_err(|e| file_error("cannot read", source, e))?;
        let password = hex(&random);
        create_private(path)?
            .write_all(format!("{password}\n").as_bytes())
            .map_err(|e| file_error("cannot write", path, e))?;
        Ok(Self { user: user.into(), password })
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The users file. Passwords are stored as digests.
pub(super) fn render(writer: &Account, reader: &Account, database: &str) -> Result<String, EngineError> {
    if database.is_empty() || !database.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return Err(EngineError::Database(database.into()));
    }
    let digest = |account: &Account| hex(&Sha256::digest(account.password.as_bytes()));
    Ok(format!(
        r#"<clickhouse>
  <profiles>
    <default/>
    <reader><readonly>2</readonly></reader>
    <nobody>
      <max_query_size>1</max_query_size>
      <constraints><max_query_size><const/></max_query_size></constraints>
    </nobody>
  </profiles>
  <quotas><default/></quotas>
  <users>
    <default>
      <no_password/><networks><ip>127.0.0.1</ip></networks>
      <profile>nobody</profile><quota>default</quota>
    </default>
    <writer>
      <password_sha256_hex>{}</password_sha256_hex><networks><ip>127.0.0.1</ip></networks>
      <profile>default</profile><quota>default</quota>
    </writer>
    <reader>
      <password_sha256_hex>{}</password_sha256_hex><networks><ip>127.0.0.1</ip></networks>
      <profile>reader</profile><quota>default</quota>
      <grants><query>GRANT SELECT ON {database}.*</query></grants>
    </reader>
  </users>
</clickhouse>
"#,
        digest(writer),
        digest(reader),
    ))
}

/// Whether the engine at `address` answers a query of this account (so that it is ours, not some
/// other server that took the port).
pub(super) fn answers(address: SocketAddr, account: &Account) -> bool {
    let limit = Duration::from_secs(2);
    let Ok(mut stream) = TcpStream::connect_timeout(&address, limit) else { return false };
    let request = format!(
        "GET /?query=SELECT%201 HTTP/1.0\r\nX-ClickHouse-User: {}\r\nX-ClickHouse-Key: {}\r\n\r\n",
        account.user, account.password
    );
    let mut answer = [0u8; 12];
    stream.set_read_timeout(Some(limit)).is_ok()
        && stream.write_all(request.as_bytes()).is_ok()
        && stream.read_exact(&mut answer).is_ok()
        && answer.ends_with(b" 200")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_kept_private_and_stays_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let first = Account::load_or_create(dir.path(), "writer").unwrap();
        let path = dir.path().join("writer.password");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(Account::load_or_create(dir.path(), "writer").unwrap(), first);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_ne!(Account::load_or_create(dir.path(), "reader").unwrap().password, first.password);
        assert!(!format!("{first:?}").contains(&first.password));
    }

    #[test]
    fn an_emptied_password_file_is_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("writer.password"), "\n").unwrap();
        assert!(Account::load_or_create(dir.path(), "writer").unwrap().password.len() >= 32);
    }

    #[test]
    fn the_users_file_holds_digests_and_no_passwords() {
        let account = |user: &str| Account { user: user.into(), password: format!("secret-{user}") };
        let text = render(&account("writer"), &account("reader"), "audit").unwrap();
        assert!(!text.contains("secret-"));
        assert!(render(&account("writer"), &account("reader"), "a</query>").is_err());
    }
}
