use super::*;
use crate::emulator::{PipelineRequest, PipelineStatus};
use crate::parser::gitlab::pipeline::context::Source;

impl House {
    fn states(&self, pipeline: u64) -> Vec<(String, &'static str)> {
        let view = self.forge.pipeline(pipeline).unwrap();
        view.jobs.into_iter().map(|job| (job.name, job.state)).collect()
    }

    async fn take_and_end(&self, state: &str) -> String {
        let job: Value = self.poll("").await.json().await.unwrap();
        let (id, token) = (job["id"].as_u64().unwrap(), job["token"].as_str().unwrap().to_owned());
        assert_eq!(self.finish(id, &token, state).await.status(), 200);
        job["job_info"]["name"].as_str().unwrap().to_owned()
    }
}

fn states(list: &[(&str, &'static str)]) -> Vec<(String, &'static str)> {
    list.iter().map(|(name, state)| ((*name).to_owned(), *state)).collect()
}

#[tokio::test]
async fn jobs_come_in_the_order_of_their_stages_and_needs() {
    let house = House::new(EmulatorOptions::default()).await;
    let pipeline = house.forge.create_pipeline(house.project, "main").unwrap();
    let begin = [("compile", "pending"), ("check", "created"), ("lint", "pending"), ("mourn", "created")];
    assert_eq!(house.states(pipeline), states(&begin));
    assert_eq!(house.take_and_end("success").await, "compile");
    assert_eq!(house.take_and_end("success").await, "check");
    assert_eq!(house.take_and_end("failed").await, "lint", "which may fail");
    let view = house.forge.pipeline(pipeline).unwrap();
    assert_eq!(view.status, PipelineStatus::Success);
    assert_eq!(house.states(pipeline)[3], ("mourn".to_owned(), "skipped"));
}

#[tokio::test]
async fn a_failure_skips_what_comes_after_and_runs_what_waits_for_it() {
    let house = House::new(EmulatorOptions::default()).await;
    let pipeline = house.forge.create_pipeline(house.project, "main").unwrap();
    assert_eq!(house.take_and_end("failed").await, "compile");
    let now = [("compile", "failed"), ("check", "skipped"), ("lint", "pending"), ("mourn", "pending")];
    assert_eq!(house.states(pipeline), states(&now));
    house.take_and_end("success").await;
    house.take_and_end("success").await;
    assert_eq!(house.forge.pipeline(pipeline).unwrap().status, PipelineStatus::Failed);
}

#[tokio::test]
async fn the_payload_of_a_job() {
    let house = House::new(EmulatorOptions::default()).await;
    let pipeline = house.forge.create_pipeline(house.project, "main").unwrap();
    let job: Value = house.poll("").await.json().await.unwrap();
    assert_eq!(job["steps"][0]["script"], json!(["make"]));
    assert_eq!(job["artifacts"][0]["paths"], json!(["out"]));
    let reference = format!("+refs/pipelines/{pipeline}:refs/pipelines/{pipeline}");
    assert_eq!(job["git_info"]["refspecs"][0], json!(reference));
    assert_eq!(variable(&job, "GREETING"), "hello");
    assert_eq!(variable(&job, "CI_PIPELINE_ID"), pipeline.to_string());
    assert_eq!(variable(&job, "CI_RUNNER_DESCRIPTION"), "test");
    assert_eq!(variable(&job, "CI_SERVER_URL"), house.forge.url());
    let token = job["token"].as_str().unwrap();
    assert_eq!(variable(&job, "CI_JOB_TOKEN"), token);
    assert!(job["git_info"]["repo_url"].as_str().unwrap().contains(&format!("gitlab-ci-token:{token}@")));
    assert!(job["features"]["failure_reasons"].as_array().unwrap().contains(&json!("image_pull_failure")));
}

/// The value of a variable as a runner takes it: the last of its name counts.
fn variable(job: &Value, name: &str) -> String {
    let variables = job["variables"].as_array().unwrap();
    let found = variables.iter().rfind(|variable| variable["key"] == name);
    found.map(|variable| variable["value"].as_str().unwrap().to_owned()).unwrap_or_default()
}

/// The files of one more commit on a branch.
fn commit(house: &House, branch: &str, files: &[(&str, &str)]) -> String {
    let repository = house.forge.repository(house.project).unwrap();
    let files: Vec<_> = files.iter().map(|(path, text)| RepositoryFile::text(*path, *text)).collect();
    crate::emulator::repository::commit(&repository, branch, &files, "a change").unwrap()
}

impl House {
    async fn with(text: &str) -> Self {
        let house = House::new(EmulatorOptions::default()).await;
        commit(&house, "main", &[(".gitlab-ci.yml", text)]);
        house
    }

    fn run(&self) -> u64 {
        self.forge.create_pipeline(self.project, "main").unwrap()
    }

    async fn take(&self) -> Value {
        let answer = self.poll("").await;
        if answer.status() == 201 { answer.json().await.unwrap() } else { Value::Null }
    }

    async fn end_with(&self, job: &Value, state: &str) {
        let (id, token) = (job["id"].as_u64().unwrap(), job["token"].as_str().unwrap());
        assert_eq!(self.finish(id, token, state).await.status(), 200);
    }
}

#[tokio::test]
async fn a_file_with_errors_makes_a_failed_pipeline_that_says_them_all() {
    let house = House::with("one: {scirpt: x}\ntwo: {script: x, needs: [three]}\n").await;
    let view = house.forge.pipeline(house.run()).unwrap();
    assert_eq!((view.status, view.jobs.len()), (PipelineStatus::Failed, 0));
    let all = view.errors.join("\n");
    assert!(all.contains(".gitlab-ci.yml:1:") && all.contains("scirpt"), "{all}");
    assert!(all.contains("`three`"), "{all}");
    assert_eq!(house.take().await, Value::Null);
}

#[tokio::test]
async fn jobs_that_wait_for_each_other_are_an_error_of_the_file() {
    let house = House::with("one: {script: x, needs: [two]}\ntwo: {script: x, needs: [one]}\n").await;
    let view = house.forge.pipeline(house.run()).unwrap();
    assert_eq!(view.status, PipelineStatus::Failed);
    assert!(view.errors.join(" ").contains("one"), "{:?}", view.errors);
}

#[tokio::test]
async fn rules_decide_by_event_branch_and_changed_files() {
    let text = "\
        always: {script: x}\n\
        nightly: {script: x, rules: [{if: $CI_PIPELINE_SOURCE == 'schedule'}]}\n\
        docs: {script: x, rules: [{changes: [docs/**/*]}]}\n\
        tagged: {script: x, rules: [{if: $CI_COMMIT_TAG}]}\n\
        review: {script: x, rules: [{if: $CI_MERGE_REQUEST_IID}]}\n";
    let house = House::with(text).await;
    let names = |request: &PipelineRequest| -> Vec<String> {
        let id = house.forge.request_pipeline(house.project, request).unwrap();
        house.forge.pipeline(id).unwrap().jobs.into_iter().map(|job| job.name).collect()
    };
    assert_eq!(names(&PipelineRequest::push("main")), ["always"]);
    let nightly = PipelineRequest { source: Source::Schedule, ..PipelineRequest::push("main") };
    assert_eq!(names(&nightly), ["always", "nightly", "docs"], "a schedule counts everything as changed");
    commit(&house, "main", &[("docs/a/b.md", "x")]);
    assert_eq!(names(&PipelineRequest::push("main")), ["always", "docs"]);
    let repository = house.forge.repository(house.project).unwrap();
    crate::emulator::repository::set_ref(&repository, "refs/tags/v1", "main").unwrap();
    assert_eq!(names(&PipelineRequest::push("v1")), ["always", "docs", "tagged"]);
    let review = PipelineRequest { source: Source::MergeRequestEvent, ..PipelineRequest::push("main") };
    assert_eq!(names(&review), ["review"], "jobs without rules are for branches and tags; nothing differs from main");
}

#[tokio::test]
async fn nothing_to_run_is_no_pipeline() {
    let house = House::with("workflow: {rules: [{when: never}]}\none: {script: x}\n").await;
    let error = house.forge.create_pipeline(house.project, "main").unwrap_err().to_string();
    assert!(error.contains("no pipeline is created") && error.contains("workflow"), "{error}");
    let repository = Repository::Files(vec![RepositoryFile::text("README", "x")]);
    let bare = house.forge.add_project("team/bare", &repository).unwrap();
    let error = house.forge.create_pipeline(bare, "main").unwrap_err().to_string();
    assert!(error.contains("main has no .gitlab-ci.yml"), "{error}");
}

#[tokio::test]
async fn other_projects_of_the_server_can_be_included() {
    let house = House::with(
        "include:\n  - {project: team/shared, ref: v1.2.0, file: jobs.yml}\n  \
         - {component: $CI_SERVER_FQDN/team/shared/lint@1, inputs: {as: style}}\n",
    )
    .await;
    let files = vec![
        RepositoryFile::text("jobs.yml", "include: more.yml\nbuild: {script: make}\n"),
        RepositoryFile::text("more.yml", "pack: {script: tar}\n"),
        RepositoryFile::text(
            "templates/lint.yml",
            "spec:\n  inputs: {as: {default: lint}}\n---\n$[[ inputs.as ]]: {script: check}\n",
        ),
    ];
    let shared = house.forge.add_project("team/shared", &Repository::Files(files)).unwrap();
    let repository = house.forge.repository(shared).unwrap();
    crate::emulator::repository::set_ref(&repository, "refs/tags/v1.2.0", "main").unwrap();
    let view = house.forge.pipeline(house.run()).unwrap();
    assert_eq!(view.errors, Vec::<String>::new());
    let mut names: Vec<String> = view.jobs.into_iter().map(|job| job.name).collect();
    names.sort();
    assert_eq!(names, ["build", "pack", "style"]);
}

#[tokio::test]
async fn a_job_is_tried_again_as_its_file_says() {
    let house = House::with("one: {script: x, retry: {max: 1, when: script_failure}}\n").await;
    let pipeline = house.run();
    let first = house.take().await;
    house.end_with(&first, "failed").await;
    assert_eq!(house.forge.pipeline(pipeline).unwrap().status, PipelineStatus::Running);
    let second = house.take().await;
    assert_ne!(first["id"], second["id"], "another try is another job");
    assert_eq!(house.states(pipeline), states(&[("one", "running")]));
    house.end_with(&second, "failed").await;
    assert_eq!(house.forge.pipeline(pipeline).unwrap().status, PipelineStatus::Failed);
    assert_eq!(house.take().await, Value::Null);
}

#[tokio::test]
async fn failures_with_certain_exit_codes_are_put_up_with() {
    let house =
        House::with("one: {script: x, allow_failure: {exit_codes: [37]}}\ntwo: {stage: deploy, script: y}\n").await;
    let pipeline = house.run();
    house.take_and_end("failed").await;
    assert_eq!(house.take_and_end("success").await, "two");
    let view = house.forge.pipeline(pipeline).unwrap();
    assert_eq!(view.status, PipelineStatus::Success);
    assert!(view.jobs[0].allow_failure);
}

#[tokio::test]
async fn manual_and_delayed_jobs_wait_for_their_word() {
    let text = "\
        ask: {script: x, when: manual}\n\
        later: {script: x, when: delayed, start_in: 10 minutes}\n\
        gate: {stage: deploy, script: x, when: manual, allow_failure: false}\n\
        last: {stage: .post, script: x}\n";
    let house = House::with(text).await;
    let pipeline = house.run();
    assert_eq!(house.take().await, Value::Null);
    let begin = [("ask", "manual"), ("later", "scheduled"), ("gate", "created"), ("last", "created")];
    assert_eq!(house.states(pipeline), states(&begin));
    let ids: Vec<u64> = house.forge.pipeline(pipeline).unwrap().jobs.iter().map(|job| job.id).collect();
    assert!(house.forge.play(ids[1]), "before its time");
    assert_eq!(house.take_and_end("success").await, "later");
    let view = house.forge.pipeline(pipeline).unwrap();
    assert_eq!((view.status, view.jobs[2].state), (PipelineStatus::Manual, "manual"));
    assert!(!house.forge.play(ids[3]), "it waits for another job");
    assert!(house.forge.play(ids[2]));
    assert_eq!(house.take_and_end("success").await, "gate");
    assert_eq!(house.take_and_end("success").await, "last");
    assert_eq!(house.forge.pipeline(pipeline).unwrap().status, PipelineStatus::Success);
}

#[tokio::test]
async fn a_delayed_job_goes_by_itself() {
    let house = House::with("later: {script: x, when: delayed, start_in: 1 second}\n").await;
    let pipeline = house.run();
    let pending = |forge: &Emulator| (forge.pipeline(pipeline)?.jobs[0].state == "pending").then_some(());
    house.forge.wait_for(Duration::from_secs(30), pending).await.unwrap();
}

#[tokio::test]
async fn tags_choose_the_runner() {
    let house = House::with("variables: {WHERE: big}\none: {script: x, tags: [$WHERE]}\n").await;
    house.run();
    assert_eq!(house.take().await, Value::Null);
    house.forge.world().know().runners.get_mut(&house.runner).unwrap().spec.tags = vec!["big".to_owned()];
    assert_eq!(house.take().await["job_info"]["name"], "one");
}

#[tokio::test]
async fn a_resource_group_is_for_one_job_at_a_time() {
    let job = "{script: x, resource_group: prod}";
    let house = House::with(&format!("one: {job}\ntwo: {job}\n")).await;
    house.run();
    let first = house.take().await;
    assert_eq!(house.take().await, Value::Null);
    house.end_with(&first, "success").await;
    assert_eq!(house.take().await["job_info"]["name"], "two");
}

#[tokio::test]
async fn a_child_pipeline_is_run_and_its_parent_waits_for_it() {
    let text = "start: {stage: build, trigger: {include: child.yml, strategy: depend}, variables: {FROM: parent}}\n\
                after: {stage: deploy, script: x}\n\
                lost: {stage: build, trigger: {project: team/elsewhere}, allow_failure: true}\n";
    let house = House::with(text).await;
    commit(&house, "main", &[("child.yml", "inner: {script: echo $FROM}\n")]);
    let pipeline = house.run();
    let begin = [("start", "running"), ("lost", "failed"), ("after", "created")];
    assert_eq!(house.states(pipeline), states(&begin));
    let inner = house.take().await;
    assert_eq!(inner["job_info"]["name"], "inner");
    assert_eq!(variable(&inner, "FROM"), "parent");
    assert_eq!(variable(&inner, "CI_PIPELINE_SOURCE"), "parent_pipeline");
    let child = inner["job_info"]["pipeline_id"].as_u64().unwrap();
    assert_ne!(child, pipeline);
    assert_eq!(variable(&inner, "CI_PIPELINE_ID"), child.to_string());
    assert_eq!(variable(&inner, "CI_PIPELINE_IID"), child.to_string());
    house.end_with(&inner, "success").await;
    assert_eq!(house.states(pipeline)[0], ("start".to_owned(), "success"));
    assert_eq!(house.take_and_end("success").await, "after");
    assert_eq!(house.forge.pipeline(pipeline).unwrap().status, PipelineStatus::Success);
}

#[tokio::test]
async fn cancelling_ends_a_job_or_all_of_them() {
    let house =
        House::with("one: {script: x}\ntwo: {stage: deploy, script: x}\nthree: {stage: .post, script: x}\n").await;
    let pipeline = house.run();
    let ids: Vec<u64> = house.forge.pipeline(pipeline).unwrap().jobs.iter().map(|job| job.id).collect();
    assert!(house.forge.force_cancel(ids[1]));
    assert_eq!(house.take_and_end("success").await, "one");
    let now = [("one", "success"), ("two", "canceled"), ("three", "skipped")];
    assert_eq!(house.states(pipeline), states(&now));
    assert_eq!(house.forge.pipeline(pipeline).unwrap().status, PipelineStatus::Cancelled);
    let other = house.run();
    house.forge.cancel_pipeline(other);
    assert_eq!(house.states(other), states(&[("one", "canceled"), ("two", "canceled"), ("three", "canceled")]));
}

#[tokio::test]
async fn caches_and_artifacts_and_identity_are_in_the_payload() {
    let text = "\
        make:\n  script: x\n  artifacts: {paths: [out]}\n  cache: {key: {files: [README]}, paths: [c]}\n\
        use:\n  stage: deploy\n  script: y\n  needs: [make]\n\
        \x20 id_tokens: {WHO: {aud: https://vault.example.com}}\n";
    let house = House::with(text).await;
    house.run();
    let make = house.take().await;
    let key = make["cache"][0]["key"].as_str().unwrap();
    assert!(key.starts_with("0_README-") && key.ends_with("-protected") && key.len() > 50, "{key}");
    house.end_with(&make, "success").await;
    let user = house.take().await;
    assert_eq!(user["cache"], json!([]));
    let dependency = &user["dependencies"][0];
    assert_eq!((&dependency["id"], &dependency["name"]), (&make["id"], &json!("make")));
    assert_eq!(variable(&user, "WHO").split('.').count(), 3);
    let keys = format!("{}/oauth/discovery/keys", house.forge.url());
    let keys: Value = house.http.get(keys).send().await.unwrap().json().await.unwrap();
    assert_eq!(keys["keys"][0]["kty"], "OKP");
}
