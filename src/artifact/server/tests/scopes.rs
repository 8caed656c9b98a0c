//! Refs: what a job writes belongs to its own; it reads there, then where it goes into, then from the default branch.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_reads_its_own_then_its_base_then_the_default_branch_and_nobody_elses() {
    let place = Place::new().await;
    let owner = member();
    let on = |name: &str, scope: &str, fallbacks: &[&str]| place.job_of(&owner, name, scope, fallbacks);
    let main = on("main", "refs/heads/main", &["refs/heads/main"]);
    let release = on("release", "refs/heads/release", &["refs/heads/main"]);
    let topic = on("topic", "refs/pull/7/merge", &["refs/heads/release", "refs/heads/main"]);
    let other = on("other", "refs/heads/other", &["refs/heads/main"]);
    main.save("deps-1", "v", b"main").await;
    assert_eq!(topic.content(&["deps-1"], "v").await.unwrap(), b"main");
    release.save("deps-1", "v", b"release").await;
    assert_eq!(topic.content(&["deps-1"], "v").await.unwrap(), b"release");
    topic.save("deps-1", "v", b"topic").await;
    assert_eq!(topic.content(&["deps-1"], "v").await.unwrap(), b"topic");
    place.pass(100);
    main.save("deps-2", "v", b"newest of all").await;
    // Its own scope goes before what is newer elsewhere.
    assert_eq!(topic.content(&["none", "deps-"], "v").await.unwrap(), b"topic");
    assert_eq!(main.content(&["deps-1"], "v").await.unwrap(), b"main");
    assert_eq!(other.content(&["deps-1"], "v").await.unwrap(), b"main");
    assert_eq!(release.content(&["deps-1"], "v").await.unwrap(), b"release");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_tells_clients_what_they_look_for_in_it() {
    use base64::Engine as _;
    let place = Place::new().await;
    let job = place.job_of(&member(), "a", "refs/heads/topic", &["refs/heads/main"]);
    let claims = job.token.split('.').nth(1).unwrap();
    let claims = base64::prelude::BASE64_URL_SAFE_NO_PAD.decode(claims).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    // What go-actions-cache, and so buildkit, refuses to work without.
    let allowed: Value = serde_json::from_str(claims["ac"].as_str().unwrap()).unwrap();
    let wanted = json!([{"Scope": "refs/heads/topic", "Permission": 3}, {"Scope": "refs/heads/main", "Permission": 1}]);
    assert_eq!(allowed, wanted);
    assert!(claims["nbf"].as_f64().unwrap() < 1_800_000_000.0 && claims["exp"].as_f64().unwrap() > 1_800_000_000.0);
    let names: Vec<String> = job.admission.environment().into_iter().map(|(name, _)| name).collect();
    let wanted = ["ACTIONS_CACHE_URL", "ACTIONS_RESULTS_URL", "ACTIONS_RUNTIME_TOKEN", "ACTIONS_CACHE_SERVICE_V2"];
    assert_eq!(names, wanted);
}
