//! What a run would be.

use std::collections::BTreeMap;

use super::build;
use super::host::{facts, run};
use crate::parser::github::events::RunFacts;
use crate::parser::github::run::{Certainty, Conclusion, Planned, plan};
use crate::pipeline::graph::JobGraph;

const CI: &str = ".github/workflows/ci.yml";

fn planned_of(files: &[(&str, &str)], facts: RunFacts) -> Planned {
    let files: BTreeMap<String, String> =
        files.iter().map(|(path, text)| (path.to_string(), text.to_string())).collect();
    let planned = plan(build::workflow(CI, &files), facts).unwrap();
    JobGraph::build(&planned.definition).unwrap();
    planned
}

fn planned(text: &str) -> Planned {
    planned_of(&[(CI, text)], facts("push"))
}

fn names(planned: &Planned) -> Vec<&str> {
    planned.definition.jobs.iter().map(|job| job.name.as_str()).collect()
}

fn needs(planned: &Planned, name: &str) -> Vec<String> {
    planned.definition.jobs.iter().find(|job| job.name == name).unwrap().named_needs().to_vec()
}

#[test]
fn a_plan_names_legs_and_what_they_wait_for() {
    let text = "on: push\njobs:\n  m: {runs-on: x, strategy: {matrix: {x: [1, 2]}}, steps: [{run: 'true'}]}\n  z: {needs: m, runs-on: x, steps: [{run: 'true'}]}\n  never: {if: \"github.ref == 'x'\", runs-on: x, steps: [{run: 'true'}]}\n  after: {needs: never, runs-on: x, steps: [{run: 'true'}]}\n  dyn: {needs: m, runs-on: x, strategy: {matrix: '${{ fromJSON(needs.m.outputs.x) }}'}, if: needs.m.outputs.x, steps: [{run: 'true'}]}\n";
    let plan = planned(text);
    assert_eq!(names(&plan), ["m (1)", "m (2)", "z", "dyn"]);
    assert_eq!(needs(&plan, "z"), ["m (1)", "m (2)"]);
    assert!(plan.troubles.is_empty(), "{:?}", plan.troubles);
    let out: Vec<&str> = plan.left_out.iter().map(|(job, _)| job.as_str()).collect();
    assert_eq!(out, ["never", "after"]);
    assert!(plan.left_out[0].1.contains("`github.ref == 'x'` does not hold"), "{}", plan.left_out[0].1);
    let other = planned_of(&[(CI, text)], facts("schedule"));
    assert_eq!(other.note.as_deref(), Some("it is started by `push`, not by `schedule`"));
}

#[test]
fn jobs_that_are_shown_alike_are_told_apart_by_their_ids() {
    let job = |rest: &str| format!("{{{rest}, runs-on: x, steps: [{{run: x}}]}}");
    let two = format!(
        "on: push\njobs:\n  a: {}\n  b: {}\n  c: {}\n",
        job("name: Build"),
        job("name: Build"),
        job("needs: [a, b]")
    );
    let plan = planned(&two);
    assert_eq!(names(&plan), ["Build", "Build (b)", "c"]);
    assert_eq!(needs(&plan, "c"), ["Build", "Build (b)"]);
    assert_eq!(plan.places["Build (b)"].line, 4);
    let of_another = format!("on: push\njobs:\n  a: {}\n  b: {}\n", job("name: b"), job("needs: a"));
    let plan = planned(&of_another);
    assert_eq!(names(&plan), ["b", "b (b)"]);
    assert_eq!(needs(&plan, "b (b)"), ["b"]);
    let legs = "on: push\njobs:\n  a: {name: 't ${{ matrix.os }}', strategy: {matrix: {os: [u, w], v: [1, 2]}}, runs-on: x, steps: [{run: x}]}\n  m: {strategy: {matrix: {v: [1, 1]}}, runs-on: x, steps: [{run: x}]}\n";
    assert_eq!(names(&planned(legs)), ["t u", "t u (leg 2)", "t w", "t w (leg 4)", "m (1)", "m (1) (leg 2)"]);
}

#[test]
fn two_jobs_of_one_name_are_two_matrices() {
    let job =
        "{name: 'T ${{ matrix.v }}', strategy: {fail-fast: false, matrix: {v: [1, 2]}}, runs-on: x, steps: [{run: x}]}";
    let plan = planned(&format!("on: push\njobs:\n  a: {job}\n  b: {job}\n"));
    assert_eq!(names(&plan), ["T 1", "T 2", "T 1 (b)", "T 2 (b)"]);
    let groups: Vec<Option<usize>> = plan.definition.jobs.iter().map(|job| job.group).collect();
    assert_eq!(groups, [Some(0), Some(0), Some(1), Some(1)]);
}

#[test]
fn who_ends_first_does_not_decide_who_is_called_what() {
    // `late` waits for `slow`; `early` is there from the beginning.
    let text = "on: push\njobs:\n  slow: {runs-on: x, steps: [{run: 'true'}]}\n  late: {name: Same, needs: slow, runs-on: x, steps: [{run: 'echo late'}]}\n  early: {name: Same, if: always(), runs-on: x, steps: [{run: 'echo early'}]}\n";
    let files = BTreeMap::from([(CI.to_owned(), text.to_owned())]);
    let (conclusion, jobs) = run(&files, facts("push"));
    assert_eq!(conclusion, Conclusion::Success);
    let plan = planned(text);
    assert_eq!(names(&plan), ["slow", "Same", "Same (late)"]);
    assert_eq!(jobs["Same"].lines, ["early"]);
    assert_eq!(jobs["Same (late)"].lines, ["late"]);
}

#[test]
fn nobody_gives_secrets_to_a_plan() {
    let lib = "on: {workflow_call: {secrets: {t: {required: true}}}}\njobs: {i: {runs-on: x, steps: [{run: x}]}}";
    let lib = (".github/workflows/lib.yml", lib);
    let call = |secrets: &str| {
        let ci = format!("on: push\njobs: {{c: {{uses: ./.github/workflows/lib.yml, secrets: {secrets}}}}}");
        let plan = planned_of(&[(CI, &ci), lib], facts("push"));
        assert!(plan.troubles.is_empty(), "{:?}", plan.troubles);
        assert_eq!(names(&plan), ["c / i"]);
    };
    call("inherit");
    call("{t: '${{ secrets.T }}'}");
    let login =
        "{image: 'ghcr.io/o/i:1', credentials: {username: '${{ github.actor }}', password: '${{ secrets.PW }}'}}";
    let text = format!(
        "on: push\njobs: {{a: {{runs-on: x, container: {login}, services: {{s: {login}}}, steps: [{{run: x}}]}}}}"
    );
    let plan = planned(&text);
    assert!(plan.troubles.is_empty(), "{:?}", plan.troubles);
    assert_eq!(names(&plan), ["a"]);
}

#[test]
fn a_job_that_cannot_be_made_stands_in_the_plan() {
    let text = "on: push\njobs:\n  t: {runs-on: x, timeout-minutes: '${{ fromJSON(vars.TMO) }}', steps: [{run: x}]}\n  m:\n    name: Matrix\n    runs-on: x\n    strategy: {matrix: '${{ fromJSON(vars.M) }}'}\n    steps: [{run: x}]\n  z: {needs: [t, m, far], runs-on: x, steps: [{run: x}]}\n  far: {uses: 'o/r/.github/workflows/x.yml@0123456789012345678901234567890123456789'}\n";
    let plan = planned(text);
    assert_eq!(names(&plan), ["t", "Matrix", "far", "z"]);
    assert_eq!(needs(&plan, "z"), ["t", "Matrix", "far"]);
    let [tmo, matrix, far] = plan.troubles.as_slice() else { panic!("{:?}", plan.troubles) };
    assert_eq!(tmo.fault.certainty, Certainty::Here);
    assert_eq!(tmo.fault.asks, ["vars.TMO"]);
    assert!(tmo.fault.message.starts_with("`timeout-minutes` `${{ fromJSON(vars.TMO) }}`"), "{}", tmo.fault.message);
    assert_eq!(tmo.fault.at.map(|at| (at.line, at.column)), Some((3, 36)));
    assert_eq!(matrix.fault.asks, ["vars.M"]);
    assert_eq!(matrix.job, "Matrix");
    assert_eq!(far.fault.certainty, Certainty::Elsewhere);
    assert!(far.fault.message.contains("another repository"));
    let wrong =
        planned("on: push\njobs:\n  t: {runs-on: x, timeout-minutes: \"${{ fromJSON('x') }}\", steps: [{run: x}]}\n");
    assert_eq!(wrong.troubles[0].fault.certainty, Certainty::Always);
}

#[test]
fn the_payload_decides() {
    let starts = |text: &str, event: &str, payload: &str| {
        let facts = RunFacts { payload: Some(payload.to_owned()), ..facts(event) };
        planned_of(&[(CI, text)], facts).note.is_none()
    };
    let jobs = "jobs: {a: {runs-on: x, steps: [{run: x}]}}";
    let pull = format!("on: {{pull_request: {{branches-ignore: [dev]}}}}\n{jobs}");
    assert!(!starts(&pull, "pull_request", r#"{"pull_request": {"base": {"ref": "dev"}}}"#));
    assert!(starts(&pull, "pull_request", r#"{"pull_request": {"base": {"ref": "main"}}}"#));
    let group = format!("on: {{merge_group: {{branches: [main]}}}}\n{jobs}");
    assert!(!starts(&group, "merge_group", r#"{"merge_group": {"base_ref": "refs/heads/zzz"}}"#));
    assert!(starts(&group, "merge_group", r#"{"merge_group": {"base_ref": "refs/heads/main"}}"#));
    let push = format!("on: {{push: {{branches: [main]}}}}\n{jobs}");
    assert!(!starts(&push, "push", r#"{"ref": "refs/heads/zzz"}"#));
    let run = format!("on: {{workflow_run: {{workflows: [w], branches: [main]}}}}\n{jobs}");
    assert!(!starts(&run, "workflow_run", r#"{"workflow_run": {"head_branch": "zzz"}}"#));
    assert!(starts(&run, "workflow_run", r#"{"workflow_run": {"head_branch": "main"}}"#));
    let named = |name: &str| {
        format!(r#"{{"action": "completed", "workflow_run": {{"head_branch": "main", "name": "{name}"}}}}"#)
    };
    assert!(starts(&run, "workflow_run", &named("w")));
    assert!(!starts(&run, "workflow_run", &named("other")));
    for event in ["pull_request", "pull_request_target"] {
        let any = format!("on: {event}\n{jobs}");
        for (action, starting) in
            [("opened", true), ("synchronize", true), ("reopened", true), ("closed", false), ("labeled", false)]
        {
            assert_eq!(starts(&any, event, &format!(r#"{{"action": "{action}"}}"#)), starting, "{event} {action}");
        }
    }
    assert!(starts(&format!("on: issues\n{jobs}"), "issues", r#"{"action": "closed"}"#));
    let paths = format!("on: {{push: {{paths: ['docs/**']}}}}\n{jobs}");
    assert!(starts(&paths, "push", r#"{"commits": [{"added": ["a"]}, {"modified": [], "removed": ["docs/x"]}]}"#));
    assert!(!starts(&paths, "push", r#"{"commits": [{"added": ["a"], "modified": ["b"]}]}"#));
    let contexts = "on: pull_request\njobs:\n  a: {if: \"github.base_ref == 'dev' && github.head_ref == 'topic' && github.ref == 'refs/pull/7/merge'\", runs-on: x, steps: [{run: x}]}\n";
    let payload = r#"{"number": 7, "pull_request": {"base": {"ref": "dev"}, "head": {"ref": "topic"}}}"#;
    let facts = RunFacts { payload: Some(payload.to_owned()), ..facts("pull_request") };
    assert_eq!(names(&planned_of(&[(CI, contexts)], facts)), ["a"]);
}

#[test]
fn inputs_come_from_the_payload_too() {
    let text = "on: {workflow_dispatch: {inputs: {s: {required: true}, b: {type: boolean}, d: {default: x}}}}\njobs:\n  a: {if: \"inputs.s == 'y' && inputs.b && github.event.inputs.b == 'true' && github.event.inputs.d == 'x'\", runs-on: x, steps: [{run: x}]}\n";
    let payload =
        RunFacts { payload: Some(r#"{"inputs": {"s": "y", "b": true}}"#.into()), ..facts("workflow_dispatch") };
    assert_eq!(names(&planned_of(&[(CI, text)], payload)), ["a"]);
    let files = BTreeMap::from([(CI.to_owned(), text.to_owned())]);
    let problems = plan(build::workflow(CI, &files), facts("workflow_dispatch")).unwrap_err();
    assert!(problems[0].message.contains("`s` is required"));
    assert_eq!(problems[0].at.map(|at| (at.line, at.column)), Some((1, 35)));
}

#[test]
fn many_conditions_are_planned() {
    // A condition that gathered the results of all jobs would be felt here.
    let jobs: String =
        (0..10_000).map(|n| format!("  j{n}: {{if: always(), runs-on: x, steps: [{{run: x}}]}}\n")).collect();
    assert_eq!(names(&planned(&format!("on: push\njobs:\n{jobs}"))).len(), 10_000);
}
