//! Killed at random moments, again and again, while others are at work with the same store.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Barrier, Mutex};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};

use super::{House, Seen, noise, seen};
use crate::support::agent::said;
use crate::support::s3::S3Server;
use crate::support::try_until;

/// How often one of them is killed.
const KILLS: u32 = 200;
/// The same where packs are encrypted: what a kill leaves is decided by the same steps.
const KILLS_WITH_A_KEY: u32 = 60;
/// The same where machines share what they keep: besides, they tell of it and send it.
const KILLS_SHARED: u32 = 60;
/// How many work at the same time.
const AT_ONCE: u64 = 4;
/// Looks at everything.
const LOOKS: u32 = 4;
/// Nothing is in grace, so that there is always something to collect.
const SETTINGS: &str = "grace = \"0s\"\nreserve = \"0\"\n";
/// The longest anything may take.
const LIMIT: Duration = Duration::from_secs(60);

/// What a program is started for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Work {
    Put,
    PutForAMoment,
    PutAndPin,
    /// A folder that stays, mostly unchanged.
    PutAgain,
    Get,
    Gc,
    Verify,
}

const ALL: [Work; 12] = [
    Work::Put,
    Work::Put,
    Work::Put,
    Work::PutForAMoment,
    Work::PutAndPin,
    Work::PutAgain,
    Work::PutAgain,
    Work::PutAgain,
    Work::Get,
    Work::Gc,
    Work::Gc,
    Work::Verify,
];

/// What is known about the store from outside.
#[derive(Default)]
struct Known {
    /// What has to be there: what was put and told so, by id.
    kept: BTreeMap<String, Vec<Seen>>,
    /// Those of them that are there only because they are pinned, which is for one machine alone.
    pinned: BTreeSet<String>,
    /// How long work takes that is left alone.
    usual: BTreeMap<Work, Duration>,
}

struct Field {
    house: House,
    known: Mutex<Known>,
    kills: AtomicU32,
    trees: AtomicU64,
    seed: u64,
}

/// What became of a program.
enum End {
    Killed(String),
    Ended(std::process::Output),
}

#[test]
fn killed_at_two_hundred_random_moments_nothing_acknowledged_is_lost_and_every_start_is_clean() {
    drop(killed(House::with(&format!("[store]\n{SETTINGS}")), KILLS));
}

#[test]
fn killed_at_random_moments_an_encrypted_store_loses_nothing_either() {
    drop(killed(House::locked_with(SETTINGS), KILLS_WITH_A_KEY));
}

#[test]
fn killed_at_random_moments_what_was_acknowledged_comes_to_the_other_machines() {
    let server = S3Server::start();
    let config = format!("[store]\n{SETTINGS}{}", server.config());
    let field = killed(House::with(&config), KILLS_SHARED);
    // Whoever keeps something tells of what those before it left untold.
    let last = field.house.folder("last");
    let waiting = try_until(LIMIT, || {
        fs::write(last.join("file"), noise(100, rand::random())).unwrap();
        field.house.put(&last, "last");
        (field.house.json(&["stats"])["shared"]["waiting"] == 0).then_some(())
    });
    assert!(waiting.is_some(), "seed {}: not all is told", field.seed);
    let other = Field { house: House::with(&config), ..field };
    let (kept, pinned) = {
        let known = other.known.lock().unwrap();
        (known.kept.clone(), known.pinned.clone())
    };
    let shared: Vec<&String> = kept.keys().filter(|id| !pinned.contains(*id)).collect();
    assert!(!shared.is_empty(), "nothing was for others");
    shared.into_iter().for_each(|id| other.get(id, None));
    let verified = other.house.run(&["verify"]);
    assert!(verified.status.success(), "seed {}: {}", other.seed, said(&verified));
}

/// `FORGEHAND_SEED=NUMBER` repeats a run's moments.
fn killed(house: House, kills: u32) -> Field {
    let seed = std::env::var("FORGEHAND_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(rand::random);
    eprintln!("FORGEHAND_SEED={seed}");
    let field = Field { house, known: Mutex::default(), kills: AtomicU32::new(0), trees: AtomicU64::new(0), seed };
    let began = Instant::now();
    let mut looks = 0;
    while field.kills.load(Ordering::SeqCst) < kills {
        looks += 1;
        let barrier = Barrier::new(AT_ONCE as usize);
        std::thread::scope(|scope| {
            for worker in 0..AT_ONCE {
                let (field, barrier) = (&field, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    let mut random = StdRng::seed_from_u64(seed ^ (looks << 8) ^ worker);
                    field.work(worker, &mut random, looks as u32 * kills / LOOKS);
                });
            }
        });
        field.look_at_everything();
    }
    let known = field.known.lock().unwrap();
    eprintln!(
        "{} kills, {} trees kept, in {:?}",
        field.kills.load(Ordering::SeqCst),
        known.kept.len(),
        began.elapsed()
    );
    assert!(known.kept.len() as u32 >= kills / 10, "hardly anything was kept: {}", known.kept.len());
    drop(known);
    field
}

impl Field {
    /// Starts one program after the other, and kills most of them, until there were so many kills.
    fn work(&self, worker: u64, random: &mut StdRng, until: u32) {
        while self.kills.load(Ordering::SeqCst) < until {
            let work = *ALL.choose(random).unwrap();
            let fate = random.random_bool(0.75).then(|| random.random_range(0.0..1.1));
            match work {
                Work::Put | Work::PutForAMoment | Work::PutAndPin => self.put(work, random, fate),
                Work::PutAgain => self.put_again(worker, random, fate),
                Work::Get => {
                    let some: Vec<String> = self.known.lock().unwrap().kept.keys().cloned().collect();
                    if let Some(id) = some.choose(random) {
                        self.get(id, fate);
                    }
                }
                Work::Gc => drop(self.run(work, self.house.command(&["gc"]), fate, &[0, 3])),
                Work::Verify => drop(self.run(work, self.house.command(&["verify"]), fate, &[0])),
            }
        }
    }

    fn put(&self, work: Work, random: &mut StdRng, fate: Option<f64>) {
        let number = self.trees.fetch_add(1, Ordering::SeqCst);
        let tree = self.house.folder(&format!("trees/{number}"));
        for file in 0..random.random_range(1..60_u64) {
            fs::write(
                tree.join(format!("{file}")),
                noise(random.random_range(0..9000), self.seed ^ (number << 8) ^ file),
            )
            .unwrap();
        }
        // Half of it is in other trees, too: so packs are needed in part.
        fs::write(tree.join("common"), noise(300_000, number % 3)).unwrap();
        fs::write(tree.join("own"), noise(random.random_range(0..3_000_000), self.seed ^ number)).unwrap();
        let expected = seen(&tree);
        let (path, name) = (tree.to_str().unwrap().to_owned(), format!("tree-{number}"));
        let mut arguments = vec!["put", &path, "--name", &name];
        if work != Work::Put {
            arguments.extend(["--expire", "1s"]);
        }
        let printed = match self.run(work, self.house.command(&arguments), fate, &[0]) {
            End::Killed(printed) => printed,
            End::Ended(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
        };
        // Killed after it said so, it has promised it all the same.
        if let Some(id) = printed.strip_suffix('\n') {
            let is_pinned = || match self.run(Work::PutAndPin, self.house.command(&["pin", id]), None, &[0, 1]) {
                End::Ended(output) => output.status.success(),
                End::Killed(_) => false,
            };
            if work == Work::Put || (work == Work::PutAndPin && is_pinned()) {
                let mut known = self.known.lock().unwrap();
                known.kept.insert(id.to_owned(), expected);
                if work == Work::PutAndPin {
                    known.pinned.insert(id.to_owned());
                }
            }
        }
        fs::remove_dir_all(tree).unwrap();
    }

    /// Puts a folder whose files are rarely changed, so that most of them are not read; and now and then one of them by itself, so that
    /// packs of the folder are needed in part. What is put for a moment leaves what others must not count on.
    fn put_again(&self, worker: u64, random: &mut StdRng, fate: Option<f64>) {
        let folder = self.house.folder(&format!("standing/{worker}"));
        let (cut, large) = (folder.join("cut"), folder.join("large/file"));
        if !large.exists() {
            fs::create_dir_all(folder.join("large")).unwrap();
            fs::write(&cut, noise(1_000_000, self.seed ^ worker)).unwrap();
            fs::write(&large, noise(3_000_000, self.seed ^ random.random::<u64>())).unwrap();
        } else if random.random_bool(0.2) {
            let mut content = fs::read(&cut).unwrap();
            content[0] = content[0].wrapping_add(1);
            fs::write(&cut, content).unwrap();
            fs::write(&large, noise(3_000_000, self.seed ^ random.random::<u64>())).unwrap();
        }
        let tree = if random.random_bool(0.3) { folder.join("large") } else { folder };
        let expected = seen(&tree);
        let name = format!("standing-{worker}-{}", self.trees.fetch_add(1, Ordering::SeqCst));
        let mut arguments = vec!["put", tree.to_str().unwrap(), "--name", &name];
        let is_kept = random.random_bool(0.3);
        if !is_kept {
            arguments.extend(["--expire", "1s"]);
        }
        let printed = match self.run(Work::PutAgain, self.house.command(&arguments), fate, &[0]) {
            End::Killed(printed) => printed,
            End::Ended(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
        };
        if let Some(id) = printed.strip_suffix('\n').filter(|_| is_kept) {
            self.known.lock().unwrap().kept.insert(id.to_owned(), expected);
        }
    }

    /// Restores something, and looks whether it is that.
    fn get(&self, id: &str, fate: Option<f64>) {
        let dest = tempfile::Builder::new().prefix("got-").tempdir_in(self.house.dir.path()).unwrap();
        let to = dest.path().join("dest");
        let command = self.house.command(&["get", id, to.to_str().unwrap()]);
        let end = self.run(Work::Get, command, fate, &[0]);
        // Killed or not: it is there whole or not at all.
        if to.exists() || matches!(end, End::Ended(_)) {
            let expected = self.known.lock().unwrap().kept.get(id).cloned();
            assert!(expected.as_ref() == Some(&seen(&to)), "seed {}: {id} came back as something else", self.seed);
        }
    }

    /// Runs a program, and kills it when this share of its usual time has passed. One that is left alone must end with one of `codes`.
    fn run(&self, work: Work, mut command: Command, fate: Option<f64>, codes: &[i32]) -> End {
        let usual = self.known.lock().unwrap().usual.get(&work).copied().unwrap_or(Duration::from_millis(100));
        let began = Instant::now();
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        if let Some(share) = fate {
            // The random moment is what this test is about.
            std::thread::sleep(usual.mul_f64(share).saturating_sub(began.elapsed()));
            child.kill().unwrap();
        }
        let output = child.wait_with_output().unwrap();
        let took = began.elapsed();
        if output.status.code().is_none() {
            self.kills.fetch_add(1, Ordering::SeqCst);
            self.start_anew();
            return End::Killed(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let code = output.status.code().unwrap();
        assert!(codes.contains(&code), "seed {}: {work:?} ended with {code}: {}", self.seed, said(&output));
        assert!(took < LIMIT, "seed {}: {work:?} took {took:?}", self.seed);
        if fate.is_none() {
            let mut known = self.known.lock().unwrap();
            let usual = known.usual.entry(work).or_insert(took);
            *usual = (*usual * 3 + took) / 4;
        }
        End::Ended(output)
    }

    /// The first start after a kill is as any other, and something that was acknowledged before is there.
    fn start_anew(&self) {
        let output = self.house.run(&["ls", "--json"]);
        assert!(output.status.success(), "seed {}: the next start: {}", self.seed, said(&output));
        let listed: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let listed: Vec<&str> =
            listed.as_array().unwrap().iter().filter_map(|one| one["content_hash"].as_str()).collect();
        // What came after the list was made is not asked for: it is from before the kill, and the list from after it.
        let last = self.known.lock().unwrap().kept.keys().next_back().cloned();
        if let Some(id) = last.filter(|id| listed.contains(&id.as_str())) {
            self.get(&id, None);
        }
    }

    /// Nobody is at work: everything that was acknowledged is there, exactly, and nothing else is left of those who were killed.
    fn look_at_everything(&self) {
        let seed = self.seed;
        self.house.ends_with(0, &["ls"]);
        let left: Vec<_> =
            fs::read_dir(self.house.store().join("sessions")).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(left.is_empty(), "seed {seed}: half things are left: {left:?}");
        let kept = self.known.lock().unwrap().kept.clone();
        let listed = self.house.json(&["ls"]);
        let listed: Vec<&str> =
            listed.as_array().unwrap().iter().filter_map(|one| one["content_hash"].as_str()).collect();
        for id in kept.keys() {
            assert!(listed.contains(&id.as_str()), "seed {seed}: {id} was acknowledged and is not listed");
            self.get(id, None);
        }
        let verified = self.house.run(&["verify"]);
        assert!(verified.status.success(), "seed {seed}: {}", said(&verified));
        // What nobody needs goes: what is left is what those who were killed put without being heard, and what is kept.
        let collected = try_until(LIMIT, || (self.house.json(&["gc"])["freed_bytes"] == 0).then_some(()));
        assert!(collected.is_some(), "seed {seed}: the store is never tidy");
        let damaged = fs::read_dir(self.house.store().join("damaged")).unwrap().count();
        assert_eq!(damaged, 0, "seed {seed}: something was put aside as damaged");
    }
}
