//! The file that an include names.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use sha2::{Digest as _, Sha256};

use crate::parser::diagnostics::{Diagnostic, did_you_mean};
use crate::parser::document::Node;

use super::super::load::load;
use super::super::{Included, RemoteFile, Unavailable, codes};
use super::component::Address;
use super::entry::{Include, Target};
use super::expand::{Found, Key, Known, Work};
use super::place::{Absent, Place};

impl Work<'_> {
    /// The file that an include names, and what tells it from others. `None` where the findings say why.
    pub(super) fn fetch(&mut self, include: &Include, place: &Place) -> Option<(Arc<Found>, Key)> {
        let key = self.key(include, place)?;
        let found = match self.known.get(&key) {
            Some(Known::Good(known)) => Some(known.clone()),
            Some(Known::Broken) => None,
            None => {
                let files = self.sources.len();
                let found = self.read(include, &key).map(Arc::new);
                match &found {
                    Some(found) => {
                        self.known.insert(key.clone(), Known::Good(found.clone()));
                    }
                    // A file that is not there at all is complained about at every include.
                    None if self.sources.len() > files => {
                        self.known.insert(key.clone(), Known::Broken);
                    }
                    None => {}
                }
                found
            }
        };
        let name: Arc<str> = include.target.name().into();
        let file = found.as_ref().map(|found| found.loaded.file);
        self.included.push(Included { name, span: include.span, file });
        Some((found?, key))
    }

    /// What an include names, checked.
    fn key(&mut self, include: &Include, place: &Place) -> Option<Key> {
        let name = include.target.name();
        let error = |work: &mut Self, message: String, help: &str| {
            work.diagnostics.push(Diagnostic::error(codes::INCLUDE, include.span, message).help(help));
            None
        };
        match &include.target {
            Target::Local(path) | Target::Project { file: path, .. } if !has_yaml_ending(path) => error(
                self,
                format!("the included file `{path}` has not the ending of YAML"),
                "names end in `.yml` or `.yaml`",
            ),
            Target::Local(path) => Some(Key::Local(place.clone(), path.trim_start_matches('/').to_owned())),
            Target::Project { project, reference, file } => Some(Key::Remote(RemoteFile::Project {
                project: project.clone(),
                reference: reference.clone(),
                file: file.clone(),
            })),
            Target::Remote { url, .. } => {
                let parsed =
                    url::Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
                match parsed {
                    None => error(self, format!("`{name}` is no address"), "it begins with `https://` or `http://`"),
                    Some(parsed) if !has_yaml_ending(parsed.path()) => error(
                        self,
                        format!("the included file `{name}` has not the ending of YAML"),
                        "names end in `.yml` or `.yaml`",
                    ),
                    Some(_) => Some(Key::Remote(RemoteFile::Url { url: url.clone() })),
                }
            }
            Target::Template(template) if !template.ends_with(".gitlab-ci.yml") => error(
                self,
                format!("`{template}` is no template: their names end in `.gitlab-ci.yml`"),
                "see lib/gitlab/ci/templates of GitLab for their names; a file of this project is `local:`",
            ),
            Target::Template(template) => Some(Key::Remote(RemoteFile::Template { name: template.clone() })),
            Target::Artifact { job: None, .. } => {
                error(self, format!("the artifact `{name}` is of no job"), "say which job makes it: `job: name`")
            }
            Target::Artifact { job: Some(_), .. } if !self.context.is_child => error(
                self,
                format!("`{name}`: only a child pipeline includes an artifact"),
                "start it with `trigger: {include: [{artifact: …, job: …}]}`",
            ),
            Target::Artifact { job: Some(job), artifact } => Some(Key::Artifact(job.clone(), artifact.clone())),
            Target::Component(address) => self.component(address, include),
        }
    }

    fn component(&mut self, address: &str, include: &Include) -> Option<Key> {
        let Some(parts) = Address::parse(address) else {
            let message = format!("`{address}` is no address of a component");
            let help = "it is `server/group/project/name@version`";
            self.diagnostics.push(Diagnostic::error(codes::INCLUDE, include.span, message).help(help));
            return None;
        };
        if let Some(path) = self.own_component(&parts) {
            return Some(Key::Local(Place::Checkout, path));
        }
        let path = format!("{}/{}", parts.project, parts.name);
        Some(Key::Remote(RemoteFile::Component { host: parts.host, path, version: parts.version }))
    }

    /// The file of a component of this very project and commit.
    fn own_component(&self, address: &Address) -> Option<String> {
        let is = |names: &[&str], text: &str| {
            names.iter().any(|name| self.context.variables.get(*name).is_some_and(|known| known.value == text))
        };
        let own = is(&["CI_SERVER_FQDN", "CI_SERVER_HOST"], &address.host)
            && is(&["CI_PROJECT_PATH"], &address.project)
            && is(&["CI_COMMIT_SHA"], &address.version);
        let mut paths = address.paths().into_iter().filter(|_| own);
        paths.find(|path| self.stores.files.exists(path).unwrap_or(false))
    }

    /// Reads a file that was not read before.
    fn read(&mut self, include: &Include, key: &Key) -> Option<Found> {
        let mut component = BTreeMap::new();
        let address = match &include.target {
            Target::Component(address) => Address::parse(address),
            _ => None,
        };
        let (bytes, place) = match key {
            Key::Local(place, path) => match self.stores.read(place, path) {
                Ok(bytes) => {
                    if let Some(address) = &address {
                        component = address.facts(&address.version, None, include.span);
                    }
                    (bytes, place.clone())
                }
                Err(absent) => {
                    self.absent(include, absent);
                    return None;
                }
            },
            Key::Artifact(job, path) => match self.stores.remote.artifact(job, path) {
                Ok(bytes) => (bytes, Place::Checkout),
                Err(error) => {
                    self.absent(include, error.into());
                    return None;
                }
            },
            Key::Remote(file) => match self.stores.remote.fetch(file) {
                Ok(fetched) => {
                    let (project, commit) = fetched.project.unzip();
                    if let Some(address) = &address {
                        let commit = commit.as_deref().unwrap_or(&address.version);
                        component = address.facts(commit, fetched.version.as_deref(), include.span);
                    }
                    let place = match (project, commit) {
                        (Some(project), Some(commit)) => Place::Project { project, commit },
                        _ => Place::Nowhere,
                    };
                    (fetched.bytes, place)
                }
                Err(error) => {
                    self.absent(include, error.into());
                    return None;
                }
            },
        };
        self.bytes += bytes.len();
        if self.bytes > self.context.limits.total_bytes {
            let message = format!("all files together have more than {} bytes", self.context.limits.total_bytes);
            self.stop(include.span, message);
            return None;
        }
        if let Target::Remote { integrity: Some(integrity), .. } = &include.target
            && !self.is_intact(integrity, &bytes)
        {
            return None;
        }
        let name = include.target.name();
        if bytes.iter().all(u8::is_ascii_whitespace) {
            let message = format!("the included file `{name}` is empty");
            self.diagnostics.push(Diagnostic::error(codes::EMPTY, include.span, message));
            return None;
        }
        let loaded = load(&name, &bytes, None, &self.context.limits, &mut self.sources, &mut self.diagnostics)?;
        Some(Found { content: loaded.content.clone(), loaded, place, component })
    }

    fn is_intact(&mut self, integrity: &Node, bytes: &[u8]) -> bool {
        let text = integrity.as_scalar().map_or("", |scalar| scalar.text.as_str());
        let encoder = base64::engine::general_purpose::STANDARD;
        let digest = encoder.encode(Sha256::digest(bytes));
        let Some(want) =
            text.strip_prefix("sha256-").filter(|want| encoder.decode(want).is_ok_and(|raw| raw.len() == 32))
        else {
            let message = "`integrity` is `sha256-` and the digest in Base64";
            let help = format!("this file's is `sha256-{digest}`");
            self.diagnostics.push(Diagnostic::error(codes::INTEGRITY, integrity.span, message).help(help));
            return false;
        };
        if want != digest {
            let message = format!("the file is another than `integrity` says: its digest is `sha256-{digest}`");
            self.diagnostics.push(Diagnostic::error(codes::INTEGRITY, integrity.span, message));
        }
        want == digest
    }

    /// Says that a file is not there.
    pub(super) fn absent(&mut self, include: &Include, absent: Absent) {
        let name = include.target.name();
        match absent {
            Absent::Missing(why) => {
                let why = why.map(|why| format!(": {why}")).unwrap_or_default();
                let message = format!("the included file `{name}` does not exist{why}");
                let help = match &include.target {
                    Target::Local(path) => self.near(path),
                    _ => None,
                };
                self.diagnostics
                    .push(Diagnostic::error(codes::INCLUDE_MISSING, include.span, message).maybe_help(help));
            }
            Absent::Unavailable(why) => {
                self.incomplete = true;
                let message = format!("the include `{name}` could not be had: {why}");
                let code = codes::INCLUDE_UNAVAILABLE;
                self.diagnostics.push(match self.context.unavailable {
                    Unavailable::Note => Diagnostic::note(code, include.span, message)
                        .help("what it defines is unknown here, and not complained about"),
                    Unavailable::Error => Diagnostic::error(code, include.span, message),
                });
            }
        }
    }

    /// The path that was meant.
    fn near(&self, path: &str) -> Option<String> {
        let list = self.stores.files.list().ok()?;
        let path = path.trim_start_matches('/');
        let stripped = path.trim_start_matches("./");
        if stripped != path && list.iter().any(|known| known == stripped) {
            return Some(format!("write `{stripped}`: paths begin at the project's root, without `./`"));
        }
        let beside =
            self.chain.last().and_then(|link| link.name.rsplit_once('/')).map(|(folder, _)| format!("{folder}/{path}"));
        if let Some(beside) = beside.filter(|beside| list.iter().any(|known| known == beside)) {
            return Some(format!("write `{beside}`: paths begin at the project's root, not at the including file"));
        }
        let yaml = list.iter().map(String::as_str).filter(|known| has_yaml_ending(known)).take(5_000);
        did_you_mean(path, yaml)
    }
}

fn has_yaml_ending(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path).to_ascii_lowercase();
    [".yml", ".yaml"].iter().any(|ending| name.len() > ending.len() && name.ends_with(ending))
}
