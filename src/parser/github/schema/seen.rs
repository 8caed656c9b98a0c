//! Which keys of a mapping came already. They do not tell upper from lower case.

use std::collections::HashSet;

use smol_str::{SmolStr, StrExt as _};

/// Keys that came already.
pub(super) enum Seen {
    /// Few: they are compared one by one. They lie in a pile that all open mappings share, this one's from here on.
    Few(usize),
    /// Many, in upper case.
    Many(HashSet<SmolStr>),
    /// Somebody looked at all of them before: none comes twice.
    Distinct,
}

/// From so many keys on, a set is faster than a list.
const MANY: usize = 24;

impl Seen {
    /// For a mapping of so many keys.
    pub(super) fn new(count: usize, pile: &[SmolStr]) -> Self {
        if count < MANY { Self::Few(pile.len()) } else { Self::Many(HashSet::with_capacity(count)) }
    }

    /// Whether it is new.
    pub(super) fn add(&mut self, name: &SmolStr, pile: &mut Vec<SmolStr>) -> bool {
        match self {
            Self::Distinct => true,
            Self::Many(set) => set.insert(name.to_uppercase_smolstr()),
            Self::Few(_) => {
                let is_new = !self.has(name, pile);
                if is_new {
                    pile.push(name.clone());
                }
                is_new
            }
        }
    }

    /// Whether it came.
    pub(super) fn has(&self, name: &str, pile: &[SmolStr]) -> bool {
        match self {
            Self::Distinct => false,
            Self::Many(set) => set.contains(&name.to_uppercase_smolstr()),
            Self::Few(from) => pile.get(*from..).unwrap_or_default().iter().any(|known| is_same(known, name)),
        }
    }

    /// Takes its keys off the pile.
    pub(super) fn clear(&self, pile: &mut Vec<SmolStr>) {
        if let Self::Few(from) = self {
            pile.truncate(*from);
        }
    }
}

/// Whether two keys are one, whatever their case.
fn is_same(a: &str, b: &str) -> bool {
    a.eq_ignore_ascii_case(b) || !(a.is_ascii() && b.is_ascii()) && a.to_uppercase() == b.to_uppercase()
}
