//! Making the index say what the records say.

use super::disk;
use super::error::StoreError;
use super::index::Index;
use super::layout::Home;
use super::opened::{Store, slug_of};
use super::record::{MAX_RECORD, Record, RecordKey};
use super::session;
use crate::artifact::Interrupt;

impl Store {
    /// Reads all records, and has the index say what they say.
    pub fn index_anew(&self) -> Result<(), StoreError> {
        self.reconcile(false)
    }

    /// Makes the index say what the files say, while others go on writing both.
    pub(super) fn reconcile(&self, is_new: bool) -> Result<(), StoreError> {
        let _held = session::share(&self.layout, &Interrupt::default())?;
        let mut known = self.index()?.records()?;
        for home in self.homes()? {
            let slug = slug_of(&home);
            let (records, _) = self.records(&home)?;
            let index = self.index()?;
            index.at_once(|| {
                for record in &records {
                    let key = record.key();
                    known.remove(&(slug.clone(), key.to_string()));
                    if !index.says(record)? {
                        self.tell_index(&index, &home, &key, is_new)?;
                    }
                }
                Ok(())
            })?;
            drop(index);
            self.recount(&home)?;
            if is_new {
                self.index_consumers(&home)?;
            }
        }
        let index = self.index()?;
        index.at_once(|| {
            known.keys().try_for_each(|(owner, key)| match key.parse() {
                Ok(key) => self.tell_index(&index, &Home::at(self.layout.owners().join(owner)), &key, is_new),
                Err(_) => index.remove_row(owner, key),
            })
        })
    }

    /// Has the index say what the file of one record says.
    pub(super) fn reconcile_one(&self, home: &Home, key: &RecordKey) -> Result<(), StoreError> {
        let index = self.index()?;
        index.at_once(|| self.tell_index(&index, home, key, false))
    }

    /// Has the index say what the file of a record says. It is read here, where nobody else writes to the index: whoever
    /// writes or removes a record tells the index afterwards, so that the file is never older than what the index has.
    fn tell_index(&self, index: &Index, home: &Home, key: &RecordKey, is_new: bool) -> Result<(), StoreError> {
        let path = self.record_path(home, key);
        let Some(bytes) = disk::read_small(&path, MAX_RECORD)? else { return index.remove(&slug_of(home), key) };
        match self.sound_record(home, &path, &bytes) {
            Some(record) => index.add(&record, self.now_or_made(&record, is_new)),
            // Whoever reads it next mends it by what the index has.
            None => Ok(()),
        }
    }

    /// When a record that the index did not have was used last: nobody knows, so now, where the whole index is new.
    fn now_or_made(&self, record: &Record, is_new: bool) -> jiff::Timestamp {
        match record {
            Record::Kept(info) if !is_new => info.named_at(),
            _ => self.now(),
        }
    }
}
