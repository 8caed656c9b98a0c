//! Collections: what goes takes nothing with it that somebody counts on.

use super::*;

/// What is kept under this name goes with the next collection.
fn let_go(bench: &Bench, kept: &Kept) {
    assert!(bench.store.forget_name(&member(), &kept.key).unwrap());
}

fn packs(bench: &Bench) -> usize {
    super::super::disk::fanned(&bench.store.home(&member()).packs()).unwrap().len()
}

#[test]
fn an_unchanged_file_whose_list_outlived_its_chunks_is_stored_again() {
    let bench = Bench::new();
    let (tree, other) = (bench.folder("tree"), bench.folder("other"));
    let mut content = noise(6 << 20, 1);
    fs::write(tree.join("x"), &content).unwrap();
    let first = bench.put(&member(), "first", &tree);
    // The second pack has the new list, a chunk, and much that will be needed by others.
    content[0] ^= 1;
    fs::write(tree.join("x"), &content).unwrap();
    let large = noise(16 << 20, 2);
    fs::write(tree.join("y"), &large).unwrap();
    settle();
    let second = bench.put(&member(), "second", &tree);
    fs::write(other.join("y"), &large).unwrap();
    let kept = bench.put(&member(), "kept", &other);
    assert_eq!(packs(&bench), 3);
    let_go(&bench, &first);
    let_go(&bench, &second);
    bench.collect();
    assert_eq!(packs(&bench), 2, "the chunks go, and the list stays in a pack that is needed");

    let again = bench.put(&member(), "again", &tree);
    assert_eq!(again.put.id, second.put.id);
    assert!(again.put.new_bytes > 5 << 20, "{} bytes", again.put.new_bytes);
    for (id, expected) in [(again.put.id, &tree), (kept.put.id, &other)] {
        let out = tempfile::tempdir_in(bench.temp.path()).unwrap();
        bench.get(&member(), &id, out.path()).unwrap();
        assert_eq!(state(out.path()), state(expected));
    }
}

#[test]
fn an_unchanged_file_whose_list_is_damaged_is_stored_again_with_it() {
    let bench = Bench::new();
    let tree = bench.folder("tree");
    let content = noise(2 << 20, 1);
    fs::write(tree.join("x"), &content).unwrap();
    settle();
    let kept = bench.put(&member(), "a", &tree);
    let id = ObjectId::of(&content);
    let catalog = bench.store.catalog(&bench.store.home(&member())).unwrap();
    let found = catalog.find(&id).unwrap();
    assert_eq!(found.record.kind, super::super::pack::Kind::List);
    // The list does not compress: it lies there as it is.
    let mut bytes = fs::read(&found.pack.path).unwrap();
    let chunk = ObjectId::of(&content[..first_chunk(&content)]);
    let at = bytes.windows(32).position(|some| some == chunk.as_bytes());
    bytes[at.unwrap()] ^= 1;
    fs::write(&found.pack.path, bytes).unwrap();
    bench.put(&member(), "a", &tree);
    let out = bench.folder("out");
    bench.get(&member(), &kept.put.id, &out).unwrap();
    assert_eq!(state(&out), state(&tree));
}

fn first_chunk(content: &[u8]) -> usize {
    let mut ends = Vec::new();
    super::super::chunks::cuts(content, true, &mut ends);
    ends[0]
}
