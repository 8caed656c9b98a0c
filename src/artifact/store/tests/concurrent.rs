//! Several at work with one store.

use std::sync::atomic::AtomicBool;

use super::*;

#[test]
fn what_is_kept_while_the_index_is_made_anew_is_found() {
    let bench = Bench::in_memory();
    let folder = bench.folder("tree");
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let other = open(&bench.root(), Limits { reserve_bytes: 0, ..Limits::default() }, None, &bench.seconds);
            let (other, is_over) = (other.unwrap(), &is_over);
            scope.spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    other.index_anew().unwrap();
                }
            });
        }
        let mut missing = Vec::new();
        for n in 0..100 {
            fs::write(folder.join("file"), noise(10, n)).unwrap();
            bench.put(&member(), &n.to_string(), &folder);
            if bench.store.list(Some(&member())).unwrap().len() as u64 != n + 1 {
                missing.push(n);
            }
        }
        is_over.store(true, Ordering::Relaxed);
        assert_eq!(missing, Vec::<u64>::new(), "something was not listed after these");
    });
}

#[test]
fn what_gave_way_while_the_index_is_made_anew_does_not_come_back() {
    let bench = Bench::in_memory();
    let folder = bench.folder("tree");
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let other = open(&bench.root(), Limits { reserve_bytes: 0, ..Limits::default() }, None, &bench.seconds);
        let (other, is_over) = (other.unwrap(), &is_over);
        scope.spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                other.index_anew().unwrap();
            }
        });
        let mut stale = Vec::new();
        for n in 0..100_u64 {
            fs::write(folder.join("file"), noise(10, n)).unwrap();
            let id = bench.try_put_as(&member(), What::cache(b"key"), &folder).unwrap().put.id;
            let found = bench.store.find(&member(), &Wanted::Exact(b"key".to_vec())).unwrap();
            if found.is_none_or(|found| found.info.content_hash != id) {
                stale.push(n);
            }
        }
        is_over.store(true, Ordering::Relaxed);
        assert_eq!(stale, Vec::<u64>::new());
    });
}

#[test]
fn everything_is_read_again_when_the_last_time_is_long_ago_whoever_did_it() {
    let week = std::time::Duration::from_secs(7 * 24 * 3600);
    let bench = Bench::new();
    let folder = bench.folder("tree");
    fs::write(folder.join("file"), "x").unwrap();
    let id = bench.put(&member(), "name", &folder).put.id;
    assert!(bench.store.is_scrub_due(week).unwrap(), "nobody ever read it");
    bench.store.verify(&Verifying::default(), &Progress::default()).unwrap();
    bench.pass(6 * 24 * 3600);
    let other = open(&bench.root(), Limits::default(), None, &bench.seconds).unwrap();
    assert!(!other.is_scrub_due(week).unwrap());
    bench.pass(24 * 3600);
    other.verify(&Verifying { only: Some(id), ..Verifying::default() }, &Progress::default()).unwrap();
    assert!(other.is_scrub_due(week).unwrap(), "one tree is not everything");
}
