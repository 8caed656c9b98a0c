//! `forgehand exec` for a person: on a terminal of its own, looked at through a terminal's eyes.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::termios::tcgetattr;
use tempfile::TempDir;

use crate::support::docker;
use crate::support::pty::{self, LAST, OnTerminal};

/// How long anything may take to appear.
const PATIENCE: Duration = Duration::from_secs(120);

/// A checkout and a state directory.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new(pipeline: &str) -> Self {
        let place = Self { folder: tempfile::tempdir().unwrap() };
        fs::create_dir(place.root()).unwrap();
        place.write(".gitlab-ci.yml", pipeline);
        let git = Command::new("git").args(["init", "-q"]).current_dir(place.root()).status().unwrap();
        assert!(git.success());
        place
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("project")
    }

    fn write(&self, path: &str, text: &str) {
        fs::write(self.root().join(path), text).unwrap();
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_forgehand"));
        command.arg("--state-dir").arg(self.folder.path().join("state")).args(words).current_dir(self.root());
        command.env("TERM", "xterm").env_remove("NO_COLOR");
        command
    }

    /// Starts `exec` on a terminal of this size.
    fn exec(&self, words: &[&str], (rows, columns): (u16, u16)) -> Terminal {
        let OnTerminal { child, ours, its } = pty::start(self.command(&[&["exec"], words].concat()), (rows, columns));
        let shown = Arc::new(Mutex::new((vt100::Parser::new(rows, columns, 1000), Vec::new())));
        let (mut from, to) = (ours.try_clone().unwrap(), Arc::clone(&shown));
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = from.read(&mut buffer) {
                let mut shown = to.lock().unwrap();
                shown.0.process(&buffer[..read]);
                shown.1.extend_from_slice(&buffer[..read]);
            }
        });
        Terminal { child, ours, its, shown, heard: 0 }
    }
}

struct Terminal {
    child: Child,
    ours: File,
    its: File,
    shown: Arc<Mutex<(vt100::Parser, Vec<u8>)>>,
    /// How much of the output has been waited for.
    heard: usize,
}

impl Terminal {
    /// What is seen on it.
    fn screen(&self) -> String {
        self.shown.lock().unwrap().0.screen().contents()
    }

    /// All that it was told, from the beginning.
    fn all(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().unwrap().1).into_owned()
    }

    /// Waits until `words` are written that were not waited for before.
    fn hear(&mut self, words: &str) {
        let end = Instant::now() + PATIENCE;
        loop {
            let found = {
                let shown = self.shown.lock().unwrap();
                shown.1[self.heard..].windows(words.len()).position(|part| part == words.as_bytes())
            };
            if let Some(at) = found {
                self.heard += at + words.len();
                return;
            }
            assert!(Instant::now() < end, "{words:?} does not come:\n{}", self.all());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn type_in(&mut self, keys: &str) {
        self.ours.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits for its end, and for all that it wrote before.
    fn end(&mut self) -> i32 {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                // What is written last comes last; no terminal shows it, and it is not the program's.
                self.its.write_all(LAST).unwrap();
                self.hear(std::str::from_utf8(LAST).unwrap());
                self.shown.lock().unwrap().1.truncate(self.heard - LAST.len());
                return status.code().unwrap();
            }
            assert!(Instant::now() < end, "it does not end:\n{}", self.all());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const HOSTILE: &str = "
stages: [first, second]
loud:
  stage: first
  script:
    - \"printf '\\\\033[2J\\\\033]0;title\\\\007\\\\033[31mred\\\\033[0m 日本 %s\\\\n' \\\"$(seq -s, 100)\\\"\"
    - while [ ! -f \"$GO\" ]; do sleep 0.1; done
wrong:
  stage: first
  script: ['echo why it failed', 'exit 3']
  allow_failure: true
last:
  stage: second
  script: [echo end]
";

#[test]
fn a_line_a_job_that_nothing_a_job_prints_can_break() {
    let place = Place::new(HOSTILE);
    let go = place.folder.path().join("go");
    let go_is = format!("GO={}", go.display());
    let mut terminal = place.exec(&["--executor", "host", "--var", &go_is], (10, 60));
    terminal.hear("why it failed");
    terminal.hear("1 of 3 jobs");
    let screen = terminal.screen();
    let lines: Vec<&str> = screen.lines().collect();
    assert!(lines.iter().any(|line| line.starts_with("failed     wrong") && line.ends_with("exit code 3")), "{screen}");
    assert!(lines.contains(&"  | why it failed"), "{screen}");
    assert_eq!(lines.iter().filter(|line| line.starts_with("running  loud  script")).count(), 1, "{screen}");
    assert!(lines.last().unwrap().contains("1 of 3 jobs, 1 failed, 1 running"), "{screen}");
    fs::write(&go, "").unwrap();
    assert_eq!(terminal.end(), 0, "{}", terminal.all());
    let all = terminal.all();
    assert!(!all.contains("\x1b[2J") && !all.contains("\x1b]0;"), "{all:?}");
    let screen = terminal.screen();
    assert!(screen.contains("critical path: loud "), "{screen}");
    assert!(screen.trim_end().lines().any(|line| line.starts_with("pipeline success in ")), "{screen}");
    assert!(!screen.contains("running  "), "{screen}");
    // What was recorded is what the next plan knows.
    let plan = place.command(&["plan", "."]).output().unwrap();
    let plan = String::from_utf8(plan.stdout).unwrap();
    assert!(plan.contains("critical path: loud -> last ("), "{plan}");
}

#[test]
fn without_colours_there_are_none_and_with_v_everything_is_shown() {
    let place = Place::new("one:\n  script: [\"printf '\\\\033[32mgreen\\\\033[0m\\\\n'\"]\n");
    let mut command = place.exec(&["--executor", "host", "-v", "--color", "never"], (24, 80));
    assert_eq!(command.end(), 0);
    let all = command.all();
    assert!(all.contains("[one] green\r"), "{all:?}");
    let colours = all
        .split("\x1b[")
        .skip(1)
        .filter(|rest| rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';').starts_with('m'));
    assert_eq!(colours.count(), 0, "{all:?}");
}

#[test]
fn ctrl_c_ends_tidily_and_leaves_the_terminal_as_it_was() {
    let place = Place::new("long:\n  script: [echo here, sleep 300]\n  after_script: [echo tidied]\n");
    let mut terminal = place.exec(&["--executor", "host", "-v"], (24, 80));
    let before = tcgetattr(&terminal.its).unwrap().local_modes;
    terminal.hear("[long]\x1b[0m here");
    terminal.type_in("\x03");
    terminal.hear("ending the jobs tidily");
    terminal.hear("[long]\x1b[0m tidied");
    assert_eq!(terminal.end(), 130, "{}", terminal.all());
    assert_eq!(tcgetattr(&terminal.its).unwrap().local_modes, before);
    assert!(!terminal.shown.lock().unwrap().0.screen().hide_cursor());
}

const FAILING: &str = "
job:
  variables: {WORD: told}
  script:
    - cat fixed
    - echo went on
";

/// In a shell: looks around, is interrupted without harm to the run, mends what is wrong. Then: again, please.
fn mend(terminal: &mut Terminal) {
    terminal.hear("step `script` of job `job` failed: exit code 1");
    terminal.hear("leaves it.");
    // What is to be interrupted says itself that it is in the foreground now.
    terminal.type_in("echo \"<$WORD $CI_JOB_NAME>\"; stty size; sh -c 'echo part $((1 + 1)); exec sleep 300'\n");
    terminal.hear("<told job>");
    terminal.hear("30 100");
    terminal.hear("part 2");
    terminal.type_in("\x03");
    terminal.hear("^C");
    terminal.type_in("echo mended > fixed; exit\n");
    terminal.hear("[r]etry");
    terminal.type_in("what\n");
    terminal.hear("[r]etry");
    terminal.type_in("r\n");
}

#[test]
fn a_shell_in_the_container_of_a_step_that_failed_mends_it() {
    docker::build_images();
    let place = Place::new(FAILING);
    let mut terminal = place.exec(&["--image", "case/bash:1", "--shell-on-failure"], (30, 100));
    mend(&mut terminal);
    assert_eq!(terminal.end(), 0, "{}", terminal.all());
    assert!(terminal.all().contains("a shell in its container"), "{}", terminal.all());
}

#[test]
fn a_shell_on_this_machine_and_each_answer_to_what_becomes_of_the_step() {
    let place = Place::new(FAILING);
    let words = ["--executor", "host", "--shell-on-failure"];
    let mut terminal = place.exec(&words, (30, 100));
    mend(&mut terminal);
    assert_eq!(terminal.end(), 0, "{}", terminal.all());
    for (answer, code) in [("g", 0), ("a", 1)] {
        let mut terminal = place.exec(&words, (30, 100));
        terminal.hear("leaves it.");
        terminal.type_in("exit\n");
        terminal.hear("[r]etry");
        terminal.type_in(&format!("{answer}\n"));
        assert_eq!(terminal.end(), code, "{}", terminal.all());
    }
}

#[test]
fn a_shell_without_a_terminal_is_refused() {
    let place = Place::new(FAILING);
    for (words, reason) in [
        (&["exec", "--executor", "host", "--shell-on-failure"][..], "needs a terminal"),
        (&["exec", "--executor", "host", "--shell-on-failure", "--json"], "--json"),
    ] {
        let output = place.command(words).stdin(Stdio::null()).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&output.stderr).contains(reason), "{output:?}");
    }
}

#[test]
fn what_changes_is_run_again_and_what_is_ignored_is_not() {
    let place = Place::new("job:\n  script: [cat word]\n");
    place.write(".gitignore", "*.log\n");
    place.write("word", "first\n");
    let mut terminal = place.exec(&["--executor", "host", "-v", "--watch"], (24, 80));
    terminal.hear("first");
    terminal.hear("waiting for files to change");
    place.write("x.log", "ignored");
    place.write("word", "second\n");
    terminal.hear("changed: word\r\n");
    terminal.hear("second");
    terminal.hear("waiting for files to change");
    // A file with errors is told and waited for.
    place.write(".gitlab-ci.yml", "job: [\n");
    terminal.hear("changed: .gitlab-ci.yml");
    terminal.hear("waiting for files to change");
    // What runs when something changes is ended first.
    place.write(".gitlab-ci.yml", "job:\n  script: [echo endless, sleep 300]\n");
    terminal.hear("\x1b[0m endless");
    place.write(".gitlab-ci.yml", "job:\n  script: [echo short]\n");
    terminal.hear("to start again");
    terminal.hear("\x1b[0m short");
    terminal.hear("waiting for files to change");
    terminal.type_in("\x03");
    assert_eq!(terminal.end(), 130, "{}", terminal.all());
}

#[test]
fn a_step_that_is_tried_again_by_itself_is_asked_about_after_its_last_try() {
    let place = Place::new("unused:\n  script: [echo]\n");
    place.write(
        "forgehand.yml",
        "name: p\njobs:\n  job:\n    steps:\n    - name: flaky\n      retry_count: 1\n      script: [echo tried >> tries, cat fixed]\n",
    );
    let mut terminal = place.exec(&["forgehand.yml", "--executor", "host", "--shell-on-failure"], (30, 100));
    terminal.hear("leaves it.");
    terminal.type_in("echo \"<$(wc -l < tries)>\"; exit\n");
    terminal.hear("<2>");
    terminal.hear("[r]etry");
    terminal.type_in("a\n");
    assert_eq!(terminal.end(), 1, "{}", terminal.all());
}
