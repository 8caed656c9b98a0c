//! What pipeline languages cost: reading, checking and planning a file in-process, beside libyaml's bare events of the same text.
//!
//! `scripts/bench parser` runs it. Needs no Docker. Both are measured in turn in the same run, each row with the fastest of its
//! rounds, so that the ratio is what counts; dropping the results is counted in.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::hint::black_box;
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::time::{Duration, Instant};

use forgehand::parser::document::NoFiles;
use forgehand::parser::github::events::RunFacts;
use forgehand::parser::github::{self, CheckOptions};
use forgehand::parser::gitlab::compose::Offline;
use forgehand::parser::gitlab::pipeline::PipelineContext;
use forgehand::parser::gitlab::{self, LoadOptions};
use forgehand::parser::native::{self, Given};
use forgehand::parser::variables::{Hierarchy, Source};
use forgehand::pipeline::PipelineDefinition;
use forgehand::pipeline::graph::JobGraph;
use libyaml_rs as yaml;

/// Jobs of the measured files.
const SIZES: [usize; 3] = [100, 1_000, 10_000];
/// Jobs that all rounds of a row read together.
const JOBS_READ: usize = 100_000;
/// Fewest and most rounds of a row.
const ROUNDS: (usize, usize) = (12, 300);

/// A language: its name, how a file is made and what is done with it.
struct Language {
    name: &'static str,
    text: fn(usize) -> String,
    plan: fn(String) -> Box<dyn Fn() -> usize>,
}

const LANGUAGES: [Language; 3] = [
    Language { name: "gitlab", text: gitlab_text, plan: gitlab_plan },
    Language { name: "github", text: github_text, plan: github_plan },
    Language { name: "native", text: native_text, plan: native_plan },
];

fn main() {
    // `cargo bench` passes flags of the usual harness; a filter chooses rows.
    let rows: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    // As the commands do that read pipelines.
    forgehand::allocator::expect_much();
    let wanted = |row: &str| rows.is_empty() || rows.iter().any(|wanted| row.contains(wanted.as_str()));
    println!("| what | size | bare events | parse, check and plan | ratio |\n| --- | --- | --- | --- | --- |");
    for language in LANGUAGES {
        for jobs in SIZES {
            let row = format!("{}, {jobs} jobs", language.name);
            if wanted(&row) {
                measure(&row, jobs, &language);
            }
        }
    }
}

fn measure(row: &str, jobs: usize, language: &Language) {
    let text = (language.text)(jobs);
    let plan = (language.plan)(text.clone());
    let planned = plan();
    let (mut floor, mut ours) = (Duration::MAX, Duration::MAX);
    for _ in 0..(JOBS_READ / jobs).clamp(ROUNDS.0, ROUNDS.1) {
        floor = floor.min(time(|| bare_events(&text)));
        ours = ours.min(time(&plan));
    }
    let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
    println!(
        "| {row}{} | {} KiB | {:.2} ms | {:.2} ms | {:.2} |",
        if planned == jobs { String::new() } else { format!(" ({planned} planned)") },
        text.len() / 1024,
        milliseconds(floor),
        milliseconds(ours),
        ours.as_secs_f64() / floor.as_secs_f64()
    );
}

fn time<R>(run: impl Fn() -> R) -> Duration {
    let start = Instant::now();
    black_box(run());
    start.elapsed()
}

/// The floor: every event of the text, made and thrown away.
fn bare_events(text: &str) -> usize {
    let mut parser = Box::new(MaybeUninit::<yaml::yaml_parser_t>::uninit());
    let parser = parser.as_mut_ptr();
    let mut events = 0;
    // SAFETY: `parser` is initialised before it is used, does not move, and is deleted once; `text` outlives it. Each event is
    // initialised by a parse that does not fail, and deleted once.
    unsafe {
        let _ = yaml::yaml_parser_initialize(parser);
        yaml::yaml_parser_set_input_string(parser, text.as_ptr(), text.len() as u64);
        loop {
            let mut event = MaybeUninit::<yaml::yaml_event_t>::uninit();
            if yaml::yaml_parser_parse(parser, event.as_mut_ptr()).fail {
                break;
            }
            let event = event.as_mut_ptr();
            let is_end = (*event).type_ == yaml::YAML_STREAM_END_EVENT;
            yaml::yaml_event_delete(event);
            events += 1;
            if is_end {
                break;
            }
        }
        yaml::yaml_parser_delete(parser);
    }
    events
}

/// The number of jobs in the graph of a plan.
fn graph(definition: &PipelineDefinition) -> usize {
    match JobGraph::build(definition) {
        Ok(built) => {
            black_box(&built);
            definition.jobs.len()
        }
        Err(_) => 0,
    }
}

fn gitlab_plan(text: String) -> Box<dyn Fn() -> usize> {
    let files = BTreeMap::from([(".gitlab-ci.yml".to_owned(), text)]);
    let (options, context) = (LoadOptions::default(), PipelineContext::default());
    Box::new(move || {
        let checked = gitlab::load(".gitlab-ci.yml", &files, &Offline, &options, &context);
        checked.value.as_ref().map_or(0, |pipeline| graph(&pipeline.to_definition()))
    })
}

fn github_plan(text: String) -> Box<dyn Fn() -> usize> {
    let facts = RunFacts {
        event: "push".to_owned(),
        repository: "owner/project".to_owned(),
        git_ref: "refs/heads/main".to_owned(),
        default_branch: "main".to_owned(),
        ..RunFacts::default()
    };
    Box::new(move || {
        let checked = github::check(".github/workflows/ci.yml", &text, &NoFiles, &CheckOptions::default());
        let planned = checked.value.and_then(|workflow| github::run::plan(Arc::new(workflow), facts.clone()).ok());
        planned.map_or(0, |planned| graph(&planned.definition))
    })
}

fn native_plan(text: String) -> Box<dyn Fn() -> usize> {
    Box::new(move || {
        let checked = native::read("forgehand.yml", &text, &Given::default());
        let Some(pipeline) = checked.value else { return 0 };
        let mut hierarchy = Hierarchy::new();
        for (name, value) in &pipeline.global_env {
            hierarchy.set(Source::Global, name.as_str(), value.as_str());
        }
        native::plan(&pipeline, &hierarchy).map_or(0, |planned| graph(&planned.definition))
    })
}

/// Of ten jobs one builds, eight test what it built, and one packs what the tests passed.
fn role(job: usize) -> (&'static str, Vec<usize>) {
    let first = job - job % 10;
    match job % 10 {
        0 => ("build", Vec::new()),
        9 => ("pack", (first + 1..first + 9).collect()),
        _ => ("test", vec![first]),
    }
}

fn needs(jobs: &[usize]) -> String {
    jobs.iter().map(|job| format!("job-{job}")).collect::<Vec<_>>().join(", ")
}

fn gitlab_text(jobs: usize) -> String {
    let mut text =
        "stages: [build, test, pack]\nvariables:\n  PROFILE: release\ndefault:\n  image: rust:1.91\n  retry: 1\n\
                    .cached:\n  cache:\n    key: $CI_COMMIT_REF_SLUG\n    paths: [target/]\n"
            .to_owned();
    for job in 0..jobs {
        let (stage, needed) = role(job);
        let _ = write!(
            text,
            "job-{job}:\n  stage: {stage}\n  extends: .cached\n  variables:\n    PART: \"{job}\"\n  script:\n    - echo \"part $PART of \
             $PROFILE\"\n    - make {stage} PART=$PART\n  needs: [{}]\n  rules:\n    - if: $CI_COMMIT_BRANCH == \"never\"\n      when: \
             manual\n    - when: on_success\n  artifacts:\n    paths:\n      - out/{job}/\n    expire_in: 1 day\n",
            needs(&needed)
        );
    }
    text
}

fn github_text(jobs: usize) -> String {
    let mut text = "name: CI\non:\n  push:\n    branches: [main]\n  pull_request:\npermissions:\n  contents: read\nenv:\n  PROFILE: release\n\
                    jobs:\n"
        .to_owned();
    for job in 0..jobs {
        let (stage, needed) = role(job);
        let needs = needs(&needed);
        let _ = write!(
            text,
            "  job-{job}:\n    name: {stage} {job}\n    runs-on: ubuntu-latest\n    needs: [{needs}]\n    if: github.event_name == 'push'\n    \
             env:\n      PART: \"{job}\"\n    steps:\n      - uses: actions/checkout@0123456789abcdef0123456789abcdef01234567\n      - \
             name: {stage}\n        id: {stage}\n        run: |\n          echo \"part $PART of $PROFILE\"\n          make {stage} \
             PART=${{{{ env.PART }}}}\n      - run: ./report --state '${{{{ steps.{stage}.outcome }}}}'\n        if: always()\n"
        );
    }
    text
}

fn native_text(jobs: usize) -> String {
    let mut text = "name: ci\nglobal_env:\n  PROFILE: release\njobs:\n".to_owned();
    for job in 0..jobs {
        let (stage, needed) = role(job);
        let needs = needs(&needed);
        let _ = write!(
            text,
            "  job-{job}:\n    name: job-{job}\n    image: rust:1.91\n    depends_on: [{needs}]\n    timeout: 600\n    environment:\n      \
             PART: \"{job}\"\n    steps:\n      - name: {stage}\n        script: |\n          echo \"part ${{PART}} of ${{PROFILE}}\"\n          \
             make {stage}\n      - name: report\n        script: ./report --part ${{PART}}\n        continue_on_failure: true\n    \
             artifacts:\n      paths:\n        - out/{job}/\n"
        );
    }
    text
}
