//! Remotes that refuse, break or have not what was asked for.

use super::super::SourcesError;
use super::super::testing::git_server::Behaviour;
use super::super::testing::house::House;

#[tokio::test]
async fn a_commit_that_is_not_there_is_an_error_that_says_why() {
    let house = House::new().await;
    house.usual_repository();
    let (result, log) = house.get(&house.spec("app", &"1".repeat(40))).await;
    let error = result.expect_err("no such commit");
    assert!(error.to_string().contains("GIT_DEPTH is too small"), "{error}");
    assert!(log.contains(&format!("fatal: reference is not a tree: {}", "1".repeat(40))), "{log}");
    assert!(error.may_retry());
}

#[tokio::test]
async fn a_commit_beyond_the_depth_is_not_there_though_the_mirror_has_it() {
    let house = House::new().await;
    let repository = house.usual_repository();
    let mut spec = house.spec("app", &repository.run(&["rev-parse", "HEAD~10"]));
    spec.depth = 0;
    house.get_well(&spec).await;
    spec.depth = 5;
    spec.strategy = crate::pipeline::definition::SourceStrategy::Clone;
    let error = house.get(&spec).await.0.expect_err("too shallow");
    assert!(error.to_string().contains("5 commits of history"), "{error}");
}

#[tokio::test]
async fn a_ref_that_is_gone_is_gits_own_message() {
    let house = House::new().await;
    let sha = house.usual_repository().head();
    let mut spec = house.spec("app", &sha);
    spec.refspecs = vec!["+refs/pipelines/7:refs/pipelines/7".to_owned()];
    let (result, log) = house.get(&spec).await;
    assert!(result.is_err());
    assert!(log.contains("couldn't find remote ref refs/pipelines/7"), "{log}");
}

#[tokio::test]
async fn refusals_of_the_remote_are_passed_on() {
    for (status, words) in [(403, "403"), (404, "not found"), (500, "500")] {
        let house = House::new().await;
        let sha = house.usual_repository().head();
        house.forge.behave(Behaviour::Refuse(status));
        let (result, log) = house.get(&house.spec("app", &sha)).await;
        let error = result.expect_err("refused");
        assert!(log.contains(words), "{status}: {log}");
        assert!(error.exit_code() == Some(128) && error.may_retry(), "{status}: {error}");
        assert!(!log.contains("copy of this repository"), "the mirror is not to blame: {log}");
        // Nothing of it is in the way of the next attempt.
        house.forge.behave(Behaviour::Serve);
        house.get_well(&house.spec("app", &sha)).await;
    }
}

#[tokio::test]
async fn without_credentials_git_does_not_ask_anybody() {
    let house = House::new().await;
    let sha = house.usual_repository().head();
    house.forge.require("user", "password");
    let (result, log) = house.get(&house.spec("app", &sha)).await;
    assert!(matches!(result, Err(SourcesError::Failed { .. })));
    assert!(log.contains("could not read Username") && log.contains("terminal prompts disabled"), "{log}");
}

#[tokio::test]
async fn nobody_answers() {
    let house = House::new().await;
    let sha = house.usual_repository().head();
    let mut spec = house.spec("app", &sha);
    spec.url = "http://127.0.0.1:1/app.git".to_owned();
    let (result, log) = house.get(&spec).await;
    assert!(result.is_err());
    assert!(log.contains("unable to access 'http://127.0.0.1:1/app.git/'"), "{log}");
}

#[tokio::test]
async fn what_the_job_may_not_say_is_refused_before_anything_is_touched() {
    let house = House::new().await;
    let sha = house.usual_repository().head();
    house.get_well(&house.spec("app", &sha)).await;
    let mut spec = house.spec("app", &sha);
    spec.fetch_flags = vec!["--upload-pack=touch /tmp/x".to_owned()];
    let error = house.get(&spec).await.0.expect_err("refused");
    assert!(matches!(&error, SourcesError::Refused { setting, .. } if setting == "GIT_FETCH_EXTRA_FLAGS"), "{error}");
    assert!(!error.may_retry());
    assert_eq!(house.read("second.txt"), "two\n");
}
