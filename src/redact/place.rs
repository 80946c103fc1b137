//! Where in an operation's schemas a value stands: for `redact.unknown: mask`, which keeps only what
//! is declared.

use super::tally::Rule;
use crate::openapi::{Declared, ShapeId};
use std::sync::LazyLock;

/// Why an undeclared value is masked, as events show it.
pub(super) static UNDECLARED: LazyLock<Rule> = LazyLock::new(|| Rule::from("schema:undeclared"));

#[derive(Debug, Clone, Copy)]
pub(super) enum Place<'r> {
    /// Anything may stand here: the mode is off, or an operator keeps this name.
    Anywhere,
    At(&'r Declared, ShapeId),
    /// The document marks the message as a whole.
    Marked,
    /// Nothing is declared: no operation matches, or it says nothing of this message.
    Nowhere,
}

impl<'r> Place<'r> {
    pub fn is_anywhere(self) -> bool {
        matches!(self, Place::Anywhere)
    }

    /// The place under a name, where it is declared.
    pub fn field(self, name: &str) -> Option<Place<'r>> {
        match self {
            Place::Anywhere => Some(self),
            Place::At(declared, id) => declared.field(id, name).map(|id| Place::At(declared, id)),
            Place::Marked | Place::Nowhere => None,
        }
    }

    /// The place of a form field's value: `user[address][city]`, `ids[]`.
    pub fn form_field(self, name: &str) -> Option<Place<'r>> {
        self.field(name).or_else(|| {
            let (base, rest) = name.strip_suffix(']')?.split_once('[')?;
            rest.split("][").try_fold(self.field(base)?, |at, step| match step {
                "" => Some(at.items()),
                step if step.bytes().all(|b| b.is_ascii_digit()) => at.field(step).or(Some(at.items())),
                step => at.field(step),
            })
        })
    }

    /// The place of an array's items.
    pub fn items(self) -> Place<'r> {
        match self {
            Place::At(declared, id) => Place::At(declared, declared.items(id)),
            Place::Anywhere | Place::Marked | Place::Nowhere => self,
        }
    }

    /// Whether a string, number or boolean may stand here.
    pub fn scalar(self) -> bool {
        match self {
            Place::Anywhere => true,
            Place::At(declared, id) => declared.scalar(id),
            Place::Marked | Place::Nowhere => false,
        }
    }
}
