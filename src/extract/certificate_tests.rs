//! Certificates made once, with keys that were thrown away.

use super::*;
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};

/// `O=Acme, Inc., CN=orders`; DNS orders.prod, two URIs, the second a SPIFFE one, and an e-mail.
pub const WORKLOAD: &str = "MIICDzCCAbWgAwIBAgIUDxTJPK0kiptHZhCegtoYkW4yHpowCgYIKoZIzj0EAwIwJjETMBEGA1UECgwKQWNtZSwgSW5jLjEP\
    MA0GA1UEAwwGb3JkZXJzMCAXDTI2MTEyMjIzMTkxNloYDzIxMjYxMDI5MjMxOTE2WjAmMRMwEQYDVQQKDApBY21lLCBJbmMu\
    MQ8wDQYDVQQDDAZvcmRlcnMwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAASWtgWHZunpYGZfPfHEKe4fVn4Z05QYRqz1DA9O\
    VlCKO/2m/dJaQO65+mlR3WVVksSeyg9TGoK5S/O39+Mzv5BPo4G+MIG7MB0GA1UdDgQWBBQs3EcRFJmpFx8Y+krJf76cYTeS\
    JjAfBgNVHSMEGDAWgBQs3EcRFJmpFx8Y+krJf76cYTeSJjAPBgNVHRMBAf8EBTADAQH/MGgGA1UdEQRhMF+CC29yZGVycy5w\
    cm9khhdodHRwczovL29yZGVycy5leGFtcGxlL4Ync3BpZmZlOi8vcHJvZC5leGFtcGxlL25zL3Nob3Avc2Evb3JkZXJzgQ5v\
    QGFjbWUuZXhhbXBsZTAKBggqhkjOPQQDAgNIADBFAiEA0HfFSDyyQBENdGYnm88sknikwV64NQmAuZN3RkECUlUCIE/00WV/\
    yVcTMg6VfWslamkNblOrmm5sGIZDcLGokCmd";
const WORKLOAD_SHA256: &str = "0473baca9197d42a444e8012babf2e053a10e6334159b03f2119e41592a748de";
/// `C=DE, O=Acme, CN=Zoë`; no other names.
pub const PERSON: &str = "MIIBrDCCAVOgAwIBAgIUPc6xsL8a+8KBnPhuoEv7t0LlOFwwCgYIKoZIzj0EAwIwKzELMAkGA1UEBhMCREUxDTALBgNVBAoM\
    BEFjbWUxDTALBgNVBAMMBFpvw6swIBcNMjYxMTIyMjMxOTE2WhgPMjEyNjEwMjkyMzE5MTZaMCsxCzAJBgNVBAYTAkRFMQ0w\
    CwYDVQQKDARBY21lMQ0wCwYDVQQDDARab8OrMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAElrYFh2bp6WBmXz3xxCnuH1Z+\
    GdOUGEas9QwPTlZQijv9pv3SWkDuufppUd1lVZLEnsoPUxqCuUvzt/fjM7+QT6NTMFEwHQYDVR0OBBYEFCzcRxEUmakXHxj6\
    Ssl/vpxhN5ImMB8GA1UdIwQYMBaAFCzcRxEUmakXHxj6Ssl/vpxhN5ImMA8GA1UdEwEB/wQFMAMBAf8wCgYIKoZIzj0EAwID\
    RwAwRAIgetEMtJCbFfaaN6rUBDekkOziri1URdZaa0U22nMih8YCIFXuOASRHdCedvQUtLMFvvD3GNRLZQENOXbtCvpogY3S";

fn pem(base64: &str) -> String {
    let lines: Vec<_> = base64.as_bytes().chunks(64).map(|l| std::str::from_utf8(l).unwrap()).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

fn escaped(text: &str) -> String {
    percent_encode(text.as_bytes(), NON_ALPHANUMERIC).to_string()
}

/// Id, name and whether it is a service.
fn who(value: &str) -> Option<(String, String, bool)> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let names = read(value.as_bytes())?;
    Some((text(names.id().unwrap_or(b"nobody")), text(names.name()), names.is_service()))
}

fn told(id: &str, name: &str, service: bool) -> Option<(String, String, bool)> {
    Some((id.to_owned(), name.to_owned(), service))
}

#[test]
fn a_certificate_in_every_form() {
    let aws = escaped(&pem(WORKLOAD)).replace("%2B", "+").replace("%2F", "/").replace("%3D", "=");
    for form in [
        pem(WORKLOAD),
        escaped(&pem(WORKLOAD)),
        escaped(&(pem(WORKLOAD) + &pem(PERSON))),
        aws,
        WORKLOAD.to_owned(),
        escaped(WORKLOAD),
        format!("{WORKLOAD},{PERSON}"),
        format!(":{WORKLOAD}:"),
        format!("Hash=ab;Cert=\"{}\"", escaped(&pem(WORKLOAD))),
    ] {
        assert_eq!(who(&form), told("spiffe://prod.example/ns/shop/sa/orders", "orders", true), "{form}");
        assert_eq!(read(form.as_bytes()).unwrap().hash.as_deref(), Some(WORKLOAD_SHA256), "{form}");
    }
    assert_eq!(who(&pem(PERSON)), told("Zoë", "", false));
}

#[test]
fn what_is_no_certificate() {
    let cut = escaped(&pem(WORKLOAD)).get(..400).unwrap().to_owned();
    for bad in [
        "alice",
        "=",
        "=x",
        "MII",
        "MIIDIDANOTBASE64",
        "::",
        ":MII:",
        "-----BEGIN CERTIFICATE-----",
        "-----BEGIN PRIVATE KEY-----\nMII\n-----END PRIVATE KEY-----",
        "%2D%2D",
        &cut,
    ] {
        assert_eq!(who(bad), None, "{bad}");
    }
}

/// Found by fuzzing: an actor without a name.
#[test]
fn a_common_name_that_is_empty_when_read_names_nobody() {
    for subject in ["CN=\\", "O=a,CN=\"\"", "/O=a/CN="] {
        assert_eq!(who(subject), told(subject, "", false));
    }
}

#[test]
fn elements_of_envoy() {
    let hash = "468ed33be74eee6556d90c0149c1309e9ba61d6425303443c0748a02dd8de688";
    let subject = r#"Subject="/C=US/ST=CA/L=San Francisco/OU=Lyft/CN=Test Client""#;
    for (value, expected) in [
        (
            format!("By=http://a;Hash={hash};URI=http://testclient.lyft.com"),
            told("http://testclient.lyft.com", "", false),
        ),
        (format!("By=http://a;Hash={hash};{subject};URI=http://t"), told("http://t", "Test Client", false)),
        (format!("By=http://a;Hash={hash};{subject};URI=;DNS=b.c;DNS=d.e"), told("Test Client", "", false)),
        (format!("hash={hash};dns=b.c;dns=d.e"), told("b.c", "", false)),
        (format!("Hash={hash};Subject=\"O=Acme,OU=x\""), told("O=Acme,OU=x", "", false)),
        (format!("By=spiffe://x;Hash={hash}"), told("nobody", "", false)),
        ("URI=https://a;URI=spiffe://b".into(), told("spiffe://b", "", true)),
        (" By = http://a ; URI = http://b ; ".into(), told("http://b", "", false)),
        (r#"Subject="O=\"Acme; Inc\",CN=a""#.into(), told("a", "", false)),
        (r#"By=x;Subject="CN=a,O=b;c";DNS=d"#.into(), told("a", "", false)),
    ] {
        assert_eq!(who(&value), expected, "{value}");
        // Of several, the last is the nearest proxy's.
        assert_eq!(who(&format!("URI=spiffe://forged;By=x,{value}")), expected, "{value}");
    }
    let upper = read(format!("Hash={}", hash.to_uppercase()).as_bytes()).unwrap();
    assert_eq!(upper.hash.as_deref(), Some(hash));
}

#[test]
fn elements_that_do_not_read() {
    for bad in [
        "URI=a,",
        "URI=a,,URI=b",
        "URI=a;;b",
        "URI=spiffe://x;Subject=\"CN=a",
        "Subject=\"CN=a\\\";URI=x",
        "By=a;Cert=\"no\"",
        "URI=a,b",
    ] {
        assert_eq!(who(bad), None, "{bad}");
    }
    assert_eq!(who("URI=a;;URI=b"), told("a", "", false), "an empty pair is none");
}

#[test]
fn subjects_alone() {
    for (subject, id) in [
        ("CN=alice,O=Acme", "alice"),
        ("emailAddress=a@b.c,CN=Alice A.,O=Acme", "Alice A."),
        ("C=DE, O=Acme, CN=alice", "alice"),
        (r"CN=Doe\, Jane,O=Acme", "Doe, Jane"),
        (r#"CN="Doe, Jane",O=Acme"#, "Doe, Jane"),
        (r"O=x\,CN=evil,CN=alice", "alice"),
        (r"CN=Zo\C3\AB,O=Acme", "Zoë"),
        ("OU=x+CN=alice,O=Acme", "alice"),
        ("2.5.4.3=alice", "alice"),
        ("/C=US/O=Acme/CN=root/CN=alice", "alice"),
        ("O=Acme,OU=x", "O=Acme,OU=x"),
        ("CN=,O=Acme", "CN=,O=Acme"),
    ] {
        assert_eq!(who(subject), told(id, "", false), "{subject}");
    }
}

proptest::proptest! {
    /// Whatever the bytes: no panic.
    #[test]
    fn any_bytes(value in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300), start in 0usize..6) {
        let start = ["", "By=", "URI=a,", "CN=", ":MII", "-----BEGIN CERTIFICATE-----"][start];
        let _ = read(&[start.as_bytes(), &value].concat());
    }

    /// Flipped bytes of a real certificate: no panic.
    #[test]
    fn damaged_certificates(at in 0usize..500, byte in proptest::prelude::any::<u8>()) {
        let mut der = BASE64.decode(WORKLOAD).unwrap();
        let at = at % der.len();
        der[at] = byte;
        let _ = from_der(&der);
    }
}
