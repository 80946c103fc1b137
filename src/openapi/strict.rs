//! What a strict reader says. Only an opinion: it rejects every fourth real document, none of which
//! is unusable here.

use super::tree;

/// The complaint of `openapiv3` about a 3.0 document; none for other versions (it knows only 3.0)
/// and for documents it accepts.
pub fn strict_opinion(text: &str) -> Option<String> {
    tree::with_stack(|| opinion(text)).ok()?
}

fn opinion(text: &str) -> Option<String> {
    let version = tree::parse(text).ok()?.get("openapi")?.scalar()?.to_owned();
    if !(version == "3" || version.starts_with("3.0")) {
        return None;
    }
    let complaint = if text.trim_start().starts_with('{') {
        serde_json::from_str::<openapiv3::OpenAPI>(text).err()?.to_string()
    } else {
        let read = serde_saphyr::from_str_with_options::<openapiv3::OpenAPI>(text, tree::yaml_options());
        read.err()?.without_snippet().to_string()
    };
    let line = complaint.lines().next().unwrap_or_default();
    Some(format!("a strict OpenAPI 3.0 reader would reject this document: {line}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speaks_of_3_0_only() {
        let good = r#"{"openapi":"3.0.3","info":{"title":"t","version":"1"},"paths":{}}"#;
        assert_eq!(strict_opinion(good), None);
        assert!(strict_opinion(&good.replace(r#""version":"1""#, r#""version":1"#)).is_some());
        assert_eq!(strict_opinion(&good.replace("3.0.3", "3.1.0").replace("paths", "pahts")), None);
        assert!(strict_opinion("openapi: 3.0.0\ninfo: {title: t, version: '1'}\n").is_some());
    }
}
