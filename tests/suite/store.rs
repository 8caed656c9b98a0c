//! `forgehand store`, as the built program: what goes in comes out, whatever happens to it in between.

mod aged;
mod ages;
mod attributes;
mod audit;
mod bounds;
mod changing;
mod clock;
mod collectors;
mod flips;
mod jobs;
mod keeper;
mod keeping;
mod kills;
mod lying;
mod pressure;
mod refusals;
mod room;
mod shared;
mod terminal;
mod tidied;
mod together;
mod trees;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::support::agent::said;

/// The longest anything may take that is waited for.
const LIMIT: std::time::Duration = std::time::Duration::from_secs(60);

/// A store of its own.
struct House {
    dir: tempfile::TempDir,
}

impl House {
    fn new() -> Self {
        Self::with("")
    }

    /// `config`: the text of `forgehand.toml`.
    fn with(config: &str) -> Self {
        let house = Self { dir: tempfile::Builder::new().prefix("fh-store-").tempdir().unwrap() };
        house.configure(config);
        house
    }

    /// One whose packs are encrypted.
    fn locked() -> Self {
        Self::locked_with("")
    }

    /// `settings`: more keys of `[store]`.
    fn locked_with(settings: &str) -> Self {
        let house = Self::new();
        let key = house.path("key");
        fs::write(&key, [7; 32]).unwrap();
        house.configure(&format!("[store]\nkey_file = \"{}\"\n{settings}", key.display()));
        house
    }

    /// One without a key and one with.
    fn open_and_locked() -> [Self; 2] {
        [Self::new(), Self::locked()]
    }

    fn configure(&self, config: &str) {
        fs::write(self.path("forgehand.toml"), config).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The store's own folder.
    fn store(&self) -> PathBuf {
        self.path("state/store")
    }

    /// A new folder.
    fn folder(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(&path).unwrap();
        path
    }

    /// `forgehand store` with this store.
    fn command(&self, arguments: &[impl AsRef<OsStr>]) -> Command {
        let program =
            std::env::var_os("FORGEHAND_TEST_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_forgehand").into());
        let mut command = Command::new(program);
        command.arg("store").args(arguments).env_clear().env("HOME", self.dir.path());
        command.env("FORGEHAND_STATE_DIR", self.path("state")).env("FORGEHAND_CONFIG", self.path("forgehand.toml"));
        command.current_dir(self.dir.path()).stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[impl AsRef<OsStr>]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs what ends with `code`.
    fn ends_with(&self, code: i32, arguments: &[impl AsRef<OsStr>]) -> Output {
        let output = self.run(arguments);
        let shown: Vec<_> = arguments.iter().map(AsRef::as_ref).collect();
        assert_eq!(output.status.code(), Some(code), "forgehand store {shown:?}:\n{}", said(&output));
        output
    }

    /// Keeps a tree; its id.
    fn put(&self, tree: &Path, name: &str) -> String {
        let output = self.ends_with(0, &[OsStr::new("put"), tree.as_os_str(), "--name".as_ref(), name.as_ref()]);
        assert_eq!(said(&output), stdout(&output), "nothing is told of an ordinary tree");
        id_of(&output)
    }

    /// What a command with `--json` prints.
    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.ends_with(0, &[arguments, &["--json"]].concat());
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// What is restored into a folder that was not there.
    fn got(&self, what: &str) -> Vec<Seen> {
        let dest = tempfile::Builder::new().prefix("got-").tempdir_in(self.dir.path()).unwrap();
        let dest = dest.path().join("dest");
        self.ends_with(0, &[OsStr::new("get"), what.as_ref(), dest.as_os_str()]);
        seen(&dest)
    }

    /// The lines of the audit.
    fn audit(&self) -> Vec<Value> {
        audit_of(&self.store())
    }

    /// The packs: where objects lie.
    fn packs(&self) -> Vec<PathBuf> {
        files_below(&self.store())
            .into_iter()
            .filter(|path| path.components().any(|part| part.as_os_str() == "packs"))
            .collect()
    }
}

/// The lines of a store's audit, those of the month first that came first.
fn audit_of(store: &Path) -> Vec<Value> {
    // An agent that has just begun has no store yet.
    let mut files = if store.join("audit").exists() { files_below(&store.join("audit")) } else { Vec::new() };
    files.sort();
    let texts = files.iter().map(|path| fs::read_to_string(path).unwrap());
    texts.flat_map(|text| text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<_>>()).collect()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The id that `put` printed.
fn id_of(output: &Output) -> String {
    let id = stdout(output).trim_end().to_owned();
    assert!(id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id:?} is no id");
    id
}

/// The regular files below a folder.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => files.extend(files_below(&entry.path())),
            kind if kind.is_file() => files.push(entry.path()),
            _ => {}
        }
    }
    files
}

/// What a job notices of an entry of a tree.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Seen {
    path: Vec<u8>,
    /// With the kind; without the bits that nobody restores.
    mode: u32,
    modified: (i64, i64),
    /// The content of a file (its hash), the target of a symlink.
    content: Vec<u8>,
}

/// Everything below a folder, by handles: paths may be longer than the system takes at once.
fn seen(folder: &Path) -> Vec<Seen> {
    let dir = cap_std::fs::Dir::open_ambient_dir(folder, cap_std::ambient_authority()).unwrap();
    let mut all = Vec::new();
    see(&dir, &[], &mut all);
    all.sort();
    all
}

fn see(dir: &cap_std::fs::Dir, above: &[u8], all: &mut Vec<Seen>) {
    use sha2::Digest as _;
    use std::io::Read as _;
    use std::os::unix::ffi::OsStrExt as _;
    for entry in dir.entries().unwrap().map(Result::unwrap) {
        let name = entry.file_name();
        let stat = rustix::fs::statat(dir, &name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).unwrap();
        let path = [above, name.as_bytes()].join(if above.is_empty() { &b""[..] } else { b"/" });
        let kind = entry.file_type().unwrap();
        let content = if kind.is_file() {
            let mut hash = sha2::Sha256::new();
            let mut file = dir.open(&name).unwrap();
            let mut buffer = vec![0; 1 << 16];
            loop {
                match file.read(&mut buffer).unwrap() {
                    0 => break hash.finalize().to_vec(),
                    got => hash.update(&buffer[..got]),
                }
            }
        } else if kind.is_symlink() {
            rustix::fs::readlinkat(dir, &name, Vec::new()).unwrap().into_bytes()
        } else {
            Vec::new()
        };
        let modified = (stat.st_mtime, stat.st_mtime_nsec as i64);
        all.push(Seen { path: path.clone(), mode: stat.st_mode & 0o170_777, modified, content });
        if kind.is_dir() {
            see(&dir.open_dir(&name).unwrap(), &path, all);
        }
    }
}

/// Bytes that do not compress, others for each seed.
pub(crate) fn noise(length: usize, seed: u64) -> Vec<u8> {
    use rand::{Rng as _, SeedableRng as _};
    let mut bytes = vec![0; length];
    rand::rngs::StdRng::seed_from_u64(seed).fill_bytes(&mut bytes);
    bytes
}

/// A tree with files of all sizes that matter: empty, small, at the limits of what is cut, cut into several.
fn ordinary(folder: &Path, seed: u64) -> PathBuf {
    fs::create_dir_all(folder.join("src/deep")).unwrap();
    for (name, length) in [
        ("empty", 0),
        ("one", 1),
        ("whole", 64 << 10),
        ("cut", (64 << 10) + 1),
        ("src/large", 700_000),
        ("src/deep/x", 3000),
    ] {
        fs::write(folder.join(name), noise(length, seed + length as u64)).unwrap();
    }
    fs::write(folder.join("src/text"), "the same words again and again\n".repeat(5000)).unwrap();
    folder.to_owned()
}

/// Flips a bit of a file.
fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    let mode = fs::metadata(path).unwrap().permissions();
    fs::write(path, bytes).unwrap();
    assert_eq!(fs::metadata(path).unwrap().mode(), std::os::unix::fs::PermissionsExt::mode(&mode));
}

/// What a newer version would have written in place of this `format`.
fn newer(ours: &str) -> String {
    let (format, _) = ours.split_once('\n').unwrap();
    let newer = format.replacen("\"version\":1", "\"version\":2", 1);
    assert_ne!(newer, format);
    format!("{newer}\n{}\n", hex::encode(Sha256::digest(&newer)))
}
