//! A folder that several machines mount.

use super::*;

#[test]
fn a_folder_is_as_good_as_a_bucket() {
    let (runtime, dir) = (runtime(), tempfile::tempdir().unwrap());
    let url = format!("file://{}", dir.path().display());
    let remote = Remote::open(&at(&url), door(), runtime.handle().clone()).unwrap();
    does_all_that_a_second_level_does(&remote);
}

#[test]
fn a_folder_that_is_not_mounted_is_not_made() {
    let (runtime, dir) = (runtime(), tempfile::tempdir().unwrap());
    let url = format!("file://{}/gone", dir.path().display());
    let error = Remote::open(&at(&url), door(), runtime.handle().clone()).unwrap_err();
    assert!(said(&error).contains("No such file"), "{}", said(&error));
    assert!(!dir.path().join("gone").exists());
}

#[test]
fn what_others_left_in_the_folder_is_no_blob() {
    let (runtime, dir) = (runtime(), tempfile::tempdir().unwrap());
    let url = format!("file://{}", dir.path().display());
    let remote = Remote::open(&at(&url), door(), runtime.handle().clone()).unwrap();
    std::fs::write(dir.path().join("a b"), "x").unwrap();
    std::fs::write(dir.path().join("line\nfeed"), "x").unwrap();
    std::fs::create_dir(dir.path().join("folder")).unwrap();
    std::os::unix::fs::symlink(dir.path(), dir.path().join("folder/round")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", dir.path().join("out")).unwrap();
    remote.write(&name("folder/mine"), b"x", &never()).unwrap();
    assert_eq!(listed(&remote, ""), [("folder/mine".to_owned(), 1)]);
}
