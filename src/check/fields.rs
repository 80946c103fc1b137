//! What the documents say of data and of credentials: fields that nothing masks although they look
//! personal, those that are masked and why, and operations that ask for no credentials.

use super::rules::named;
use super::{count, warning};
use crate::config::{Config, Place, Problem, Severity};
use crate::extract;
use crate::openapi::{self, Scan, Warning};
use crate::redact::SchemaMarks;
use crate::rules::{Rules, from_warning};
use std::collections::BTreeSet;
use std::path::Path;

/// Names told of one document.
const MAX_TOLD: usize = 20;

/// Names of data about people that the list of secrets does not know, as words. Left out is what every
/// document has (names, mail addresses, telephone numbers).
const PERSONAL: &[&str] = &[
    "iban",
    "bic",
    "dob",
    "ssn",
    "pin",
    "otp",
    "cvv",
    "tin",
    "nin",
    "pan",
    "date of birth",
    "birth date",
    "birthdate",
    "birthday",
    "place of birth",
    "tax id",
    "tax number",
    "tax identifier",
    "vat id",
    "national id",
    "national insurance",
    "identity number",
    "id number",
    "id card",
    "passport",
    "passport number",
    "driver license",
    "drivers license",
    "driving licence",
    "license number",
    "licence number",
    "account number",
    "bank account",
    "routing number",
    "sort code",
    "insurance number",
    "health insurance",
    "medical record",
    "diagnosis",
    "biometric",
    "ethnicity",
    "religion",
    "sexual orientation",
    "political opinion",
    "trade union",
    "salary",
];

/// Everything of this module, document by document.
pub(super) fn problems(config: &Config, rules: &Rules) -> Vec<Problem> {
    let marks: BTreeSet<&str> = rules.specs.operations().iter().flat_map(|o| o.marks.names()).collect();
    let marks = SchemaMarks::new(marks);
    let mut found = Vec::new();
    for (document, files) in rules.document_files() {
        let mut masked = BTreeSet::new();
        for file in files.paths() {
            let Some(scan) = openapi::scan(file) else { continue };
            if file == document {
                found.extend(open_operations(rules, document, &scan));
            }
            found.extend(bare_fields(config, rules, file, &scan, &marks));
            masked.extend(scan.names.keys().filter_map(|name| {
                let rule = rules.redactor.rule_of(name, &marks)?;
                Some(format!("{name} ({rule})"))
            }));
        }
        found.extend(told(document, &masked));
    }
    found
}

/// Fields that look personal and that nothing masks.
fn bare_fields(
    config: &Config,
    rules: &Rules,
    file: &Path,
    scan: &Scan,
    marks: &SchemaMarks,
) -> Vec<Problem> {
    let kept = |name: &str| config.redact.keep.iter().any(|keep| words(keep) == words(name));
    let bare = scan.names.iter().filter(|(name, _)| {
        is_personal(name) && !kept(name) && rules.redactor.rule_of(name, marks).is_none()
    });
    let name_of_file = file.file_name().unwrap_or_default().to_string_lossy();
    let mut warnings: Vec<Warning> = bare
        .map(|(name, pointer)| {
            let text = format!("`{name}` looks personal, and nothing masks it");
            let help = format!(
                "add `{name}` to `redact.keys`, mark it with `x-sensitive: true`, or add it to `redact.keep`"
            );
            Warning::of_node(&name_of_file, pointer, text).mend(help)
        })
        .collect();
    openapi::locate(file, &mut warnings);
    let named = |w| Warning { pointer: String::new(), ..w };
    let mut problems: Vec<Problem> = warnings.into_iter().map(|w| from_warning(file, named(w))).collect();
    problems.sort_by_key(|p| p.place.as_ref().map(|at| (at.line, at.column)));
    problems
}

/// Which fields are masked by which rule: nothing is wrong with them.
fn told(document: &Path, masked: &BTreeSet<String>) -> Option<Problem> {
    let mut list: Vec<&str> = masked.iter().take(MAX_TOLD).map(String::as_str).collect();
    let more = masked.len().saturating_sub(MAX_TOLD);
    let more = format!("and {more} more");
    if masked.len() > MAX_TOLD {
        list.push(&more);
    }
    let place = Place { file: document.display().to_string(), line: 1, column: 1 };
    let message = format!("{} masked by name: {}", count(masked.len(), "field"), list.join(", "));
    let help = "what should not be goes to `redact.keep`".to_owned();
    (!masked.is_empty()).then(|| Problem { severity: Severity::Note, ..warning(place, message, help) })
}

/// Mutating operations without credentials, in a document that asks for them elsewhere.
fn open_operations(rules: &Rules, document: &Path, scan: &Scan) -> Option<Problem> {
    if !scan.security.values().any(|asks| *asks) {
        return None;
    }
    let everywhere = scan.security.get("").copied().unwrap_or(false);
    let name = document.display().to_string();
    let own = rules.specs.operations().iter().filter(|o| rules.specs.document_of(o) == Some(&name));
    let open: Vec<_> = own
        .filter(|o| !extract::is_safe(&o.method))
        .filter(|o| !scan.security.get(&o.pointer()).copied().unwrap_or(everywhere))
        .collect();
    let first = open.first()?;
    let file = document.file_name().unwrap_or_default().to_string_lossy();
    let text = format!(
        "{} without `security`, though others have it: {}",
        count(open.len(), "mutating operation"),
        named(&open)
    );
    let help = "calls to them may have no actor; give them `security` if they need credentials";
    let mut warnings = vec![Warning::of_node(&file, &first.pointer(), text).mend(help)];
    openapi::locate(document, &mut warnings);
    let warning = warnings.pop()?;
    Some(from_warning(document, Warning { pointer: String::new(), ..warning }))
}

/// Whether one of [`PERSONAL`] is in a name, word for word.
fn is_personal(name: &str) -> bool {
    let name = words(name);
    PERSONAL.iter().any(|listed| {
        let listed: Vec<String> = listed.split(' ').map(str::to_owned).collect();
        name.windows(listed.len()).any(|part| part == listed)
    })
}

/// The words of a name, in lower case: `dateOfBirth`, `DATE_OF_BIRTH`, `date-of-birth`.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut before = ' ';
    for c in name.chars() {
        let new = !c.is_alphanumeric() || (c.is_uppercase() && before.is_lowercase());
        if new && words.last().is_some_and(|w| !w.is_empty()) {
            words.push(String::new());
        }
        if let (true, Some(last)) = (c.is_alphanumeric(), words.last_mut()) {
            last.extend(c.to_lowercase());
        }
        before = c;
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_word_for_word() {
        for name in ["iban", "customerIban", "IBAN", "date_of_birth", "dateOfBirth", "birthDate", "tax-id"] {
            assert!(is_personal(name), "{name}");
        }
        for name in ["urban", "libanon", "update", "taxi_id", "birth", "account", "expand"] {
            assert!(!is_personal(name), "{name}");
        }
    }
}
