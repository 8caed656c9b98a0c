//! Variables and inputs of a job.

use std::sync::Arc;

use smol_str::SmolStr;

use super::Name;
use crate::parser::document::{Node, Span};

/// Variables in the order of the file; a name stands once.
#[derive(Clone, Debug, Default)]
pub struct Variables {
    /// Them.
    pub list: Vec<Variable>,
}

impl Variables {
    /// The variable of this name.
    pub fn get(&self, name: &str) -> Option<&Variable> {
        self.list.iter().find(|variable| variable.name == name)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

/// A variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: SmolStr,
    /// Where its name stands.
    pub span: Span,
    /// Its value as text.
    pub value: SmolStr,
    /// Whether other variables in it are replaced; `None`: nothing is said, they are.
    pub expand: Option<bool>,
    /// What it is for.
    pub description: Option<SmolStr>,
    /// What may be chosen.
    pub options: Option<Arc<[SmolStr]>>,
}

/// One of a job's `inputs`.
#[derive(Clone, Debug)]
pub struct JobInput {
    /// Its name.
    pub name: Name,
    /// string, number, boolean, array.
    pub kind: SmolStr,
    /// What it is unless it is given.
    pub default: Node,
    /// As written.
    pub node: Node,
}
