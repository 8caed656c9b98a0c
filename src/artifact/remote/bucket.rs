//! A bucket, or a folder: whole objects under any key.

use std::fs::File;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use object_store::path::Path as Key;
use object_store::{Attribute, Attributes, GetOptions, ObjectStore, ObjectStoreExt, PutOptions, PutPayload};
use tokio::runtime::Handle;

use super::bound::{Bound, within};
use super::explain::{Trouble, is_missing};
use super::list::{self, Listing};
use super::transfer::{self, Pieces};
use super::{RemoteError, connect};
use crate::artifact::Interrupt;
use crate::artifact::store::{Blob, LevelError};
use crate::config::RemoteConfig;
use crate::outbound::Outbound;

/// How long whoever was asked to end still clears up after himself.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// A bucket with a prefix, or a folder. Cheap to clone.
#[derive(Clone)]
pub struct Bucket {
    pub(super) title: String,
    /// What all keys begin with: empty, or with a slash at its end.
    pub(super) prefix: String,
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) listing: Listing,
    deadline: Duration,
    listing_deadline: Duration,
    runtime: Handle,
}

/// What is known of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its size.
    pub bytes: u64,
    /// When it was written, by the clock of the server.
    pub modified: jiff::Timestamp,
    /// What its writer said about it: names in small letters, and values.
    pub metadata: Vec<(String, String)>,
}

impl std::fmt::Debug for Bucket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Bucket({})", self.title)
    }
}

impl Bucket {
    /// Reads the key files that `config` names, and asks nobody anything.
    ///
    /// # Errors
    /// The configuration cannot be used: an unreadable key file, a folder that is not there.
    pub fn open(config: &RemoteConfig, outbound: Outbound, runtime: Handle) -> Result<Self, RemoteError> {
        let connected = connect::connect(config, outbound)?;
        Ok(Self {
            title: config.url.to_string(),
            prefix: connected.prefix,
            store: connected.store,
            listing: connected.listing,
            deadline: Duration::from_secs(config.deadline_seconds.max(1)),
            listing_deadline: Duration::from_secs(config.listing_seconds.max(1)),
            runtime,
        })
    }

    /// How people call it: `s3://bucket/prefix`.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// Writes the rest of a file, with what is to be known about it, in bounded memory: small files in one piece, larger ones in
    /// several that are seen together or not at all.
    pub fn upload(
        &self,
        name: &str,
        from: &mut File,
        metadata: &[(&str, &str)],
        interrupt: &Interrupt,
    ) -> Result<(), LevelError> {
        const DOING: &str = "writing";
        // A folder keeps files and nothing about them.
        let attributes = match self.listing {
            Listing::Pages(_) => attributes(metadata),
            Listing::Folder(_) => Attributes::default(),
        };
        let mut work = async || -> Result<(), Trouble> {
            let key = self.key(name)?;
            let mut pieces = Pieces::of(from)?;
            let stall = Bound::Stall(self.deadline);
            if pieces.are_one() {
                let payload = pieces.next()?.unwrap_or_default();
                let options = PutOptions { attributes: attributes.clone(), ..PutOptions::default() };
                within(stall, interrupt, self.store.put_opts(&key, payload, options)).await??;
                return Ok(());
            }
            let mut open = None;
            let sending = transfer::send(self.store.as_ref(), &key, attributes.clone(), &mut pieces, &mut open);
            let sent = within(stall, interrupt, sending).await;
            if !matches!(sent, Ok(Ok(())))
                && let Some(mut open) = open
            {
                // Whatever comes of it: the first failure is the one to tell. What stays is for the bucket's own rules.
                let patience = if interrupt.is_raised() { self.deadline.min(LAST_WORDS) } else { self.deadline };
                let _ = within(Bound::Total(patience), &Interrupt::default(), open.abort()).await;
            }
            sent?
        };
        self.runtime.block_on(work()).map_err(|trouble| self.told(trouble, DOING, name))
    }

    /// Writes a small object. What was there under the name gives way.
    pub fn write(&self, name: &str, bytes: &[u8], interrupt: &Interrupt) -> Result<(), LevelError> {
        self.call("writing", name, interrupt, async {
            self.store.put(&self.key(name)?, PutPayload::from(bytes.to_vec())).await?;
            Ok(())
        })
    }

    /// Writes an object of at most `limit` bytes to the file. `None`: there is none.
    pub fn download(
        &self,
        name: &str,
        into: &mut File,
        limit: u64,
        interrupt: &Interrupt,
    ) -> Result<Option<Object>, LevelError> {
        self.fetch(name, into, limit, Bound::Stall(self.deadline), interrupt)
    }

    /// The content of an object of at most `limit` bytes. `None`: there is none.
    pub fn read(&self, name: &str, limit: u64, interrupt: &Interrupt) -> Result<Option<Vec<u8>>, LevelError> {
        let mut content = Vec::new();
        let found = self.fetch(name, &mut content, limit, Bound::Total(self.deadline), interrupt)?;
        Ok(found.map(|_| content))
    }

    /// What is known of an object. `None`: there is none.
    pub fn stat(&self, name: &str, interrupt: &Interrupt) -> Result<Option<Object>, LevelError> {
        self.call("asking for", name, interrupt, async {
            let options = GetOptions { head: true, ..GetOptions::default() };
            match self.store.get_opts(&self.key(name)?, options).await {
                Ok(found) => Ok(Some(transfer::object(&found)?)),
                Err(error) if is_missing(&error) => Ok(None),
                Err(error) => Err(error.into()),
            }
        })
    }

    /// Calls `each` with every object whose name begins with `prefix` and can be a [`crate::artifact::store::BlobName`].
    pub fn list(&self, prefix: &str, each: &mut dyn FnMut(Blob), interrupt: &Interrupt) -> Result<(), LevelError> {
        let work = list::list(self, prefix, each);
        self.bounded("listing", prefix, Bound::Total(self.listing_deadline), interrupt, work)
    }

    /// Removes an object; one that is gone already is no error.
    pub fn remove(&self, name: &str, interrupt: &Interrupt) -> Result<(), LevelError> {
        self.call("removing", name, interrupt, async {
            match self.store.delete(&self.key(name)?).await {
                Err(error) if !is_missing(&error) => Err(error.into()),
                Ok(()) | Err(_) => Ok(()),
            }
        })
    }

    /// Whether it can be reached and looked into with the configured credentials.
    pub fn look(&self, interrupt: &Interrupt) -> Result<(), LevelError> {
        self.call("looking into", "", interrupt, list::first_page(self))
    }

    /// The key of a name. What a key cannot be is refused before anything is sent.
    pub(super) fn key(&self, name: &str) -> Result<Key, Trouble> {
        let full = format!("{}{name}", self.prefix);
        let key = Key::parse(&full).ok().filter(|key| key.as_ref() == full && !name.is_empty() && full.len() <= 1024);
        key.ok_or_else(|| Trouble::Wrong("can be no name of an object".to_owned()))
    }

    fn fetch(
        &self,
        name: &str,
        into: &mut dyn Write,
        limit: u64,
        bound: Bound,
        interrupt: &Interrupt,
    ) -> Result<Option<Object>, LevelError> {
        let work = async { transfer::receive(self.store.as_ref(), &self.key(name)?, into, limit).await };
        self.bounded("reading", name, bound, interrupt, work)
    }

    fn call<T>(
        &self,
        doing: &'static str,
        name: &str,
        interrupt: &Interrupt,
        work: impl Future<Output = Result<T, Trouble>>,
    ) -> Result<T, LevelError> {
        self.bounded(doing, name, Bound::Total(self.deadline), interrupt, work)
    }

    fn bounded<T>(
        &self,
        doing: &'static str,
        name: &str,
        bound: Bound,
        interrupt: &Interrupt,
        work: impl Future<Output = Result<T, Trouble>>,
    ) -> Result<T, LevelError> {
        let done = self.runtime.block_on(within(bound, interrupt, work));
        done.map_err(Trouble::from).and_then(|done| done).map_err(|trouble| self.told(trouble, doing, name))
    }

    fn told(&self, trouble: Trouble, doing: &'static str, name: &str) -> LevelError {
        trouble.told(doing, name, &self.title)
    }
}

fn attributes(metadata: &[(&str, &str)]) -> Attributes {
    let own =
        metadata.iter().map(|(name, value)| (Attribute::Metadata((*name).to_owned().into()), (*value).to_owned()));
    own.chain([(Attribute::ContentType, "application/octet-stream".to_owned())]).collect()
}
