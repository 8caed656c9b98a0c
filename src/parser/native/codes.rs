//! What can be wrong with a native pipeline.

use crate::parser::diagnostics::Code;

/// The text is not YAML, or more than one document. Mend the line that the message names.
pub const SYNTAX: Code = Code("native/syntax");
/// A key that the language does not have at this place. Correct its spelling, or remove it.
pub const UNKNOWN_KEY: Code = Code("native/unknown-key");
/// A key that is written twice. Keep one of them.
pub const DUPLICATE_KEY: Code = Code("native/duplicate-key");
/// A key that must be there is not. Add it.
pub const MISSING_KEY: Code = Code("native/missing-key");
/// A value of another kind than the key takes. Write one of the kind that the message names.
pub const WRONG_TYPE: Code = Code("native/wrong-type");
/// A number outside its range. Choose one within.
pub const OUT_OF_RANGE: Code = Code("native/out-of-range");
/// A word that is none of those the key takes. Choose one of them.
pub const UNKNOWN_VALUE: Code = Code("native/unknown-value");
/// A list that needs an item has none. Add one, or remove the key.
pub const EMPTY: Code = Code("native/empty");
/// The name of a job, step, variable or axis that is no good name. Use letters, digits, `_` and `-`.
pub const BAD_NAME: Code = Code("native/bad-name");
/// A job's `name` is another than its key. Remove `name`, or make both the same.
pub const NAME_DIFFERS: Code = Code("native/name-differs");
/// Two steps of a job have the same name. Rename one.
pub const DUPLICATE_STEP: Code = Code("native/duplicate-step");
/// A step with both `script` and `action`, or neither. It has exactly one.
pub const SCRIPT_OR_ACTION: Code = Code("native/script-or-action");
/// A value that comes twice in an axis of a matrix. Remove one: both would make the same job.
pub const DUPLICATE_VALUE: Code = Code("native/duplicate-value");
/// A key that has no meaning beside another one. Remove it, or change the other.
pub const USELESS_KEY: Code = Code("native/useless-key");
/// An action that this version does not know. Write one that it knows, or a `script`.
pub const UNKNOWN_ACTION: Code = Code("native/unknown-action");
/// A length of time that cannot be read. Write a number and a unit, `7 days`, `1h 30m`, or `never`.
pub const BAD_DURATION: Code = Code("native/bad-duration");
/// An address that is none. Write a whole one, `https://example.org/path`.
pub const BAD_URL: Code = Code("native/bad-url");
/// A glob or a regular expression that cannot be read. Correct it as the message says.
pub const BAD_PATTERN: Code = Code("native/bad-pattern");
/// A combination of the matrix that has no such axis, or a matrix of which nothing is left. Correct the axis' name, or leave a combination.
pub const BAD_MATRIX: Code = Code("native/bad-matrix");
/// A declared variable whose value is missing, or is not of its format. Give it with `--var NAME=VALUE`.
pub const BAD_VARIABLE: Code = Code("native/bad-variable");
/// A condition that makes no truth: text that is not empty, a list or an object always counts as true. Compare it with something.
pub const NO_TRUTH: Code = Code("native/no-truth");
/// A result of a job that has not ended when it is asked for. Add the job to `depends_on`.
pub const NO_RESULT: Code = Code("native/no-result");
/// Variables that are too many, too deep in each other, or too large when they are worked out. Write one of them out.
pub const TOO_MUCH: Code = Code("native/too-much");
/// Times that do not fit together: a step longer than its job, a chain of jobs longer than the pipeline. Lengthen the outer limit, or
/// shorten what is in it.
pub const TIMELINE: Code = Code("native/timeline");
/// What jobs ask of the machine is more than there is (`limits`). Ask for less, let the jobs wait for each other, or raise the limit.
pub const RESOURCES: Code = Code("native/resources");
/// An image reference that no registry would take. Write `registry/repository:tag`.
pub const BAD_IMAGE: Code = Code("native/bad-image");
/// An expression that is wrong. See `docs/expressions.md`.
pub const BAD_EXPRESSION: Code = Code("native/bad-expression");
/// A variable reference that is wrong. See `docs/native.md`, variables.
pub const BAD_REFERENCE: Code = Code("native/bad-reference");
/// A variable that nothing defines. Define it, or give it a default.
pub const UNDEFINED_VARIABLE: Code = Code("native/undefined-variable");
/// Variables that refer to each other in a circle. Write one of them out.
pub const VARIABLE_CYCLE: Code = Code("native/variable-cycle");
/// A secret outside `environment`. Put it into `environment` and use that variable.
pub const SECRET_PLACE: Code = Code("native/secret-place");
/// A schedule that is no cron expression. Write five fields, `30 4 * * 1-5`.
pub const BAD_CRON: Code = Code("native/bad-cron");
/// A path that leads out of the workspace. Write one relative to the workspace, without `..`.
pub const BAD_PATH: Code = Code("native/bad-path");
