//! What a job leaves in its work tree is no trouble for the next.

use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use super::house::{House, several};
use crate::support::AgentOptions;

#[test]
fn what_a_job_leaves_does_not_disturb_the_next() {
    disturb(House::quick());
}

#[test]
fn nor_does_it_where_the_agent_is_not_root() {
    disturb(House::with(AgentOptions { unprivileged: true, ..several().without_network() }));
}

fn disturb(mut house: House) {
    let cloned = || json!({ "variables": [{ "key": "GIT_STRATEGY", "value": "fetch" }] });
    let mess = [
        "mkdir -p a/b/c && echo x >a/b/c/file && chmod 0555 a/b/c a/b && chmod 0000 a",
        "mkdir '-rf' && touch -- '--' $'new\\nline' \"$(printf '\\377')\"",
        "ln -s /etc etc-link; ln -s / a-root; ln -s loop loop; mkfifo pipe",
        "d=.; for n in $(seq 200); do d=$d/ddddddddddddddddddddddd; mkdir $d; cd $d; d=.; done",
        "rm -rf /builds/team/app/.git/refs; echo broken >/builds/team/app/.git/HEAD; touch /builds/team/app/.git/index.lock",
    ];
    for _ in 0..2 {
        house.run(&mess, cloned()).succeeded();
        house.run(&["test ! -e a -a ! -e pipe -a ! -L a-root", "ls -A"], cloned()).succeeded();
    }
    let clone = json!({ "variables": [{ "key": "GIT_STRATEGY", "value": "clone" }] });
    house.run(&mess, cloned()).succeeded();
    house.run(&["test ! -e a -a ! -e pipe"], clone).succeeded();
    // The machine's own folder that the link led to is as it was.
    let mode = std::fs::metadata("/etc").expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode, 0o755);
    house.close();
}

#[test]
fn a_job_that_wants_its_work_tree_cleaned_leaves_no_file_of_its_own() {
    let mut house = House::quick();
    let wanting = |strategy: &str, flag: &str| json!({ "variables": [{ "key": "GIT_STRATEGY", "value": strategy }, { "key": "FF_ENABLE_JOB_CLEANUP", "value": flag }] });
    for strategy in ["clone", "empty", "fetch"] {
        let own = format!("of-{strategy}");
        house
            .run(&[&format!("mkdir -p {own}/deep; echo x >{own}/deep/file; chmod 0 {own}")], wanting(strategy, "true"))
            .succeeded();
        assert_eq!(
            named(&house.agent.state_dir().join("builds"), &own),
            Vec::<std::path::PathBuf>::new(),
            "{strategy}"
        );
        house.run(&["ls -A"], wanting(strategy, "false")).succeeded();
    }
    let kept = "kept-by-default";
    house.run(&[&format!("echo x >{kept}")], wanting("fetch", "false")).succeeded();
    assert_eq!(named(&house.agent.state_dir().join("builds"), kept).len(), 1, "the search finds what is there");
    house.close();
}

/// Everything below `folder` with this name.
fn named(folder: &std::path::Path, name: &str) -> Vec<std::path::PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut found = Vec::new();
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.file_name().is_some_and(|it| it == name) {
            found.push(path);
        } else if path.is_dir() && !path.is_symlink() {
            found.extend(named(&path, name));
        }
    }
    found
}
