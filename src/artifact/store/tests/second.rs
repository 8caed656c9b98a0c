//! Several machines with a second level in common.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::sync::Mutex;
use std::time::Duration;

use super::*;

mod sharing;
mod tidying;
mod trouble;

/// What is wrong with a second level.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// Nobody answers.
    Gone,
    /// Nobody answers after so many writes more.
    GoneAfter(usize),
    /// Packs come with their last byte missing.
    Truncates,
    /// Nothing is taken whose name begins so.
    Refuses(String),
    /// The byte of this number of each pack is another, counted from its beginning.
    Flips(usize),
}

/// A second level in memory.
struct Bucket {
    blobs: Mutex<BTreeMap<BlobName, (Vec<u8>, jiff::Timestamp)>>,
    seconds: Arc<AtomicI64>,
    fault: Mutex<Fault>,
    calls: Mutex<Vec<String>>,
    /// What happens when the next pack is asked for.
    meanwhile: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Bucket {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            blobs: Mutex::default(),
            seconds: Arc::new(AtomicI64::new(jiff::Timestamp::now().as_second())),
            fault: Mutex::new(Fault::None),
            calls: Mutex::default(),
            meanwhile: Mutex::default(),
        })
    }

    fn is(&self, fault: Fault) {
        *self.fault.lock().unwrap() = fault;
    }

    fn names(&self, part: &str) -> Vec<String> {
        let blobs = self.blobs.lock().unwrap();
        blobs.keys().map(|name| name.to_string()).filter(|name| name.contains(part)).collect()
    }

    fn pass(&self, hours: i64) {
        self.seconds.fetch_add(hours * 3600, Ordering::Relaxed);
    }

    /// Of each record, whether all the packs that it names are there.
    fn records_are_whole(&self) -> bool {
        let blobs = self.blobs.lock().unwrap();
        let has = |slug: &str, id: &str| blobs.keys().any(|name| name.as_str() == format!("{slug}/packs/{id}"));
        blobs.iter().filter(|(name, _)| name.as_str().contains("/records/")).all(|(name, (bytes, _))| {
            let line = bytes.split(|byte| *byte == b'\n').next().unwrap();
            let text: serde_json::Value = serde_json::from_slice(line).unwrap();
            let packs = text["record"]["packs"].as_array().unwrap().clone();
            let slug = name.as_str().split('/').next().unwrap();
            !packs.is_empty() && packs.iter().all(|pack| has(slug, pack["id"].as_str().unwrap()))
        })
    }

    fn call(&self, doing: &'static str, name: &str) -> Result<(), LevelError> {
        self.calls.lock().unwrap().push(format!("{doing} {name}"));
        let mut fault = self.fault.lock().unwrap();
        let gone = LevelError::Failed {
            doing,
            name: name.to_owned(),
            level: self.title().to_owned(),
            source: "connection refused".into(),
        };
        match &mut *fault {
            Fault::Gone => Err(gone),
            Fault::Refuses(head) if doing == "writing" && name.starts_with(head.as_str()) => Err(gone),
            Fault::GoneAfter(left) if doing == "writing" => {
                let left = *left;
                *fault = left.checked_sub(1).map_or(Fault::Gone, Fault::GoneAfter);
                if left == 0 { Err(gone) } else { Ok(()) }
            }
            _ => Ok(()),
        }
    }

    fn now(&self) -> jiff::Timestamp {
        jiff::Timestamp::from_second(self.seconds.load(Ordering::Relaxed)).unwrap()
    }

    fn set(&self, name: &BlobName, bytes: Vec<u8>) {
        self.blobs.lock().unwrap().insert(name.clone(), (bytes, self.now()));
    }

    fn content(&self, name: &BlobName) -> Option<Vec<u8>> {
        let mut bytes = self.blobs.lock().unwrap().get(name)?.0.clone();
        if name.as_str().contains("/packs/") {
            match *self.fault.lock().unwrap() {
                Fault::Truncates => drop(bytes.pop()),
                Fault::Flips(at) => bytes[at] ^= 1,
                _ => {}
            }
        }
        Some(bytes)
    }
}

impl SecondLevel for Bucket {
    fn title(&self) -> &str {
        "memory://bucket"
    }

    fn upload(&self, name: &BlobName, from: &Path, _: &Interrupt) -> Result<(), LevelError> {
        self.call("writing", name.as_str())?;
        let mut bytes = Vec::new();
        File::open(from).and_then(|mut file| file.read_to_end(&mut bytes)).unwrap();
        self.set(name, bytes);
        Ok(())
    }

    fn write(&self, name: &BlobName, bytes: &[u8], _: &Interrupt) -> Result<(), LevelError> {
        self.call("writing", name.as_str())?;
        self.set(name, bytes.to_vec());
        Ok(())
    }

    fn download(&self, name: &BlobName, into: &mut File, limit: u64, _: &Interrupt) -> Result<Option<u64>, LevelError> {
        self.call("reading", name.as_str())?;
        if let Some(meanwhile) = self.meanwhile.lock().unwrap().take() {
            meanwhile();
        }
        let Some(bytes) = self.content(name) else { return Ok(None) };
        assert!(bytes.len() as u64 <= limit);
        into.write_all(&bytes).unwrap();
        Ok(Some(bytes.len() as u64))
    }

    fn read(&self, name: &BlobName, limit: u64, _: &Interrupt) -> Result<Option<Vec<u8>>, LevelError> {
        self.call("reading", name.as_str())?;
        Ok(self.content(name).inspect(|bytes| assert!(bytes.len() as u64 <= limit)))
    }

    fn list(&self, prefix: &str, each: &mut dyn FnMut(Blob), _: &Interrupt) -> Result<(), LevelError> {
        self.call("listing", prefix)?;
        let blobs = self.blobs.lock().unwrap();
        for (name, (bytes, modified)) in blobs.iter().filter(|(name, _)| name.as_str().starts_with(prefix)) {
            each(Blob { name: name.clone(), bytes: bytes.len() as u64, modified: *modified });
        }
        Ok(())
    }

    fn remove(&self, name: &BlobName, _: &Interrupt) -> Result<(), LevelError> {
        self.call("removing", name.as_str())?;
        self.blobs.lock().unwrap().remove(name);
        Ok(())
    }
}

/// How long the second level keeps what nobody uses.
const KEEP: Duration = Duration::from_secs(30 * 24 * 3600);

/// A machine with a store of its own.
fn machine(bucket: &Arc<Bucket>) -> Bench {
    machine_with(bucket, Limits { reserve_bytes: 0, ..Limits::default() }, None)
}

fn machine_with(bucket: &Arc<Bucket>, limits: Limits, key: Option<StoreKey>) -> Bench {
    let Bench { temp, seconds, store } = Bench::with(limits, key);
    seconds.store(bucket.seconds.load(Ordering::Relaxed), Ordering::Relaxed);
    Bench { temp, seconds, store: store.join(bucket.clone(), Some(KEEP)) }
}

impl Bench {
    /// Another process with the same store.
    fn again(self, bucket: &Arc<Bucket>) -> Self {
        let Self { temp, seconds, store } = self;
        drop(store);
        let limits = Limits { reserve_bytes: 0, ..Limits::default() };
        let store = open(&temp.path().join("store"), limits, None, &seconds).unwrap();
        Self { temp, seconds, store: store.join(bucket.clone(), Some(KEEP)) }
    }

    fn offer(&self) -> Offered {
        self.store.offer(&Offering::default(), &Progress::default()).unwrap().unwrap()
    }

    fn bring(&self, reader: &Owner, wanted: &Wanted) -> Result<Option<Brought>, StoreError> {
        self.store.bring(reader, wanted, &Interrupt::default())
    }

    fn cache(&self, owner: &Owner, key: &[u8], tree: &Path) -> Kept {
        self.try_put_as(owner, What::cache(key), tree).unwrap()
    }

    /// A folder with a file of this content.
    fn tree(&self, name: &str, content: &[u8]) -> PathBuf {
        let tree = self.folder(name);
        fs::write(tree.join("file"), content).unwrap();
        tree
    }

    /// The content of the file that was restored.
    fn restored(&self, owner: &Owner, id: &ObjectId) -> Result<Vec<u8>, StoreError> {
        let into = tempfile::tempdir_in(self.temp.path()).unwrap();
        self.get(owner, id, into.path())?;
        Ok(fs::read(into.path().join("file")).unwrap())
    }

    fn found(&self, reader: &Owner, wanted: &Wanted) -> Option<ObjectId> {
        self.store.find(reader, wanted).unwrap().map(|found| found.info.content_hash)
    }
}

fn exact(key: &[u8]) -> Wanted {
    Wanted::Exact(key.to_vec())
}

fn named(name: &str) -> Wanted {
    Wanted::Named(name.to_owned())
}
