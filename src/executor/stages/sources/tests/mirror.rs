//! The mirror: what it saves, and that nothing else tells it from the remote.

use std::path::Path;

use super::super::testing::house::{House, desk_git, git, owner};
use super::super::{Mirrors, UpkeepLimits};
use crate::pipeline::Trust;
use crate::pipeline::definition::{SourceSpec, SourceStrategy};

/// Text that does not compress.
fn noise(seed: u64, length: usize) -> String {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut text = String::with_capacity(length);
    while text.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        text.push_str(&format!("{state:016x}"));
    }
    text
}

#[tokio::test]
async fn a_second_job_transfers_only_what_is_new() {
    for depth in [0, 20] {
        let house = House::new().await;
        let repository = house.usual_repository();
        repository.write("big", &noise(1, 4_000_000));
        let mut spec = house.spec("app", &repository.commit("big"));
        repository.publish();
        spec.strategy = SourceStrategy::Clone;
        spec.depth = depth;
        // Bytes and time: the figures are printed, the bytes are asserted.
        let measured = async |spec: &SourceSpec| {
            let start = std::time::Instant::now();
            house.get_well(spec).await;
            (house.forge.take_sent(), start.elapsed())
        };
        let (first, first_took) = measured(&spec).await;
        let (again, again_took) = measured(&spec).await;
        repository.write("small", &noise(2, 1000));
        spec.sha = repository.commit("small");
        repository.publish();
        let (second, second_took) = measured(&spec).await;
        spec.strategy = SourceStrategy::Fetch;
        let (reused, reused_took) = measured(&spec).await;
        eprintln!(
            "depth {depth}: first job {first} bytes in {first_took:?}, again {again} in {again_took:?}, one commit more \
             {second} in {second_took:?}, in the same work tree {reused} in {reused_took:?}"
        );
        assert!(reused < 2_000, "{reused}");
        assert!(first > 2_000_000, "{first}");
        assert!(again < 2_000 && second < 4_000, "{again}, {second}");
        assert_eq!(house.read("big").len(), 4_000_000);
    }
}

#[tokio::test]
async fn the_work_tree_does_not_need_the_mirror() {
    let house = House::new().await;
    let repository = house.usual_repository();
    house.get_well(&house.spec("app", &repository.head())).await;
    let inodes = |folder: &Path| {
        use std::os::unix::fs::MetadataExt as _;
        let entries = std::fs::read_dir(folder.join("objects/pack")).expect("listed");
        entries
            .map(|entry| entry.expect("read").metadata().expect("there"))
            .map(|m| (m.ino(), m.nlink()))
            .collect::<Vec<_>>()
    };
    let mirror = house.mirrors.folder_of(&house.owner).join("repo");
    let (ours, its) = (inodes(&house.project().join(".git")), inodes(&mirror));
    assert!(!its.is_empty() && ours.iter().all(|one| !its.contains(one) && one.1 == 1));
    std::fs::remove_dir_all(house.mirrors.root()).expect("removed");
    assert!(desk_git(&house.project(), &["fsck", "--full", "--strict"]).status().expect("git").success());
    assert_eq!(house.git(&["log", "--format=%s", "-1"]), "last");
    assert!(!house.read(".git/FETCH_HEAD").contains("mirrors"));
    assert!(house.read(".git/FETCH_HEAD").contains(&format!("{}/app", house.forge.url())));
}

/// A history with merges, branches and tags, told through the mirror and straight from the remote.
#[tokio::test]
async fn what_comes_through_the_mirror_is_what_comes_from_the_remote() {
    let house = House::new().await;
    let repository = house.usual_repository();
    for number in 0..8 {
        repository.run(&["checkout", "-q", "-b", &format!("side-{number}"), &format!("HEAD~{}", number % 3 + 1)]);
        for part in 0..number {
            repository.write(&format!("side-{number}-{part}"), "x");
            repository.commit(&format!("side {number} {part}"));
        }
        repository.run(&["tag", "-a", "-m", "t", &format!("t-{number}")]);
        repository.run(&["checkout", "-q", "main"]);
        repository.run(&["merge", "-q", "--no-ff", "-m", &format!("merge {number}"), &format!("side-{number}")]);
    }
    repository.publish();
    let sides = ["+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*"];
    let cases: &[(u32, &[&str], &[&str])] = &[
        (3, &["+refs/heads/main:refs/remotes/origin/main"], &["--prune", "--quiet"]),
        (5, &["+refs/heads/side-7:refs/remotes/origin/side-7"], &["--quiet"]),
        (4, &["+refs/heads/main:refs/remotes/origin/main"], &["--prune", "--quiet"]),
        (
            2,
            &["+refs/heads/main:refs/remotes/origin/main", "+refs/heads/side-3:refs/pipelines/9"],
            &["--quiet", "--no-tags"],
        ),
        (0, &sides, &["--prune", "--quiet"]),
        (6, &sides, &["--quiet"]),
        (1, &["+refs/heads/main:refs/remotes/origin/main"], &["--quiet", "--tags"]),
        (7, &["+refs/heads/side-5:refs/remotes/origin/side-5"], &[]),
    ];
    for (number, (depth, refspecs, flags)) in cases.iter().enumerate() {
        let mut spec = house.spec("app", &"0".repeat(40));
        (spec.depth, spec.checkout, spec.strategy) = (*depth, false, SourceStrategy::Clone);
        spec.refspecs = refspecs.iter().map(|word| word.to_string()).collect();
        spec.fetch_flags = flags.iter().map(|word| word.to_string()).collect();
        house.get_well(&spec).await;

        let straight = house.dir.path().join(format!("straight-{number}"));
        std::fs::create_dir(&straight).expect("made");
        git(&straight, &["init", "-q"]);
        git(&straight, &["remote", "add", "origin", &spec.url]);
        let depth = format!("--depth={depth}");
        let mut args = vec!["fetch", "--no-recurse-submodules", "origin"];
        args.extend(*refspecs);
        args.extend((spec.depth > 0).then_some(depth.as_str()));
        args.extend(*flags);
        let (there, words) = (straight.clone(), args.iter().map(|word| word.to_string()).collect::<Vec<_>>());
        let fetched = tokio::task::spawn_blocking(move || {
            desk_git(&there, &words.iter().map(String::as_str).collect::<Vec<_>>()).status().expect("git").success()
        });
        assert!(fetched.await.expect("ran"));
        for question in [
            &["for-each-ref", "--format=%(objectname) %(refname)"][..],
            &["rev-list", "--all", "--objects", "--no-object-names"][..],
        ] {
            assert_eq!(sorted(&house.git(question)), sorted(&git(&straight, question)), "case {number}, {question:?}");
        }
        let boundary = std::fs::read_to_string(straight.join(".git/shallow")).unwrap_or_default();
        assert_eq!(sorted(&house.read(".git/shallow")), sorted(&boundary), "case {number}");
        let head = std::fs::read_to_string(straight.join(".git/FETCH_HEAD")).unwrap_or_default();
        assert_eq!(sorted(&house.read(".git/FETCH_HEAD")), sorted(&head), "case {number}");
    }
}

fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines
}

#[tokio::test]
async fn refs_that_were_deleted_or_took_anothers_place_do_not_linger() {
    let house = House::new().await;
    let repository = house.usual_repository();
    repository.run(&["branch", "a"]);
    repository.run(&["tag", "moving"]);
    repository.run(&["tag", "going"]);
    repository.publish();
    let mut spec = house.spec("app", &repository.head());
    spec.refspecs = vec!["+refs/heads/*:refs/remotes/origin/*".to_owned()];
    spec.strategy = SourceStrategy::Clone;
    house.get_well(&spec).await;
    assert_eq!(sorted(&house.git(&["tag"])), ["going", "moving"]);

    repository.run(&["branch", "-D", "a"]);
    repository.run(&["branch", "a/b"]);
    repository.run(&["tag", "-d", "going"]);
    repository.run(&["tag", "-f", "moving", "HEAD~2"]);
    repository.publish();
    house.get_well(&spec).await;
    let refs = house.git(&["for-each-ref", "--format=%(refname)", "refs/remotes"]);
    assert_eq!(sorted(&refs), ["refs/remotes/origin/a/b", "refs/remotes/origin/main"]);
    assert_eq!(house.git(&["tag"]), "moving");
    assert_eq!(house.git(&["rev-parse", "moving"]), repository.run(&["rev-parse", "HEAD~2"]));
}

#[tokio::test]
async fn a_damaged_mirror_is_made_anew() {
    for damage in ["packs cut", "packs gone", "refs", "config", "head", "everything"] {
        let house = House::new().await;
        let repository = house.usual_repository();
        let mut spec = house.spec("app", &repository.head());
        spec.strategy = SourceStrategy::Clone;
        house.get_well(&spec).await;
        let mirror = house.mirrors.folder_of(&house.owner).join("repo");
        let packs = || std::fs::read_dir(mirror.join("objects/pack")).expect("listed").map(|e| e.expect("read").path());
        match damage {
            "packs cut" => {
                for pack in packs() {
                    let writable = std::os::unix::fs::PermissionsExt::from_mode(0o600);
                    std::fs::set_permissions(&pack, writable).expect("set");
                    std::fs::File::options().write(true).open(&pack).expect("opened").set_len(40).expect("cut");
                }
            }
            "packs gone" => packs().for_each(|pack| std::fs::remove_file(pack).expect("removed")),
            "refs" => std::fs::write(mirror.join("packed-refs"), "rubbish\n").expect("written"),
            "config" => std::fs::write(mirror.join("config"), "[rubbish").expect("written"),
            "head" => std::fs::write(mirror.join("HEAD"), "").expect("written"),
            _ => std::fs::remove_dir_all(&mirror).expect("removed"),
        }
        for strategy in [SourceStrategy::Clone, SourceStrategy::Fetch] {
            spec.strategy = strategy;
            let log = house.get_well(&spec).await;
            assert!(!log.contains("WARNING"), "{damage}: {log}");
            assert_eq!(house.read("second.txt"), "two\n", "{damage}");
        }
        house.forge.take_sent();
        house.get_well(&spec).await;
        assert!(house.forge.take_sent() < 2000, "{damage}: the new one serves");
    }
}

#[tokio::test]
async fn a_mirror_that_cannot_be_used_costs_a_warning_only() {
    let mut house = House::new().await;
    let sha = house.usual_repository().head();
    std::fs::write(house.dir.path().join("no-folder"), "").expect("written");
    house.mirrors = Mirrors::new(house.dir.path().join("no-folder/mirrors"));
    let (result, log) = house.get(&house.spec("app", &sha)).await;
    // Without the folder there is no record either, so the stage fails only if it cannot do its work without.
    result.unwrap_or_else(|error| panic!("{error}\n{log}"));
    assert!(log.contains("WARNING: the runner's copy of this repository cannot be used"), "{log}");
    assert_eq!(house.read("second.txt"), "two\n");
}

#[tokio::test]
async fn a_lock_that_is_held_elsewhere_is_not_waited_for_for_ever() {
    let mut house = House::new().await;
    let sha = house.usual_repository().head();
    house.limit = std::time::Duration::from_secs(6);
    let folder = house.mirrors.folder_of(&house.owner);
    std::fs::create_dir_all(&folder).expect("made");
    let lock = std::fs::File::create(folder.join("lock")).expect("made");
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).expect("locked");
    let log = house.get_well(&house.spec("app", &sha)).await;
    assert!(log.contains("WARNING: the runner's copy"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_jobs_of_a_project_at_once() {
    let house = House::new().await;
    let repository = house.usual_repository();
    repository.write("big", &noise(3, 2_000_000));
    let sha = repository.commit("big");
    repository.publish();
    let job = |number: usize| {
        let (house, mut spec) = (&house, house.spec("app", &sha));
        // Each with a depth of its own, so that each would move the others' boundary.
        spec.depth = [20, 3, 0, 7, 1][number];
        async move {
            let (place, private) = (format!("team/app-{number}"), format!("state/private-{number}"));
            let (result, log) = house.get_into(&spec, &place, &private).await;
            result.unwrap_or_else(|error| panic!("{error}\n{log}"));
            assert!(!log.contains("WARNING"), "{log}");
            let project = house.dir.path().join("state/builds/ws").join(place);
            let count = git(&project, &["rev-list", "--count", "HEAD"]);
            assert_eq!(count, ["20", "3", "27", "7", "1"][number]);
            assert!(desk_git(&project, &["fsck"]).status().expect("git").success());
        }
    };
    tokio::join!(job(0), job(1), job(2), job(3), job(4));
    let sent = house.forge.take_sent();
    assert!(sent < 2 * 1_200_000, "the big file came once: {sent}");
}

#[tokio::test]
async fn trust_flows_down_and_projects_are_strangers() {
    let mut house = House::new().await;
    let repository = house.usual_repository();
    repository.write("big", &noise(4, 2_000_000));
    let mut spec = house.spec("app", &repository.commit("big"));
    repository.publish();
    spec.strategy = SourceStrategy::Clone;
    house.owner = owner("42", Trust::Protected);
    house.get_well(&spec).await;
    assert!(house.forge.take_sent() > 1_000_000);

    house.owner = owner("42", Trust::Fork);
    house.get_well(&spec).await;
    assert!(house.forge.take_sent() < 2000, "a fork's job reads the base's mirror");
    let (base, fork) = (house.mirrors.folder_of(&owner("42", Trust::Protected)), house.mirrors.folder_of(&house.owner));
    assert_ne!(base, fork);
    assert!(fork.join("repo/HEAD").exists());

    house.owner = owner("43", Trust::Member);
    house.get_well(&spec).await;
    assert!(house.forge.take_sent() > 1_000_000, "another project's job does not");
    std::fs::remove_dir_all(&base).expect("removed");
    house.owner = owner("42", Trust::Protected);
    house.get_well(&spec).await;
    assert!(house.forge.take_sent() > 1_000_000, "and the base does not read a fork's");
}

#[tokio::test]
async fn many_packs_are_merged_before_they_slow_git_down() {
    let house = House::new().await;
    let repository = house.usual_repository();
    let mirror = house.mirrors.folder_of(&house.owner).join("repo");
    let mut spec = house.spec("app", &repository.head());
    house.get_well(&spec).await;
    // As many fetches would have done it.
    for number in 0..55 {
        let blob = house.dir.path().join("blob");
        std::fs::write(&blob, noise(number, 100)).expect("written");
        let object = git(&mirror, &["hash-object", "-w", &blob.to_string_lossy()]);
        let script = format!("echo {object} | git pack-objects -q {}/objects/pack/pack", mirror.display());
        let status = std::process::Command::new("sh")
            .args(["-c", &script])
            .current_dir(&mirror)
            .stdout(std::process::Stdio::null())
            .status();
        assert!(status.expect("sh").success());
    }
    repository.write("new", "x");
    spec.sha = repository.commit("new");
    repository.publish();
    house.get_well(&spec).await;
    assert!(super::super::mirror::pack_count(&mirror) < 10);
    assert_eq!(house.read("new"), "x");
}

#[tokio::test]
async fn upkeep_removes_what_is_old_or_too_much_and_packs_the_rest() {
    let mut house = House::new().await;
    let repository = house.usual_repository();
    let spec = house.spec("app", &repository.head());
    for project in ["1", "2"] {
        house.owner = owner(project, Trust::Member);
        house.get_well(&spec).await;
    }
    let private = house.dir.path().join("state/private");
    let upkeep = async |limits: UpkeepLimits| {
        house.mirrors.upkeep(&house.program, &private, &limits, &house.cancel).await.expect("done")
    };
    let report = upkeep(UpkeepLimits::default()).await;
    assert_eq!((report.removed, report.packed), (0, 0));
    let cut_short = house.mirrors.folder_of(&house.owner).join("repo/objects/pack/tmp_pack_Xy12ab");
    std::fs::write(&cut_short, "half a pack").expect("written");
    let report = upkeep(UpkeepLimits { packs: 0, ..UpkeepLimits::default() }).await;
    assert_eq!((report.removed, report.packed), (0, 2));
    assert!(!cut_short.exists());
    house.get_well(&spec).await;
    let report = upkeep(UpkeepLimits { total_bytes: report.bytes - 1, ..UpkeepLimits::default() }).await;
    assert_eq!(report.removed, 1);
    assert!(house.mirrors.folder_of(&house.owner).join("repo").exists(), "the one used last stays");
    let report = upkeep(UpkeepLimits { unused_for: std::time::Duration::ZERO, ..UpkeepLimits::default() }).await;
    assert!(report.removed >= 1);
    house.get_well(&spec).await;
}
