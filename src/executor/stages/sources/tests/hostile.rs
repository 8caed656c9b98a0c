//! Work trees that a job has prepared for the next job's git, which runs on the agent's machine.
//!
//! `PWNED` is a file in the one place that a program started by git could write to even when confined, and that git does
//! not clean: if any trick runs, it is there.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;

use super::super::testing::house::{House, Repository, desk_git};
use crate::pipeline::definition::SourceSpec;

struct Trap {
    house: House,
    repository: Repository,
}

impl Trap {
    /// A job has run; its work tree is there.
    async fn new() -> Self {
        let house = House::new().await;
        let repository = house.usual_repository();
        house.get_well(&house.spec("app", &repository.head())).await;
        Self { house, repository }
    }

    fn marker(&self) -> PathBuf {
        self.house.project().join(".git/PWNED")
    }

    /// A command that springs the trap.
    fn command(&self) -> String {
        format!("touch {}", self.marker().display())
    }

    /// A program that does.
    fn program(&self, name: &str) -> PathBuf {
        self.house.plant(name, &format!("#!/bin/sh\n{}\nexec cat\n", self.command()));
        let path = self.house.project().join(name);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("set");
        path
    }

    /// The next job, with a new commit that touches files, finds what it should, and nothing of the trap has run.
    async fn next_job(&self) -> String {
        self.repository.write("third.txt", "three\n");
        self.repository.write("src/hello.txt", "hello again\n");
        let sha = self.repository.commit("third");
        self.repository.publish();
        self.next_job_of(&self.house.spec("app", &sha)).await
    }

    async fn next_job_of(&self, spec: &SourceSpec) -> String {
        let log = self.house.get_well(spec).await;
        assert!(!self.marker().exists(), "a planted program ran\n{log}");
        assert_eq!(self.house.read("third.txt"), "three\n");
        assert_eq!(self.house.read("src/hello.txt"), "hello again\n");
        assert_eq!(self.house.git(&["status", "--porcelain"]), "");
        assert!(desk_git(&self.house.project(), &["fsck"]).status().expect("git").success());
        log
    }
}

fn is_reused(log: &str) -> bool {
    log.contains("Reinitialized existing")
}

#[tokio::test]
async fn configuration_that_runs_programs_is_gone() {
    let trap = Trap::new().await;
    let command = trap.command();
    let settings = [
        ("core", "fsmonitor"),
        ("core", "sshCommand"),
        ("core", "pager"),
        ("core", "editor"),
        ("core", "askPass"),
        ("core", "gitProxy"),
        ("core", "alternateRefsCommand"),
        ("credential", "helper"),
        ("diff", "external"),
        ("gpg", "program"),
        ("uploadpack", "packObjectsHook"),
        ("remote \"origin\"", "uploadpack"),
        ("filter \"evil\"", "smudge"),
        ("filter \"evil\"", "process"),
        ("merge \"evil\"", "driver"),
        ("submodule \"lib\"", "update"),
    ];
    let evil: String =
        settings.iter().map(|(section, key)| format!("[{section}]\n\t{key} = \"{command}; false\"\n")).collect();
    let worktree = "[core]\n\trepositoryformatversion = 1\n[extensions]\n\tworktreeConfig = true\n";
    for config in [evil.clone(), worktree.to_owned(), format!("{worktree}{evil}")] {
        trap.house.plant(".git/config", &config);
        trap.house.plant(".git/config.worktree", &evil);
        trap.house.plant(".gitattributes", "* filter=evil diff=evil merge=evil\n");
        let log = trap.next_job().await;
        assert!(is_reused(&log), "{log}");
    }
}

/// The planted settings do run where nothing is done about them: otherwise the tests here would prove nothing.
#[tokio::test]
async fn the_trap_works() {
    let trap = Trap::new().await;
    trap.house.plant(".git/config", &format!("[core]\n\tfsmonitor = \"{}; false\"\n", trap.command()));
    trap.house.git(&["status"]);
    assert!(trap.marker().exists());
}

#[tokio::test]
async fn a_smudge_filter_of_the_repository_itself_does_not_run() {
    let trap = Trap::new().await;
    let command = trap.command();
    trap.repository.write(".gitattributes", "*.txt filter=evil\n*.c text working-tree-encoding=UTF-16\n");
    trap.repository.commit("attributes");
    trap.house.plant(".git/info/attributes", "* filter=evil\n");
    trap.house.plant(".git/config", &format!("[filter \"evil\"]\n\tsmudge = \"{command}; cat\"\n\trequired = true\n"));
    assert!(is_reused(&trap.next_job().await));
}

#[tokio::test]
async fn includes_and_hooks_are_gone() {
    let trap = Trap::new().await;
    let included = trap.house.project().join(".git/evil");
    trap.house.plant(".git/evil", &format!("[core]\n\tfsmonitor = \"{}\"\n", trap.command()));
    trap.house
        .plant(".git/config", &format!("[include]\n\tpath = {}\n[core]\n\thooksPath = hooks\n", included.display()));
    for hook in ["post-checkout", "reference-transaction", "post-index-change", "pre-auto-gc", "fsmonitor-watchman"] {
        trap.program(&format!(".git/hooks/{hook}"));
        trap.program(&format!("hooks/{hook}"));
    }
    assert!(is_reused(&trap.next_job().await));
    assert!(!trap.house.project().join(".git/hooks").exists());
    assert!(!included.exists());
}

#[tokio::test]
async fn a_repository_that_is_a_link_or_a_pointer_is_replaced_and_its_target_untouched() {
    for kind in ["link", "pointer", "file", "link to nothing"] {
        let trap = Trap::new().await;
        let (git, elsewhere) =
            (trap.house.project().join(".git"), trap.house.dir.path().join("state/builds/ws/elsewhere"));
        std::fs::rename(&git, &elsewhere).expect("moved");
        let config = format!("[core]\n\tfsmonitor = \"touch {}\"\n", elsewhere.join("PWNED").display());
        std::fs::write(elsewhere.join("config"), &config).expect("written");
        match kind {
            "link" => symlink(&elsewhere, &git).expect("linked"),
            "pointer" => std::fs::write(&git, format!("gitdir: {}\n", elsewhere.display())).expect("written"),
            "file" => std::fs::write(&git, "no repository\n").expect("written"),
            _ => symlink("nowhere", &git).expect("linked"),
        }
        let log = trap.next_job().await;
        assert!(!is_reused(&log), "{kind}: {log}");
        assert!(!elsewhere.join("PWNED").exists(), "{kind}");
        assert_eq!(std::fs::read_to_string(elsewhere.join("config")).expect("read"), config, "{kind}");
    }
}

#[tokio::test]
async fn folders_on_the_way_that_are_links_are_replaced() {
    let trap = Trap::new().await;
    let team = trap.house.dir.path().join("state/builds/ws/team");
    let outside = trap.house.dir.path().join("outside");
    std::fs::rename(&team, &outside).expect("moved");
    symlink(&outside, &team).expect("linked");
    std::fs::write(outside.join("app/kept"), "x").expect("written");
    trap.next_job().await;
    assert!(outside.join("app/kept").exists());
    assert!(!std::fs::symlink_metadata(&team).expect("there").is_symlink());
}

#[tokio::test]
async fn alternates_and_other_pointers_out_of_the_repository_are_gone() {
    let trap = Trap::new().await;
    let objects = trap.repository.bare.join("objects");
    trap.house.plant(".git/objects/info/alternates", &format!("{}\n", objects.display()));
    trap.house.plant(".git/objects/info/http-alternates", "http://127.0.0.1:1/objects\n");
    trap.house.plant(".git/commondir", "../../elsewhere\n");
    trap.house.plant(".git/gitdir", "../../elsewhere\n");
    trap.house.plant(".git/remotes/origin", "URL: ext::sh -c false\n");
    trap.house.plant(".git/info/grafts", "x\n");
    trap.house.plant(".git/info/sparse-checkout", "/nothing\n");
    assert!(is_reused(&trap.next_job().await));
    for gone in
        ["objects/info/alternates", "objects/info/http-alternates", "commondir", "gitdir", "remotes", "info/grafts"]
    {
        assert!(!trap.house.project().join(".git").join(gone).exists(), "{gone}");
    }
}

#[tokio::test]
async fn locks_of_a_killed_git_do_not_matter() {
    let trap = Trap::new().await;
    for lock in [
        "index.lock",
        "shallow.lock",
        "HEAD.lock",
        "config.lock",
        "packed-refs.lock",
        "refs/remotes/origin/main.lock",
        "refs/heads/x.lock",
    ] {
        trap.house.plant(&format!(".git/{lock}"), "");
    }
    assert!(is_reused(&trap.next_job().await));
}

#[tokio::test]
async fn objects_that_a_job_changed_are_not_used() {
    let trap = Trap::new().await;
    let packs = trap.house.project().join(".git/objects/pack");
    for entry in std::fs::read_dir(packs).expect("listed") {
        let path = entry.expect("read").path();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("set");
        let mut content = std::fs::read(&path).expect("read");
        let middle = content.len() / 2;
        content[middle] ^= 0xff;
        std::fs::write(&path, content).expect("written");
    }
    trap.next_job().await;
}

#[tokio::test]
async fn objects_of_a_job_are_not_those_of_the_next() {
    let trap = Trap::new().await;
    // A loose object under the name of a blob of the next commit, with other content.
    trap.repository.write("third.txt", "three\n");
    let blob = trap.repository.run(&["hash-object", "third.txt"]);
    trap.house.plant("fake", "evil\n");
    let fake = trap.house.git(&["hash-object", "-w", "fake"]);
    let object = |name: &str| format!(".git/objects/{}/{}", &name[..2], &name[2..]);
    let content = std::fs::read(trap.house.project().join(object(&fake))).expect("read");
    let target = trap.house.project().join(object(&blob));
    std::fs::create_dir_all(target.parent().expect("a parent")).expect("made");
    std::fs::write(target, content).expect("written");
    assert!(is_reused(&trap.next_job().await));
}

#[tokio::test]
async fn an_index_that_lies_is_replaced_by_ours() {
    let trap = Trap::new().await;
    for flag in ["--assume-unchanged", "--skip-worktree"] {
        trap.house.git(&["update-index", flag, "second.txt"]);
        trap.house.plant("second.txt", "changed by a job\n");
        // The changed file, presented as the commit's.
        trap.house.plant("build.sh", "evil\n");
        let entry = trap.house.git(&["ls-files", "-s", "build.sh"]);
        let blob = entry.split(' ').nth(1).expect("an object").to_owned();
        trap.house.git(&["update-index", "--cacheinfo", &format!("100755,{blob},build.sh")]);
        assert!(is_reused(&trap.next_job().await));
        assert_eq!(trap.house.read("second.txt"), "two\n", "{flag}");
        assert!(trap.house.read("build.sh").starts_with("#!/bin/sh"), "{flag}");
    }
    trap.house.plant(".git/index", "no index");
    assert!(is_reused(&trap.next_job().await));
}

#[tokio::test]
async fn refs_and_history_of_a_job_are_gone() {
    let trap = Trap::new().await;
    trap.house.git(&["checkout", "-q", "-b", "mine"]);
    trap.house.git(&["commit", "-q", "--allow-empty", "-m", "mine"]);
    trap.house.git(&["tag", "mine"]);
    trap.house.git(&["replace", "HEAD~1", "HEAD~2"]);
    trap.house.git(&["gc", "-q"]);
    trap.next_job().await;
    assert_eq!(trap.house.git(&["for-each-ref", "--format=%(refname)"]), "refs/remotes/origin/main");
    assert_eq!(trap.house.git(&["rev-list", "--count", "HEAD"]), "20");
}

#[tokio::test]
async fn links_in_the_work_tree_lead_nowhere() {
    let trap = Trap::new().await;
    let outside = trap.house.dir.path().join("outside");
    std::fs::create_dir_all(outside.join("src")).expect("made");
    std::fs::write(outside.join("hello.txt"), "kept").expect("written");
    std::fs::remove_dir_all(trap.house.project().join("src")).expect("removed");
    symlink(&outside, trap.house.project().join("src")).expect("linked");
    symlink("/etc", trap.house.project().join("etc")).expect("linked");
    symlink(&outside, trap.house.project().join(".git/refs/remotes/evil")).expect("linked");
    assert!(is_reused(&trap.next_job().await));
    assert_eq!(std::fs::read_to_string(outside.join("hello.txt")).expect("read"), "kept");
}

#[tokio::test]
async fn folders_that_nobody_may_write_do_not_disturb() {
    let trap = Trap::new().await;
    trap.house.plant("locked/in/file", "x");
    let set = |name: &str, mode| {
        let path = trap.house.project().join(name);
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("set");
    };
    set("locked/in/file", 0o400);
    set("locked/in", 0o000);
    set("locked", 0o500);
    set(".git/objects/pack", 0o500);
    trap.next_job().await;
    assert!(!trap.house.project().join("locked").exists());
}

#[tokio::test]
async fn files_of_another_owner_do_not_disturb() {
    let trap = Trap::new().await;
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can give files away");
        return;
    }
    let status = std::process::Command::new("chown").args(["-R", "12345:12345"]).arg(trap.house.project()).status();
    assert!(status.expect("chown").success());
    let log = trap.next_job().await;
    assert!(!log.contains("dubious"), "{log}");
}

#[tokio::test]
async fn what_only_root_may_remove_is_removed_by_root() {
    let trap = Trap::new().await;
    trap.house.plant("root/owned", "x");
    let file = trap.house.project().join("root/owned");
    // What the agent's user meets in a folder of root's; this test may be root itself.
    if !std::process::Command::new("chattr").arg("+i").arg(&file).status().is_ok_and(|status| status.success()) {
        eprintln!("skipped: this file system has no immutable files");
        return;
    }
    let log = trap.next_job().await;
    assert!(!file.exists(), "{log}");
}

#[tokio::test]
async fn nested_repositories_are_not_entered() {
    let trap = Trap::new().await;
    for place in ["src", "new/deep"] {
        let path = trap.house.project().join(place);
        std::fs::create_dir_all(&path).expect("made");
        assert!(desk_git(&path, &["init", "-q"]).status().expect("git").success());
        trap.house.plant(&format!("{place}/.git/config"), &format!("[core]\n\tfsmonitor = \"{}\"\n", trap.command()));
    }
    assert!(is_reused(&trap.next_job().await));
    assert!(!trap.house.project().join("src/.git").exists());
    assert!(!trap.house.project().join("new").exists());
}

#[tokio::test]
async fn another_owners_record_is_not_used() {
    let trap = Trap::new().await;
    let mut house = trap.house;
    house.owner = super::super::testing::house::owner("42", crate::pipeline::Trust::Protected);
    let log = house.get_well(&house.spec("app", &trap.repository.head())).await;
    assert!(!is_reused(&log), "{log}");
}

#[tokio::test]
async fn a_lost_record_means_a_new_repository() {
    let trap = Trap::new().await;
    std::fs::remove_dir_all(trap.house.mirrors.records_of(&trap.house.owner)).expect("removed");
    assert!(!is_reused(&trap.next_job().await));
}
