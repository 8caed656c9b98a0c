//! The language as of 2026, and what Gitea and Forgejo take.

use std::collections::BTreeMap;

use super::*;
use crate::parser::github::workflow::model::{Control, StepKind};

fn job(steps: &str) -> String {
    format!("on: push\njobs:\n  a:\n    runs-on: x\n    steps:\n{steps}")
}

fn messages(text: &str, dialect: Dialect) -> Vec<String> {
    let options = CheckOptions { dialect, lints: false, ..CheckOptions::default() };
    errors(&check("w.yml", text, &NoFiles, &options)).into_iter().map(|error| error.3).collect()
}

#[test]
fn background_steps_wait_and_cancel() {
    let text = job(
        "      - {id: db, run: a, background: true}\n      - {wait: [db]}\n      - {wait-all: }\n      - {cancel: db}\n      - parallel:\n        - run: b\n        - {id: c, run: c}\n",
    );
    let checked = check("w.yml", &text, &NoFiles, &CheckOptions::default());
    assert!(!checked.diagnostics.has_errors(), "{:?}", errors(&checked));
    let workflow = checked.value.unwrap();
    let steps = workflow.jobs[0].steps();
    let controls: Vec<&Control> = steps
        .iter()
        .filter_map(|step| if let StepKind::Control(control) = &step.kind { Some(control) } else { None })
        .collect();
    assert_eq!(controls[0], &Control::Wait(vec!["db".into()]));
    assert_eq!(controls[1], &Control::WaitAll);
    assert_eq!(controls[2], &Control::Cancel(vec!["db".into()]));
    assert_eq!(controls[3], &Control::Wait(vec!["__run".into(), "c".into()]));
    assert!(steps.iter().filter(|step| step.background).count() == 3);
}

#[test]
fn targets_of_waits_are_known_steps() {
    let text = job(
        "      - {id: db, run: a, background: true}\n      - {wait: bd}\n      - {id: w, wait: w}\n      - {wait-all: false}\n",
    );
    assert_eq!(
        messages(&text, Dialect::GitHub),
        [
            "Step references unknown step ID 'bd'",
            "Step 'w' cannot reference itself",
            "The value of 'wait-all' must be true or omitted",
        ]
    );
}

#[test]
fn what_is_wrong_besides_is_told_in_the_same_pass() {
    let condition = job("      - {name: n, if: nope == 1}\n");
    let found = messages(&condition, Dialect::GitHub);
    assert!(found.iter().any(|message| message.starts_with("Unrecognized named-value: 'nope'")), "{found:?}");
    // The unknown key right behind the container is none of its own.
    let image = "on: push\njobs:\n  a:\n    runs-on: x\n    container:\n      env: {A: x}\n    stepps: []\n";
    assert!(messages(image, Dialect::GitHub).contains(&"Container image cannot be empty".to_owned()));
    let needs = "on: push\njobs:\n  a: {needs: '${{ env.X }}', runs-on: x, steps: [{run: x}]}\n";
    assert_eq!(messages(needs, Dialect::GitHub).len(), 1);
}

#[test]
fn a_tag_where_an_expression_was_meant_is_explained() {
    let text = job("      - {run: x, if: !cancelled()}\n")
        .replace("{run: x, if: !cancelled()}", "run: x\n        if: !cancelled()");
    let options = CheckOptions { lints: false, ..CheckOptions::default() };
    let checked = check("w.yml", &text, &NoFiles, &options);
    let help = checked.diagnostics.iter().find_map(|finding| finding.help.as_deref()).unwrap_or_default();
    assert!(help.contains("`\"!cancelled() …\"`"), "{help}");
}

#[test]
fn a_long_queue_does_not_cancel() {
    let of = |queue: &str, cancel: &str| {
        let concurrency = format!("{{group: g, queue: {queue}, cancel-in-progress: {cancel}}}");
        let jobs = format!("jobs:\n  a: {{concurrency: {concurrency}, runs-on: x, steps: [{{run: x}}]}}\n");
        messages(&format!("on: push\nconcurrency: {concurrency}\n{jobs}"), Dialect::GitHub)
    };
    assert_eq!(of("max", "true"), ["'queue: max' cannot be combined with 'cancel-in-progress: true'."; 2]);
    assert!(of("max", "false").is_empty());
    assert!(of("single", "true").is_empty());
    assert_eq!(of("two", "false"), ["Unexpected value 'two'"; 2]);
}

#[test]
fn a_job_does_not_wait_for_its_own_run() {
    let of = |run: &str, job: &str| {
        let jobs = format!("jobs:\n  a: {{concurrency: {job}, runs-on: x, steps: [{{run: x}}]}}\n");
        let text = format!("on: push\nconcurrency: {run}\n{jobs}");
        let checked = check("w.yml", &text, &NoFiles, &CheckOptions::default());
        checked.diagnostics.iter().map(|found| (found.severity, found.span.line, found.span.column)).collect::<Vec<_>>()
    };
    use crate::parser::diagnostics::Severity::Warning;
    assert_eq!(of("g", "{group: G}"), [(Warning, 4, 20)]);
    assert!(of("g", "h").is_empty());
    assert!(of("${{ github.ref }}", "g").is_empty());
}

#[test]
fn what_the_server_passes_over_is_no_error() {
    let of = |on: &str| messages(&format!("{on}\njobs: {{a: {{runs-on: x, steps: [{{run: x}}]}}}}\n"), Dialect::GitHub);
    assert!(of("on: {workflow_dispatch: {inptus: x, inputs: {a: , b: {type: boolean}}}}").is_empty());
    assert!(of("description: what it is for\non: push").is_empty());
    assert_eq!(of("on: {workflow_dispatch: {inputs: {a: {kind: x}}}}"), ["Unexpected value 'kind'"]);
    assert_eq!(of("on: {workflow_run: {workflow: x}}"), ["Unexpected value 'workflow'"]);
    let minutes = "on: push\njobs: {a: {runs-on: x, timeout-minutes: 1e400, steps: [{run: x}]}}";
    assert!(messages(minutes, Dialect::GitHub).is_empty());
    let group = "on: push\njobs: {a: {runs-on: {group: x/g}, steps: [{run: x}]}}";
    let said = "Invalid runs-on group name 'x/g'. Please use 'organization/' or 'enterprise/' prefix to target a single runner group.";
    assert_eq!(messages(group, Dialect::GitHub), [said]);
}

#[test]
fn insert_is_a_key_and_no_value() {
    let job = |env: &str| format!("on: push\njobs: {{a: {{runs-on: x, env: {env}, steps: [{{run: x}}]}}}}");
    assert!(messages(&job("{'${{ insert }}': '${{ matrix }}'}"), Dialect::GitHub).is_empty());
    assert_eq!(messages(&job("{A: '${{ insert }}'}"), Dialect::GitHub), ["Unexpected value '${{ insert }}'"]);
    let below_an_empty_key = "on: push\njobs:\n  '': {steps: [{run: x}]}\n";
    assert_eq!(
        messages(below_an_empty_key, Dialect::GitHub),
        ["Unexpected value ''", "Required property is missing: runs-on"]
    );
}

#[test]
fn called_workflows_lie_at_the_top_of_their_folder() {
    let of = |uses: &str, dialect: Dialect| messages(&format!("on: push\njobs: {{c: {{uses: '{uses}'}}}}"), dialect);
    let wrong = [
        ("./lib.yml", "local workflow references must be rooted in '.github/workflows'"),
        ("$/lib.yml", "self repository workflows must be rooted in '.github/workflows'"),
        (
            "./.github/workflows/sub/lib.yml",
            "workflows must be defined at the top level of the .github/workflows/ directory",
        ),
        ("./.github/workflows/lib.yml@main", "cannot specify version when calling local workflows"),
        ("./.github/workflows/lib", "workflow file should have either a '.yml' or '.yaml' file extension"),
        ("./.github/workflows/.yml", "invalid workflow file name"),
        ("a/b/dir/x.yml@v1", "references to workflows must be rooted in '.github/workflows'"),
        (
            "a/b/.github/workflows/s/x.yml@v1",
            "workflows must be defined at the top level of the .github/workflows/ directory",
        ),
        (
            "a/.github/workflows/x.yml@v1",
            "references to workflows must be prefixed with format 'owner/repository/' or './' for local workflows",
        ),
        ("a/b/.github/workflows/x.yml", "no version specified"),
        ("a/b/.github/workflows/x.yml@", "no version specified"),
        ("a/b/.github/workflows/x.yml@v1@v2", "too many '@' in workflow reference"),
        ("a/b/.github/workflows/x@v1", "workflow file should have either a '.yml' or '.yaml' file extension"),
    ];
    for (uses, why) in wrong {
        assert_eq!(of(uses, Dialect::GitHub), [format!("Invalid workflow reference '{uses}': {why}")], "{uses}");
    }
    for good in ["./.github/workflows/lib.yml", "$/.github/workflows/a.yaml", "a/b/.github/workflows/x.yml@v1"] {
        assert!(of(good, Dialect::GitHub).is_empty(), "{good}");
    }
    assert!(of("./.forgejo/workflows/lib.yml", Dialect::Forgejo).is_empty());
    assert!(of("./.gitea/workflows/lib.yml", Dialect::Gitea).is_empty());
}

#[test]
fn new_words_of_the_language() {
    let text = "on: push\njobs:\n  a:\n    runs-on: x\n    env: &e {A: b}\n    snapshot: {image-name: i, version: 1.*}\n    services:\n      db: {image: i, command: c, entrypoint: e}\n    if: case(github.ref == 'x', true, false)\n    steps:\n      - {uses: $/actions/a, env: *e}\n  b:\n    uses: $/.github/workflows/b.yml\n";
    assert!(messages(text, Dialect::GitHub).is_empty(), "{:?}", messages(text, Dialect::GitHub));
}

#[test]
fn every_error_in_one_pass_also_behind_the_schema() {
    let text = "on: push\njobs:\n  a:\n    runs_on: x\n    needs: c\n    steps:\n      - {id: 1x, run: a}\n  b:\n    runs-on: x\n    if: secrets.A\n    steps: [{run: a}]\n";
    let found = messages(text, Dialect::GitHub);
    for part in [
        "Unexpected value 'runs_on'",
        "Required property is missing: runs-on",
        "unknown job 'c'",
        "'1x' is invalid",
        "'secrets'",
    ] {
        assert!(found.iter().any(|message| message.contains(part)), "{part}: {found:?}");
    }
}

#[test]
fn gitea_and_forgejo_take_what_their_runners_take() {
    let text = "on: {schedule: [{cron: \"@daily\"}]}\nenable-openid-connect: true\njobs:\n  a:\n    runs-on: x\n    steps:\n      - uses: https://code.example/o/r@v1\n      - run: echo ${{ gitea.sha }} ${{ forge.sha }}\n";
    assert!(messages(text, Dialect::Forgejo).is_empty(), "{:?}", messages(text, Dialect::Forgejo));
    // The schedule, the key, and both names; GitHub reads the address as an owner `https:`.
    assert_eq!(messages(text, Dialect::GitHub).len(), 4);
    let loose = "on: push\nunknown: 1\njobs:\n  a:\n    steps: [{run: a}]\n";
    assert!(messages(loose, Dialect::Gitea).is_empty());
    assert_eq!(
        messages(loose, Dialect::Forgejo),
        ["Unexpected value 'unknown'", "Required property is missing: runs-on"]
    );
}

#[test]
fn a_called_workflow_that_is_missing_is_a_note_and_one_that_is_wrong_an_error() {
    let text = "on: push\njobs:\n  a:\n    uses: ./.github/workflows/deploi.yml\n  b:\n    uses: ./.github/workflows/deploy.yml\n    with: {enviroment: x}\n";
    let called = "on:\n  workflow_call:\n    inputs:\n      environment: {type: string, required: true}\njobs:\n  x:\n    runs-on: y\n    steps: [{rnu: z}]\n";
    let files = BTreeMap::from([(".github/workflows/deploy.yml".to_owned(), called.to_owned())]);
    let checked = check("w.yml", text, &files, &CheckOptions { lints: false, ..CheckOptions::default() });
    let note = checked.diagnostics.iter().find(|finding| finding.severity == Severity::Note).unwrap();
    assert!(note.help.as_deref().unwrap().contains("deploy.yml"), "{note:?}");
    let found = errors(&checked);
    let has = |file: &str, line: u64, message: &str| {
        found.iter().any(|error| error.0.ends_with(file) && error.1 == line && error.3.contains(message))
    };
    assert!(has("w.yml", 6, "Input environment is required"), "{found:?}");
    assert!(has("w.yml", 7, "Invalid input, enviroment"), "{found:?}");
    assert!(has("deploy.yml", 8, "Unexpected value 'rnu'"), "{found:?}");
    let workflow = checked.value.unwrap();
    assert_eq!(workflow.jobs[1].as_call().unwrap().workflow.as_ref().unwrap().jobs[0].key(), "x");
}

#[test]
fn a_matrix_that_is_too_big_is_told_before_the_run() {
    let vector = |name: &str, count: usize| format!("{name}: [{}]", vec!["1"; count].join(", "));
    let warned = |matrix: &str| {
        let text = format!(
            "on: push\njobs:\n  a:\n    runs-on: x\n    strategy: {{matrix: {{{matrix}}}}}\n    steps: [{{run: x}}]\n"
        );
        let checked = check("w.yml", &text, &NoFiles, &CheckOptions::default());
        assert!(!checked.diagnostics.has_errors(), "{:?}", errors(&checked));
        let found: Vec<_> = checked.diagnostics.iter().filter(|one| one.code == codes::MATRIX).collect();
        assert!(found.iter().all(|one| (one.span.line, one.span.column) == (5, 16) && one.message.contains("256")));
        found.len()
    };
    assert_eq!(warned(&format!("{}, {}", vector("a", 16), vector("b", 16))), 0);
    assert_eq!(warned(&format!("{}, {}", vector("a", 16), vector("b", 17))), 1);
    assert_eq!(warned(&vector("a", 257)), 1);
    assert_eq!(warned(&format!("{}, include: [{{a: 2}}]", vector("a", 256))), 1);
    assert_eq!(warned(&format!("{}, include: [{{a: 1, c: 2}}]", vector("a", 256))), 0);
    assert_eq!(warned(&format!("include: [{}]", vec!["{a: 1}"; 257].join(", "))), 1);
    assert_eq!(warned(&format!("{}, b: [1, 2], exclude: [{{b: 2}}]", vector("a", 200))), 0);
    assert_eq!(warned(&format!("{}, b: [1, 2], exclude: [{{b: 3}}]", vector("a", 200))), 1);
    assert_eq!(warned(&format!("{}, b: '${{{{ fromJSON(vars.B) }}}}'", vector("a", 300))), 0);
}

#[test]
fn findings_say_in_which_job_and_step_they_are() {
    let text = "on: push\nnmae: x\njobs:\n  build-frontend:\n    steps:\n      - {run: a}\n      - name: run-tests\n        runn: x\n      - id: third\n        runn: x\n      - runn: x\n    runs-on: x\n    runns: x\n  other:\n    runs-on: x\n    needs: nowhere\n    steps: [{name: '', run: x, id: s, x: y}]\n  last: {runs-on: x, steps: [{run: x}], x: y}\non2: x\n";
    let checked = check("w.yml", text, &NoFiles, &CheckOptions { lints: false, ..CheckOptions::default() });
    let context = |one: &Diagnostic| one.context.as_ref().map(ToString::to_string);
    let found: Vec<(u32, Option<String>)> =
        checked.diagnostics.iter().map(|one| (one.span.line, context(one))).collect();
    let expected = [
        (2, None),
        // Nothing says what these steps do.
        (7, Some("in job `build-frontend`, step `run-tests`")),
        (9, Some("in job `build-frontend`, step `third`")),
        (8, Some("in job `build-frontend`, step `run-tests`")),
        (10, Some("in job `build-frontend`, step `third`")),
        (11, Some("in job `build-frontend`, step 4")),
        (13, Some("in job `build-frontend`")),
        // Its own words name the job.
        (16, None),
        (17, Some("in job `other`, step `s`")),
        (18, Some("in job `last`")),
        (19, None),
    ];
    for (line, context) in &expected {
        let is_there = found.iter().any(|one| one.0 == *line && one.1.as_deref() == *context);
        assert!(is_there, "{line}: {context:?} is not in {found:?}");
    }
    let known = |one: &(u32, Option<String>)| expected.contains(&(one.0, one.1.as_deref()));
    assert!(found.iter().all(known), "{found:?}");
    let all = crate::parser::diagnostics::json::all(&checked.diagnostics, &checked.sources);
    let tests = all.iter().find(|one| one.line == 8).unwrap();
    assert_eq!(tests.message, "Unexpected value 'runn'");
    assert_eq!(tests.context.as_deref(), Some("in job `build-frontend`, step `run-tests`"));
    let told = checked.diagnostics.iter().find(|one| one.span.line == 8).unwrap();
    let line = crate::parser::diagnostics::render::line(told, &checked.sources);
    assert_eq!(line, "w.yml:8:9: error: Unexpected value 'runn' (in job `build-frontend`, step `run-tests`)");
}

/// What an alias brings is told where it stands.
#[test]
fn findings_behind_an_alias_belong_to_the_job_that_has_the_text() {
    let text = "on: push\njobs:\n  a:\n    runs-on: x\n    steps: &steps\n      - {name: one, runn: x}\n  b:\n    runs-on: x\n    steps: *steps\n    x: y\n";
    let checked = check("w.yml", text, &NoFiles, &CheckOptions { lints: false, ..CheckOptions::default() });
    let found = |line: u32| -> Vec<String> {
        let there = checked.diagnostics.iter().filter(|one| one.span.line == line);
        there.map(|one| one.context.as_ref().map(ToString::to_string).unwrap_or_default()).collect()
    };
    assert!(found(6).iter().all(|context| context == "in job `a`, step `one`") && !found(6).is_empty());
    assert_eq!(found(10), ["in job `b`"]);
}
