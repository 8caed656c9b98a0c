//! Runs as GitHub documents them, beside those of the corpus.

use std::collections::BTreeMap;

use super::host::{Job, facts, run};
use crate::parser::github::run::Conclusion;
use crate::pipeline::Secret;

const CI: &str = ".github/workflows/ci.yml";

fn jobs(text: &str) -> (Conclusion, BTreeMap<String, Job>) {
    run(&BTreeMap::from([(CI.to_owned(), text.to_owned())]), facts("push"))
}

/// The lines of one job of a workflow that has these steps only.
fn lines(steps: &str) -> Vec<String> {
    let (_, mut jobs) = jobs(&format!("on: push\njobs:\n  a:\n    runs-on: x\n    steps:\n{steps}"));
    jobs.remove("a").unwrap().lines
}

#[test]
fn command_files_are_known_by_the_context_too() {
    let said = lines(
        "      - {id: s, run: 'echo A=1 >> \"${{ github.env }}\"; echo o=2 >> \"${{ github.output }}\"; echo \"$PWD/b\" >> \"${{ github.path }}\"'}\n      - run: 'echo \"$A ${{ steps.s.outputs.o }}\"; case \":$PATH:\" in *\"$PWD/b:\"*) echo found;; esac'\n      - run: 'test \"${{ github.step_summary }}\" = \"$GITHUB_STEP_SUMMARY\" && echo same'\n",
    );
    assert_eq!(said, ["1 2", "found", "same"]);
    let around = "      - run: 'test \"${{ runner.workspace }}/${{ github.workspace }}\" = \"$RUNNER_WORKSPACE/$GITHUB_WORKSPACE\" && case $GITHUB_WORKSPACE in $RUNNER_WORKSPACE/*) echo around;; esac'\n";
    assert_eq!(lines(around), ["around"]);
}

#[test]
fn an_include_joins_what_it_does_not_change() {
    // The example of GitHub's documentation.
    let (_, jobs) = jobs(
        "on: push\njobs:\n  m:\n    runs-on: x\n    strategy:\n      matrix:\n        fruit: [apple, pear]\n        animal: [cat, dog]\n        include:\n        - color: green\n        - {color: pink, animal: cat}\n        - {fruit: apple, shape: circle}\n        - fruit: banana\n        - {fruit: banana, animal: cat}\n    steps: [{run: 'echo ${{ matrix.fruit }}-${{ matrix.animal }}-${{ matrix.color }}-${{ matrix.shape }}'}]\n",
    );
    let said: Vec<&str> = jobs.values().map(|job| job.lines[0].as_str()).collect();
    let mut said = said;
    said.sort_unstable();
    assert_eq!(
        said,
        [
            "apple-cat-pink-circle",
            "apple-dog-green-circle",
            "banana---",
            "banana-cat--",
            "pear-cat-pink-",
            "pear-dog-green-"
        ]
    );
    let names: Vec<&str> = jobs.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "m (apple, cat, pink, circle)",
            "m (apple, dog, green, circle)",
            "m (banana)",
            "m (banana, cat)",
            "m (pear, cat, pink)",
            "m (pear, dog, green)"
        ]
    );
}

#[test]
fn an_include_alone_is_a_matrix() {
    let (_, jobs) = jobs(
        "on: push\njobs:\n  m: {runs-on: x, strategy: {matrix: {include: [{a: 1, b: x}, {a: 2}]}}, steps: [{run: 'echo ${{ matrix.a }}${{ matrix.b }} ${{ strategy.job-index }}/${{ strategy.job-total }}'}]}\n",
    );
    assert_eq!(jobs["m (1, x)"].lines, ["1x 0/2"]);
    assert_eq!(jobs["m (2)"].lines, ["2 1/2"]);
}

#[test]
fn results_of_needs_are_seen_after_a_failure() {
    let (conclusion, jobs) = jobs(
        "on: push\njobs:\n  a: {runs-on: x, steps: [{run: exit 1}]}\n  b: {needs: a, runs-on: x, steps: [{run: 'true'}]}\n  c: {needs: [a, b], if: always(), runs-on: x, steps: [{run: 'echo ${{ needs.a.result }} ${{ needs.b.result }} ${{ contains(needs.*.result, ''failure'') }}'}]}\n  d: {needs: b, if: failure(), runs-on: x, steps: [{run: echo d}]}\n  e: {needs: b, if: '!cancelled() && needs.b.result == ''skipped''', runs-on: x, steps: [{run: echo e}]}\n  f: {needs: b, if: needs.b.result == 'skipped', runs-on: x, steps: [{run: echo f}]}\n",
    );
    assert_eq!(conclusion, Conclusion::Failure);
    assert_eq!(jobs["b"].status, "skipped");
    assert_eq!(jobs["c"].lines, ["failure skipped true"]);
    assert_eq!(jobs["d"].lines, ["d"]);
    assert_eq!(jobs["e"].lines, ["e"]);
    assert_eq!(jobs["f"].status, "skipped");
}

#[test]
fn a_step_that_may_fail_has_two_results() {
    let said = lines(
        "    - {id: s, continue-on-error: true, run: exit 3}\n    - run: echo ${{ steps.s.outcome }} ${{ steps.s.conclusion }} ${{ job.status }}\n    - {if: failure(), run: echo no}\n    - {id: t, if: false, run: echo no}\n    - run: echo ${{ steps.t.outcome }} ${{ steps.t.conclusion }}\n    - run: echo [${{ steps.nope.outcome }}]\n",
    );
    assert_eq!(said, ["failure success success", "skipped skipped", "[]"]);
}

#[test]
fn after_a_failure_only_those_that_ask_for_it_run() {
    let said = lines(
        "    - {id: bad, run: 'echo \"v=1\" >> \"$GITHUB_OUTPUT\"; exit 1'}\n    - run: echo no\n    - {if: failure(), run: 'echo failed ${{ job.status }}'}\n    - {if: \"failure() && steps.bad.outcome == 'failure'\", run: 'echo v ${{ steps.bad.outputs.v }}'}\n    - {if: success() || failure(), run: echo either}\n    - {if: always(), run: echo always}\n    - {if: \"${{ !cancelled() }}\", run: echo not cancelled}\n    - {if: cancelled(), run: echo no}\n    - {if: \"steps.bad.outcome == 'failure'\", run: echo no}\n",
    );
    assert_eq!(said, ["failed failure", "v 1", "either", "always", "not cancelled"]);
}

#[test]
fn the_last_leg_with_a_value_gives_a_jobs_output() {
    let (_, jobs) = jobs(
        "on: push\njobs:\n  m:\n    runs-on: x\n    strategy: {max-parallel: 1, matrix: {v: [1, 2, 3]}}\n    outputs: {all: '${{ steps.s.outputs.all }}', two: '${{ steps.s.outputs.two }}'}\n    steps:\n    - id: s\n      run: |\n        echo all=${{ matrix.v }} >> $GITHUB_OUTPUT\n        if [ ${{ matrix.v }} = 2 ]; then echo two=yes >> $GITHUB_OUTPUT; fi\n  z: {needs: m, runs-on: x, steps: [{run: 'echo ${{ needs.m.outputs.all }} ${{ needs.m.outputs.two }}'}]}\n",
    );
    assert_eq!(jobs["z"].lines, ["3 yes"]);
}

#[test]
fn defaults_of_the_job_take_the_place_of_the_workflows() {
    let (_, jobs) = jobs(
        "on: push\ndefaults: {run: {shell: 'bash -e {0}', working-directory: sub}}\njobs:\n  a: {runs-on: x, defaults: {run: {shell: sh}}, steps: [{run: 'basename $PWD; echo ${BASH_VERSION:+bash}'}]}\n  b: {runs-on: x, steps: [{run: 'mkdir -p sub', working-directory: .}, {run: basename $PWD}]}\n",
    );
    assert_ne!(jobs["a"].lines[0], "sub", "the folder is not inherited beside the shell");
    assert_eq!(jobs["b"].lines, ["sub"]);
}

#[test]
fn called_workflows_have_their_own_world() {
    let lib = "on:\n  workflow_call:\n    inputs: {s: {type: string, default: d}, n: {type: number, required: true}, b: {type: boolean}}\n    secrets: {token: {required: true}, more: {}}\n    outputs: {out: {value: '${{ jobs.i.outputs.o }}'}}\nenv: {W: inner}\njobs:\n  i:\n    runs-on: x\n    outputs: {o: '${{ steps.s.outputs.o }}'}\n    steps:\n    - {id: s, run: 'echo o=${{ inputs.s }}-${{ inputs.n }} >> $GITHUB_OUTPUT'}\n    - {run: 'echo ${{ inputs.b }} ${{ env.W }} [${{ env.CALLER }}] [${{ secrets.more }}] ${{ secrets.token == ''t0ken'' }} [${{ secrets.OTHER }}] ${{ github.event_name }}'}\n";
    let ci = "on: push\nenv: {CALLER: c}\njobs:\n  c:\n    strategy: {matrix: {n: [1, 2]}}\n    uses: ./.github/workflows/lib.yml\n    with: {n: '${{ matrix.n }}'}\n    secrets: {token: '${{ secrets.T }}'}\n  z: {needs: c, runs-on: x, steps: [{run: 'echo ${{ needs.c.outputs.out }} ${{ needs.c.result }}'}]}\n";
    let files =
        BTreeMap::from([(CI.to_owned(), ci.to_owned()), (".github/workflows/lib.yml".to_owned(), lib.to_owned())]);
    let mut facts = facts("push");
    facts.secrets = vec![("T".into(), Secret::new("t0ken")), ("OTHER".into(), Secret::new("0ther"))];
    let (conclusion, jobs) = run(&files, facts);
    assert_eq!(conclusion, Conclusion::Success, "{jobs:?}");
    let names: Vec<&str> = jobs.keys().map(String::as_str).collect();
    assert_eq!(names, ["c (1) / i", "c (2) / i", "z"]);
    assert_eq!(jobs["c (1) / i"].lines, ["false inner [] [] true [] push"]);
    assert_eq!(jobs["z"].lines, ["d-2 success"]);
}

#[test]
fn whether_a_leg_may_fail_can_be_an_expression() {
    let (conclusion, jobs) = jobs(
        "on: push\njobs:\n  m:\n    runs-on: x\n    continue-on-error: ${{ matrix.experimental || false }}\n    strategy: {fail-fast: true, max-parallel: 1, matrix: {v: [1, 3], include: [{v: 2, experimental: true}]}}\n    steps: [{run: 'test ${{ matrix.v }} != 2'}]\n  z: {needs: m, runs-on: x, steps: [{run: 'echo ${{ needs.m.result }}'}]}\n",
    );
    assert_eq!(conclusion, Conclusion::Success);
    assert_eq!(jobs["m (2, true)"].status, "failure");
    assert_eq!(jobs["m (3)"].status, "success");
    assert_eq!(jobs["z"].lines, ["success"]);
}

#[test]
fn a_jobs_name_is_evaluated() {
    let (_, jobs) = jobs(
        "on: push\njobs:\n  a: {name: 'On ${{ github.ref_name }}', runs-on: x, steps: [{run: 'echo ${{ github.job }}'}]}\n  m: {name: 'v${{ matrix.v }}', strategy: {matrix: {v: [1.10, '1.10']}}, runs-on: x, steps: [{run: 'true'}]}\n  o: {strategy: {matrix: {c: [{os: l, n: 1}, [x, y]]}}, runs-on: x, steps: [{run: 'true'}]}\n",
    );
    let names: Vec<&str> = jobs.keys().map(String::as_str).collect();
    assert_eq!(names, ["On main", "o (l, 1)", "o (x, y)", "v1.1", "v1.10"]);
    assert_eq!(jobs["On main"].lines, ["a"]);
}

#[test]
fn a_skipped_job_gives_no_outputs_and_no_failure() {
    let (conclusion, jobs) = jobs(
        "on: push\njobs:\n  a: {if: \"github.ref == 'refs/heads/nope'\", runs-on: x, outputs: {v: 1}, steps: [{run: 'true'}]}\n  b: {needs: a, if: always(), runs-on: x, steps: [{run: 'echo [${{ needs.a.outputs.v }}] ${{ needs.a.result }}'}]}\n",
    );
    assert_eq!(conclusion, Conclusion::Success);
    assert_eq!(jobs["b"].lines, ["[] skipped"]);
}
