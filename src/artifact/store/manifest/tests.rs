//! What is written is read again; what is not a manifest is refused.

use proptest::prelude::*;

use super::super::id::ObjectId;
use super::write::ManifestWriter;
use super::*;

fn file(path: &str, content: &str) -> TreeEntry {
    TreeEntry {
        path: path.as_bytes().to_vec(),
        mode: 0o644,
        mtime: Mtime { seconds: 1_700_000_000, nanos: 5 },
        owner: None,
        xattrs: Vec::new(),
        node: TreeNode::File { size: content.len() as u64, id: ObjectId::of(content.as_bytes()) },
    }
}

/// The root, its id, and the segments.
fn written(entries: &[TreeEntry]) -> (Root, ObjectId, Vec<Vec<u8>>) {
    let mut segments = Vec::new();
    let mut keep = |id: ObjectId, bytes: Vec<u8>| {
        assert_eq!(id, ObjectId::of(&bytes));
        segments.push(bytes);
        Ok(())
    };
    let mut writer = ManifestWriter::new();
    for entry in entries {
        writer.push(entry, &mut keep).unwrap();
    }
    let (root, bytes) = writer.finish(&mut keep).unwrap();
    assert_eq!(read::root(&bytes).unwrap(), root);
    (root, ObjectId::of(&bytes), segments)
}

fn many() -> Vec<TreeEntry> {
    let mut entries: Vec<TreeEntry> =
        (0..5_000).map(|n| file(&format!("node_modules/m{:03}/f{n}.js", n % 300), &format!("{n}"))).collect();
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    entries
}

#[test]
fn one_changed_file_makes_one_new_segment() {
    let before = many();
    let mut after = before.clone();
    after[2_500].node = TreeNode::File { size: 3, id: ObjectId::of(b"new") };
    let (old, old_id, _) = written(&before);
    let (new, new_id, _) = written(&after);
    assert!(old.segments.len() > 4);
    let changed = new.segments.iter().filter(|segment| !old.segments.contains(segment)).count();
    assert_eq!(changed, 1);
    assert!(old_id != new_id && old.content_id != new.content_id);

    let mut longer = before.clone();
    longer.insert(0, file("a-first-file", "x"));
    let (longer, ..) = written(&longer);
    let changed = longer.segments.iter().filter(|segment| !old.segments.contains(segment)).count();
    assert_eq!(changed, 1, "what comes after a new entry stays as it is");
}

#[test]
fn times_and_owners_are_no_content() {
    let before = many();
    let mut later = before.clone();
    for entry in &mut later {
        entry.mtime.seconds += 60;
        entry.owner = Some((1000, 1000));
    }
    let ((old, old_id, _), (new, new_id, _)) = (written(&before), written(&later));
    assert_eq!(old.content_id, new.content_id);
    assert_ne!(old_id, new_id);
    later[0].mode = 0o755;
    assert_ne!(written(&later).0.content_id, old.content_id);
}

#[test]
fn paths_that_lead_out_are_no_manifest() {
    for path in ["../x", "/etc/passwd", "a/../b", "a//b", "a/", ".", "", "a\0b"] {
        let (.., segments) = written(&[file(path, "x")]);
        assert!(read::segment(&segments[0]).is_none(), "{path:?}");
    }
    // Twice the same name, or out of order: what comes first could be a symlink that the second goes through.
    for paths in [["a", "a"], ["b", "a"]] {
        let (.., segments) = written(&paths.map(|path| file(path, "x")));
        assert!(segments.iter().any(|segment| read::segment(segment).is_none()), "{paths:?}");
    }
}

/// Folders below a path that is nearly as long as one can be, each a few bytes of a segment.
fn deep(count: usize) -> Vec<TreeEntry> {
    let above = format!("{}{}", "a/".repeat(1900), "b".repeat(200));
    let mut entries: Vec<TreeEntry> = (0..count).map(|number| file(&format!("{above}/{number:08}"), "x")).collect();
    entries.iter_mut().for_each(|entry| entry.node = TreeNode::Folder);
    entries
}

#[test]
fn long_paths_make_more_segments_not_larger_ones() {
    let entries = deep(10_000);
    let (_, _, segments) = written(&entries);
    let read: Vec<Vec<TreeEntry>> = segments.iter().map(|segment| read::segment(segment).unwrap()).collect();
    let bytes = |entries: &Vec<TreeEntry>| entries.iter().map(|entry| entry.path.len()).sum::<usize>();
    assert!(read.iter().map(bytes).all(|bytes| bytes <= MAX_PATHS + MAX_PATH));
    assert_eq!(read.concat(), entries);
}

#[test]
fn a_segment_that_would_take_a_lot_of_memory_is_none() {
    let encoded = |entries: &[TreeEntry]| {
        let mut bytes = Vec::new();
        let mut before: &[u8] = &[];
        for entry in entries {
            codec::put_entry(&mut bytes, entry, before);
            before = &entry.path;
        }
        bytes
    };
    let long = encoded(&deep(3000));
    assert!(long.len() < 100_000, "{} bytes for 12 MB of paths", long.len());
    assert!(read::segment(&long).is_none());
    assert_eq!(read::segment(&encoded(&deep(2000))).unwrap().len(), 2000);
    let mut many: Vec<TreeEntry> = (0..140_000).map(|number| file(&format!("{number:06}"), "")).collect();
    many.iter_mut().for_each(|entry| entry.node = TreeNode::Folder);
    assert!(read::segment(&encoded(&many)).is_none());
    assert!(read::segment(&encoded(&many[..130_000])).is_some());
    let mut one = file("a", "");
    one.xattrs = vec![(b"a".to_vec(), Vec::new()); 70_000];
    assert!(read::segment(&encoded(&[one])).is_none());
}

fn entry() -> impl Strategy<Value = TreeEntry> {
    let name = proptest::collection::vec(any::<u8>().prop_filter("a name", |b| *b != 0 && *b != b'/'), 1..20);
    let path = proptest::collection::vec(name, 1..4)
        .prop_map(|names| names.join(&b'/'))
        .prop_filter("plain", |path| is_plain(path));
    let node = prop_oneof![
        Just(TreeNode::Folder),
        any::<u64>().prop_map(|size| TreeNode::File { size, id: ObjectId::of(if size == 0 { b"" } else { b"x" }) }),
        proptest::collection::vec(any::<u8>(), 0..50).prop_map(|target| TreeNode::Symlink { target }),
    ];
    let xattrs = proptest::collection::vec((proptest::collection::vec(1_u8.., 1..10), any::<Vec<u8>>()), 0..3);
    (path, 0..0o10000_u32, any::<i64>(), 0..1_000_000_000_u32, any::<Option<(u32, u32)>>(), xattrs, node).prop_map(
        |(path, mode, seconds, nanos, owner, xattrs, node)| TreeEntry {
            path,
            mode,
            mtime: Mtime { seconds, nanos },
            owner,
            xattrs,
            node,
        },
    )
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(entries in proptest::collection::vec(entry(), 0..40)) {
        let mut entries = entries;
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        entries.dedup_by(|a, b| a.path == b.path);
        let (root, _, segments) = written(&entries);
        let read: Vec<TreeEntry> = segments.iter().flat_map(|segment| read::segment(segment).unwrap()).collect();
        prop_assert_eq!(root.entries, read.len() as u64);
        prop_assert_eq!(read, entries);
    }

    #[test]
    fn no_bytes_make_the_reader_fall(bytes in any::<Vec<u8>>(), cut in 0_usize..200) {
        let _ = read::segment(&bytes);
        let _ = read::root(&[&MAGIC[..], &bytes].concat());
        let (.., segments) = written(&many()[..50]);
        let _ = read::segment(&segments[0][..cut.min(segments[0].len())]);
    }
}
