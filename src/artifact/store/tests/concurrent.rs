//! Several at work with one store.

use std::sync::atomic::AtomicBool;

use super::*;
use crate::artifact::retention::ReferenceCause;

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

/// Another process.
fn neighbour(bench: &Bench) -> Store {
    open(&bench.root(), Limits { reserve_bytes: 0, ..Limits::default() }, None, &bench.seconds).unwrap()
}

fn names(store: &Store) -> std::collections::BTreeSet<String> {
    store.list(None).unwrap().into_iter().filter_map(|one| one.info.what.text().map(str::to_owned)).collect()
}

#[test]
fn whoever_has_the_index_open_that_another_makes_anew_goes_on_with_the_new_one() {
    let bench = Bench::in_memory();
    let folder = bench.folder("tree");
    fs::write(folder.join("file"), "x").unwrap();
    bench.put(&member(), "before", &folder);
    let other = neighbour(&bench);
    let found = bench.store.find(&member(), &Wanted::Named("before".to_owned())).unwrap().unwrap();
    for round in 0..3 {
        // Whoever finds it damaged makes it anew, while the other is between two steps of his work.
        other.index().unwrap().note_damage();
        other.heal().unwrap();
        bench.pass(3600);
        bench.store.used(&found, None).unwrap();
        let seen = other.find(&member(), &Wanted::Named("before".to_owned())).unwrap().unwrap();
        assert_eq!(seen.last_accessed.as_second(), bench.seconds.load(Ordering::Relaxed), "round {round}");
        bench.put(&member(), &format!("{round}"), &folder);
        let all: std::collections::BTreeSet<String> =
            (0..=round).map(|n| n.to_string()).chain(["before".to_owned()]).collect();
        assert_eq!([names(&other), names(&neighbour(&bench)), names(&bench.store)], [all.clone(), all.clone(), all]);
    }
}

#[test]
fn an_index_that_is_gone_is_made_anew_by_whoever_notices() {
    let bench = Bench::in_memory();
    let folder = bench.folder("tree");
    fs::write(folder.join("file"), "x").unwrap();
    bench.put(&member(), "before", &folder);
    let other = neighbour(&bench);
    fs::remove_file(bench.root().join("index.db")).unwrap();
    bench.put(&member(), "after", &folder);
    let all: std::collections::BTreeSet<String> = ["after", "before"].map(str::to_owned).into();
    assert_eq!([names(&bench.store), names(&other), names(&neighbour(&bench))], [all.clone(), all.clone(), all]);
}

#[test]
fn an_index_that_nobody_came_to_fill_is_filled_by_the_next() {
    let bench = Bench::in_memory();
    let folder = bench.folder("tree");
    fs::write(folder.join("file"), "x").unwrap();
    bench.put(&member(), "name", &folder);
    {
        // As one does that is killed before it has read the records.
        let (index, is_new) = super::super::index::Index::open(&bench.root().join("index.db")).unwrap();
        assert!(!is_new);
        index.note_damage();
        let (_, is_new) = super::super::index::Index::open(&bench.root().join("index.db")).unwrap();
        assert!(is_new);
    }
    assert_eq!(names(&bench.store).len(), 1);
    assert_eq!(names(&neighbour(&bench)).len(), 1);
}

#[test]
fn however_many_make_the_index_anew_nothing_that_is_kept_meanwhile_is_lost() {
    let bench = Bench::in_memory();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let (other, is_over) = (neighbour(&bench), &is_over);
            scope.spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    other.index().unwrap().note_damage();
                    other.heal().unwrap();
                }
            });
        }
        let writers: Vec<_> = (0..2)
            .map(|writer| {
                let (store, folder) = (neighbour(&bench), bench.folder(&format!("tree{writer}")));
                scope.spawn(move || {
                    let bench = Bench { temp: tempfile::tempdir().unwrap(), seconds: Arc::default(), store };
                    for n in 0..30 {
                        fs::write(folder.join("file"), noise(10, n)).unwrap();
                        bench.put(&member(), &format!("{writer}-{n}"), &folder);
                    }
                })
            })
            .collect();
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        is_over.store(true, Ordering::Relaxed);
    });
    assert_eq!(names(&bench.store).len(), 60);
    assert!(!bench.root().join("index.db.damaged").exists() || names(&neighbour(&bench)).len() == 60);
}

/// Everything of a bench, opened once more.
fn again(bench: &Bench) -> Store {
    open(&bench.root(), Limits { reserve_bytes: 0, ..Limits::default() }, None, &bench.seconds).unwrap()
}

#[test]
fn an_agent_gives_back_what_its_own_jobs_held_and_not_what_anothers_do() {
    let bench = Bench::in_memory();
    let tree = bench.folder("tree");
    fs::write(tree.join("file"), "x").unwrap();
    let kept = bench.put(&member(), "a", &tree);
    let job = crate::pipeline::JobKey::of(&member().forge, &crate::pipeline::JobId::new("1"), "token");
    let one = again(&bench).serving("one").unwrap();
    let other = again(&bench).serving("other").unwrap();
    one.hold(&member(), &job, &[kept.put.id], &Interrupt::default()).unwrap();
    let [holder] = &other.holders().unwrap()[..] else { panic!("one job holds something") };
    assert_eq!((&holder.job, &holder.owner), (&job, &member()));
    let answers = |store: &Store| store.answers_for(holder).unwrap();
    assert_eq!((answers(&one), answers(&other), answers(&bench.store)), (true, false, false));
    bench.pass(8 * 24 * 3600);
    assert!(!answers(&other), "it lives, however long its job takes");
    drop(one);
    assert!(answers(&other), "it has been gone for long, as far as anybody knows");
    // What was held before agents said who they are.
    let old = crate::pipeline::JobKey::of(&member().forge, &crate::pipeline::JobId::new("2"), "token");
    bench.store.hold(&member(), &old, &[kept.put.id], &Interrupt::default()).unwrap();
    let holders = other.holders().unwrap();
    let old = holders.iter().find(|holder| holder.job == old).unwrap();
    assert!(other.answers_for(old).unwrap());
}

#[test]
fn an_agent_that_is_gone_for_a_moment_keeps_what_its_jobs_hold() {
    let bench = Bench::in_memory();
    let tree = bench.folder("tree");
    fs::write(tree.join("file"), "x").unwrap();
    let kept = bench.put(&member(), "a", &tree);
    let job = crate::pipeline::JobKey::of(&member().forge, &crate::pipeline::JobId::new("1"), "token");
    let one = again(&bench).serving("one").unwrap();
    one.hold(&member(), &job, &[kept.put.id], &Interrupt::default()).unwrap();
    drop(one);
    let other = again(&bench).serving("other").unwrap();
    assert!(!other.answers_for(&other.holders().unwrap()[0]).unwrap());
    let one = again(&bench).serving("one").unwrap();
    assert!(one.answers_for(&one.holders().unwrap()[0]).unwrap(), "it is the same agent after its restart");
}

#[test]
fn what_expires_is_counted_by_the_clock_that_ages_are_counted_by() {
    let bench = Bench::in_memory();
    let day = 24 * 3600;
    let now = bench.store.now();
    // Two collections agree on a time that turns out to be wrong.
    bench.pass(40 * day);
    bench.collect();
    bench.pass(3600);
    bench.collect();
    bench.pass(-40 * day);
    let Expiry::At(until) = bench.store.expiry_after(std::time::Duration::from_secs(30 * 24 * 3600)) else { panic!() };
    let tree = bench.folder("tree");
    fs::write(tree.join("file"), "x").unwrap();
    let kept = bench.put(&member(), "a", &tree);
    let since = bench.store.find(&member(), &Wanted::Named("a".into())).unwrap().unwrap().info.created_at;
    assert!(since > now, "ages are counted from the highest time that was agreed on");
    let lasts = until.duration_since(since);
    assert_eq!(lasts.as_hours(), 30 * 24, "{kept:?}");
}

#[test]
fn a_job_that_holds_several_things_at_once_holds_all_of_them() {
    let bench = Bench::in_memory();
    let tree = bench.folder("tree");
    let job = crate::pipeline::JobKey::of(&member().forge, &crate::pipeline::JobId::new("1"), "token");
    let ids: Vec<_> = (0..6)
        .map(|number| {
            fs::write(tree.join("file"), noise(10, number)).unwrap();
            bench.put(&member(), &number.to_string(), &tree).put.id
        })
        .collect();
    for _ in 0..20 {
        std::thread::scope(|scope| {
            for id in &ids {
                let (store, job) = (&bench.store, &job);
                scope.spawn(move || store.hold(&member(), job, &[*id], &Interrupt::default()).unwrap());
            }
        });
        let held = bench.store.list(Some(&member())).unwrap().into_iter().map(|listed| listed.references);
        assert_eq!(held.collect::<Vec<_>>(), [1; 6]);
        assert!(bench.store.release(&member(), &job, ReferenceCause::JobSucceeded).unwrap());
    }
}
