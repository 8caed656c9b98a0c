//! Downloads of artifacts that break off: they go on where they were, and only where what comes is the rest of the same.

use forgehand::emulator::{Endpoint, FaultAction, FaultRule, JobSpec};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::house::{Ended, House, archive_of};
use crate::support::storage::{Answer, Asked, Sent, Storage};

/// Bytes that a file has. They do not compress.
const SIZE: usize = 3_000_000;

/// Where the first answer breaks off.
const CUT: usize = 1_200_000;

const TAG: (&str, &str) = ("ETag", "\"one\"");
const DATE: (&str, &str) = ("Last-Modified", "Wed, 21 Oct 2015 07:28:00 GMT");

/// The archive of a job that others depend on, as an object storage may have it.
struct Broken {
    house: House,
    archive: Vec<u8>,
    /// Of the file in it.
    sum: String,
}

impl Broken {
    fn new() -> Self {
        let mut house = House::quick();
        let make = format!("head -c {SIZE} /dev/urandom >given");
        let giver = house.spec(&[&make], json!({ "artifacts": archive_of(&["given"]) }));
        let giver = house.queue_spec(JobSpec { name: "giver".to_owned(), ..giver });
        let given = house.end(giver);
        given.succeeded();
        let archive = std::fs::read(&given.view.artifact("archive").expect("it is there").path).expect("readable");
        let sum = sum_in(&archive);
        Self { house, archive, sum }
    }

    /// A job that depends on it, whose archive comes from the storage: what the storage was asked.
    fn taken(&mut self, storage: &Storage) -> (Ended, Vec<Asked>) {
        // What the job before left here would do.
        self.house.agent.forget_artifacts();
        let elsewhere = FaultAction::Status {
            code: 302,
            headers: vec![("Location".to_owned(), storage.url())],
            body: String::new(),
        };
        let rule = self.house.forge.fail(FaultRule::all(Endpoint::DownloadArtifact, elsewhere));
        let ended = self.house.run(&["sha256sum <given"], json!({ "dependencies": ["giver"] }));
        self.house.forge.heal(rule);
        (ended, storage.asked())
    }

    /// As [`Broken::taken`], of a job that gets what has this sum; from where it asked, each time.
    fn gets(&mut self, sum: &str, storage: &Storage) -> Vec<Option<usize>> {
        let (ended, asked) = self.taken(storage);
        ended.succeeded().said(sum);
        asked.iter().map(Asked::from).collect()
    }
}

/// Of the file in an archive.
fn sum_in(archive: &[u8]) -> String {
    let mut zip = zip::ZipArchive::new(std::io::Cursor::new(archive)).expect("a zip");
    let mut content = Vec::new();
    std::io::Read::read_to_end(&mut zip.by_name("given").expect("the file"), &mut content).expect("readable");
    hex::encode(Sha256::digest(&content))
}

/// Another archive with a file of the same name, as long as `archive` but for a few bytes.
fn other() -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let stored = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    zip.start_file("given", stored).expect("in memory");
    std::io::Write::write_all(&mut zip, &crate::store::noise(SIZE, 7)).expect("in memory");
    zip.finish().expect("in memory").into_inner()
}

#[test]
fn a_download_that_breaks_off_asks_for_the_rest_of_the_same() {
    let mut broken = Broken::new();
    // Twice, each time after something new.
    let again = 2 * CUT;
    for version in [TAG, DATE] {
        let body = broken.archive.clone();
        let storage = Storage::start(move |number, asked| match (number, asked.from()) {
            (0, _) => Answer::whole(&body, &[version]).sent(Sent::UpTo(CUT)),
            (1, Some(from)) => Answer::rest(&body, from, &[version]).sent(Sent::UpTo(again - CUT)),
            (_, Some(from)) => Answer::rest(&body, from, &[version]),
            // The job would succeed with it; the test does not.
            (_, None) => Answer::whole(&body, &[version]),
        });
        let (ended, asked) = broken.taken(&storage);
        ended.succeeded().said(&broken.sum);
        let conditions: Vec<_> = asked.iter().map(|one| (one.header("range"), one.header("if-range"))).collect();
        let ranges = [format!("bytes={CUT}-"), format!("bytes={again}-")];
        let same = Some(version.1);
        assert_eq!(conditions, [(None, None), (Some(&*ranges[0]), same), (Some(&*ranges[1]), same)]);
    }
    broken.house.close();
}

#[test]
fn what_nobody_can_tell_to_be_the_rest_is_not_asked_for() {
    let mut broken = Broken::new();
    // No word about the version, or one that does not say that each byte is the same.
    let versions: [&[(&str, &str)]; 2] = [&[], &[("ETag", "W/\"one\"")]];
    let sum = broken.sum.clone();
    for version in versions {
        let body = broken.archive.clone();
        let storage = Storage::start(move |number, asked| match (number, asked.from()) {
            (0, _) => Answer::whole(&body, version).sent(Sent::UpTo(CUT)),
            (_, Some(from)) => Answer::rest(&body, from, version),
            (_, None) => Answer::whole(&body, version),
        });
        assert_eq!(broken.gets(&sum, &storage), [None, None], "{version:?}");
    }
    // A server to which a range says nothing.
    let body = broken.archive.clone();
    let storage = Storage::start(move |number, _| {
        let sent = if number == 0 { Sent::UpTo(CUT) } else { Sent::Whole };
        Answer::whole(&body, &[TAG]).sent(sent)
    });
    assert_eq!(broken.gets(&sum, &storage), [None, Some(CUT)]);
    broken.house.close();
}

#[test]
fn an_archive_that_changed_meanwhile_comes_whole_and_is_never_mixed_with_what_it_was() {
    let mut broken = Broken::new();
    let changed = [("ETag", "\"other\"")];
    let sum = sum_in(&other());
    // A server that looks at the version, ...
    let (body, new) = (broken.archive.clone(), other());
    let storage = Storage::start(move |number, _| match number {
        0 => Answer::whole(&body, &[TAG]).sent(Sent::UpTo(CUT)),
        _ => Answer::whole(&new, &changed),
    });
    assert_eq!(broken.gets(&sum, &storage), [None, Some(CUT)]);
    // ... one that only looks at the range, ...
    let (body, new) = (broken.archive.clone(), other());
    let storage = Storage::start(move |number, asked| match (number, asked.from()) {
        (0, _) => Answer::whole(&body, &[TAG]).sent(Sent::UpTo(CUT)),
        (_, Some(from)) => Answer::rest(&new, from, &changed),
        (_, None) => Answer::whole(&new, &changed),
    });
    assert_eq!(broken.gets(&sum, &storage), [None, Some(CUT), None]);
    // ... and one that has not so much any more.
    let (body, new) = (broken.archive.clone(), other());
    let storage = Storage::start(move |number, asked| match (number, asked.from()) {
        (0, _) => Answer::whole(&body, &[TAG]).sent(Sent::UpTo(CUT)),
        (_, Some(_)) => Answer { status: "416 Range Not Satisfiable", ..Answer::whole(b"", &changed) },
        (_, None) => Answer::whole(&new, &changed),
    });
    assert_eq!(broken.gets(&sum, &storage), [None, Some(CUT), None]);
    broken.house.close();
}
