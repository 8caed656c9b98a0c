//! Bringing what several threads stored back into order, and making the manifest of it.

use std::collections::BTreeMap;
use std::sync::mpsc::Receiver;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::super::error::StoreError;
use super::super::id::ObjectId;
use super::super::manifest::Root;
use super::super::manifest::write::ManifestWriter;
use super::super::pack::Kind;
use super::reader::Outcome;
use super::seen::SeenWriter;
use super::{Intake, Payload};

/// Batches that may be under way: one that takes long must not let all others pile up.
const WINDOW: u64 = 128;

/// How far the batches are.
pub(super) struct Window {
    finished: Mutex<u64>,
    moved: Condvar,
}

impl Window {
    pub(super) fn new() -> Self {
        Self { finished: Mutex::new(0), moved: Condvar::new() }
    }

    /// Waits until the batch `number` may begin. False: `is_over` says that nothing more begins.
    pub(super) fn wait_for(&self, number: u64, is_over: impl Fn() -> bool) -> bool {
        let mut finished = self.finished.lock().unwrap_or_else(PoisonError::into_inner);
        while number >= finished.saturating_add(WINDOW) {
            if is_over() {
                return false;
            }
            // Looked at now and then, since those who fail do not know who waits.
            let wait = self.moved.wait_timeout(finished, Duration::from_millis(50));
            finished = wait.unwrap_or_else(PoisonError::into_inner).0;
        }
        !is_over()
    }

    fn move_to(&self, number: u64) {
        *self.finished.lock().unwrap_or_else(PoisonError::into_inner) = number;
        self.moved.notify_all();
    }
}

/// A tree that is stored, as soon as the packs are.
pub(super) struct Assembled {
    pub(super) id: ObjectId,
    pub(super) root: Root,
    pub(super) seen: SeenWriter,
}

/// Works until no more outcomes come. `None`: the put was ended, and whoever did so knows why.
pub(super) fn assemble(
    outcomes: Receiver<Outcome>,
    window: &Window,
    intake: &Intake<'_, '_>,
) -> Result<Option<Assembled>, StoreError> {
    let mut manifest = ManifestWriter::new();
    let mut seen = SeenWriter::new();
    let mut early: BTreeMap<u64, Outcome> = BTreeMap::new();
    let mut next = 0;
    let ended = std::cell::Cell::new(false);
    let mut keep = |id: ObjectId, bytes: Vec<u8>| {
        if intake.claim(&id) && !intake.send(Payload::Object { id, kind: Kind::Segment, bytes }) {
            ended.set(true);
        }
        Ok(())
    };
    for outcome in outcomes {
        early.insert(outcome.number, outcome);
        while let Some(outcome) = early.remove(&next) {
            for done in outcome.done {
                if let (Some(facts), super::TreeNode::File { id, .. }) = (&done.facts, &done.entry.node) {
                    seen.push(&done.entry.path, facts, id);
                }
                manifest.push(&done.entry, &mut keep)?;
            }
            next += 1;
        }
        window.move_to(next);
    }
    let (root, bytes) = manifest.finish(&mut keep)?;
    let id = ObjectId::of(&bytes);
    if intake.claim(&id) && !intake.send(Payload::Object { id, kind: Kind::Tree, bytes }) {
        ended.set(true);
    }
    Ok((!ended.get() && early.is_empty()).then_some(Assembled { id, root, seen }))
}
