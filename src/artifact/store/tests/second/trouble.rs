//! A second level that is slow, lies, loses things or is gone.

use super::*;

#[test]
fn what_is_gone_keeps_nobody_from_working() {
    let bucket = Bucket::new();
    let one = machine(&bucket);
    bucket.is(Fault::Gone);
    let id = one.cache(&member(), b"k", &one.tree("tree", b"x")).put.id;
    let offered = one.offer();
    assert!(matches!(offered.trouble, Some(StoreError::Second(LevelError::Failed { .. }))));
    assert_eq!((offered.records, offered.waiting), (0, 1));
    // Asked once, it is left alone for a while.
    bucket.calls.lock().unwrap().clear();
    assert!(one.bring(&member(), &exact(b"k")).unwrap().is_none());
    assert!(bucket.calls.lock().unwrap().is_empty());
    assert_eq!(one.restored(&member(), &id).unwrap(), b"x");
    bucket.is(Fault::None);
    assert_eq!(one.offer().records, 1);
    machine(&bucket).bring(&member(), &exact(b"k")).unwrap().unwrap();
}

#[test]
fn whoever_reads_is_told_once_that_it_is_gone() {
    let bucket = Bucket::new();
    let one = machine(&bucket);
    bucket.is(Fault::Gone);
    let error = one.bring(&member(), &exact(b"k")).unwrap_err();
    let text = crate::artifact::in_full(&error);
    assert!(text.contains("memory://bucket") && text.contains("connection refused"), "{text}");
    assert!(one.bring(&member(), &exact(b"k")).unwrap().is_none());
}

#[test]
fn cut_off_anywhere_it_never_names_what_is_not_there() {
    for writes in 0.. {
        let bucket = Bucket::new();
        let one = machine(&bucket);
        one.cache(&member(), b"a", &one.tree("a", &noise(2 << 20, 1)));
        one.cache(&member(), b"b", &one.tree("b", &noise(100_000, 2)));
        bucket.is(Fault::GoneAfter(writes));
        let first = one.offer();
        assert!(bucket.records_are_whole(), "after {writes} writes");
        bucket.is(Fault::None);
        // Another process takes up what the first left.
        let second = one.again(&bucket).offer();
        assert_eq!((first.records + second.records, second.waiting), (2, 0));
        let other = machine(&bucket);
        other.bring(&member(), &exact(b"a")).unwrap().unwrap();
        other.bring(&member(), &exact(b"b")).unwrap().unwrap();
        if first.trouble.is_none() {
            return;
        }
    }
}

#[test]
fn what_lies_is_not_believed() {
    // The header, the footer, the hash at the end: each makes it another pack.
    for fault in [Fault::Truncates, Fault::Flips(0), Fault::Flips(20)] {
        let bucket = Bucket::new();
        let (one, other) = (machine(&bucket), machine(&bucket));
        let tree = one.tree("tree", &noise(200_000, 1));
        one.cache(&member(), b"k", &tree);
        one.offer();
        bucket.is(fault.clone());
        let error = other.bring(&member(), &exact(b"k")).unwrap_err();
        assert!(matches!(error, StoreError::Second(LevelError::Wrong { .. })), "{fault:?}: {error}");
        assert!(other.found(&member(), &exact(b"k")).is_none());
        assert_eq!(other.stored(), 0);
        bucket.is(Fault::None);
        // It is marked, so that whoever needs it sends it again; where only the way was bad, it comes now.
        assert_eq!(bucket.names("/unfit/").len(), 1);
        other.bring(&member(), &exact(b"k")).unwrap().unwrap();
        let one = one.again(&bucket);
        one.put(&member(), "again", &tree);
        assert!(one.offer().bytes > 200_000 && bucket.names("/unfit/").is_empty());
    }
}

#[test]
fn packs_that_went_are_sent_again_by_whoever_keeps_the_same_again() {
    let bucket = Bucket::new();
    let (one, other) = (machine(&bucket), machine(&bucket));
    let tree = one.tree("tree", &noise(200_000, 1));
    one.cache(&member(), b"k", &tree);
    one.offer();
    bucket.blobs.lock().unwrap().retain(|name, _| !name.as_str().contains("/packs/"));
    assert!(other.bring(&member(), &exact(b"k")).is_err());
    // However often somebody tidies up, it stays known that it went.
    for _ in 0..3 {
        bucket.pass(13);
        one.store.tidy_second(&Interrupt::default()).unwrap().unwrap();
    }
    // The next day's job keeps the same cache.
    one.pass(25 * 3600);
    let one = one.again(&bucket);
    assert!(one.cache(&member(), b"k", &tree).is_up_to_date);
    assert!(one.offer().bytes > 200_000);
    assert!(bucket.records_are_whole() && bucket.names("/unfit/").is_empty());
    other.bring(&member(), &exact(b"k")).unwrap().unwrap();
    // Not each time.
    one.cache(&member(), b"k", &tree);
    assert_eq!(one.store.waiting_for_second().unwrap(), 0);
}

#[test]
fn a_flipped_byte_of_content_does_not_come_in() {
    let bucket = Bucket::new();
    let (one, other) = (machine(&bucket), machine(&bucket));
    let content = noise(200_000, 1);
    let tree = one.tree("tree", &content);
    let id = one.cache(&member(), b"k", &tree).put.id;
    one.offer();
    bucket.is(Fault::Flips(40_000));
    let error = other.bring(&member(), &exact(b"k")).unwrap_err();
    assert!(matches!(error, StoreError::Second(LevelError::Wrong { .. })), "{error}");
    assert_eq!((other.stored(), bucket.names("/unfit/").len()), (0, 1));
    // Whoever has it sends it again.
    let one = one.again(&bucket);
    assert_eq!(one.put(&member(), "again", &tree).put.id, id);
    bucket.is(Fault::None);
    assert!(one.offer().bytes > 200_000 && bucket.names("/unfit/").is_empty());
    other.bring(&member(), &exact(b"k")).unwrap().unwrap();
    assert_eq!(other.restored(&member(), &id).unwrap(), content);
}

/// Has the chunks of the first file of the only pack in another order, and all checksums fit.
fn forge_list(bucket: &Bucket) {
    let name = BlobName::new(bucket.names("/packs/").remove(0)).unwrap();
    let mut pack = bucket.content(&name).unwrap();
    let number = |pack: &[u8], at: usize, bytes: usize| {
        pack[at..at + bytes].iter().rev().fold(0, |n, b| n << 8 | usize::from(*b))
    };
    let trailer = pack.len() - 48;
    let (frames, objects) = (number(&pack, trailer, 4), number(&pack, trailer + 4, 4));
    let footer = trailer - number(&pack, trailer + 8, 8);
    let lists = (0..objects).map(|object| footer + frames * 20 + object * 48).filter(|at| pack[at + 44] == 1);
    let record = lists.collect::<Vec<_>>()[0];
    let frame = footer + number(&pack, record + 32, 4) * 20;
    let (start, stored) = (number(&pack, frame, 8), number(&pack, frame + 8, 4));
    let (offset, length) = (number(&pack, record + 36, 4), number(&pack, record + 40, 4));
    let is_raw = pack[frame + 16] == 0;
    let bytes = pack[start..start + stored].to_vec();
    let mut content = if is_raw { bytes } else { zstd::decode_all(&bytes[..]).unwrap() };
    let list = &mut content[offset..offset + length];
    let entries = (length - 33) / 40;
    assert!(entries > 2);
    // The chunks change places.
    let body: Vec<u8> = (0..entries).rev().flat_map(|n| list[1 + n * 40..41 + n * 40].to_vec()).collect();
    list[1..1 + entries * 40].copy_from_slice(&body);
    let sum = ObjectId::of(&list[..length - 32]);
    list[length - 32..].copy_from_slice(sum.as_bytes());
    let packed = if is_raw { content } else { zstd::bulk::compress(&content, 1).unwrap() };
    assert_eq!(packed.len(), stored, "as long as before");
    pack[start..start + stored].copy_from_slice(&packed);
    bucket.set(&name, pack);
}

#[test]
fn a_list_that_makes_another_file_of_the_chunks_does_not_come_in() {
    let bucket = Bucket::new();
    let (one, other) = (machine(&bucket), machine(&bucket));
    let content = noise(1 << 20, 1);
    let id = one.put(&member(), "site", &one.tree("tree", &content)).put.id;
    one.offer();
    forge_list(&bucket);
    let error = other.bring(&member(), &named("site")).unwrap_err();
    assert!(error.is_damage(), "{error}");
    assert!(other.found(&member(), &named("site")).is_none());
    // Who keeps the file itself has it, and not what somebody says it is.
    let own = other.put(&member(), "own", &other.tree("tree", &content)).put.id;
    assert_eq!(other.restored(&member(), &own).unwrap(), content);
    assert_eq!(one.restored(&member(), &id).unwrap(), content);
}

#[test]
fn of_a_pack_with_files_that_are_not_all_here_comes_what_is_needed() {
    let bucket = Bucket::new();
    let (one, other) = (machine(&bucket), machine(&bucket));
    let large = noise(500_000, 1);
    one.put(&member(), "first", &one.tree("first", &large));
    // The second pack has the list of a file most of whose chunks lie in the first, and a file that is a tree by itself later.
    let second = one.folder("second");
    fs::write(second.join("large"), [&large[..], b"and more"].concat()).unwrap();
    fs::write(second.join("file"), "alone").unwrap();
    one.put(&member(), "second", &second);
    let id = one.put(&member(), "third", &one.tree("third", b"alone")).put.id;
    one.offer();
    let came = other.bring(&member(), &named("third")).unwrap().unwrap();
    // What nobody can prove here did not become part of the store.
    assert!(other.stored() < came.bytes, "{} of {}", other.stored(), came.bytes);
    assert_eq!(other.restored(&member(), &id).unwrap(), b"alone");
    let again = other.put(&member(), "second", &second).put.id;
    let into = other.folder("into");
    other.get(&member(), &again, &into).unwrap();
    assert!(fs::read(into.join("large")).unwrap() == fs::read(second.join("large")).unwrap());
}

#[test]
fn one_entry_that_cannot_be_told_does_not_hold_up_the_others() {
    let bucket = Bucket::new();
    let one = machine(&bucket);
    one.cache(&member(), b"first", &one.tree("a", b"a"));
    one.cache(&owner("2", Trust::Member), b"second", &one.tree("b", b"b"));
    // The server takes nothing of the first one's owner.
    bucket.is(Fault::Refuses(member().slug()));
    let offered = one.offer();
    assert!(offered.trouble.is_some());
    assert_eq!((offered.records, offered.waiting), (1, 1));
    bucket.is(Fault::None);
    assert_eq!((one.offer().records, one.store.waiting_for_second().unwrap()), (1, 0));
}

#[test]
fn what_is_kept_while_something_older_comes_stays() {
    let bucket = Bucket::new();
    let (one, other) = (machine(&bucket), machine(&bucket));
    one.pass(60);
    one.cache(&member(), b"k", &one.tree("old", &noise(100_000, 1)));
    one.offer();
    other.pass(120);
    // While the pack is on its way, a job here keeps a newer cache.
    let tree = other.tree("new", b"new");
    let other = Arc::new(other);
    let keeper = Arc::downgrade(&other);
    *bucket.meanwhile.lock().unwrap() = Some(Box::new(move || {
        keeper.upgrade().unwrap().cache(&member(), b"k", &tree);
    }));
    other.bring(&member(), &exact(b"k")).unwrap().unwrap();
    let found = other.found(&member(), &exact(b"k")).unwrap();
    assert_eq!(other.restored(&member(), &found).unwrap(), b"new");
    assert_eq!(other.offer().records, 1);
    assert_eq!(machine(&bucket).bring(&member(), &exact(b"k")).unwrap().unwrap().info.content_hash, found);
}

#[test]
fn what_is_damaged_here_is_had_again() {
    let bucket = Bucket::new();
    let one = machine(&bucket);
    let content = noise(200_000, 1);
    let id = one.cache(&member(), b"k", &one.tree("tree", &content)).put.id;
    one.put(&member(), "site", &one.tree("site", b"<html>"));
    one.offer();
    let packs = || -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![one.root().join("owners")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.components().any(|part| part.as_os_str() == "packs") {
                    found.push(path);
                }
            }
        }
        found
    };
    // A byte of the content, then the whole file.
    let large = packs().into_iter().max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    let mut bytes = fs::read(&large).unwrap();
    bytes[50_000] ^= 4;
    fs::write(&large, bytes).unwrap();
    assert_eq!(one.restored(&member(), &id).unwrap(), content);
    for path in packs() {
        fs::remove_file(path).unwrap();
    }
    assert_eq!(one.restored(&member(), &id).unwrap(), content);
    // `verify` has the rest.
    let verified = one.store.verify(&Verifying::default(), &Progress::default()).unwrap();
    assert!(verified.kept.iter().all(|(.., kept)| kept.result == VerificationResult::Valid), "{verified:?}");
}

#[test]
fn a_record_that_is_not_in_its_place_is_not_believed() {
    let bucket = Bucket::new();
    let one = machine(&bucket);
    let fork = owner("1", Trust::Fork);
    one.cache(&fork, b"evil", &one.tree("evil", b"evil"));
    one.cache(&owner("1", Trust::Protected), b"k", &one.tree("good", b"good"));
    one.offer();
    let (slug, good_slug) = (fork.slug(), owner("1", Trust::Protected).slug());
    let find = |slug: &str, part: &str| {
        BlobName::new(bucket.names(part).into_iter().find(|name| name.starts_with(slug)).unwrap()).unwrap()
    };
    let evil = bucket.content(&find(&slug, "/records/")).unwrap();
    let pack = find(&slug, "/packs/");
    let moved = BlobName::new(pack.as_str().replace(&slug, &good_slug)).unwrap();
    bucket.set(&moved, bucket.content(&pack).unwrap());
    // Put where the protected one's lies, it says itself that it is a fork's.
    bucket.set(&find(&good_slug, "/records/"), evil);
    let other = machine(&bucket);
    assert!(other.bring(&owner("1", Trust::Protected), &exact(b"k")).unwrap().is_none());
    assert!(other.bring(&owner("1", Trust::Protected), &exact(b"evil")).unwrap().is_none());
}

#[test]
fn a_record_that_lacks_a_pack_brings_nothing() {
    let bucket = Bucket::new();
    let (one, other) = (machine(&bucket), machine(&bucket));
    let tree = one.tree("tree", &noise(100_000, 1));
    one.put(&member(), "first", &tree);
    one.offer();
    fs::write(tree.join("more"), "more").unwrap();
    one.put(&member(), "second", &tree);
    one.offer();
    // Says of the second one that it needs the new pack alone.
    let names = bucket.names("/records/");
    let record = |name: &str| bucket.content(&BlobName::new(name).unwrap()).unwrap();
    let packs = |bytes: &[u8]| {
        let text: serde_json::Value = serde_json::from_slice(bytes).unwrap();
        text["record"]["packs"].as_array().unwrap().len()
    };
    let second = names.iter().max_by_key(|name| packs(&record(name))).unwrap();
    let mut text: serde_json::Value = serde_json::from_slice(&record(second)).unwrap();
    text["record"]["packs"].as_array_mut().unwrap().sort_by_key(|pack| pack["bytes"].as_u64());
    text["record"]["packs"].as_array_mut().unwrap().truncate(1);
    text["sha256"] = ObjectId::of(text["record"].to_string().as_bytes()).to_string().into();
    bucket.set(&BlobName::new(second.as_str()).unwrap(), format!("{text}\n").into_bytes());
    let error = other.bring(&member(), &named("second")).unwrap_err();
    assert!(matches!(error, StoreError::Second(LevelError::Wrong { .. })), "{error}");
    assert!(other.found(&member(), &named("second")).is_none());
}

#[test]
fn what_is_damaged_everywhere_is_fetched_a_few_times_and_then_only_by_whoever_looks() {
    let bucket = Bucket::new();
    let one = machine(&bucket);
    let content = noise(200_000, 1);
    let id = one.cache(&member(), b"k", &one.tree("tree", &content)).put.id;
    one.offer();
    let known = |one: &Bench| {
        let listed = one.store.list(None).unwrap();
        let known = one.store.verifications().unwrap().of(&listed[0].info);
        (known.result, known.retry_count)
    };
    let [pack] = &crate::artifact::store::disk::fanned(&one.store.home(&member()).packs()).unwrap()[..] else {
        panic!("one pack")
    };
    let mut bytes = fs::read(pack).unwrap();
    bytes[50_000] ^= 4;
    fs::write(pack, bytes).unwrap();
    // Nobody answers: that is no try.
    bucket.is(Fault::Gone);
    assert!(one.restored(&member(), &id).is_err());
    assert_eq!(known(&one), (VerificationResult::Corrupted, 0));
    let one = one.again(&bucket);
    bucket.is(Fault::Flips(40_000));
    let asked = || bucket.calls.lock().unwrap().len();
    let mut tries = Vec::new();
    for _ in 0..4 {
        let before = asked();
        assert!(one.restored(&member(), &id).is_err());
        tries.push((known(&one).0, known(&one).1, asked() > before));
    }
    use VerificationResult::{Failed, Missing, Valid};
    assert_eq!(tries, [(Missing, 1, true), (Missing, 2, true), (Failed, 3, true), (Failed, 3, false)]);
    let verify = || one.store.verify(&Verifying::default(), &Progress::default()).unwrap();
    assert!(!verify().is_sound());
    assert_eq!(known(&one), (Failed, 4));
    // Somebody has put it right there.
    bucket.is(Fault::None);
    assert!(verify().is_sound());
    assert_eq!(known(&one), (Valid, 0));
    assert_eq!(one.restored(&member(), &id).unwrap(), content);
}

#[test]
fn what_a_restore_had_again_is_known_to_be_whole() {
    let bucket = Bucket::new();
    let one = machine(&bucket);
    let content = noise(200_000, 1);
    let id = one.cache(&member(), b"k", &one.tree("tree", &content)).put.id;
    one.offer();
    for path in crate::artifact::store::disk::fanned(&one.store.home(&member()).packs()).unwrap() {
        fs::remove_file(path).unwrap();
    }
    assert_eq!(one.restored(&member(), &id).unwrap(), content);
    let listed = one.store.list(None).unwrap();
    let known = one.store.verifications().unwrap().of(&listed[0].info);
    assert_eq!((known.result, known.retry_count, known.size), (VerificationResult::Valid, 0, 200_000));
}
