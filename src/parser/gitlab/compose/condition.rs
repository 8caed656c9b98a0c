//! Conditions of `include:rules` and of inputs' rules.

use std::collections::BTreeMap;

use super::IncludeVariable;

/// A condition that was understood.
pub(super) struct Condition {
    text: String,
}

/// A condition that was not.
pub(super) struct ConditionError {
    pub(super) message: String,
    pub(super) help: Option<String>,
}

impl Condition {
    /// Reads a condition.
    pub(super) fn parse(text: &str) -> Result<Self, ConditionError> {
        Ok(Self { text: text.to_owned() })
    }

    /// Whether it holds.
    pub(super) fn holds(
        &self,
        _variables: &BTreeMap<String, IncludeVariable>,
        _inputs: &BTreeMap<String, String>,
    ) -> bool {
        !self.text.is_empty()
    }
}
