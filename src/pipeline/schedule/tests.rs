use std::time::Duration;

use super::*;
use crate::pipeline::{
    JobFailure, JobGroup, JobOutcome, PipelineDefinition, PlannedJob, ResourceRequest, RetryRule, StartCondition, Waits,
};

fn job(name: &str, needs: &[&str]) -> PlannedJob {
    PlannedJob::new(name, "", Waits::Jobs(needs.iter().map(|need| (*need).to_owned()).collect()))
}

fn staged(name: &str, stage: &str) -> PlannedJob {
    PlannedJob::new(name, stage, Waits::EarlierStages)
}

fn schedule(stages: &[&str], jobs: Vec<PlannedJob>) -> Schedule {
    let stages = stages.iter().map(|stage| (*stage).to_owned()).collect();
    let groups = vec![JobGroup { name: "m".into(), fail_fast: true, max_parallel: Some(2) }];
    Schedule::new(PipelineDefinition { stages, jobs, groups, ..Default::default() }, &|_| false).unwrap()
}

/// Moves as one reads them.
fn told(schedule: &Schedule, moves: &[Move]) -> Vec<String> {
    let name = |job: &JobIndex| schedule.definition().jobs[job.0].name.clone();
    let tell = |one: &Move| match one {
        Move::Start { job, attempt: 1 } => format!("start {}", name(job)),
        Move::Start { job, attempt } => format!("start {} again ({attempt})", name(job)),
        Move::Decide(job) => format!("decide {}", name(job)),
        Move::Wait { job, delay, .. } => format!("wait {} {}s", name(job), delay.as_secs()),
        Move::Hold(job) => format!("hold {}", name(job)),
        Move::Never { job, end, reason } => format!("{} {end:?}: {reason}", name(job)),
        Move::Cancel { job, .. } => format!("cancel {}", name(job)),
    };
    moves.iter().map(tell).collect()
}

fn failure() -> JobOutcome {
    JobOutcome::Failed(JobFailure::exit(1))
}

fn start(schedule: &mut Schedule) -> Vec<String> {
    let moves = schedule.start();
    told(schedule, &moves)
}

fn end(schedule: &mut Schedule, job: usize, outcome: JobOutcome) -> Vec<String> {
    let moves = schedule.ended(JobIndex(job), &outcome, 0.5);
    told(schedule, &moves)
}

#[test]
fn a_job_starts_when_the_last_of_its_needs_is_there() {
    let mut all = schedule(&[], vec![job("a", &[]), job("b", &[]), job("c", &["a", "b"])]);
    assert_eq!(start(&mut all), ["start a", "start b"]);
    assert!(end(&mut all, 0, JobOutcome::Success).is_empty());
    assert_eq!(end(&mut all, 1, JobOutcome::Success), ["start c"]);
    assert!(end(&mut all, 2, JobOutcome::Success).is_empty());
    assert!(all.is_over());
    assert_eq!(all.end(), PipelineEnd::Success);
}

#[test]
fn what_needs_a_failed_job_is_skipped_with_the_reason_and_so_is_what_needs_that() {
    let mut all = schedule(&[], vec![job("a", &[]), job("b", &["a"]), job("c", &["b"])]);
    start(&mut all);
    assert_eq!(end(&mut all, 0, failure()), ["b Skipped: `a` failed", "c Skipped: `b` was skipped"]);
    assert_eq!((all.is_over(), all.end()), (true, PipelineEnd::Failed));
}

#[test]
fn stages_wait_for_all_before_them_and_conditions_hold() {
    let mut clean = staged("clean", "z");
    clean.start = StartCondition::Always;
    let mut mend = staged("mend", "z");
    mend.start = StartCondition::OnFailure;
    let jobs = vec![staged("a", "x"), staged("b", "x"), staged("c", "y"), staged("d", "z"), clean, mend];
    let mut all = schedule(&["x", "y", "z"], jobs);
    assert_eq!(start(&mut all), ["start a", "start b"]);
    assert!(end(&mut all, 0, failure()).is_empty());
    let moves = end(&mut all, 1, JobOutcome::Success);
    assert_eq!(moves, ["c Skipped: `a` failed", "d Skipped: `a` failed", "start clean", "start mend"]);
}

#[test]
fn an_allowed_failure_fails_nothing() {
    let mut first = staged("a", "x");
    first.may_fail = crate::pipeline::MayFail::ExitCodes(vec![1]);
    let mut all = schedule(&["x", "y"], vec![first, staged("b", "y")]);
    start(&mut all);
    assert_eq!(end(&mut all, 0, failure()), ["start b"]);
    end(&mut all, 1, JobOutcome::Success);
    assert_eq!(all.end(), PipelineEnd::Success);
}

#[test]
fn an_empty_stage_holds_nobody_up() {
    let mut all = schedule(&["x", "y", "z"], vec![staged("a", "x"), staged("b", "z")]);
    assert_eq!(start(&mut all), ["start a"]);
    assert_eq!(end(&mut all, 0, JobOutcome::Success), ["start b"]);
    let mut late = schedule(&["x", "y"], vec![staged("b", "y")]);
    assert_eq!(start(&mut late), ["start b"]);
}

#[test]
fn a_manual_job_that_blocks_holds_later_stages_and_an_optional_one_does_not() {
    let manual = |blocks| PlannedJob { start: StartCondition::Manual { blocks }, ..staged("m", "x") };
    let mut optional = schedule(&["x", "y"], vec![manual(false), staged("b", "y")]);
    assert_eq!(start(&mut optional), ["hold m", "start b"]);
    end(&mut optional, 1, JobOutcome::Success);
    assert!(optional.is_over());
    let moves = optional.give_up_held();
    assert_eq!(told(&optional, &moves), ["m Skipped: it is a manual job; `--job` with its name runs it"]);

    let mut blocking = schedule(&["x", "y"], vec![manual(true), staged("b", "y")]);
    assert_eq!(start(&mut blocking), ["hold m"]);
    assert!(blocking.is_over());
    let moves = blocking.give_up_held();
    assert_eq!(moves.len(), 2, "{moves:?}");
    assert_eq!(blocking.end(), PipelineEnd::Success);

    let mut played = schedule(&["x", "y"], vec![manual(true), staged("b", "y")]);
    start(&mut played);
    let moves = played.due(JobIndex(0));
    assert_eq!(told(&played, &moves), ["start m"]);
    assert_eq!(end(&mut played, 0, JobOutcome::Success), ["start b"]);
}

#[test]
fn delayed_jobs_and_tries_wait() {
    let delayed = PlannedJob { start: StartCondition::Delayed(Duration::from_secs(9)), ..job("d", &[]) };
    let tried = PlannedJob { retry: RetryRule { max: 1, ..RetryRule::default() }, ..job("t", &[]) };
    let mut all = schedule(&[], vec![delayed, tried, job("after", &["t"])]);
    assert_eq!(start(&mut all), ["wait d 9s", "start t"]);
    let broken = JobOutcome::Failed(JobFailure::system("engine"));
    assert_eq!(end(&mut all, 1, broken), ["wait t 5s"]);
    let moves = all.due(JobIndex(1));
    assert_eq!(told(&all, &moves), ["start t again (2)"]);
    assert_eq!(end(&mut all, 1, failure()), ["after Skipped: `t` failed"]);
    assert!(!all.is_over(), "d still waits");
    let moves = all.cancel("enough");
    assert_eq!(told(&all, &moves), ["d Cancelled: enough"]);
    assert_eq!((all.is_over(), all.end()), (true, PipelineEnd::Cancelled));
}

#[test]
fn a_matrix_keeps_to_its_limit_and_ends_with_its_first_failure() {
    let leg = |name: &str| PlannedJob { group: Some(0), ..job(name, &[]) };
    let mut all = schedule(&[], vec![leg("1"), leg("2"), leg("3"), leg("4")]);
    assert_eq!(start(&mut all), ["start 1", "start 2"]);
    assert_eq!(end(&mut all, 0, JobOutcome::Success), ["start 3"]);
    let moves = end(&mut all, 1, failure());
    assert_eq!(moves, ["cancel 3", "4 Cancelled: `2` of the same matrix failed"]);
    end(&mut all, 2, JobOutcome::Cancelled);
    assert!(all.is_over());
}

#[test]
fn a_pipeline_that_fails_fast_ends_all_with_the_first_failure_that_counts() {
    let mut jobs = vec![job("a", &[]), job("b", &[]), job("c", &["a"]), job("d", &["c"]), job("m", &[])];
    jobs[0].may_fail = crate::pipeline::MayFail::Always;
    jobs[3].start = StartCondition::Always;
    jobs[4].start = StartCondition::Manual { blocks: false };
    let definition = PipelineDefinition { jobs, fail_fast: true, ..Default::default() };
    let mut all = Schedule::new(definition, &|_| false).unwrap();
    assert_eq!(start(&mut all), ["start a", "start b", "hold m"]);
    assert_eq!(end(&mut all, 0, failure()), ["start c"]);
    assert_eq!(end(&mut all, 1, failure()), ["cancel c", "d Cancelled: `b` failed"]);
    end(&mut all, 2, JobOutcome::Cancelled);
    all.give_up_held();
    assert_eq!((all.is_over(), all.end()), (true, PipelineEnd::Failed));
}

#[test]
fn one_of_a_resource_group_runs_at_a_time() {
    let member = |name: &str| PlannedJob { resource_group: Some("prod".into()), ..job(name, &[]) };
    let mut all = schedule(&[], vec![member("a"), member("b"), job("c", &[])]);
    assert_eq!(start(&mut all), ["start a", "start c"]);
    assert_eq!(end(&mut all, 0, failure()), ["start b"]);
}

#[test]
fn the_language_decides_whatever_became_of_the_needs() {
    let decided = |name: &str| PlannedJob { start: StartCondition::Decided, ..job(name, &["a"]) };
    let mut all = schedule(&[], vec![job("a", &[]), decided("b"), decided("c")]);
    start(&mut all);
    assert_eq!(end(&mut all, 0, failure()), ["decide b", "decide c"]);
    assert_eq!(all.standing(JobIndex(1)), tally::Standing::Failed);
    let moves = all.decided(JobIndex(1), Ok(()));
    assert_eq!(told(&all, &moves), ["start b"]);
    let moves = all.decided(JobIndex(2), Err("its condition is false".into()));
    assert_eq!(told(&all, &moves), ["c Skipped: its condition is false"]);
}

#[test]
fn what_cannot_be_scheduled_is_named() {
    let of =
        |jobs| Schedule::new(PipelineDefinition { jobs, ..Default::default() }, &|_| false).unwrap_err().to_string();
    assert!(of(vec![job("a", &["gone"])]).contains("`a` needs `gone`"));
    assert!(of(vec![job("a", &["b"]), job("b", &["a"]), job("c", &[])]).ends_with("a, b"));
}

#[test]
fn a_chain_of_skipped_jobs_as_long_as_a_file_is_no_recursion() {
    let names: Vec<String> = (0..50_000).map(|number| number.to_string()).collect();
    let needs =
        |number: usize| number.checked_sub(1).map(|before| names[before].as_str()).into_iter().collect::<Vec<_>>();
    let mut all = schedule(&[], (0..names.len()).map(|number| job(&names[number], &needs(number))).collect());
    start(&mut all);
    assert_eq!(end(&mut all, 0, failure()).len(), names.len() - 1);
    assert!(all.is_over());
}

#[test]
fn jobs_wait_until_the_machine_has_what_they_ask_for() {
    let asks = |name: &str, cpu: u64| PlannedJob {
        resources: ResourceRequest { cpu_millis: Some(cpu), ..Default::default() },
        ..job(name, &[])
    };
    let jobs = vec![asks("two", 2000), asks("one", 1000), asks("three", 3000), asks("small", 500), job("free", &[])];
    let limits = ResourceRequest { cpu_millis: Some(3000), ..Default::default() };
    let definition = PipelineDefinition { jobs, limits, ..Default::default() };
    let mut all = Schedule::new(definition.clone(), &|_| false).unwrap();
    assert_eq!(start(&mut all), ["start two", "start one", "start free"]);
    // There would be room for `small`; it does not overtake the one that asks for everything.
    assert!(end(&mut all, 0, JobOutcome::Success).is_empty());
    assert_eq!(end(&mut all, 1, JobOutcome::Success), ["start three"]);
    assert_eq!(end(&mut all, 2, JobOutcome::Success), ["start small"]);

    let mut all = Schedule::new(definition, &|_| false).unwrap();
    start(&mut all);
    end(&mut all, 0, JobOutcome::Success);
    // Once the one before it is not wanted any more, what is there is enough.
    let moves = all.cancel_job(JobIndex(2), "not wanted");
    assert_eq!(told(&all, &moves), ["three Cancelled: not wanted", "start small"]);
}

#[test]
fn a_job_that_asks_for_more_than_there_is_runs_alone() {
    let asks = |name: &str, memory: u64| PlannedJob {
        resources: ResourceRequest { memory: Some(memory), ..Default::default() },
        ..job(name, &[])
    };
    let limits = ResourceRequest { memory: Some(10), ..Default::default() };
    let definition = PipelineDefinition { jobs: vec![asks("a", 1), asks("b", 20)], limits, ..Default::default() };
    let mut all = Schedule::new(definition, &|_| false).unwrap();
    assert_eq!(start(&mut all), ["start a"]);
    assert_eq!(end(&mut all, 0, JobOutcome::Success), ["start b"]);
}
