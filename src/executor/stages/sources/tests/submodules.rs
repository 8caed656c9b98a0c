//! Submodules: filled as GitLab's users know it, and as hostile as the rest.

use super::super::testing::house::{House, Repository, TOKEN, desk_git};
use crate::pipeline::definition::{SourceSpec, SourceStrategy, SubmoduleStrategy, UrlRewrite};

/// A repository with a submodule that has a submodule.
struct Nest {
    house: House,
    app: Repository,
    lib: Repository,
}

impl Nest {
    async fn new() -> Self {
        let house = House::new().await;
        let inner = house.repository("inner");
        inner.write("inner.txt", "inner\n");
        inner.commit("inner");
        inner.publish();
        let lib = house.repository("lib");
        lib.write("lib.txt", "lib\n");
        lib.commit("lib");
        Self::add(&lib, &inner, "../inner.git", "deep/inner");
        lib.publish();
        let app = house.usual_repository();
        Self::add(&app, &lib, "../lib.git", "lib");
        app.publish();
        Self { house, app, lib }
    }

    fn add(to: &Repository, module: &Repository, url: &str, path: &str) {
        to.run(&["submodule", "add", "-q", &module.bare.to_string_lossy(), path]);
        to.run(&["config", "-f", ".gitmodules", &format!("submodule.{path}.url"), url]);
        to.run(&["add", "-A"]);
        to.commit(&format!("with {path}"));
    }

    fn spec(&self, strategy: SubmoduleStrategy) -> SourceSpec {
        let mut spec = self.house.private_spec("app", &self.app.head());
        spec.submodules.depth_of_tree = strategy;
        spec
    }
}

#[tokio::test]
async fn none_normal_and_recursive() {
    let nest = Nest::new().await;
    let log = nest.house.get_well(&nest.spec(SubmoduleStrategy::None)).await;
    assert!(log.contains("Skipping Git submodules setup\n"), "{log}");
    assert_eq!(nest.house.read("lib/lib.txt"), "");

    let log = nest.house.get_well(&nest.spec(SubmoduleStrategy::Normal)).await;
    assert!(log.contains("Updating/initializing submodules with git depth set to 20...\n"), "{log}");
    assert_eq!(
        (nest.house.read("lib/lib.txt").as_str(), nest.house.read("lib/deep/inner/inner.txt").as_str()),
        ("lib\n", "")
    );

    let log = nest.house.get_well(&nest.spec(SubmoduleStrategy::Recursive)).await;
    assert!(log.contains("Updating/initializing submodules recursively with git depth set to 20...\n"), "{log}");
    assert_eq!(nest.house.read("lib/deep/inner/inner.txt"), "inner\n");
    assert_eq!(nest.house.git(&["status", "--porcelain"]), "");
    for text in [&log, &nest.house.read(".git/config"), &nest.house.read(".git/modules/lib/config")] {
        assert!(!text.contains(TOKEN) && !text.contains(&*nest.house.dir.path().to_string_lossy()), "{text}");
    }
}

#[tokio::test]
async fn the_next_job_transfers_only_what_is_new_and_finds_clean_submodules() {
    let nest = Nest::new().await;
    nest.house.get_well(&nest.spec(SubmoduleStrategy::Recursive)).await;
    nest.house.plant("lib/junk", "x");
    nest.house.plant("lib/lib.txt", "changed");
    nest.house.plant("lib/deep/inner/junk", "x");
    nest.house.forge.take_sent();
    let before = nest.house.forge.seen().len();
    let log = nest.house.get_well(&nest.spec(SubmoduleStrategy::Recursive)).await;
    assert!(log.contains("Reinitialized existing") && !log.contains("Cloning into"), "{log}");
    let asked: Vec<String> = nest.house.forge.seen().split_off(before).into_iter().map(|seen| seen.path).collect();
    assert!(asked.iter().all(|path| path.starts_with("/app.git")), "submodules are asked for nothing: {asked:?}");
    assert_eq!(nest.house.read("lib/lib.txt"), "lib\n");
    assert_eq!(nest.house.git(&["submodule", "foreach", "-q", "--recursive", "git status --porcelain --ignored"]), "");

    nest.lib.write("lib.txt", "lib 2\n");
    nest.lib.commit("two");
    nest.lib.publish();
    nest.app.run(&["-C", "lib", "fetch", "-q", &nest.lib.bare.to_string_lossy(), "main"]);
    nest.app.run(&["-C", "lib", "checkout", "-q", "FETCH_HEAD"]);
    nest.app.run(&["add", "-A"]);
    nest.app.commit("newer lib");
    nest.app.publish();
    nest.house.get_well(&nest.spec(SubmoduleStrategy::Recursive)).await;
    assert_eq!(nest.house.read("lib/lib.txt"), "lib 2\n");
}

#[tokio::test]
async fn what_a_job_planted_in_submodules_does_not_run() {
    let nest = Nest::new().await;
    nest.house.get_well(&nest.spec(SubmoduleStrategy::Recursive)).await;
    let marker = nest.house.project().join(".git/PWNED");
    let evil = format!(
        "[core]\n\tfsmonitor = \"touch {0}\"\n[filter \"e\"]\n\tsmudge = \"touch {0}; cat\"\n",
        marker.display()
    );
    let hook = format!("#!/bin/sh\ntouch {}\n", marker.display());
    for module in ["lib", "lib/modules/deep/inner"] {
        let config = nest.house.read(&format!(".git/modules/{module}/config"));
        assert!(config.contains("worktree"), "{module}: {config}");
        nest.house.plant(&format!(".git/modules/{module}/config"), &(config + &evil));
        nest.house.plant(&format!(".git/modules/{module}/config.worktree"), &evil);
        nest.house.plant(&format!(".git/modules/{module}/hooks/post-checkout"), &hook);
        nest.house.plant(&format!(".git/modules/{module}/info/attributes"), "* filter=e\n");
        nest.house.plant(&format!(".git/modules/{module}/index.lock"), "");
        nest.house.plant(&format!(".git/modules/{module}/objects/info/alternates"), "/nowhere\n");
    }
    nest.house.plant("lib/lib.txt", "changed");
    nest.house.plant(".git/modules/evil/HEAD", "ref: refs/heads/main\n");
    nest.house.plant(".git/modules/evil/config", &evil);
    let config = nest.house.read(".git/config");
    nest.house.plant(".git/config", &format!("{config}[submodule \"lib\"]\n\tupdate = !touch {}\n", marker.display()));
    let log = nest.house.get_well(&nest.spec(SubmoduleStrategy::Recursive)).await;
    assert!(!marker.exists(), "{log}");
    assert!(!log.contains("Cloning into"), "{log}");
    assert!(!nest.house.project().join(".git/modules/evil").exists());
    assert_eq!(nest.house.read("lib/lib.txt"), "lib\n");

    // A repository of a job's own in the place of the submodule's.
    std::fs::remove_file(nest.house.project().join("lib/.git")).expect("removed");
    assert!(desk_git(&nest.house.project().join("lib"), &["init", "-q"]).status().expect("git").success());
    nest.house.plant("lib/.git/config", &evil);
    nest.house.get_well(&nest.spec(SubmoduleStrategy::Recursive)).await;
    assert!(!marker.exists());
    assert!(nest.house.read("lib/.git").starts_with("gitdir: "));
}

#[tokio::test]
async fn a_submodule_that_a_job_moved_away_is_made_anew() {
    let nest = Nest::new().await;
    nest.house.get_well(&nest.spec(SubmoduleStrategy::Recursive)).await;
    let outside = nest.house.dir.path().join("outside");
    std::fs::rename(nest.house.project().join("lib"), &outside).expect("moved");
    std::os::unix::fs::symlink(&outside, nest.house.project().join("lib")).expect("linked");
    std::fs::write(outside.join("lib.txt"), "kept").expect("written");
    nest.house.get_well(&nest.spec(SubmoduleStrategy::Recursive)).await;
    assert_eq!(nest.house.read("lib/lib.txt"), "lib\n");
    assert_eq!(std::fs::read_to_string(outside.join("lib.txt")).expect("read"), "kept");
}

#[tokio::test]
async fn paths_choose_and_remote_updates() {
    let nest = Nest::new().await;
    nest.lib.write("lib.txt", "newer than the commit says\n");
    nest.lib.commit("newer");
    nest.lib.publish();
    let mut spec = nest.spec(SubmoduleStrategy::Normal);
    spec.submodules.paths = vec![":(exclude)lib".to_owned()];
    nest.house.get_well(&spec).await;
    assert_eq!(nest.house.read("lib/lib.txt"), "");
    spec.submodules.paths = vec!["lib".to_owned()];
    spec.submodules.update_flags = vec!["--remote".to_owned()];
    nest.house.get_well(&spec).await;
    assert_eq!(nest.house.read("lib/lib.txt"), "newer than the commit says\n");
}

#[tokio::test]
async fn ssh_urls_are_rewritten_where_asked_and_refused_otherwise() {
    let nest = Nest::new().await;
    nest.app.run(&["config", "-f", ".gitmodules", "submodule.lib.url", "git@forge.test:lib.git"]);
    nest.app.run(&["add", "-A"]);
    nest.app.commit("by ssh");
    nest.app.publish();
    let mut spec = nest.spec(SubmoduleStrategy::Normal);
    spec.strategy = SourceStrategy::Clone;
    let (result, log) = nest.house.get(&spec).await;
    assert!(result.is_err() && log.contains("transport 'ssh' not allowed"), "{log}");
    let to = format!("{}/", nest.house.forge.url());
    spec.url_rewrites = vec![UrlRewrite { from: "git@forge.test:".to_owned(), to }];
    nest.house.get_well(&spec).await;
    assert_eq!(nest.house.read("lib/lib.txt"), "lib\n");
    assert!(nest.house.read(".git/config").contains("insteadOf"), "the job's own git needs it too");
}

#[tokio::test]
async fn hostile_urls_of_submodules_run_nothing() {
    for url in ["ext::sh -c touch% %G", "file:///etc", "/etc", "--upload-pack=touch", "-x"] {
        let nest = Nest::new().await;
        nest.app.run(&["config", "-f", ".gitmodules", "submodule.lib.url", url]);
        nest.app.run(&["add", "-A"]);
        nest.app.commit("hostile");
        nest.app.publish();
        let (result, log) = nest.house.get(&nest.spec(SubmoduleStrategy::Recursive)).await;
        let empty = nest.house.read("lib/lib.txt").is_empty();
        assert!(empty && (result.is_err() || !log.contains("Cloning")), "{url}: {log}");
    }
}
