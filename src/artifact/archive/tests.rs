use std::fs;
use std::io::{Cursor, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use cap_std::ambient_authority;
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::artifact::select::{self, EntryKind};
use crate::pipeline::definition::FileSelection;

mod hostile;
mod recorded;

const FORMATS: [ArtifactFormat; 3] = [ArtifactFormat::Zip, ArtifactFormat::ZipZstd, ArtifactFormat::TarZstd];
const LEVELS: [Level; 5] = [Level::Fastest, Level::Fast, Level::Default, Level::Slow, Level::Slowest];

fn dir(path: &Path) -> Dir {
    Dir::open_ambient_dir(path, ambient_authority()).unwrap()
}

fn everything(root: &Path) -> Selection {
    let files = FileSelection { paths: vec![".".into()], ..FileSelection::default() };
    select::select(&dir(root), "/p", &files, Vec::new()).unwrap()
}

fn packed(root: &Path, format: ArtifactFormat, level: Level) -> Vec<u8> {
    let mut out = Cursor::new(Vec::new());
    let report = pack(&dir(root), &everything(root), format, level, &mut out).unwrap();
    assert_eq!(report.bytes, out.get_ref().len() as u64);
    assert_eq!(report.remarks, []);
    out.into_inner()
}

fn unpacked(archive: &[u8], into: &Path) -> Result<Unpacked, ArchiveError> {
    unpacked_within(archive, into, &Limits::default())
}

fn unpacked_within(archive: &[u8], into: &Path, limits: &Limits) -> Result<Unpacked, ArchiveError> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(archive).unwrap();
    unpack(&mut file, &dir(into), limits)
}

/// What is in a tree: path, kind, permissions, seconds, content or target.
fn listing(root: &Path) -> Vec<(PathBuf, char, u32, i64, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in everything(root).entries {
        let path = root.join(&entry.path);
        let meta = fs::symlink_metadata(&path).unwrap();
        let (kind, content) = match entry.kind {
            EntryKind::File => ('f', fs::read(&path).unwrap()),
            EntryKind::Folder => ('d', Vec::new()),
            EntryKind::Symlink => ('l', fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec()),
        };
        found.push((entry.path, kind, meta.mode() & 0o777, meta.mtime(), content));
    }
    found
}

fn set_time(path: &Path, seconds: i64) {
    let time = rustix::fs::Timespec { tv_sec: seconds, tv_nsec: 123 };
    let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(rustix::fs::CWD, path, &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// A tree with something of each kind.
fn varied() -> TempDir {
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path();
    fs::create_dir_all(root.join("d/empty")).unwrap();
    fs::write(root.join("d/a.txt"), "one\n").unwrap();
    fs::write(root.join("d/nil"), "").unwrap();
    fs::write(root.join("d/run.sh"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(root.join("d/run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(root.join("d/key"), "k").unwrap();
    fs::set_permissions(root.join("d/key"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(root.join("zeros"), vec![0; 9 << 20]).unwrap();
    let noise: Vec<u8> = (0..5_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    fs::write(root.join("noise"), noise).unwrap();
    fs::write(root.join("gr\u{fc}n \u{1f980}"), "u").unwrap();
    fs::write(root.join(std::ffi::OsStr::from_bytes(b"not\xffutf8")), "n").unwrap();
    let long = "n".repeat(200);
    fs::create_dir(root.join(&long)).unwrap();
    fs::write(root.join(&long).join("x".repeat(120)), "long").unwrap();
    symlink("a.txt", root.join("d/link")).unwrap();
    symlink("/usr/bin/env", root.join("out")).unwrap();
    symlink("t".repeat(300), root.join("far")).unwrap();
    for entry in everything(root).entries.iter().rev() {
        set_time(&root.join(&entry.path), 1_767_323_045);
    }
    fs::set_permissions(root.join("d/empty"), fs::Permissions::from_mode(0o555)).unwrap();
    set_time(&root.join("d/empty"), 86_400);
    temp
}

#[test]
fn what_is_packed_comes_out_again() {
    let tree = varied();
    for format in FORMATS {
        for level in LEVELS {
            let archive = packed(tree.path(), format, level);
            let into = tempfile::tempdir().unwrap();
            let report = unpacked(&archive, into.path()).unwrap();
            assert_eq!(report.remarks, [], "{format:?} {level:?}");
            assert!(listing(into.path()) == listing(tree.path()), "{format:?} {level:?}");
            assert_eq!(report.entries, listing(tree.path()).len() as u64);
        }
    }
}

#[test]
fn the_same_tree_gives_the_same_bytes() {
    let tree = varied();
    for format in FORMATS {
        let first = packed(tree.path(), format, Level::Default);
        for _ in 0..3 {
            assert!(packed(tree.path(), format, Level::Default) == first, "{format:?}");
        }
    }
}

#[test]
fn another_implementation_reads_our_zips() {
    let tree = varied();
    for format in [ArtifactFormat::Zip, ArtifactFormat::ZipZstd] {
        for level in [Level::Fastest, Level::Default] {
            let archive = packed(tree.path(), format, level);
            let mut theirs = zip::ZipArchive::new(Cursor::new(archive)).unwrap();
            let mut names = Vec::new();
            for at in 0..theirs.len() {
                let mut entry = theirs.by_index(at).unwrap();
                let name = entry.name_raw().to_vec();
                let path = tree.path().join(std::ffi::OsStr::from_bytes(name.strip_suffix(b"/").unwrap_or(&name)));
                let meta = fs::symlink_metadata(&path).unwrap();
                assert_eq!(entry.unix_mode(), Some(meta.mode()), "{path:?}");
                let mut content = Vec::new();
                entry.read_to_end(&mut content).unwrap();
                if meta.is_file() {
                    assert!(content == fs::read(&path).unwrap(), "{path:?}");
                } else if meta.is_symlink() {
                    assert_eq!(content, fs::read_link(&path).unwrap().as_os_str().as_bytes());
                }
                names.push(name);
            }
            let want: Vec<Vec<u8>> = listing(tree.path())
                .into_iter()
                .map(|(path, kind, ..)| [path.as_os_str().as_bytes(), if kind == 'd' { b"/" } else { b"" }].concat())
                .collect();
            assert_eq!(names, want);
        }
    }
}

#[test]
fn another_implementation_reads_our_tars() {
    let tree = varied();
    let archive = packed(tree.path(), ArtifactFormat::TarZstd, Level::Default);
    let mut theirs = ::tar::Archive::new(zstd::stream::read::Decoder::new(archive.as_slice()).unwrap());
    let names: Vec<Vec<u8>> = theirs
        .entries()
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let name = entry.path_bytes().into_owned();
            name.strip_suffix(b"/").map(<[u8]>::to_vec).unwrap_or(name)
        })
        .collect();
    let want: Vec<Vec<u8>> = listing(tree.path()).into_iter().map(|e| e.0.as_os_str().as_bytes().to_vec()).collect();
    assert_eq!(names, want);
}

#[test]
fn zip_entries_carry_owner_and_time() {
    let temp = tempfile::tempdir().unwrap();
    fs::write(temp.path().join("a"), "one\n").unwrap();
    set_time(&temp.path().join("a"), 1_767_323_045);
    let archive = packed(temp.path(), ArtifactFormat::Zip, Level::Default);
    let meta = fs::metadata(temp.path().join("a")).unwrap();
    let mut extra = vec![0x75, 0x78, 11, 0, 1, 4];
    extra.extend(meta.uid().to_le_bytes());
    extra.push(4);
    extra.extend(meta.gid().to_le_bytes());
    extra.extend([0x55, 0x54, 5, 0, 1, 0xa5, 0x35, 0x57, 0x69]);
    let at = |needle: &[u8]| archive.windows(needle.len()).filter(|w| *w == needle).count();
    assert_eq!(at(&extra), 2, "in the local header and in the directory");
}

#[test]
fn a_file_that_grows_or_goes_while_it_is_packed_breaks_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path();
    fs::write(root.join("grows"), vec![1; 3 << 20]).unwrap();
    fs::write(root.join("gone"), "x").unwrap();
    fs::write(root.join("turns"), "x").unwrap();
    let selection = everything(root);
    fs::remove_file(root.join("gone")).unwrap();
    fs::remove_file(root.join("turns")).unwrap();
    symlink("/etc/passwd", root.join("turns")).unwrap();
    for format in FORMATS {
        let mut out = Cursor::new(Vec::new());
        let report = pack(&dir(root), &selection, format, Level::Default, &mut out).unwrap();
        assert_eq!(report.remarks, [Remark::warning("gone: left out: it is not there any more")]);
        let into = tempfile::tempdir().unwrap();
        unpacked(out.get_ref(), into.path()).unwrap();
        assert!(fs::symlink_metadata(into.path().join("turns")).unwrap().is_symlink(), "as what it is now");
        assert_eq!(fs::metadata(into.path().join("grows")).unwrap().len(), 3 << 20);
    }
}

#[test]
fn a_file_written_all_the_time_can_be_packed() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("log");
    fs::write(&path, vec![b'x'; 2 << 20]).unwrap();
    let selection = everything(temp.path());
    let stop = Interrupt::default();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut length = 0;
            while !stop.is_raised() {
                let file = fs::OpenOptions::new().append(true).open(&path).unwrap();
                length = if length > 6 << 20 { 0 } else { length + (1 << 20) };
                file.set_len(length).unwrap();
            }
        });
        for _ in 0..20 {
            for format in FORMATS {
                let mut out = Cursor::new(Vec::new());
                pack(&dir(temp.path()), &selection, format, Level::Fast, &mut out).unwrap();
                let into = tempfile::tempdir().unwrap();
                unpacked(out.get_ref(), into.path()).unwrap();
            }
        }
        stop.raise();
    });
}

#[test]
fn times_before_1970_and_after_2038_are_kept_as_others_write_them() {
    let tree = tempfile::tempdir().unwrap();
    for (name, seconds) in [("moon", -14_182_980), ("late", 2_530_000_001), ("latest", 4_294_967_295)] {
        fs::write(tree.path().join(name), name).unwrap();
        set_time(&tree.path().join(name), seconds);
    }
    for format in FORMATS {
        let archive = packed(tree.path(), format, Level::Default);
        let into = tempfile::tempdir().unwrap();
        unpacked(&archive, into.path()).unwrap();
        assert_eq!(listing(into.path()), listing(tree.path()), "{format:?}");
    }

    let mut zip = zip::ZipArchive::new(Cursor::new(packed(tree.path(), ArtifactFormat::Zip, Level::Default))).unwrap();
    let late = zip.by_name("late").unwrap();
    let written = late.extra_data_fields().find_map(|field| match field {
        zip::extra_fields::ExtraField::ExtendedTimestamp(times) => times.mod_time(),
        _ => None,
    });
    assert_eq!(written, Some(2_530_000_001));

    // A header as GNU tar writes it for 1969-07-20 20:17:00.
    let mut header = ::tar::Header::new_gnu();
    header.set_path("moon").unwrap();
    header.set_mode(0o644);
    header.set_size(0);
    header.as_gnu_mut().unwrap().mtime = *b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x27\x95\xbc";
    header.set_cksum();
    let archive = zstd::bulk::compress(header.as_bytes(), 1).unwrap();
    let into = tempfile::tempdir().unwrap();
    unpacked(&archive, into.path()).unwrap();
    assert_eq!(fs::metadata(into.path().join("moon")).unwrap().mtime(), -14_182_980);
}

#[test]
fn gzip_has_one_member_a_file() {
    let temp = tempfile::tempdir().unwrap();
    fs::create_dir(temp.path().join("r")).unwrap();
    fs::write(temp.path().join("r/a.xml"), "<a/>\n").unwrap();
    fs::write(temp.path().join("r/b.xml"), "<b/>\n").unwrap();
    set_time(&temp.path().join("r/a.xml"), 1_767_323_045);
    let pack = |pattern: &str| {
        let files = FileSelection { paths: vec![pattern.into()], ..FileSelection::default() };
        let selection = select::select(&dir(temp.path()), "/p", &files, Vec::new()).unwrap();
        let mut out = Cursor::new(Vec::new());
        pack(&dir(temp.path()), &selection, ArtifactFormat::Gzip, Level::Default, &mut out).map(|_| out.into_inner())
    };
    let archive = pack("r/*").unwrap();
    let mut text = String::new();
    flate2::read::MultiGzDecoder::new(archive.as_slice()).read_to_string(&mut text).unwrap();
    assert_eq!(text, "<a/>\n<b/>\n");
    let first = flate2::read::GzDecoder::new(archive.as_slice());
    let header = first.header().unwrap();
    assert_eq!(header.filename(), Some(b"a.xml".as_slice()));
    assert_eq!(header.comment(), Some(b"r/a.xml".as_slice()));
    assert_eq!(header.mtime(), 1_767_323_045);

    assert!(matches!(pack("r").unwrap_err(), ArchiveError::NotRegular(name) if name == "r"), "no folder");
    symlink("a.xml", temp.path().join("r/l")).unwrap();
    assert!(matches!(pack("r/*").unwrap_err(), ArchiveError::NotRegular(name) if name == "r/l"));
}

#[test]
fn raw_is_exactly_one_file() {
    let temp = tempfile::tempdir().unwrap();
    fs::write(temp.path().join("a"), "one\n").unwrap();
    assert_eq!(packed(temp.path(), ArtifactFormat::Raw, Level::Default), b"one\n");
    fs::write(temp.path().join("b"), "two\n").unwrap();
    let mut out = Cursor::new(Vec::new());
    let selection = everything(temp.path());
    let error = pack(&dir(temp.path()), &selection, ArtifactFormat::Raw, Level::Default, &mut out).unwrap_err();
    assert_eq!(error.to_string(), "only one file can be sent as raw");

    let of = |link: &str| {
        let files = FileSelection { paths: vec![link.into()], ..FileSelection::default() };
        let selection = select::select(&dir(temp.path()), "/p", &files, Vec::new()).unwrap();
        let mut out = Cursor::new(Vec::new());
        pack(&dir(temp.path()), &selection, ArtifactFormat::Raw, Level::Default, &mut out).map(|_| out.into_inner())
    };
    symlink("a", temp.path().join("within")).unwrap();
    assert_eq!(of("within").unwrap(), b"one\n", "what the link leads to");
    symlink("/etc/passwd", temp.path().join("without")).unwrap();
    assert!(matches!(of("without").unwrap_err(), ArchiveError::NotRegular(_)));
}

#[test]
fn names_of_levels_and_files() {
    assert_eq!(Level::named("slowest"), Level::Slowest);
    assert_eq!(Level::named("SLOW"), Level::Default);
    assert_eq!(file_name("artifacts", ArtifactFormat::Zip), "artifacts.zip");
    assert_eq!(file_name("a/b/pkg-1.0", ArtifactFormat::TarZstd), "pkg-1.0.tar.zst");
    assert_eq!(file_name("", ArtifactFormat::Zip), "default.zip");
    assert_eq!(file_name("x/.", ArtifactFormat::Gzip), "default.gz");
    assert_eq!(file_name("junit.xml", ArtifactFormat::Raw), "junit.xml");
    assert_eq!(file_name("a\nb", ArtifactFormat::Zip), "a%0Ab.zip");
}

#[test]
fn an_interrupt_ends_packing_and_unpacking() {
    let tree = varied();
    let interrupt = Interrupt::default();
    interrupt.raise();
    for format in FORMATS {
        let packing = Packing { format, interrupt: interrupt.clone(), ..Packing::default() };
        let mut out = Cursor::new(Vec::new());
        let result = pack_with(&dir(tree.path()), &everything(tree.path()), &packing, &mut out);
        assert!(matches!(result, Err(ArchiveError::Interrupted)));

        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&packed(tree.path(), format, Level::Fastest)).unwrap();
        let into = tempfile::tempdir().unwrap();
        let unpacking = Unpacking { interrupt: interrupt.clone(), ..Unpacking::default() };
        let result = unpack_with(&mut file, &dir(into.path()), &unpacking);
        assert!(matches!(result, Err(ArchiveError::Interrupted)));
    }
}

/// A writer that has no room after so many bytes.
struct Full(Cursor<Vec<u8>>, usize);

impl Write for Full {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if self.0.get_ref().len() + buf.len() > self.1 {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        self.0.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_is_told_from_other_trouble() {
    let tree = varied();
    for format in FORMATS {
        for room in [0, 10, 20_000] {
            let mut out = Full(Cursor::new(Vec::new()), room);
            let result = pack(&dir(tree.path()), &everything(tree.path()), format, Level::Fast, &mut out);
            assert!(matches!(result, Err(ArchiveError::NoSpace { .. })), "{format:?} {room}");
        }
    }
}

#[test]
fn more_than_65535_entries() {
    let temp = tempfile::tempdir().unwrap();
    for folder in 0..70 {
        let path = temp.path().join(folder.to_string());
        fs::create_dir(&path).unwrap();
        for file in 0..1000 {
            fs::File::create(path.join(file.to_string())).unwrap();
        }
    }
    let archive = packed(temp.path(), ArtifactFormat::Zip, Level::Default);
    assert_eq!(zip::ZipArchive::new(Cursor::new(&archive)).unwrap().len(), 70_070);
    let into = tempfile::tempdir().unwrap();
    assert_eq!(unpacked(&archive, into.path()).unwrap().entries, 70_070);
}

#[test]
#[ignore = "writes 5 GiB of zeros; run it after changes to the 64-bit fields"]
fn a_file_of_more_than_4_gib() {
    let temp = tempfile::tempdir().unwrap();
    fs::File::create(temp.path().join("big")).unwrap().set_len(5 << 30).unwrap();
    fs::write(temp.path().join("small"), "s").unwrap();
    for level in [Level::Fastest, Level::Fast] {
        let archive = tempfile::NamedTempFile::new().unwrap();
        let mut file = archive.reopen().unwrap();
        let selection = everything(temp.path());
        pack(&dir(temp.path()), &selection, ArtifactFormat::Zip, level, &mut file).unwrap();
        let mut theirs = zip::ZipArchive::new(archive.reopen().unwrap()).unwrap();
        assert_eq!(theirs.by_index(0).unwrap().size(), 5 << 30);
        assert_eq!(theirs.by_index(1).unwrap().size(), 1);
        let into = tempfile::tempdir().unwrap();
        unpack(&mut file, &dir(into.path()), &Limits::default()).unwrap();
        assert_eq!(fs::metadata(into.path().join("big")).unwrap().len(), 5 << 30);
        assert_eq!(fs::read(into.path().join("small")).unwrap(), b"s");
    }
}

/// A small tree: names from a small alphabet, so that files and folders meet.
fn a_tree() -> impl Strategy<Value = Vec<(Vec<u8>, u32, i64, Vec<u8>)>> {
    let name = prop::collection::vec(prop::sample::select(b"ab\xff\xc3\xbc \\%'\n*".to_vec()), 1..6);
    let path = prop::collection::vec(name, 1..4).prop_map(|names| names.join(&b'/'));
    let content = prop::collection::vec(any::<u8>(), 0..2000);
    prop::collection::vec((path, 0_u32..0o777, -2_000_000_000_i64..4_290_000_000, content), 0..12)
}

fn grow(root: &Path, tree: &[(Vec<u8>, u32, i64, Vec<u8>)]) {
    for (path, mode, seconds, content) in tree {
        let path = root.join(std::ffi::OsStr::from_bytes(path));
        // A file where a folder is wanted, or the other way round: that entry is left out.
        if fs::create_dir_all(path.parent().unwrap()).is_err() || path.exists() {
            continue;
        }
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode | 0o400)).unwrap();
        set_time(&path, *seconds);
    }
    for entry in everything(root).entries.iter().rev().filter(|e| e.kind == EntryKind::Folder) {
        set_time(&root.join(&entry.path), 1_000_000_000);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_tree_survives_the_round_trip(tree in a_tree(), format in prop::sample::select(FORMATS.to_vec())) {
        let from = tempfile::tempdir().unwrap();
        grow(from.path(), &tree);
        let archive = packed(from.path(), format, Level::Fast);
        let into = tempfile::tempdir().unwrap();
        let report = unpacked(&archive, into.path()).unwrap();
        prop_assert_eq!(report.remarks, vec![]);
        prop_assert_eq!(listing(into.path()), listing(from.path()));
    }
}
