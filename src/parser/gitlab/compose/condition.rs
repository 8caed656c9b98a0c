//! Conditions of `include:rules` and of inputs' rules.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::parser::expression::ExprError;
use crate::parser::expression::gitlab::{self, Lookup};

use super::IncludeVariable;

/// A condition that was understood.
pub(super) struct Condition(gitlab::Expr);

impl Condition {
    /// Reads a condition.
    ///
    /// # Errors
    /// What is wrong with it first.
    pub(super) fn parse(text: &str) -> Result<Self, ExprError> {
        gitlab::parse(text).map(Self)
    }

    /// Whether it holds.
    pub(super) fn holds(
        &self,
        variables: &BTreeMap<String, IncludeVariable>,
        inputs: &BTreeMap<String, String>,
    ) -> bool {
        self.0.truth(&Known { variables, inputs })
    }
}

struct Known<'a> {
    variables: &'a BTreeMap<String, IncludeVariable>,
    inputs: &'a BTreeMap<String, String>,
}

impl Lookup for Known<'_> {
    fn variable(&self, name: &str) -> Option<Cow<'_, str>> {
        self.variables.get(name).map(|variable| Cow::Borrowed(variable.value.as_str()))
    }

    fn input(&self, name: &str) -> Option<Cow<'_, str>> {
        self.inputs.get(name).map(|value| Cow::Borrowed(value.as_str()))
    }
}
