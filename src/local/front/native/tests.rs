use super::*;
use crate::local::front;

/// A project of one file, and the file.
fn project(text: &str) -> (tempfile::TempDir, Project, PipelineFile) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("forgehand.yml"), text).unwrap();
    let project = Project::containing(folder.path()).unwrap();
    let file = project.pipeline_at(folder.path(), None).unwrap();
    (folder, project, file)
}

fn found<T>(checked: &Checked<T>) -> Vec<(u32, u32, &'static str, String)> {
    let mut all = checked.diagnostics.clone();
    all.sort();
    all.iter().map(|it| (it.span.line, it.span.column, it.code.0, it.message.clone())).collect()
}

fn helps<T>(checked: &Checked<T>) -> String {
    checked.diagnostics.iter().filter_map(|it| it.help.clone()).collect::<Vec<_>>().join("\n")
}

fn names(plan: &front::Plan) -> Vec<&str> {
    plan.definition.jobs.iter().map(|job| job.name.as_str()).collect()
}

const STEPS: &str = "steps: [{name: s, script: x}]";

#[test]
fn errors_of_the_schema_hide_none_of_the_dependencies() {
    let text = format!(
        "name: p\njobs:\n  build: {{timeout: 9999, {STEPS}}}\n  test:\n    depends_on: [buidl, test, build, build]\n    {STEPS}\n"
    );
    let (_folder, project, file) = project(&text);
    let checked = lint(&project, &file);
    let told: Vec<String> = found(&checked).iter().map(|it| format!("{}:{} {}", it.0, it.1, it.3)).collect();
    assert_eq!(
        told,
        [
            "3:20 `timeout` is 9999, and must lie between 1 and 3600, in job `build`",
            "5:18 job `test` waits for `buidl`, which is no job",
            "5:25 job `test` waits for itself",
            "5:38 job `test` names `build` twice",
        ]
    );
    let helps = helps(&checked);
    assert!(helps.contains("did you mean `build`? the jobs are `build`"), "{helps}");
    assert!(helps.contains("remove `test` from its own list"), "{helps}");
}

#[test]
fn a_circle_is_told_with_the_ways_out() {
    let text = format!(
        "name: p\njobs:\n  a: {{depends_on: [b], {STEPS}}}\n  b: {{depends_on: [c], {STEPS}}}\n  c: {{depends_on: [a], {STEPS}}}\n"
    );
    let (_folder, project, file) = project(&text);
    let checked = lint(&project, &file);
    assert_eq!(found(&checked), [(3, 20, "plan/dependencies", "dependency cycle: a -> b -> c -> a".to_owned())]);
    let help = helps(&checked);
    assert!(help.contains("remove one dependency of the cycle, `a` from the list of `c`"), "{help}");
    assert!(help.contains("split `a` in two jobs"), "{help}");
}

#[test]
fn times_and_requests_that_do_not_fit_are_told() {
    let job = |needs: &str, rest: &str| format!("{{depends_on: [{needs}], {rest}, {STEPS}}}");
    let text = format!(
        "name: p\ntimeout: 100\nlimits: {{cpu: 4, memory: 8GB}}\njobs:\n  a: {}\n  b: {}\n  c: {}\n  d: {}\n",
        job("", "estimated_duration: 90, resources: {cpu: 3}"),
        job("a", "estimated_duration: 90, resources: {cpu: 3}"),
        job("a", "resources: {cpu: 2}"),
        job("b", "resources: {memory: 16GB}"),
    );
    let (_folder, project, file) = project(&text);
    let checked = lint(&project, &file);
    let told: Vec<String> = found(&checked).iter().map(|it| format!("{}:{} {} {}", it.0, it.1, it.2, it.3)).collect();
    assert_eq!(
        told,
        [
            "6:3 native/resources `b`, `c` may run at the same time and ask for 5 processors, and there are 4",
            "6:3 native/timeline `a` -> `b` take 180 seconds one after the other by their estimates, and the pipeline is \
             ended after 100",
            "8:3 native/resources job `d` asks for 16 GB of memory, and there are 8 GB: it can never run",
        ]
    );
    assert!(helps(&checked).contains("raise the pipeline's `timeout` to 180 at least"));
}

#[test]
fn triggers_and_conditions_decide_what_is_planned() {
    let text = format!(
        "name: p\ntriggers: [{{event: tag, tags: ['v*']}}, {{event: manual}}]\njobs:\n  a: {{{STEPS}}}\n  never: {{conditional: \
         1 == 2, {STEPS}}}\n  after: {{depends_on: [never], {STEPS}}}\n"
    );
    let (_folder, project, file) = project(&text);
    let plan = |event: Option<&str>, git_ref: Option<&str>| {
        let request =
            Request { event: event.map(str::to_owned), ref_name: git_ref.map(str::to_owned), ..Request::default() };
        front::plan(&project, &file, &request)
    };
    let pushed = plan(None, Some("main")).value.unwrap();
    assert!(pushed.definition.jobs.is_empty());
    assert_eq!(pushed.notes, ["forgehand.yml does not start: its triggers are `tag`, `manual`, not `push`"]);
    assert_eq!(names(&plan(None, Some("refs/tags/v1")).value.unwrap()), ["a"]);
    let by_hand = plan(Some("manual"), None).value.unwrap();
    assert_eq!(names(&by_hand), ["a"]);
    assert_eq!(
        by_hand.notes,
        [
            "job `never` is left out: its conditional is false: 1 == 2",
            "job `after` is left out: it waits for `never`, which is left out",
        ]
    );
    let wrong = plan(Some("nope"), None);
    assert!(wrong.value.is_none());
    assert_eq!(found(&wrong)[0].2, "plan/bad-request");
    assert!(helps(&wrong).contains("the events are `push`, `tag`"), "{}", helps(&wrong));
}

#[test]
fn variables_of_the_machine_and_required_ones_have_values_before_a_run() {
    let text = format!(
        "name: p\nvariables: {{VERSION: {{required: true, format: 'v[0-9]+', description: what to ship}}}}\njobs:\n  a: \
         {{timeout: '${{BUILD_NUMBER}}', conditional: \"env.BRANCH_NAME == 'dev'\", {STEPS}}}\n"
    );
    let (_folder, project, file) = project(&text);
    assert_eq!(found(&lint(&project, &file)), []);
    let plan = |version: Option<&str>| {
        let variables = version.map(|version| ("VERSION".to_owned(), version.to_owned())).into_iter().collect();
        let request = Request { ref_name: Some("dev".to_owned()), variables, ..Request::default() };
        front::plan(&project, &file, &request)
    };
    let without = plan(None);
    let told = (2, 13, "plan/unset-variable", "variable `VERSION` needs a value: what to ship".to_owned());
    assert_eq!(found(&without), [told]);
    assert!(helps(&without).contains("--var VERSION=VALUE"));
    let wrong = plan(Some("1"));
    assert_eq!(found(&wrong)[0].2, "native/bad-variable");
    assert_eq!(names(&plan(Some("v1")).value.unwrap()), ["a"]);
}

#[test]
fn a_matrix_that_cannot_be_taken_apart_is_told_at_its_axis_and_all_such_in_one_pass() {
    let text = format!(
        "name: p\njobs:\n  a:\n    matrix:\n      v: ${{{{ 5 }}}}\n    {STEPS}\n  b:\n    matrix:\n      w: ${{{{ \
         fromJSON('[1, 1]') }}}}\n    {STEPS}\n"
    );
    let (_folder, project, file) = project(&text);
    let checked = front::plan(&project, &file, &Request::default());
    let told: Vec<String> = found(&checked).iter().map(|it| format!("{}:{} {}", it.0, it.1, it.3)).collect();
    assert_eq!(
        told,
        [
            "5:10 job `a`: the axis `v` is a list, and `${{ 5 }}` makes a number",
            "9:10 job `b`: the axis `w` has the value `1` twice",
        ]
    );
}

#[test]
fn a_run_begins_with_the_jobs_that_are_asked_for() {
    let text = format!(
        "name: p\njobs:\n  a: {{matrix: {{v: [1, 2]}}, {STEPS}}}\n  b: {{depends_on: [a], {STEPS}}}\n  c: {{{STEPS}}}\n"
    );
    let (_folder, project, file) = project(&text);
    let surroundings = Surroundings::of(&project, &Request::default());
    let begun = |only: &[&str], needs: bool| {
        let only: Vec<String> = only.iter().map(|name| (*name).to_owned()).collect();
        let mut begun = begin_native(&file, &surroundings).value?;
        begun.narrow(&Choice { jobs: &only, with_needs: needs, matrix: &[] }).ok()?;
        assert_eq!(begun.planned.definition.jobs.len(), begun.planned.legs.len());
        let planned = begun.planned.definition.jobs;
        Some(planned.into_iter().map(|job| format!("{}{:?}", job.name, job.named_needs())).collect::<Vec<_>>())
    };
    assert_eq!(begun(&["b"], false).unwrap(), ["b[]"]);
    assert_eq!(begun(&["b"], true).unwrap(), ["a (1)[]", "a (2)[]", "b[\"a (1)\", \"a (2)\"]"]);
    assert_eq!(begun(&["a (2)"], true).unwrap(), ["a (2)[]"]);
    assert_eq!(begun(&["nope"], true), None);
    assert_eq!(begun(&[], false).unwrap().len(), 4);
}
