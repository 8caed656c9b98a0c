//! Which of several things of one name is meant: the one that was kept last.

use super::*;

/// Keeps a folder with one file of this content as `x`; the tree's id.
fn put(bench: &Bench, content: &str) -> ObjectId {
    let tree = bench.folder(content);
    // Written once: times are part of a tree.
    if !tree.join("file").exists() {
        fs::write(tree.join("file"), content).unwrap();
    }
    bench.put(&member(), "x", &tree).put.id
}

fn meant(store: &Store) -> ObjectId {
    store.find(&member(), &Wanted::Named("x".to_owned())).unwrap().unwrap().info.content_hash
}

/// The store as a process finds it that has lost the index.
fn without_index(bench: &Bench) -> Store {
    for suffix in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(bench.root().join(format!("index.db{suffix}")));
    }
    open(&bench.root(), Limits::default(), None, &bench.seconds).unwrap()
}

#[test]
fn what_is_kept_again_is_the_newest_of_its_name() {
    let bench = Bench::new();
    let (a, b) = (put(&bench, "a"), put(&bench, "b"));
    assert_eq!(meant(&bench.store), b, "the clock stands: the order counts");
    for seconds in [0, 60, -3600] {
        bench.pass(seconds);
        assert_eq!((put(&bench, "a"), meant(&bench.store)), (a, a), "after {seconds} s");
        assert_eq!((put(&bench, "b"), meant(&bench.store)), (b, b), "after {seconds} s");
    }
    assert_eq!(put(&bench, "a"), a);
    assert_eq!(meant(&without_index(&bench)), a, "the records say so, too");
    let listed = bench.store.list(None).unwrap();
    assert_eq!(listed.iter().map(|one| one.info.content_hash).collect::<Vec<_>>(), [a, b]);
}

#[test]
fn the_newest_again_writes_no_record() {
    let bench = Bench::new();
    put(&bench, "a");
    put(&bench, "b");
    let kept = |at: &str| bench.put(&member(), "x", &bench.folder(at));
    let records = || super::disk::fanned(&bench.store.home(&member()).records()).unwrap();
    let texts = || records().iter().map(|path| fs::read(path).unwrap()).collect::<Vec<_>>();
    assert!(kept("a").is_up_to_date);
    let before = texts();
    bench.pass(60);
    assert!(kept("a").is_up_to_date);
    assert_eq!(texts(), before);
}

#[test]
fn an_id_means_a_cache_too_and_a_name_does_not() {
    let bench = Bench::new();
    let folder = bench.folder("tree");
    fs::write(folder.join("file"), "x").unwrap();
    let id = bench.try_put_as(&member(), What::cache(b"deps"), &folder).unwrap().put.id;
    let find = |name: &str| bench.store.find(&member(), &Wanted::Named(name.to_owned())).unwrap();
    assert_eq!(find(&id.to_string()).unwrap().info.what, What::cache(b"deps"));
    assert_eq!(find("deps"), None);
    assert!(!bench.store.index().unwrap().is_damaged());
}
