//! What the server knows, and the rules by which it changes.
//!
//! [`World`] is shared by all handlers. Its [`Knowledge`] is plain data behind one lock that is never held across an
//! `await`; logs are files with locks of their own ([`trace`]). Every change is told through [`World::changed`].

pub mod assignment;
pub mod job;
pub mod pipeline;
pub mod project;
pub mod runner;
pub mod trace;
pub mod update;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::ci::identity::Signer;
use super::fault::Faults;
use super::options::EmulatorOptions;
use super::record::Recorder;

/// All that the handlers share.
#[derive(Debug)]
pub struct World {
    /// The record of requests.
    pub recorder: Recorder,
    /// The failures in force.
    pub faults: Faults,
    /// Where logs, artifacts and repositories lie.
    pub dir: PathBuf,
    /// `http://127.0.0.1:PORT`, the API and the repositories.
    pub base_url: String,
    /// The object storage, on a port of its own.
    pub storage_url: String,
    /// Signs the tokens by which jobs prove who they are.
    pub signer: Signer,
    options: Mutex<EmulatorOptions>,
    knowledge: Mutex<Knowledge>,
    changes: watch::Sender<u64>,
}

/// What the server knows.
#[derive(Debug, Default)]
pub struct Knowledge {
    /// Projects by id.
    pub projects: BTreeMap<u64, project::Project>,
    /// Runners by id.
    pub runners: BTreeMap<u64, runner::Runner>,
    /// Jobs by id, in the order in which they were made.
    pub jobs: BTreeMap<u64, job::Job>,
    /// Pipelines by id.
    pub pipelines: BTreeMap<u64, pipeline::Pipeline>,
    /// Jobs of pipelines that wait for the clock.
    pub timers: Vec<pipeline::Timer>,
    /// Where logs lie.
    pub traces: PathBuf,
    /// Jobs to hand out once more although they are running.
    pub redeliveries: Vec<u64>,
    last_id: u64,
}

impl Knowledge {
    /// A number that nothing else has. One sequence for all kinds, so that mixed-up ids never fit by chance.
    pub fn next_id(&mut self) -> u64 {
        self.last_id = self.last_id.max(1000) + 1;
        self.last_id
    }
}

impl World {
    /// A world without anything in it.
    pub fn new(dir: PathBuf, base_url: String, storage_url: String, options: EmulatorOptions) -> Self {
        Self {
            recorder: Recorder::default(),
            faults: Faults::default(),
            knowledge: Mutex::new(Knowledge { traces: dir.join("traces"), ..Knowledge::default() }),
            dir,
            base_url,
            storage_url,
            signer: Signer::new(),
            options: Mutex::new(options),
            changes: watch::Sender::new(0),
        }
    }

    /// The knowledge, locked. Tell of changes with [`World::changed`] afterwards.
    pub fn know(&self) -> MutexGuard<'_, Knowledge> {
        self.knowledge.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The settings as they are now.
    pub fn options(&self) -> EmulatorOptions {
        self.options.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes the settings.
    pub fn set_options(&self, change: impl FnOnce(&mut EmulatorOptions)) {
        change(&mut self.options.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Tells all who wait that something changed.
    pub fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// Hears of changes from now on.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

/// A random text of `length` lower-case letters and digits, for tokens.
pub fn random_text(length: usize) -> String {
    const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    (0..length).map(|_| char::from(LETTERS[rand::random_range(0..LETTERS.len())])).collect()
}
