//! A sandbox after its agent died.

use std::time::Duration;

use super::fixtures::{House, container_of};
use crate::executor::sandbox::SandboxRecord;
use crate::executor::sandbox::docker::Reattached;

#[tokio::test]
async fn the_next_agent_finds_a_running_container_and_knows_why_another_is_gone() {
    let house = House::new().await;
    let gone = async |record: &SandboxRecord| match house.next_agent().await.reattach(record).await.unwrap() {
        Reattached::Gone { cause } => cause,
        Reattached::Running => panic!("it runs"),
    };
    let case = house.case("trap 'exit 7' TERM; echo up; while :; do sleep 0.1; done");
    let prepared = house.start(&case).await.unwrap();
    let next = house.next_agent().await;
    assert_eq!(next.reattach(&prepared.record).await.unwrap(), Reattached::Running);
    assert!(next.end_state(&prepared.record).await.unwrap().unwrap().is_running);

    let mut rebooted = prepared.record.clone();
    if let SandboxRecord::Docker { boot_id, .. } = &mut rebooted {
        *boot_id = "another".into();
    }
    assert!(gone(&rebooted).await.contains("restarted"));

    // The trap must be set before the signal comes.
    while house.docker.output_of(container_of(&prepared.record), 100).await.unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    next.stop(&prepared.record, Duration::from_secs(10)).await.unwrap();
    assert!(gone(&prepared.record).await.contains("exit code 7"));
    assert_eq!(next.end_state(&prepared.record).await.unwrap().unwrap().exit_code, Some(7));

    next.remove(&prepared.record).await.unwrap();
    assert!(gone(&prepared.record).await.contains("removed"));
    assert_eq!(next.end_state(&prepared.record).await.unwrap(), None);
    house.leave().await;
}

#[tokio::test]
async fn the_last_of_a_container_s_words_are_kept() {
    let house = House::new().await;
    let prepared = house.start(&house.case("echo first; echo second >&2; echo third")).await.unwrap();
    house.end_of(&prepared.record).await;
    let words = house.docker.output_of(container_of(&prepared.record), 9).await.unwrap();
    assert_eq!(words.len(), 9);
    house.docker.remove(&prepared.record).await.unwrap();
    assert!(house.docker.output_of(container_of(&prepared.record), 9).await.unwrap().is_empty());
    house.leave().await;
}
