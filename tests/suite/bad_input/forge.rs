//! A forge that refuses, fails, hangs or talks nonsense while a job runs.

use std::time::Duration;

use forgehand::emulator::{ChecksumPolicy, Endpoint, FaultAction, FaultRule, JobSpec};
use serde_json::json;

use super::house::House;
use crate::support::docker::docker;

const SLOW: &str = "for n in 1 2 3 4 5 6 7 8; do echo line-$n; sleep 0.5; done";

#[test]
fn a_log_gets_through_whatever_the_forge_answers_in_between() {
    let mut house = House::quick();
    house.forge.set_options(|options| options.checksum = ChecksumPolicy::Refuse);
    let nonsense = FaultAction::Garbage { body: b"\xff{{{".to_vec(), content_type: "application/json".into() };
    let troubles = [
        vec![FaultRule::first(7, Endpoint::PatchTrace, FaultAction::status(500))],
        vec![
            FaultRule::nth(2, Endpoint::PatchTrace, FaultAction::status(429)),
            FaultRule::nth(3, Endpoint::PatchTrace, FaultAction::Reset),
        ],
        vec![FaultRule::nth(2, Endpoint::PatchTrace, FaultAction::ServeThenReset)],
        vec![
            FaultRule::nth(2, Endpoint::PatchTrace, FaultAction::html()),
            FaultRule::nth(3, Endpoint::PatchTrace, nonsense.clone()),
        ],
        vec![FaultRule::nth(1, Endpoint::PatchTrace, FaultAction::Delay(Duration::from_secs(3)))],
        vec![FaultRule::first(6, Endpoint::UpdateJob, FaultAction::status(500))],
        vec![
            FaultRule::first(1, Endpoint::UpdateJob, FaultAction::Reset),
            FaultRule::nth(2, Endpoint::UpdateJob, nonsense),
        ],
        vec![FaultRule::first(3, Endpoint::UpdateJob, FaultAction::ServeThenReset)],
        vec![FaultRule::first(2, Endpoint::UpdateJob, FaultAction::html())],
    ];
    let jobs: Vec<_> = troubles
        .into_iter()
        .map(|rules| {
            let id = house.queue_spec(JobSpec { held: true, ..house.spec(&[SLOW], json!({})) });
            let of_job = |rule: FaultRule| rule.on_path(format!("/jobs/{id}"));
            let rules: Vec<_> = rules.into_iter().map(of_job).collect();
            let what = format!("{rules:?}");
            for rule in rules {
                house.forge.fail(rule);
            }
            house.release(id);
            (id, what)
        })
        .collect();
    for (id, what) in jobs {
        let ended = house.end(id);
        let (view, log) = (&ended.view, &ended.log);
        assert_eq!(view.state, "success", "{what}: {}", log.text);
        for n in 1..=8 {
            assert_eq!(log.text.matches(&format!("line-{n}\n")).count(), 1, "{what}: {}", log.text);
        }
        assert!(log.faults.is_empty() && log.text.ends_with("Job succeeded\n"), "{what}: {}", log.text);
        // The forge compares checksum and size of every last word.
        assert!(view.updates.iter().all(|update| update.status != 412), "{what}: {:?}", view.updates);
    }
    house.close();
}

#[test]
fn a_forge_that_gives_a_job_up_ends_it_here() {
    let mut house = House::quick();
    // Nothing more is printed, so a sign of life has to find out.
    let silent: Vec<u64> = [403, 404, 401]
        .map(|code| {
            let id = house.queue(&["echo begun; sleep 600"], json!({}));
            house.wait_for_output(id, "begun\n");
            let refusal = FaultRule::all(Endpoint::PatchTrace, FaultAction::status(code));
            house.forge.fail(refusal.on_path(format!("/jobs/{id}/")));
            house.forge.force_cancel(id);
            id
        })
        .into();
    let label = format!("label=forgehand.forge={}", house.forge.url());
    house.agent.wait_until(Duration::from_secs(100), &format!("the jobs {silent:?} go"), || {
        docker(&["ps", "--all", "--quiet", "--filter", &label]).is_empty().then_some(())
    });
    let printing = house.queue(&["while :; do echo more; sleep 0.2; done"], json!({}));
    house.wait_for_output(printing, "more\n");
    let rule = house.forge.fail(FaultRule::all(Endpoint::PatchTrace, FaultAction::status(403)));
    house.agent.wait_until(Duration::from_secs(60), "the job whose log is refused goes", || {
        docker(&["ps", "--all", "--quiet", "--filter", &label]).is_empty().then_some(())
    });
    house.forge.heal(rule);
    house.assert_goes_on();
    // The server that refuses the log has not got all of it, and the last word counts all of it.
    house.agent.stop();
    house.agent.assert_nothing_left();
}

#[test]
fn a_forge_that_says_nothing_for_a_while_hears_everything_later() {
    let mut house = House::quick();
    let id = house.queue(&[SLOW, "echo said-in-silence"], json!({}));
    house.wait_for_output(id, "line-1\n");
    let rules: Vec<u64> = [Endpoint::PatchTrace, Endpoint::UpdateJob, Endpoint::RequestJob]
        .map(|endpoint| house.forge.fail(FaultRule::all(endpoint, FaultAction::Reset)))
        .into();
    let House { forge, agent, .. } = &mut house;
    agent.wait_until(Duration::from_secs(60), "several requests find nobody", || {
        (forge.requests().iter().filter(|request| request.faulted).count() > 5).then_some(())
    });
    rules.into_iter().for_each(|rule| house.forge.heal(rule));
    house.end(id).succeeded().said("said-in-silence");
    house.close();
}
