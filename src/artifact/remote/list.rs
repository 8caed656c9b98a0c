//! Listings, page by page.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use object_store::Error;
use object_store::list::{PaginatedListOptions, PaginatedListStore};
use object_store::path::Error as KeyError;

use super::bucket::Bucket;
use super::explain::Trouble;
use super::transfer::modified;
use crate::artifact::store::{Blob, BlobName};

/// As many objects a page; S3 gives no more.
const PAGE: usize = 1_000;

/// More than any store of ours has. A server that has more is one that never ends.
const MOST: u64 = 10_000_000;

/// How a listing is made.
#[derive(Clone)]
pub(super) enum Listing {
    /// Page by page, from any beginning of a key on.
    Pages(Arc<dyn PaginatedListStore>),
    /// Of what lies in a folder.
    Folder(PathBuf),
}

/// Calls `each` with every blob whose name begins with `prefix`.
pub(super) async fn list(bucket: &Bucket, prefix: &str, each: &mut dyn FnMut(Blob)) -> Result<(), Trouble> {
    let mut found = Found { inside: &bucket.prefix, prefix, each, seen: 0 };
    match &bucket.listing {
        Listing::Pages(pages) => in_pages(pages.as_ref(), &mut found).await,
        Listing::Folder(root) => in_folder(root, &mut found).await,
    }
}

/// Whether a listing is answered.
pub(super) async fn first_page(bucket: &Bucket) -> Result<(), Trouble> {
    match &bucket.listing {
        Listing::Pages(pages) => {
            let one = PaginatedListOptions { max_keys: Some(1), ..PaginatedListOptions::default() };
            match pages.list_paginated(Some(&bucket.prefix), one).await {
                Ok(_) | Err(Error::InvalidPath { .. }) => Ok(()),
                Err(error) => Err(error.into()),
            }
        }
        Listing::Folder(root) => std::fs::read_dir(root).map(drop).map_err(Trouble::File),
    }
}

struct Found<'a> {
    /// What the key of everything of ours begins with.
    inside: &'a str,
    prefix: &'a str,
    each: &'a mut dyn FnMut(Blob),
    seen: u64,
}

impl Found<'_> {
    /// Hands on what is a blob of ours and asked for: what a server lists beside it is not.
    fn take(&mut self, key: &str, bytes: u64, modified: Option<jiff::Timestamp>) -> Result<(), Trouble> {
        self.seen += 1;
        if self.seen > MOST {
            return Err(Trouble::Wrong(format!("lists more than {MOST} objects")));
        }
        let name = key.strip_prefix(self.inside).filter(|name| name.starts_with(self.prefix));
        if let (Some(name), Some(modified)) = (name.and_then(BlobName::new), modified) {
            (self.each)(Blob { name, bytes, modified });
        }
        Ok(())
    }
}

/// Where a listing goes on.
struct Place {
    /// After this page.
    token: Option<String>,
    /// After this key.
    offset: Option<String>,
    size: usize,
}

/// One page after the other. A key that can be none of ours (`a//b`, made by other programs) makes its whole page unreadable for
/// the client, so such a page is asked for in ever smaller parts, until the key stands alone and can be stepped over.
async fn in_pages(pages: &dyn PaginatedListStore, found: &mut Found<'_>) -> Result<(), Trouble> {
    let full = format!("{}{}", found.inside, found.prefix);
    let mut place = Place { token: None, offset: None, size: PAGE };
    let mut last: Option<String> = None;
    loop {
        let options = PaginatedListOptions {
            offset: place.offset.clone().filter(|_| place.token.is_none()),
            max_keys: Some(place.size),
            page_token: place.token.clone(),
            ..PaginatedListOptions::default()
        };
        match pages.list_paginated(Some(&full), options).await {
            Ok(page) => {
                for meta in &page.result.objects {
                    found.take(meta.location.as_ref(), meta.size, modified(meta))?;
                }
                last = page.result.objects.last().map(|meta| meta.location.to_string()).or(last);
                match page.page_token.filter(|token| !token.is_empty()) {
                    // There are servers that cut a listing without saying where it goes on.
                    None if page.result.objects.len() >= place.size && last > place.offset => {
                        place = Place { token: None, offset: last.clone(), size: PAGE };
                    }
                    None => return Ok(()),
                    Some(token) if place.token.as_ref() == Some(&token) => {
                        return Err(Trouble::Wrong("is listed without end: the same page again and again".to_owned()));
                    }
                    // Small pages only as long as it takes to get past the key that made them small.
                    Some(_) if place.size < PAGE => {
                        place = Place { token: None, offset: last.clone(), size: (place.size * 2).min(PAGE) };
                    }
                    Some(token) => place.token = Some(token),
                }
            }
            // It was only to be sure that nothing was cut.
            Err(Error::NotSupported { .. } | Error::NotImplemented { .. }) if place.offset.is_some() => return Ok(()),
            Err(error) => place = around(error, place, last.as_deref())?,
        }
    }
}

/// Where to go on after a page that could not be read.
fn around(error: Error, place: Place, last: Option<&str>) -> Result<Place, Trouble> {
    let Error::InvalidPath { source: KeyError::EmptySegment { path } | KeyError::BadSegment { path, .. } } = &error
    else {
        return Err(error.into());
    };
    let offset = place.offset.max(last.map(str::to_owned));
    if place.size > 1 {
        return Ok(Place { token: None, offset, size: place.size / 2 });
    }
    let is_new = offset.as_ref().is_none_or(|before| before < path);
    if is_new { Ok(Place { token: None, offset: Some(path.clone()), size: 2 }) } else { Err(error.into()) }
}

/// All files in a folder. Links are not followed: they may lead out of it, or round in a circle.
async fn in_folder(root: &Path, found: &mut Found<'_>) -> Result<(), Trouble> {
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        let entries = match std::fs::read_dir(root.join(&folder)) {
            Ok(entries) => entries,
            // It went meanwhile. That the root is gone is another matter.
            Err(error) if error.kind() == ErrorKind::NotFound && !folder.is_empty() => continue,
            Err(error) => return Err(Trouble::File(error)),
        };
        for entry in entries {
            // The disk answers at once, again and again: whoever wants this to end has to get a turn.
            tokio::task::yield_now().await;
            let entry = entry.map_err(Trouble::File)?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let key = if folder.is_empty() { name } else { format!("{folder}/{name}") };
            match entry.metadata() {
                Ok(meta) if meta.is_dir() && BlobName::new(key.as_str()).is_some() => folders.push(key),
                Ok(meta) if meta.is_file() => {
                    let modified = meta.modified().ok().and_then(|time| jiff::Timestamp::try_from(time).ok());
                    found.take(&key, meta.len(), modified)?;
                }
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(Trouble::File(error)),
            }
        }
    }
    Ok(())
}
