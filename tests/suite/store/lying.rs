//! A shared store that lies: it has other bytes than it was given, fewer, those of something else, or none. Nobody gets them, what is wrong is
//! told, and what can be had elsewhere is had.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{House, flip, noise, seen};
use crate::support::agent::said;
use crate::support::s3::S3Server;

/// A server, a machine that has told it of two things of the same size, and where it has the first one's pack and record.
struct Scene {
    server: S3Server,
    one: House,
    pack: PathBuf,
    record: PathBuf,
    other_pack: PathBuf,
    other_record: PathBuf,
}

/// The objects that come when something is kept.
fn new_objects(server: &S3Server, part: &str, known: &[&PathBuf]) -> PathBuf {
    let mut objects = server.objects(part);
    objects.retain(|object| !known.contains(&object));
    let [object] = &objects[..] else { panic!("one with {part}: {objects:?}") };
    object.clone()
}

fn scene() -> Scene {
    let server = S3Server::start();
    let one = House::with(&server.config());
    let keep = |name: &str, seed| {
        let tree = one.folder(name);
        fs::write(tree.join("file"), noise(60_000, seed)).unwrap();
        one.put(&tree, name);
    };
    keep("site", 1);
    let (pack, record) = (new_objects(&server, "/packs/", &[]), new_objects(&server, "/records/", &[]));
    keep("docs", 2);
    let other_pack = new_objects(&server, "/packs/", &[&pack]);
    let other_record = new_objects(&server, "/records/", &[&record]);
    Scene { server, one, pack, record, other_pack, other_record }
}

fn cut(path: &Path, length: u64) {
    File::options().write(true).open(path).unwrap().set_len(length).unwrap();
}

fn lengthen(path: &Path) {
    let length = fs::metadata(path).unwrap().len();
    cut(path, length + 1);
}

fn copy(from: &Path, to: &Path) {
    fs::copy(from, to).unwrap();
}

type Meddle = fn(&Scene);

/// What may become of a pack.
const PACKS: [(&str, Meddle); 8] = [
    ("a byte of its content is another", |scene| flip(&scene.pack, 30_000)),
    ("its first byte is another", |scene| flip(&scene.pack, 0)),
    ("its last byte is another", |scene| flip(&scene.pack, fs::metadata(&scene.pack).unwrap().len() as usize - 1)),
    ("it is cut", |scene| cut(&scene.pack, 20_000)),
    ("it is empty", |scene| cut(&scene.pack, 0)),
    ("it is longer", |scene| lengthen(&scene.pack)),
    ("it is another's", |scene| copy(&scene.other_pack, &scene.pack)),
    ("it is gone", |scene| fs::remove_file(&scene.pack).unwrap()),
];

#[test]
fn a_pack_that_is_not_what_it_was_comes_in_nowhere_and_is_sent_again() {
    for (how, meddle) in PACKS {
        let scene = scene();
        meddle(&scene);
        let two = House::with(&scene.server.config());
        let refused = two.ends_with(3, &["get", "site", "dest"]);
        let id = scene.pack.file_name().unwrap().to_str().unwrap();
        for part in ["s3://ci-bucket/team", id] {
            assert!(said(&refused).contains(part), "{how}, {part}: {}", said(&refused));
        }
        assert!(!two.path("dest").exists(), "{how}");
        assert_eq!(two.packs(), [] as [PathBuf; 0], "{how}: nothing of it is in the store");
        assert_eq!(two.json(&["ls"]), json!([]), "{how}");
        // The rest of what is there is as good as before.
        assert_eq!(two.got("docs"), seen(&scene.one.path("docs")), "{how}");
        // The machine that kept it does not need the shared store; it sends the pack again when the same is kept again.
        assert_eq!(scene.one.got("site"), seen(&scene.one.path("site")), "{how}");
        assert_eq!(scene.server.objects("/unfit/").len(), 1, "{how}: it is told to the others");
        scene.one.put(&scene.one.path("site"), "site");
        assert_eq!(scene.server.objects("/unfit/"), [] as [PathBuf; 0], "{how}");
        for machine in [two, House::with(&scene.server.config())] {
            assert_eq!(machine.got("site"), seen(&scene.one.path("site")), "{how}");
        }
    }
}

/// What may become of a record.
const RECORDS: [(&str, Meddle); 7] = [
    ("a byte is another", |scene| flip(&scene.record, 200)),
    ("it is cut", |scene| cut(&scene.record, 100)),
    ("it is empty", |scene| cut(&scene.record, 0)),
    ("it is another's", |scene| copy(&scene.other_record, &scene.record)),
    ("it names another's pack", name_packs_of_the_other),
    ("it is another's of its name", be_the_other_by_its_name),
    ("it is gone", |scene| fs::remove_file(&scene.record).unwrap()),
];

/// What a record says.
fn record(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap();
    serde_json::from_str::<Value>(text.lines().next().unwrap()).unwrap()["record"].take()
}

/// A record with a checksum that is right: what somebody can write who may write to the bucket.
fn sealed(record: &Value) -> String {
    let record = record.to_string();
    format!("{{\"sha256\":\"{}\",\"record\":{record}}}\n", hex::encode(Sha256::digest(&record)))
}

fn name_packs_of_the_other(scene: &Scene) {
    let mut forged = record(&scene.record);
    forged["packs"] = record(&scene.other_record)["packs"].take();
    fs::write(&scene.record, sealed(&forged)).unwrap();
}

fn be_the_other_by_its_name(scene: &Scene) {
    let mut forged = record(&scene.other_record);
    let name = &mut forged["info"]["what"]["artifact"]["name"];
    assert_eq!(name.take(), "docs");
    *name = "site".into();
    fs::write(&scene.record, sealed(&forged)).unwrap();
}

#[test]
fn a_record_that_is_not_what_it_was_gives_nobody_anything_else() {
    for (how, meddle) in RECORDS {
        let scene = scene();
        meddle(&scene);
        let two = House::with(&scene.server.config());
        let refused = two.run(&["get", "site", "dest"]);
        assert!(matches!(refused.status.code(), Some(1 | 3)), "{how}: {}", said(&refused));
        assert!(said(&refused).contains("site") || said(&refused).contains("s3://"), "{how}: {}", said(&refused));
        assert!(!two.path("dest").exists(), "{how}");
        assert_eq!(two.got("docs"), seen(&scene.one.path("docs")), "{how}");
        assert_eq!(scene.one.got("site"), seen(&scene.one.path("site")), "{how}");
        // Kept again, it is told again.
        scene.one.put(&scene.one.path("site"), "site");
        assert_eq!(House::with(&scene.server.config()).got("site"), seen(&scene.one.path("site")), "{how}");
    }
}

#[test]
fn what_is_damaged_here_and_there_is_told_and_not_restored() {
    let scene = scene();
    flip(&scene.pack, 30_000);
    let id = scene.pack.file_name().unwrap();
    let here = scene.one.packs().into_iter().find(|pack| pack.file_name().is_some_and(|name| name == id)).unwrap();
    flip(&here, 30_000);
    let refused = scene.one.ends_with(1, &["get", "site", "dest"]);
    assert!(said(&refused).contains("damaged"), "{}", said(&refused));
    assert!(!scene.one.path("dest").exists());
    scene.one.ends_with(1, &["verify"]);
    assert_eq!(scene.one.got("docs"), seen(&scene.one.path("docs")));
}
