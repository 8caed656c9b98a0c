use super::*;

mod documentation;
mod rules;
mod schema;

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

/// A pipeline of so many jobs, each of which waits for the one before, with variables, a condition and results.
fn many(jobs: usize) -> String {
    let mut text = "name: p\nglobal_env: {STAGE: prod, URL: 'https://${STAGE}.example.org'}\njobs:\n".to_owned();
    for at in 0..jobs {
        let before = at.saturating_sub(1);
        let needs = if at == 0 { String::new() } else { format!("j{before}") };
        let last = if at == 0 { "none".to_owned() } else { format!("${{job.j{before}.status}}") };
        text += &format!(
            "  j{at}:\n    depends_on: [{needs}]\n    conditional: env.STAGE == 'prod'\n    environment: {{LAST: '{last}', U: \
             '${{URL}}/{at}'}}\n    steps: [{{name: s, script: make}}]\n"
        );
    }
    text
}

#[test]
fn time_grows_with_the_number_of_jobs_and_not_with_its_square() {
    let time = |jobs: usize| {
        let text = many(jobs);
        let begun = std::time::Instant::now();
        let pipeline = std::sync::Arc::new(read("forgehand.yml", &text, &given()).value.unwrap());
        let run = run::Run::new(std::sync::Arc::clone(&pipeline), &run::Values::default());
        let planned = run.foresee(plan(&pipeline, run.hierarchy()).unwrap()).planned;
        assert_eq!(planned.legs.len(), jobs);
        begun.elapsed()
    };
    time(200);
    let (few, lots) = (time(500), time(5_000));
    // Ten times the jobs: a square would take a hundred times as long.
    assert!(lots < few * 40, "{few:?} for 500, {lots:?} for 5,000");
}

#[test]
fn variables_that_ask_for_all_variables_come_to_an_end() {
    let variables: Vec<String> = (0..40).map(|at| format!("V{at}: '${{{{ toJSON(env) }}}}'")).collect();
    let text =
        format!("name: p\nglobal_env: {{{}}}\njobs:\n  a: {{steps: [{{name: s, script: x}}]}}\n", variables.join(", "));
    let begun = std::time::Instant::now();
    let all = found(&text);
    assert_eq!(all[0].3, "the value of `V0` asks for all variables, itself among them");
    assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
}
