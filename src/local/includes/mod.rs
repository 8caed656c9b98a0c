//! Included files that are not in the checkout: fetched from hosts that the user allowed, and kept.
//!
//! Nothing is fetched from a host that `--include-from` does not name, redirects included. What was fetched is kept below the state
//! directory and asked for again only whether it changed; where the host does not answer, what is kept serves.
//!
//! - [`allow`]: which hosts. [`address`]: where GitLab has a project's files and its templates. [`versions`]: which commit a
//!   component's version is, asked of git.
//! - [`fetch`]: one request, its redirects, its limits. [`cache`]: what is kept.

pub mod address;
pub mod allow;
pub mod cache;
pub mod fetch;
pub mod versions;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use url::Url;

use crate::outbound::{Deadlines, Outbound, OutboundSettings, ProxyEnvironment};
use crate::parser::gitlab::compose::{Fetched, Remote, RemoteError, RemoteFile, component};
use allow::{AllowList, BadHost};
use cache::{Cache, Kept};
use fetch::Answer;
use versions::Refs;

/// Where included files may come from, and what was fetched in this run. Cheap to clone. The default allows nothing.
#[derive(Clone, Debug, Default)]
pub struct Includes {
    inner: Option<Arc<Inner>>,
}

/// The hosts that the configuration names, asked for when an include is met that is not in the checkout.
pub type Configured = dyn Fn() -> Result<Vec<String>, String> + Send + Sync;

/// What is known in this run of addresses.
type Known<T> = HashMap<Url, Result<Arc<T>, RemoteError>>;

struct Inner {
    given: Vec<String>,
    configured: Box<Configured>,
    allowed: OnceLock<Result<AllowList, String>>,
    cache: Cache,
    state_dir: PathBuf,
    outbound: OnceLock<Result<Outbound, String>>,
    /// What was fetched in this run: a file is the same for all who include it.
    known: Mutex<Known<[u8]>>,
    refs: Mutex<Known<Refs>>,
    notes: Mutex<Vec<String>>,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner").field("given", &self.given).finish_non_exhaustive()
    }
}

impl Includes {
    /// From these hosts, and those that are configured, only; what is fetched is kept below `state_dir`.
    ///
    /// # Errors
    /// One of `hosts` is none.
    pub fn from_hosts(hosts: &[String], configured: Box<Configured>, state_dir: &Path) -> Result<Self, BadHost> {
        AllowList::new(hosts)?;
        Ok(Self {
            inner: Some(Arc::new(Inner {
                given: hosts.to_vec(),
                configured,
                allowed: OnceLock::new(),
                cache: Cache::new(state_dir.join("includes")),
                state_dir: state_dir.to_owned(),
                outbound: OnceLock::new(),
                known: Mutex::default(),
                refs: Mutex::default(),
                notes: Mutex::default(),
            })),
        })
    }

    /// The same, where `include:project` means projects of this server (`https://gitlab.example.com`), which is asked for when it
    /// matters.
    pub fn of_server<'a>(&'a self, server: impl Fn() -> String + Send + Sync + 'a) -> ServerIncludes<'a> {
        ServerIncludes { includes: self, server: Box::new(server) }
    }

    /// What the user should know, each once: where something older than what is there now was taken.
    pub fn notes(&self) -> Vec<String> {
        let Some(inner) = &self.inner else { return Vec::new() };
        std::mem::take(&mut *inner.notes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn allowed(&self, url: &Url) -> Result<&Inner, RemoteError> {
        match &self.inner {
            Some(inner) => inner.allowed().and_then(|allowed| allowed.admit(url)).map(|()| &**inner),
            None => Err(not_allowed(url)),
        }
        .map_err(RemoteError::Unavailable)
    }

    fn file(&self, url: &Url, is_fixed: bool) -> Result<Arc<[u8]>, RemoteError> {
        self.allowed(url)?.file(url, is_fixed)
    }

    fn refs(&self, repository: &Url) -> Result<Arc<Refs>, RemoteError> {
        self.allowed(repository)?.refs(repository)
    }
}

/// Why a host is not asked, and what to do about it.
pub(super) fn not_allowed(url: &Url) -> String {
    let host = allow::named(url);
    format!("nothing is fetched from {host} unless `--include-from {host}` allows it")
}

impl Inner {
    fn allowed(&self) -> Result<&AllowList, String> {
        let all = || {
            let mut hosts = (self.configured)()?;
            hosts.extend(self.given.iter().cloned());
            AllowList::new(&hosts).map_err(|bad| format!("{bad} (`include_from` in the configuration)"))
        };
        self.allowed.get_or_init(all).as_ref().map_err(String::clone)
    }

    fn file(&self, url: &Url, is_fixed: bool) -> Result<Arc<[u8]>, RemoteError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.get(url) {
            return known.clone();
        }
        let got = self.get(url, is_fixed).map(Arc::from);
        known.insert(url.clone(), got.clone());
        got
    }

    /// `is_fixed`: what is at this address never changes.
    fn get(&self, url: &Url, is_fixed: bool) -> Result<Vec<u8>, RemoteError> {
        let kept = self.cache.find(url);
        if let Some(kept) = kept.as_ref().filter(|_| is_fixed) {
            return Ok(kept.bytes.clone());
        }
        let (outbound, allowed) = (self.outbound()?, self.allowed().map_err(RemoteError::Unavailable)?);
        let tag = kept.as_ref().and_then(|kept| kept.tag.clone());
        match on_own_runtime(fetch::get(outbound, allowed, url, tag))? {
            Ok(Answer::Same) => Ok(kept.map(|kept| kept.bytes).unwrap_or_default()),
            Ok(Answer::Body { bytes, tag }) => {
                let kept = Kept { bytes, tag };
                if let Err(error) = self.cache.keep(url, &kept) {
                    self.note(format!("{url} could not be kept for the next time: {error}"));
                }
                Ok(kept.bytes)
            }
            Err(RemoteError::Unavailable(why)) => match kept {
                Some(kept) => {
                    self.note(format!("{url} is taken as it was fetched last: {why}"));
                    Ok(kept.bytes)
                }
                None => Err(RemoteError::Unavailable(why)),
            },
            Err(missing) => Err(missing),
        }
    }

    fn refs(&self, repository: &Url) -> Result<Arc<Refs>, RemoteError> {
        let mut known = self.refs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.get(repository) {
            return known.clone();
        }
        let network = self.outbound()?.for_git(repository);
        let refs = on_own_runtime(versions::list(repository.clone(), network)).and_then(|refs| refs).map(Arc::new);
        known.insert(repository.clone(), refs.clone());
        refs
    }

    fn outbound(&self) -> Result<&Outbound, RemoteError> {
        let make = || {
            let deadlines =
                Deadlines { connect: fetch::CONNECT, read: fetch::ANSWER, total: fetch::WHOLE, ..Deadlines::default() };
            let settings = OutboundSettings {
                environment: ProxyEnvironment::from_process(),
                deadlines,
                bundle_dir: Some(self.state_dir.clone()),
                ..OutboundSettings::default()
            };
            Outbound::new(settings).map_err(|error| error.to_string())
        };
        self.outbound.get_or_init(make).as_ref().map_err(|error| RemoteError::Unavailable(error.clone()))
    }

    fn note(&self, note: String) {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).push(note);
    }
}

/// Runs `work` on a thread and a runtime of its own: who asks may be on a runtime already, or have none.
fn on_own_runtime<T: Send>(work: impl Future<Output = T> + Send) -> Result<T, RemoteError> {
    let failed = |why: String| RemoteError::Unavailable(format!("nothing can be fetched: {why}"));
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.map(|runtime| runtime.block_on(work)).map_err(|error| failed(error.to_string()))
        });
        thread.join().unwrap_or_else(|_| Err(failed("the thread that fetches broke off".to_owned())))
    })
}

/// [`Includes`] for the pipelines of one server.
pub struct ServerIncludes<'a> {
    includes: &'a Includes,
    server: Box<dyn Fn() -> String + Send + Sync + 'a>,
}

impl ServerIncludes<'_> {
    fn project_file(&self, project: &str, reference: &str, file: &str) -> Result<Fetched, RemoteError> {
        let url = address::of_file(&(self.server)(), project, reference, file).map_err(RemoteError::Missing)?;
        let bytes = self.includes.file(&url, versions::is_commit(reference))?;
        Ok(Fetched { bytes: bytes.to_vec(), project: Some((project.into(), reference.into())), version: None })
    }

    fn component(&self, host: &str, path: &str, version: &str) -> Result<Fetched, RemoteError> {
        let missing = |why: String| RemoteError::Missing(why);
        let Some((project, name)) = path.rsplit_once('/') else {
            return Err(missing(format!("`{path}` names no component of a project")));
        };
        let server = self.server_of(host);
        let repository = address::of_repository(&server, project).map_err(missing)?;
        let (commit, release) = match versions::is_commit(version) {
            true => (version.to_owned(), None),
            false => self.includes.refs(&repository)?.find(version, project).map_err(missing)?,
        };
        let mut last = None;
        for file in component::paths(name) {
            let url = address::of_file(&server, project, &commit, &file).map_err(missing)?;
            match self.includes.file(&url, true) {
                Ok(bytes) => {
                    let place = Some((project.into(), commit.as_str().into()));
                    return Ok(Fetched { bytes: bytes.to_vec(), project: place, version: release });
                }
                Err(error @ RemoteError::Unavailable(_)) => return Err(error),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| missing(format!("`{project}` has no component `{name}`"))))
    }

    /// The server's own address where the host is its; another one is asked by HTTPS.
    fn server_of(&self, host: &str) -> String {
        let own = (self.server)();
        match own.split_once("://") {
            Some((_, name)) if name == host => own,
            _ => format!("https://{host}"),
        }
    }
}

impl Remote for ServerIncludes<'_> {
    fn fetch(&self, file: &RemoteFile) -> Result<Fetched, RemoteError> {
        let plain =
            |url: &Url| Ok(Fetched { bytes: self.includes.file(url, false)?.to_vec(), project: None, version: None });
        match file {
            RemoteFile::Url { url } => plain(
                &Url::parse(url).map_err(|error| RemoteError::Missing(format!("`{url}` is no address: {error}")))?,
            ),
            RemoteFile::Template { name } => plain(&address::of_template(name).map_err(RemoteError::Missing)?),
            RemoteFile::Project { project, reference, file } => {
                self.project_file(project, reference.as_deref().unwrap_or(address::DEFAULT), file)
            }
            RemoteFile::Component { host, path, version } => self.component(host, path, version),
        }
    }

    fn list(&self, project: &str, _: &str) -> Result<Arc<[String]>, RemoteError> {
        Err(RemoteError::Unavailable(format!(
            "the files of `{project}` cannot be listed here, so patterns and `exists` in its files are not known"
        )))
    }
}
