//! Carries out runs in temporary folders.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::build;
use crate::parser::expression::FileHasher;
use crate::parser::github::commands::WrittenFiles;
use crate::parser::github::events::RunFacts;
use crate::parser::github::run::*;

/// What became of a job.
#[derive(Debug, Default)]
pub struct Job {
    pub status: String,
    pub reason: String,
    pub lines: Vec<String>,
}

pub fn facts(event: &str) -> RunFacts {
    RunFacts {
        event: event.into(),
        repository: "o/r".into(),
        server_url: "https://github.com".into(),
        git_ref: "refs/heads/main".into(),
        sha: "0123456789abcdef0123456789abcdef01234567".into(),
        default_branch: "main".into(),
        actor: "ann".into(),
        ..RunFacts::default()
    }
}

/// The run's status and its jobs.
pub fn run(files: &BTreeMap<String, String>, facts: RunFacts) -> (Conclusion, BTreeMap<String, Job>) {
    let workflow = build::workflow(".github/workflows/ci.yml", files);
    let run = begin(workflow, facts).unwrap().unwrap();
    let mut playbook = Playbook::new(run);
    let mut jobs = BTreeMap::new();
    let mut moves = VecDeque::from(playbook.start());
    while let Some(next) = moves.pop_front() {
        match next {
            Move::Start(id) => {
                let name = playbook.leg(id).unwrap().name.clone();
                let mut job = Job::default();
                let end = leg(&playbook, id, &mut job);
                job.status = end.conclusion.as_str().into();
                let before = jobs.insert(name.clone(), job);
                assert!(before.is_none(), "{name} ends twice");
                moves.extend(playbook.ended(id, end));
            }
            Move::Never(never) => {
                let job = Job { status: never.conclusion.as_str().into(), reason: never.reason, lines: Vec::new() };
                jobs.insert(never.name, job);
            }
            // Legs run one after the other here: the one that was started already is not there any more.
            Move::Cancel { .. } => {}
        }
    }
    assert!(playbook.is_over());
    (playbook.conclusion(), jobs)
}

fn leg(playbook: &Playbook, id: LegId, job: &mut Job) -> LegEnd {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    for name in ["w", "t", "c"] {
        std::fs::create_dir(path(name)).unwrap();
    }
    let place = Place {
        workspace: path("w"),
        temp: path("t"),
        tool_cache: path("t"),
        command_files: path("c"),
        event_path: path("event.json"),
        os: "Linux".into(),
        arch: "X64".into(),
        ..Place::default()
    };
    let mut program = playbook.program(id, place).unwrap();
    std::fs::write(path("event.json"), program.event_json()).unwrap();
    let mut masks: Vec<String> = program.masks().iter().map(|mask| mask.expose().to_owned()).collect();
    let tree = WorkTree(folder.path().join("w"));
    loop {
        match program.next(&tree) {
            Next::Start(step) => {
                let ended = carry_out(&program, &step, folder.path(), &mut masks, job);
                program.ended(step.id, ended);
            }
            Next::Over(_) => {}
            Next::End(end) => return *end,
            other => panic!("{other:?}"),
        }
    }
}

fn carry_out(program: &Program, step: &ReadyStep, folder: &Path, masks: &mut Vec<String>, job: &mut Job) -> StepEnded {
    let mut reader = program.reader(step.id);
    let ReadyKind::Script(script) = &step.kind else {
        return StepEnded { exit: StepExit::Code(0), effects: reader.finish(), files: WrittenFiles::default() };
    };
    let file = folder.join(format!("s{}{}", step.id.0, script.shell.extension));
    std::fs::write(&file, &script.text).unwrap();
    for file in [&step.files.env, &step.files.output, &step.files.path, &step.files.state, &step.files.summary] {
        std::fs::write(file, "").unwrap();
    }
    let mut path = step.path.join(":");
    path.push_str(":/usr/local/bin:/usr/bin:/bin");
    let output = Command::new(&script.shell.programs[0])
        .args(script.shell.arguments_for(file.to_str().unwrap()))
        .current_dir(folder.join("w").join(&script.working_directory))
        .env_clear()
        .envs(step.env.iter().map(|(key, value)| (key, value)))
        .env("PATH", path.trim_start_matches(':'))
        .output()
        .unwrap();
    for line in String::from_utf8_lossy(&output.stdout).lines().chain(String::from_utf8_lossy(&output.stderr).lines()) {
        let heard = reader.line(line);
        masks.extend(heard.mask);
        if heard.show {
            let hidden = masks.iter().fold(line.to_owned(), |line, mask| line.replace(mask.as_str(), "***"));
            job.lines.push(hidden);
        }
    }
    let read = |file: &str| std::fs::read(file).unwrap();
    let files = WrittenFiles {
        env: read(&step.files.env),
        output: read(&step.files.output),
        path: read(&step.files.path),
        state: read(&step.files.state),
        summary: read(&step.files.summary),
    };
    StepEnded { exit: StepExit::Code(output.status.code().unwrap_or(1)), effects: reader.finish(), files }
}

struct WorkTree(std::path::PathBuf);

impl FileHasher for WorkTree {
    fn files(&self) -> Result<Arc<[String]>, String> {
        let names = std::fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        Ok(names.collect())
    }

    fn sha256(&self, path: &str) -> Result<Option<[u8; 32]>, String> {
        Ok(Some(Sha256::digest(std::fs::read(self.0.join(path)).unwrap()).into()))
    }
}
