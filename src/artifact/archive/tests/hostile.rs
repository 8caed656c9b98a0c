//! Archives made to escape, explode or confuse.

use super::*;

/// A zip entry as another implementation writes it.
struct Evil<'a> {
    name: &'a str,
    mode: u32,
    content: &'a [u8],
}

fn evil_zip(entries: &[Evil<'_>]) -> Vec<u8> {
    // By hand: libraries refuse to write such names.
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for entry in entries {
        let offset = out.len() as u32;
        let mut common = Vec::new();
        common.extend([20, 0, 0, 0, 0, 0, 0, 0, 0x21, 0]);
        common.extend(crc32fast::hash(entry.content).to_le_bytes());
        common.extend((entry.content.len() as u32).to_le_bytes());
        common.extend((entry.content.len() as u32).to_le_bytes());
        common.extend((entry.name.len() as u16).to_le_bytes());
        common.extend([0, 0]);
        out.extend(0x0403_4b50_u32.to_le_bytes());
        out.extend(&common);
        out.extend(entry.name.as_bytes());
        out.extend(entry.content);
        directory.extend(0x0201_4b50_u32.to_le_bytes());
        directory.extend([20, 3]);
        directory.extend(&common);
        directory.extend([0; 6]);
        directory.extend((entry.mode << 16).to_le_bytes());
        directory.extend(offset.to_le_bytes());
        directory.extend(entry.name.as_bytes());
    }
    let start = out.len() as u32;
    let count = (entries.len() as u16).to_le_bytes();
    out.extend(&directory);
    out.extend(0x0605_4b50_u32.to_le_bytes());
    out.extend([0; 4]);
    out.extend([count, count].concat());
    out.extend((directory.len() as u32).to_le_bytes());
    out.extend(start.to_le_bytes());
    out.extend([0, 0]);
    out
}

fn evil_tar(entries: &[(&str, ::tar::EntryType, &[u8])]) -> Vec<u8> {
    let mut out = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    for (name, kind, content) in entries {
        let linked = matches!(kind, ::tar::EntryType::Symlink | ::tar::EntryType::Link);
        let mut header = ::tar::Header::new_gnu();
        let gnu = header.as_gnu_mut().unwrap();
        gnu.name[..name.len()].copy_from_slice(name.as_bytes());
        if linked {
            gnu.linkname[..content.len()].copy_from_slice(content);
        }
        let content = if linked { b"" } else { *content };
        header.set_entry_type(*kind);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1);
        header.set_size(content.len() as u64);
        header.set_cksum();
        out.write_all(header.as_bytes()).unwrap();
        out.write_all(content).unwrap();
        out.write_all(&vec![0; content.len().next_multiple_of(512) - content.len()]).unwrap();
    }
    out.write_all(&[0; 1024]).unwrap();
    out.finish().unwrap()
}

const FILE: u32 = 0o100_644;
const LINK: u32 = 0o120_777;

/// A folder with a bystander in it, and the work tree inside.
struct Scene {
    temp: TempDir,
}

impl Scene {
    fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        fs::create_dir(temp.path().join("tree")).unwrap();
        fs::write(temp.path().join("bystander"), "untouched").unwrap();
        Self { temp }
    }

    fn tree(&self) -> PathBuf {
        self.temp.path().join("tree")
    }

    fn nothing_got_out(&self) {
        assert_eq!(fs::read(self.temp.path().join("bystander")).unwrap(), b"untouched");
        assert_eq!(fs::read_dir(self.temp.path()).unwrap().count(), 2, "something was put beside the tree");
    }
}

#[test]
fn names_that_lead_out_refuse_the_archive() {
    use ::tar::EntryType as T;
    for name in ["../bystander", "/tmp/forgehand-escape", "a/../../bystander", "a/..", "..", "./../bystander", "//x"] {
        let scene = Scene::new();
        let archives = [
            evil_zip(&[Evil { name, mode: FILE, content: b"evil" }]),
            evil_tar(&[(name, T::Regular, b"evil")]),
            evil_tar(&[(name, T::Directory, b"")]),
            evil_tar(&[(name, T::Symlink, b"x")]),
        ];
        for archive in archives {
            let result = unpacked(&archive, &scene.tree());
            assert!(matches!(result, Err(ArchiveError::UnsafeName(_))), "{name}: {result:?}");
            scene.nothing_got_out();
        }
    }
    let nul = evil_zip(&[Evil { name: "a\0b", mode: FILE, content: b"" }]);
    assert!(matches!(unpacked(&nul, &Scene::new().tree()), Err(ArchiveError::UnsafeName(_))));
}

#[test]
fn a_symlink_of_the_archive_is_not_followed() {
    use ::tar::EntryType as T;
    for target in ["..", "../", "/", "../../", "sub/../.."] {
        let scene = Scene::new();
        let zip = evil_zip(&[
            Evil { name: "out", mode: LINK, content: target.as_bytes() },
            Evil { name: "out/bystander", mode: FILE, content: b"evil" },
        ]);
        let tar = evil_tar(&[("out", T::Symlink, target.as_bytes()), ("out/bystander", T::Regular, b"evil")]);
        for archive in [zip, tar] {
            let report = unpacked(&archive, &scene.tree()).unwrap();
            assert_eq!(report.remarks.len(), 1, "{:?}", report.remarks);
            scene.nothing_got_out();
            assert_eq!(fs::read(scene.tree().join("out/bystander")).unwrap(), b"evil", "in a folder of the tree");
            assert!(fs::symlink_metadata(scene.tree().join("out")).unwrap().is_dir());
        }
    }
}

#[test]
fn a_symlink_of_the_tree_is_not_followed() {
    let scene = Scene::new();
    symlink("..", scene.tree().join("up")).unwrap();
    symlink("../bystander", scene.tree().join("file")).unwrap();
    let archive = evil_zip(&[
        Evil { name: "up/bystander", mode: FILE, content: b"evil" },
        Evil { name: "file", mode: FILE, content: b"evil" },
    ]);
    unpacked(&archive, &scene.tree()).unwrap();
    scene.nothing_got_out();
    assert_eq!(fs::read(scene.tree().join("file")).unwrap(), b"evil");
    assert!(fs::symlink_metadata(scene.tree().join("file")).unwrap().is_file());
}

#[test]
fn a_file_planted_twice_through_a_symlink_stays_inside() {
    use ::tar::EntryType as T;
    let scene = Scene::new();
    // The folder is known and cached when it is swapped for a symlink, and named again after.
    let archive = evil_tar(&[
        ("d/", T::Directory, b""),
        ("d", T::Symlink, b".."),
        ("d/bystander", T::Regular, b"evil"),
        ("e/x", T::Regular, b"1"),
        ("e", T::Symlink, b".."),
        ("e/bystander", T::Regular, b"evil"),
    ]);
    unpacked(&archive, &scene.tree()).unwrap();
    scene.nothing_got_out();
}

#[test]
fn hard_links_stay_inside_and_name_files_only() {
    use ::tar::EntryType as T;
    let scene = Scene::new();
    for target in ["../bystander", "/etc/passwd"] {
        let archive = evil_tar(&[("l", T::Link, target.as_bytes())]);
        assert!(matches!(unpacked(&archive, &scene.tree()), Err(ArchiveError::UnsafeName(_))));
    }
    symlink("../bystander", scene.tree().join("way-out")).unwrap();
    let archive = evil_tar(&[
        ("a", T::Regular, b"one"),
        ("b", T::Link, b"a"),
        ("c", T::Link, b"way-out"),
        ("d", T::Link, b"missing"),
        ("a", T::Link, b"a"),
    ]);
    let report = unpacked(&archive, &scene.tree()).unwrap();
    assert_eq!(report.remarks.len(), 3, "{:?}", report.remarks);
    assert_eq!(fs::read(scene.tree().join("b")).unwrap(), b"one");
    assert_eq!(fs::metadata(scene.tree().join("a")).unwrap().nlink(), 2);
    scene.nothing_got_out();
}

#[test]
fn devices_and_pipes_are_left_out() {
    use ::tar::EntryType as T;
    let scene = Scene::new();
    let tar =
        evil_tar(&[("null", T::Char, b""), ("disk", T::Block, b""), ("pipe", T::Fifo, b""), ("f", T::Regular, b"1")]);
    let zip = evil_zip(&[
        Evil { name: "null", mode: 0o020_666, content: b"" },
        Evil { name: "disk", mode: 0o060_666, content: b"" },
        Evil { name: "pipe", mode: 0o010_666, content: b"" },
        Evil { name: "f", mode: FILE, content: b"1" },
    ]);
    for archive in [tar, zip] {
        let report = unpacked(&archive, &scene.tree()).unwrap();
        assert_eq!((report.entries, report.remarks.len()), (1, 3));
        assert_eq!(fs::read_dir(scene.tree()).unwrap().count(), 1);
    }
}

#[test]
fn setuid_bits_do_not_survive() {
    let scene = Scene::new();
    let archive = evil_zip(&[
        Evil { name: "su", mode: 0o106_755, content: b"x" },
        Evil { name: "d/", mode: 0o043_777, content: b"" },
    ]);
    unpacked(&archive, &scene.tree()).unwrap();
    assert_eq!(fs::metadata(scene.tree().join("su")).unwrap().mode() & 0o7777, 0o755);
    assert_eq!(fs::metadata(scene.tree().join("d")).unwrap().mode() & 0o7777, 0o777);
}

#[test]
fn the_last_of_a_name_counts_and_existing_things_give_way() {
    let scene = Scene::new();
    fs::write(scene.tree().join("f"), "old").unwrap();
    fs::set_permissions(scene.tree().join("f"), fs::Permissions::from_mode(0o444)).unwrap();
    fs::create_dir_all(scene.tree().join("kept/inner")).unwrap();
    fs::create_dir_all(scene.tree().join("full/inner")).unwrap();
    fs::create_dir(scene.tree().join("bare")).unwrap();
    fs::write(scene.tree().join("was-file"), "").unwrap();
    let archive = evil_zip(&[
        Evil { name: "f", mode: FILE, content: b"first" },
        Evil { name: "f", mode: FILE, content: b"second" },
        Evil { name: "kept/", mode: 0o040_700, content: b"" },
        Evil { name: "full", mode: FILE, content: b"x" },
        Evil { name: "bare", mode: FILE, content: b"x" },
        Evil { name: "was-file/x", mode: FILE, content: b"x" },
        Evil { name: "./", mode: 0o040_000, content: b"" },
    ]);
    let report = unpacked(&archive, &scene.tree()).unwrap();
    assert_eq!(fs::read(scene.tree().join("f")).unwrap(), b"second");
    assert!(scene.tree().join("kept/inner").is_dir());
    assert!(scene.tree().join("bare").is_file());
    assert!(scene.tree().join("was-file/x").is_file());
    assert!(report.remarks[0].text.contains("full: not unpacked: there is a folder"), "{:?}", report.remarks);
    assert_eq!(fs::metadata(scene.tree()).unwrap().mode() & 0o777, 0o755, "the tree itself is left alone");
}

#[test]
fn folders_that_no_entry_names_are_open_to_all() {
    let scene = Scene::new();
    unpacked(&evil_zip(&[Evil { name: "a/b/f", mode: FILE, content: b"" }]), &scene.tree()).unwrap();
    assert_eq!(fs::metadata(scene.tree().join("a/b")).unwrap().mode() & 0o777, 0o777);
}

fn limit_of(result: Result<Unpacked, ArchiveError>) -> LimitKind {
    match result {
        Err(ArchiveError::Limit { kind, .. }) => kind,
        other => panic!("no limit: {other:?}"),
    }
}

#[test]
fn each_limit_has_its_own_error() {
    let small = tempfile::tempdir().unwrap();
    for name in ["a", "b", "c"] {
        fs::write(small.path().join(name), "12345678").unwrap();
    }
    for format in FORMATS {
        let archive = packed(small.path(), format, Level::Default);
        let try_with = |limits: &Limits| limit_of(unpacked_within(&archive, &Scene::new().tree(), limits));
        assert_eq!(try_with(&Limits { entries: 2, ..Limits::default() }), LimitKind::Entries);
        assert_eq!(try_with(&Limits { bytes: 23, ..Limits::default() }), LimitKind::Bytes);
        assert_eq!(try_with(&Limits { path_bytes: 0, ..Limits::default() }), LimitKind::PathBytes);
        assert_eq!(try_with(&Limits { depth: 0, ..Limits::default() }), LimitKind::Depth);
    }
}

#[test]
fn a_bomb_by_ratio_is_stopped_and_its_file_removed() {
    let big = tempfile::tempdir().unwrap();
    fs::File::create(big.path().join("zeros")).unwrap().set_len(64 << 20).unwrap();
    let limits = Limits { ratio: 100, ratio_from: 1 << 20, ..Limits::default() };
    for format in [ArtifactFormat::Zip, ArtifactFormat::ZipZstd, ArtifactFormat::TarZstd] {
        let archive = packed(big.path(), format, Level::Default);
        let scene = Scene::new();
        assert_eq!(limit_of(unpacked_within(&archive, &scene.tree(), &limits)), LimitKind::Ratio);
        assert_eq!(fs::read_dir(scene.tree()).unwrap().count(), 0);
    }
}

#[test]
fn content_that_is_passed_over_counts_too() {
    let huge = vec![0; 8 << 20];
    let archive = evil_tar(&[("x", ::tar::EntryType::new(b'Z'), &huge)]);
    let limits = Limits { bytes: 1 << 20, ..Limits::default() };
    assert_eq!(limit_of(unpacked_within(&archive, &Scene::new().tree(), &limits)), LimitKind::Bytes);
}

#[test]
fn a_long_name_record_cannot_use_up_memory() {
    use ::tar::EntryType as T;
    let huge = vec![b'a'; 2 << 20];
    for kind in [T::GNULongName, T::GNULongLink, T::XHeader, T::XGlobalHeader] {
        let archive = evil_tar(&[("x", kind, &huge)]);
        assert!(matches!(unpacked(&archive, &Scene::new().tree()), Err(ArchiveError::Damaged(_))));
    }
}

#[test]
fn entries_that_share_their_bytes_are_refused() {
    let content = vec![7; 4096];
    let one = evil_zip(&[Evil { name: "a", mode: FILE, content: &content }]);
    // The directory's only record, many times over.
    let start = one.windows(4).position(|w| w == 0x0201_4b50_u32.to_le_bytes()).unwrap();
    let record = one[start..one.len() - 22].to_vec();
    let mut archive = one[..start].to_vec();
    archive.extend(record.repeat(300));
    let end = &one[one.len() - 22..];
    archive.extend(&end[..8]);
    archive.extend([300_u16.to_le_bytes(), 300_u16.to_le_bytes()].concat());
    archive.extend((record.len() as u32 * 300).to_le_bytes());
    archive.extend(&end[16..]);
    let error = unpacked(&archive, &Scene::new().tree()).unwrap_err();
    assert!(error.to_string().contains("overlap"), "{error}");
}

#[test]
fn what_is_no_archive_says_so() {
    let scene = Scene::new();
    for bytes in [b"".as_slice(), b"P", b"hello, this is no archive", &[0; 100], b"PK\x05\x06"] {
        assert!(matches!(unpacked(bytes, &scene.tree()), Err(ArchiveError::Damaged(_))));
    }
    assert!(matches!(unpacked(&[0x1f, 0x8b, 8, 0], &scene.tree()), Err(ArchiveError::Unsupported(_))));
    assert!(matches!(unpacked(&[0x28, 0xb5, 0x2f, 0xfd, 0], &scene.tree()), Err(ArchiveError::Damaged(_))));
    let mut encrypted = evil_zip(&[Evil { name: "a", mode: FILE, content: b"x" }]);
    let start = encrypted.windows(4).position(|w| w == 0x0201_4b50_u32.to_le_bytes()).unwrap();
    encrypted[start + 8] |= 1;
    assert!(matches!(unpacked(&encrypted, &scene.tree()), Err(ArchiveError::Unsupported(_))));
}

#[test]
fn another_implementations_archives_unpack() {
    use zip::write::SimpleFileOptions;
    let mut out = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, method) in [
        ("s", zip::CompressionMethod::Stored),
        ("d", zip::CompressionMethod::Deflated),
        ("z", zip::CompressionMethod::Zstd),
    ] {
        out.start_file(name, SimpleFileOptions::default().compression_method(method).unix_permissions(0o640)).unwrap();
        out.write_all(name.repeat(10_000).as_bytes()).unwrap();
    }
    out.add_directory("dir", SimpleFileOptions::default()).unwrap();
    out.add_symlink("link", "s", SimpleFileOptions::default()).unwrap();
    let plain = out.finish().unwrap().into_inner();
    // Something before the archive, as in one that unpacks itself, and a comment after it.
    let with_head = [b"#!/bin/sh\n".as_slice(), &plain].concat();
    for archive in [plain, with_head] {
        let scene = Scene::new();
        unpacked(&archive, &scene.tree()).unwrap();
        assert_eq!(fs::read(scene.tree().join("z")).unwrap(), "z".repeat(10_000).as_bytes());
        assert_eq!(fs::metadata(scene.tree().join("d")).unwrap().mode() & 0o777, 0o640);
        assert_eq!(fs::read_link(scene.tree().join("link")).unwrap(), Path::new("s"));
        assert!(scene.tree().join("dir").is_dir());
    }
}

#[test]
fn a_tree_under_attack_while_unpacking_lets_nothing_out() {
    let scene = Scene::new();
    let tree = scene.tree();
    let archive = evil_zip(&[
        Evil { name: "a/b/bystander", mode: FILE, content: b"evil" },
        Evil { name: "a/bystander", mode: FILE, content: b"evil" },
    ]);
    let stop = Interrupt::default();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.is_raised() {
                let _ = fs::remove_dir_all(tree.join("a"));
                let _ = symlink("..", tree.join("a"));
                let _ = fs::remove_file(tree.join("a"));
                let _ = fs::create_dir(tree.join("a"));
                let _ = symlink("../..", tree.join("a/b"));
            }
        });
        for _ in 0..500 {
            unpacked(&archive, &tree).unwrap();
        }
        stop.raise();
    });
    scene.nothing_got_out();
}

fn small_archive(format: ArtifactFormat) -> Vec<u8> {
    let temp = tempfile::tempdir().unwrap();
    fs::create_dir(temp.path().join("d")).unwrap();
    fs::write(temp.path().join("d/a"), "some text, some text, some text").unwrap();
    fs::write(temp.path().join("n".repeat(150)), vec![3; 70_000]).unwrap();
    symlink("a", temp.path().join("d/l")).unwrap();
    packed(temp.path(), format, Level::Default)
}

#[test]
fn an_archive_cut_anywhere_is_an_error() {
    for format in FORMATS {
        let archive = small_archive(format);
        for length in 0..archive.len() {
            let scene = Scene::new();
            assert!(unpacked(&archive[..length], &scene.tree()).is_err(), "{format:?} cut at {length}");
            scene.nothing_got_out();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn flipped_bits_never_panic_and_never_change_content(
        format in prop::sample::select(FORMATS.to_vec()),
        flips in prop::collection::vec((any::<prop::sample::Index>(), 0_u8..8), 1..4),
    ) {
        let mut archive = small_archive(format);
        for (at, bit) in &flips {
            let at = at.index(archive.len());
            archive[at] ^= 1 << bit;
        }
        let scene = Scene::new();
        if unpacked(&archive, &scene.tree()).is_ok()
            && let Ok(content) = fs::read(scene.tree().join("d/a"))
        {
            prop_assert_eq!(content, b"some text, some text, some text");
        }
        scene.nothing_got_out();
    }

    #[test]
    fn names_of_any_kind_stay_inside(
        names in prop::collection::vec("[a./\\\\]{1,8}", 1..6),
        kinds in prop::collection::vec(prop::sample::select(vec![FILE, LINK, 0o040_755]), 6),
    ) {
        let scene = Scene::new();
        let entries: Vec<Evil<'_>> = names.iter().zip(kinds)
            .map(|(name, mode)| Evil { name, mode, content: b"../.." })
            .collect();
        let _ = unpacked(&evil_zip(&entries), &scene.tree());
        scene.nothing_got_out();
    }

    #[test]
    fn noise_is_no_archive(bytes in prop::collection::vec(any::<u8>(), 0..600), magic in 0..3_usize) {
        let head = [b"PK\x03\x04".as_slice(), &[0x28, 0xb5, 0x2f, 0xfd], b""][magic];
        let scene = Scene::new();
        let _ = unpacked(&[head, &bytes].concat(), &scene.tree());
        scene.nothing_got_out();
    }
}
