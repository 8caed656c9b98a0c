use super::*;
use crate::parser::native::{Given, Leg, Planned, plan, read};
use crate::pipeline::{JobStatus, Variable};

const TEXT: &str = "
name: demo
global_env: {STAGE: prod, URL: 'https://${HOST:-localhost}/${STAGE}', PATH: /bin}
artifacts: {paths: [dist/]}
jobs:
  build:
    steps: [{name: make, script: make}]
  test:
    depends_on: [build]
    matrix: {suite: [unit, e2e]}
    environment: {PATH: '${PATH}:/opt/bin', TOKEN: '${secrets.TOKEN}', HEADER: 'key ${TOKEN}', BEFORE: '${job.build.status}'}
    artifacts: {paths: ['report-${matrix.suite}.xml'], name: '${pipeline.name}-${matrix.suite}'}
    cache: {key: 'deps-${BRANCH_NAME/\\//-}', paths: [target/]}
    services: [{image: 'postgres:${PG:-16}', environment: {PASS: '${TOKEN}', NAME: '${STAGE}'}}]
    deployment: {environment: '${STAGE}', url: '${URL}'}
    steps:
    - name: run
      image: 'tool:${matrix.suite}'
      environment: {STAGE: own, COUNT: '${job.build.artifacts.count}'}
      script: ['./test ${matrix.suite} ${STAGE}', 'echo ${{ env.STAGE + 1 }}']
      timeout: 60
  never:
    conditional: env.BRANCH_NAME == 'other'
    steps: [{name: x, script: x}]
  after_never:
    depends_on: [never]
    steps: [{name: x, script: x}]
  cleanup:
    depends_on: [never, test]
    conditional: job.test.status == 'failed' || failure()
    steps: [{name: x, script: x}]
  ship:
    depends_on: [test]
    conditional: env.STAGE == 'prod'
    steps: [{name: x, script: x}]
  asked:
    conditional: ${ENABLED:-false}
    steps: [{name: x, script: x}]
";

fn begin(text: &str, values: &Values) -> (Run, Planned) {
    let checked = read("forgehand.yml", text, &Given::default());
    let errors: Vec<_> = checked.diagnostics.iter().map(|it| (it.span.line, it.message.clone())).collect();
    let pipeline = Arc::new(checked.value.unwrap_or_else(|| panic!("{errors:?}")));
    let run = Run::new(Arc::clone(&pipeline), values);
    let planned = plan(&pipeline, run.hierarchy()).unwrap();
    (run, planned)
}

fn values() -> Values {
    Values {
        runtime: vec![("HOST".into(), "example.org".into())],
        system: vec![("BRANCH_NAME".into(), "a/b".into()), ("CI".into(), "true".into())],
        secrets: vec![("TOKEN".into(), Secret::new("s3cret"))],
        ..Values::default()
    }
}

fn leg<'a>(planned: &'a Planned, name: &str) -> &'a Leg {
    let at = planned.definition.jobs.iter().position(|job| job.name == name).unwrap();
    &planned.legs[at]
}

fn after(ends: &[(&str, JobStatus)]) -> Ended {
    let mut ended = Ended::default();
    ends.iter().for_each(|(name, status)| ended.add(name, LegEnd { status: *status, artifacts: 2 }));
    ended
}

fn of<'a>(variables: &'a [Variable], name: &str) -> (&'a str, bool) {
    let found = variables.iter().find(|variable| variable.key == name).unwrap();
    (found.value.expose(), found.masked)
}

#[test]
fn a_step_has_the_variables_of_all_sources_and_secrets_only_there() {
    let (run, planned) = begin(TEXT, &values());
    let leg = leg(&planned, "test (unit)");
    let step = run.step(leg, 0, &after(&[("build", JobStatus::Success)])).unwrap();
    assert_eq!(step.script, ["./test unit ${STAGE}", "echo own1"]);
    assert_eq!((step.image.as_str(), step.working_directory.as_str()), ("tool:unit", "/workspace"));
    assert_eq!(step.timeout.as_secs(), 60);
    for (name, want) in [
        ("STAGE", ("own", false)),
        ("URL", ("https://example.org/own", false)),
        ("PATH", ("/bin:/opt/bin", false)),
        ("TOKEN", ("s3cret", true)),
        ("HEADER", ("key s3cret", true)),
        ("BEFORE", ("success", false)),
        ("COUNT", ("2", false)),
        ("HOST", ("example.org", false)),
        ("CI", ("true", false)),
    ] {
        assert_eq!(of(&step.environment, name), want, "{name}");
    }
    assert!(!format!("{step:?}").contains("s3cret"));
}

#[test]
fn a_job_has_its_settings_worked_out() {
    let (run, planned) = begin(TEXT, &values());
    let job = run.job(leg(&planned, "test (e2e)"), &after(&[("build", JobStatus::Success)])).unwrap();
    let artifacts = job.artifacts.unwrap();
    assert_eq!((artifacts.paths, artifacts.name.as_deref()), (vec!["report-e2e.xml".to_owned()], Some("demo-e2e")));
    assert_eq!(job.caches[0].key, "deps-a-b");
    assert_eq!(job.services[0].image, "postgres:16");
    assert_eq!(of(&job.services[0].environment, "PASS"), ("s3cret", true));
    assert_eq!(of(&job.services[0].environment, "NAME"), ("prod", false));
    let deployment = job.deployment.unwrap();
    assert_eq!(
        (deployment.environment.as_str(), deployment.url.as_deref()),
        ("prod", Some("https://example.org/prod"))
    );
    let build = run.job(leg(&planned, "build"), &Ended::default()).unwrap();
    assert_eq!(build.image, "ubuntu:20.04");
    assert_eq!(build.artifacts.unwrap().paths, ["dist/"], "the pipeline's, where a job has none of its own");
}

#[test]
fn a_configured_image_stands_in_for_the_languages() {
    let (run, planned) = begin(TEXT, &Values { image: Some("alpine:3".into()), ..values() });
    assert_eq!(run.step(leg(&planned, "build"), 0, &Ended::default()).unwrap().image, "alpine:3");
}

#[test]
fn what_is_missing_at_run_time_is_named_with_its_key() {
    let (run, planned) = begin(TEXT, &Values { secrets: Vec::new(), ..values() });
    let error = run.step(leg(&planned, "test (unit)"), 0, &Ended::default()).unwrap_err().to_string();
    assert!(error.contains("`TOKEN`: variable `secrets.TOKEN` is not defined, in the value of `TOKEN`"), "{error}");
    assert!(error.contains("`BEFORE`: variable `job.build.status` is not defined"), "{error}");
}

#[test]
fn conditions_decide_when_what_they_wait_for_has_ended() {
    use JobStatus::{Failed, Skipped, Success};
    let (run, planned) = begin(TEXT, &values());
    let decide = |name: &str, ends: &[(&str, JobStatus)]| run.decide(leg(&planned, name), &after(ends)).unwrap();
    let skipped = |reason: &str| Decision::Skipped(reason.to_owned());
    for (name, ends, want) in [
        ("ship", &[("test", Success)][..], Decision::Runs),
        ("ship", &[("test", Success), ("test", Failed)], skipped("`test` failed")),
        ("ship", &[("test", Skipped)], skipped("`test` was skipped")),
        ("ship", &[("test", Success), ("test", Skipped)], Decision::Runs),
        ("cleanup", &[("test", Failed), ("never", Skipped)], Decision::Runs),
        (
            "cleanup",
            &[("test", Success), ("never", Skipped)],
            skipped("its conditional is false: job.test.status == 'failed' || failure()"),
        ),
        ("never", &[], skipped("its conditional is false: env.BRANCH_NAME == 'other'")),
        ("after_never", &[("never", Skipped)], skipped("`never` was skipped")),
        ("asked", &[], skipped("its conditional is false: ${ENABLED:-false}")),
    ] {
        assert_eq!(decide(name, ends), want, "{name} after {ends:?}");
    }
    let asked = |value: &str| {
        let runtime = vec![("ENABLED".into(), value.into())];
        let (run, planned) = begin(TEXT, &Values { runtime, ..values() });
        run.decide(leg(&planned, "asked"), &Ended::default())
    };
    assert_eq!(asked("true"), Ok(Decision::Runs));
    assert_eq!(asked("maybe").unwrap_err(), "a condition is true or false, and this one makes `maybe`");
}

#[test]
fn what_never_runs_is_left_out_of_a_plan_with_its_reason() {
    let (run, planned) = begin(TEXT, &values());
    let foreseen = run.foresee(planned);
    let names: Vec<&str> = foreseen.planned.definition.jobs.iter().map(|job| job.name.as_str()).collect();
    assert_eq!(names, ["build", "test (unit)", "test (e2e)", "cleanup", "ship"]);
    let out: Vec<(&str, &str)> = foreseen.left_out.iter().map(|out| (out.name.as_str(), out.reason.as_str())).collect();
    assert_eq!(
        out,
        [
            ("never", "its conditional is false: env.BRANCH_NAME == 'other'"),
            ("after_never", "it waits for `never`, which is left out"),
            ("asked", "its conditional is false: ${ENABLED:-false}"),
        ]
    );
    assert_eq!(foreseen.planned.definition.jobs[3].named_needs(), ["test (unit)", "test (e2e)"]);
    assert_eq!(foreseen.planned.definition.jobs.len(), foreseen.planned.legs.len());
    assert!(foreseen.problems.is_empty());
}

#[test]
fn what_rests_on_a_secret_or_a_result_is_left_open() {
    let text = "
name: p
jobs:
  a: {steps: [{name: s, script: x}]}
  b:
    depends_on: [a]
    environment: {LAST: '${job.a.status}'}
    conditional: env.LAST == 'failed'
    steps: [{name: s, script: x}]
  c:
    environment: {T: '${secrets.T}'}
    conditional: env.T != ''
    steps: [{name: s, script: x}]
  d:
    depends_on: [a]
    conditional: always()
    steps: [{name: s, script: x}]
  e:
    depends_on: [a]
    conditional: false && job.a.status == 'success'
    steps: [{name: s, script: x}]
";
    let (run, planned) = begin(text, &Values::default());
    let foreseen = run.foresee(planned);
    let names: Vec<&str> = foreseen.planned.definition.jobs.iter().map(|job| job.name.as_str()).collect();
    assert_eq!(names, ["a", "b", "c", "d"], "{:?}", foreseen.left_out);
}

#[test]
fn values_from_outside_are_text() {
    let system = vec![("BRANCH_NAME".to_owned(), "${secrets.TOKEN}".to_owned())];
    let text = "name: p\njobs:\n  a:\n    steps: [{name: s, script: 'echo ${{ env.BRANCH_NAME }}'}]\n";
    let (run, planned) = begin(text, &Values { system, ..values() });
    let step = run.step(&planned.legs[0], 0, &Ended::default()).unwrap();
    assert_eq!(step.script, ["echo ${secrets.TOKEN}"]);
}

#[test]
fn a_secret_in_a_variable_does_not_reach_commands() {
    let text = "name: p\njobs:\n  a:\n    environment: {T: '${secrets.TOKEN}'}\n    steps: [{name: s, script: 'echo ${{ env.T }}'}]\n";
    let checked = read("forgehand.yml", text, &Given::default());
    let Some(pipeline) = checked.value.map(Arc::new) else { return };
    let run = Run::new(Arc::clone(&pipeline), &values());
    let planned = plan(&pipeline, run.hierarchy()).unwrap();
    let error = run.step(&planned.legs[0], 0, &Ended::default()).unwrap_err().to_string();
    assert!(error.contains("stands where a secret may not") && !error.contains("s3cret"), "{error}");
}
