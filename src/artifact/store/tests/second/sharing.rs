//! What one machine keeps, the others find; each as far as it may.

use super::*;

#[test]
fn what_one_machine_keeps_the_others_find() {
    let bucket = Bucket::new();
    let (one, other) = (machine(&bucket), machine(&bucket));
    let content = noise(3 << 20, 7);
    let id = one.cache(&member(), b"deps-1", &one.tree("tree", &content)).put.id;
    let artifact = one.put(&member(), "42/site.zip", &one.tree("site", b"<html>")).put.id;
    assert_eq!(one.offer().records, 2);
    assert!(bucket.records_are_whole());
    assert!(other.bring(&member(), &exact(b"deps-2")).unwrap().is_none());
    for wanted in [exact(b"deps-1"), Wanted::Prefix(b"deps-".to_vec())] {
        assert!(other.bring(&member(), &wanted).unwrap().is_none_or(|came| came.bytes > 3 << 20));
        assert_eq!(other.found(&member(), &wanted), Some(id));
    }
    assert_eq!(other.restored(&member(), &id).unwrap(), content);
    // By its name, and by the beginning of its id.
    other.bring(&member(), &named("42/site.zip")).unwrap().unwrap();
    assert_eq!(other.restored(&member(), &artifact).unwrap(), b"<html>");
    let third = machine(&bucket);
    third.bring(&member(), &named(&artifact.to_string()[..12])).unwrap().unwrap();
    assert_eq!(third.found(&member(), &named("42/site.zip")), Some(artifact));
}

#[test]
fn what_came_from_there_is_not_sent_back() {
    let bucket = Bucket::new();
    let (one, other) = (machine(&bucket), machine(&bucket));
    one.cache(&member(), b"k", &one.tree("tree", b"x"));
    one.offer();
    other.bring(&member(), &exact(b"k")).unwrap().unwrap();
    assert_eq!(other.store.waiting_for_second().unwrap(), 0);
    assert_eq!(other.offer().records, 0);
}

#[test]
fn the_newest_cache_of_a_key_wins() {
    let bucket = Bucket::new();
    let (one, other) = (machine(&bucket), machine(&bucket));
    one.cache(&member(), b"k", &one.tree("old", b"old"));
    other.pass(60);
    let new = other.cache(&member(), b"k", &other.tree("new", b"new")).put.id;
    other.offer();
    // One that comes late does not take a newer one's place.
    assert_eq!(one.offer().waiting, 0);
    let third = machine(&bucket);
    third.pass(100);
    assert_eq!(third.bring(&member(), &exact(b"k")).unwrap().unwrap().info.content_hash, new);
    // What is here gives way to what is newer there, and not the other way round.
    one.pass(100);
    one.bring(&member(), &exact(b"k")).unwrap().unwrap();
    assert_eq!(one.found(&member(), &exact(b"k")), Some(new));
    let newest = third.cache(&member(), b"k", &third.tree("newest", b"newest")).put.id;
    assert!(third.bring(&member(), &exact(b"k")).unwrap().is_none());
    assert_eq!(third.found(&member(), &exact(b"k")), Some(newest));
}

#[test]
fn trust_flows_down_only() {
    let bucket = Bucket::new();
    let one = machine(&bucket);
    let trusts = [Trust::Fork, Trust::Member, Trust::Protected];
    for trust in trusts {
        let key = format!("of-{trust}");
        one.cache(&owner("1", trust), key.as_bytes(), &one.tree(&key, key.as_bytes()));
    }
    one.offer();
    for reader in trusts {
        for writer in trusts {
            for project in ["1", "2"] {
                let other = machine(&bucket);
                let key = format!("of-{writer}");
                let came = other.bring(&owner(project, reader), &exact(key.as_bytes())).unwrap();
                let may = project == "1" && writer >= reader;
                assert_eq!(came.is_some(), may, "{reader} of {project} asks for what {writer} of 1 keeps");
                assert_eq!(other.found(&owner(project, reader), &exact(key.as_bytes())).is_some(), may);
            }
        }
    }
}

#[test]
fn ones_own_comes_before_what_the_project_trusts_more() {
    let bucket = Bucket::new();
    let (one, other) = (machine(&bucket), machine(&bucket));
    one.cache(&owner("1", Trust::Protected), b"k", &one.tree("theirs", b"theirs"));
    let own = one.cache(&owner("1", Trust::Fork), b"k", &one.tree("own", b"own")).put.id;
    one.offer();
    let came = other.bring(&owner("1", Trust::Fork), &exact(b"k")).unwrap().unwrap();
    assert_eq!(came.info.content_hash, own);
}

#[test]
fn what_is_there_is_not_asked_for_one_by_one() {
    let bucket = Bucket::new();
    let one = machine(&bucket);
    for n in 0..20 {
        one.put(&member(), &format!("{n}"), &one.tree(&format!("t{n}"), &noise(10_000, n)));
        assert_eq!(one.offer().records, 1);
    }
    let calls = bucket.calls.lock().unwrap();
    let count = |start: &str| calls.iter().filter(|call| call.starts_with(start)).count();
    // Packs, and the two kinds of marks.
    assert_eq!((count("listing"), count("reading")), (3, 0));
    // A pack and a record each.
    assert_eq!(count("writing"), 40);
}

#[test]
fn packs_that_are_there_are_not_sent_again() {
    let bucket = Bucket::new();
    let one = machine(&bucket);
    let tree = one.tree("tree", &noise(2 << 20, 1));
    one.put(&member(), "first", &tree);
    assert!(one.offer().bytes > 2 << 20);
    fs::write(tree.join("more"), "more").unwrap();
    one.put(&member(), "second", &tree);
    assert!(one.offer().bytes < 64 << 10);
    let other = machine(&bucket);
    other.bring(&member(), &named("first")).unwrap().unwrap();
    assert!(other.bring(&member(), &named("second")).unwrap().unwrap().bytes < 64 << 10);
}

#[test]
fn a_quota_is_not_passed_by_what_comes_from_elsewhere() {
    let bucket = Bucket::new();
    let one = machine(&bucket);
    one.put(&member(), "large", &one.tree("large", &noise(3 << 20, 1)));
    one.cache(&member(), b"old", &one.tree("old", &noise(3 << 20, 2)));
    one.cache(&member(), b"new", &one.tree("new", &noise(3 << 20, 3)));
    one.offer();
    let limits = Limits { owner_bytes: 4 << 20, reserve_bytes: 0, ..Limits::default() };
    let other = machine_with(&bucket, limits, None);
    other.bring(&member(), &exact(b"old")).unwrap().unwrap();
    // For a cache, another goes; for an artifact none does.
    other.bring(&member(), &exact(b"new")).unwrap().unwrap();
    assert_eq!(other.found(&member(), &exact(b"old")), None);
    let refused = other.bring(&member(), &named("large")).unwrap_err();
    assert!(matches!(refused, StoreError::Refused(_)), "{refused}");
    assert!(other.found(&member(), &exact(b"new")).is_some());
    assert!(other.stored() < 4 << 20);
}

#[test]
fn only_machines_with_the_key_believe_each_other() {
    let bucket = Bucket::new();
    let (key, wrong) = (StoreKey::parse(&[1; 32]).unwrap(), StoreKey::parse(&[2; 32]).unwrap());
    let limits = Limits { reserve_bytes: 0, ..Limits::default() };
    let one = machine_with(&bucket, limits, Some(key.clone()));
    let id = one.cache(&member(), b"k", &one.tree("tree", b"a secret that nobody may read")).put.id;
    one.offer();
    let blobs = bucket.blobs.lock().unwrap().clone();
    assert!(blobs.values().all(|(bytes, _)| !bytes.windows(8).any(|part| part == b"a secret")));
    let other = machine_with(&bucket, limits, Some(key));
    other.bring(&member(), &exact(b"k")).unwrap().unwrap();
    assert_eq!(other.restored(&member(), &id).unwrap(), b"a secret that nobody may read");
    let stranger = machine_with(&bucket, limits, Some(wrong));
    assert!(stranger.bring(&member(), &exact(b"k")).unwrap().is_none());
    let without = machine(&bucket);
    assert!(matches!(without.bring(&member(), &exact(b"k")), Err(StoreError::Key(_))));
    assert!(without.found(&member(), &exact(b"k")).is_none());
}
