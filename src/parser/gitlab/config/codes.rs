//! The rules of GitLab configurations.

use crate::parser::diagnostics::Code;

/// A key that GitLab does not know, or does not allow in this place. Take the key that was meant, or remove it.
pub const UNKNOWN_KEY: Code = Code("gitlab/unknown-key");
/// A value of the wrong kind: a number where text has to be, text where a list has to be. Write it as the message says; text that
/// looks like a number or a truth stands in quotes.
pub const WRONG_TYPE: Code = Code("gitlab/wrong-type");
/// A value that is not among those that GitLab knows. Take one of those that the message names.
pub const WRONG_VALUE: Code = Code("gitlab/wrong-value");
/// A key that has to be there is not, or has nothing under it. Add it.
pub const MISSING: Code = Code("gitlab/missing");
/// Two keys that exclude each other, or a key that has to be written in one place and stands in two. Keep one of them.
pub const CONFLICT: Code = Code("gitlab/conflict");
/// More than GitLab's fixed limit of something. Use fewer.
pub const TOO_MANY: Code = Code("gitlab/too-many");
/// A length of time that cannot be read, or is over the limit. Write `30 minutes`, `1h 30m`, `2 days`.
pub const WRONG_DURATION: Code = Code("gitlab/wrong-duration");
/// A regular expression that GitLab cannot use: it takes RE2 syntax, without look-ahead and back-references.
pub const WRONG_PATTERN: Code = Code("gitlab/wrong-pattern");
/// A condition of `rules:if` or `only:variables` that cannot be read. It compares variables (`$NAME`), texts in quotes, patterns and
/// `null` with `==`, `!=`, `=~`, `!~`, joined by `&&` and `||`.
pub const WRONG_EXPRESSION: Code = Code("gitlab/wrong-expression");
/// A job without `script`, `run` or `trigger`. Add one of them; a job that only others extend begins with a dot.
pub const NO_SCRIPT: Code = Code("gitlab/no-script");
/// The configuration has no job that is not hidden. Add one; names that begin with a dot are hidden.
pub const NO_JOB: Code = Code("gitlab/no-job");
/// A name that is empty, too long, or not text.
pub const WRONG_NAME: Code = Code("gitlab/wrong-name");
/// A stage that is not in `stages`. Add it there, or take one that is.
pub const UNKNOWN_STAGE: Code = Code("gitlab/unknown-stage");
/// `needs` names a job that is not there. Take the right name, or `optional: true` where it may be absent.
pub const UNKNOWN_NEED: Code = Code("gitlab/unknown-need");
/// `dependencies` names a job that is not there.
pub const UNKNOWN_DEPENDENCY: Code = Code("gitlab/unknown-dependency");
/// `needs` or `dependencies` names a job of a later stage, which could not have run yet. Move one of the two jobs.
pub const LATER_STAGE: Code = Code("gitlab/later-stage");
/// `needs` names a job twice. Keep one of them.
pub const DUPLICATE_NEED: Code = Code("gitlab/duplicate-need");
/// A job in `dependencies` that is not in the job's `needs`. Add it to `needs`.
pub const DEPENDENCY_WITHOUT_NEED: Code = Code("gitlab/dependency-without-need");
/// `environment:on_stop` names a job that cannot stop this environment: not there, without an environment, with another one, or
/// without `action: stop`.
pub const WRONG_ON_STOP: Code = Code("gitlab/wrong-on-stop");
/// `$[[ matrix.X ]]` names a variable that the job's own matrix does not have.
pub const UNKNOWN_MATRIX_VARIABLE: Code = Code("gitlab/unknown-matrix-variable");
/// More needs than GitLab allows a job unless its operator raised the limit.
pub const MANY_NEEDS: Code = Code("gitlab/many-needs");
/// A rule of `when` alone, without `workflow:rules`: a push to a branch with a merge request makes two pipelines. Add `workflow:rules`.
pub const DUPLICATE_PIPELINES: Code = Code("gitlab/duplicate-pipelines");
/// A variable whose name a shell cannot use: letters, digits and `_`, not a digit first.
pub const VARIABLE_NAME: Code = Code("gitlab/variable-name");
/// A path of artifacts or of a cache outside the project's folder: a runner takes nothing from there.
pub const PATH_OUTSIDE: Code = Code("gitlab/path-outside");
/// Accepted by current releases of GitLab and refused by older ones.
pub const NEWER_GITLAB: Code = Code("gitlab/newer-gitlab");
/// `rules` with nothing in it: GitLab's server refuses it, as no rule can hold. Under `workflow` an error; in a job a warning, and the
/// job is never created. Remove it or add a rule.
pub const EMPTY_RULES: Code = Code("gitlab/empty-rules");
