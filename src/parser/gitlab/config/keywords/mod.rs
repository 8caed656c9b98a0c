//! One module a keyword, or a few that belong together: what may stand under it, and what it means.

pub(super) mod artifacts;
pub(super) mod cache;
pub(super) mod condition;
pub(super) mod environment;
pub(super) mod image;
pub(super) mod inherit;
pub(super) mod inputs;
pub(super) mod needs;
pub(super) mod pages;
pub(super) mod parallel;
pub(super) mod policy;
pub(super) mod release;
pub(super) mod retry;
pub(super) mod rules;
pub(super) mod run;
pub(super) mod script;
pub(super) mod secrets;
pub(super) mod trigger;
pub(super) mod variables;
