//! Every rule of the language, a row each: where its error stands, what it says, what it offers.
//!
//! `§` marks the place; it is taken out before the text is read.

use super::given;
use crate::parser::diagnostics::Code;
use crate::parser::native::{codes, inspect};

/// Where the lines of a row go.
enum In {
    /// They are the file.
    File,
    /// Beside `name` and `jobs` of a good pipeline.
    Pipeline,
    /// In a job that has good steps.
    Job,
    /// In a job as its all.
    BareJob,
    /// In a step that has a name and nothing else.
    Step,
    /// In a step that has a name and a script.
    Scripted,
}

impl In {
    fn file(&self, lines: &str) -> String {
        let indented = |by: usize| {
            let lines: Vec<String> = lines.lines().map(|line| format!("{}{line}", " ".repeat(by))).collect();
            lines.join("\n")
        };
        match self {
            In::File => lines.to_owned(),
            In::Pipeline => format!("name: demo\n{lines}\njobs:\n  a:\n    steps: [{{name: one, script: x}}]\n"),
            In::Job => format!("name: demo\njobs:\n  build:\n    steps: [{{name: one, script: x}}]\n{}\n", indented(4)),
            In::BareJob => format!("name: demo\njobs:\n  build:\n{}\n", indented(4)),
            In::Step => format!("name: demo\njobs:\n  build:\n    steps:\n    - name: one\n{}\n", indented(6)),
            In::Scripted => {
                format!("name: demo\njobs:\n  build:\n    steps:\n    - name: one\n      script: x\n{}\n", indented(6))
            }
        }
    }

    /// What every message ends with.
    fn context(&self) -> &'static str {
        match self {
            In::File | In::Pipeline => "",
            In::Job | In::BareJob => ", in job `build`",
            In::Step | In::Scripted => ", in job `build`, step `one`",
        }
    }
}

type Row = (In, &'static str, Code, &'static str, &'static str);

/// What of a row does not hold.
fn problem((place, lines, code, message, help): &Row) -> Option<String> {
    let marked = place.file(lines);
    let before = marked.split('§').next()?;
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next()?.chars().count() + 1;
    let text = marked.replace('§', "");
    let checked = inspect("forgehand.yml", &text, &given());
    let found: Vec<_> = checked
        .diagnostics
        .iter()
        .map(|it| (it.span.line as usize, it.span.column as usize, it.code.0, it.message.as_str()))
        .collect();
    // Rows of whole files say all of their message.
    let message = format!("{message}{}", place.context());
    if found != [(line, column, code.0, message.as_str())] {
        return Some(format!("wanted {:?}\n found {found:?}\n{text}", (line, column, code.0, message)));
    }
    let said = checked.diagnostics.iter().next().and_then(|it| it.help.clone()).unwrap_or_default();
    (said.is_empty() || !said.contains(help)).then(|| format!("help: {said}\n{message}\n{text}"))
}

fn rows() -> Vec<Row> {
    use In::{BareJob, File, Job, Pipeline, Scripted, Step};
    vec![
        // The file.
        (File, "§", codes::MISSING_KEY, "the file is empty: a pipeline has a `name` and `jobs`", "name: demo"),
        (File, "§- a\n", codes::WRONG_TYPE, "a pipeline is a mapping of keys, not a list", "its keys are `name`"),
        (
            File,
            "name: a\njobs: {a: {steps: [{name: s, script: x}]}}\n---\n§x: 1\n",
            codes::SYNTAX,
            "a pipeline is one document",
            "remove this document",
        ),
        // The pipeline.
        (
            File,
            "§jobs: {a: {steps: [{name: s, script: x}]}}\n",
            codes::MISSING_KEY,
            "the pipeline has no `name`",
            "add `name:`",
        ),
        (
            File,
            "name: §''\njobs: {a: {steps: [{name: s, script: x}]}}\n",
            codes::EMPTY,
            "`name` is empty",
            "write something",
        ),
        (
            File,
            "name: §[a]\njobs: {a: {steps: [{name: s, script: x}]}}\n",
            codes::WRONG_TYPE,
            "`name` is text, not a list",
            "`name: text`",
        ),
        (File, "§name: demo\n", codes::MISSING_KEY, "the pipeline has no `jobs`", "add `jobs:`"),
        (File, "name: demo\njobs: §{}\n", codes::EMPTY, "`jobs` has no job", "add one"),
        (
            File,
            "name: demo\njobs: §[]\n",
            codes::WRONG_TYPE,
            "`jobs` is a mapping of names to jobs, not a list",
            "build: {steps",
        ),
        (
            File,
            "name: demo\njobs:\n  a: &a {steps: [{name: s, script: x}]}\n  §a: *a\n",
            codes::DUPLICATE_KEY,
            "the key `a` is written twice, first in line 3",
            "keep one",
        ),
        (
            File,
            "name: demo\njobs:\n  §[a]: {steps: [{name: s, script: x}]}\n",
            codes::WRONG_TYPE,
            "a key is text, not a list",
            "write a name before the colon",
        ),
        (Pipeline, "§timeouts: 5", codes::UNKNOWN_KEY, "a pipeline has no key `timeouts`", "did you mean `timeout`?"),
        (Pipeline, "§colour: 5", codes::UNKNOWN_KEY, "a pipeline has no key `colour`", "has the keys `name`, `jobs`"),
        (Pipeline, "timeout: §0", codes::OUT_OF_RANGE, "`timeout` is 0, and must be at least 1", "`timeout: 1`"),
        (
            Pipeline,
            "timeout: §soon",
            codes::WRONG_TYPE,
            "`timeout` is a whole number, not text",
            "a whole number of at least 1: `timeout: 600`",
        ),
        (Pipeline, "timeout: §1.5", codes::WRONG_TYPE, "`timeout` is a whole number, and 1.5 is none", "`timeout: 1`"),
        (
            Pipeline,
            "timeout: §'60'",
            codes::WRONG_TYPE,
            "`timeout` is a number, and `60` in quotes is text",
            "`timeout: 60`",
        ),
        (
            Pipeline,
            "global_env: §[A]",
            codes::WRONG_TYPE,
            "`global_env` is a mapping of names to values, not a list",
            "NAME: value",
        ),
        (Pipeline, "global_env: {§1A: x}", codes::BAD_NAME, "`1A` is no name for a variable", "no digit"),
        (Pipeline, "global_env: {L: §[a]}", codes::WRONG_TYPE, "`L` is text, not a list", "`L: text`"),
        (
            Pipeline,
            "global_env: {H: '§${H}'}",
            codes::UNDEFINED_VARIABLE,
            "variable `H` is not defined",
            "the variables are",
        ),
        (
            Pipeline,
            "global_env: {A: §'${B}', B: '${A}'}",
            codes::VARIABLE_CYCLE,
            "variables refer to each other in a circle: A -> B -> A",
            "write the value of `A` out",
        ),
        (
            Pipeline,
            "retry_policy: {max_attempts: §9}",
            codes::OUT_OF_RANGE,
            "`max_attempts` is 9, and must lie between 1 and 6",
            "`max_attempts: 6`",
        ),
        (
            Pipeline,
            "retry_policy: {max_attempts: §many}",
            codes::WRONG_TYPE,
            "`max_attempts` is a whole number, not text",
            "from 1 to 6",
        ),
        (
            Pipeline,
            "retry_policy: §{}",
            codes::MISSING_KEY,
            "`retry_policy` has no `max_attempts`",
            "add `max_attempts: 1`",
        ),
        (
            Pipeline,
            "retry_policy: {max_attempts: 1, §backoff: 1}",
            codes::UNKNOWN_KEY,
            "`retry_policy` has no key `backoff`",
            "`max_attempts`",
        ),
        (
            Pipeline,
            "retry_policy: §2",
            codes::WRONG_TYPE,
            "`retry_policy` is a mapping of keys, not a number",
            "`max_attempts`",
        ),
        // Triggers.
        (Pipeline, "triggers: §push", codes::WRONG_TYPE, "`triggers` is a list, not text", "`triggers: [push]`"),
        (Pipeline, "triggers: [§push]", codes::WRONG_TYPE, "a trigger is a mapping of keys, not text", "`event`"),
        (Pipeline, "triggers: [§{}]", codes::MISSING_KEY, "the trigger has no `event`", "event: push"),
        (
            Pipeline,
            "triggers: [{event: push, §branch: [a]}]",
            codes::UNKNOWN_KEY,
            "a trigger has no key `branch`",
            "did you mean `branches`?",
        ),
        (
            Pipeline,
            "triggers: [{event: §pus}]",
            codes::UNKNOWN_VALUE,
            "`event` cannot be `pus`",
            "did you mean `push`?",
        ),
        (
            Pipeline,
            "triggers: [{event: §pull_request}]",
            codes::UNKNOWN_VALUE,
            "`event` cannot be `pull_request`",
            "`merge_request`",
        ),
        (
            Pipeline,
            "triggers: [§{event: schedule}]",
            codes::MISSING_KEY,
            "a trigger for `schedule` has no `cron`",
            "30 4",
        ),
        (
            Pipeline,
            "triggers: [{event: push, §cron: '1 2 * * *'}]",
            codes::USELESS_KEY,
            "`cron` says nothing for `push`",
            "`event: schedule`",
        ),
        (
            Pipeline,
            "triggers: [{event: push, §tags: ['v*']}]",
            codes::USELESS_KEY,
            "`tags` says nothing for `push`",
            "`event: tag`",
        ),
        (
            Pipeline,
            "triggers: [{event: tag, §branches: [main]}]",
            codes::USELESS_KEY,
            "`branches` says nothing for `tag`",
            "on no branch",
        ),
        (
            Pipeline,
            "triggers: [{event: push, branches: §main}]",
            codes::WRONG_TYPE,
            "`branches` is a list, not text",
            "`branches: [main]`",
        ),
        (
            Pipeline,
            "triggers: [{event: push, branches: §[]}]",
            codes::EMPTY,
            "`branches` has no item",
            "remove the key",
        ),
        (Pipeline, "triggers: [{event: push, paths: [§'']}]", codes::EMPTY, "`paths[]` is empty", "remove the item"),
        (
            Pipeline,
            "triggers: [{event: push, branches: [§'[a']}]",
            codes::BAD_PATTERN,
            "`[a` is no glob: unclosed character class; missing ']'",
            "`**` for anything",
        ),
        // Declared variables and limits.
        (
            Pipeline,
            "variables: §[A]",
            codes::WRONG_TYPE,
            "`variables` is a mapping of names to what is known of them, not a list",
            "required: true",
        ),
        (Pipeline, "variables: {A: §x}", codes::WRONG_TYPE, "a variable is a mapping of keys, not text", "`default`"),
        (Pipeline, "variables: {§A-B: {}}", codes::BAD_NAME, "`A-B` is no name for a variable", "no digit"),
        (Pipeline, "variables: {A: {§type: integer}}", codes::UNKNOWN_KEY, "a variable has no key `type`", "`format`"),
        (
            Pipeline,
            "variables: {A: {required: §often}}",
            codes::WRONG_TYPE,
            "`required` is `true` or `false`, not text",
            "`required: true`",
        ),
        (
            Pipeline,
            "variables: {A: {§required: true, default: b}}",
            codes::USELESS_KEY,
            "`required` says nothing beside a `default`",
            "remove",
        ),
        (
            Pipeline,
            "variables: {A: {format: §'v('}}",
            codes::BAD_PATTERN,
            "`v(` is no regular expression: error: unclosed group",
            "v[0-9]+",
        ),
        (
            Pipeline,
            "variables: {A: {format: 'v[0-9]+', default: §x1}}",
            codes::BAD_VARIABLE,
            "variable `A` is `x1`, which is not of its format `v[0-9]+`",
            "give it a value that matches",
        ),
        (
            Pipeline,
            "variables: {§A: {format: 'v[0-9]+'}}\nglobal_env: {A: v1x}",
            codes::BAD_VARIABLE,
            "variable `A` is `v1x`, which is not of its format `v[0-9]+`",
            "give it a value that matches",
        ),
        (
            Pipeline,
            "variables: {§TARGET: {format: 'arm.*'}}",
            codes::BAD_VARIABLE,
            "variable `TARGET` is `x86`, which is not of its format `arm.*`",
            "give it a value that matches",
        ),
        (Pipeline, "limits: {cpu: §many}", codes::UNKNOWN_VALUE, "`cpu` cannot be `many`", "500m"),
        (Pipeline, "limits: {§gpu: 1}", codes::UNKNOWN_KEY, "`limits` has no key `gpu`", "did you mean `cpu`?"),
        // Artifacts.
        (Pipeline, "artifacts: §{name: a}", codes::MISSING_KEY, "`artifacts` has no `paths`", "add `paths: [dist/]`"),
        (Pipeline, "artifacts: {paths: §[]}", codes::EMPTY, "`paths` has no item", "add one"),
        (Pipeline, "artifacts: {paths: [§'']}", codes::EMPTY, "`paths[]` is empty", "remove the item"),
        (Pipeline, "artifacts: {paths: §dist}", codes::WRONG_TYPE, "`paths` is a list, not text", "`paths: [dist]`"),
        (
            Pipeline,
            "artifacts: {paths: [§/etc]}",
            codes::BAD_PATH,
            "`/etc` leads out of the workspace",
            "relative to the workspace",
        ),
        (
            Pipeline,
            "artifacts: {paths: [a], exclude: [§../b]}",
            codes::BAD_PATH,
            "`../b` leads out of the workspace",
            "without `..`",
        ),
        (
            Pipeline,
            "artifacts: {paths: [a], expire_in: §garbage}",
            codes::BAD_DURATION,
            "`expire_in` cannot be `garbage`",
            "`7 days`",
        ),
        (Pipeline, "artifacts: {paths: [a], name: §''}", codes::EMPTY, "`name` is empty", "remove the key"),
        (
            Pipeline,
            "artifacts: {paths: [a], when: §failure}",
            codes::UNKNOWN_VALUE,
            "`when` cannot be `failure`",
            "`on_failure`",
        ),
        (
            Pipeline,
            "artifacts: {paths: [a], §reports: b}",
            codes::UNKNOWN_KEY,
            "`artifacts` has no key `reports`",
            "`expire_in`",
        ),
        // Jobs.
        (
            File,
            "name: demo\njobs:\n  §a b:\n    steps: [{name: s, script: x}]\n",
            codes::BAD_NAME,
            "`a b` is no name for a job, in job `a b`",
            "letters, digits",
        ),
        (
            File,
            "name: demo\njobs:\n  a: §make\n",
            codes::WRONG_TYPE,
            "a job is a mapping of keys, not text, in job `a`",
            "its keys are",
        ),
        (
            File,
            "name: demo\njobs:\n  §a: {image: a}\n",
            codes::MISSING_KEY,
            "the job has no `steps`, in job `a`",
            "add `steps:`",
        ),
        (BareJob, "steps: §[]", codes::EMPTY, "`steps` has no item", "add one"),
        (BareJob, "steps: §make", codes::WRONG_TYPE, "`steps` is a list, not text", "`steps: [make]`"),
        (BareJob, "steps: [§make]", codes::WRONG_TYPE, "a step is a mapping of keys, not text", "`script`"),
        (Job, "§step: 1", codes::UNKNOWN_KEY, "a job has no key `step`", "did you mean `steps`?"),
        (
            Job,
            "image: a\n§image: b",
            codes::DUPLICATE_KEY,
            "the key `image` is written twice, first in line 5",
            "keep one",
        ),
        (
            Job,
            "name: §other",
            codes::NAME_DIFFERS,
            "the name `other` differs from the job's key `build`",
            "name: build",
        ),
        (
            Job,
            "timeout: §3601",
            codes::OUT_OF_RANGE,
            "`timeout` is 3601, and must lie between 1 and 3600",
            "`timeout: 3600` at most",
        ),
        (Job, "timeout: §0", codes::OUT_OF_RANGE, "`timeout` is 0, and must lie between 1 and 3600", "`timeout: 1`"),
        (
            Job,
            "timeout: §${TIME:-4000}",
            codes::OUT_OF_RANGE,
            "`timeout` is 4000, which `${TIME:-4000}` makes, and must lie between 1 and 3600",
            "`timeout: 3600`",
        ),
        (
            Job,
            "timeout: §${BRANCH_NAME}",
            codes::WRONG_TYPE,
            "`timeout` is a whole number, and `${BRANCH_NAME}` makes `main`",
            "a whole number from 1 to 3600",
        ),
        (
            Job,
            "timeout: §${TARGT}",
            codes::UNDEFINED_VARIABLE,
            "variable `TARGT` is not defined",
            "did you mean `TARGET`?",
        ),
        (Job, "timeout:§", codes::WRONG_TYPE, "`timeout` is a whole number, not nothing", "`timeout: 600`"),
        (
            Job,
            "retry_count: §6",
            codes::OUT_OF_RANGE,
            "`retry_count` is 6, and must lie between 0 and 5",
            "`retry_count: 5`",
        ),
        (
            Job,
            "retry_count: §-1",
            codes::OUT_OF_RANGE,
            "`retry_count` is -1, and must lie between 0 and 5",
            "`retry_count: 0`",
        ),
        (Job, "retry_count: §x", codes::WRONG_TYPE, "`retry_count` is a whole number, not text", "from 0 to 5"),
        (
            Job,
            "estimated_duration: §0",
            codes::OUT_OF_RANGE,
            "`estimated_duration` is 0, and must be at least 1",
            "`estimated_duration: 1`",
        ),
        (
            Job,
            "timeout: 60\nestimated_duration: §90",
            codes::TIMELINE,
            "`estimated_duration` is 90, and the job is ended after 60 seconds",
            "raise `timeout` to 90",
        ),
        (Job, "depends_on: §a", codes::WRONG_TYPE, "`depends_on` is a list, not text", "`depends_on: [a]`"),
        (
            Job,
            "depends_on: [§{a: b}]",
            codes::WRONG_TYPE,
            "`depends_on[]` is text, not a mapping",
            "`depends_on: text`",
        ),
        (Job, "environment: §A", codes::WRONG_TYPE, "`environment` is a mapping of names to values, not text", "NAME"),
        (
            Job,
            "image: §Ubuntu:20.04",
            codes::BAD_IMAGE,
            "`Ubuntu:20.04` is no image: `Ubuntu` has capitals, and repositories are written small",
            "registry/repository:tag",
        ),
        (
            Job,
            "image: §${IMG:-UPPER}",
            codes::BAD_IMAGE,
            "`UPPER`, which `${IMG:-UPPER}` makes, is no image: `UPPER` has capitals, and repositories are written small",
            "registry/repository:tag",
        ),
        (Job, "image: §[a]", codes::WRONG_TYPE, "`image` is text, not a list", "`image: text`"),
        (Job, "image: §''", codes::BAD_IMAGE, "`` is no image: an image has a name", "registry/repository:tag"),
        (
            Job,
            "image: §a@sha256:12",
            codes::BAD_IMAGE,
            "`a@sha256:12` is no image: a digest is `sha256:` and 64 hexadecimal digits",
            "registry/repository:tag",
        ),
        // Conditions.
        (Job, "conditional: env.TARGET §= 1", codes::BAD_EXPRESSION, "Unexpected symbol: '='", "docs/expressions.md"),
        (Job, "conditional: §branch == 'x'", codes::UNDEFINED_VARIABLE, "`branch` is no named value", "env.branch"),
        (
            Job,
            "conditional: §env.TARGIT == 'x'",
            codes::UNDEFINED_VARIABLE,
            "variable `TARGIT` is not defined: `env.TARGIT` is null",
            "did you mean `TARGET`?",
        ),
        (
            Job,
            "conditional: §\"'a' + env.TARGET\"",
            codes::NO_TRUTH,
            "a condition is true or false, and this one makes text",
            "compare it",
        ),
        (
            Job,
            "conditional: §${TARGET}",
            codes::NO_TRUTH,
            "a condition is true or false, and `${TARGET}` makes `x86`",
            "compare it",
        ),
        (
            Job,
            "conditional: §${TARGET:+true} x",
            codes::BAD_EXPRESSION,
            "a condition is one reference, or one expression",
            "as an expression",
        ),
        (
            Job,
            "conditional: 1 < §'a' * env.TARGET",
            codes::BAD_EXPRESSION,
            "'a' is not a number",
            "docs/expressions.md",
        ),
        (Job, "conditional: 1 < env.CI / §0", codes::BAD_EXPRESSION, "division by zero", "docs/expressions.md"),
        (
            Job,
            "conditional: §secrets.KEY == 'x'",
            codes::SECRET_PLACE,
            "`secrets.KEY` stands where a secret may not",
            "put it into `environment`",
        ),
        (Job, "conditional: §[a]", codes::WRONG_TYPE, "`conditional` is text, not a list", "`conditional: text`"),
        // Matrices.
        (Job, "matrix: §{}", codes::EMPTY, "`matrix` has no axis", "version: [1, 2]"),
        (
            Job,
            "matrix: §[v]",
            codes::WRONG_TYPE,
            "`matrix` is a mapping of axes to lists, not a list",
            "version: [1, 2]",
        ),
        (Job, "matrix: {v: §[]}", codes::EMPTY, "`v` has no item", "add one"),
        (Job, "matrix: {v: §1}", codes::WRONG_TYPE, "`v` is a list, not a number", "`v: [1]`"),
        (
            Job,
            "matrix: {v: [1, §1]}",
            codes::DUPLICATE_VALUE,
            "the axis `v` has the value `1` twice",
            "remove one of them",
        ),
        (Job, "matrix: {§a b: [1]}", codes::BAD_NAME, "`a b` is no name for an axis", "letters, digits"),
        (
            Job,
            "matrix: {v: [1, 2], exclude: [{§w: 1}]}",
            codes::BAD_MATRIX,
            "`exclude` names `w`, which is no axis",
            "the axes are `v`",
        ),
        (
            Job,
            "matrix: §{v: [1], exclude: [{v: 1}]}",
            codes::BAD_MATRIX,
            "`exclude` takes every combination of the matrix away",
            "leave one",
        ),
        (Job, "matrix: {v: [1], include: §[]}", codes::EMPTY, "`include` has no item", "add one"),
        (
            Job,
            "matrix: {v: [1], include: [§w]}",
            codes::WRONG_TYPE,
            "`include[]` is a mapping of axes to values, not text",
            "axis: value",
        ),
        (
            Job,
            "matrix: {v: [1], fail_fast: §perhaps}",
            codes::WRONG_TYPE,
            "`fail_fast` is `true` or `false`, not text",
            "`fail_fast: true`",
        ),
        (
            Job,
            "matrix: {v: [1], fail_fast: §'${TARGET}'}",
            codes::WRONG_TYPE,
            "`fail_fast` is `true` or `false`, and `${TARGET}` makes `x86`",
            "give the variable one of these",
        ),
        (
            Job,
            "matrix: {v: [1], max_parallel: §0}",
            codes::OUT_OF_RANGE,
            "`max_parallel` is 0, and must be at least 1",
            "`max_parallel: 1`",
        ),
        // Resources, services, caches, deployments.
        (Job, "resources: {memory: §much}", codes::UNKNOWN_VALUE, "`memory` cannot be `much`", "512MiB"),
        (Job, "resources: {cpu: §-1}", codes::UNKNOWN_VALUE, "`cpu` cannot be `-1`", "500m"),
        (Job, "resources: {§ram: 1}", codes::UNKNOWN_KEY, "`resources` has no key `ram`", "`memory`"),
        (Job, "services: §db", codes::WRONG_TYPE, "`services` is a list, not text", "`services: [db]`"),
        (Job, "services: [§{alias: db}]", codes::MISSING_KEY, "the service has no `image`", "postgres"),
        (
            Job,
            "services: [§DB]",
            codes::BAD_IMAGE,
            "`DB` is no image: `DB` has capitals, and repositories are written small",
            "registry/",
        ),
        (Job, "services: [{image: db, alias: §b c}]", codes::BAD_NAME, "`b c` is no name for a host", "`cache.local`"),
        (Job, "services: [{image: db, §ports: [1]}]", codes::UNKNOWN_KEY, "a service has no key `ports`", "`command`"),
        (
            Job,
            "services: [{image: db, command: §x}]",
            codes::WRONG_TYPE,
            "`command` is a list, not text",
            "`command: [x]`",
        ),
        (Job, "cache: §{paths: [a]}", codes::MISSING_KEY, "the cache has no `key`", "key: deps"),
        (Job, "cache: §{key: a}", codes::MISSING_KEY, "the cache has no `paths`", "paths: [target/]"),
        (Job, "cache: {key: §'', paths: [a]}", codes::EMPTY, "`key` is empty", "remove the key"),
        (Job, "cache: {key: k, paths: [§'']}", codes::EMPTY, "`paths[]` is empty", "remove the item"),
        (Job, "cache: {key: k, paths: [§../a]}", codes::BAD_PATH, "`../a` leads out of the workspace", "without `..`"),
        (
            Job,
            "cache: {key: k, paths: [a], policy: §pul}",
            codes::UNKNOWN_VALUE,
            "`policy` cannot be `pul`",
            "did you mean `pull`?",
        ),
        (
            Job,
            "cache: {key: k, paths: [a], §keys: x}",
            codes::UNKNOWN_KEY,
            "a cache has no key `keys`",
            "did you mean `key`?",
        ),
        (Job, "cache: §deps", codes::WRONG_TYPE, "a cache is a mapping of keys, not text", "`key`"),
        (Job, "deployment: §{url: https://a.b}", codes::MISSING_KEY, "`deployment` has no `environment`", "production"),
        (Job, "deployment: {environment: §''}", codes::EMPTY, "`environment` is empty", "remove the key"),
        (
            Job,
            "deployment: {environment: p, url: §not a url}",
            codes::BAD_URL,
            "`not a url` is no address",
            "https://example.org/path",
        ),
        (
            Job,
            "deployment: {environment: p, strategy: §blue}",
            codes::UNKNOWN_VALUE,
            "`strategy` cannot be `blue`",
            "`blue-green`",
        ),
        (
            Job,
            "deployment: {environment: p, §target: x}",
            codes::UNKNOWN_KEY,
            "`deployment` has no key `target`",
            "`strategy`",
        ),
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
        // References.
        (
            Scripted,
            "image: tool:§${BUILD_NUMBR}",
            codes::UNDEFINED_VARIABLE,
            "variable `BUILD_NUMBR` is not defined",
            "did you mean `BUILD_NUMBER`?",
        ),
        (Scripted, "image: 'x:§${A'", codes::BAD_REFERENCE, "the reference is never closed", "close it"),
        (
            Scripted,
            "environment: {A: '§${CI|x}'}",
            codes::BAD_REFERENCE,
            "`|x` is nothing that can be done with a variable",
            "a default is",
        ),
        (
            Scripted,
            "environment: {A: '§${CI/x}'}",
            codes::BAD_REFERENCE,
            "`${CI/x}` does not say what is replaced",
            "${NAME/what/with}",
        ),
        (
            Scripted,
            "environment: {A: '§${1A}'}",
            codes::BAD_REFERENCE,
            "`${1A}` names no variable",
            "a reference is written",
        ),
        (
            Scripted,
            "environment: {A: '§${secrets}'}",
            codes::BAD_REFERENCE,
            "`secrets` alone is no value",
            "secrets.KEY",
        ),
        (
            Scripted,
            "environment: {A: '${{ §secrets }}'}",
            codes::BAD_REFERENCE,
            "`secrets` alone is no value",
            "secrets.KEY",
        ),
        (
            Step,
            "script: ['echo §${secrets.KEY}']",
            codes::SECRET_PLACE,
            "`secrets.KEY` stands where a secret may not",
            "put it into `environment`",
        ),
        (
            Step,
            "script: ['echo ${{ §secrets.KEY }}']",
            codes::SECRET_PLACE,
            "`secrets.KEY` stands where a secret may not",
            "put it into `environment`",
        ),
        (
            Step,
            "environment: {T: 'key ${secrets.KEY}'}\nscript: ['echo ${{ §env.T }}']",
            codes::SECRET_PLACE,
            "`T` holds a secret, and stands where a secret may not",
            "put it into `environment`",
        ),
        (
            Step,
            "script: ['echo §${matrix.v}']",
            codes::UNDEFINED_VARIABLE,
            "variable `matrix.v` is not defined",
            "no axes",
        ),
        (
            Step,
            "script: ['echo §${pipeline.nam}']",
            codes::UNDEFINED_VARIABLE,
            "variable `pipeline.nam` is not defined",
            "did you mean `name`?",
        ),
        (
            Step,
            "script: ['echo §${system.x}']",
            codes::UNDEFINED_VARIABLE,
            "`system` is no named value",
            "named values are `env`",
        ),
        (
            Step,
            "script: ['echo §${job.biuld.status}']",
            codes::UNDEFINED_VARIABLE,
            "variable `job.biuld` is not defined",
            "did you mean `build`?",
        ),
        (
            Step,
            "script: ['echo §${job.build.statsu}']",
            codes::UNDEFINED_VARIABLE,
            "variable `job.build.statsu` is not defined",
            "did you mean `status`?",
        ),
        (
            Step,
            "script: ['echo §${job.build.artifacts.size}']",
            codes::UNDEFINED_VARIABLE,
            "variable `job.build.artifacts.size` is not defined",
            "`count`",
        ),
        (
            Step,
            "script: ['echo ${{ 1 §+ }}']",
            codes::BAD_EXPRESSION,
            "Unexpected end of expression: '+'",
            "docs/expressions.md",
        ),
        (Step, "script: ['echo ${{ 1 / §0 }}']", codes::BAD_EXPRESSION, "division by zero", "docs/expressions.md"),
        // Results of other jobs.
        (
            Step,
            "script: ['echo §${job.build.status}']",
            codes::NO_RESULT,
            "`job.build` is the result of the job itself, which has none while it runs",
            "remove it",
        ),
        (
            File,
            "name: p\njobs:\n  a: {steps: [{name: s, script: x}]}\n  b:\n    environment: {A: '§${job.a.status}'}\n    steps: [{name: s, script: x}]\n",
            codes::NO_RESULT,
            "`job.a` has no value here: `b` does not wait for `a`, in job `b`",
            "add `a` to `depends_on` of `b`",
        ),
        (
            File,
            "name: p\njobs:\n  a:\n    environment: {A: '§${job.c.status}'}\n    steps: [{name: s, script: x}]\n  b: {depends_on: [a], steps: [{name: s, script: x}]}\n  c: {depends_on: [b], steps: [{name: s, script: x}]}\n",
            codes::NO_RESULT,
            "`job.c` has no value here: `c` waits for `a`, in job `a`",
            "turn the dependency round",
        ),
        (
            File,
            "name: p\nglobal_env: {A: '§${job.a.status}'}\njobs:\n  a: {steps: [{name: s, script: x}]}\n",
            codes::NO_RESULT,
            "`job.a` stands where no job is before: `global_env` is every job's",
            "put it into `environment` of a job",
        ),
    ]
}

#[test]
fn every_rule_says_where_what_and_what_to_do() {
    let problems: Vec<String> = rows().iter().filter_map(problem).collect();
    assert!(problems.is_empty(), "{}", problems.join("\n---\n"));
}

#[test]
fn a_file_that_is_no_yaml_is_told_where_it_breaks() {
    let checked = inspect("forgehand.yml", "name: [\n", &given());
    let found: Vec<_> = checked.diagnostics.iter().map(|it| (it.span.line, it.code.0)).collect();
    assert_eq!(found, [(2, codes::SYNTAX.0)]);
}

#[test]
fn a_bad_schedule_is_told() {
    let text = In::Pipeline.file("triggers: [{event: schedule, cron: every day}]");
    let checked = inspect("forgehand.yml", &text, &given());
    let found: Vec<_> = checked.diagnostics.iter().map(|it| (it.span.line, it.span.column, it.code.0)).collect();
    assert_eq!(found, [(2, 36, codes::BAD_CRON.0)]);
    let finding = checked.diagnostics.iter().next().unwrap();
    assert!(finding.message.starts_with("`every day` is no schedule"), "{}", finding.message);
    assert!(finding.help.as_deref().unwrap().contains("30 4 * * 1-5"));
}

/// Variables that double sixty times.
#[test]
fn what_grows_beyond_all_limits_is_told_at_the_variable_that_does() {
    let mut text = "name: p\nglobal_env:\n  V0: xxxxxxxxxx\n".to_owned();
    for at in 1..60 {
        text += &format!("  V{at}: '${{V{0}}}${{V{0}}}'\n", at - 1);
    }
    text += "jobs: {a: {steps: [{name: s, script: x}]}}\n";
    let checked = inspect("forgehand.yml", &text, &given());
    let first = checked.diagnostics.iter().next().unwrap();
    assert_eq!(first.code.0, codes::TOO_MUCH.0);
    // 10 * 2^17 is the first above 2^20.
    assert_eq!((first.span.line, first.span.column), (3 + 17, 8), "{}", first.message);
    assert!(first.message.starts_with("the value is larger than 1048576 bytes"), "{}", first.message);
    assert!(first.help.as_deref().unwrap().contains("write the value out"));
}

#[test]
fn all_codes_have_a_row() {
    let source = include_str!("../codes.rs");
    let all = source.split("Code(\"").skip(1).filter_map(|rest| rest.split('"').next());
    let told: std::collections::HashSet<&str> = rows().iter().map(|row| row.2.0).collect();
    // Each of these has a test of its own: above, or where the graph and the times are looked at.
    let elsewhere = [codes::BAD_CRON.0, codes::TOO_MUCH.0, codes::RESOURCES.0];
    let missing: Vec<&str> = all.filter(|code| !told.contains(code) && !elsewhere.contains(code)).collect();
    assert!(missing.is_empty(), "no row for {missing:?}");
}
