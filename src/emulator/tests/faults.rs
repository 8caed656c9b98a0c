use std::time::Duration;

use super::*;
use crate::emulator::{Endpoint, FaultAction, FaultRule};

#[tokio::test]
async fn the_nth_request_fails_and_the_others_do_not() {
    let house = House::new(EmulatorOptions::default()).await;
    house.forge.fail(FaultRule::nth(2, Endpoint::RequestJob, FaultAction::status(503)));
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.push(house.poll("").await.status().as_u16());
    }
    assert_eq!(seen, [204, 503, 204]);
    assert!(house.forge.requests()[1].faulted);
}

#[tokio::test]
async fn a_reset_connection_is_an_error_and_the_request_may_have_counted() {
    let house = House::new(EmulatorOptions::default()).await;
    let (id, token) = house.running_job(house.script()).await;
    house.forge.fail(FaultRule::first(1, Endpoint::PatchTrace, FaultAction::ServeThenReset));
    let path = format!("{}/api/v4/jobs/{id}/trace?debug_trace=false", house.forge.url());
    let piece = || {
        house
            .http
            .patch(&path)
            .header("JOB-TOKEN", &token)
            .header("Content-Type", "text/plain")
            .header("Content-Range", "0-0")
    };
    assert!(piece().body("x").send().await.is_err());
    assert_eq!(house.forge.log(id), b"x", "it was served before the connection went");
    assert_eq!(piece().body("x").send().await.unwrap().status(), 416);
    house.forge.fail(FaultRule::all(Endpoint::UpdateJob, FaultAction::Reset));
    let update = house.http.put(format!("{}/api/v4/jobs/{id}", house.forge.url())).send().await;
    assert!(update.is_err());
}

#[tokio::test]
async fn garbage_delays_and_silence() {
    let house = House::new(EmulatorOptions::default()).await;
    let rule = house.forge.fail(FaultRule::all(Endpoint::RequestJob, FaultAction::html()));
    let page = house.poll("").await;
    assert_eq!((page.status().as_u16(), text(&page, "content-type")), (200, "text/html; charset=utf-8".into()));
    house.forge.heal(rule);
    let rule = house.forge.fail(FaultRule::all(Endpoint::RequestJob, FaultAction::Hang));
    let silence = tokio::time::timeout(Duration::from_millis(300), house.poll("")).await;
    assert!(silence.is_err());
    house.forge.heal(rule);
    house.forge.fail(FaultRule::first(1, Endpoint::RequestJob, FaultAction::Delay(Duration::from_millis(50))));
    assert_eq!(house.poll("").await.status(), 204);
}

#[tokio::test]
async fn a_request_can_wait_until_its_rule_goes() {
    let house = House::new(EmulatorOptions::default()).await;
    let rule = house.forge.fail(FaultRule::all(Endpoint::RequestJob, FaultAction::UntilHealed));
    let heal = async {
        let came = |forge: &crate::emulator::Emulator| (!forge.requests().is_empty()).then_some(());
        house.forge.wait_for(Duration::from_secs(30), came).await.unwrap();
        assert_eq!(house.forge.requests()[0].status, None);
        house.forge.heal(rule);
    };
    let (answer, ()) = tokio::join!(house.poll(""), heal);
    assert_eq!(answer.status(), 204);
    assert!(house.forge.requests()[0].faulted);
}

#[tokio::test]
async fn an_answer_can_be_cut_in_its_body() {
    let house = House::new(EmulatorOptions::default()).await;
    house.forge.queue(house.script()).unwrap();
    house.forge.fail(FaultRule::first(1, Endpoint::RequestJob, FaultAction::CutBody));
    let answer = house.poll("").await;
    assert_eq!(answer.status(), 201);
    assert!(answer.bytes().await.is_err());
}

#[tokio::test]
async fn a_stopped_forge_refuses_connections() {
    let house = House::new(EmulatorOptions::default()).await;
    house.forge.stop().await;
    assert!(house.http.get(house.forge.url()).send().await.unwrap_err().is_connect());
}
