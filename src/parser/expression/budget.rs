//! What an evaluation may cost.

use super::error::{ErrorKind, ExprError};

/// What one evaluation may cost.
pub struct Budget<'a> {
    /// Nodes evaluated and items looked at.
    pub steps: u64,
    /// Bytes of the values that are made.
    pub bytes: usize,
    /// Asked now and then; evaluation ends with an error once it says true. The caller holds the clock.
    pub expired: Option<&'a dyn Fn() -> bool>,
}

impl Default for Budget<'_> {
    /// Ten million steps and 64 MiB, no time limit.
    fn default() -> Self {
        Self { steps: 10_000_000, bytes: 64 << 20, expired: None }
    }
}

impl Budget<'_> {
    /// What GitHub allows an expression by itself: 1 MiB, in which a character takes two bytes. Expressions of workflows have more
    /// there, and as much here as any.
    pub fn of_github() -> Self {
        Self { bytes: 512 << 10, ..Self::default() }
    }
}

impl std::fmt::Debug for Budget<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Budget").field("steps", &self.steps).field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

/// What is left of a budget.
pub(super) struct Meter<'a> {
    steps: u64,
    bytes: usize,
    unasked: u64,
    spent: bool,
    expired: Option<&'a dyn Fn() -> bool>,
}

/// The clock is asked once in so many steps.
const ASK_EVERY: u64 = 4_096;

impl<'a> Meter<'a> {
    pub(super) fn new(budget: &Budget<'a>) -> Self {
        // The first step asks the clock, so that a deadline that has passed is seen by short expressions too.
        Self { steps: budget.steps, bytes: budget.bytes, unasked: ASK_EVERY, spent: false, expired: budget.expired }
    }

    /// Takes `count` steps.
    pub(super) fn steps(&mut self, count: usize) -> Result<(), ExprError> {
        let count = count as u64;
        match self.steps.checked_sub(count) {
            Some(left) => self.steps = left,
            None => return Err(self.over("it takes more steps than an expression may")),
        }
        self.unasked = self.unasked.saturating_add(count);
        if self.unasked >= ASK_EVERY {
            self.unasked = 0;
            if self.expired.is_some_and(|expired| expired()) {
                return Err(self.over("it takes more time than an expression may"));
            }
        }
        Ok(())
    }

    /// Takes `count` bytes of memory, and the steps it takes to fill them.
    pub(super) fn bytes(&mut self, count: usize) -> Result<(), ExprError> {
        match self.bytes.checked_sub(count) {
            Some(left) => self.bytes = left,
            None => return Err(self.over("The maximum allowed memory size was exceeded")),
        }
        self.steps(count / 64)
    }

    /// Whether something was over the budget.
    pub(super) fn spent(&self) -> bool {
        self.spent
    }

    fn over(&mut self, what: &str) -> ExprError {
        self.spent = true;
        ExprError::new(ErrorKind::Budget, 0, 0, what)
    }
}
