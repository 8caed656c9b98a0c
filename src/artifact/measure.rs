//! Figures, not promises: packing and unpacking against the programs that users would reach for, in the same run.
//!
//! `cargo test --release --lib artifact::measure -- --ignored --nocapture`

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use cap_std::fs::Dir;

use super::archive::{self, Level, Limits};
use super::select::{self, Selection};
use crate::pipeline::definition::{ArtifactFormat, FileSelection};

fn dir(path: &Path) -> Dir {
    Dir::open_ambient_dir(path, cap_std::ambient_authority()).unwrap()
}

fn everything(root: &Path) -> Selection {
    let files = FileSelection { paths: vec!["**".into()], ..FileSelection::default() };
    select::select(&dir(root), "/p", &files, Vec::new()).unwrap()
}

/// The best of three.
fn best(mut work: impl FnMut()) -> Duration {
    (0..3)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed()
        })
        .min()
        .unwrap()
}

fn shell(text: &str, at: &Path) {
    assert!(Command::new("sh").args(["-c", text]).current_dir(at).status().unwrap().success(), "{text}");
}

fn line(what: &str, bytes: u64, time: Duration, size: u64) {
    let rate = bytes as f64 / 1e6 / time.as_secs_f64();
    println!("{what:<34} {:>8.0} ms {rate:>7.0} MB/s {:>8.1} MB", time.as_secs_f64() * 1e3, size as f64 / 1e6);
}

fn measure(name: &str, root: &Path) {
    let work = tempfile::tempdir().unwrap();
    let selection = everything(root);
    let paths = selection.entries.iter().map(|e| root.join(&e.path));
    let bytes: u64 = paths.map(|p| fs::symlink_metadata(p).unwrap()).filter(|m| m.is_file()).map(|m| m.len()).sum();
    println!("\n{name}: {} entries, {:.0} MB", selection.entries.len(), bytes as f64 / 1e6);
    let at = |file: &str| work.path().join(file);
    let size = |file: &str| fs::metadata(at(file)).unwrap().len();
    line("select", bytes, best(|| drop(everything(root))), 0);
    let here = root.display();
    let there = work.path().display();
    for (what, command, file) in [
        ("tar | zstd -3 -T2", format!("tar c -C {here} . | zstd -q -3 -T2 -f -o {there}/floor.tzst"), "floor.tzst"),
        ("zip -5", format!("rm -f {there}/floor.zip; cd {here} && zip -qry5 {there}/floor.zip ."), "floor.zip"),
    ] {
        let time = best(|| shell(&command, work.path()));
        line(what, bytes, time, size(file));
    }
    for (what, format) in
        [("tarzstd", ArtifactFormat::TarZstd), ("zip", ArtifactFormat::Zip), ("zipzstd", ArtifactFormat::ZipZstd)]
    {
        let time = best(|| {
            let mut out = File::create(at(what)).unwrap();
            archive::pack(&dir(root), &selection, format, Level::Default, &mut out).unwrap();
        });
        line(&format!("pack {what}"), bytes, time, size(what));
    }
    unpack_in_turns(work.path(), bytes);
}

/// Each in turn into a new folder, twice, so that a busy disk hits all alike. Nothing is removed in between.
fn unpack_in_turns(work: &Path, bytes: u64) {
    let mut times = [("zstd -d | tar x", Duration::MAX), ("tarzstd", Duration::MAX), ("zip", Duration::MAX)];
    for round in 0..2 {
        for (what, best) in &mut times {
            let into = work.join(format!("into {round} {what}").replace(['|', ' '], "-"));
            fs::create_dir(&into).unwrap();
            let start = Instant::now();
            if what.contains("tar x") {
                shell(&format!("zstd -dc floor.tzst | tar x -C {}", into.display()), work);
            } else {
                let mut file = File::open(work.join(*what)).unwrap();
                archive::unpack(&mut file, &dir(&into), &Limits::default()).unwrap();
            }
            *best = start.elapsed().min(*best);
        }
    }
    for (what, time) in times {
        line(&format!("unpack {what}"), bytes, time, 0);
    }
}

#[test]
#[ignore = "takes minutes; for figures only"]
fn packing_against_tar_and_zip() {
    let small = tempfile::tempdir().unwrap();
    for folder in 0..500 {
        let path = small.path().join(format!("m{folder}/lib"));
        fs::create_dir_all(&path).unwrap();
        for file in 0..100 {
            let text = format!("module.exports = {{ name: 'm{folder}', part: {file} }};\n").repeat(20 + file % 7);
            fs::write(path.join(format!("f{file}.js")), text).unwrap();
        }
    }
    measure("50,000 small files", small.path());

    let large = tempfile::tempdir().unwrap();
    let exe = std::env::current_exe().unwrap();
    for copy in 0..12_u8 {
        let mut bytes = fs::read(&exe).unwrap();
        bytes.iter_mut().step_by(4096).for_each(|b| *b ^= copy); // no copy is quite like another
        fs::write(large.path().join(copy.to_string()), bytes).unwrap();
    }
    measure("12 programs", large.path());
}
