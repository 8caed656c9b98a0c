//! Owners and extended attributes: kept where they are asked for, and only there.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, lchown, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{XattrFlags, lgetxattr, llistxattr, setxattr};

use super::{House, seen};

/// `cap_net_bind_service=ep`, as `setcap` writes it: version 2 and the effective bit, then what is permitted and what is inheritable, low
/// and high. (linux/capability.h: `vfs_cap_data`.)
const MAY_BIND: [u8; 20] = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// Whose something is, and its extended attributes, their values with what is no letter escaped.
type Facts = (u32, u32, BTreeMap<String, String>);

fn attributes(path: &Path) -> BTreeMap<String, String> {
    let mut names = vec![0_u8; 4096];
    let length = llistxattr(path, names.as_mut_slice()).unwrap();
    let names = names[..length].split(|byte| *byte == 0);
    // The machine may have some of its own for each file.
    let names = names.filter(|name| name.starts_with(b"user.") || *name == b"security.capability");
    let value = |name: &[u8]| {
        let mut value = vec![0_u8; 4096];
        let length = lgetxattr(path, OsStr::from_bytes(name), value.as_mut_slice()).unwrap();
        value[..length].escape_ascii().to_string()
    };
    names.map(|name| (name.escape_ascii().to_string(), value(name))).collect()
}

/// Of everything below a folder.
fn facts(folder: &Path) -> BTreeMap<PathBuf, Facts> {
    let mut all = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for path in fs::read_dir(&next).unwrap().map(|entry| entry.unwrap().path()) {
            let stat = fs::symlink_metadata(&path).unwrap();
            let below = path.strip_prefix(folder).unwrap().to_owned();
            all.insert(below, (stat.uid(), stat.gid(), attributes(&path)));
            if stat.is_dir() {
                folders.push(path);
            }
        }
    }
    all
}

/// Files, a folder and a link of several users, with attributes.
fn tree(house: &House) -> PathBuf {
    assert!(rustix::process::geteuid().is_root(), "giving files away needs root");
    let tree = house.folder("tree");
    house.folder("tree/folder/inner");
    fs::write(tree.join("tool"), "#!/bin/sh\n").unwrap();
    fs::write(tree.join("folder/large"), super::noise(300_000, 1)).unwrap();
    fs::write(tree.join("plain"), "x").unwrap();
    symlink("tool", tree.join("link")).unwrap();
    for (name, uid, gid) in [("tool", 1234, 5678), ("folder", 4321, 8765), ("folder/large", 0, 12), ("plain", 77, 0)] {
        chown(tree.join(name), Some(uid), Some(gid)).unwrap();
    }
    lchown(tree.join("link"), Some(99), Some(98)).unwrap();
    let set = |path: &str, name: &str, value: &[u8]| {
        setxattr(tree.join(path), name, value, XattrFlags::empty()).unwrap();
    };
    set("tool", "user.origin", b"https://example.com/a?b=c");
    set("tool", "user.bytes", b"\x00\xff\n\x00");
    set("tool", "user.empty", b"");
    // Whoever gives a file away takes this from it.
    set("tool", "security.capability", &MAY_BIND);
    set("folder", "user.kind", b"results");
    set("folder/large", "user.long", &[b'x'; 300]);
    fs::set_permissions(tree.join("tool"), Permissions::from_mode(0o755)).unwrap();
    tree
}

/// Keeps the tree with these options, and restores it: what comes out.
fn out_and_in(house: &House, tree: &Path, name: &str, options: &[&str]) -> PathBuf {
    let mut words = vec!["put", tree.to_str().unwrap(), "--name", name];
    words.extend(options);
    house.ends_with(0, &words);
    let dest = house.path(&format!("dest-{name}"));
    house.ends_with(0, &["get", name, dest.to_str().unwrap()]);
    assert_eq!(seen(&dest), seen(tree), "{options:?}");
    dest
}

#[test]
fn owners_and_extended_attributes_come_back_where_they_are_asked_for() {
    for house in House::open_and_locked() {
        let tree = tree(&house);
        let all = facts(&tree);
        assert_eq!(
            all.get(Path::new("tool")).map(|(uid, gid, found)| (*uid, *gid, found.len())),
            Some((1234, 5678, 4))
        );
        let dest = out_and_in(&house, &tree, "both", &["--xattrs", "--owners"]);
        assert_eq!(facts(&dest), all);
        let owners_only = all.clone().into_iter().map(|(path, (uid, gid, _))| (path, (uid, gid, BTreeMap::new())));
        let dest = out_and_in(&house, &tree, "owners", &["--owners"]);
        assert_eq!(facts(&dest), owners_only.collect());
        let attributes_only = all.clone().into_iter().map(|(path, (_, _, found))| (path, (0, 0, found)));
        let dest = out_and_in(&house, &tree, "attributes", &["--xattrs"]);
        assert_eq!(facts(&dest), attributes_only.collect());
        let neither = all.into_keys().map(|path| (path, (0, 0, BTreeMap::new())));
        let dest = out_and_in(&house, &tree, "neither", &[]);
        assert_eq!(facts(&dest), neither.collect());
    }
}

#[test]
fn other_attributes_or_owners_are_another_tree() {
    let house = House::new();
    let tree = tree(&house);
    let put = || house.json(&["put", tree.to_str().unwrap(), "--name", "a", "--xattrs", "--owners"]);
    let first = put();
    assert_eq!(put()["id"], first["id"]);
    setxattr(tree.join("plain"), "user.new", b"x", XattrFlags::empty()).unwrap();
    let second = put();
    assert_ne!(second["id"], first["id"]);
    chown(tree.join("plain"), Some(78), Some(0)).unwrap();
    let third = put();
    assert_ne!(third["id"], second["id"]);
    assert_ne!(second["content_id"], first["content_id"]);
    assert_eq!(third["content_id"], second["content_id"], "whose it is says nothing about what it is");
}
