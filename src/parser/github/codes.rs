//! The rules of GitHub, Gitea and Forgejo workflows.

use crate::parser::diagnostics::Code;

/// The text is not YAML. Mend it where the message says; quotes around text with `: ` or ` #` in it, spaces and no tabs.
pub const SYNTAX: Code = Code("github/syntax");
/// The file is empty, or has comments alone. A workflow has at least `on` and `jobs`.
pub const EMPTY: Code = Code("github/empty");
/// A key or a value that may not stand here. Take one of those that the help names.
pub const UNEXPECTED_VALUE: Code = Code("github/unexpected-value");
/// A list, a mapping or a single value where something else has to be.
pub const WRONG_SHAPE: Code = Code("github/wrong-shape");
/// A key that must be there is not. Add it.
pub const MISSING: Code = Code("github/missing-property");
/// A key comes twice; keys do not tell cases apart. Keep one.
pub const DUPLICATE: Code = Code("github/duplicate");
/// An expression that cannot be read, or uses what is not there in this place.
pub const EXPRESSION: Code = Code("github/expression");
/// A named value or a function that does not exist here. Each key has its own list of contexts.
pub const UNKNOWN_CONTEXT: Code = Code("github/unknown-context");
/// An expression or `if` that stands where values have to be known before the run.
pub const EXPRESSION_NOT_ALLOWED: Code = Code("github/expression-not-allowed");
/// More than a forge's fixed limit of something: levels, jobs, nested calls, length.
pub const LIMIT: Code = Code("github/limit");
/// An id of a job or a step that is not made of letters, digits, `_` and `-`, or is taken.
pub const ID: Code = Code("github/id");
/// `needs` names a job that is not there.
pub const UNKNOWN_NEED: Code = Code("github/unknown-need");
/// Jobs need each other in a circle, so that none of them can start. Take one `needs` out.
pub const CYCLE: Code = Code("github/cycle");
/// No job can start at once: each needs another, or there is none.
pub const NO_START: Code = Code("github/no-start");
/// A schedule that is not five fields of minute, hour, day, month and weekday.
pub const CRON: Code = Code("github/cron");
/// A container without an image, or something else about containers.
pub const CONTAINER: Code = Code("github/container");
/// A group of runners that is not a name, `organization/NAME` or `enterprise/NAME`.
pub const RUNNER_GROUP: Code = Code("github/runner-group");
/// `uses` is not `owner/repository[/path]@ref`, `./path` or `docker://image`.
pub const USES: Code = Code("github/uses");
/// An input whose default, type or options do not go together.
pub const INPUT: Code = Code("github/input");
/// A call whose inputs or secrets are not those of the called workflow.
pub const CALL: Code = Code("github/call");
/// The called workflow is not there, cannot be read, or cannot be called.
pub const CALLED_WORKFLOW: Code = Code("github/called-workflow");
/// A called workflow asks for more permissions than its caller has.
pub const CALL_PERMISSIONS: Code = Code("github/call-permissions");
/// A step waits for, or ends, a step that is not there, is itself, or does not run in the background.
pub const STEP_TARGET: Code = Code("github/step-target");
/// A matrix that comes to no job, or (a warning, for GitHub says it when the run starts) to more than 256.
pub const MATRIX: Code = Code("github/matrix");
/// A number that is out of range.
pub const NUMBER: Code = Code("github/number");
/// A job needs another twice. Take one of the two out.
pub const REPEATED_NEED: Code = Code("github/repeated-need");
/// `queue: max` and `cancel-in-progress: true` in one `concurrency`: either all wait for their turn, or the newest ends the one that
/// runs, and GitHub refuses both together. As a warning: a job of the group that its own run holds waits for itself.
pub const CONCURRENCY: Code = Code("github/concurrency");
/// A key that this forge does not know and passes over.
pub const IGNORED_KEY: Code = Code("github/ignored-key");
/// Text that strangers can write (titles, bodies, branch names) becomes part of a script: they can run commands. Put it into `env` and
/// use the variable in quotes.
pub const INJECTION: Code = Code("github/script-injection");
/// A workflow with write access and secrets checks out and may run what a stranger proposes.
pub const UNTRUSTED_CHECKOUT: Code = Code("github/untrusted-checkout");
/// An action by a tag or branch, or an image by a tag, that can be moved to other code. Pin it to a full commit id or digest.
pub const UNPINNED: Code = Code("github/unpinned-action");
/// A secret is printed, or all of them become part of a script.
pub const SECRET_PRINTED: Code = Code("github/secret-printed");
/// `needs.X` of a job that is not needed, or an output that it does not have.
pub const UNKNOWN_OUTPUT: Code = Code("github/unknown-output");
/// `steps.X` of a step that is not there, or comes later, or something that no step has.
pub const UNKNOWN_STEP: Code = Code("github/unknown-step");
/// `matrix.X` that the matrix does not have, `inputs.X` that is not declared, `env.X` that nothing sets, or a member that `github`,
/// `runner`, `job` or `strategy` do not have.
pub const UNKNOWN_NAME: Code = Code("github/unknown-name");
/// An `if` that always, or never, holds; a comparison with an event that does not start the workflow.
pub const CONSTANT_CONDITION: Code = Code("github/constant-condition");
/// An event with `branches` and `branches-ignore`, or the same of tags or paths: GitHub takes one of the two. A pattern with `!` in the
/// first leaves out too.
pub const BOTH_FILTERS: Code = Code("github/both-filters");
/// A workflow command that was switched off or is deprecated. Write to the file that the help names.
pub const DEPRECATED_COMMAND: Code = Code("github/deprecated-command");
