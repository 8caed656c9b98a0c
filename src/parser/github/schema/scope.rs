//! What expressions may use in a place: named values, and functions besides the general ones.

use std::collections::HashMap;

use crate::parser::expression::{FUNCTIONS, Signature};

/// A set of named values and groups of functions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ScopeSet(u32);

macro_rules! members {
    ($($name:ident = $bit:literal),* $(,)?) => { $(#[allow(missing_docs)] pub const $name: ScopeSet = ScopeSet(1 << $bit);)* };
}

impl ScopeSet {
    /// Nothing.
    pub const NONE: ScopeSet = ScopeSet(0);
    members! {
        GITHUB = 0, INPUTS = 1, VARS = 2, NEEDS = 3, STRATEGY = 4, MATRIX = 5, SECRETS = 6, STEPS = 7, JOB = 8, RUNNER = 9,
        ENV = 10, JOBS = 11, STATUS_OF_JOBS = 16, STATUS_OF_STEPS = 17, HASH_FILES = 18,
    }
    /// What a whole run knows.
    pub const RUN: ScopeSet = Self::GITHUB.and(Self::INPUTS).and(Self::VARS);
    /// What a job knows before it is split into the legs of its matrix.
    pub const JOB_BEFORE_MATRIX: ScopeSet = Self::RUN.and(Self::NEEDS);
    /// What a leg of a job knows before it runs.
    pub const LEG: ScopeSet = Self::JOB_BEFORE_MATRIX.and(Self::STRATEGY).and(Self::MATRIX);
    /// What a running job knows, but secrets.
    pub const RUNNING: ScopeSet = Self::LEG.and(Self::STEPS).and(Self::JOB).and(Self::RUNNER).and(Self::ENV);
    /// What a step's own keys know.
    pub const STEP: ScopeSet = Self::RUNNING.and(Self::SECRETS).and(Self::HASH_FILES);

    /// Both sets.
    #[must_use]
    pub const fn and(self, other: ScopeSet) -> ScopeSet {
        ScopeSet(self.0 | other.0)
    }

    /// Whether all of `other` is in it.
    pub const fn has(self, other: ScopeSet) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether nothing is in it: no expression may stand there.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// The named values and their bits.
pub const NAMES: [(&str, ScopeSet); 12] = [
    ("github", ScopeSet::GITHUB),
    ("inputs", ScopeSet::INPUTS),
    ("vars", ScopeSet::VARS),
    ("needs", ScopeSet::NEEDS),
    ("strategy", ScopeSet::STRATEGY),
    ("matrix", ScopeSet::MATRIX),
    ("secrets", ScopeSet::SECRETS),
    ("steps", ScopeSet::STEPS),
    ("job", ScopeSet::JOB),
    ("runner", ScopeSet::RUNNER),
    ("env", ScopeSet::ENV),
    ("jobs", ScopeSet::JOBS),
];

/// Sets as lists of names and functions, each made once.
#[derive(Debug, Default)]
pub struct Scopes {
    known: HashMap<ScopeSet, Lists>,
    /// Names besides GitHub's for `github`: `gitea`, `forge`.
    aliases: &'static [&'static str],
}

/// A set as lists.
#[derive(Debug)]
pub struct Lists {
    /// The named values.
    pub names: Vec<&'static str>,
    /// The functions.
    pub functions: Vec<Signature>,
}

impl Scopes {
    /// None yet; these names mean `github` too.
    pub fn new(aliases: &'static [&'static str]) -> Self {
        Self { known: HashMap::new(), aliases }
    }

    /// The lists of a set.
    pub fn lists(&mut self, set: ScopeSet) -> &Lists {
        let aliases = self.aliases;
        self.known.entry(set).or_insert_with(|| {
            let named = NAMES.iter().filter(|(_, bit)| set.has(*bit)).map(|(name, _)| *name);
            let aliases = aliases.iter().copied().filter(|_| set.has(ScopeSet::GITHUB));
            Lists { names: named.chain(aliases).collect(), functions: functions(set) }
        })
    }
}

fn functions(set: ScopeSet) -> Vec<Signature> {
    let allowed = |known: &Signature| match known.name {
        "always" | "cancelled" | "failure" | "success" => {
            let of_jobs = set.has(ScopeSet::STATUS_OF_JOBS);
            // A step asks for the state of its job; only jobs ask for that of others, by name.
            let max = if of_jobs { known.max } else { 0 };
            (of_jobs || set.has(ScopeSet::STATUS_OF_STEPS)).then_some(Signature { max, ..*known })
        }
        "hashFiles" => set.has(ScopeSet::HASH_FILES).then_some(*known),
        _ => Some(*known),
    };
    FUNCTIONS.iter().filter_map(allowed).collect()
}
