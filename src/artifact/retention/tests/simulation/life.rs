//! What happens to the store: pipelines of several projects, people, a clock that is set wrong.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};

use super::super::*;
use super::store::{BELIEVED, Store};
use crate::artifact::retention::{Plan, ReferenceCause};
use crate::pipeline::{JobId, JobKey};

/// A job that needs entries.
struct Job {
    key: JobKey,
    needs: Vec<EntryId>,
    starts: i64,
    ends: i64,
    running: bool,
    outcome: ReferenceCause,
}

pub(super) struct Life {
    rng: StdRng,
    jobs: Vec<Job>,
    pins: Vec<EntryId>,
    count: u64,
    /// What was put lately, and may be asked for.
    recent: Vec<EntryId>,
    pub(super) failed: u64,
    pub(super) cancelled: u64,
}

impl Life {
    pub(super) fn new(seed: u64) -> Self {
        let rng = StdRng::seed_from_u64(seed);
        Self { rng, jobs: Vec::new(), pins: Vec::new(), count: 0, recent: Vec::new(), failed: 0, cancelled: 0 }
    }

    /// How many jobs need an entry, by counting them.
    pub(super) fn needing(&self, id: &EntryId) -> u64 {
        self.jobs.iter().map(|job| job.needs.iter().filter(|need| *need == id).count() as u64).sum()
    }

    /// Everything that happens at one moment.
    pub(super) fn happens(&mut self, store: &mut Store) {
        self.clock(store);
        self.jobs_go_on(store);
        // Weeks differ: some are calm, some fill the store.
        let (day, rate) = (store.truth / DAY, [0.04, 0.06, 0.10, 0.16, 0.24]);
        let rate = rate[(day / 9 % 5) as usize];
        if self.rng.random_bool(rate) {
            self.pipeline(store);
        }
        if store.truth % DAY == 0 {
            self.nightly(store);
        }
        if day % 61 == 40 {
            self.burst(store);
        }
        if self.rng.random_bool(0.01) {
            self.person(store);
        }
        if self.rng.random_bool(0.05) {
            self.restore(store);
        }
    }

    /// The wall clock on some days of the year: (day, hour, seconds it is off from then on).
    fn clock(&mut self, store: &mut Store) {
        const SET: &[(i64, i64, i64)] = &[
            // Forty days ahead, noticed after one cycle at most.
            (50, 3, 40 * DAY),
            (50, 5, 0),
            // A year back for ten days.
            (90, 7, -365 * DAY),
            (100, 7, 0),
            // Wrong by hours only, both ways.
            (130, 2, -20 * HOUR),
            (133, 2, 0),
            // Sixty days ahead, for so long that cycles agree on it.
            (BELIEVED.0 / DAY, 0, 60 * DAY),
            (BELIEVED.1 / DAY, 0, 0),
            // A dead battery: the machine boots in the past and gets the time hours later.
            (300, 9, -3_000 * DAY),
            (300, 15, 0),
        ];
        let (day, hour) = (store.truth / DAY, store.truth % DAY / HOUR);
        if store.truth % HOUR == 0 {
            let set = SET.iter().find(|(at, at_hour, _)| (*at, *at_hour) == (day, hour));
            store.clock_error = set.map_or(store.clock_error, |(_, _, error)| *error);
            // Boots now and then, and where the battery was dead.
            store.restarted |= self.rng.random_bool(0.02) || set.is_some();
        }
        // Switched off over a long week-end: time passes without us.
        if day % 70 == 60 && hour == 18 && store.truth % HOUR == 0 {
            store.truth += 3 * DAY;
            store.restarted = true;
        }
    }

    fn jobs_go_on(&mut self, store: &mut Store) {
        let now = store.truth;
        for job in &mut self.jobs {
            if !job.running && job.starts <= now {
                job.running = true;
                for id in &job.needs {
                    let references = &mut store.held.get_mut(id).expect("what a job needs is there").known.references;
                    references.queued -= 1;
                    references.running += 1;
                }
                for id in &job.needs {
                    assert!(store.read(id, 0));
                }
            }
        }
        let (ended, going): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.jobs).into_iter().partition(|job| job.ends <= now);
        self.jobs = going;
        for job in ended {
            self.failed += u64::from(job.outcome == ReferenceCause::JobFailed);
            self.cancelled += u64::from(job.outcome == ReferenceCause::JobCancelled);
            for id in &job.needs {
                store.refer(id, &job.key, job.outcome);
                let references = &mut store.held.get_mut(id).expect("what a job needs is there").known.references;
                if job.running { references.running -= 1 } else { references.queued -= 1 }
            }
        }
    }

    fn job_key(&mut self) -> JobKey {
        self.count += 1;
        JobKey::of(&ForgeInstance::new("https://forge.example"), &JobId::new(self.count.to_string()), "token")
    }

    /// Queues a job that needs what is there.
    fn queue(&mut self, store: &mut Store, needs: Vec<EntryId>) {
        let key = self.job_key();
        for id in &needs {
            store.held.get_mut(id).expect("it is there").known.references.queued += 1;
            store.refer(id, &key, ReferenceCause::JobQueued);
        }
        let outcomes = [ReferenceCause::JobSucceeded, ReferenceCause::JobFailed, ReferenceCause::JobCancelled];
        let outcome = *outcomes.choose(&mut self.rng).expect("there are some");
        // Most wait for minutes; some for days, for a runner that is not there.
        let wait = if self.rng.random_bool(0.03) {
            self.rng.random_range(DAY..20 * DAY)
        } else {
            self.rng.random_range(0..HOUR)
        };
        let starts = store.truth + wait;
        // Cancelled ones may never have begun.
        let runs = self.rng.random_range(60..3 * HOUR);
        let ends = if outcome == ReferenceCause::JobCancelled { starts - runs.min(wait) } else { starts + runs };
        self.jobs.push(Job { key, needs, starts, ends, running: false, outcome });
    }

    fn new_entry(&mut self, name: &str, bytes: std::ops::Range<u64>) -> Candidate {
        let project = *["app", "lib", "site", "tool"].choose(&mut self.rng).expect("there are some");
        let trust = *[Trust::Fork, Trust::Member, Trust::Protected].choose(&mut self.rng).expect("there are some");
        Candidate {
            name: name.to_owned(),
            owner: owner(project, trust),
            pipeline: Some(PipelineKey::new("main")),
            bytes: self.rng.random_range(bytes),
            ..entry("new", 0, 0)
        }
    }

    /// Builds, caches, tests that need the build, logs; sometimes a release.
    fn pipeline(&mut self, store: &mut Store) {
        self.count += 1;
        let at = |store: &Store, days: i64| Expiry::At(store.stamp() + jiff::SignedDuration::from_secs(days * DAY));
        let expiry = match self.rng.random_range(0..20) {
            0..5 => at(store, self.rng.random_range(0..25)),
            5 if self.rng.random_bool(0.05) => Expiry::Never,
            _ => Expiry::None,
        };
        let build = Candidate { expiry, ..self.new_entry(&format!("build-{}", self.count), 20..400) };
        let cache = self.new_entry(&format!("cache-{}", self.count % 50), 50..600);
        let log = self.new_entry(&format!("log-{}", self.count), 5..120);
        let release = self.new_entry(&format!("release-v{}", self.count), 50..300);
        let build = store.put(build);
        self.recent.extend(build.iter().cloned());
        self.recent.extend(store.put(cache));
        store.put(log);
        if self.rng.random_bool(0.05) {
            self.recent.extend(store.put(release));
        }
        if let Some(build) = build {
            (0..self.rng.random_range(1..4)).for_each(|_| self.queue(store, vec![build.clone()]));
        }
        let surplus = self.recent.len().saturating_sub(150);
        self.recent.drain(..surplus);
    }

    fn nightly(&mut self, store: &mut Store) {
        let nightly = Candidate { owner: owner("app", Trust::Protected), ..self.new_entry("nightly", 100..200) };
        store.put(nightly);
    }

    /// Someone uploads more than there is room for.
    fn burst(&mut self, store: &mut Store) {
        self.count += 1;
        for part in 0..8 {
            let name = format!("dump-{}-{part}", self.count);
            let dump = self.new_entry(&name, 10..4_000);
            store.put(dump);
        }
    }

    fn any(&mut self, store: &Store) -> Option<EntryId> {
        let at = self.rng.random_range(0..store.held.len().max(1));
        store.held.keys().nth(at).cloned()
    }

    /// Pins something, or unpins it.
    fn person(&mut self, store: &mut Store) {
        if self.pins.len() > 15 || (!self.pins.is_empty() && self.rng.random_bool(0.4)) {
            let unpinned = self.pins.swap_remove(self.rng.random_range(0..self.pins.len()));
            store.held.get_mut(&unpinned).expect("what is pinned is there").known.pinned = false;
        } else if let Some(id) = self.any(store).filter(|id| !self.pins.contains(id)) {
            store.held.get_mut(&id).expect("it is there").known.pinned = true;
            self.pins.push(id);
        }
    }

    /// Restores something: what was put lately, or anything at all. It takes up to three days.
    fn restore(&mut self, store: &mut Store) {
        let recent = self.recent.choose(&mut self.rng).cloned();
        let id = if self.rng.random_bool(0.8) { recent } else { self.any(store) };
        let lease = if self.rng.random_bool(0.1) { 3 * DAY } else { self.rng.random_range(0..2 * HOUR) };
        if let Some(id) = id {
            store.read(&id, lease);
        }
    }

    /// Between a plan and its deletions: jobs, leases and pins take what is about to go.
    pub(super) fn interferes(&mut self, store: &mut Store, plan: &Plan) {
        for judged in &plan.deletions {
            let id = &judged.candidate.id;
            match self.rng.random_range(0..200) {
                0 => self.queue(store, vec![id.clone()]),
                1 => {
                    store.read(id, HOUR);
                }
                2 => store.held.get_mut(id).expect("it is there").leased_until = store.truth + HOUR,
                3 => {
                    store.held.get_mut(id).expect("it is there").known.pinned = true;
                    self.pins.push(id.clone());
                }
                _ => {}
            }
        }
    }
}
