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
