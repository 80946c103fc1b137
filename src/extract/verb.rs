//! Words of a path that name an action instead of a thing: `search`, `bulk-delete`, `findByStatus`.
//!
//! Only words that are hardly ever names of things are listed, and a plural with hyphens
//! (`change-requests`) is a thing whatever it begins with. What is not listed is a thing.

use sidelog_event::Op;

/// An action that a segment names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Verb {
    /// What it does; `other` where no word of ours fits.
    pub op: Op,
    /// Nothing follows the verb: `delete`, not `deleteItem`.
    pub bare: bool,
}

/// They mean the same wherever they lead a segment.
fn leading(word: &str) -> Option<Op> {
    Some(match word {
        "create" | "add" | "insert" | "register" => Op::Create,
        "update" | "edit" | "set" | "modify" | "change" | "replace" | "rename" | "upsert" => Op::Update,
        "delete" | "remove" | "destroy" | "purge" | "erase" => Op::Delete,
        "get" | "list" | "find" | "search" | "query" | "fetch" | "lookup" | "count" => Op::Read,
        _ => return None,
    })
}

/// Actions only when they are the whole segment.
const ALONE: [&str; 43] = [
    "activate",
    "approve",
    "archive",
    "batch",
    "bulk",
    "cancel",
    "check",
    "clone",
    "confirm",
    "copy",
    "deactivate",
    "disable",
    "download",
    "enable",
    "execute",
    "export",
    "import",
    "invoke",
    "login",
    "logout",
    "merge",
    "move",
    "pause",
    "ping",
    "preview",
    "refresh",
    "reject",
    "reset",
    "restart",
    "restore",
    "resume",
    "run",
    "send",
    "signin",
    "signout",
    "start",
    "stop",
    "sync",
    "upload",
    "validate",
    "verify",
    "lock",
    "unlock",
];

/// The action a segment of a template names; none for a thing.
pub(super) fn verb(segment: &str) -> Option<Verb> {
    let mut words = words(segment);
    let mut first = words.next()?.to_ascii_lowercase();
    let mut more = words.next();
    if matches!(&*first, "bulk" | "batch")
        && let Some(second) = more
    {
        first = second.to_ascii_lowercase();
        more = words.next();
    }
    let bare = more.is_none();
    let thing = segment.contains(['-', '_']) && segment.ends_with('s');
    if thing {
        return None;
    }
    if let Some(op) = leading(&first) {
        return Some(Verb { op, bare });
    }
    ALONE.contains(&&*segment.to_ascii_lowercase()).then_some(Verb { op: Op::Other, bare: true })
}

/// `bulk-delete`, `bulk_delete` and `bulkDelete` have two.
fn words(segment: &str) -> impl Iterator<Item = &str> {
    segment.split(['-', '_']).flat_map(|part| {
        let bytes = part.as_bytes();
        let mut starts: Vec<usize> = bytes
            .windows(2)
            .enumerate()
            .filter(|(_, pair)| pair[0].is_ascii_lowercase() && pair[1].is_ascii_uppercase())
            .map(|(at, _)| at + 1)
            .collect();
        starts.push(part.len());
        let mut from = 0;
        starts.into_iter().filter_map(move |to| {
            let word = part.get(from..to);
            from = to;
            word.filter(|w| !w.is_empty())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs() {
        for (segment, op, bare) in [
            ("search", Op::Read, true),
            ("findByStatus", Op::Read, false),
            ("getUsers", Op::Read, false),
            ("bulk-delete", Op::Delete, true),
            ("batchDelete", Op::Delete, true),
            ("bulk_create", Op::Create, true),
            ("addItem", Op::Create, false),
            ("Login", Op::Other, true),
            ("batch", Op::Other, true),
            ("rename-to", Op::Update, false),
        ] {
            assert_eq!(verb(segment), Some(Verb { op, bare }), "{segment}");
        }
        for thing in [
            "orders",
            "settings",
            "address",
            "listing",
            "change-requests",
            "search_logs",
            "uploadImage",
            "",
            "é-É",
        ] {
            assert_eq!(verb(thing), None, "{thing}");
        }
    }
}
