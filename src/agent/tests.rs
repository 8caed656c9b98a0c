//! What the agent promises, with forges and jobs that do as they are told, on a clock that does not make anybody wait.

use std::time::Duration;

use tokio::time::Instant;

use super::fakes::*;
use super::signals::Signal;
use super::*;
use crate::agent::control::{Answer, Client, Command, ControlError};
use crate::executor::sandbox::SandboxRecord;
use crate::forge::{Assignment, Demand, PollError};
use crate::pipeline::JobOutcome;
use crate::state::JobPhase;
use crate::state::journal::tests_support::assignment;

fn job(id: &str) -> Assignment {
    assignment(id, "token")
}

#[tokio::test(start_paused = true)]
async fn a_job_is_run_closed_and_the_next_one_asked_for() {
    let house = House::new(1, &["a"]);
    let agent = house.start().await;
    let forge = house.forge("a");
    forge.give(job("1"));
    assert_eq!(within(house.runner.started("1", 1)).await.work, "fresh");
    house.runner.end("1");
    within(house.closed(&job("1").key)).await;
    forge.give(job("2"));
    within(house.runner.started("2", 1)).await;
    assert!(agent.is_running());
}

#[tokio::test(start_paused = true)]
async fn a_forge_that_holds_every_poll_does_not_delay_the_jobs_of_another() {
    let house = House::new(1, &["slow", "quick"]);
    let _agent = house.start().await;
    let (slow, quick) = (house.forge("slow"), house.forge("quick"));
    within(slow.asked()).await;
    within(quick.asked()).await;
    let asked = Instant::now();
    quick.give(job("1"));
    within(house.runner.started("1", 1)).await;
    assert!(asked.elapsed() < Duration::from_secs(1));

    // The only slot is taken: the slow forge's poll was withdrawn, and nobody asks.
    let mut polls = slow.polls.subscribe();
    within(polls.wait_for(|(_, open)| !open)).await.unwrap();
    assert_eq!(quick.count(), 1);
    house.runner.end("1");
    within(slow.asked()).await;
    within(quick.asked()).await;
}

#[tokio::test(start_paused = true)]
async fn every_registration_asks_within_a_second_of_the_start() {
    let names: Vec<String> = (0..12).map(|n| format!("r{n}")).collect();
    let house = House::new(1, &names.iter().map(String::as_str).collect::<Vec<_>>());
    let start = Instant::now();
    let _agent = house.start().await;
    for name in &names {
        within(house.forge(name).asked()).await;
    }
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_job_that_comes_when_every_slot_is_taken_waits_with_signs_of_life() {
    let house = House::new(1, &["a", "b"]);
    let _agent = house.start().await;
    let (a, b) = (house.forge("a"), house.forge("b"));
    a.answers_late.store(true, std::sync::atomic::Ordering::Relaxed);
    within(a.asked()).await;
    within(b.asked()).await;
    b.give(job("1"));
    within(house.runner.started("1", 1)).await;
    a.give(job("2")); // its answer was under way when the poll was withdrawn
    within(a.reported("accept 2")).await;
    within(a.reported("alive 2")).await;
    assert!(!house.runner.has_started("2"));
    let open = house.journal.open_job(&job("2").key).await.unwrap().unwrap();
    assert_eq!(open.phase, JobPhase::Accepted, "it is ours, whatever happens to the agent");
    house.runner.end("1");
    assert_eq!(within(house.runner.started("2", 1)).await.concurrent_id, 0, "the number of job 1 is free again");
}

#[tokio::test(start_paused = true)]
async fn a_waiting_job_that_its_forge_does_not_want_any_more_needs_no_slot_to_end() {
    let house = House::new(1, &["a", "b"]);
    let _agent = house.start().await;
    let (a, b) = (house.forge("a"), house.forge("b"));
    a.answers_late.store(true, std::sync::atomic::Ordering::Relaxed);
    within(a.asked()).await;
    within(b.asked()).await;
    b.give(job("1"));
    within(house.runner.started("1", 1)).await;
    a.demand(Demand::CancelGracefully);
    a.give(job("2"));
    within(house.runner.started("2", 1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_handed_over_twice_runs_once_and_is_reported_twice() {
    let house = House::new(2, &["a"]);
    let _agent = house.start().await;
    let forge = house.forge("a");
    forge.give(job("1"));
    within(house.runner.started("1", 1)).await;
    forge.give(job("1"));
    forge.give(job("2")); // comes after the repeated one was dealt with
    within(house.runner.started("2", 1)).await;
    assert_eq!(house.runner.started.borrow().iter().filter(|one| one.id == "1").count(), 1);

    house.runner.end("1");
    within(house.closed(&job("1").key)).await;
    forge.give(job("1"));
    assert_eq!(within(house.runner.started("1", 2)).await.work, "repeated Success");
}

#[tokio::test(start_paused = true)]
async fn the_first_stop_waits_for_jobs_the_second_cancels_them() {
    let house = House::new(2, &["a"]);
    let agent = house.start().await;
    let forge = house.forge("a");
    forge.give(job("1"));
    within(house.runner.started("1", 1)).await;
    within(forge.asked()).await;
    agent.signal(Signal::Stop).await;
    let mut polls = forge.polls.subscribe();
    within(polls.wait_for(|(_, open)| !open)).await.unwrap();
    forge.give(job("2"));
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(agent.is_running() && !house.runner.has_started("2"), "it waits for its job and takes no other");
    agent.signal(Signal::Stop).await;
    assert_eq!(agent.ended().await, Stopping::Cancel);
    let ended = house.journal.ended(&job("1").key).await.unwrap().unwrap();
    assert_eq!(ended.outcome, JobOutcome::Cancelled);
    assert!(!house.journal.dir().control_socket().exists());
}

#[tokio::test(start_paused = true)]
async fn a_stop_goes_further_by_itself_where_the_configuration_says_so() {
    let house = House::new(1, &["a"]);
    *house.registrar.drain_timeout.lock().unwrap() = Some(Duration::from_secs(120));
    let agent = house.start().await;
    house.forge("a").give(job("1"));
    within(house.runner.started("1", 1)).await;
    let start = Instant::now();
    agent.signal(Signal::Stop).await;
    assert_eq!(agent.ended().await, Stopping::Cancel);
    assert!(start.elapsed() >= Duration::from_secs(120));
}

#[tokio::test(start_paused = true)]
async fn a_stop_without_jobs_ends_at_once() {
    let house = House::new(1, &["a", "b"]);
    let agent = house.start().await;
    within(house.forge("a").asked()).await;
    agent.signal(Signal::Stop).await;
    assert_eq!(agent.ended().await, Stopping::Drain);
}

#[tokio::test(start_paused = true)]
async fn an_upgrade_leaves_jobs_to_the_next_agent() {
    let house = House::new(1, &["a"]);
    let agent = house.start().await;
    house.forge("a").give(job("1"));
    within(house.runner.started("1", 1)).await;
    let began = || async { house.journal.open_job(&job("1").key).await.unwrap().unwrap().phase == JobPhase::Running };
    while !began().await {
        tokio::task::yield_now().await;
    }
    agent.signal(Signal::HandOver).await;
    assert_eq!(agent.ended().await, Stopping::Now);

    let sandbox = SandboxRecord::Host { pid: 1, start_time: 1, boot_id: crate::state::boot_id().unwrap() };
    house.journal.job(&job("1").key).set_sandbox(&sandbox).await.unwrap();
    house.sweeper.found.lock().unwrap().push(Found { job: job("1").key, shim: ShimState::Answers });
    house.sweeper.known.send_replace(None); // what the first agent swept does not count
    let _next = house.start().await;
    assert_eq!(within(house.runner.started("1", 2)).await.work, "Reattach");
    assert_eq!(house.forge("a").count(), 1, "its slot is taken: no more jobs are asked for");
    let mut known = house.sweeper.known.subscribe();
    let known = within(known.wait_for(Option::is_some)).await.unwrap().clone();
    assert!(known.unwrap().contains(&job("1").key), "its sandbox is not swept away");
    house.runner.end("1");
    within(house.closed(&job("1").key)).await;
}

#[tokio::test(start_paused = true)]
async fn a_killed_agent_begins_a_job_that_it_had_only_accepted() {
    let house = House::new(1, &["a"]);
    house.journal.accept(&job("1"), "a").await.unwrap();
    house.journal.accept(&job("2"), "gone").await.unwrap();
    let agent = house.start().await;
    assert_eq!(within(house.runner.started("1", 1)).await.work, "Begin");
    assert!(!house.runner.has_started("2"), "its registration is not in the configuration");
    agent.kill().await;
    assert_eq!(house.journal.open_jobs().await.unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_job_whose_registration_comes_back_is_taken_up_again() {
    let house = House::new(2, &["a"]);
    house.journal.accept(&job("1"), "gone").await.unwrap();
    let agent = house.start().await;
    within(house.forge("a").asked()).await;
    house.register("gone", "1");
    agent.signal(Signal::Reload).await;
    assert_eq!(within(house.runner.started("1", 1)).await.work, "Begin");
}

#[tokio::test(start_paused = true)]
async fn a_reload_adds_removes_and_changes_registrations_without_touching_jobs() {
    let house = House::new(4, &["stays", "goes", "changes"]);
    let agent = house.start().await;
    let (stays, goes, changes) = (house.forge("stays"), house.forge("goes"), house.forge("changes"));
    goes.give(job("1"));
    within(house.runner.started("1", 1)).await;
    for forge in [&stays, &goes, &changes] {
        within(forge.asked()).await;
    }
    house.registrar.entries.lock().unwrap().remove("goes");
    house.register("changes", "2");
    house.register("new", "1");
    agent.signal(Signal::Reload).await;
    within(house.forge("new").asked()).await;
    within(changes.polls.subscribe().wait_for(|polls| *polls == (2, true))).await.unwrap();
    within(goes.polls.subscribe().wait_for(|(_, open)| !open)).await.unwrap();
    assert_eq!(*stays.polls.borrow(), (1, true), "its poll was not touched");
    house.runner.end("1");
    within(house.closed(&job("1").key)).await;
}

#[tokio::test(start_paused = true)]
async fn a_broken_configuration_keeps_the_old_one_and_says_so() {
    let house = House::new(1, &["a"]);
    let agent = house.start().await;
    within(house.forge("a").asked()).await;
    *house.registrar.broken.lock().unwrap() = Some("line 3: unknown key `concurent`".into());
    let error = control(&house, Command::Reload).await.unwrap_err();
    assert!(error.to_string().contains("concurent") && error.to_string().contains("old"), "{error}");
    house.forge("a").give(job("1"));
    within(house.runner.started("1", 1)).await;
    *house.registrar.broken.lock().unwrap() = None;
    assert_eq!(control(&house, Command::Reload).await.unwrap(), [Answer::Done]);
    assert!(agent.is_running());
}

#[tokio::test(start_paused = true)]
async fn a_defect_in_one_job_fails_that_job_and_nothing_else() {
    let house = House::new(2, &["a"]);
    house.runner.panics.lock().unwrap().push("1".into());
    let agent = house.start().await;
    house.forge("a").give(job("2"));
    within(house.runner.started("2", 1)).await;
    house.forge("a").give(job("1"));
    assert_eq!(within(house.runner.started("1", 2)).await.work, "FinishReport");
    within(house.closed(&job("1").key)).await;
    let ended = house.journal.ended(&job("1").key).await.unwrap().unwrap();
    assert!(format!("{:?}", ended.outcome).contains("RunnerSystemFailure"));
    assert!(agent.is_running());
}

#[tokio::test(start_paused = true)]
async fn a_forge_that_fails_is_asked_again_and_one_that_refuses_is_left_alone() {
    let house = House::new(1, &["a"]);
    let _agent = house.start().await;
    let forge = house.forge("a");
    let unavailable = || Err(PollError::Unavailable { message: "500".into(), retry_after: None });
    for _ in 0..4 {
        forge.answer(unavailable());
    }
    within(forge.polls.subscribe().wait_for(|polls| *polls == (5, true))).await.unwrap();
    for _ in 0..3 {
        forge.answer(Err(PollError::Refused("403".into())));
    }
    let start = Instant::now();
    within(forge.polls.subscribe().wait_for(|polls| polls.0 == 7)).await.unwrap();
    let soon = start.elapsed();
    assert!(soon < Duration::from_secs(90), "the first refusals are taken for a passing trouble: {soon:?}");
    tokio::time::sleep(Duration::from_secs(3000)).await;
    assert_eq!(forge.count(), 7, "left alone for an hour");
    let Some(Answer::Status { status }) = control(&house, Command::Status).await.unwrap().pop() else { panic!() };
    assert!(status.registrations[0].is_unhealthy);
    assert_eq!(status.registrations[0].last_error.as_deref(), Some("403"));
}

#[tokio::test(start_paused = true)]
async fn a_reload_asks_a_forge_again_that_was_left_alone() {
    let house = House::new(1, &["a"]);
    let agent = house.start().await;
    let forge = house.forge("a");
    for _ in 0..3 {
        forge.answer(Err(PollError::Refused("403".into())));
    }
    within(forge.polls.subscribe().wait_for(|polls| polls.0 == 3)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(forge.count(), 3);
    let reloaded = Instant::now();
    agent.signal(Signal::Reload).await;
    within(forge.asked()).await;
    assert!(reloaded.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_job_is_followed_by_a_question_for_its_successors() {
    let house = House::new(4, &["a", "b"]);
    let _agent = house.start().await;
    let forge = house.forge("a");
    let mut polls = forge.polls.subscribe();
    forge.give(job("1"));
    within(house.runner.started("1", 1)).await;
    // There is no second job, and the forge does not hold polls.
    let pause = Duration::from_secs(30);
    forge.give_nothing(pause);
    within(polls.wait_for(|polls| *polls == (2, false))).await.unwrap();
    let ended = Instant::now();
    house.runner.end("1");
    within(polls.wait_for(|polls| polls.0 == 3)).await.unwrap();
    assert!(ended.elapsed() < Duration::from_secs(1), "{:?}", ended.elapsed());
    // The forge has not queued the next job yet.
    forge.give_nothing(pause);
    within(polls.wait_for(|polls| polls.0 == 4)).await.unwrap();
    assert!(ended.elapsed() < Duration::from_secs(2), "{:?}", ended.elapsed());
    // Later the forge's pace counts again.
    tokio::time::sleep(Duration::from_secs(10)).await;
    let asked = Instant::now();
    forge.give_nothing(pause);
    within(polls.wait_for(|polls| polls.0 == 5)).await.unwrap();
    assert!(asked.elapsed() >= pause, "{:?}", asked.elapsed());
}

#[tokio::test(start_paused = true)]
async fn what_takes_long_is_left_when_a_job_comes() {
    let house = House::new(1, &["a"]);
    let _agent = house.start().await;
    let mut tidying = house.sweeper.tidying.subscribe();
    within(tidying.wait_for(|tidying| *tidying)).await.unwrap();
    house.forge("a").give(job("1"));
    within(tidying.wait_for(|tidying| !tidying)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_agent_without_work_ends_when_it_was_told_to() {
    let mut house = House::new(1, &["a"]);
    house.options.exit_when_idle = Some(Duration::from_secs(300));
    let agent = house.start().await;
    house.forge("a").give(job("1"));
    within(house.runner.started("1", 1)).await;
    tokio::time::sleep(Duration::from_secs(1000)).await;
    assert!(agent.is_running(), "a running job is no idleness");
    house.runner.end("1");
    within(house.closed(&job("1").key)).await;
    let idle = Instant::now();
    assert_eq!(agent.ended().await, Stopping::Drain);
    assert!(idle.elapsed() >= Duration::from_secs(299), "{:?}", idle.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_has_been_up_long_enough_finishes_its_job_and_ends() {
    let mut house = House::new(1, &["a"]);
    house.options.max_uptime = Some(Duration::from_secs(60));
    let agent = house.start().await;
    house.forge("a").give(job("1"));
    within(house.runner.started("1", 1)).await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(agent.is_running());
    house.runner.end("1");
    assert_eq!(agent.ended().await, Stopping::Drain);
    assert!(house.journal.open_jobs().await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn max_jobs_is_over_the_configuration() {
    let mut house = House::new(8, &["a"]);
    house.options.max_jobs = Some(1);
    let _agent = house.start().await;
    let forge = house.forge("a");
    forge.give(job("1"));
    within(house.runner.started("1", 1)).await;
    forge.give(job("2"));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(!house.runner.has_started("2"));
}

#[tokio::test(start_paused = true)]
async fn max_jobs_may_also_be_more_than_the_configuration_says() {
    let mut house = House::new(1, &["a"]);
    house.options.max_jobs = Some(2);
    let _agent = house.start().await;
    let forge = house.forge("a");
    for id in ["1", "2"] {
        forge.give(job(id));
        within(house.runner.started(id, 1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_is_replaced_in_time_and_the_registration_served_with_the_new_one() {
    let house = House::new(1, &["a"]);
    let now = crate::state::journal::tests_support::noon();
    house.registrar.expiring.lock().unwrap().push(registration::ExpiringToken {
        registration: "a".into(),
        obtained_at: now - jiff::SignedDuration::from_hours(4),
        expires_at: now + jiff::SignedDuration::from_hours(1),
    });
    let _agent = house.start().await;
    house.register("a", "with the new token");
    within(house.registrar.rotated.subscribe().wait_for(|times| *times == 1)).await.unwrap();
    within(house.forge("a").polls.subscribe().wait_for(|polls| *polls == (2, true))).await.unwrap();
}

/// Asks the agent as a command line does: from a thread that blocks.
async fn control(house: &House, command: Command) -> Result<Vec<Answer>, ControlError> {
    let dir = house.journal.dir().clone();
    let asked = tokio::task::spawn_blocking(move || {
        let mut answers = Vec::new();
        Client::ask(&dir, &command, |answer| answers.push(answer)).map(|()| answers)
    });
    asked.await.unwrap()
}

#[tokio::test]
async fn a_paused_agent_takes_no_jobs_until_it_is_resumed_even_after_a_restart() {
    let house = House::new(1, &["a"]);
    let agent = house.start().await;
    let forge = house.forge("a");
    within(forge.asked()).await;
    assert_eq!(control(&house, Command::Pause { wait: true }).await.unwrap(), [Answer::Reached]);
    within(forge.polls.subscribe().wait_for(|(_, open)| !open)).await.unwrap();
    agent.signal(Signal::Stop).await;
    agent.ended().await;

    let _next = house.start().await;
    let Some(Answer::Status { status }) = control(&house, Command::Status).await.unwrap().pop() else { panic!() };
    assert_eq!((status.state.as_str(), status.registrations.len()), ("paused", 1));
    assert_eq!(forge.count(), 1);
    assert_eq!(control(&house, Command::Resume).await.unwrap(), [Answer::Done]);
    within(forge.polls.subscribe().wait_for(|polls| *polls == (2, true))).await.unwrap();
}

#[tokio::test]
async fn a_drain_ends_with_the_last_job_and_tells_who_waits() {
    let house = House::new(1, &["a"]);
    let agent = house.start().await;
    house.forge("a").give(job("1"));
    within(house.runner.started("1", 1)).await;
    let (dir, runner) = (house.journal.dir().clone(), house.runner.clone());
    let drained = tokio::task::spawn_blocking(move || {
        let mut answers = Vec::new();
        Client::ask(&dir, &Command::Drain { wait: true }, |answer| {
            runner.end("1"); // once the drain has begun
            answers.push(answer);
        })
        .map(|()| answers)
    });
    assert_eq!(agent.ended().await, Stopping::Drain);
    let answers = drained.await.unwrap().unwrap();
    assert!(matches!(answers.first(), Some(Answer::Waiting { figures }) if figures.running == 1), "{answers:?}");
    assert_eq!(answers.last(), Some(&Answer::Reached));
    let error = control(&house, Command::Status).await.unwrap_err();
    assert!(matches!(error, ControlError::NoAgent { .. }), "{error}");
}

#[tokio::test]
async fn status_tells_what_each_job_and_each_poll_does() {
    let house = House::new(2, &["a"]);
    let _agent = house.start().await;
    house.forge("a").give(job("7"));
    within(house.runner.started("7", 1)).await;
    within(house.forge("a").asked()).await;
    let Some(Answer::Status { status }) = control(&house, Command::Status).await.unwrap().pop() else { panic!() };
    assert_eq!((status.jobs[0].id.as_str(), status.jobs[0].stage.as_str()), ("7", "starting"));
    assert_eq!(status.capacity.running, 1);
    assert_eq!(status.registrations[0].polls[0].activity, board::Activity::Asking);
    assert!(status.registrations[0].last_contact.is_some());
}

#[tokio::test]
async fn a_caller_that_talks_nonsense_is_told_so_and_the_next_one_is_served() {
    use std::io::{Read, Write};
    let house = House::new(1, &["a"]);
    let _agent = house.start().await;
    let socket = house.journal.dir().control_socket();
    let said = tokio::task::spawn_blocking(move || {
        let mut stream = std::os::unix::net::UnixStream::connect(socket).unwrap();
        stream.write_all(b"{\"command\":\"explode\"}\n").unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap();
        said
    });
    assert!(said.await.unwrap().contains("does not know the command"));
    assert!(control(&house, Command::Status).await.is_ok());
    drop(house.folder);
}
