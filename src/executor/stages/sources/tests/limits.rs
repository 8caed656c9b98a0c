//! git ends with the job, with the stage's time and with the agent, and touches nothing but its folders.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::super::folder::Folder;
use super::super::git::{Git, Place, Reach, WorkTree};
use super::super::output::Rewrites;
use super::super::settings::PrivateFolder;
use super::super::testing::git_server::Behaviour;
use super::super::testing::house::House;
use super::super::{Confinement, SourcesError};

/// Processes whose command line names `marker`.
fn processes(marker: &str) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").expect("listed").flatten();
    let commands = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    let commands = commands.map(|command| String::from_utf8_lossy(&command).replace('\0', " "));
    commands.filter(|command| command.contains(marker)).collect()
}

/// Waits until there is no such process; the kernel needs a moment.
async fn until_gone(marker: &str) {
    let start = Instant::now();
    while !processes(marker).is_empty() {
        assert!(start.elapsed() < Duration::from_secs(10), "still there: {:?}", processes(marker));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelling_kills_git_and_its_children() {
    let house = House::new().await;
    let sha = house.usual_repository().head();
    house.forge.behave(Behaviour::HangInTransfer);
    let marker = format!("{}/app.git", house.forge.url());
    let spec = house.spec("app", &sha);
    let cancel = async {
        house.forge.wait_for_requests(2).await;
        assert!(processes(&marker).len() >= 2, "git and git-remote-http");
        house.cancel.cancel();
    };
    let ((result, _), ()) = tokio::join!(house.get(&spec), cancel);
    assert!(matches!(result, Err(SourcesError::Cancelled { .. })), "{result:?}");
    until_gone(&marker).await;
}

#[tokio::test]
async fn a_server_that_hangs_is_cut_by_the_stages_time() {
    for behaviour in [Behaviour::Hang, Behaviour::HangInTransfer] {
        let mut house = House::new().await;
        let sha = house.usual_repository().head();
        house.forge.behave(behaviour);
        house.limit = Duration::from_secs(2);
        let (result, log) = house.get(&house.spec("app", &sha)).await;
        let error = result.expect_err("cut");
        assert!(matches!(error, SourcesError::TimedOut { .. }), "{error}\n{log}");
        assert!(error.to_string().starts_with("fetching from the remote took longer"), "{error}");
        assert!(!error.may_retry());
        until_gone(&format!("{}/app.git", house.forge.url())).await;
    }
}

const FORGE: &str = "FORGEHAND_TEST_FORGE";

/// Not a test by itself: the agent that the next test kills.
#[tokio::test]
#[ignore = "run by git_of_a_dead_agent_dies"]
async fn an_agent_that_gets_killed() {
    let Ok(forge) = std::env::var(FORGE) else { return };
    let house = House::new().await;
    let mut spec = house.spec("app", &"1".repeat(40));
    spec.url = forge;
    let (result, log) = house.get(&spec).await;
    panic!("it cannot end: {result:?}\n{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn git_of_a_dead_agent_dies() {
    let house = House::new().await;
    house.usual_repository();
    house.forge.behave(Behaviour::HangInTransfer);
    let remote = format!("{}/app.git", house.forge.url());
    let test = format!("{}::an_agent_that_gets_killed", module_path!().split_once("::").expect("a crate").1);
    // As under `nohup`: what the agent ignores its children must not.
    let mut agent = tokio::process::Command::new("sh")
        .args(["-c", "trap '' HUP; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().expect("a program"))
        .args(["--exact", &test, "--ignored", "--nocapture"])
        .env(FORGE, &remote)
        .kill_on_drop(true)
        .spawn()
        .expect("started");
    tokio::select! {
        () = house.forge.wait_for_requests(2) => {}
        ended = agent.wait() => panic!("the agent ended: {ended:?}"),
    }
    let children = processes(&remote);
    assert!(children.iter().any(|command| command.contains("remote-http")), "{children:?}");
    agent.kill().await.expect("killed");
    until_gone(&remote).await;
}

#[tokio::test]
async fn a_dropped_future_leaves_no_git() {
    let house = House::new().await;
    let sha = house.usual_repository().head();
    house.forge.behave(Behaviour::HangInTransfer);
    let spec = house.spec("app", &sha);
    tokio::select! {
        (result, log) = house.get(&spec) => panic!("it cannot end: {result:?}\n{log}"),
        () = house.forge.wait_for_requests(2) => {}
    }
    until_gone(&format!("{}/app.git", house.forge.url())).await;
    house.forge.behave(Behaviour::Serve);
    house.get_well(&spec).await;
}

/// Runs a shell command as a child of git, confined as in a work tree; returns whether it succeeded.
async fn confined(house: &House, command: &str) -> bool {
    let private = PrivateFolder::create(&house.dir.path().join("state/private")).expect("made");
    let cancel = CancellationToken::new();
    let deadline = tokio::time::Instant::now() + house.limit;
    let project = house.project();
    let trusted = [project.as_path()];
    let git =
        Git::new(&house.program, private, None, &trusted, Rewrites::default(), deadline, &cancel).expect("prepared");
    let tree = WorkTree { folder: Arc::new(Folder::open(&project).expect("opened")), path: project.clone() };
    let call = git.call("probing", Place::WorkTree(&tree), Reach::Nothing);
    let finished = call.setting("alias.probe", format!("!{command}")).args(["probe"]).run(None).await.expect("ran");
    eprintln!("{command}: {finished:?}");
    finished.is_success()
}

#[tokio::test]
async fn git_can_touch_nothing_but_its_folders() {
    let house = House::new().await;
    let sha = house.usual_repository().head();
    house.get_well(&house.spec("app", &sha)).await;
    if Confinement::of_this_kernel() == Confinement::None {
        eprintln!("skipped: this kernel has no landlock");
        return;
    }
    let there = |path: &str| house.dir.path().join(path).to_string_lossy().into_owned();
    std::fs::create_dir_all(there("state/builds/other")).expect("made");
    std::fs::write(there("state/builds/other/file"), "x").expect("written");
    std::fs::write(there("state/state.db"), "x").expect("written");
    assert!(confined(&house, "cat second.txt > out && rm out").await, "its own work tree");
    assert!(confined(&house, "cat /etc/passwd /etc/hosts > /dev/null && touch \"$HOME/x\"").await);
    for denied in [
        "cat /etc/shadow".to_owned(),
        "ls /root".to_owned(),
        "ls /home".to_owned(),
        "ls /tmp".to_owned(),
        "cat /proc/1/environ".to_owned(),
        "cat /proc/self/environ".to_owned(),
        "ls /dev".to_owned(),
        "sh -c ': < /dev/tty'".to_owned(),
        format!("cat {}", there("state/builds/other/file")),
        format!("touch {}", there("state/builds/ws/team/new")),
        format!("cat {}", there("state/state.db")),
        format!("ls {}", there("state/mirrors")),
        "touch /usr/x".to_owned(),
        "ln -s /etc/shadow link && cat link".to_owned(),
        "cp /bin/true prog && ./prog".to_owned(),
        "sh -c 'kill -0 1'".to_owned(),
        "mknod pipe p".to_owned(),
    ] {
        assert!(!confined(&house, &denied).await, "{denied}");
    }
}

#[tokio::test]
async fn git_gets_none_of_the_agents_environment() {
    let house = House::new().await;
    let sha = house.usual_repository().head();
    house.get_well(&house.spec("app", &sha)).await;
    assert!(confined(&house, "env > seen").await);
    let seen = std::fs::read_to_string(house.project().join("seen")).expect("written");
    for line in seen.lines() {
        let name = line.split_once('=').map_or(line, |(name, _)| name);
        let known = [
            "PATH",
            "HOME",
            "XDG_CONFIG_HOME",
            "TMPDIR",
            "LANG",
            "LC_ALL",
            "GCM_INTERACTIVE",
            "PWD",
            "OLDPWD",
            "SHLVL",
            "_",
        ];
        assert!(name.starts_with("GIT_") || known.contains(&name), "{line}");
    }
    let umask = confined(&house, "test $(umask) = 0000").await;
    assert!(umask, "what git writes, any user of the job may write");
    assert!(Path::new("/proc").exists());
}
