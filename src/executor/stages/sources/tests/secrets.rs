//! The token goes to the forge it is for, and nowhere else.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::super::testing::git_server::{Behaviour, GitServer};
use super::super::testing::house::{House, TOKEN, desk_git};

/// All forms in which the token could be found.
fn forms() -> Vec<String> {
    use base64::Engine as _;
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("gitlab-ci-token:{TOKEN}"));
    vec![TOKEN.to_owned(), pair, base64::engine::general_purpose::STANDARD.encode(TOKEN)]
}

fn holds_token(bytes: &[u8]) -> bool {
    forms().iter().any(|form| bytes.windows(form.len()).any(|window| window == form.as_bytes()))
}

fn assert_clean(folder: &Path) {
    for entry in std::fs::read_dir(folder).expect("listed") {
        let path = entry.expect("read").path();
        let kind = std::fs::symlink_metadata(&path).expect("there").file_type();
        if kind.is_dir() {
            assert_clean(&path);
        } else if kind.is_file() {
            assert!(!holds_token(&std::fs::read(&path).expect("read")), "the token is in {}", path.display());
        }
    }
}

#[tokio::test]
async fn the_token_is_left_in_no_file_and_no_log() {
    let house = House::new().await;
    let sha = house.usual_repository().head();
    for _ in 0..2 {
        let log = house.get_well(&house.private_spec("app", &sha)).await;
        assert!(!holds_token(log.as_bytes()), "{log}");
        assert!(!log.contains(&*house.dir.path().to_string_lossy()), "a path of the machine: {log}");
        assert_clean(&house.dir.path().join("state"));
    }
    assert!(!house.dir.path().join("state/private/sources").exists(), "the credentials' folder goes with the stage");
    house.forge.require("gitlab-ci-token", "another");
    let (result, log) = house.get(&house.spec("app", &sha)).await;
    assert!(result.is_err() && !holds_token(log.as_bytes()), "{log}");
}

#[tokio::test]
async fn a_wrong_token_is_said_without_being_shown() {
    let house = House::new().await;
    let sha = house.usual_repository().head();
    let spec = house.private_spec("app", &sha);
    house.forge.require("gitlab-ci-token", "another");
    let (result, log) = house.get(&spec).await;
    assert!(result.is_err());
    assert!(log.contains("Authentication failed for") && !holds_token(log.as_bytes()), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_token_is_in_no_process_listing_while_git_runs() {
    let house = House::new().await;
    let sha = house.usual_repository().head();
    let spec = house.private_spec("app", &sha);
    house.forge.behave(Behaviour::HangInTransfer);
    let marker = format!("{}/app.git", house.forge.url());
    tokio::select! {
        (result, log) = house.get(&spec) => panic!("it cannot end: {result:?}\n{log}"),
        () = house.forge.wait_for_requests(3) => {}
    }
    // The future is gone, but look again while one is there.
    let get = house.get(&spec);
    let look = async {
        house.forge.wait_for_requests(6).await;
        let seen = tokio::task::spawn_blocking(move || listing(&marker)).await.expect("looked");
        assert!(seen.len() >= 2, "git and git-remote-http are there: {seen:?}");
        for line in seen {
            assert!(!holds_token(line.as_bytes()), "{line}");
        }
        let credential = house.dir.path().join("state/private/sources/credential");
        assert_eq!(std::fs::metadata(&credential).expect("there").permissions().mode() & 0o777, 0o600);
        let private = credential.parent().expect("a parent");
        assert_eq!(std::fs::metadata(private).expect("there").permissions().mode() & 0o777, 0o700);
    };
    tokio::select! {
        (result, log) = get => panic!("it cannot end: {result:?}\n{log}"),
        () = look => {}
    }
}

/// Command lines and environments of processes that name `marker`.
fn listing(marker: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").expect("listed").flatten() {
        let read = |file: &str| std::fs::read(entry.path().join(file)).unwrap_or_default();
        let command = String::from_utf8_lossy(&read("cmdline")).into_owned();
        if command.contains(marker) {
            found.push(format!("{command}\n{}", String::from_utf8_lossy(&read("environ"))));
        }
    }
    found
}

#[tokio::test]
async fn a_redirect_to_another_host_does_not_carry_the_token() {
    let house = House::new().await;
    let repository = house.usual_repository();
    let elsewhere = GitServer::start(&house.dir.path().join("forge")).await;
    let spec = house.private_spec("app", &repository.head());
    house.forge.behave(Behaviour::Redirect(elsewhere.url().to_owned()));
    // A host that takes everybody: git goes there, as it should, with empty hands.
    house.get_well(&spec).await;
    // One that asks for credentials, of whatever kind, gets none.
    elsewhere.require("gitlab-ci-token", TOKEN);
    let (result, log) = house.get(&spec).await;
    assert!(result.is_err(), "{log}");
    let seen = elsewhere.seen();
    assert!(seen.len() >= 3);
    for request in seen {
        for (name, value) in &request.headers {
            assert!(!holds_token(value.as_bytes()) && name != "authorization", "{name} at {}", request.path);
        }
    }
}

#[tokio::test]
async fn the_jobs_own_git_finds_its_credentials_by_variable() {
    let house = House::new().await;
    let sha = house.usual_repository().head();
    house.get_well(&house.private_spec("app", &sha)).await;
    let fetch = |token: &str| {
        let mut git = desk_git(&house.project(), &["fetch", "-q", "origin", "+refs/tags/*:refs/tags/*"]);
        git.env("CI_JOB_TOKEN", token).env("GIT_TERMINAL_PROMPT", "0");
        tokio::task::spawn_blocking(move || git.status().expect("git").success())
    };
    assert!(!fetch("wrong").await.expect("ran"));
    assert!(fetch(TOKEN).await.expect("ran"));
    assert_eq!(house.git(&["tag"]), "v1.0");
}
