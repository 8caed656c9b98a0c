//! Inputs: what a file declares in its `spec:` header, what it is given, and what stands in the place of `$[[ ]]`.
//!
//! - [`header`]: the declarations. [`value`]: types. [`resolve`]: what is given against what is declared.
//! - [`block`]: one `$[[ ]]`. [`interpolate`](mod@interpolate): all of them in a tree.

mod access;
mod block;
mod functions;
pub(super) mod header;
pub(super) mod interpolate;
pub(super) mod resolve;
pub(super) mod rules;
pub(super) mod value;

use std::collections::{BTreeMap, BTreeSet};

use smol_str::SmolStr;

use crate::parser::document::{Node, Span};

pub(super) use value::Kind;

/// What a header says.
#[derive(Clone, Debug, Default)]
pub(super) struct Spec {
    pub(super) inputs: Vec<Declared>,
    /// The facts about the component that the file asks for: `name`, `version`, `sha`, `reference`.
    pub(super) component: BTreeSet<SmolStr>,
}

/// One declared input.
#[derive(Clone, Debug)]
pub(super) struct Declared {
    pub(super) name: SmolStr,
    pub(super) span: Span,
    pub(super) kind: Kind,
    pub(super) default: Option<Node>,
    pub(super) options: Option<Node>,
    pub(super) regex: Option<Node>,
    pub(super) rules: Vec<Rule>,
}

/// What may be chosen, depending on other inputs.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub(super) condition: Option<Node>,
    pub(super) options: Option<Node>,
    pub(super) default: Option<Node>,
}

/// The values of a file's inputs, and the component it belongs to.
#[derive(Clone, Debug, Default)]
pub(super) struct Values {
    pub(super) inputs: BTreeMap<SmolStr, Node>,
    pub(super) component: BTreeMap<SmolStr, Node>,
}

/// What was given: name, value and their places, in order.
pub(super) type Arguments = Vec<(Node, Node)>;
