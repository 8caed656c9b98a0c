use std::fs;
use std::os::unix::fs::symlink;

use cap_std::ambient_authority;
use tempfile::TempDir;

use super::*;
use crate::artifact::Severity;

const SEEN: &str = "/builds/team/app";

struct Tree {
    temp: TempDir,
}

impl Tree {
    /// A tree with these files; a name that ends in `/` is a folder.
    fn new(names: &[&str]) -> Self {
        let tree = Self { temp: tempfile::tempdir().unwrap() };
        for name in names {
            let path = tree.temp.path().join(name);
            if name.ends_with('/') {
                fs::create_dir_all(path).unwrap();
            } else {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, *name).unwrap();
            }
        }
        tree
    }

    fn root(&self) -> Dir {
        Dir::open_ambient_dir(self.temp.path(), ambient_authority()).unwrap()
    }

    fn select(&self, paths: &[&str], exclude: &[&str]) -> Selection {
        let texts = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
        let files = FileSelection { paths: texts(paths), exclude: texts(exclude), untracked: false };
        select(&self.root(), SEEN, &files, Vec::new()).unwrap()
    }

    fn names(&self, paths: &[&str], exclude: &[&str]) -> Vec<String> {
        names(&self.select(paths, exclude))
    }
}

fn names(selection: &Selection) -> Vec<String> {
    selection
        .entries
        .iter()
        .map(|entry| {
            let end = if entry.kind == EntryKind::Folder { "/" } else { "" };
            format!("{}{end}", entry.path.display())
        })
        .collect()
}

fn warnings(selection: &Selection) -> Vec<&str> {
    selection.remarks.iter().filter(|r| r.severity == Severity::Warning).map(|r| r.text.as_str()).collect()
}

#[test]
fn a_folder_means_everything_below_it() {
    let tree = Tree::new(&["o/a", "o/sub/b", "o/empty/", "p"]);
    let want = ["o/", "o/a", "o/empty/", "o/sub/", "o/sub/b"];
    for pattern in ["o", "o/", "./o", "o/.", "x/../o", "/builds/team/app/o", "o/**", "{o,none}"] {
        assert_eq!(tree.names(&[pattern], &[]), want, "{pattern}");
    }
    assert_eq!(tree.names(&["."], &[]).len(), 6, "the tree itself has no entry");
    let is_meant = |paths: &[&str], exclude: &[&str]| tree.select(paths, exclude).tree_itself;
    assert!(is_meant(&["."], &[]) && is_meant(&["**"], &[]) && !is_meant(&["*"], &[]));
    assert!(!is_meant(&["."], &["*"]) && !is_meant(&["."], &["**/.*"]) && is_meant(&["."], &["*.o"]));
}

#[test]
fn remarks_say_how_much_each_pattern_found() {
    let tree = Tree::new(&["a", "d/1", "d/2"]);
    let found = tree.select(&["a", "nothing/*.x", "d"], &["d/2"]);
    assert_eq!(
        found.remarks,
        [
            Remark::note("a: found 1 matching artifact files and directories"),
            Remark::warning(
                "nothing/*.x: no matching files. Ensure that the artifact path is relative to the working directory (/builds/team/app)"
            ),
            Remark::note("d: found 2 matching artifact files and directories"),
            Remark::note("d/2: excluded 1 files"),
        ]
    );
    assert_eq!(warnings(&tree.select(&[""], &[])), ["No matching files. Path is empty."]);
}

#[test]
fn what_lies_outside_is_ignored_with_a_warning() {
    let tree = Tree::new(&["a"]);
    for pattern in ["/etc/passwd", "../x", "a/../../x", "/builds/team/app2/a", "/builds/team", "/"] {
        let found = tree.select(&[pattern], &[]);
        assert!(found.is_empty(), "{pattern}");
        assert!(warnings(&found)[0].contains("outside of the project directory"), "{pattern}");
    }
    // A sibling whose name begins with dots is inside.
    let dotted = Tree::new(&["..a/b"]);
    assert_eq!(dotted.names(&["..a"], &[]), ["..a/", "..a/b"]);
}

#[test]
fn a_project_folder_with_wildcard_characters_is_still_itself() {
    let tree = Tree::new(&["x"]);
    let seen = "/builds/a[b]{c}";
    let files = FileSelection { paths: vec!["/builds/a[b]{c}/x".into(), "x".into()], ..FileSelection::default() };
    let found = select(&tree.root(), seen, &files, Vec::new()).unwrap();
    assert_eq!(names(&found), ["x"]);
    assert!(warnings(&found).is_empty());
}

#[test]
fn symlinks_are_kept_as_they_are() {
    let tree = Tree::new(&["real/file", "o/f"]);
    symlink("../real", tree.temp.path().join("o/inside")).unwrap();
    symlink("/etc", tree.temp.path().join("o/outside")).unwrap();
    symlink("nowhere", tree.temp.path().join("o/dangling")).unwrap();
    let found = tree.select(&["o"], &[]);
    assert_eq!(names(&found), ["o/", "o/dangling", "o/f", "o/inside", "o/outside"]);
    let links = found.entries.iter().filter(|e| e.kind == EntryKind::Symlink).count();
    assert_eq!(links, 3);
}

#[test]
fn a_mere_path_means_what_is_there() {
    let tree = Tree::new(&["a", r"f\g", "d/x"]);
    symlink("nowhere", tree.temp.path().join("dangling")).unwrap();
    symlink("nowhere", tree.temp.path().join("d/dangling")).unwrap();
    symlink("/no/such/file", tree.temp.path().join("out")).unwrap();
    symlink("d/x", tree.temp.path().join("good")).unwrap();
    assert_eq!(
        tree.names(&["dangling", "good", "out"], &[]),
        ["good", "out"],
        "a link into the tree must lead somewhere"
    );
    assert_eq!(tree.names(&["{dangling,a}"], &[]), ["a"]);
    assert_eq!(tree.names(&["dang*", "d/"], &[]), ["d/", "d/dangling", "d/x", "dangling"], "found is found");
    assert_eq!(tree.names(&[r"f\g"], &[]), [r"f\g"], "without wildcards `\\` is part of a name");
    assert_eq!(tree.names(&["{,a}"], &[]), ["a"], "a choice of nothing is not the whole tree");
}

#[test]
fn no_pattern_leads_out_through_a_symlink() {
    let outside = Tree::new(&["secret"]);
    let tree = Tree::new(&["a/f", "b/g"]);
    symlink(outside.temp.path(), tree.temp.path().join("out")).unwrap();
    symlink("../../../../../../etc", tree.temp.path().join("up")).unwrap();
    symlink("a", tree.temp.path().join("within")).unwrap();
    for pattern in ["out/secret", "out/*", "*/secret", "**/secret", "up/passwd", "{out,up}/*", "out/**"] {
        let found = tree.names(&[pattern], &[]);
        assert!(found.iter().all(|name| name == "out"), "{pattern}: {found:?}");
    }
    assert_eq!(tree.names(&["within/f"], &[]), ["within/f"], "one that stays inside may be named");
    assert_eq!(tree.names(&["**/f"], &[]), ["a/f"], "but is not searched through");
}

#[test]
fn a_loop_of_symlinks_ends() {
    let tree = Tree::new(&["a/f"]);
    symlink("..", tree.temp.path().join("a/up")).unwrap();
    symlink("self", tree.temp.path().join("self")).unwrap();
    assert_eq!(tree.names(&["**/f"], &[]), ["a/f"]);
    assert_eq!(tree.names(&["self/*", "**"], &[]), ["a/", "a/f", "a/up", "self"]);
}

#[test]
fn exclusions_drop_exactly_what_they_match() {
    let tree = Tree::new(&["o/keep", "o/t/x", "o/t/deep/y"]);
    assert_eq!(tree.names(&["o"], &["o/t"]), ["o/", "o/keep", "o/t/deep/", "o/t/deep/y", "o/t/x"]);
    assert_eq!(tree.names(&["o"], &["o/t/**"]), ["o/", "o/keep"]);
    assert_eq!(tree.names(&["o"], &["o/t/**/*"]), ["o/", "o/keep", "o/t/"]);
    assert_eq!(tree.names(&["o"], &["/builds/team/app/o/t/**"]), ["o/", "o/keep"]);
    let bad = tree.select(&["o"], &["[", "/etc/*"]);
    assert_eq!(bad.entries.len(), 6);
    assert_eq!(warnings(&bad).len(), 2);
}

#[test]
fn untracked_files_count_where_asked_for() {
    let tree = Tree::new(&["seen", "ignored/x", "tracked"]);
    let list = vec![PathBuf::from("seen"), "ignored/x".into(), "gone".into(), "../out".into(), "/etc/passwd".into()];
    let files = FileSelection { untracked: true, ..FileSelection::default() };
    let found = select(&tree.root(), SEEN, &files, list.clone()).unwrap();
    assert_eq!(names(&found), ["ignored/x", "seen"]);
    assert!(found.remarks.contains(&Remark::note("untracked: found 2 files")));
    assert_eq!(warnings(&found).len(), 2, "the two that lead out");

    let none = select(&tree.root(), SEEN, &FileSelection { untracked: false, ..files }, list).unwrap();
    assert!(none.is_empty());
}

#[test]
fn pipes_and_names_that_are_not_utf8() {
    let tree = Tree::new(&["d/f"]);
    let root = tree.root();
    rustix::fs::mknodat(&root, "d/pipe", rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
    fs::write(tree.temp.path().join(beneath::path(b"d/\xff\xfe")), "x").unwrap();
    let found = tree.select(&["d"], &[]);
    assert_eq!(found.entries.len(), 3);
    assert_eq!(found.entries[2].path.as_os_str().as_bytes(), b"d/\xff\xfe");
    assert!(warnings(&found)[0].contains("1 sockets, pipes or devices left out"));
}

#[test]
fn a_part_of_git_is_warned_about() {
    let tree = Tree::new(&[".git/config", ".gitignore"]);
    assert!(warnings(&tree.select(&[".git"], &[]))[0].contains("`.git`"));
    assert!(warnings(&tree.select(&[".gitignore"], &[])).is_empty());
}

#[test]
fn a_pattern_that_cannot_be_read_is_a_warning() {
    let tree = Tree::new(&["a"]);
    let found = tree.select(&["[a", "a"], &[]);
    assert_eq!(names(&found), ["a"]);
    assert!(warnings(&found)[0].contains("cannot be read"));
}

#[test]
fn entries_are_sorted_and_come_once() {
    let tree = Tree::new(&["a/b", "a-b", "a.b"]);
    assert_eq!(tree.names(&["a/b", "*", "a", "**/b"], &[]), ["a/", "a-b", "a.b", "a/b"].map(String::from));
}

#[test]
fn a_tree_that_changes_meanwhile_breaks_nothing() {
    let tree = Tree::new(&["d/"]);
    let dir = tree.temp.path().join("d");
    let stop = crate::artifact::Interrupt::default();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.is_raised() {
                let _ = fs::create_dir_all(dir.join("x/y"));
                let _ = fs::write(dir.join("x/y/f"), "1");
                let _ = fs::remove_dir_all(dir.join("x"));
                let _ = symlink("/etc", dir.join("x"));
                let _ = fs::remove_file(dir.join("x"));
            }
        });
        for _ in 0..300 {
            let found = tree.names(&["d", "d/*/*", "**/f"], &[]);
            assert!(found.iter().all(|name| name.starts_with("d/")), "{found:?}");
            assert!(!found.iter().any(|name| name.contains("passwd")), "{found:?}");
        }
        stop.raise();
    });
}

#[test]
fn a_folder_as_deep_as_a_job_can_make_it() {
    let tree = Tree::new(&[]);
    let mut dir = tree.root();
    for _ in 0..1500 {
        dir.create_dir("n").unwrap();
        dir = dir.open_dir("n").unwrap();
    }
    let found = tree.select(&["**/nothing", "n"], &[]);
    assert!(found.entries.len() > 1000);
}
