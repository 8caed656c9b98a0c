//! Containers and services of workflows in `forgehand exec`: ports, volumes, options, health.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::agent::said;
use crate::support::docker;

/// A checkout with one workflow, and a state directory.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new(jobs: &str) -> Self {
        docker::build_images();
        let place = Self { folder: tempfile::tempdir().unwrap() };
        let workflows = place.root().join(".github/workflows");
        fs::create_dir_all(&workflows).unwrap();
        fs::write(workflows.join("ci.yml"), format!("on: push\njobs:\n{jobs}")).unwrap();
        place
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("project")
    }

    fn exec(&self, words: &[&str]) -> Run {
        let mut command = Command::new(env!("CARGO_BIN_EXE_forgehand"));
        command.arg("--state-dir").arg(self.folder.path().join("state"));
        command.args(["exec", ".github/workflows/ci.yml", "--json", "--image", "case/bash:1"]).args(words);
        let output = command.current_dir(self.root()).stdin(Stdio::null()).output().unwrap();
        let events = String::from_utf8_lossy(&output.stdout);
        Run { events: events.lines().map(|line| serde_json::from_str(line).unwrap()).collect(), output }
    }
}

struct Run {
    output: Output,
    events: Vec<Value>,
}

impl Run {
    /// The lines of a job, by their stream.
    fn lines(&self, job: &str, of_job: bool) -> Vec<&str> {
        let logs = self.events.iter().filter(|event| event["event"] == "log" && event["job"] == job);
        let lines = logs.filter(|event| (event["stream"] != "command") == of_job);
        lines.map(|event| event["text"].as_str().unwrap()).collect()
    }

    fn end(&self, job: &str) -> (&str, &str) {
        let ended = self.events.iter().find(|event| event["event"] == "job_finished" && event["job"] == job).unwrap();
        (ended["status"].as_str().unwrap(), ended["reason"].as_str().unwrap_or_default())
    }
}

#[test]
fn services_are_reached_at_localhost_by_their_ports_unless_the_job_is_a_container() {
    let place = Place::new(
        r#"
  a:
    runs-on: x
    services: {web: {image: 'case/httpd:1', ports: ['8080:80', 80]}}
    steps:
      - run: wget -q -O - http://localhost:8080/
      - run: wget -q -O - http://127.0.0.1:${{ job.services.web.ports['80'] }}/
  b:
    runs-on: x
    container: case/bash:1
    services: {web: {image: 'case/httpd:1', ports: ['8080:80']}}
    steps:
      - run: echo port ${{ job.services.web.ports['80'] }}
      - run: wget -q -O - http://localhost:8080/ || echo unreachable
      - run: wget -q -O - http://web/
  c:
    runs-on: x
    services:
      one: {image: 'case/httpd:1', ports: ['8080:80']}
      two: {image: 'case/httpd:1', ports: ['8080:80']}
    steps: [{run: echo never}]
"#,
    );
    let run = place.exec(&[]);
    assert_eq!(run.lines("a", true), ["served", "served"], "{}", said(&run.output));
    let stdout: Vec<_> = run.lines("b", true).into_iter().filter(|line| !line.starts_with("wget:")).collect();
    assert_eq!(stdout, ["port 8080", "unreachable", "served"]);
    assert_eq!(run.end("c").0, "failed");
    assert!(run.end("c").1.contains("port 8080 of the service two"), "{:?}", run.end("c"));
}

#[test]
fn options_and_volumes_of_a_container_are_honoured() {
    let place = Place::new(
        r#"
  a:
    runs-on: x
    container:
      image: case/bash:1
      env: {E: own}
      volumes: ['named:/one', '/two']
      options: >-
        --user 1000 --hostname there --shm-size 32m --tmpfs /three:size=1m -e "A=x y" -e E=option
        --add-host elsewhere:10.1.2.3 --ulimit nofile=200:300 --cap-drop ALL
    services:
      keeper:
        image: case/bash:1
        volumes: ['named:/kept']
        command: sh -c 'while ! test -e /kept/asked; do sleep 0.1; done; echo answer > /kept/answer; sleep 60'
    steps:
      - run: |
          echo "$(id -u) $(hostname) [$A] $E $(ulimit -n)"
          grep -c elsewhere /etc/hosts
          df -k /dev/shm /three | awk 'NR > 1 {print $2}'
          grep CapBnd /proc/self/status
          touch /one/asked
          for i in $(seq 100); do test -e /one/answer && break; sleep 0.1; done
          cat /one/answer
"#,
    );
    let run = place.exec(&[]);
    let lines = run.lines("a", true);
    let wanted = ["1000 there [x y] own 200", "1", "32768", "1024", "CapBnd:\t0000000000000000", "answer"];
    assert_eq!(lines, wanted, "{}", said(&run.output));
}

#[test]
fn what_weakens_the_sandbox_is_refused_with_words_and_a_wrong_option_fails_the_job() {
    let place = Place::new(
        r#"
  a:
    runs-on: x
    container:
      image: case/bash:1
      options: --privileged --cap-add NET_ADMIN --cap-add CHOWN
      volumes: ['/etc:/outside']
    steps: [{run: 'test -e /outside || echo inside'}]
  b:
    runs-on: x
    container: {image: 'case/bash:1', options: --memery 1g}
    steps: [{run: echo never}]
"#,
    );
    let run = place.exec(&[]);
    assert_eq!(run.lines("a", true), ["inside"]);
    let remarks = run.lines("a", false).join("\n");
    let told = String::from_utf8_lossy(&run.output.stderr).into_owned();
    for words in ["--privileged", "--cap-add NET_ADMIN", "/etc:/outside"] {
        assert!(remarks.contains(&format!("`{words}` is refused")), "{words} in {remarks}");
        assert!(told.contains(&format!("`{words}` of `a`")), "{words} in {told}");
    }
    assert!(!told.contains("CHOWN"), "every container has it: {told}");
    assert_eq!(run.end("b").0, "failed");
    assert!(run.end("b").1.contains("`--memory`"), "{:?}", run.end("b"));
    assert_eq!(place.exec(&["--strict"]).output.status.code(), Some(2));
}

#[test]
fn a_service_is_waited_for_while_its_health_is_checked_and_one_that_is_ill_fails_the_job() {
    let place = Place::new(
        r#"
  a:
    runs-on: x
    services:
      slow:
        image: case/bash:1
        command: sh -c "sleep 2; touch /ready; sleep 60"
        options: --health-cmd "test -e /ready" --health-interval 500ms --health-retries 20
    steps: [{run: echo ready}]
  b:
    runs-on: x
    services:
      ill:
        image: case/bash:1
        command: sleep 60
        options: --health-cmd "echo i am ill; false" --health-interval 300ms --health-retries 2
    steps: [{run: echo never}]
"#,
    );
    let run = place.exec(&[]);
    assert_eq!(run.end("a").0, "success", "{}", said(&run.output));
    assert!(!run.lines("a", false).iter().any(|line| line.contains("properly")));
    assert_eq!(run.end("b").0, "failed");
    assert!(run.end("b").1.contains("unhealthy"), "{:?}", run.end("b"));
    assert_eq!(run.lines("b", true), [] as [&str; 0]);
}
