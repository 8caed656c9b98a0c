//! The state directory's disk is full to the last byte.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use serde_json::json;

use super::house::{House, archive_of, several, step};
use crate::support::{Agent, TestForge, docker};

/// A file system in memory, mounted over a folder.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// What is in `folder` moves onto it; `room` bytes are free then.
    fn over(folder: &Path, room: u64) -> Self {
        let program = fs::metadata(env!("CARGO_BIN_EXE_forgehand")).expect("it is built").len();
        let options = format!("size={},mode=0700", program + room);
        let options = std::ffi::CString::new(options).expect("digits");
        let aside = tempfile::tempdir().expect("a folder");
        copy(folder, aside.path());
        mount("forgehand-test", folder, "tmpfs", MountFlags::empty(), options.as_c_str()).expect("mounting needs root");
        copy(aside.path(), folder);
        Self(folder.to_owned())
    }

    fn fill(&self) {
        let mut file = File::options().create(true).append(true).open(self.0.join("filler")).expect("a file");
        while file.write_all(&[0; 4096]).is_ok() {}
        while file.write_all(&[0]).is_ok() {}
    }

    /// Fills it so that `room` bytes are free.
    fn leave(&self, room: u64) {
        let free = rustix::fs::statvfs(&self.0).expect("it is mounted");
        let file = File::create(self.0.join("filler")).expect("a file");
        let size = (free.f_bavail * free.f_frsize).saturating_sub(room);
        rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, size).expect("there is room for it");
    }

    fn make_room(&self) {
        fs::remove_file(self.0.join("filler")).expect("it was filled");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = unmount(&self.0, UnmountFlags::DETACH);
    }
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from.join(".")).arg(to).status().expect("cp runs");
    assert!(copied.success());
}

fn house_on_a_small_disk() -> (House, SmallDisk) {
    house_with_limit("1GiB")
}

fn house_with_limit(output: &str) -> (House, SmallDisk) {
    house_with(output, 64 << 20)
}

fn house_with(output: &str, room: u64) -> (House, SmallDisk) {
    docker::build_images();
    let forge = TestForge::start();
    let project = forge.case_project("team/app");
    let mut agent = Agent::registered(&forge, several().without_network().env("FORGEHAND_OUTPUT_LIMIT", output));
    let disk = SmallDisk::over(&agent.state_dir(), room);
    agent.run();
    (House { forge, agent, project }, disk)
}

#[test]
fn a_disk_that_fills_in_mid_job_ends_the_job_with_a_message_that_says_so() {
    let (mut house, disk) = house_on_a_small_disk();
    // Somebody else fills it while a step prints.
    let id = house.queue(&["while :; do echo a line of output; sleep 0.01; done"], json!({}));
    house.wait_for_output(id, "a line of output\n");
    disk.fill();
    let ended = house.end(id);
    ended.failed("runner_system_failure").said("disk").said("Job failed (system failure)");
    // While there is no room no job is taken: another runner may have it.
    disk.fill();
    let second = house.queue(&["echo second"], json!({}));
    let House { forge, agent, .. } = &mut house;
    let said = "no jobs are taken until there is room";
    let output = agent.state_dir().with_file_name("stdout");
    let errors = agent.state_dir().with_file_name("stderr");
    agent.wait_until(Duration::from_secs(60), "the agent says what is wrong", || {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        (read(&output) + &read(&errors)).contains(said).then_some(())
    });
    assert_eq!(forge.job(second).and_then(|job| job.runner), None, "it was not asked for");
    disk.make_room();
    house.end(second).succeeded();
    house.close();
    drop(disk);
}

#[test]
fn a_job_that_fills_the_disk_itself_fails_alone() {
    let (mut house, disk) = house_on_a_small_disk();
    let greedy = json!({ "variables": [{ "key": "GIT_STRATEGY", "value": "fetch" }] });
    let ended = house.run(&["dd if=/dev/zero of=big bs=64k || { echo no-room; exit 5; }"], greedy.clone());
    assert_eq!(ended.view.state, "failed", "{}", ended.log.text);
    eprintln!("{:?}: {}", ended.view.failure_reason, ended.log.text);
    // Its work tree stays for the next job of the project, which empties it.
    let id = house.queue(&["ls"], greedy.clone());
    house.end(id).succeeded().kept_quiet_about("big\n");
    // Output that does not fit, artifacts that do not fit.
    let flood = house
        .run(&["yes 'a line of output that somebody forgot to switch off' | head -c 209715200 || true"], json!({}));
    flood.failed("runner_system_failure").said("disk");
    let over = json!({
        "steps": [step("script", &["dd if=/dev/urandom of=half bs=1M count=36"])],
        "variables": [{ "key": "GIT_STRATEGY", "value": "fetch" }],
        "artifacts": archive_of(&["half"]),
    });
    let packed = house.run(&[], over);
    packed.failed("runner_system_failure").said("no space left on the disk");
    let id = house.queue(&["ls"], greedy);
    house.end(id).succeeded();
    house.close();
    drop(disk);
}

#[test]
fn output_of_many_times_the_disk_ends_well_and_a_killed_agent_finds_its_end() {
    let (mut house, disk) = house_with_limit("1MiB");
    let flood = "yes 'a line of output that somebody forgot to switch off' | head -c";
    let id = house.queue(&[&format!("{flood} 2147483648 || true; exit 3")], json!({}));
    house.end(id).failed("script_failure").exit_code(3).said("exceeded limit of 1048576 bytes");
    // Killed when the log is cut; the step prints on when the next agent is there.
    let wait = "while [ ! -e /go ]; do sleep 0.1; done";
    let id = house
        .queue(&[&format!("{flood} 41943040 || true"), wait, &format!("{flood} 268435456 || true; exit 4")], json!({}));
    house.wait_for_output(id, "exceeded limit");
    house.agent.kill9();
    house.agent.run();
    go(&house);
    house.end(id).failed("script_failure").exit_code(4).said("exceeded limit of 1048576 bytes");
    house.close();
    drop(disk);
}

#[test]
fn an_agent_that_starts_on_a_full_disk_comes_back_to_its_job() {
    let (mut house, disk) = house_on_a_small_disk();
    let id = house.queue(&["echo here", "while [ ! -e /go ]; do sleep 0.1; done; echo gone on"], json!({}));
    house.wait_for_output(id, "here");
    disk.fill();
    house.agent.kill9();
    house.agent.run();
    let log = house.agent.stderr_file();
    let waits =
        || fs::read_to_string(&log).is_ok_and(|log| log.contains("a job waits for room on the disk")).then_some(());
    house.agent.wait_until(Duration::from_secs(60), "the next agent has met the full disk", waits);
    disk.make_room();
    go(&house);
    house.end(id).succeeded().said("gone on");
    house.close();
    drop(disk);
}

/// Tells the one job that runs to go on.
fn go(house: &House) {
    let of_forge = format!("label=forgehand.forge={}", house.forge.url().trim_end_matches('/'));
    let containers = docker::docker(&["ps", "--quiet", "--filter", &of_forge, "--filter", "label=forgehand.job"]);
    assert_eq!(containers.len(), 1, "{containers:?}");
    docker::docker(&["exec", &containers[0], "sh", "-c", "echo >/go"]);
}

#[test]
fn a_cache_for_which_the_disk_has_no_room_leaves_the_work_tree_as_it_was() {
    // A part of a disk is never used for caches, so it cannot be as small.
    let (mut house, disk) = house_with("1MiB", 1200 << 20);
    let with_cache = |policy: &str, attempts: &str| {
        json!({
            "cache": [{ "key": "big", "paths": ["kept/"], "policy": policy, "when": "on_success", "untracked": false }],
            "variables": [{ "key": "GIT_STRATEGY", "value": "fetch" },
                          { "key": "RESTORE_CACHE_ATTEMPTS", "value": attempts }],
            "hooks": [{ "name": "post_get_sources_script", "script": ["mkdir kept; echo own >kept/2"] }],
        })
    };
    // The same again and again, each another: small in the store, and no holes when it is restored.
    let fill = "for i in 1 2 3 4 5; do head -c 8000000 /dev/zero | tr '\\0' $i >kept/$i; done; echo made";
    house.run(&[fill], with_cache("push", "1")).succeeded().said("Created cache");
    let look = "head -c 3 kept/2; ls kept | sed 's/^/found-/'";
    house.run(&[look], with_cache("pull", "1")).succeeded().said("found-5").kept_quiet_about("own\n");
    // The next job removes what this one restored.
    house.run(&["ls -A"], json!({ "variables": [{ "key": "GIT_STRATEGY", "value": "fetch" }] })).succeeded();
    disk.leave(24 << 20);
    let failed = house.run(&[look], with_cache("pull", "2"));
    failed.succeeded().said("no space left on the disk").said("trying again").said("ownfound-2");
    for other in ["found-1", "found-3", "found-4", "found-5"] {
        failed.kept_quiet_about(other);
    }
    house.close();
    drop(disk);
}
