use super::*;
use crate::pipeline::JobChange;
use crate::state::journal::tests_support::{assignment, journal, noon};

fn line(second: i64, moved: Moved) -> Transition {
    Transition {
        at: noon() + jiff::SignedDuration::from_secs(second),
        uptime_ms: Some(u64::try_from(second).unwrap() * 1000),
        boot_id: Some("b".into()),
        moved,
    }
}

fn accepted() -> Moved {
    Moved::Accepted { attempt: 1, status: JobStatus::Pending, phase: JobPhase::Accepted }
}

fn codes(found: &[Finding]) -> Vec<&'static str> {
    found.iter().map(|finding| finding.code).collect()
}

#[test]
fn what_the_rules_allow_is_no_finding() {
    let lines = [
        line(0, accepted()),
        line(1, Moved::Phase { from: JobPhase::Accepted, to: JobPhase::Running }),
        line(1, Moved::Status { from: JobStatus::Pending, change: JobChange::Start, to: JobStatus::Running }),
        line(2, Moved::Stage { stage: Stage::PrepareSandbox, restarts: 0 }),
        line(3, Moved::Stage { stage: Stage::Steps, restarts: 0 }),
        // A later agent does a stage again.
        line(4, Moved::Stage { stage: Stage::Steps, restarts: 1 }),
        line(5, Moved::Phase { from: JobPhase::Running, to: JobPhase::Ended }),
        line(5, Moved::Status { from: JobStatus::Running, change: JobChange::Fail, to: JobStatus::Failed }),
    ];
    assert_eq!(violations(&lines), []);
    assert_eq!(jumps(&lines), []);
}

#[test]
fn changes_that_no_job_can_take_are_found() {
    let of = |moved| violations(&[line(0, accepted()), line(1, moved)]);
    for moved in [
        Moved::Status { from: JobStatus::Pending, change: JobChange::Succeed, to: JobStatus::Success },
        Moved::Status { from: JobStatus::Running, change: JobChange::Succeed, to: JobStatus::Success },
        Moved::Phase { from: JobPhase::Accepted, to: JobPhase::Ended },
        Moved::Refused { what: "a job that is ended cannot start".into() },
    ] {
        assert_eq!(codes(&of(moved.clone())), ["invalid_transition"], "{moved:?}");
    }
    let back = [Stage::Steps, Stage::GetSources].map(|stage| line(0, Moved::Stage { stage, restarts: 0 }));
    assert_eq!(violations(&back)[0].message, "the stage `get_sources` began behind `steps`");
}

#[test]
fn a_clock_that_is_set_is_told_from_time_that_passed() {
    let mut lines = [line(0, accepted()), line(3600, Moved::Refused { what: String::new() })];
    assert_eq!(jumps(&lines), []);
    lines[1].at = noon() + jiff::SignedDuration::from_secs(7200);
    assert!(jumps(&lines)[0].message.contains("forwards by 1h 0m"));
    lines[1].at = noon() - jiff::SignedDuration::from_secs(60);
    lines[1].boot_id = None;
    assert!(jumps(&lines)[0].message.contains("backwards by 1m 0s"), "even where the uptime is not known");
}

#[tokio::test]
async fn a_job_that_stands_still_is_found_and_one_that_prints_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let journal = journal(folder.path());
    let job = assignment("42", "t");
    journal.accept(&job, "main").await.unwrap();
    let mut record = journal.recent(1).await.unwrap().remove(0);
    let details = journal.details(&job.key).await.unwrap();
    assert_eq!(details.transitions.len(), 1);
    let after = |minutes: i64| noon() + jiff::SignedDuration::from_mins(minutes);
    let world = |now, last_output| World {
        now,
        is_alive: true,
        is_run: false,
        sandbox: &Sandbox::Runs,
        last_output,
        boot_id: None,
    };
    assert_eq!(of(&record, &details, &world(after(1), None)), []);
    assert_eq!(codes(&of(&record, &details, &world(after(6), None))), ["stuck"], "it has not begun");

    record.phase = JobPhase::Running;
    let progress = |stage| Progress { stage, timeout_ms: 3_600_000, ..Progress::begin(noon().as_millisecond() as u64) };
    let with = |stage| JobDetails { progress: serde_json::to_value(progress(stage)).ok(), ..details.clone() };
    let steps = with(Stage::Steps);
    assert_eq!(of(&record, &steps, &world(after(20), None)), []);
    assert_eq!(codes(&of(&record, &steps, &world(after(31), None))), ["stuck"]);
    assert_eq!(of(&record, &steps, &world(after(60), Some(after(59)))), [], "it prints");
    assert_eq!(codes(&of(&record, &with(Stage::CleanUp), &world(after(3), None))), ["stuck"]);
    assert_eq!(codes(&of(&record, &steps, &world(after(71), Some(after(71))))), ["past_timeout"]);

    let gone = World { sandbox: &Sandbox::Gone("it was removed".into()), is_alive: false, ..world(after(1), None) };
    assert_eq!(codes(&of(&record, &steps, &gone)), ["owner_gone", "container_gone"]);
    record.phase = JobPhase::Acknowledged;
    assert_eq!(of(&record, &steps, &gone), [], "it is over");
}
