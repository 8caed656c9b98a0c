//! What can be wrong with a pipeline as a whole.

use crate::parser::diagnostics::Code;

/// Jobs that wait for jobs in a way that cannot be: a name that no job has, a job that waits for itself, two jobs of one name, or
/// jobs that wait for each other in a cycle. The message names the jobs and the help the ways out.
pub const DEPENDENCIES: Code = Code("plan/dependencies");

/// A dependency that another one implies, or that stands twice. It does no harm; the list is shorter without it.
pub const NEEDLESS: Code = Code("plan/needless-dependency");

/// A job that `--job` names and the pipeline does not have. The names are those that the forge shows.
pub const UNKNOWN_JOB: Code = Code("plan/unknown-job");

/// An event, a ref or an input that the pipeline's language does not know. The help lists what it knows.
pub const BAD_REQUEST: Code = Code("plan/bad-request");

/// A value of a job that has to be known before the job starts, and that cannot be evaluated: a matrix, a condition, a name.
pub const UNEVALUATED: Code = Code("plan/unevaluated");

/// A variable that the pipeline declares as required, and that has no value. Give it with `--var NAME=VALUE` or in a file of variables.
pub const UNSET: Code = Code("plan/unset-variable");

/// A path that leads to no pipeline: nothing is there, it cannot be read, or it is no file that could be one.
pub const NO_FILE: Code = Code("plan/no-file");

/// The file is not text in UTF-8. Save it as UTF-8; the place is where the first wrong byte is.
pub const NO_TEXT: Code = Code("plan/no-text");
