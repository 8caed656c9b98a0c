//! Killed at random moments, again and again, with several jobs at once.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::{LIMIT, assert_no_violations, faults, queue, start};
use crate::support::try_until;

/// How often the agent is killed.
const KILLS: u32 = 50;
/// Jobs that run beside each other.
const AT_ONCE: u32 = 3;
/// The longest an agent lives.
const LONGEST_LIFE: Duration = Duration::from_millis(1500);

/// `FORGEHAND_SEED=NUMBER` repeats a run's moments.
#[test]
fn killed_at_fifty_random_moments_no_job_and_no_line_is_lost_or_doubled() {
    let seed = std::env::var("FORGEHAND_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(rand::random);
    eprintln!("FORGEHAND_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let (forge, mut agent, project) = start(AT_ONCE);
    let began = Instant::now();
    let mut jobs = BTreeSet::new();
    for _ in 0..KILLS {
        let open = jobs.iter().filter(|id| forge.job(**id).is_some_and(|job| !job.has_ended())).count();
        for _ in open..AT_ONCE as usize {
            jobs.insert(queue(&forge, project, "0.01"));
        }
        // The random moment is what this test is about.
        std::thread::sleep(LONGEST_LIFE.mul_f64(random.random()));
        agent.kill9();
        // What was handed to an agent that died before it could write it down, the forge hands out once more; and some that
        // are known, too.
        for id in &jobs {
            let is_out = forge.job(*id).is_some_and(|job| job.state == "running");
            if is_out && (super::local_log(&agent.state_dir(), *id).is_none() || random.random_ratio(1, 10)) {
                forge.redeliver(*id);
            }
        }
        agent.run();
    }
    let killed_for = began.elapsed();
    let ended =
        try_until(LIMIT, || jobs.iter().all(|id| forge.job(*id).is_some_and(|job| job.has_ended())).then_some(()));
    let wrong: Vec<String> = jobs.iter().flat_map(|id| faults(&forge, &forge.job(*id).unwrap())).collect();
    eprintln!("{} jobs, {KILLS} kills in {killed_for:?}, all over after {:?}", jobs.len(), began.elapsed());
    assert!(
        wrong.is_empty() && ended.is_some(),
        "seed {seed}: {}\nthe agent wrote:\n{}",
        wrong.join("\n"),
        agent.output()
    );
    assert_no_violations(&forge);
    agent.assert_nothing_left();
}
