//! A download to a file that goes on where it broke off, where the server can (RFC 9110, 14: ranges; 13.1.5: `If-Range`; 15.3.7.3: parts that
//! may be put together).

use std::path::{Path, PathBuf};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use tokio::fs::{File, OpenOptions};
use tokio::io::AsyncWriteExt as _;

use super::{Outbound, OutboundError, remote_of};

/// A file on its way. Each try asks for what is still missing; dropped before the end, nothing is left.
#[derive(Debug)]
pub struct Download {
    to: PathBuf,
    partial: PathBuf,
    limit: u64,
    have: u64,
    /// What the server calls the version that we have a part of, and the header in which it does. Without it nobody knows whether the
    /// rest would fit.
    version: Option<(HeaderName, HeaderValue)>,
}

impl Download {
    /// Downloads to the new file `to` what has at most `limit` bytes.
    pub fn new(to: &Path, limit: u64) -> Self {
        Self { to: to.to_owned(), partial: Self::partial(to), limit, have: 0, version: None }
    }

    /// Where it lies until it is whole.
    pub fn partial(to: &Path) -> PathBuf {
        let mut partial = to.as_os_str().to_owned();
        partial.push(".part");
        partial.into()
    }

    /// Bytes that are here.
    pub fn have(&self) -> u64 {
        self.have
    }

    /// What the next request has to say, so that only the rest is sent.
    pub fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Some((_, version)) = self.version.as_ref().filter(|_| self.have > 0)
            && let Ok(range) = HeaderValue::from_str(&format!("bytes={}-", self.have))
        {
            headers.insert(header::RANGE, range);
            headers.insert(header::IF_RANGE, version.clone());
        }
        headers
    }

    /// Begins anew with the next try.
    pub fn forget(&mut self) {
        (self.have, self.version) = (0, None);
    }

    /// Takes the body of an answer with the status 200 or 206, and says how many bytes the file has. What came before it broke off is kept for
    /// the next try.
    ///
    /// # Errors
    /// It broke off, is too large, is not the part that was asked for or one of another version, or cannot be written.
    pub async fn receive(
        &mut self,
        outbound: &Outbound,
        mut response: reqwest::Response,
    ) -> Result<u64, OutboundError> {
        let url = response.url().clone();
        let remote = remote_of(&url);
        let mut whole = None;
        if response.status() == StatusCode::PARTIAL_CONTENT {
            whole = self.whole_of_the_rest(response.headers()).filter(|_| self.is_same_version(response.headers()));
            if whole.is_none() {
                self.forget();
                let text = format!("{remote} sent another part than was asked for, or a part of another version");
                return Err(OutboundError::Transport(text));
            }
        } else {
            self.forget();
            self.version = version_of(response.headers());
        }
        let too_large = || OutboundError::TooLarge { remote: remote_of(&url), limit: self.limit };
        if response.content_length().is_some_and(|length| length.saturating_add(self.have) > self.limit) {
            return Err(too_large());
        }
        let mut file = self.open().await.map_err(|error| on_disk(&self.partial, &error))?;
        loop {
            let piece = response.chunk().await;
            let piece = match piece {
                Ok(Some(piece)) => piece,
                Ok(None) => break,
                Err(error) => {
                    file.flush().await.map_err(|error| on_disk(&self.partial, &error))?;
                    return Err(OutboundError::Transport(outbound.explain(&error, &url)));
                }
            };
            if self.have + piece.len() as u64 > self.limit {
                return Err(too_large());
            }
            file.write_all(&piece).await.map_err(|error| on_disk(&self.partial, &error))?;
            self.have += piece.len() as u64;
        }
        file.flush().await.map_err(|error| on_disk(&self.partial, &error))?;
        if whole.is_some_and(|whole| whole != self.have) {
            return Err(OutboundError::Transport(format!("{remote} sent less than it said")));
        }
        tokio::fs::rename(&self.partial, &self.to).await.map_err(|error| on_disk(&self.to, &error))?;
        Ok(self.have)
    }

    /// The file, as long as what is here.
    async fn open(&self) -> std::io::Result<File> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(&self.partial).await?;
        file.set_len(self.have).await?;
        let mut file = file;
        tokio::io::AsyncSeekExt::seek(&mut file, std::io::SeekFrom::Start(self.have)).await?;
        Ok(file)
    }

    /// How long the whole is, where a part begins where ours ends, and ends where the whole does.
    fn whole_of_the_rest(&self, headers: &HeaderMap) -> Option<u64> {
        let range = headers.get(header::CONTENT_RANGE).and_then(|value| value.to_str().ok());
        let parsed = range.and_then(|text| {
            let (part, whole) = text.strip_prefix("bytes ")?.split_once('/')?;
            let (from, to) = part.split_once('-')?;
            Some((from.parse::<u64>().ok()?, to.parse::<u64>().ok()?, whole.parse::<u64>().ok()?))
        });
        let (from, to, whole) = parsed.filter(|_| self.have > 0)?;
        (from == self.have && to.checked_add(1) == Some(whole)).then_some(whole)
    }

    /// Whether a part may be put behind what is here: a server that knows nothing of `If-Range` sends one of whatever it has now.
    fn is_same_version(&self, headers: &HeaderMap) -> bool {
        let Some((name, version)) = &self.version else { return false };
        headers.get(name).is_none_or(|now| now == version)
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        // Perhaps it was never made, or has its name.
        let _ = std::fs::remove_file(&self.partial);
    }
}

/// What tells one version from another without doubt: a weak tag does not.
fn version_of(headers: &HeaderMap) -> Option<(HeaderName, HeaderValue)> {
    let named = |name: HeaderName| headers.get(&name).cloned().map(|value| (name, value));
    let tag = named(header::ETAG).filter(|(_, tag)| !tag.as_bytes().starts_with(b"W/"));
    tag.or_else(|| named(header::LAST_MODIFIED))
}

fn on_disk(path: &Path, error: &std::io::Error) -> OutboundError {
    OutboundError::Disk(format!("{} cannot be written: {error}", path.display()))
}
