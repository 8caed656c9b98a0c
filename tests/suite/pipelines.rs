//! Pipelines of a checkout through the built program: `lint`, `plan`, `expand`, `graph`, `eval`, `exec`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

/// A project with its own state directory.
struct Project {
    folder: TempDir,
}

impl Project {
    /// A git work tree of these files with one commit on `main`.
    fn new(files: &[(&str, &str)]) -> Self {
        let project = Self { folder: tempfile::tempdir().unwrap() };
        for (path, text) in files {
            let path = project.root().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        for words in [&["init", "-q", "-b", "main"][..], &["add", "-A"], &["commit", "-q", "-m", "first"]] {
            let git = Command::new("git")
                .args(["-c", "user.name=Ann Author", "-c", "user.email=ann@example.com"])
                .args(words)
                .current_dir(project.root())
                .output()
                .unwrap();
            assert!(git.status.success(), "git {words:?}: {}", String::from_utf8_lossy(&git.stderr));
        }
        project
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("project")
    }

    fn run(&self, words: &[&str]) -> Output {
        forgehand(&self.root(), &self.folder.path().join("state"), words)
    }

    fn json(&self, words: &[&str]) -> Value {
        let output = self.run(words);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{words:?}: {error}\n{}", said(&output)))
    }
}

fn forgehand(folder: &Path, state: &Path, words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_forgehand"))
        .arg("--state-dir")
        .arg(state)
        .args(words)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

const GITLAB: &str = "
stages: [build, test]
variables: {GREETING: hello}
.base:
  script: [echo base]
build:
  stage: build
  script:
    - echo \"$GREETING $CI_COMMIT_BRANCH\"
    - mkdir out && echo made > out/file && echo NUMBER=42 > build.env
  artifacts:
    paths: [out]
    reports: {dotenv: build.env}
test:
  extends: .base
  script: ['cat out/file', 'echo \"number $NUMBER in $SIDE\"', 'echo to stderr >&2']
  parallel:
    matrix: [{SIDE: [left, right]}]
broken:
  script: [exit 3]
  allow_failure: true
  artifacts: {paths: [nothing]}
after:
  stage: .post
  when: on_failure
  script: [echo never]
tagged:
  rules: [{if: $CI_COMMIT_TAG}]
  script: [echo tag]
";

/// A server on this machine that has one file at every address.
struct Server {
    host: String,
}

impl Server {
    fn new(body: &'static str) -> Self {
        use std::io::{Read as _, Write as _};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let host = format!("http://{}", listener.local_addr().unwrap());
        // It ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read == 1) {
                    head.push(byte[0]);
                }
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
                // A client that has gone is the test's to notice.
                let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes()));
            }
        });
        Self { host }
    }
}

#[test]
fn includes_come_from_hosts_that_are_allowed() {
    let server = Server::new("shared:\n  script: ['echo \"from $WHERE\"']\n");
    let text = format!("include: [{{remote: '{}/ci.yml'}}]\nvariables: {{WHERE: afar}}\n", server.host);
    let project = Project::new(&[(".gitlab-ci.yml", &text)]);
    let flag = format!("--include-from {}", server.host);
    for (words, code) in [(&["lint", "."][..], 0), (&["exec", "--executor", "host"], 2)] {
        let output = project.run(words);
        assert_eq!(output.status.code(), Some(code), "{}", said(&output));
        assert!(said(&output).contains(&flag), "{words:?} names the flag: {}", said(&output));
    }
    let plan = project.json(&["plan", "--json", "--include-from", &server.host]);
    assert_eq!(plan["levels"], json!([["shared"]]));
    let output = project.run(&["exec", "--executor", "host", "--json", "--include-from", &server.host]);
    assert!(output.status.success() && said(&output).contains("from afar"), "{}", said(&output));
    let lint = project.run(&["lint", ".", "--json", "--include-from", &server.host]);
    assert_eq!(String::from_utf8_lossy(&lint.stdout).trim(), "[]");
    let config = project.folder.path().join("forgehand.toml");
    fs::write(&config, format!("[exec]\ninclude_from = ['{}']\n", server.host)).unwrap();
    let configured = project.json(&["plan", "--json", "--config", config.to_str().unwrap()]);
    assert_eq!(configured["levels"], json!([["shared"]]));
    let wrong = project.run(&["plan", "--include-from", "*.example.com"]);
    assert_eq!(wrong.status.code(), Some(2), "{}", said(&wrong));
}

#[test]
fn a_plan_holds_the_jobs_that_the_event_creates() {
    let project = Project::new(&[(".gitlab-ci.yml", GITLAB)]);
    let plan = project.json(&["plan", "--json"]);
    assert_eq!(plan["levels"], json!([["build"], ["test: [left]", "test: [right]", "broken"], ["after"]]));
    assert_eq!(plan["jobs"]["test: [left]"]["needs"], json!(null), "it waits for the stages before");
    assert_eq!(plan["jobs"]["broken"]["allow_failure"], json!(true));
    assert_eq!(plan["critical_path"], json!(["build", "test: [left]", "after"]));
    let tagged = project.json(&["plan", "--json", "--ref", "refs/tags/v1"]);
    assert_eq!(tagged["jobs"]["tagged"]["stage"], json!("test"));
}

#[test]
fn a_plan_says_what_the_rule_that_held_makes_of_a_job() {
    let text = "variables: {RUNNER: k8s}\n\
        a:\n  script: [x]\n  tags: [docker, $RUNNER, $UNKNOWN]\n  variables: {A: own, B: own}\n  \
        parallel: {matrix: [{B: [row]}]}\n  \
        rules:\n    - if: $CI_COMMIT_BRANCH\n      when: delayed\n      start_in: 4 hours\n      variables: {A: rule}\n";
    let project = Project::new(&[(".gitlab-ci.yml", text)]);
    let job = &project.json(&["plan", "--json"])["jobs"]["a: [row]"];
    assert_eq!(job["start_in"], json!("4 hours"));
    assert_eq!(job["variables"], json!({"A": "rule", "B": "row"}));
    assert_eq!(job["tags"], json!(["docker", "k8s", "$UNKNOWN"]));
}

#[test]
fn lint_is_for_every_event() {
    let text = "include:\n  - local: ci/nightly.yml\n    rules:\n      - if: $CI_PIPELINE_SOURCE == \"schedule\"\n\
        report: {extends: .report, needs: [nightly], rules: [!reference [.nightly, rules]]}\n";
    let nightly = ".report: {script: [x]}\n.nightly: {rules: [{when: always}]}\nnightly: {script: [x]}\n";
    let project = Project::new(&[(".gitlab-ci.yml", text), ("ci/nightly.yml", nightly)]);
    let output = project.run(&["lint", "."]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    // A push has no such jobs: GitLab refuses it.
    assert_eq!(project.run(&["plan"]).status.code(), Some(2));
    let plan = project.json(&["plan", "--json", "--event", "schedule"]);
    assert_eq!(plan["levels"], json!([["nightly"], ["report"]]));
}

#[test]
fn a_workflow_that_the_event_does_not_start_has_no_jobs_and_a_note() {
    let text = "on: {push: {branches: [release]}}\njobs:\n  a:\n    runs-on: x\n    steps: [{run: 'true'}]\n";
    let project = Project::new(&[(".github/workflows/ci.yml", text)]);
    let output = project.run(&["plan", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_eq!(serde_json::from_slice::<Value>(&output.stdout).unwrap()["jobs"], json!({}));
    assert!(String::from_utf8_lossy(&output.stderr).contains("does not start"), "{}", said(&output));
    let started = project.json(&["plan", "--json", "--ref", "release"]);
    assert_eq!(started["levels"], json!([["a"]]));
}

#[test]
fn a_matrix_of_a_workflow_is_named_as_the_forge_shows_it() {
    let text = "on: push\njobs:\n  m:\n    runs-on: x\n    strategy: {matrix: {n: [1, 2], c: [a]}}\n    steps: [{run: 'true'}]\n  \
                end:\n    needs: m\n    runs-on: x\n    steps: [{run: 'true'}]\n";
    let project = Project::new(&[(".github/workflows/ci.yml", text)]);
    let plan = project.json(&["plan", ".github/workflows/ci.yml", "--json"]);
    assert_eq!(plan["levels"], json!([["m (1, a)", "m (2, a)"], ["end"]]));
}

#[test]
fn findings_are_an_array_and_errors_exit_with_2() {
    let project = Project::new(&[(".gitlab-ci.yml", "a:\n  scirpt: x\nb:\n  needs: [b2]\n  script: x\n")]);
    let output = project.run(&["lint", ".", "--json"]);
    assert_eq!(output.status.code(), Some(2));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let key = found.as_array().unwrap().iter().find(|one| one["code"] == "gitlab/unknown-key").unwrap();
    assert_eq!((&key["line"], &key["column"], &key["severity"]), (&json!(2), &json!(3), &json!("error")));
    assert!(key["help"].as_str().unwrap().contains("`script`"));
    assert!(found.as_array().unwrap().iter().any(|one| one["line"] == 4), "all errors in one pass: {found}");
    let clean = Project::new(&[(".gitlab-ci.yml", GITLAB)]);
    let output = clean.run(&["lint", ".", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let sarif = project.json(&["lint", ".", "--format", "sarif"]);
    assert_eq!(sarif["version"], "2.1.0");
    let why = project.run(&["lint", "--explain", "gitlab/unknown-key"]);
    assert!(why.status.success() && said(&why).starts_with("gitlab/unknown-key"), "{}", said(&why));
}

#[test]
fn the_processed_form_has_no_hidden_jobs_and_no_extends() {
    let project = Project::new(&[(".gitlab-ci.yml", GITLAB)]);
    let output = project.run(&["expand"]);
    let shown: serde_yaml::Value = serde_yaml::from_slice(&output.stdout).unwrap();
    assert!(shown.get(".base").is_none() && shown["test"].get("extends").is_none(), "{}", said(&output));
    assert_eq!(shown["test"]["stage"], serde_yaml::Value::from("test"));
    let merged = project.run(&["expand", "--merged"]);
    let merged: serde_yaml::Value = serde_yaml::from_slice(&merged.stdout).unwrap();
    assert_eq!(merged["test"]["extends"], serde_yaml::Value::from(".base"));
    let one = project.run(&["expand", "--job", "biuld"]);
    assert_eq!(one.status.code(), Some(2));
    assert!(said(&one).contains("did you mean `build`?"), "{}", said(&one));
}

#[test]
fn an_expression_prints_its_value_as_json() {
    let project = Project::new(&[("c.json", r#"{"a": {"b": [1, 2]}}"#)]);
    for (words, want) in [
        (&["eval", "a.b[1] == 2", "--context", "c.json"][..], "true"),
        (&["eval", "${{ format('{0}-{1}', 'x', 1) }}"], r#""x-1""#),
        (&["eval", "'abc'.length + 1.5", "--dialect", "native"], "4.5"),
        (&["eval", "$CI == null", "--dialect", "gitlab"], "true"),
        (&["eval", "success() && hashFiles('c.json') != ''", "--dialect", "forgejo"], "true"),
    ] {
        let output = project.run(words);
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), want, "{words:?}: {}", said(&output));
    }
    let wrong = project.run(&["eval", "nothing.here"]);
    assert_eq!(wrong.status.code(), Some(2), "{}", said(&wrong));
}

/// Per job: its status and its lines by stream.
type Jobs = BTreeMap<String, (String, Vec<(String, String)>)>;

fn jobs_of(output: &Output) -> Jobs {
    let mut jobs = Jobs::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let event: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        let Some(name) = event["job"].as_str() else { continue };
        let job = jobs.entry(name.to_owned()).or_default();
        match event["event"].as_str() {
            Some("log") => {
                job.1.push((event["stream"].as_str().unwrap().into(), event["text"].as_str().unwrap().into()));
            }
            Some("job_finished") => {
                assert_eq!(job.0, "", "`{name}` ends once");
                job.0 = event["status"].as_str().unwrap().into();
            }
            _ => {}
        }
    }
    jobs
}

#[test]
fn a_pipeline_runs_on_this_machine_with_artifacts_variables_and_a_matrix() {
    let project = Project::new(&[(".gitlab-ci.yml", GITLAB)]);
    let output = project.run(&["exec", "--executor", "host", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let jobs = jobs_of(&output);
    let status: Vec<(&str, &str)> = jobs.iter().map(|(name, job)| (name.as_str(), job.0.as_str())).collect();
    assert_eq!(
        status,
        [
            ("after", "skipped"),
            ("broken", "failed"),
            ("build", "success"),
            ("test: [left]", "success"),
            ("test: [right]", "success"),
        ]
    );
    let line = |stream: &str, text: &str| (stream.to_owned(), text.to_owned());
    assert!(jobs["build"].1.contains(&line("stdout", "hello main")));
    let left = &jobs["test: [left]"].1;
    assert!(left.contains(&line("stdout", "made")) && left.contains(&line("stdout", "number 42 in left")), "{left:?}");
    assert!(
        left.contains(&line("stderr", "to stderr")) && left.contains(&line("command", "$ cat out/file")),
        "{left:?}"
    );
    assert!(!project.root().join("out").exists(), "the work tree is not touched");
    assert!(project.root().join(".forgehand/artifacts").exists());
}

#[test]
fn outside_git_a_pipeline_runs_with_a_note() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(".gitlab-ci.yml"), "j:\n  script: ['echo \"sha=$CI_COMMIT_SHA.\"']\n").unwrap();
    let state = tempfile::tempdir().unwrap();
    let output = forgehand(folder.path(), state.path(), &["exec", "--executor", "host", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(jobs_of(&output)["j"].1.contains(&("stdout".to_owned(), "sha=.".to_owned())), "{}", said(&output));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no git work tree"), "{}", said(&output));
}

#[test]
fn what_cannot_be_done_here_fails_by_name_and_never_in_silence() {
    let text = "t:\n  trigger: {include: none.yml}\nd:\n  script: [\"printf 'A=1\\n# c\\n' > x.env\"]\n  artifacts: {reports: \
                {dotenv: x.env}}\nother:\n  trigger: group/other\n";
    let project = Project::new(&[(".gitlab-ci.yml", text)]);
    let output = project.run(&["exec", "--executor", "host", "--json"]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let jobs = jobs_of(&output);
    assert_eq!((jobs["t"].0.as_str(), jobs["d"].0.as_str()), ("failed", "failed"), "{}", said(&output));
    assert!(said(&output).contains("the included file `none.yml` does not exist"), "{}", said(&output));
    assert!(said(&output).contains("the dotenv report is refused: line 2"), "{}", said(&output));
    assert_eq!(jobs["other"].0, "success");
    assert!(jobs["other"].1.iter().any(|(_, line)| line.contains("`group/other` is not started")), "{}", said(&output));
}

const PARENT: &str = "
stages: [make, start]
make:
  stage: make
  script:
    - cp template made.yml
    - echo of the parent > file
  artifacts: {paths: [made.yml, file]}
dynamic:
  stage: start
  variables: {FROM: parent}
  trigger: {include: [{artifact: made.yml, job: make}], strategy: depend}
static:
  stage: start
  trigger: {include: child.yml, strategy: depend}
loose:
  stage: start
  trigger: {include: red.yml}
";

#[test]
fn child_pipelines_run_with_the_artifacts_and_variables_they_are_given() {
    let child = "make:\n  needs: [{pipeline: $PARENT_PIPELINE_ID, job: make}]\n  script: ['cat file', 'echo $CI_PIPELINE_SOURCE']\n";
    let red = "red:\n  script: [exit 1]\n";
    let template = "made:\n  script: ['echo \"from $FROM\"']\n";
    let files = [(".gitlab-ci.yml", PARENT), ("child.yml", child), ("red.yml", red), ("template", template)];
    let project = Project::new(&files);
    let output = project.run(&["exec", "--executor", "host", "--json"]);
    let jobs = jobs_of(&output);
    let wrote = |job: &str| -> Vec<&str> {
        jobs[job].1.iter().filter(|(stream, _)| stream == "stdout").map(|(_, text)| text.as_str()).collect()
    };
    assert_eq!(wrote("made"), ["from parent"], "{}", said(&output));
    assert_eq!(wrote("static / make"), ["of the parent", "parent_pipeline"], "a name that is taken says whose it is");
    assert_eq!(jobs["red"].0, "failed");
    assert_eq!(jobs["loose"].0, "success", "nobody waits for the pipeline that it started");
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
}

#[test]
fn a_trigger_hands_down_its_variables_and_those_of_the_pipeline_as_the_server_does() {
    let parent = "
variables: {YAML: global, BOTH: global}
report:
  stage: build
  script: ['echo VERSION=7 > report']
  artifacts: {reports: {dotenv: report}}
down:
  variables: {UP: 'v$VERSION-$NOTHING', OF: $CI_PIPELINE_ID, RAW: {value: $VERSION, expand: false}}
  trigger: {include: child.yml, strategy: depend}
all:
  variables: {BOTH: job}
  trigger: {include: other.yml, strategy: depend, forward: {pipeline_variables: true, yaml_variables: true}}
";
    let child = "c: {script: ['echo \"$UP $YAML $BOTH,$VERSION\"', 'test -n \"$OF\" && echo known']}\n";
    let other = "o: {script: ['echo \"$YAML $BOTH $VERSION\"']}\n";
    let project = Project::new(&[(".gitlab-ci.yml", parent), ("child.yml", child), ("other.yml", other)]);
    let output = project.run(&["exec", "--executor", "host", "--json", "--var", "BOTH=pipeline"]);
    let jobs = jobs_of(&output);
    assert_eq!(stdout_of(&jobs, "c"), ["v7- global global,", "known"], "{}", said(&output));
    assert_eq!(
        stdout_of(&jobs, "o"),
        ["global pipeline 7"],
        "what was given to the pipeline is stronger than the file"
    );
}

#[test]
fn a_job_with_a_release_runs_without_making_one() {
    let text = "r: {script: [echo done], release: {tag_name: v1, description: first}}\n";
    let project = Project::new(&[(".gitlab-ci.yml", text)]);
    let output = project.run(&["exec", "--executor", "host", "--json"]);
    let jobs = jobs_of(&output);
    assert_eq!((jobs["r"].0.as_str(), stdout_of(&jobs, "r")), ("success", vec!["done"]), "{}", said(&output));
    assert!(said(&output).contains("no release is made"));
}

#[test]
fn coverage_is_what_the_pattern_finds_last_in_the_log() {
    let text = "
c:
  coverage: '/TOTAL.* (\\d+)%/'
  script: [echo TOTAL 10%, echo TOTAL 4 81%, echo end]
none: {coverage: '/zzz/', script: [echo 1]}
";
    let project = Project::new(&[(".gitlab-ci.yml", text)]);
    let output = project.run(&["exec", "--executor", "host", "--json"]);
    let events = String::from_utf8(output.stdout.clone()).unwrap();
    let ends: Vec<Value> = events.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |job: &str| ends.iter().find(|event| event["event"] == "job_finished" && event["job"] == job).unwrap();
    assert_eq!(of("c")["coverage"], json!(81.0), "{}", said(&output));
    assert_eq!(of("none").get("coverage"), None);
    let output = project.run(&["exec", "--executor", "host"]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("coverage 81%"), "{}", said(&output));
}

#[test]
fn the_first_failure_ends_the_others_where_the_file_asks_for_it_and_hooks_are_no_output() {
    let text = "
workflow: {auto_cancel: {on_job_failure: all}}
default: {hooks: {pre_get_sources_script: [echo hooked]}}
may: {script: [exit 1], allow_failure: true}
red: {script: [sleep 1, exit 1]}
long: {script: [sleep 60]}
always: {stage: deploy, when: always, script: [echo no]}
";
    let project = Project::new(&[(".gitlab-ci.yml", text)]);
    let output = project.run(&["exec", "--executor", "host", "--json"]);
    let jobs = jobs_of(&output);
    let status = |job: &str| jobs[job].0.as_str();
    let all = ["may", "red", "long", "always"].map(status);
    assert_eq!(all, ["failed", "failed", "cancelled", "cancelled"], "{}", said(&output));
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stdout_of(&jobs, "red"), ["hooked"]);
}

#[test]
fn a_job_that_depends_on_its_child_pipeline_ends_as_that_does() {
    let text = "t:\n  trigger: {include: red.yml, strategy: depend}\n";
    let project = Project::new(&[(".gitlab-ci.yml", text), ("red.yml", "red:\n  script: [exit 1]\n")]);
    let output = project.run(&["exec", "--executor", "host", "--json"]);
    assert_eq!(jobs_of(&output)["t"].0, "failed");
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
}

const NATIVE: &str = "
name: demo
global_env: {STAGE: prod}
jobs:
  build:
    steps:
    - name: compile
      script: ['mkdir out', 'echo \"built $STAGE\" > out/file']
    - {name: look, script: pwd, working_directory: /workspace/sub}
    artifacts: {paths: [out]}
  test:
    depends_on: [build]
    matrix: {suite: [unit, e2e]}
    environment: {KEY: '${secrets.K}'}
    steps:
    - name: run
      script: ['cat out/file', 'echo \"${matrix.suite} $KEY ${job.build.status} ${job.build.artifacts.count}\"']
    - {name: flaky, script: 'test -e again || { touch again; exit 7; }', retry_count: 1}
  bad:
    steps:
    - {name: may, script: exit 3, continue_on_failure: true}
    - {name: must, script: 'echo on; exit 4'}
    - {name: never, script: echo never}
  cleanup:
    depends_on: [bad]
    conditional: job.bad.status == 'failed'
    steps: [{name: x, script: echo cleaning}]
  ship:
    depends_on: [bad]
    steps: [{name: x, script: echo shipping}]
    deployment: {environment: production}
";

fn stdout_of<'a>(jobs: &'a Jobs, job: &str) -> Vec<&'a str> {
    jobs[job].1.iter().filter(|(stream, _)| stream == "stdout").map(|(_, text)| text.as_str()).collect()
}

#[test]
fn a_native_pipeline_runs_with_conditions_retries_secrets_and_artifacts() {
    let project = Project::new(&[("forgehand.yml", NATIVE), ("sub/x", "")]);
    let output = project.run(&["exec", "--executor", "host", "--json", "--secret", "K=hushhush"]);
    let jobs = jobs_of(&output);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert_eq!(stdout_of(&jobs, "test (e2e)"), ["built prod", "e2e [MASKED] success 1"], "{}", said(&output));
    assert!(stdout_of(&jobs, "build")[0].ends_with("/sub"), "{}", said(&output));
    assert_eq!(stdout_of(&jobs, "bad"), ["on"]);
    let status = |job: &str| jobs[job].0.as_str();
    assert_eq!((status("test (unit)"), status("cleanup"), status("ship")), ("success", "success", "skipped"));
    assert!(said(&output).contains("`deployment` of `ship`: nothing is deployed"), "{}", said(&output));
    assert!(!said(&output).contains("hushhush"));
}

#[test]
fn jobs_are_chosen_by_name_and_by_the_values_of_their_matrix() {
    let project = Project::new(&[("forgehand.yml", NATIVE), (".gitlab-ci.yml", GITLAB), ("sub/x", "")]);
    let exec = |words: &[&str]| {
        let output =
            project.run(&[&["exec", "--executor", "host", "--json", "--secret", "K=hushhush"], words].concat());
        let jobs: Vec<String> = jobs_of(&output).into_keys().collect();
        (output.status.code(), jobs, said(&output))
    };
    let (code, jobs, said) = exec(&["forgehand.yml", "--job", "test", "--needs", "--matrix", "suite=e2e"]);
    assert_eq!((code, jobs), (Some(0), vec!["build".to_owned(), "test (e2e)".to_owned()]), "{said}");
    let (code, jobs, said) = exec(&[".gitlab-ci.yml", "--job", "test", "--needs", "--matrix", "SIDE=left"]);
    assert_eq!((code, jobs), (Some(0), vec!["build".to_owned(), "test: [left]".to_owned()]), "{said}");
    let (code, _, said) = exec(&[".gitlab-ci.yml", "--matrix", "SIDE=up"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("no job of this pipeline has `SIDE: up` in its matrix"), "{said}");
}

#[test]
fn what_is_not_honoured_is_said_once_and_is_an_error_where_that_is_asked_for() {
    let text = "a:\n  script: [echo a]\n  environment: production\n  id_tokens: {T: {aud: x}}\nb:\n  extends: a\n";
    let project = Project::new(&[(".gitlab-ci.yml", text)]);
    let output = project.run(&["exec", "--executor", "host"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(said(&output).contains("`id_tokens` of `a`, `b`: no forge is there to sign them"), "{}", said(&output));
    let strict = project.run(&["exec", "--executor", "host", "--strict"]);
    assert_eq!(strict.status.code(), Some(2), "{}", said(&strict));
    assert!(!String::from_utf8_lossy(&strict.stdout).contains("starts"), "{}", said(&strict));
    let workflow = "on: push\njobs:\n  a:\n    runs-on: tiny\n    steps: [{uses: actions/setup-go@v5}]\n  b:\n    runs-on: \
                    tiny\n    container: {image: x, options: --privileged, ports: ['80']}\n    steps: \
                    [{run: x}]\n";
    let project = Project::new(&[(".github/workflows/ci.yml", workflow)]);
    let strict = project.run(&["exec", "--strict"]);
    assert_eq!(strict.status.code(), Some(2), "{}", said(&strict));
    for part in [
        "`runs-on: tiny` of `a`: no image stands for it",
        "`uses: actions/setup-go@v5` of `a`",
        "--privileged` of `b`",
        "`ports` of `b`: ports of the job's own container are not published",
    ] {
        assert!(said(&strict).contains(part), "{part}: {}", said(&strict));
    }
}

#[test]
fn nothing_under_a_key_lets_the_default_hold_when_expanded() {
    let text = "default: {before_script: [echo D], image: alpine}\nj: {before_script: null, image: null, needs: null, script: x}\n";
    let project = Project::new(&[(".gitlab-ci.yml", text)]);
    let output = project.run(&["expand"]);
    let shown: serde_yaml::Value = serde_yaml::from_slice(&output.stdout).unwrap();
    assert_eq!(shown["j"]["before_script"][0], serde_yaml::Value::from("echo D"), "{}", said(&output));
    assert_eq!(shown["j"]["image"]["name"], serde_yaml::Value::from("alpine"));
    assert!(shown["j"].get("needs").is_none());
}

#[test]
fn a_need_that_the_event_does_not_create_is_wrong_before_anything_runs() {
    let text = "a:\n  script: x\n  rules: [{when: never}]\nb:\n  script: [echo b]\n  needs: [a]\n";
    let project = Project::new(&[(".gitlab-ci.yml", text)]);
    for words in [&["plan"][..], &["exec", "--executor", "host"]] {
        let output = project.run(words);
        assert_eq!(output.status.code(), Some(2), "{words:?}: {}", said(&output));
    }
}

#[test]
fn a_pipeline_that_fails_exits_with_1_and_a_wrong_one_with_2() {
    let project =
        Project::new(&[(".gitlab-ci.yml", "a:\n  script: [exit 4]\nb:\n  stage: deploy\n  script: [echo b]\n")]);
    let output = project.run(&["exec", "--executor", "host", "--json"]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let jobs = jobs_of(&output);
    assert_eq!((jobs["a"].0.as_str(), jobs["b"].0.as_str()), ("failed", "skipped"));
    let wrong = Project::new(&[(".gitlab-ci.yml", "a:\n  scirpt: x\n")]);
    let output = wrong.run(&["exec", "--executor", "host"]);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
}

#[test]
fn secrets_of_the_command_line_are_masked_and_come_from_the_environment_too() {
    let project = Project::new(&[(".gitlab-ci.yml", "a:\n  script: ['echo \"it is $TOKEN\"']\n")]);
    let output = project.run(&["exec", "--executor", "host", "--json", "--secret", "TOKEN=sup3r-s3cret-value"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(!said(&output).contains("sup3r-s3cret-value"), "{}", said(&output));
    assert!(jobs_of(&output)["a"].1.iter().any(|(stream, text)| stream == "stdout" && text.contains("it is [MASKED]")));
}

/// Files on which we differ on purpose: the newest GitLab takes up to ten files in `cache:key:files`.
const EXPLAINED: [&str; 1] = ["gitlab-cache-key-three-files"];

/// The corpus's broken files, each with what the finding has to say and where.
#[test]
fn broken_files_are_explained_where_they_are_broken() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus/broken");
    let Ok(entries) = fs::read_dir(&corpus) else {
        println!("skipped: there is no corpus beside the repository");
        return;
    };
    let state = tempfile::tempdir().unwrap();
    let (mut wrong, mut count) = (Vec::new(), 0);
    for entry in entries {
        let path = entry.unwrap().path();
        let Some(name) = path.to_str().and_then(|path| path.strip_suffix(".expect.json")) else { continue };
        let expect: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let file = format!("{name}.yml");
        let dialect = expect["dialect"].as_str().unwrap();
        let output = forgehand(&corpus, state.path(), &["lint", &file, "--json", "--dialect", dialect]);
        let found: Value = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
        count += 1;
        if EXPLAINED.iter().any(|known| name.ends_with(known)) {
            continue;
        }
        if !explains(&expect, found.as_array().map_or(&[][..], Vec::as_slice)) {
            wrong.push(format!("{file}: {found}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
}

fn explains(expect: &Value, found: &[Value]) -> bool {
    if expect["valid_or_error"] == json!(true) {
        return true;
    }
    let severity = expect["severity"].as_str().unwrap_or("error");
    if expect["valid"] == json!(true) && severity == "error" {
        return found.iter().all(|one| one["severity"] != "error");
    }
    let text = |one: &Value| format!("{} {}", one["message"], one["help"]).to_lowercase();
    let words = |key: &str| -> Vec<String> {
        let list = expect[key].as_array().cloned().unwrap_or_default();
        list.iter().filter_map(|word| word.as_str().map(str::to_lowercase)).collect()
    };
    let (all, any) = (words("must_mention"), words("any_of_mentions"));
    let elsewhere = expect["or_at"].to_string();
    let is_at = |one: &Value| {
        let place = json!([one["line"], one["column"]]);
        let named = expect["or_at"].as_array().is_some_and(|places| places.contains(&place));
        let wanted = json!([expect["line"], expect["column"]]);
        place == wanted || named || elsewhere.contains("any") || elsewhere.contains("eof")
    };
    let counts = |one: &&Value| one["severity"].as_str().is_some_and(|word| severity.contains(word));
    found.iter().filter(counts).any(|one| {
        let text = text(one);
        let suggestion = expect["suggestion"].as_str().is_none_or(|word| text.contains(&word.to_lowercase()));
        let mentions = all.iter().all(|word| text.contains(word))
            && (any.is_empty() || any.iter().any(|word| text.contains(word)));
        is_at(one) && mentions && suggestion
    })
}

const WORKFLOW: &str = "
on: [push, workflow_dispatch]
env: {GREETING: hello}
jobs:
  build:
    runs-on: any
    outputs: {number: '${{ steps.made.outputs.number }}'}
    steps:
      - uses: actions/checkout@v4
      - run: cat readme && echo \"$GREETING $GITHUB_REF_NAME\"
      - id: made
        run: |
          echo number=42 >> \"$GITHUB_OUTPUT\"
          echo LATER=set >> \"$GITHUB_ENV\"
      - run: echo \"later $LATER\"; echo '::add-mask::hidden-word'; echo hidden-word; echo '::notice::look here'
      - run: exit 3
        continue-on-error: true
      - if: failure()
        run: echo not this one
  legs:
    needs: build
    runs-on: any
    strategy: {matrix: {side: [left, right]}}
    steps:
      - run: echo \"number ${{ needs.build.outputs.number }} ${{ matrix.side }}\"
  dispatched:
    if: github.event_name == 'workflow_dispatch'
    runs-on: any
    steps: [{run: echo never}]
";

#[test]
fn a_workflow_runs_on_this_machine_with_outputs_command_files_and_a_matrix() {
    let project = Project::new(&[(".github/workflows/ci.yml", WORKFLOW), ("readme", "from the checkout\n")]);
    let output = project.run(&["exec", "--executor", "host", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let jobs = jobs_of(&output);
    let status: Vec<(&str, &str)> = jobs.iter().map(|(name, job)| (name.as_str(), job.0.as_str())).collect();
    assert_eq!(
        status,
        [("build", "success"), ("dispatched", "skipped"), ("legs (left)", "success"), ("legs (right)", "success")]
    );
    let line = |stream: &str, text: &str| (stream.to_owned(), text.to_owned());
    let build = &jobs["build"].1;
    for text in ["from the checkout", "hello main", "later set", "***"] {
        assert!(build.contains(&line("stdout", text)), "`{text}` is missing in {build:?}");
    }
    assert!(!build.iter().any(|(stream, text)| stream == "stdout" && text.contains("::")), "{build:?}");
    assert!(build.iter().any(|(stream, text)| stream == "command" && text.contains("look here")), "{build:?}");
    assert!(!build.contains(&line("stdout", "not this one")), "{build:?}");
    assert!(jobs["legs (right)"].1.contains(&line("stdout", "number 42 right")));
    let one = project.run(&["exec", "--executor", "host", "--json", "--job", "build"]);
    assert_eq!(jobs_of(&one).keys().collect::<Vec<_>>(), ["build"], "{}", said(&one));
}

#[test]
fn a_secret_in_the_name_of_a_step_is_hidden_wherever_the_name_is_told() {
    let text = "on: push\njobs:\n  a:\n    runs-on: x\n    steps:\n      - run: echo \"${{ secrets.K }}\"\n      - {name: \"log in as ${{ secrets.K }}\", run: exit 3}\n";
    let project = Project::new(&[(".github/workflows/ci.yml", text)]);
    for words in [&["--json"][..], &[]] {
        let output = project.run(&[&["exec", "--executor", "host", "--secret", "K=hush-hush-99"], words].concat());
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        assert!(!said(&output).contains("hush-hush-99"), "{}", said(&output));
        assert!(words.is_empty() || said(&output).contains("log in as ***"), "{}", said(&output));
    }
}

#[test]
fn an_action_that_cannot_be_run_fails_its_step_by_name() {
    let text = "on: push\njobs:\n  a:\n    runs-on: x\n    steps: [{uses: docker/login-action@v3}]\n";
    let project = Project::new(&[(".github/workflows/ci.yml", text)]);
    let output = project.run(&["exec", "--executor", "host", "--json"]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("docker/login-action@v3"), "{}", said(&output));
}

/// The corpus's runs, each a repository with one workflow and what comes of it, but those that need actions or containers.
#[test]
fn workflow_runs_come_to_what_the_corpus_says() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus/github/runs");
    let Ok(entries) = fs::read_dir(&corpus) else {
        println!("skipped: there is no corpus beside the repository");
        return;
    };
    let (mut wrong, mut count) = (Vec::new(), 0);
    for entry in entries {
        let case: Value = serde_json::from_slice(&fs::read(entry.unwrap().path()).unwrap()).unwrap();
        let needs = case["needs"].to_string();
        let files = case["files"].to_string();
        if ["actions", "node", "docker-build", "services"].iter().any(|need| needs.contains(need))
            || files.contains("container:")
        {
            continue;
        }
        count += 1;
        wrong.extend(differences(&case).into_iter().map(|what| format!("{}: {what}", case["name"])));
    }
    assert!(wrong.is_empty(), "{} differences in {count} runs:\n{}", wrong.len(), wrong.join("\n"));
}

fn differences(case: &Value) -> Vec<String> {
    let files = case["files"].as_object().unwrap();
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str().unwrap())).collect();
    let project = Project::new(&files);
    let mut words: Vec<String> =
        ["exec", ".github/workflows/ci.yml", "--executor", "host", "--json"].map(str::to_owned).to_vec();
    if let Some(event) = case["event"].as_str().or(case["event"]["name"].as_str()) {
        words.extend(["--event".to_owned(), event.to_owned()]);
    }
    for (key, flag) in [("inputs", "--input"), ("secrets", "--secret"), ("vars", "--var")] {
        for (name, value) in case[key].as_object().into_iter().flatten() {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            words.extend([flag.to_owned(), format!("{name}={value}")]);
        }
    }
    let output = project.run(&words.iter().map(String::as_str).collect::<Vec<_>>());
    let jobs = jobs_of(&output);
    let word =
        |status: &Value| if status == "failure" { "failed".to_owned() } else { status.as_str().unwrap_or("").into() };
    let mut found = Vec::new();
    let code = if case["expect"]["status"] == "success" { 0 } else { 1 };
    if output.status.code() != Some(code) {
        found.push(format!("exit {:?}, not {code}: {}", output.status.code(), String::from_utf8_lossy(&output.stderr)));
    }
    let expected = case["expect"]["jobs"].as_object().unwrap();
    if jobs.len() != expected.len() {
        found.push(format!("the jobs are {:?}", jobs.keys()));
    }
    for (name, expect) in expected {
        let Some((status, lines)) = jobs.get(name) else {
            found.push(format!("there is no job `{name}`"));
            continue;
        };
        if expect["status"].is_string() && *status != word(&expect["status"]) {
            found.push(format!("`{name}` is {status}: {lines:?}"));
        }
        let mut rest = lines.iter().map(|(_, text)| text.trim());
        for line in expect["log"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if !rest.any(|text| text == line.trim()) {
                found.push(format!("`{name}` lacks `{line}`: {lines:?}"));
                break;
            }
        }
        for line in expect["not"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if lines.iter().any(|(_, text)| text.contains(line)) {
                found.push(format!("`{name}` has `{line}`"));
            }
        }
    }
    found
}

#[test]
fn on_this_machine_files_have_the_umask_s_rights_and_history_may_come_alone() {
    let pipeline = "
workflow: {name: 'of $CI_COMMIT_BRANCH'}
modes: {script: ['stat -c \"%a %n\" data folder folder/inner', 'echo \"$CI_PIPELINE_NAME\"']}
history: {variables: {GIT_CHECKOUT: 'false'}, script: [ls -A]}
";
    let project = Project::new(&[(".gitlab-ci.yml", pipeline), ("data", "1"), ("folder/inner", "2")]);
    let output = project.run(&["exec", "--executor", "host", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let jobs = jobs_of(&output);
    let printed = |job: &str| -> Vec<String> {
        jobs[job].1.iter().filter(|(stream, _)| stream == "stdout").map(|(_, text)| text.clone()).collect()
    };
    let umask = std::process::Command::new("sh").args(["-c", "umask"]).output().unwrap();
    let umask = u32::from_str_radix(String::from_utf8_lossy(&umask.stdout).trim(), 8).unwrap();
    let (file, folder) = (0o666 & !umask, 0o777 & !umask);
    assert_eq!(
        printed("modes"),
        [format!("{file:o} data"), format!("{folder:o} folder"), format!("{file:o} folder/inner"), "of main".into()]
    );
    assert_eq!(printed("history"), [".git"]);
}

#[test]
fn a_reader_that_has_read_enough_is_no_error() {
    let jobs: String = (0..400).map(|job| format!("job-{job}:\n  script: [make]\n  scirpt: x\n")).collect();
    let project = Project::new(&[(".gitlab-ci.yml", &jobs.replace("  scirpt: x\n", "")), ("bad.gitlab-ci.yml", &jobs)]);
    for words in [
        "plan --json",
        "plan",
        "expand",
        "graph --format svg",
        "lint --json bad.gitlab-ci.yml",
        "lint bad.gitlab-ci.yml",
    ] {
        let command = format!(
            "exec 3>&1; {{ \"$0\" --state-dir ../state {words} 2>../errors; echo $? >&3; }} | head -c 10 >/dev/null"
        );
        let output = Command::new("bash")
            .args(["-c", &command, env!("CARGO_BIN_EXE_forgehand")])
            .current_dir(project.root())
            .output()
            .unwrap();
        let code = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let errors = fs::read_to_string(project.root().join("../errors")).unwrap();
        let wanted = if words.contains("bad") { "2" } else { "0" };
        assert_eq!(code, wanted, "{words}: {errors}");
        assert!(!errors.contains("panicked"), "{words}: {errors}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_a_finding_beside_those_of_others() {
    let project = Project::new(&[(".gitlab-ci.yml", "a: {scirpt: x}\n")]);
    for format in ["json", "sarif", "text"] {
        let output = project.run(&["lint", "--format", format, ".gitlab-ci.yml", "absent.yml"]);
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("plan/no-file") && text.contains("absent.yml") && text.contains("scirpt"), "{text}");
    }
    let found = project.json(&["lint", "--json", "absent.yml"]);
    assert_eq!(found[0]["file"], "absent.yml", "{found}");
}

#[test]
fn a_workflow_outside_git_belongs_to_the_folder_above_its_forge_s() {
    let folder = tempfile::tempdir().unwrap();
    let workflows = folder.path().join("p/.github/workflows");
    fs::create_dir_all(&workflows).unwrap();
    fs::write(workflows.join("ci.yml"), "on: push\njobs:\n  call:\n    uses: ./.github/workflows/lib.yml\n").unwrap();
    let lib = "on: workflow_call\njobs:\n  a:\n    runs-on: x\n    steps: [{run: 'true'}]\n";
    fs::write(workflows.join("lib.yml"), lib).unwrap();
    fs::write(workflows.join("odd.yml"), "foo: bar\n").unwrap();
    let run = |words: &[&str]| forgehand(&folder.path().join("p"), &folder.path().join("state"), words);
    let output = run(&["lint", ".github/workflows/ci.yml"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let output = run(&["lint", ".github/workflows/odd.yml"]);
    assert!(said(&output).contains("github/") && !said(&output).contains("gitlab/"), "{}", said(&output));
}

#[test]
fn what_blows_up_is_not_printed() {
    let line = "x".repeat(2_000);
    let jobs: String = (0..9_000).map(|job| format!("j{job}: {{script: [make], variables: *all}}\n")).collect();
    let text = format!(".all: &all {{A: {line}, B: {line}}}\n{jobs}");
    let project = Project::new(&[(".gitlab-ci.yml", &text)]);
    for words in [&["expand"][..], &["plan", "--json"]] {
        let output = project.run(words);
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        assert!(output.stdout.is_empty() && said(&output).contains("more than 10 times as much"), "{words:?}");
    }
    let output = project.run(&["expand", "--job", "j7"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
}

#[test]
fn an_event_that_no_forge_has_is_a_wrong_argument() {
    let workflow = "on: push\njobs:\n  a:\n    runs-on: x\n    steps: [{run: 'true'}]\n";
    let project = Project::new(&[(".github/workflows/ci.yml", workflow)]);
    for words in
        [&["plan", "--event", "pull_requests"][..], &["exec", "--executor", "host", "--event", "pull_requests"]]
    {
        let output = project.run(words);
        assert_eq!(output.status.code(), Some(2), "{words:?}: {}", said(&output));
        assert!(said(&output).contains("did you mean `pull_request`"), "{words:?}: {}", said(&output));
    }
}

#[test]
fn secrets_that_are_given_stand_in_for_those_of_a_vault() {
    let text = "a:\n  script: ['test \"$P\" = x && echo right']\n  secrets: {P: {vault: a/b/c@d}}\n";
    let project = Project::new(&[(".gitlab-ci.yml", text)]);
    let run = |secret: &[&str]| project.run(&[&["exec", "--executor", "host", "--strict"], secret].concat());
    let output = run(&["--secret", "P=x"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_eq!(run(&[]).status.code(), Some(2));
}

#[test]
fn a_job_that_fails_before_its_place_is_made_is_no_killed_one() {
    let workflow = "on: push\njobs:\n  a:\n    runs-on: nowhere\n    steps: [{run: 'true'}]\n";
    let project = Project::new(&[(".github/workflows/ci.yml", workflow)]);
    let output = project.run(&["exec"]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let output = project.run(&["debug"]);
    assert!(!said(&output).contains("killed") && said(&output).contains("failed"), "{}", said(&output));
}

#[test]
fn ctrl_c_ends_a_run_that_is_still_being_prepared() {
    use std::os::unix::process::CommandExt as _;
    let project = Project::new(&[(".gitlab-ci.yml", "a: {script: 'true'}\n")]);
    let (bin, begun) = (project.folder.path().join("bin"), project.folder.path().join("begun"));
    fs::create_dir(&bin).unwrap();
    // A git that never answers.
    let git = bin.join("git");
    fs::write(&git, format!("#!/bin/sh\ntouch {}\nexec sleep 600\n", begun.display())).unwrap();
    fs::set_permissions(&git, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let mut exec = Command::new(env!("CARGO_BIN_EXE_forgehand"))
        .args(["--state-dir", "../state", "exec", "--executor", "host"])
        .current_dir(project.root())
        .env("PATH", path)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .unwrap();
    let group = rustix::process::Pid::from_raw(i32::try_from(exec.id()).unwrap()).unwrap();
    while !begun.exists() {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    rustix::process::kill_process(group, rustix::process::Signal::INT).unwrap();
    let code = exec.wait().unwrap().code();
    let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    assert_eq!(code, Some(130));
}

#[test]
fn a_run_that_is_paused_starts_no_job_until_it_is_resumed() {
    use std::io::{BufRead as _, BufReader};
    let text = "stages: [one, two]\na: {stage: one, script: ['until test -e ../../go; do sleep 0.02; done']}\n\
                b: {stage: two, script: ['echo second']}\n";
    let project = Project::new(&[(".gitlab-ci.yml", &text.replace("../../go", "$GO"))]);
    let go = project.folder.path().join("go");
    let mut exec = Command::new(env!("CARGO_BIN_EXE_forgehand"))
        .args(["--state-dir", "../state", "exec", "--executor", "host", "--var"])
        .arg(format!("GO={}", go.display()))
        .current_dir(project.root())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = rustix::process::Pid::from_raw(i32::try_from(exec.id()).unwrap()).unwrap();
    let turn = || rustix::process::kill_process(pid, rustix::process::Signal::USR1).unwrap();
    let mut told = BufReader::new(exec.stderr.take().unwrap()).lines().map(Result::unwrap);
    // Told once it listens and the run has begun.
    let journal = project.folder.path().join("state/exec/runs");
    while !fs::read_dir(&journal).is_ok_and(|runs| runs.flatten().any(|run| run.path().join("run.json").exists())) {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    turn();
    assert!(told.any(|line| line.starts_with("paused")), "it says that it is paused");
    fs::write(&go, "").unwrap();
    turn();
    assert!(told.any(|line| line == "resumed"), "it says that it goes on");
    assert_eq!(exec.wait().unwrap().code(), Some(0));
}

#[test]
fn a_gitlab_file_in_utf_16_is_read_as_gitlab_does() {
    let project = Project::new(&[(".gitlab-ci.yml", "a: {script: x}\n")]);
    let text = "\u{feff}ä:\n  script: hé\n".encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>();
    fs::write(project.root().join(".gitlab-ci.yml"), text).unwrap();
    let output = project.run(&["lint", "."]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(project.json(&["plan", "--json"])["jobs"]["ä"].is_object());
}

#[test]
fn a_leg_that_no_matrix_of_a_workflow_has_is_a_wrong_argument() {
    let job = "    runs-on: x\n    strategy: {matrix: {os: [a, b]}}\n    steps: [{run: 'true'}]\n";
    let project = Project::new(&[(".github/workflows/ci.yml", &format!("on: push\njobs:\n  test:\n{job}"))]);
    let run = |leg: &str| project.run(&["exec", "--executor", "host", "--matrix", leg]);
    let output = run("os=z");
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains("no combination"), "{}", said(&output));
    assert_eq!(run("os=b").status.code(), Some(0));
}
