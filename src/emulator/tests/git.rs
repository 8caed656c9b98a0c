use std::path::Path;
use std::process::{Command, Output};

use super::*;

fn git(dir: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new("git");
    command.args(arguments).current_dir(dir).env("GIT_TERMINAL_PROMPT", "0").env("GIT_CONFIG_GLOBAL", "/dev/null");
    command.env("GIT_CONFIG_NOSYSTEM", "1").env_remove("http_proxy").env_remove("HTTP_PROXY").output().unwrap()
}

async fn clone(url: String, arguments: &'static [&'static str]) -> (Output, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    tokio::task::spawn_blocking(move || {
        let mut all = vec!["clone", "--quiet"];
        all.extend(arguments);
        all.extend([url.as_str(), "copy"]);
        (git(dir.path(), &all), dir)
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_jobs_token_clones_its_project() {
    let house = House::new(EmulatorOptions::default()).await;
    let (id, token) = house.running_job(house.script()).await;
    let url = house.forge.response(id)["git_info"]["repo_url"].as_str().unwrap().to_owned();
    let (output, dir) = clone(url.clone(), &["--depth", "20"]).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(std::fs::read(dir.path().join("copy/README")).unwrap(), b"a repository\n");
    assert_eq!(house.rules_broken(), Vec::<String>::new());

    let pipeline = format!("+refs/pipelines/{id}:refs/pipelines/{id}");
    let copy = dir.path().join("copy");
    let output = tokio::task::spawn_blocking(move || git(&copy, &["fetch", "origin", &pipeline])).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    house.finish(id, &token, "success").await;
    let (output, _dir) = clone(url, &[]).await;
    assert!(!output.status.success(), "the token ends with its job");
    assert!(house.rules_broken()[0].contains("no running job's token"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_projects_open_to_jobs_only_when_they_say_so_and_nothing_can_be_pushed() {
    let house = House::new(EmulatorOptions::default()).await;
    let files = vec![RepositoryFile::text("x", "x\n")];
    let other = house.forge.add_project("team/two", &Repository::Files(files)).unwrap();
    let (_, token) = house.running_job(house.script()).await;
    let host = house.forge.url().trim_start_matches("http://").to_owned();
    let url = |project: &str| format!("http://gitlab-ci-token:{token}@{host}/team/{project}.git");
    assert!(!clone(url("two"), &[]).await.0.status.success());
    house.forge.change_project(other, |project| project.open_to_jobs = true);
    assert!(clone(url("two"), &[]).await.0.status.success());
    assert!(!clone(url("three"), &[]).await.0.status.success());

    let (output, dir) = clone(url("one"), &[]).await;
    assert!(output.status.success());
    let copy = dir.path().join("copy");
    let output =
        tokio::task::spawn_blocking(move || git(&copy, &["push", "origin", "HEAD:refs/heads/new"])).await.unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("403"), "{}", String::from_utf8_lossy(&output.stderr));
}
