//! Steps.

use super::In::{BareJob, File, Scripted, Step};
use super::Row;
use crate::parser::native::codes;

pub(super) fn rows() -> Vec<Row> {
    vec![
        // Steps.
        (BareJob, "steps: [§{script: a}]", codes::MISSING_KEY, "the step has no `name`", "unique"),
        (
            File,
            "name: demo\njobs: {a: {steps: [{name: §'', script: x}]}}\n",
            codes::EMPTY,
            "`name` is empty, in job `a`, step ``",
            "write something",
        ),
        (
            BareJob,
            "steps:\n- {name: one, script: a}\n- {name: §one, script: b}",
            codes::DUPLICATE_STEP,
            "two steps are called `one`, the first in line 5",
            "rename",
        ),
        (
            File,
            "name: demo\njobs:\n  build:\n    steps:\n    - §name: one\n",
            codes::SCRIPT_OR_ACTION,
            "the step has neither `script` nor `action`, in job `build`, step `one`",
            "echo hello",
        ),
        (
            Scripted,
            "§action: checkout",
            codes::SCRIPT_OR_ACTION,
            "the step has both `script` and `action`",
            "two steps",
        ),
        (Step, "script: §[]", codes::EMPTY, "`script` has no item", "add one"),
        (Step, "script: §''", codes::EMPTY, "`script` has no command", "add one"),
        (Step, "script: [§'']", codes::EMPTY, "`script[]` is empty", "remove the item"),
        (Step, "script: [§{a: b}]", codes::WRONG_TYPE, "`script[]` is text, not a mapping", "`script: text`"),
        (
            Step,
            "action: §chekout",
            codes::UNKNOWN_ACTION,
            "`chekout` is no action that this version knows",
            "did you mean `checkout`?",
        ),
        (Scripted, "§scripts: a", codes::UNKNOWN_KEY, "a step has no key `scripts`", "did you mean `script`?"),
        (
            Scripted,
            "timeout: §1801",
            codes::OUT_OF_RANGE,
            "`timeout` is 1801, and must lie between 1 and 1800",
            "`timeout: 1800` at most",
        ),
        (
            Scripted,
            "timeout: §0",
            codes::OUT_OF_RANGE,
            "`timeout` is 0, and must lie between 1 and 1800",
            "`timeout: 1`",
        ),
        (
            File,
            "name: demo\njobs:\n  a:\n    timeout: 10\n    steps: [{name: one, script: x, timeout: §1000}]\n",
            codes::TIMELINE,
            "step `one` may take 1000 seconds, and its job is ended after 10, in job `a`",
            "raise the job's `timeout` to 1000",
        ),
        (
            Scripted,
            "retry_count: §4",
            codes::OUT_OF_RANGE,
            "`retry_count` is 4, and must lie between 0 and 3",
            "`retry_count: 3`",
        ),
        (
            Scripted,
            "continue_on_failure: §maybe",
            codes::WRONG_TYPE,
            "`continue_on_failure` is `true` or `false`, not text",
            "`continue_on_failure: true`",
        ),
        (Scripted, "working_directory: §../x", codes::BAD_PATH, "`../x` leads out of the workspace", "without `..`"),
        (Scripted, "working_directory: §''", codes::EMPTY, "`working_directory` is empty", "remove the key"),
        (
            Scripted,
            "image: §'a b'",
            codes::BAD_IMAGE,
            "`a b` is no image: ' ' cannot stand in an image's name",
            "registry/repository:tag",
        ),
        (Scripted, "image: §a:-b", codes::BAD_IMAGE, "`a:-b` is no image: `-b` is no tag", "registry/repository:tag"),
        (Scripted, "environment: {§A-B: c}", codes::BAD_NAME, "`A-B` is no name for a variable", "no digit"),
        (
            Scripted,
            "environment: {Z: '§${Z}'}",
            codes::UNDEFINED_VARIABLE,
            "variable `Z` is not defined",
            "the variables are",
        ),
    ]
}
