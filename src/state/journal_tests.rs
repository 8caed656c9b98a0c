use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use super::tests_support::{assignment, journal, noon};
use super::*;
use crate::executor::sandbox::{JobPaths, SandboxRecord};
use crate::forge::RunnerFacts;
use crate::pipeline::{JobFailure, JobOutcome};

fn facts() -> RunnerFacts {
    RunnerFacts { concurrent_id: 3, concurrent_project_id: 1, builds_dir: "/builds".into(), shared_environment: false }
}

fn paths(journal: &Journal, key: &JobKey) -> JobPaths {
    let dir = journal.dir();
    JobPaths { private: dir.job(key), run: dir.run(key), workspace: dir.builds().join("w") }
}

fn sandbox() -> SandboxRecord {
    SandboxRecord::Host { pid: 1, start_time: 2, boot_id: "b".into() }
}

async fn start(journal: &Journal, key: &JobKey) {
    journal.job(key).set_facts(&facts(), &paths(journal, key)).await.unwrap();
}

#[tokio::test]
async fn the_next_agent_knows_all_that_the_last_one_wrote_down() {
    let folder = tempfile::tempdir().unwrap();
    let job = assignment("1", "t");
    {
        let journal = journal(folder.path());
        assert_eq!(journal.accept(&job, "r").await.unwrap(), Accepted::New);
        start(&journal, &job.key).await;
        let page = journal.job(&job.key);
        page.set_sandbox(&sandbox()).await.unwrap();
        page.set_progress(&serde_json::json!({"stage": "steps", "step": 2})).await.unwrap();
        page.set_acked(17).await.unwrap();
    }
    let journal = journal(folder.path());
    let open = journal.open_jobs().await.unwrap().remove(0);
    assert_eq!(open.assignment.payload, job.payload);
    assert_eq!(open.assignment.owner, job.owner);
    assert_eq!((open.phase, open.registration.as_str(), open.acked), (JobPhase::Running, "r", 17));
    assert_eq!((open.facts, open.sandbox), (Some(facts()), Some(sandbox())));
    assert_eq!(open.paths, Some(paths(&journal, &job.key)));
    assert_eq!(open.progress.unwrap()["step"], 2);
    assert_eq!((open.outcome, open.digest), (None, None));
}

#[tokio::test]
async fn a_job_that_is_handed_over_twice_is_ours_once() {
    let folder = tempfile::tempdir().unwrap();
    let journal = journal(folder.path());
    let job = assignment("1", "t");
    let key = &job.key;
    assert_eq!(journal.accept(&job, "r").await.unwrap(), Accepted::New);
    assert_eq!(journal.accept(&job, "r").await.unwrap(), Accepted::Known(JobPhase::Accepted));
    start(&journal, key).await;
    assert_eq!(journal.accept(&job, "r").await.unwrap(), Accepted::Known(JobPhase::Running));
    assert_eq!(journal.ended(key).await.unwrap(), None);

    let outcome = JobOutcome::Failed(JobFailure::exit(37));
    let digest = LogDigest { crc32: u32::MAX, size: 5 };
    journal.job(key).set_digest(digest).await.unwrap();
    journal.job(key).set_outcome(&outcome).await.unwrap();
    assert_eq!(journal.accept(&job, "r").await.unwrap(), Accepted::Known(JobPhase::Ended));
    journal.job(key).close().await.unwrap();
    assert_eq!(journal.accept(&job, "r").await.unwrap(), Accepted::Known(JobPhase::Acknowledged));
    assert_eq!(journal.ended(key).await.unwrap(), Some(EndedJob { outcome, digest: Some(digest) }));
    assert!(!journal.dir().job(key).exists(), "a known job gets no folder again");

    let again = assignment("1", "another token");
    assert_eq!(journal.accept(&again, "r").await.unwrap(), Accepted::New, "the same id, another token: another job");
}

#[tokio::test]
async fn closing_a_job_keeps_its_log_and_forgets_its_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let journal = journal(folder.path());
    let job = assignment("1", "t");
    journal.accept(&job, "r").await.unwrap();
    std::fs::write(journal.dir().job_log(&job.key), "the log").unwrap();
    let page = journal.job(&job.key);
    let error = page.close().await.unwrap_err();
    assert!(matches!(error, JournalError::Phase { .. }), "a job without an outcome is not over: {error}");
    page.set_outcome(&JobOutcome::Success).await.unwrap();
    page.close().await.unwrap();
    page.close().await.unwrap();
    assert!(!journal.dir().job(&job.key).exists());
    assert!(journal.dir().kept_log(&job.key).exists());
    assert!(journal.open_jobs().await.unwrap().is_empty());
}

#[tokio::test]
async fn the_first_outcome_counts() {
    let folder = tempfile::tempdir().unwrap();
    let journal = journal(folder.path());
    let job = assignment("1", "t");
    journal.accept(&job, "r").await.unwrap();
    start(&journal, &job.key).await;
    let page = journal.job(&job.key);
    page.set_outcome(&JobOutcome::Success).await.unwrap();
    page.set_outcome(&JobOutcome::Success).await.unwrap();
    let error = page.set_outcome(&JobOutcome::Cancelled).await.unwrap_err();
    assert!(matches!(error, JournalError::Phase { .. }), "{error}");
    assert_eq!(journal.open_job(&job.key).await.unwrap().unwrap().outcome, Some(JobOutcome::Success));
    let error = page.set_facts(&facts(), &paths(&journal, &job.key)).await.unwrap_err();
    assert!(error.to_string().contains("ended"), "{error}");
    let stranger = journal.job(&assignment("2", "t").key).set_acked(1).await.unwrap_err();
    assert!(matches!(stranger, JournalError::Unknown(_)));
}

#[tokio::test]
async fn people_find_a_job_by_its_number_or_the_beginning_of_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let journal = journal(folder.path());
    let job = assignment("4711", "t");
    journal.accept(&job, "r").await.unwrap();
    journal.accept(&assignment("4712", "t"), "r").await.unwrap();
    for name in ["4711", job.key.as_str(), &job.key.as_str()[..7]] {
        let found = journal.find(name).await.unwrap();
        assert_eq!(found.iter().map(|record| &record.key).collect::<Vec<_>>(), [&job.key], "{name}");
    }
    assert_eq!(journal.recent(10).await.unwrap().len(), 2);
    assert!(journal.find("%").await.unwrap().is_empty());

    let reader = Journal::open_to_read(journal.dir(), noon).unwrap().unwrap();
    assert_eq!(reader.recent(10).await.unwrap().len(), 2, "readers work beside the agent");
    assert!(reader.job(&job.key).set_acked(1).await.is_err());
}

#[tokio::test]
async fn a_damaged_database_is_moved_aside_and_its_jobs_are_not_started_a_second_time() {
    let folder = tempfile::tempdir().unwrap();
    let job = assignment("1", "t");
    journal(folder.path()).accept(&job, "r").await.unwrap();
    for side in ["state.db-wal", "state.db-shm"] {
        let _ = std::fs::remove_file(folder.path().join(side));
    }
    std::fs::write(folder.path().join("state.db"), vec![0x5a; 9000]).unwrap();

    let journal = journal(folder.path());
    let open = journal.open_jobs().await.unwrap();
    assert_eq!(open.len(), 1);
    assert_eq!((open[0].phase, &open[0].facts), (JobPhase::Running, &None), "it may have run for hours");
    let names = std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    assert!(names.into_iter().any(|name| name.starts_with("state.db.damaged-")));
}

#[tokio::test]
async fn the_database_of_a_newer_version_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let dir = StateDir::open(folder.path()).unwrap();
    Connection::open(dir.database()).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let error = Journal::open(&dir, noon, LogLimits::default()).err().unwrap();
    assert!(matches!(error, JournalError::Newer { .. }), "{error}");
    assert!(Journal::open_to_read(&dir, noon).is_err());
}

#[tokio::test]
async fn an_assignment_that_was_kept_but_not_entered_is_entered_at_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let dir = StateDir::open(folder.path()).unwrap();
    let job = assignment("1", "t");
    let kept = KeptAssignment { assignment: job.clone(), registration: "r".into(), accepted_at: noon() };
    payload::keep(&dir, &kept).unwrap();
    let half = assignment("2", "t"); // a crash before its file had its name
    dir.make_job(&half.key).unwrap();
    std::fs::write(dir.job(&half.key).join(".assignment.x.tmp"), "half").unwrap();

    let journal = journal(folder.path());
    let open = journal.open_jobs().await.unwrap();
    assert_eq!(open.len(), 1);
    assert_eq!((&open[0].assignment.key, open[0].phase), (&job.key, JobPhase::Accepted));
    assert!(!dir.job(&half.key).exists());
}

#[tokio::test]
async fn a_job_whose_payload_is_gone_holds_nobody_up() {
    let folder = tempfile::tempdir().unwrap();
    let job = assignment("1", "t");
    let first = journal(folder.path());
    first.accept(&job, "r").await.unwrap();
    first.accept(&assignment("2", "t"), "r").await.unwrap();
    std::fs::remove_file(first.dir().assignment(&job.key)).unwrap();
    assert_eq!(first.open_jobs().await.unwrap().len(), 1);
    drop(first);
    let journal = journal(folder.path());
    assert_eq!(journal.open_jobs().await.unwrap().len(), 1);
    assert_eq!(journal.find("1").await.unwrap()[0].phase, JobPhase::Acknowledged);
}

#[tokio::test]
async fn a_job_is_remembered_for_thirty_days_after_its_end() {
    fn later() -> jiff::Timestamp {
        noon() + jiff::SignedDuration::from_hours(31 * 24)
    }
    let folder = tempfile::tempdir().unwrap();
    let first = journal(folder.path());
    let (over, open) = (assignment("1", "t"), assignment("2", "t"));
    for job in [&over, &open] {
        first.accept(job, "r").await.unwrap();
    }
    first.job(&over.key).set_outcome(&JobOutcome::Success).await.unwrap();
    first.job(&over.key).close().await.unwrap();
    first.sweep().await.unwrap();
    assert_eq!(first.recent(10).await.unwrap().len(), 2);
    let dir = first.dir().clone();
    drop(first);
    let journal = Journal::open(&dir, later, LogLimits::default()).unwrap();
    journal.sweep().await.unwrap();
    let left = journal.recent(10).await.unwrap();
    assert_eq!(left.iter().map(|record| &record.key).collect::<Vec<_>>(), [&open.key]);
}

#[tokio::test]
async fn a_full_disk_is_told_from_other_trouble() {
    let folder = tempfile::tempdir().unwrap();
    let journal = journal(folder.path());
    journal.accept(&assignment("0", "t"), "r").await.unwrap();
    let limit = "PRAGMA max_page_count = 1"; // the smallest it may become: what it has now
    journal.inner.connection().query_row(limit, [], |_| Ok(())).unwrap();
    let mut job = assignment("1", "t");
    job.name = "x".repeat(100_000);
    let error = journal.accept(&job, "r").await.unwrap_err();
    assert!(matches!(error, JournalError::DiskFull { .. }), "{error}");
    assert_eq!(error.category(), crate::pipeline::FailureCategory::Resource);
    assert_eq!(journal.recent(10).await.unwrap().len(), 1, "the journal goes on");
    assert!(!journal.dir().job(&job.key).exists(), "nothing of the job is left for the next start to find");
}

/// Not a test of its own: the process that [`a_killed_agent_loses_nothing_it_has_written_down`] kills. It takes jobs
/// through their life, one after the other, and says each step once it is done.
#[tokio::test]
async fn helper_that_writes_until_it_is_killed() {
    let Some(folder) = std::env::var_os("FORGEHAND_TEST_JOURNAL") else { return };
    let journal = journal(std::path::Path::new(&folder));
    let first = journal.recent(100_000).await.unwrap().len();
    for id in first.. {
        let id = id.to_string();
        let job = assignment(&id, "t");
        let page = journal.job(&job.key);
        journal.accept(&job, "r").await.unwrap();
        say("accepted", &id);
        start(&journal, &job.key).await;
        page.set_acked(5).await.unwrap();
        say("running", &id);
        std::fs::write(journal.dir().job_log(&job.key), "log").unwrap();
        page.set_outcome(&JobOutcome::Success).await.unwrap();
        say("ended", &id);
        page.close().await.unwrap();
        say("acknowledged", &id);
    }
}

fn say(phase: &str, id: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("\n@ {phase} {id}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

#[tokio::test]
async fn a_killed_agent_loses_nothing_it_has_written_down() {
    let folder = tempfile::tempdir().unwrap();
    let mut seen: Vec<(String, JobPhase)> = Vec::new();
    for round in 0..12_u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "state::journal::tests::helper_that_writes_until_it_is_killed", "--nocapture"])
            .env("FORGEHAND_TEST_JOURNAL", folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Killed after a number of steps, at whatever instruction it then is.
        let steps = 1 + (round * 7) % 11;
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut said = 0;
        for line in lines.map_while(Result::ok) {
            let Some(rest) = line.strip_prefix("@ ") else { continue };
            let (phase, id) = rest.split_once(' ').unwrap();
            seen.push((id.to_owned(), JobPhase::from_name(phase).unwrap()));
            said += 1;
            if said == steps {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(said >= steps, "round {round}: the helper ended by itself");
        check(folder.path(), &seen).await;
    }
}

/// Whatever was said is in the journal, and whatever is open can be taken up.
async fn check(folder: &std::path::Path, seen: &[(String, JobPhase)]) {
    let journal = journal(folder);
    for (id, phase) in seen {
        let records = journal.find(id).await.unwrap();
        let record = records.iter().find(|record| record.id.as_str() == id).expect("the job is known");
        assert!(record.phase >= *phase, "job {id} was {phase} and is {}", record.phase);
        assert_eq!(journal.dir().job(&record.key).exists(), record.phase != JobPhase::Acknowledged, "job {id}");
    }
    let open = journal.open_jobs().await.unwrap();
    let unfinished = journal.recent(100_000).await.unwrap().into_iter().filter(|r| r.phase != JobPhase::Acknowledged);
    assert_eq!(open.len(), unfinished.count(), "every open job has its payload");
    for job in open {
        assert_eq!(job.facts.is_some(), job.phase != JobPhase::Accepted || job.acked == 5);
        assert_eq!(job.outcome.is_some(), job.phase == JobPhase::Ended);
    }
}
