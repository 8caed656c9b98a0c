use super::*;
use crate::parser::variables::Hierarchy;

fn given() -> Given {
    Given { runtime: vec![("TARGET".into(), "x86".into())], system: vec![("BUILD_NUMBER".into(), "42".into())] }
}

fn found(text: &str) -> Vec<(u32, u32, &'static str, String, String)> {
    let checked = read("forgehand.yml", text, &given());
    let line = |it: &Diagnostic| {
        (it.span.line, it.span.column, it.code.0, it.message.clone(), it.help.clone().unwrap_or_default())
    };
    checked.diagnostics.iter().map(line).collect()
}

/// A pipeline of one job with these lines below it, each of which is indented by four.
fn job(lines: &str) -> String {
    let lines: Vec<String> = lines.lines().map(|line| format!("    {line}")).collect();
    format!("name: demo\njobs:\n  build:\n{}\n", lines.join("\n"))
}

/// A job with one step with these keys.
fn step(keys: &str) -> String {
    let keys: Vec<String> = keys.lines().map(|line| format!("  {line}")).collect();
    job(&format!("steps:\n- name: one\n{}", keys.join("\n")))
}

const STEPS: &str = "steps: [{name: one, script: [make]}]";

#[track_caller]
fn refuses(text: &str, place: (u32, u32), code: crate::parser::diagnostics::Code, message: &str, help: &str) {
    let all = found(text);
    let [(line, column, found_code, found_message, found_help)] = all.as_slice() else {
        panic!("not one finding: {all:?}\n{text}");
    };
    assert_eq!((*line, *column, *found_code), (place.0, place.1, code.0), "{found_message}\n{text}");
    assert_eq!(found_message, message, "{text}");
    assert!(found_help.contains(help), "{found_help}\n{text}");
}

#[test]
fn the_keys_of_a_pipeline() {
    let ok = format!("  a:\n    {STEPS}\n");
    let with = |line: &str| format!("name: demo\n{line}\njobs:\n{ok}");
    refuses("", (1, 1), codes::MISSING_KEY, "the file is empty: a pipeline has a `name` and `jobs`", "");
    refuses("- a\n", (1, 1), codes::WRONG_TYPE, "a pipeline is a mapping of keys, not a list", "its keys are `name`");
    refuses("name: [\n", (2, 1), codes::SYNTAX, &found("name: [\n")[0].3.clone(), "");
    refuses(&format!("jobs:\n{ok}"), (1, 1), codes::MISSING_KEY, "the pipeline has no `name`", "add `name:`");
    refuses("name: demo\n", (1, 1), codes::MISSING_KEY, "the pipeline has no `jobs`", "add `jobs:`");
    refuses("name: demo\njobs: {}\n", (2, 7), codes::EMPTY, "`jobs` has no job", "add one");
    refuses(
        "name: demo\njobs: []\n",
        (2, 7),
        codes::WRONG_TYPE,
        "`jobs` is a mapping of names to jobs, not a list",
        "",
    );
    refuses(
        &with("timeouts: 5"),
        (2, 1),
        codes::UNKNOWN_KEY,
        "a pipeline has no key `timeouts`",
        "did you mean `timeout`?",
    );
    refuses(&with("timeout: 0"), (2, 10), codes::OUT_OF_RANGE, "`timeout` is 0, and must be at least 1", "");
    refuses(&with("timeout: soon"), (2, 10), codes::WRONG_TYPE, "`timeout` is a whole number, not text", "");
    refuses(
        &with("global_env: [A]"),
        (2, 13),
        codes::WRONG_TYPE,
        "`global_env` is a mapping of names to values, not a list",
        "NAME: value",
    );
    refuses(&with("global_env: {1A: x}"), (2, 14), codes::BAD_NAME, "`1A` is no name for a variable", "no digit");
    refuses(
        &with("retry_policy: {max_attempts: 9}"),
        (2, 30),
        codes::OUT_OF_RANGE,
        "`max_attempts` is 9, and must lie between 1 and 6",
        "",
    );
    refuses(&with("retry_policy: {}"), (2, 15), codes::MISSING_KEY, "`retry_policy` has no `max_attempts`", "add `max");
    refuses(
        &with("triggers: [{event: pus}]"),
        (2, 20),
        codes::UNKNOWN_VALUE,
        "`event` cannot be `pus`",
        "did you mean `push`?",
    );
    refuses(
        &with("triggers: [{event: schedule}]"),
        (2, 12),
        codes::MISSING_KEY,
        "a trigger for `schedule` has no `cron`",
        "30 4",
    );
    refuses(&with("artifacts: {name: a}"), (2, 12), codes::MISSING_KEY, "`artifacts` has no `paths`", "add `paths");
    let cron = found(&with("triggers: [{event: schedule, cron: every day}]"));
    assert_eq!((cron[0].0, cron[0].1, cron[0].2), (2, 36, "native/bad-cron"), "{cron:?}");
    refuses(
        &format!("{}---\nx: 1\n", with("")),
        (7, 1),
        codes::SYNTAX,
        "a pipeline is one document",
        "remove this document",
    );
}

#[test]
fn the_keys_of_a_job() {
    let with = |line: &str| job(&format!("{STEPS}\n{line}"));
    refuses(&job("image: a"), (3, 3), codes::MISSING_KEY, "the job has no `steps`, in job `build`", "add `steps:`");
    refuses(&job("steps: []"), (4, 12), codes::EMPTY, "`steps` has no item, in job `build`", "add one");
    refuses(
        &with("step: 1"),
        (5, 5),
        codes::UNKNOWN_KEY,
        "a job has no key `step`, in job `build`",
        "did you mean `steps`?",
    );
    refuses(
        &with("image: a\nimage: b"),
        (6, 5),
        codes::DUPLICATE_KEY,
        "the key `image` is written twice, in job `build`",
        "keep one",
    );
    refuses(
        &with("name: other"),
        (5, 11),
        codes::NAME_DIFFERS,
        "the name `other` differs from the job's key `build`, in job `build`",
        "name: build",
    );
    for (line, message) in [
        ("timeout: 3601", "`timeout` is 3601, and must lie between 1 and 3600, in job `build`"),
        ("timeout: 0", "`timeout` is 0, and must lie between 1 and 3600, in job `build`"),
        ("retry_count: 6", "`retry_count` is 6, and must lie between 0 and 5, in job `build`"),
        ("retry_count: -1", "`retry_count` is -1, and must lie between 0 and 5, in job `build`"),
        ("estimated_duration: 0", "`estimated_duration` is 0, and must be at least 1, in job `build`"),
    ] {
        let column = u32::try_from(line.find(' ').unwrap()).unwrap() + 6;
        refuses(&with(line), (5, column), codes::OUT_OF_RANGE, message, "");
    }
    refuses(
        &with("timeout: ${BRANCH_NAME:-x}"),
        (5, 14),
        codes::WRONG_TYPE,
        "`timeout` is a whole number, and `${BRANCH_NAME:-x}` makes `x`, in job `build`",
        "",
    );
    refuses(&with("depends_on: a"), (5, 17), codes::WRONG_TYPE, "`depends_on` is a list, not text, in job `build`", "");
    refuses(
        &with("image: Ubuntu:20.04"),
        (5, 12),
        codes::BAD_IMAGE,
        "`Ubuntu:20.04` is no image: `Ubuntu` has capitals, and repositories are written small, in job `build`",
        "registry/repository:tag",
    );
    refuses(
        &with("conditional: env.A = 1"),
        (5, 24),
        codes::BAD_EXPRESSION,
        "Unexpected symbol: '=', in job `build`",
        "docs/expressions.md",
    );
    refuses(
        &with("conditional: branch == 'x'"),
        (5, 18),
        codes::UNDEFINED_VARIABLE,
        "`branch` is no named value, in job `build`",
        "env.branch",
    );
    refuses(&with("matrix: {}"), (5, 13), codes::EMPTY, "`matrix` has no axis, in job `build`", "version: [1, 2]");
    refuses(&with("matrix: {v: []}"), (5, 17), codes::EMPTY, "`v` has no item, in job `build`", "add one");
    refuses(
        &with("matrix: [v]"),
        (5, 13),
        codes::WRONG_TYPE,
        "`matrix` is a mapping of axes to lists, not a list, in job `build`",
        "",
    );
    refuses(
        &with("resources: {memory: much}"),
        (5, 25),
        codes::UNKNOWN_VALUE,
        "`memory` cannot be `much`, in job `build`",
        "512MiB",
    );
    refuses(
        &with("services: [{alias: db}]"),
        (5, 16),
        codes::MISSING_KEY,
        "the service has no `image`, in job `build`",
        "postgres",
    );
    refuses(
        &with("cache: {paths: [a]}"),
        (5, 12),
        codes::MISSING_KEY,
        "the cache has no `key`, in job `build`",
        "key: deps",
    );
    refuses(
        &with("cache: {key: k, paths: [../a]}"),
        (5, 29),
        codes::BAD_PATH,
        "`../a` leads out of the workspace, in job `build`",
        "without `..`",
    );
    refuses(
        &with("deployment: {url: x}"),
        (5, 17),
        codes::MISSING_KEY,
        "`deployment` has no `environment`, in job `build`",
        "production",
    );
    refuses(
        &with("deployment: {environment: p, strategy: blue}"),
        (5, 44),
        codes::UNKNOWN_VALUE,
        "`strategy` cannot be `blue`, in job `build`",
        "`blue-green`",
    );
    let text = format!("name: demo\njobs:\n  a b:\n    {STEPS}\n");
    refuses(&text, (3, 3), codes::BAD_NAME, "`a b` is no name for a job, in job `a b`", "letters, digits");
}

#[test]
fn the_keys_of_a_step() {
    let place = ", in job `build`, step `one`";
    refuses(
        &job("steps: [{script: a}]"),
        (4, 13),
        codes::MISSING_KEY,
        "the step has no `name`, in job `build`",
        "unique",
    );
    for (keys, at, code, message, help) in [
        ("image: a", (5, 7), codes::SCRIPT_OR_ACTION, "the step has neither `script` nor `action`", "echo hello"),
        (
            "script: a\naction: b",
            (7, 7),
            codes::SCRIPT_OR_ACTION,
            "the step has both `script` and `action`",
            "two steps",
        ),
        ("script: []", (6, 15), codes::EMPTY, "`script` has no item", "add one"),
        ("script: ''", (6, 15), codes::EMPTY, "`script` has no command", "add one"),
        ("script: [{a: b}]", (6, 16), codes::WRONG_TYPE, "`script[]` is text, not a mapping", ""),
        ("scripts: a\nscript: b", (6, 7), codes::UNKNOWN_KEY, "a step has no key `scripts`", "did you mean `script`?"),
        (
            "script: a\ntimeout: 1801",
            (7, 16),
            codes::OUT_OF_RANGE,
            "`timeout` is 1801, and must lie between 1 and 1800",
            "",
        ),
        (
            "script: a\nretry_count: 4",
            (7, 20),
            codes::OUT_OF_RANGE,
            "`retry_count` is 4, and must lie between 0 and 3",
            "",
        ),
        (
            "script: a\ncontinue_on_failure: maybe",
            (7, 28),
            codes::WRONG_TYPE,
            "`continue_on_failure` is `true` or `false`, not text",
            "",
        ),
        (
            "script: a\nworking_directory: ../x",
            (7, 26),
            codes::BAD_PATH,
            "`../x` leads out of the workspace",
            "without",
        ),
        (
            "script: a\nimage: 'a b'",
            (7, 14),
            codes::BAD_IMAGE,
            "`a b` is no image: ' ' cannot stand in an image's name",
            "",
        ),
        ("script: a\nimage: a:-b", (7, 14), codes::BAD_IMAGE, "`a:-b` is no image: `-b` is no tag", ""),
        ("script: a\nenvironment: {A-B: c}", (7, 21), codes::BAD_NAME, "`A-B` is no name for a variable", ""),
    ] {
        refuses(&step(keys), at, code, &format!("{message}{place}"), help);
    }
    refuses(
        &job("steps:\n- {name: one, script: a}\n- {name: one, script: b}"),
        (6, 14),
        codes::DUPLICATE_STEP,
        "two steps are called `one`, in job `build`",
        "rename",
    );
}

#[test]
fn references_are_checked_where_they_stand() {
    let place = ", in job `build`, step `one`";
    for (keys, at, code, message, help) in [
        (
            "script: a\nimage: tool:${BUILD_NUMBR}",
            (7, 19),
            codes::UNDEFINED_VARIABLE,
            "variable `BUILD_NUMBR` is not defined",
            "did you mean `BUILD_NUMBER`?",
        ),
        ("script: a\nimage: 'x:${A'", (7, 17), codes::BAD_REFERENCE, "the reference is never closed", "close it"),
        (
            "script: ['echo ${secrets.KEY}']",
            (6, 22),
            codes::SECRET_PLACE,
            "`secrets.KEY` stands where a secret may not",
            "put it into `environment`",
        ),
        (
            "script: ['echo ${{ secrets.KEY }}']",
            (6, 26),
            codes::SECRET_PLACE,
            "`secrets.KEY` stands where a secret may not",
            "put it into `environment`",
        ),
        (
            "script: ['echo ${matrix.v}']",
            (6, 22),
            codes::UNDEFINED_VARIABLE,
            "variable `matrix.v` is not defined",
            "no axes",
        ),
        (
            "script: ['echo ${job.biuld.status}']",
            (6, 22),
            codes::UNDEFINED_VARIABLE,
            "variable `job.biuld` is not defined",
            "did you mean `build`?",
        ),
        ("script: ['echo ${{ 1 + }}']", (6, 28), codes::BAD_EXPRESSION, "Unexpected end of expression: '+'", ""),
    ] {
        refuses(&step(keys), at, code, &format!("{message}{place}"), help);
    }
    let circle =
        found("name: demo\nglobal_env: {A: '${B}', B: '${A}'}\njobs:\n  a: {steps: [{name: one, script: x}]}\n");
    assert_eq!(circle.len(), 2, "{circle:?}");
    assert_eq!(circle[0].2, "native/variable-cycle");
    assert!(circle[0].3.contains("A -> B -> A"), "{}", circle[0].3);
}

#[test]
fn all_errors_come_in_one_pass() {
    let text = "name: demo\ntimeout: x\njobs:\n  a:\n    steps: []\n  b:\n    timeout: 0\n    steps: [{name: s}]\n";
    let lines: Vec<u32> = found(text).iter().map(|it| it.0).collect();
    assert_eq!(lines, [2, 5, 7, 8]);
}

const WHOLE: &str = "
name: demo
global_env: {STAGE: prod, URL: 'https://${HOST:-localhost}/${STAGE}'}
retry_policy: {max_attempts: 3}
artifacts: {paths: [dist/], expire_in: 7 days}
triggers:
- {event: push, branches: [main, 'release/*']}
- {event: schedule, cron: '30 4 * * 1-5'}
jobs:
  build:
    image: rust:1.91
    timeout: ${TIMEOUT:-600}
    environment: {KEY: '${secrets.KEY}', TARGETS: 'unit,e2e'}
    resources: {cpu: 500m, memory: 2GB, disk: 10GiB}
    services: [postgres:16, {image: redis:7, alias: cache}]
    cache: {key: 'deps-${BRANCH_NAME}', paths: [target/]}
    estimated_duration: 90
    steps:
    - name: compile
      script:
      - cargo build
      - echo ${PROFILE:-debug} ${#list}
    - name: fetch
      action: checkout
  test:
    depends_on: [build]
    environment: {TARGETS: 'unit,e2e'}
    matrix:
      target: ${{ env.TARGETS.split(',') }}
      python: ['3.9', 3.10]
      exclude: [{target: e2e, python: '3.9'}]
      include: [{target: lint, python: '3.12'}]
      fail_fast: false
      max_parallel: 2
    steps: [{name: run, script: ['./test ${matrix.target} ${{ job.build.status }}'], continue_on_failure: true}]
  ship:
    depends_on: [test, build]
    conditional: ${{ env.BRANCH_NAME == 'main' }}
    retry_count: 0
    deployment: {environment: production, url: '${URL}', strategy: blue-green}
    steps: [{name: up, script: ./ship, image: '${TARGET}-tool:1', retry_count: 2}]
";

#[test]
fn a_whole_pipeline_is_planned() {
    let checked = read("forgehand.yml", WHOLE, &given());
    let errors: Vec<_> = checked.diagnostics.iter().map(|it| (it.span.line, &it.message)).collect();
    let pipeline = checked.value.unwrap_or_else(|| panic!("{errors:?}"));
    assert_eq!((pipeline.timeout, pipeline.jobs[0].timeout, pipeline.jobs[1].timeout), (7_200, 600, 3_600));
    assert_eq!(pipeline.jobs[0].resources.cpu, Some(500));
    assert_eq!(pipeline.jobs[0].resources.memory, Some(2_000_000_000));
    assert_eq!(pipeline.jobs[2].steps[0].working_directory, "/workspace");
    let planned = plan(&pipeline, &Hierarchy::new()).unwrap();
    let names: Vec<&str> = planned.definition.jobs.iter().map(|job| job.name.as_str()).collect();
    let legs = ["test (unit, 3.9)", "test (unit, 3.10)", "test (e2e, 3.10)", "test (lint, 3.12)"];
    assert_eq!(names, [&["build"][..], &legs[..], &["ship"]].concat());
    let ship = &planned.definition.jobs[5];
    assert_eq!(ship.named_needs(), [&legs[..], &["build"]].concat());
    assert_eq!((planned.definition.jobs[0].retry.max, ship.retry.max), (2, 0));
    assert_eq!(ship.start, crate::pipeline::StartCondition::Decided);
    assert_eq!(planned.definition.groups[0].max_parallel, Some(2));
    assert!(!planned.definition.groups[0].fail_fast);
    assert_eq!(planned.legs[3].values[1], ("python".to_owned(), "3.10".to_owned()));
}

#[test]
fn the_schema_knows_every_key_and_range() {
    let schema = schema();
    let job = &schema["$defs"]["Job"];
    assert_eq!(job["properties"]["timeout"]["maximum"], 3_600);
    assert_eq!(job["properties"]["retry_count"]["maximum"], 5);
    assert_eq!(job["required"], serde_json::json!(["steps"]));
    assert_eq!(schema["required"], serde_json::json!(["name", "jobs"]));
    assert_eq!(schema["$defs"]["Step"]["properties"]["timeout"]["maximum"], 1_800);
    assert_eq!(job["additionalProperties"], false);
    assert!(job["properties"]["span"].is_null());
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config { cases: 200, ..Default::default() })]
    #[test]
    fn no_text_panics_or_hangs(at in 0..WHOLE.len(), length in 0..20usize, with in "[a-z{}$:\\[\\]'\" \n-]{0,6}") {
        let end = (at + length).min(WHOLE.len());
        let text = format!("{}{with}{}", &WHOLE[..at], &WHOLE[end..]);
        if let Some(pipeline) = read("f", &text, &given()).value {
            let _ = plan(&pipeline, &Hierarchy::new());
        }
    }
}

#[test]
fn the_examples_of_the_documentation_hold() {
    for (name, text) in [("native.md", include_str!("../../../docs/native.md"))] {
        let examples: Vec<&str> = text.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
        assert!(!examples.is_empty(), "{name} has no example");
        for example in examples {
            let checked = read(name, example, &given());
            let errors: Vec<_> = checked.diagnostics.iter().map(|it| (it.span.line, &it.message)).collect();
            assert!(checked.value.is_some(), "{name}: {errors:?}\n{example}");
        }
    }
}
