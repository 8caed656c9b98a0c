//! What a sandbox costs beside `docker run` of the same, measured in turns. Prints; asserts nothing about time.

use std::process::Command;
use std::time::{Duration, Instant};

use super::fixtures::House;
use super::images;
use crate::executor::sandbox::docker::NetworkMode;

const ROUNDS: usize = 15;

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement: run it alone, with --nocapture"]
async fn a_sandbox_against_docker_run() {
    for (mode, word, ready) in
        [(NetworkMode::None, "none", 0), (NetworkMode::Bridge, "bridge", 0), (NetworkMode::Job, "bridge", 2)]
    {
        let house = House::with(|settings| settings.pool.upkeep.ready = ready).await;
        let (mut ours, mut floor, mut calls) = (Vec::new(), Vec::new(), 0);
        for _ in 0..ROUNDS {
            let mut case = house.case("true");
            case.settings.network_mode = mode.clone();
            let (before, begun) = (house.docker.engine().calls(), Instant::now());
            let prepared = house.start(&case).await.unwrap();
            house.docker.engine().wait_exit(super::fixtures::container_of(&prepared.record)).await.unwrap();
            house.docker.remove(&prepared.record).await.unwrap();
            ours.push(begun.elapsed());
            calls = house.docker.engine().calls() - before;

            let begun = Instant::now();
            let status = Command::new("docker").args(["run", "--rm", "--network", word, images::SH, "true"]).status();
            assert!(status.unwrap().success());
            floor.push(begun.elapsed());
        }
        let (ours, floor) = (median(ours), median(floor));
        let ratio = ours.as_secs_f64() / floor.as_secs_f64();
        println!("{mode:?}: {calls} calls, {ours:?}; docker run --network {word}: {floor:?}; ratio {ratio:.2}");
        house.leave().await;
    }
}
