//! What can be wrong with a pipeline that an event creates.

use crate::parser::diagnostics::Code;

/// A job needs another that this event does not create: its `rules`, `only` or `except` leave it out. Give both jobs the same rules,
/// or write `optional: true` under the need.
pub const NEED_NOT_CREATED: Code = Code("gitlab/need-not-created");
/// A rule that the server cannot decide: `changes:compare_to` or `exists:project` names nothing. Correct the name.
pub const RULE: Code = Code("gitlab/rule-undecidable");
/// Variables of a job refer to each other in a circle. Break it, or write `expand: false` under one of them. A warning where the job
/// may be left out of the pipeline.
pub const VARIABLE_CIRCLE: Code = Code("gitlab/variable-circle");
/// No pipeline: `workflow:rules` hold for nothing, or no job is left. Nothing runs.
pub const NO_PIPELINE: Code = Code("gitlab/no-pipeline");
/// A child pipeline that cannot be had here.
pub const CHILD: Code = Code("gitlab/child-pipeline");
