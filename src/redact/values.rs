//! Secrets known by their look, whatever they are called: tokens with a vendor's prefix, JWTs,
//! private keys, passwords in URLs. (Card numbers: cards.rs; `name=value` in text: assign.rs.)
//!
//! One pass looks for the beginnings all these have; only where one occurs is the detector's
//! regular expression run. Both are linear in the text. Lengths asked for are a little below the
//! vendors' own, so that a shortened token is masked too.

use super::beginnings::Beginnings;
use super::tally::{Edits, Rule, Tally};
use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use regex::Regex;
use std::sync::LazyLock;

/// What must follow a beginning before the regular expression is worth running.
#[derive(Clone, Copy)]
enum Then {
    Anything,
    /// So many characters of a token.
    Token(usize),
    /// White space, then something.
    Blank,
    /// An `@` before the authority ends.
    Userinfo,
}

struct Kind {
    name: &'static str,
    begins: &'static [&'static str],
    then: Then,
    /// Group 1, where there is one, is the part to mask.
    pattern: &'static str,
    /// Has the last word on a match.
    confirm: Option<fn(&str) -> bool>,
}

const fn kind(
    name: &'static str,
    begins: &'static [&'static str],
    then: Then,
    pattern: &'static str,
) -> Kind {
    Kind { name, begins, then, pattern, confirm: None }
}

use Then::{Anything, Blank, Token, Userinfo};

/// At most 64: one bit each.
static KINDS: &[Kind] = &[
    kind(
        "jwt",
        &["eyJ", "eyA", "ewo", "ew0", "ewk"],
        Token(10),
        r"eyJ[A-Za-z0-9_-]{6,}\.[A-Za-z0-9_.-]*|e(?:yA|wo|w0|wk)[A-Za-z0-9_-]{6,}\.e[yw][A-Za-z0-9_.-]*",
    ),
    kind(
        "private_key",
        &["-----BEGIN ", "PuTTY-User-Key-File-", "AGE-SECRET-KEY-1"],
        Anything,
        r"(?s)-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----.*?(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----|\z)|PuTTY-User-Key-File-.*|AGE-SECRET-KEY-1[0-9A-Za-z]{10,}",
    ),
    kind(
        // The base64 of a PEM private key, as Kubernetes secrets hold it.
        "private_key_base64",
        &["LS0tLS1CRUdJTi"],
        Token(16),
        r"LS0tLS1CRUdJTi[A-Za-z0-9+/_-]{0,40}?(?:UFJJVkFURSBLRV|BSSVZBVEUgS0VZ|QUklWQVRFIEtFW)[A-Za-z0-9+/_=\r\n-]*",
    ),
    kind(
        "aws_access_key",
        &["AKIA", "ASIA", "ABIA", "ACCA"],
        Token(16),
        r"(?-u:\b)A(?:KI|SI|BI|CC)A[A-Z0-9]{16}(?-u:\b)",
    ),
    kind(
        "github_token",
        &["ghp_", "gho_", "ghs_", "ghu_", "ghr_", "github_pat_"],
        Token(16),
        r"gh[posur]_[A-Za-z0-9_]{16,}|github_pat_[A-Za-z0-9_]{16,}",
    ),
    kind(
        "gitlab_token",
        &["glpat-", "gldt-", "glrt-", "glptt-", "glft-", "glimt-", "glagent-", "glsoat-", "glcbt-"],
        Token(16),
        r"gl(?:pat|dt|rt|ptt|ft|imt|agent|soat|cbt)-[A-Za-z0-9_.=-]{16,}",
    ),
    kind(
        "slack_token",
        &["xoxa-", "xoxb-", "xoxe-", "xoxe.", "xoxo-", "xoxp-", "xoxr-", "xoxs-", "xoxc-", "xoxd-", "xapp-"],
        Token(8),
        r"(?:xox[abceoprsd][-.]|xapp-)[A-Za-z0-9%_.-]{8,}",
    ),
    kind(
        "webhook_url",
        &[
            "hooks.slack.com/",
            "discord.com/api/webhooks/",
            "discordapp.com/api/webhooks/",
            ".webhook.office.com/",
        ],
        Token(16),
        r"(?:hooks\.slack\.com|discord(?:app)?\.com/api/webhooks|\.webhook\.office\.com)/([A-Za-z0-9@+/_.-]{16,})",
    ),
    kind(
        "stripe_key",
        &["sk_live_", "sk_test_", "rk_live_", "rk_test_", "whsec_"],
        Token(10),
        r"[sr]k_(?:live|test)_[A-Za-z0-9]{10,}|whsec_[A-Za-z0-9+/=]{10,}",
    ),
    kind(
        "google_key",
        &["AIza", "GOCSPX-", "ya29.", "1//0"],
        Token(16),
        r"AIza[A-Za-z0-9_-]{30,}|GOCSPX-[A-Za-z0-9_-]{16,}|ya29\.[A-Za-z0-9_.-]{16,}|1//0[A-Za-z0-9_-]{20,}",
    ),
    kind("npm_token", &["npm_"], Token(20), r"npm_[A-Za-z0-9]{20,}"),
    kind("pypi_token", &["pypi-A"], Token(16), r"pypi-[A-Za-z0-9_-]{16,}"),
    kind(
        // OpenBao and Vault: service, batch and recovery tokens, the short ones of old too.
        "vault_token",
        &["hvs.", "hvb.", "hvr.", "s.", "b.", "r."],
        Token(20),
        r"hv[sbr]\.[A-Za-z0-9_-]{20,}|(?-u:\b)[sbr]\.[A-Za-z0-9]{24,}(?:\.[A-Za-z0-9]{1,10})?(?-u:\b)",
    ),
    kind("sk_key", &["sk-"], Token(20), r"(?-u:\b)sk-[A-Za-z0-9_-]{20,}"),
    kind("huggingface_token", &["hf_"], Token(24), r"(?-u:\b)hf_[A-Za-z0-9]{24,}"),
    kind("sendgrid_key", &["SG."], Token(30), r"(?-u:\b)SG\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{16,}"),
    kind("mailgun_key", &["key-"], Token(32), r"(?-u:\b)key-[0-9a-f]{32}(?-u:\b)"),
    kind("digitalocean_token", &["dop_v1_", "doo_v1_", "dor_v1_"], Token(32), r"do[opr]_v1_[a-f0-9]{32,}"),
    kind(
        "shopify_token",
        &["shpat_", "shpca_", "shppa_", "shpss_"],
        Token(16),
        r"shp(?:at|ca|pa|ss)_[a-fA-F0-9]{16,}",
    ),
    kind(
        "square_token",
        &["sq0atp-", "sq0csp-", "sq0idp-"],
        Token(16),
        r"sq0(?:atp|csp|idp)-[A-Za-z0-9_-]{16,}",
    ),
    kind("atlassian_token", &["ATATT3"], Token(20), r"ATATT3[A-Za-z0-9_=-]{20,}"),
    kind("databricks_token", &["dapi"], Token(32), r"(?-u:\b)dapi[a-h0-9]{32}"),
    kind(
        "doppler_token",
        &["dp.pt.", "dp.st.", "dp.ct.", "dp.sa.", "dp.scim.", "dp.audit."],
        Token(20),
        r"dp\.(?:pt|st|ct|sa|scim|audit)\.[A-Za-z0-9_.-]{20,}",
    ),
    kind("linear_key", &["lin_api_"], Token(16), r"lin_api_[A-Za-z0-9]{16,}"),
    kind("postman_key", &["PMAK-"], Token(20), r"PMAK-[a-fA-F0-9-]{20,}"),
    kind("newrelic_key", &["NRAK-"], Token(16), r"NRAK-[A-Z0-9]{16,}"),
    kind("pulumi_token", &["pul-"], Token(32), r"(?-u:\b)pul-[a-f0-9]{32,}"),
    kind("planetscale_token", &["pscale_"], Token(16), r"pscale_(?:tkn|pw|oauth)_[A-Za-z0-9_.=-]{16,}"),
    kind("supabase_key", &["sbp_", "sb_secret_"], Token(16), r"(?:sbp|sb_secret)_[A-Za-z0-9_]{16,}"),
    kind("docker_token", &["dckr_pat_", "dckr_oat_"], Token(16), r"dckr_[po]at_[A-Za-z0-9_-]{16,}"),
    kind("telegram_token", &[":AA"], Token(30), r"(?-u:\b)[0-9]{8,10}:AA[A-Za-z0-9_-]{30,}"),
    kind("azure_sas", &["&sig=", "?sig="], Anything, r"[?&]sig=([^&\s]{10,})"),
    kind(
        "url_password",
        &["://"],
        Userinfo,
        r#"[A-Za-z][A-Za-z0-9+.-]*://[^\s/?\#@:"'<>]*:([^\s/?\#"'<>]+)@"#,
    ),
    Kind {
        name: "bearer",
        begins: &["bearer"],
        then: Blank,
        pattern: r"(?i)(?-u:\b)bearer\s+([A-Za-z0-9._~+/=:-]{4,})",
        confirm: Some(no_plain_word),
    },
    Kind {
        name: "basic",
        begins: &["basic"],
        then: Blank,
        pattern: r"(?i)(?-u:\b)basic\s+([A-Za-z0-9+/=_-]{4,})",
        confirm: Some(user_and_password),
    },
];

/// Words that follow "bearer" in messages about authentication.
fn no_plain_word(text: &str) -> bool {
    const WORDS: &[&str] = &[
        "token",
        "tokens",
        "auth",
        "authentication",
        "authorization",
        "scheme",
        "credentials",
        "format",
        "from",
        "with",
        "must",
        "header",
        "type",
        "error",
    ];
    !WORDS.contains(&text.trim_end_matches(['.', ':', '=']).to_ascii_lowercase().as_str())
        && !text.starts_with("realm=")
}

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&base64::alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&base64::alphabet::URL_SAFE, LENIENT);

/// Base64 of either alphabet, padded or not.
pub(super) fn base64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).or_else(|_| URL_SAFE.decode(text)).ok()
}

/// RFC 7617: the base64 of `user:password`. "Basic authentication" is not.
fn user_and_password(text: &str) -> bool {
    base64(text).is_some_and(|decoded| decoded.contains(&b':'))
}

struct Compiled {
    rule: Rule,
    mask: String,
    regex: Regex,
    kind: &'static Kind,
}

pub(super) struct Values {
    begins: Beginnings,
    compiled: Vec<Compiled>,
}

/// The detectors depend on nothing, so a process compiles them once.
#[expect(clippy::expect_used, reason = "constants; a test compiles them")]
pub(super) static VALUES: LazyLock<Values> = LazyLock::new(|| {
    let begins = KINDS.iter().enumerate().flat_map(|(owner, k)| k.begins.iter().map(move |b| (*b, owner)));
    let compiled = KINDS.iter().map(|kind| Compiled {
        rule: Rule::from(format!("value:{}", kind.name)),
        mask: format!("[redacted:{}]", kind.name),
        regex: Regex::new(kind.pattern).expect("constant pattern"),
        kind,
    });
    Values { begins: Beginnings::new(begins), compiled: compiled.collect() }
});

impl Values {
    /// Whether any detector may strike in these bytes: false is certain, as long as nothing in them
    /// is encoded.
    pub fn possible(&self, bytes: &[u8]) -> bool {
        self.begun(bytes) != 0
    }

    /// One bit per detector whose beginning occurs.
    fn begun(&self, bytes: &[u8]) -> u64 {
        let mut bits = 0;
        self.begins.each(bytes, |owner, end| {
            let bit = 1u64 << owner;
            let rest = bytes.get(end..).unwrap_or_default();
            if bits & bit == 0 && KINDS.get(owner).is_some_and(|k| k.then.holds(rest)) {
                bits |= bit;
            }
        });
        bits
    }

    /// Names the spans to mask.
    pub fn find(&self, text: &str, edits: &mut Edits) {
        let mut bits = self.begun(text.as_bytes());
        while bits != 0 {
            let Some(found) = self.compiled.get(bits.trailing_zeros() as usize) else { return };
            bits &= bits - 1;
            for captures in found.regex.captures_iter(text) {
                let Some(part) = captures.get(1).or_else(|| captures.get(0)) else { continue };
                if found.kind.confirm.is_none_or(|confirm| confirm(part.as_str())) {
                    edits.replace(part.range(), found.mask.clone(), Tally::one(&found.rule));
                }
            }
        }
    }
}

impl Then {
    fn holds(self, rest: &[u8]) -> bool {
        match self {
            Anything => true,
            Blank => rest.first().is_some_and(u8::is_ascii_whitespace),
            Token(n) => rest.get(..n).is_some_and(|run| {
                run.iter().all(|b| {
                    b.is_ascii_alphanumeric()
                        || matches!(b, b'_' | b'-' | b'.' | b'/' | b'+' | b'=' | b'@' | b'%')
                })
            }),
            Userinfo => {
                let ends = |b: &u8| {
                    matches!(
                        b,
                        b' ' | b'\t' | b'\r' | b'\n' | b'/' | b'?' | b'#' | b'"' | b'\'' | b'<' | b'>'
                    )
                };
                rest.iter().take_while(|b| !ends(b)).any(|b| *b == b'@')
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bit_each() {
        assert!(KINDS.len() <= 64);
        assert_eq!(VALUES.compiled.len(), KINDS.len());
        assert!(KINDS.iter().flat_map(|k| k.begins).all(|b| b.len() >= 2));
    }

    fn masked(text: &str) -> String {
        let mut edits = Edits::default();
        VALUES.find(text, &mut edits);
        edits.apply(text).map_or_else(|| text.to_owned(), |(text, _)| text)
    }

    #[test]
    fn user_info_of_urls_loses_its_password_only() {
        assert_eq!(
            masked("see postgres://bob:p@ss!w@db/x?y=1 ok"),
            "see postgres://bob:[redacted:url_password]@db/x?y=1 ok"
        );
        assert_eq!(masked("redis://:hunter2@cache"), "redis://:[redacted:url_password]@cache");
        for kept in ["http://host:8080/a@b", "http://bob@host/", "a://b c:d@e"] {
            assert_eq!(masked(kept), kept);
        }
    }

    #[test]
    fn talk_about_schemes_stays() {
        for kept in [
            "Bearer token missing",
            "Basic authentication",
            "basic understanding",
            "Bearer realm=\"x\"",
            "standard bearer of it",
            "the forbearer wxyz",
        ] {
            assert_eq!(masked(kept), kept);
        }
        assert_eq!(masked("Authorization: bearer CANARY"), "Authorization: bearer [redacted:bearer]");
        assert_eq!(masked("Basic dTpDQU5BUlk="), "Basic [redacted:basic]");
    }
}
