//! What a strict reader says. Only an opinion: it rejects every fourth real document, none of which
//! is unusable here.

use super::{Warning, tree};
use std::path::Path;

/// The complaint of `openapiv3` about a 3.0 document; none for other versions (it knows only 3.0),
/// for documents it accepts, and for files that cannot be read at all.
pub fn strict_opinion(path: &Path) -> Option<Warning> {
    let bytes = std::fs::read(path).ok()?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut warning = tree::with_stack(|| opinion(tree::decode(&bytes).ok()?)).ok()??;
    warning.file = name.into_owned();
    Some(warning)
}

fn opinion(text: &str) -> Option<Warning> {
    let (root, not_json) = tree::parse_lenient(text, tree::Detail::Operations).ok()?;
    let version = root.get("openapi")?.scalar()?;
    if !(version == "3" || version.starts_with("3.0")) {
        return None;
    }
    let (complaint, line, column) = if text.trim_start().starts_with('{') && not_json.is_none() {
        let error = serde_json::from_str::<openapiv3::OpenAPI>(text).err()?;
        (error.to_string(), error.line() as u64, error.column() as u64)
    } else {
        let read = serde_saphyr::from_str_with_options::<openapiv3::OpenAPI>(text, tree::yaml_options());
        let error = read.err()?;
        let (line, column) = error.location().map_or((0, 0), |l| (l.line(), l.column()));
        (error.without_snippet().to_string(), line, column)
    };
    let complaint = tree::without_position(&complaint);
    let mut warning =
        Warning::of_file("", format!("a strict reader of OpenAPI 3.0 refuses this: {complaint}"))
            .mend("Sidelog reads it all the same; generators and validators may not");
    if line > 0 {
        (warning.line, warning.column) = (u32::try_from(line).ok(), u32::try_from(column).ok());
    }
    Some(warning)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speaks_of_3_0_only() {
        let good = r#"{"openapi":"3.0.3","info":{"title":"t","version":"1"},"paths":{}}"#;
        assert!(opinion(good).is_none());
        let bad = opinion(&good.replace(r#""version":"1""#, r#""version":1"#)).unwrap();
        assert_eq!(bad.line, Some(1));
        assert!(!bad.text.contains(" at line "), "{}", bad.text);
        assert!(opinion(&good.replace("3.0.3", "3.1.0").replace("paths", "pahts")).is_none());
        assert!(opinion("openapi: 3.0.0\ninfo: {title: t, version: '1'}\n").is_some());
    }
}
