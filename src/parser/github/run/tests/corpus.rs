//! The corpus of runs, and what is not in it.

use std::collections::BTreeMap;

use serde_json::Value;

use super::host::{Job, facts, run};
use crate::parser::github::run::Conclusion;
use crate::pipeline::Secret;

fn pairs(value: &Value) -> Vec<(String, String)> {
    let entries = value.as_object().into_iter().flatten();
    entries.map(|(key, value)| (key.clone(), value.as_str().map_or_else(|| value.to_string(), str::to_owned))).collect()
}

/// What disagrees with what is expected of a case.
fn disagreement(case: &Value) -> Vec<String> {
    let files: BTreeMap<String, String> = pairs(&case["files"]).into_iter().collect();
    let mut facts = facts(case["event"].as_str().unwrap_or("push"));
    facts.inputs = pairs(&case["inputs"]);
    facts.vars = pairs(&case["vars"]);
    facts.secrets = pairs(&case["secrets"]).into_iter().map(|(key, value)| (key, Secret::new(value))).collect();
    let (conclusion, jobs) = run(&files, facts);
    let said = |status: &str| if status == "failed" { "failure".to_owned() } else { status.to_owned() };
    let mut problems = Vec::new();
    if conclusion.as_str() != said(case["expect"]["status"].as_str().unwrap()) {
        problems.push(format!("the run is {conclusion:?}"));
    }
    let expected = case["expect"]["jobs"].as_object().unwrap();
    if jobs.len() != expected.len() {
        problems.push(format!("jobs {:?}", jobs.keys()));
    }
    for (name, expect) in expected {
        let Some(job) = jobs.get(name) else {
            problems.push(format!("no job {name}"));
            continue;
        };
        if job.status != said(expect["status"].as_str().unwrap()) {
            problems.push(format!("{name}: {} {} {:?}", job.status, job.reason, job.lines));
        }
        let mut lines = job.lines.iter();
        for wanted in expect["log"].as_array().into_iter().flatten() {
            if !lines.any(|line| line == wanted.as_str().unwrap()) {
                problems.push(format!("{name}: no line {wanted} in {:?}", job.lines));
            }
        }
        for unwanted in expect["not"].as_array().into_iter().flatten() {
            if job.lines.iter().any(|line| line == unwanted.as_str().unwrap()) {
                problems.push(format!("{name}: the line {unwanted}"));
            }
        }
    }
    problems
}

#[test]
fn the_cases_hold() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/corpus/github/runs");
    let Ok(entries) = std::fs::read_dir(folder) else {
        eprintln!("note: no corpus");
        return;
    };
    let (mut count, mut bad) = (0, Vec::new());
    for entry in entries {
        let case: Value = serde_json::from_slice(&std::fs::read(entry.unwrap().path()).unwrap()).unwrap();
        // Actions are not run, and a container asks for an engine.
        let asks = case["needs"].as_array().is_some_and(|needs| !needs.is_empty());
        if asks || case["may_differ"] == true {
            continue;
        }
        count += 1;
        bad.extend(disagreement(&case).into_iter().map(|problem| format!("{}: {problem}", case["name"])));
    }
    eprintln!("{count} cases, {} disagreements", bad.len());
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}

fn jobs(text: &str) -> (Conclusion, BTreeMap<String, Job>) {
    run(&BTreeMap::from([(".github/workflows/ci.yml".to_owned(), text.to_owned())]), facts("push"))
}

#[test]
fn a_job_that_may_fail_counts_as_a_success() {
    let (conclusion, jobs) = jobs(
        "on: push\njobs:\n  a: {runs-on: x, continue-on-error: true, steps: [{run: exit 1}]}\n  b: {needs: a, runs-on: x, steps: [{run: 'echo ${{ needs.a.result }}'}]}\n",
    );
    assert_eq!(conclusion, Conclusion::Success);
    assert_eq!(jobs["a"].status, "failure");
    assert_eq!(jobs["b"].lines, ["success"]);
}

#[test]
fn a_skip_goes_down_the_chain_and_says_why() {
    let (conclusion, jobs) = jobs(
        "on: push\njobs:\n  a: {if: false, runs-on: x, steps: [{run: 'true'}]}\n  b: {needs: a, if: always(), runs-on: x, steps: [{run: 'true'}]}\n  c: {needs: b, runs-on: x, steps: [{run: 'true'}]}\n",
    );
    assert_eq!(conclusion, Conclusion::Success);
    assert_eq!(jobs["a"].reason, "its condition `false` does not hold");
    assert_eq!(jobs["b"].status, "success");
    assert_eq!(jobs["c"].status, "skipped");
    assert_eq!(jobs["c"].reason, "a job before those that it needs did not succeed");
}

#[test]
fn the_first_failure_of_a_matrix_ends_what_waits() {
    let (conclusion, jobs) = jobs(
        "on: push\njobs:\n  m: {runs-on: x, strategy: {max-parallel: 1, matrix: {x: [0, 1, 2]}}, steps: [{run: 'exit ${{ matrix.x }}'}]}\n",
    );
    assert_eq!(conclusion, Conclusion::Failure);
    assert_eq!(jobs["m (0)"].status, "success");
    assert_eq!(jobs["m (1)"].status, "failure");
    assert_eq!(jobs["m (2)"].status, "cancelled");
}

mod steps {
    use super::*;
    use crate::parser::github::run::*;

    fn program(text: &str) -> Program {
        let path = ".github/workflows/ci.yml";
        let files = BTreeMap::from([(path.to_owned(), text.to_owned())]);
        let run = begin(super::super::build::workflow(path, &files), facts("push")).unwrap().unwrap();
        let mut playbook = Playbook::new(run);
        let moves = playbook.start();
        let Move::Start(id) = moves[0] else { panic!("{moves:?}") };
        playbook.program(id, Place::default()).unwrap()
    }

    struct Nothing;

    impl crate::parser::expression::FileHasher for Nothing {
        fn files(&self) -> Result<std::sync::Arc<[String]>, String> {
            Ok([].into())
        }
        fn sha256(&self, _: &str) -> Result<Option<[u8; 32]>, String> {
            Err("none".into())
        }
    }

    fn ended(code: i32, output: &str) -> StepEnded {
        let files = crate::parser::github::commands::WrittenFiles { output: output.into(), ..Default::default() };
        StepEnded { exit: StepExit::Code(code), effects: Default::default(), files }
    }

    fn started(next: Next) -> StepId {
        match next {
            Next::Start(step) => step.id,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_background_step_counts_once_it_was_waited_for() {
        let mut program = program(
            "on: push\njobs:\n  a:\n    runs-on: x\n    steps:\n    - {id: b, background: true, run: x}\n    - {run: 'echo [${{ steps.b.outputs.v }}]'}\n    - {wait: b}\n    - {run: 'echo [${{ steps.b.outputs.v }}]'}\n",
        );
        let background = started(program.next(&Nothing));
        let Next::Start(second) = program.next(&Nothing) else { panic!() };
        let ReadyKind::Script(script) = &second.kind else { panic!() };
        assert_eq!(script.text, "echo []\n");
        program.ended(second.id, ended(0, ""));
        assert!(matches!(program.next(&Nothing), Next::Wait(steps) if steps == [background]));
        program.ended(background, ended(0, "v=1\n"));
        assert!(matches!(program.next(&Nothing), Next::Over(report) if report.conclusion == Conclusion::Success));
        let Next::Start(last) = program.next(&Nothing) else { panic!() };
        let ReadyKind::Script(script) = &last.kind else { panic!() };
        assert_eq!(script.text, "echo [1]\n");
    }

    #[test]
    fn a_block_of_parallel_steps_waits_for_those_without_an_id() {
        let mut program = program(
            "on: push\njobs:\n  a:\n    runs-on: x\n    steps:\n    - parallel:\n      - run: x\n      - {id: two, run: y}\n    - run: z\n",
        );
        let (first, second) = (started(program.next(&Nothing)), started(program.next(&Nothing)));
        assert!(matches!(program.next(&Nothing), Next::Wait(steps) if steps == [first, second]));
        program.ended(second, ended(0, ""));
        assert!(matches!(program.next(&Nothing), Next::Wait(steps) if steps == [first]));
        program.ended(first, ended(1, ""));
        assert!(matches!(program.next(&Nothing), Next::Over(report) if report.conclusion == Conclusion::Failure));
    }

    #[test]
    fn defaults_may_be_one_expression() {
        let mut program = program(
            "on: push\njobs:\n  a:\n    runs-on: x\n    defaults: {run: \"${{ fromJSON('{\\\"shell\\\": \\\"sh\\\", \\\"working-directory\\\": \\\"d\\\"}') }}\"}\n    steps: [{run: x}]\n",
        );
        let Next::Start(step) = program.next(&Nothing) else { panic!() };
        let ReadyKind::Script(script) = &step.kind else { panic!() };
        assert!(script.working_directory.ends_with('d'), "{script:?}");
        assert_eq!(script.shell.programs[0], "sh", "{script:?}");
    }

    #[test]
    fn a_cancelled_job_still_runs_what_always_runs() {
        let mut program = program(
            "on: push\njobs:\n  a:\n    runs-on: x\n    steps: [{run: x}, {run: y}, {if: always(), run: z}, {if: failure(), run: f}]\n",
        );
        let first = started(program.next(&Nothing));
        assert_eq!(program.cancel(&Nothing), [first]);
        program.ended(first, StepEnded { exit: StepExit::Cancelled, ..ended(0, "") });
        assert!(
            matches!(program.next(&Nothing), Next::Over(report) if report.reason.as_deref() == Some("the job was cancelled"))
        );
        let last = started(program.next(&Nothing));
        program.ended(last, ended(0, ""));
        assert!(matches!(program.next(&Nothing), Next::Over(_)));
        assert!(matches!(program.next(&Nothing), Next::End(end) if end.conclusion == Conclusion::Cancelled));
    }
}
