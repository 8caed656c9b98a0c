//! Variables of a pipeline as the server keeps, sorts and expands them.
//!
//! - [`Variable`], [`Collection`]: an ordered list in which the last of a name counts.
//! - [`Collection::sort_and_expand_all`]: what a runner is handed. [`expand_text`]: one text.
//! - [`merge`], [`inherit`]: variables of a file.
//!
//! Source of the rules: gitlabhq `lib/gitlab/ci/variables` and `lib/expand_variables.rb`.

pub mod reference;
mod sort;

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::HashMap;

use smol_str::SmolStr;

use super::super::config::model;
use reference::{Doubled, Piece, may_refer, pieces};

/// A variable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub key: SmolStr,
    /// Its value.
    pub value: SmolStr,
    /// Whether services may see it.
    pub public: bool,
    /// Whether it is hidden in the log.
    pub masked: bool,
    /// Whether the value is the content of a file.
    pub file: bool,
    /// Whether `$` in it is just a sign.
    pub raw: bool,
}

impl Variable {
    /// A public one.
    pub fn public(key: impl Into<SmolStr>, value: impl Into<SmolStr>) -> Self {
        Self { key: key.into(), value: value.into(), public: true, ..Self::default() }
    }

    /// One that services do not see and the log hides.
    pub fn masked(key: impl Into<SmolStr>, value: impl Into<SmolStr>) -> Self {
        Self { key: key.into(), value: value.into(), masked: true, ..Self::default() }
    }

    /// The names its value refers to, each once; none where it is raw.
    pub fn references(&self) -> Vec<&str> {
        let mut names = Vec::new();
        if self.raw || !may_refer(&self.value) {
            return names;
        }
        for piece in pieces(&self.value, Doubled::Stays) {
            if let Piece::Reference { name, .. } = piece
                && !names.contains(&name)
            {
                names.push(name);
            }
        }
        names
    }
}

impl From<&model::Variable> for Variable {
    fn from(variable: &model::Variable) -> Self {
        let raw = variable.expand == Some(false);
        Self { raw, ..Self::public(variable.name.clone(), variable.value.clone()) }
    }
}

/// What becomes of references on expansion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expansion {
    /// References to nothing stay as they are; else they vanish.
    pub keep_undefined: bool,
    /// References to files become their content; else they stay.
    pub file_references: bool,
    /// References to raw variables become their value; else they stay, for the runner would expand the value again.
    pub raw_references: bool,
}

impl Expansion {
    /// For a runner: it knows more variables than the server, and where it puts files.
    pub const FOR_RUNNER: Self = Self { keep_undefined: true, file_references: false, raw_references: false };
    /// For the server's own use.
    pub const FULL: Self = Self { keep_undefined: false, file_references: true, raw_references: true };
}

/// Variables that refer to each other in a circle: their names, each once; the last refers to the first.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the variables {} -> {} refer to each other in a circle", .0.join(" -> "), .0.first().map_or("", SmolStr::as_str))]
pub struct Circle(pub Vec<SmolStr>);

impl Circle {
    /// The same from the name at `place` on.
    #[must_use]
    pub fn beginning_at(&self, place: usize) -> Self {
        let mut names = self.0.clone();
        names.rotate_left(place.min(self.0.len()));
        Self(names)
    }
}

/// Bytes that references bring into all values of a job together; values that multiply each other would have no end.
const MOST_BYTES: usize = 16 << 20;

/// Variables in order; the last of a name counts.
#[derive(Clone, Debug, Default)]
pub struct Collection {
    list: Vec<Variable>,
    by_key: HashMap<SmolStr, Vec<usize>>,
}

impl Collection {
    /// Adds one.
    pub fn push(&mut self, variable: Variable) {
        self.by_key.entry(variable.key.clone()).or_default().push(self.list.len());
        self.list.push(variable);
    }

    /// The one of this name that counts.
    pub fn get(&self, key: &str) -> Option<&Variable> {
        self.by_key.get(key)?.last().and_then(|at| self.list.get(*at))
    }

    /// Them in order.
    pub fn iter(&self) -> impl Iterator<Item = &Variable> {
        self.list.iter()
    }

    /// So ordered that each stands behind those it refers to.
    pub fn sorted(&self) -> Result<Vec<&Variable>, Circle> {
        let edges: Vec<Vec<usize>> = self.list.iter().map(|variable| self.edges(variable)).collect();
        match sort::children_first(&edges) {
            Ok(order) => Ok(order.into_iter().filter_map(|at| self.list.get(at)).collect()),
            Err(circles) => Err(self.circle(circles.first().map(Vec::as_slice).unwrap_or_default())),
        }
    }

    /// All circles that have no variable in common, each from its first variable on.
    pub fn circles(&self) -> Vec<Circle> {
        if self.list.iter().all(|variable| variable.raw || !may_refer(&variable.value)) {
            return Vec::new();
        }
        let edges: Vec<Vec<usize>> = self.list.iter().map(|variable| self.edges(variable)).collect();
        let circles = sort::children_first(&edges).err().unwrap_or_default();
        circles.iter().map(|circle| self.circle(circle)).collect()
    }

    fn circle(&self, places: &[usize]) -> Circle {
        let mut names: Vec<SmolStr> =
            places.iter().filter_map(|at| self.list.get(*at)).map(|v| v.key.clone()).collect();
        // A name that is there twice stands for both.
        names.dedup();
        Circle(names)
    }

    fn edges(&self, variable: &Variable) -> Vec<usize> {
        variable.references().into_iter().filter_map(|name| self.by_key.get(name)).flatten().copied().collect()
    }

    /// All values with their references replaced, in an order in which each stands behind those it refers to. A circle
    /// leaves all as they are; it is handed back beside them.
    pub fn sort_and_expand_all(&self, how: Expansion) -> (Collection, Option<Circle>) {
        let order = match self.sorted() {
            Ok(order) => order,
            Err(circle) => return (self.clone(), Some(circle)),
        };
        let mut expanded = Collection::default();
        let left = Cell::new(MOST_BYTES);
        for variable in order {
            let mut variable = variable.clone();
            if !variable.raw && may_refer(&variable.value) {
                variable.value = expanded.expand_value(&variable.value, how, &left).into();
            }
            expanded.push(variable);
        }
        (expanded, None)
    }

    /// `left`: bytes that references may still bring; those after that stay.
    fn expand_value<'a>(&self, value: &'a str, how: Expansion, left: &Cell<usize>) -> Cow<'a, str> {
        replace(value, Doubled::Stays, |name| match self.replacement(name, how) {
            Replacement::Text(text) => match left.get().checked_sub(text.len()) {
                None => Replacement::Stays,
                Some(fewer) => {
                    left.set(fewer);
                    Replacement::Text(text)
                }
            },
            stays => stays,
        })
    }

    fn replacement(&self, name: &str, how: Expansion) -> Replacement<'_> {
        match self.get(name) {
            Some(variable) if variable.file && !how.file_references => Replacement::Stays,
            Some(variable) if !variable.file && variable.raw && !how.raw_references => Replacement::Stays,
            Some(variable) => Replacement::Text(Cow::Borrowed(&variable.value)),
            None if how.keep_undefined => Replacement::Stays,
            None => Replacement::Text(Cow::Borrowed("")),
        }
    }

    /// A text with its references replaced once.
    pub fn expand_text<'a>(&self, text: &'a str, how: Expansion) -> Cow<'a, str> {
        replace(text, Doubled::Nothing, |name| self.replacement(name, how))
    }
}

impl Extend<Variable> for Collection {
    fn extend<I: IntoIterator<Item = Variable>>(&mut self, more: I) {
        more.into_iter().for_each(|variable| self.push(variable));
    }
}

impl FromIterator<Variable> for Collection {
    fn from_iter<I: IntoIterator<Item = Variable>>(list: I) -> Self {
        let mut all = Self::default();
        all.extend(list);
        all
    }
}

/// What stands in place of a reference.
pub enum Replacement<'a> {
    /// The reference itself.
    Stays,
    /// This.
    Text(Cow<'a, str>),
}

/// A text with its references replaced by what `lookup` knows, once; what it does not know stays.
pub fn expand_text<'a, 'v>(text: &'a str, lookup: impl Fn(&str) -> Option<Cow<'v, str>>) -> Cow<'a, str> {
    replace(text, Doubled::Nothing, |name| lookup(name).map_or(Replacement::Stays, Replacement::Text))
}

fn replace<'a, 'v>(text: &'a str, doubled: Doubled, with: impl Fn(&str) -> Replacement<'v>) -> Cow<'a, str> {
    if !may_refer(text) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    for piece in pieces(text, doubled) {
        match piece {
            Piece::Text(text) => out.push_str(text),
            Piece::Reference { name, whole } => match with(name) {
                Replacement::Stays => out.push_str(whole),
                Replacement::Text(value) => out.push_str(&value),
            },
        }
    }
    Cow::Owned(out)
}

/// Variables with others laid over: a name keeps its place and takes the new value.
pub fn merge(under: &[Variable], over: &[Variable]) -> Vec<Variable> {
    let mut all: Vec<Variable> = under.to_vec();
    for variable in over {
        match all.iter_mut().find(|known| known.key == variable.key) {
            Some(known) => *known = variable.clone(),
            None => all.push(variable.clone()),
        }
    }
    all
}

/// What a job has of the variables of its file and its own.
pub fn inherit(root: &[Variable], own: &[Variable], inherited: &model::Inherited) -> Vec<Variable> {
    match inherited {
        model::Inherited::All => merge(root, own),
        model::Inherited::Nothing => own.to_vec(),
        model::Inherited::Only(_) => {
            let named: Vec<Variable> = root.iter().filter(|v| inherited.has(&v.key)).cloned().collect();
            merge(&named, own)
        }
    }
}
