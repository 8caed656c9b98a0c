//! What jobs need stays while they do: references, and whose jobs they are of.
//!
//! Several agents may work with one store. Each holds a lock below `agents` as long as it runs, and what its jobs hold says so: nobody
//! takes another's references for those of jobs that are gone.

use std::sync::PoisonError;

use super::ballast;
use super::disk;
use super::error::StoreError;
use super::id::ObjectId;
use super::opened::Store;
use super::record::{Record, Reference, reference_key};
use super::restore::owners_of_project;
use super::session;
use crate::artifact::Interrupt;
use crate::artifact::retention::ReferenceCause;
use crate::pipeline::{JobKey, Owner};

/// How long an agent that is gone is waited for: it may come again and bring its jobs to their end.
const FORGOTTEN_AFTER: jiff::SignedDuration = jiff::SignedDuration::from_hours(7 * 24);

/// An agent that works with a store, while it does.
pub(super) struct Serving {
    id: String,
    _held: session::Held,
}

/// A job that holds something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The job.
    pub job: JobKey,
    /// Whose the things are that it holds.
    pub owner: Owner,
    /// The agent that runs it, where that has said who it is.
    agent: Option<String>,
    since: jiff::Timestamp,
}

impl Store {
    /// For an agent of this id (letters, digits, `-` and `_`), which is the only one of it.
    ///
    /// # Errors
    /// Its lock cannot be had.
    pub fn serving(mut self, id: &str) -> Result<Self, StoreError> {
        disk::make_folder(&self.layout.agents())?;
        let held = session::agent(&self.layout, id)?;
        self.serving = Some(Serving { id: id.to_owned(), _held: held });
        Ok(self)
    }

    /// Keeps trees that a job needs, besides those that it holds already, until [`Store::release`]. All of a job's references are in one record:
    /// it is one process that writes it.
    pub fn hold(
        &self,
        owner: &Owner,
        holder: &JobKey,
        trees: &[ObjectId],
        interrupt: &Interrupt,
    ) -> Result<(), StoreError> {
        let work = self.begin(interrupt)?;
        let _one_at_a_time = self.holding.lock().unwrap_or_else(PoisonError::into_inner);
        let mut reference = match self.read_record(&self.home(owner), &reference_key(holder))? {
            Some(Record::Reference(reference)) => reference,
            _ => Reference {
                holder: holder.clone(),
                trees: Vec::new(),
                owner: owner.clone(),
                created_at: self.now(),
                agent: self.serving.as_ref().map(|serving| serving.id.clone()),
            },
        };
        let new: Vec<ObjectId> = trees.iter().copied().filter(|tree| !reference.trees.contains(tree)).collect();
        if new.is_empty() {
            return Ok(());
        }
        reference.trees.extend(&new);
        self.write_record(&work, &Record::Reference(reference))?;
        new.iter().try_for_each(|tree| self.audit_reference(Some(holder), tree, ReferenceCause::JobQueued))
    }

    /// Takes the references of a job back, however it ended: `cause` says how. False: it had none.
    pub fn release(&self, owner: &Owner, holder: &JobKey, cause: ReferenceCause) -> Result<bool, StoreError> {
        match self.try_release(owner, holder, cause) {
            // Only then: a collection may need what is put by more.
            Err(StoreError::NoSpace { .. }) => {
                ballast::give_up_if_needed(&self.layout);
                self.try_release(owner, holder, cause)
            }
            done => done,
        }
    }

    fn try_release(&self, owner: &Owner, holder: &JobKey, cause: ReferenceCause) -> Result<bool, StoreError> {
        let key = reference_key(holder);
        if !self.record_path(&self.home(owner), &key).exists() {
            return Ok(false);
        }
        let work = self.begin(&Interrupt::default())?;
        let _one_at_a_time = self.holding.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(Record::Reference(reference)) = self.read_record(&self.home(owner), &key)? else { return Ok(false) };
        let tell = || reference.trees.iter().try_for_each(|tree| self.audit_reference(Some(holder), tree, cause));
        self.forget(&work, owner, &key, tell)
    }

    /// Takes the references of a job back that it has to things of everybody whose things it may read.
    pub fn release_readable(&self, reader: &Owner, holder: &JobKey, cause: ReferenceCause) -> Result<(), StoreError> {
        for owner in owners_of_project(reader).filter(|owner| reader.may_read(owner)) {
            self.release(&owner, holder, cause)?;
        }
        Ok(())
    }

    /// Jobs that hold something.
    pub fn holders(&self) -> Result<Vec<Holder>, StoreError> {
        let mut holders = Vec::new();
        for text in self.index()?.records()?.into_values() {
            if let Ok(Record::Reference(reference)) = serde_json::from_str::<Record>(&text) {
                let Reference { holder: job, owner, agent, created_at: since, .. } = reference;
                holders.push(Holder { job, owner, agent, since });
            }
        }
        // One for each tree.
        holders.dedup();
        Ok(holders)
    }

    /// Whether this agent answers for a job: it runs it, or nobody else will ever say that it is over.
    pub fn answers_for(&self, holder: &Holder) -> Result<bool, StoreError> {
        let Some(agent) = &holder.agent else { return Ok(true) };
        if self.serving.as_ref().is_some_and(|serving| serving.id == *agent) {
            return Ok(true);
        }
        let is_old = self.now().duration_since(holder.since) > FORGOTTEN_AFTER;
        Ok(is_old && !session::agent_is_alive(&self.layout, agent)?)
    }
}
