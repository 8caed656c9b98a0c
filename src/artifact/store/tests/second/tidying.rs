//! What nobody needs any more goes from the second level; what anybody needs stays.

use super::*;

/// What the audit of a machine says that went.
fn deletions(machine: &Bench) -> Vec<serde_json::Value> {
    let mut lines = Vec::new();
    for path in super::super::super::disk::names(&machine.root().join("audit")).unwrap() {
        let text = fs::read_to_string(path).unwrap();
        lines.extend(text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()));
    }
    lines.retain(|line| line["event"] == "artifact_deletion");
    lines
}

/// Tidies up as often as it takes, half a day apart.
fn tidy(bucket: &Arc<Bucket>, machine: &Bench, times: usize) -> Tidied {
    let mut all = Tidied::default();
    for _ in 0..times {
        bucket.pass(13);
        let did = machine.store.tidy_second(&Interrupt::default()).unwrap().unwrap();
        all.records += did.records;
        all.packs += did.packs;
        all.bytes += did.bytes;
    }
    all
}

#[test]
fn what_no_record_names_goes_in_two_steps() {
    let bucket = Bucket::new();
    let one = machine(&bucket);
    one.cache(&member(), b"k", &one.tree("old", &noise(100_000, 1)));
    one.offer();
    one.pass(60);
    let new = noise(100_000, 2);
    let id = one.cache(&member(), b"k", &one.tree("new", &new)).put.id;
    one.offer();
    assert_eq!(bucket.names("/packs/").len(), 2);
    // It has to be a day old before it is marked, and the mark an hour old.
    tidy(&bucket, &one, 1);
    assert!(bucket.names("/condemned/").is_empty());
    tidy(&bucket, &one, 1);
    assert_eq!((bucket.names("/condemned/").len(), bucket.names("/packs/").len()), (1, 2));
    let did = tidy(&bucket, &one, 1);
    assert_eq!((did.packs, bucket.names("/packs/").len()), (1, 1));
    assert!(did.bytes > 100_000 && bucket.names("/condemned/").is_empty() && bucket.records_are_whole());
    let other = machine(&bucket);
    other.bring(&member(), &exact(b"k")).unwrap().unwrap();
    assert_eq!(other.restored(&member(), &id).unwrap(), new);
}

#[test]
fn one_machine_at_a_time() {
    let bucket = Bucket::new();
    let (one, other) = (machine(&bucket), machine(&bucket));
    assert!(one.store.tidy_second(&Interrupt::default()).unwrap().is_some());
    bucket.pass(11);
    assert!(other.store.tidy_second(&Interrupt::default()).unwrap().is_none());
    bucket.pass(2);
    assert!(other.store.tidy_second(&Interrupt::default()).unwrap().is_some());
    assert_eq!(bucket.names(""), ["tidy/begun"]);
}

#[test]
fn what_was_not_used_for_long_goes_and_what_is_used_stays() {
    let bucket = Bucket::new();
    let one = machine(&bucket);
    let days = |days: i64| {
        bucket.pass(24 * days);
        bucket.seconds.load(Ordering::Relaxed)
    };
    one.cache(&member(), b"used", &one.tree("used", b"used"));
    one.cache(&member(), b"unused", &one.tree("unused", b"unused"));
    one.offer();
    // Every ten days somebody else asks for it.
    for _ in 0..5 {
        let reader = machine(&bucket);
        reader.seconds.store(days(10), Ordering::Relaxed);
        reader.bring(&member(), &exact(b"used")).unwrap().unwrap();
        reader.offer();
        reader.store.tidy_second(&Interrupt::default()).unwrap().unwrap();
    }
    assert_eq!(bucket.names("/records/c-").len(), 1);
    tidy(&bucket, &one, 3);
    let other = machine(&bucket);
    other.bring(&member(), &exact(b"used")).unwrap().unwrap();
    assert!(other.bring(&member(), &exact(b"unused")).unwrap().is_none());
    assert!(bucket.records_are_whole());
}

#[test]
fn what_a_machine_kept_by_itself_counts_as_used_there_too() {
    let bucket = Bucket::new();
    let (one, other) = (machine(&bucket), machine(&bucket));
    let same = |machine: &Bench| {
        let tree = machine.tree("same", b"same");
        File::options().write(true).open(tree.join("file")).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
        machine.cache(&member(), b"k", &tree)
    };
    let written = || {
        let blobs = bucket.blobs.lock().unwrap();
        blobs.iter().find(|(name, _)| name.as_str().contains("/records/")).unwrap().1.1
    };
    let kept = same(&other);
    other.offer();
    one.pass(60);
    assert_eq!(same(&one).put.id, kept.put.id);
    one.offer();
    bucket.pass(24 * 20);
    let before = written();
    other.seconds.store(bucket.seconds.load(Ordering::Relaxed), Ordering::Relaxed);
    other.bring(&member(), &exact(b"k")).unwrap();
    other.offer();
    assert!(written() > before);
}

#[test]
fn a_pack_that_is_marked_is_sent_again_by_whoever_needs_it() {
    let bucket = Bucket::new();
    let one = machine(&bucket);
    let content = noise(100_000, 1);
    let tree = one.tree("tree", &content);
    one.cache(&member(), b"k", &tree);
    one.offer();
    one.pass(60);
    one.cache(&member(), b"k", &one.tree("other", b"other"));
    one.offer();
    tidy(&bucket, &one, 2);
    let marks = bucket.names("/condemned/");
    assert_eq!(marks.len(), 1);
    // The pack is still here; another process finds the mark.
    let one = one.again(&bucket);
    let id = one.put(&member(), "again", &tree).put.id;
    let offered = one.offer();
    assert!(offered.bytes > 100_000 && bucket.names("/condemned/").is_empty());
    // It counted on a pack that somebody may have been about to remove: it looks once more, later.
    assert_eq!((offered.records, offered.waiting), (1, 1));
    tidy(&bucket, &one, 4);
    assert_eq!(bucket.names(&marks[0].replace("condemned", "packs")).len(), 1);
    let other = machine(&bucket);
    other.bring(&member(), &named("again")).unwrap().unwrap();
    assert_eq!(other.restored(&member(), &id).unwrap(), content);
}

#[test]
fn where_a_record_cannot_be_read_no_pack_goes() {
    let bucket = Bucket::new();
    let one = machine(&bucket);
    one.cache(&member(), b"k", &one.tree("tree", &noise(100_000, 1)));
    one.offer();
    let name = BlobName::new(bucket.names("/records/").remove(0)).unwrap();
    bucket.set(&name, b"{}\n".to_vec());
    let did = tidy(&bucket, &one, 6);
    assert_eq!((did.packs, did.records, bucket.names("/packs/").len()), (0, 0, 1));
    // However old it is: it may be of a newer version, or of somebody with another key.
    bucket.pass(24 * 31);
    let did = tidy(&bucket, &one, 4);
    assert_eq!((did.packs, did.records, bucket.names("/packs/").len()), (0, 0, 1));
}

#[test]
fn what_is_kept_for_good_stays() {
    let bucket = Bucket::new();
    let one = machine(&bucket);
    let tree = one.tree("tree", b"x");
    let keep = |name: &str, expires| {
        let kept = one.store.put_shared(&Keep {
            owner: &member(),
            what: What::Artifact { name: Some(name.to_owned()) },
            root: &dir(&tree),
            files: Files::Everything,
            options: PutOptions::default(),
            expires,
            producer: None,
            job: None,
            pipeline: None,
            origin: None,
            metadata: Default::default(),
            interrupt: Interrupt::default(),
            progress: &Progress::default(),
        });
        kept.unwrap()
    };
    keep("release", Expiry::Never);
    keep("brief", Expiry::At(bucket.now() + jiff::SignedDuration::from_hours(1)));
    keep("usual", Expiry::None);
    one.offer();
    assert_eq!(bucket.names("/records/").len(), 3);
    tidy(&bucket, &one, 1);
    assert_eq!(bucket.names("/records/").len(), 2);
    bucket.pass(24 * 31);
    tidy(&bucket, &one, 3);
    assert_eq!(bucket.names("/records/").len(), 1);
    machine(&bucket).bring(&member(), &named("release")).unwrap().unwrap();
    // Of each thing that went, and of no other, the audit says so once, and why; nothing has gone here.
    let told: BTreeMap<String, serde_json::Value> =
        deletions(&one).into_iter().map(|line| (line["name"].as_str().unwrap().to_owned(), line)).collect();
    assert_eq!(deletions(&one).len(), 2);
    assert!(told.keys().eq(["brief", "usual"]), "{told:?}");
    for (name, rule, reason) in
        [("brief", "expired", "it was to be kept until "), ("usual", "unused", "no machine asked for it in 30d")]
    {
        let line = &told[name];
        assert_eq!((&line["rule"], &line["shared_store"]), (&rule.into(), &"memory://bucket".into()), "{line}");
        assert!(line["reason"].as_str().unwrap().starts_with(reason), "{line}");
        let info = one.store.find(&member(), &named(name)).unwrap().unwrap().info;
        assert_eq!(line["artifact"], info.content_hash.to_string());
        assert!(line["entry"].as_str().unwrap().starts_with(&format!("{}/", member().slug())), "{line}");
    }
    assert!(deletions(&machine(&bucket)).is_empty());
}
