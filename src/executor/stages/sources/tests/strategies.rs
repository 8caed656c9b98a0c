//! What a job finds in its work tree, by strategy (the `git-*` cases of the corpus).

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::super::testing::house::{House, desk_git, git};
use super::super::{AllowedRemotes, untracked_files};
use crate::pipeline::definition::SourceStrategy;

#[tokio::test]
async fn the_log_reads_as_gitlabs_users_know_it() {
    let house = House::new().await;
    let sha = house.usual_repository().head();
    let log = house.get_well(&house.spec("app", &sha)).await;
    let short = &sha[..8];
    assert_eq!(
        log,
        format!(
            "Fetching changes with git depth set to 20...\n\
             Initialized empty Git repository in /builds/team/app/.git/\n\
             Created fresh repository.\n\
             Checking out {short} as detached HEAD (ref is main)...\n\
             Skipping Git submodules setup\n"
        )
    );
    let log = house.get_well(&house.spec("app", &sha)).await;
    assert_eq!(
        log,
        format!(
            "Fetching changes with git depth set to 20...\n\
             Reinitialized existing Git repository in /builds/team/app/.git/\n\
             Checking out {short} as detached HEAD (ref is main)...\n\
             Skipping Git submodules setup\n"
        )
    );
}

#[tokio::test]
async fn fetch_finds_the_commit_detached() {
    let house = House::new().await;
    let sha = house.usual_repository().head();
    house.get_well(&house.spec("app", &sha)).await;
    assert_eq!(house.read("src/hello.txt"), "hello from the repository\n");
    assert_eq!(house.read(".git/HEAD").trim(), sha);
    assert_eq!(house.git(&["status", "--porcelain"]), "");
    assert_eq!(house.git(&["rev-list", "--count", "HEAD"]), "20");
    assert_eq!(house.git(&["remote", "get-url", "origin"]), format!("{}/app.git", house.forge.url()));
    assert_eq!(house.git(&["for-each-ref", "--format=%(refname)"]), "refs/remotes/origin/main");
}

#[tokio::test]
async fn depth_is_the_remotes_depth_however_jobs_follow_each_other() {
    let house = House::new().await;
    let sha = house.usual_repository().head();
    for (depth, commits) in [(1, "1"), (5, "5"), (0, "26"), (3, "3"), (20, "20"), (0, "26"), (1, "1")] {
        for strategy in [SourceStrategy::Clone, SourceStrategy::Fetch] {
            let mut spec = house.spec("app", &sha);
            spec.depth = depth;
            spec.strategy = strategy;
            house.get_well(&spec).await;
            assert_eq!(house.git(&["rev-list", "--count", "HEAD"]), commits, "depth {depth}, {strategy:?}");
            assert_eq!(house.project().join(".git/shallow").exists(), depth != 0, "depth {depth}, {strategy:?}");
        }
    }
}

#[tokio::test]
async fn a_tag_is_checked_out_by_its_refspec() {
    let house = House::new().await;
    let repository = house.usual_repository();
    let tag = repository.run(&["rev-parse", "v1.0"]);
    let mut spec = house.spec("app", &tag);
    spec.ref_name = "v1.0".to_owned();
    spec.refspecs = vec!["+refs/tags/v1.0:refs/tags/v1.0".to_owned()];
    let log = house.get_well(&spec).await;
    assert!(log.contains("(ref is v1.0)"), "{log}");
    assert_eq!(house.read("src/hello.txt"), "hello from the tag\n");
    assert_eq!(house.git(&["describe", "--tags"]), "v1.0");
}

#[tokio::test]
async fn the_next_job_finds_a_clean_tree() {
    let house = House::new().await;
    let sha = house.usual_repository().head();
    house.get_well(&house.spec("app", &sha)).await;
    house.plant("junk.txt", "junk");
    house.plant("src/hello.txt", "changed");
    house.plant("ignored/x", "1");
    std::fs::remove_file(house.project().join("second.txt")).expect("removed");
    house.get_well(&house.spec("app", &sha)).await;
    assert_eq!(house.git(&["status", "--porcelain", "--ignored"]), "");
    assert_eq!(house.read("src/hello.txt"), "hello from the repository\n");
    assert_eq!(house.read("second.txt"), "two\n");
}

#[tokio::test]
async fn clean_flags_decide_what_stays() {
    let house = House::new().await;
    let sha = house.usual_repository().head();
    house.get_well(&house.spec("app", &sha)).await;
    house.plant("ignored/x", "1");
    house.plant("node_modules/y", "1");
    house.plant("junk", "1");
    let mut spec = house.spec("app", &sha);
    spec.clean_flags = Some(["-ffdx", "-e", "node_modules/"].map(str::to_owned).to_vec());
    let log = house.get_well(&spec).await;
    assert!(log.contains("Removing ignored/\nRemoving junk\n"), "{log}");
    assert_eq!((house.read("node_modules/y").as_str(), house.read("junk").as_str()), ("1", ""));
    house.plant("junk", "1");
    spec.clean_flags = None;
    house.get_well(&spec).await;
    assert_eq!(house.read("junk"), "1");
}

#[tokio::test]
async fn clone_starts_with_nothing_and_none_with_what_there_is() {
    let house = House::new().await;
    let sha = house.usual_repository().head();
    let mut spec = house.spec("app", &sha);
    spec.strategy = SourceStrategy::None;
    assert_eq!(house.get_well(&spec).await, "Skipping Git repository setup\n");
    assert_eq!(std::fs::read_dir(house.project()).expect("there").count(), 0);
    house.plant("left", "by a job");
    house.get_well(&spec).await;
    assert_eq!(house.read("left"), "by a job");
    spec.begins_empty = true;
    assert_eq!(house.get_well(&spec).await, "Skipping Git repository setup\n");
    assert_eq!(std::fs::read_dir(house.project()).expect("there").count(), 0);

    house.plant("left", "by a job");
    spec.strategy = SourceStrategy::Clone;
    spec.clean_flags = None;
    let log = house.get_well(&spec).await;
    assert!(log.contains("Created fresh repository."), "{log}");
    assert_eq!(house.read("left"), "");

    spec.strategy = SourceStrategy::Empty;
    house.get_well(&spec).await;
    assert_eq!(std::fs::read_dir(house.project()).expect("there").count(), 0);
}

#[tokio::test]
async fn checkout_can_be_left_to_the_job() {
    let house = House::new().await;
    let sha = house.usual_repository().head();
    let mut spec = house.spec("app", &sha);
    spec.checkout = false;
    let log = house.get_well(&spec).await;
    assert!(log.contains("Skipping Git checkout\n"), "{log}");
    assert_eq!(house.read("src/hello.txt"), "");
    assert_eq!(house.git(&["rev-parse", "refs/remotes/origin/main"]), sha);
}

#[tokio::test]
async fn hooks_run_around_it_and_fail_it() {
    let house = House::new().await;
    let sha = house.usual_repository().head();
    let mut spec = house.spec("app", &sha);
    spec.pre_script = vec!["test ! -e team && echo before >> order".to_owned()];
    spec.post_script = vec!["cat team/app/second.txt >> order".to_owned()];
    house.get_well(&spec).await;
    let order = house.dir.path().join("state/builds/ws/order");
    assert_eq!(std::fs::read_to_string(order).expect("written"), "before\ntwo\n");

    spec.pre_script = vec!["exit 7".to_owned()];
    let error = house.get(&spec).await.0.expect_err("the hook fails");
    assert_eq!(error.exit_code(), Some(7));
    assert!(error.to_string().starts_with("pre_get_sources_script: "), "{error}");
}

#[tokio::test]
async fn a_repository_of_the_other_object_format_works_the_same() {
    let house = House::new().await;
    let work = house.dir.path().join("work/new");
    std::fs::create_dir_all(&work).expect("made");
    git(&work, &["init", "-q", "-b", "main", "--object-format=sha256"]);
    std::fs::write(work.join("file"), "x").expect("written");
    git(&work, &["add", "-A"]);
    git(&work, &["commit", "-q", "-m", "one"]);
    git(&work, &["clone", "-q", "--bare", ".", &house.dir.path().join("forge/new.git").to_string_lossy()]);
    let mut spec = house.spec("new", &git(&work, &["rev-parse", "HEAD"]));
    spec.object_format = "sha256".to_owned();
    for _ in 0..2 {
        house.get_well(&spec).await;
        assert_eq!(house.read("file"), "x");
    }
}

#[tokio::test]
async fn any_user_of_the_job_may_write_everything() {
    let house = House::new().await;
    let sha = house.usual_repository().head();
    house.get_well(&house.spec("app", &sha)).await;
    all_may_write(&house.project());
    // The next job is another user than the one that made these.
    let set = |name: &str, mode| {
        let path = house.project().join(name);
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("set");
    };
    set("src", 0o700);
    set("src/hello.txt", 0o600);
    set(".git", 0o700);
    set("build.sh", 0o700);
    let log = house.get_well(&house.spec("app", &sha)).await;
    assert!(log.contains("Reinitialized existing"), "{log}");
    all_may_write(&house.project());
    assert_eq!(house.git(&["status", "--porcelain"]), "");
}

fn all_may_write(folder: &Path) {
    for entry in std::fs::read_dir(folder).expect("listed") {
        let path = entry.expect("read").path();
        let mode = std::fs::symlink_metadata(&path).expect("there").permissions().mode() & 0o7777;
        if path.is_dir() {
            assert_eq!(mode & 0o777, 0o777, "{}", path.display());
            all_may_write(&path);
        } else if !path.to_string_lossy().contains("/objects/") {
            assert_eq!(mode & 0o666, 0o666, "{}", path.display());
        }
    }
    let mode = std::fs::metadata(folder).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode, 0o777, "{}", folder.display());
}

#[tokio::test]
async fn files_that_did_not_change_are_not_written_again() {
    use std::os::unix::fs::MetadataExt as _;
    let house = House::new().await;
    let repository = house.usual_repository();
    house.get_well(&house.spec("app", &repository.head())).await;
    let inode = || std::fs::metadata(house.project().join("src/hello.txt")).expect("there").ino();
    let before = inode();
    repository.write("third.txt", "three\n");
    let sha = repository.commit("third");
    repository.publish();
    house.get_well(&house.spec("app", &sha)).await;
    assert_eq!((inode(), house.read("third.txt").as_str()), (before, "three\n"));
}

#[tokio::test]
async fn a_second_attempt_starts_with_nothing() {
    let mut house = House::new().await;
    let sha = house.usual_repository().head();
    house.get_well(&house.spec("app", &sha)).await;
    house.plant("junk", "x");
    house.attempt = 2;
    let mut spec = house.spec("app", &sha);
    spec.clean_flags = None;
    let log = house.get_well(&spec).await;
    assert!(log.contains("Created fresh repository."), "{log}");
    assert_eq!(house.read("junk"), "");
}

#[tokio::test]
async fn a_partial_clone_works_for_the_next_job_too() {
    let house = House::new().await;
    let repository = house.usual_repository();
    git(&repository.bare, &["config", "uploadpack.allowFilter", "true"]);
    git(&repository.bare, &["config", "uploadpack.allowAnySHA1InWant", "true"]);
    let mut spec = house.spec("app", &repository.head());
    spec.fetch_flags = vec!["--filter=blob:none".to_owned(), "--quiet".to_owned()];
    for expected in ["Initialized empty", "Reinitialized existing"] {
        let log = house.get_well(&spec).await;
        assert!(log.contains(expected), "{log}");
        assert_eq!(house.read("second.txt"), "two\n");
    }
}

#[tokio::test]
async fn untracked_files_are_listed_without_the_jobs_repository() {
    let house = House::new().await;
    let sha = house.usual_repository().head();
    house.get_well(&house.spec("app", &sha)).await;
    house.plant("ignored/x", "1");
    house.plant("seen", "2");
    house.plant("added", "3");
    house.git(&["add", "added"]);
    house.plant(".git/config", "[core]\n\tfsmonitor = \"touch pwned\"\n");
    let project = house.project();
    let listed = house.with_context(async |cx| untracked_files(cx, "sha1", &project, &house.cancel).await).await;
    let listed = listed.expect("listed");
    assert_eq!(listed, ["ignored/x", "seen"].map(std::path::PathBuf::from));
    assert!(!project.join("pwned").exists());
}

#[tokio::test]
async fn a_checkout_of_this_machine_is_a_remote_where_it_is_allowed() {
    let house = House::new().await;
    let repository = house.usual_repository();
    let mut spec = house.spec("app", &repository.head());
    spec.url = repository.work.to_string_lossy().into_owned();
    let (project, log) = (house.project(), super::super::testing::log::TestLog::default());
    let result = house
        .with_context(async |cx| {
            let cx = super::super::SourcesContext { remotes: AllowedRemotes::HttpAndLocal, ..*cx };
            super::super::get_sources(&cx, &spec, &project, &log, &house.cancel).await
        })
        .await;
    result.unwrap_or_else(|error| panic!("{error}\n{}", log.text()));
    assert_eq!(house.read("second.txt"), "two\n");
    assert!(desk_git(&project, &["fsck"]).status().expect("git").success());
}

#[tokio::test]
async fn large_files_are_fetched_where_git_lfs_is_installed() {
    let mut house = House::new().await;
    let repository = house.usual_repository();
    repository.write(".gitattributes", "*.bin filter=lfs diff=lfs merge=lfs -text\n");
    repository.write("big.bin", "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n");
    let sha = repository.commit("large");
    repository.publish();
    if !house.program.has_lfs {
        let log = house.get_well(&house.spec("app", &sha)).await;
        assert!(log.contains("WARNING: this repository keeps files in Git LFS, but git-lfs is not installed"), "{log}");
    }
    house.install_fake_lfs();
    let mut spec = house.spec("app", &sha);
    let log = house.get_well(&spec).await;
    assert!(!log.contains("WARNING"), "{log}");
    assert_eq!(house.read(".git/lfs-calls"), "lfs pull true\n");
    assert!(house.read("big.bin").starts_with("version"), "no filter ran at checkout");
    spec.lfs = false;
    house.get_well(&spec).await;
    assert_eq!(house.read(".git/lfs-calls"), "");
}

#[tokio::test]
async fn a_state_directory_behind_a_link_works_and_is_not_shown() {
    let house = House::new().await;
    let sha = house.usual_repository().head();
    let (state, real) = (house.dir.path().join("state"), house.dir.path().join("real"));
    std::fs::rename(&state, &real).expect("moved");
    std::os::unix::fs::symlink(&real, &state).expect("linked");
    let mut spec = house.spec("app", &sha);
    spec.fetch_flags = vec!["--verbose".to_owned()];
    for _ in 0..2 {
        let log = house.get_well(&spec).await;
        assert!(!log.contains(&*house.dir.path().to_string_lossy()), "{log}");
        assert!(log.contains(&format!("From {}/app\n", house.forge.url())), "{log}");
    }
}

#[tokio::test]
async fn git_lfs_itself_gets_through() {
    use sha2::Digest as _;
    let house = House::new().await;
    if !house.program.has_lfs {
        eprintln!("skipped: git-lfs is not installed; see scripts/setup");
        return;
    }
    let repository = house.usual_repository();
    let content = "a large file\n";
    let oid = hex::encode(sha2::Sha256::digest(content));
    std::fs::create_dir(house.dir.path().join("forge/lfs")).expect("made");
    std::fs::write(house.dir.path().join("forge/lfs").join(&oid), content).expect("written");
    repository.write(".gitattributes", "*.bin filter=lfs diff=lfs merge=lfs -text\n");
    let pointer = format!("version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {}\n", content.len());
    repository.write("big.bin", &pointer);
    let sha = repository.commit("large");
    repository.publish();
    let asked = || house.forge.seen().iter().filter(|seen| seen.path.starts_with("/lfs/")).count();
    let mut before = None;
    for _ in 0..2 {
        let log = house.get_well(&house.private_spec("app", &sha)).await;
        assert_eq!(house.read("big.bin"), content, "{log}");
        assert!(!log.contains(&*house.dir.path().to_string_lossy()), "{log}");
        assert!(asked() > 0 && *before.get_or_insert(asked()) == asked(), "the second job has the object");
    }
}
