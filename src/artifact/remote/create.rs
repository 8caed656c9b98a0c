//! Writing only what is not there yet, also where the server cannot refuse.

use std::sync::OnceLock;

use object_store::path::Path as Key;
use object_store::{Error, ObjectStoreExt, PutMode};

use super::bucket::Bucket;
use super::explain::{Trouble, is_missing, is_unknown_condition};
use crate::config::remote::ConditionalPut;

/// Whether the server refuses to write what is there, as far as it is known.
#[derive(Debug)]
pub(super) struct Conditions {
    held: OnceLock<bool>,
}

impl Conditions {
    pub(super) fn new(setting: ConditionalPut) -> Self {
        let held = OnceLock::new();
        // A new cell takes its first value.
        let _ = match setting {
            ConditionalPut::Auto => Ok(()),
            ConditionalPut::On => held.set(true),
            ConditionalPut::Off => held.set(false),
        };
        Self { held }
    }
}

impl Bucket {
    pub(super) async fn create_key(&self, key: &Key, bytes: &[u8]) -> Result<bool, Trouble> {
        if self.holds_conditions().await? {
            return self.created(key, bytes).await;
        }
        match self.store.head(key).await {
            Ok(_) => Ok(false),
            Err(error) if is_missing(&error) => {
                self.put(key, bytes, PutMode::Overwrite).await?;
                Ok(true)
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn created(&self, key: &Key, bytes: &[u8]) -> Result<bool, Trouble> {
        match self.put(key, bytes, PutMode::Create).await {
            Ok(()) => Ok(true),
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Finds out once whether the server honours the condition: there are some that ignore it and write. Two threads that ask at
    /// the same time both find out, each with an object of its own.
    async fn holds_conditions(&self) -> Result<bool, Trouble> {
        if let Some(held) = self.conditions.held.get() {
            return Ok(*held);
        }
        let probe = self.key(&format!("forgehand-probe-{}", uuid::Uuid::new_v4()))?;
        self.put(&probe, b"probe", PutMode::Overwrite).await?;
        let again = self.created(&probe, b"again").await;
        // It is of no use to anybody; where it cannot be removed, what follows says why.
        let _ = self.store.delete(&probe).await;
        let held = match again {
            Ok(has_written) => !has_written,
            Err(Trouble::Server(error)) if is_unknown_condition(&error) => false,
            Err(trouble) => return Err(trouble),
        };
        if !held {
            tracing::warn!(store = %self.title, "the server cannot refuse to write what is there; it is looked at first");
        }
        Ok(*self.conditions.held.get_or_init(|| held))
    }
}
