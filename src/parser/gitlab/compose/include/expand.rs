//! All includes of a file, nested.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use base64::Engine as _;
use sha2::{Digest as _, Sha256};
use smol_str::SmolStr;

use crate::parser::diagnostics::{Diagnostic, Diagnostics, did_you_mean};
use crate::parser::document::{Files, Node, Schema, Sources, Span};

use super::super::inputs::{self, Arguments, Values};
use super::super::load::{Loaded, load};
use super::super::merge::deep_merge;
use super::super::{ComposeContext, Included, Remote, RemoteFile, Unavailable, codes, stages};
use super::component::Address;
use super::entry::{Include, Reader, Target, Where};
use super::pattern;
use super::place::{Absent, Place, Stores};
use super::rules::{self, Verdict};

/// Includes beyond which there is no going on, whatever the forge's limit.
const MOST_INCLUDES: usize = 1_000;
/// Files that include each other, one inside the other.
const MOST_LEVELS: usize = 150;

/// The work of putting a configuration together.
pub(in super::super) struct Work<'a> {
    pub(super) context: &'a ComposeContext,
    stores: Stores<'a>,
    pub(in super::super) sources: Sources,
    pub(in super::super) diagnostics: Diagnostics,
    pub(in super::super) included: Vec<Included>,
    pub(in super::super) incomplete: bool,
    pub(in super::super) has_references: bool,
    /// Files that were read before, by where they lie and what they are called.
    known: HashMap<Key, Known>,
    /// The files that are being expanded, the outermost first.
    chain: Vec<Link>,
    /// Inputs of the pipeline that the root file, having no header, does not take; and those that an include took.
    offered: Arguments,
    taken: BTreeSet<SmolStr>,
    /// Includes so far.
    count: usize,
    bytes: usize,
    /// A limit is exceeded, and was complained about.
    stopped: bool,
}

/// What tells a file from others.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    Local(Place, String),
    Remote(RemoteFile),
}

/// A file that was looked at before.
enum Known {
    Good(Arc<Found>),
    /// Something is wrong in it, which is said once.
    Broken,
}

/// A file that was read.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) content: Node,
    loaded: Loaded,
    /// Where it lies.
    place: Place,
    /// The facts about the component that it is.
    component: BTreeMap<SmolStr, Node>,
}

struct Link {
    key: Key,
    name: String,
    inputs: Arguments,
}

impl<'a> Work<'a> {
    pub(in super::super) fn new(files: &'a dyn Files, remote: &'a dyn Remote, context: &'a ComposeContext) -> Self {
        Self {
            context,
            stores: Stores { files, remote },
            sources: Sources::new(),
            diagnostics: Diagnostics::new(),
            included: Vec::new(),
            incomplete: false,
            has_references: false,
            known: HashMap::new(),
            chain: Vec::new(),
            offered: Vec::new(),
            taken: BTreeSet::new(),
            count: 0,
            bytes: 0,
            stopped: false,
        }
    }

    /// The configuration of the root file: its includes merged, its inputs in place.
    pub(in super::super) fn root(&mut self, name: &str, bytes: &[u8], given: &Arguments) -> Option<Node> {
        let loaded = load(name, bytes, &self.context.limits, &mut self.sources, &mut self.diagnostics)?;
        self.has_references |= loaded.has_references;
        self.bytes += bytes.len();
        let link =
            Link { key: Key::Local(Place::Checkout, name.to_owned()), name: name.to_owned(), inputs: Vec::new() };
        self.chain.push(link);
        let at = Span::start_of(loaded.file);
        let given: &[_] = if loaded.header.is_some() {
            given
        } else {
            self.offered = given.to_vec();
            &[]
        };
        let content = self.with_inputs(&loaded, &BTreeMap::new(), given, at, &Place::Checkout)?;
        // The root is the one whose tree may be taken apart: nobody else holds it.
        drop(loaded);
        let root = self.with_includes(content, &Place::Checkout);
        for (name, _) in std::mem::take(&mut self.offered) {
            let text = name.as_scalar().map_or("", |name| name.text.as_str());
            if !self.taken.contains(text) && !self.incomplete {
                let message =
                    format!("there is no input `{text}`: the file declares none, and nothing that it includes does");
                self.diagnostics.push(Diagnostic::error(codes::INPUT_UNKNOWN, at, message));
            }
        }
        Some(root)
    }

    /// What is given to an included file, and what the pipeline was given beyond that and it declares: so a project of
    /// components is tried out. GitLab itself gives the inputs of a pipeline to the root file alone.
    fn with_offered(&mut self, given: &[(Node, Node)], spec: &inputs::Spec) -> Arguments {
        let mut all = given.to_vec();
        for (name, value) in &self.offered {
            let Some(text) = name.as_scalar().map(|name| name.text.clone()) else { continue };
            let is_given = given.iter().any(|(other, _)| other.as_scalar().is_some_and(|other| other.text == text));
            if !is_given && spec.inputs.iter().any(|input| input.name == text) {
                if self.taken.insert(text.clone()) {
                    let message =
                        format!("the input `{text}` goes to an included file, as the root file declares none");
                    let help =
                        "GitLab gives the inputs of a pipeline to the root file alone: declare it there and hand it on";
                    self.diagnostics.push(Diagnostic::note(codes::INPUT_UNKNOWN, name.span, message).help(help));
                }
                all.push((name.clone(), value.clone()));
            }
        }
        all
    }

    /// The content of a file with its inputs in place.
    fn with_inputs(
        &mut self,
        loaded: &Loaded,
        component: &BTreeMap<SmolStr, Node>,
        given: &[(Node, Node)],
        at: Span,
        place: &Place,
    ) -> Option<Node> {
        let Some(header) = &loaded.header else {
            if let Some((name, _)) = given.first() {
                let message = "inputs are given, and the file declares none: it has no `spec:` header";
                self.diagnostics.push(Diagnostic::error(codes::INPUT_UNKNOWN, name.span, message));
                return None;
            }
            return Some(loaded.content.clone());
        };
        let declarations = self.declarations(header, place)?;
        let spec = inputs::header::spec(header, declarations.as_ref(), &mut self.diagnostics)?;
        let given = self.with_offered(given, &spec);
        let values = inputs::resolve::values(&spec, &given, at, self.context, &mut self.diagnostics)?;
        let values = Values { inputs: values, component: inputs::header::asked(&spec, component) };
        let (context, sources) = (self.context, &self.sources);
        inputs::interpolate::interpolate(&loaded.content, &values, context, sources, &mut self.diagnostics)
    }

    /// The content with what it includes below it, and without `include`.
    fn with_includes(&mut self, content: Node, place: &Place) -> Node {
        let Some(at) = content.as_mapping().and_then(|mapping| mapping.position("include")) else { return content };
        let include =
            content.as_mapping().and_then(|mapping| mapping.entries().get(at)).map(|entry| entry.value.clone());
        let mut below: Option<Node> = None;
        for item in include.iter().flat_map(|include| match include.as_sequence() {
            Some(items) => items.to_vec(),
            None => vec![include.clone()],
        }) {
            for file in self.one(&item, place) {
                below = Some(match below {
                    Some(below) => deep_merge(&below, &file),
                    None => file,
                });
            }
        }
        let own = stages::without(content, at);
        match below {
            Some(below) => deep_merge(&below, &own),
            None => own,
        }
    }

    /// The configurations that one item of `include` brings.
    fn one(&mut self, item: &Node, place: &Place) -> Vec<Node> {
        if let Some(rules) = item.get("rules").filter(|rules| !rules.is_null(Schema::Ruby)) {
            match rules::evaluate(rules, place, self.stores, self.context, &mut self.diagnostics) {
                Verdict::Include => {}
                Verdict::LeaveOut | Verdict::Wrong => return Vec::new(),
            }
        }
        let includes =
            Reader { context: self.context, diagnostics: &mut self.diagnostics }.read(item, Where::Configuration);
        let includes: Vec<Include> = includes.into_iter().flat_map(|include| self.matched(include, place)).collect();
        includes.into_iter().filter_map(|include| self.file(&include, place)).collect()
    }

    /// An include for each file that a pattern matches.
    fn matched(&mut self, include: Include, place: &Place) -> Vec<Include> {
        let Target::Local(path) = &include.target else { return vec![include] };
        if !path.contains('*') {
            return vec![include];
        }
        let path = path.trim_start_matches('/');
        let list = match self.stores.list(place) {
            Ok(list) => list,
            Err(absent) => {
                self.absent(&include, absent);
                return Vec::new();
            }
        };
        let pattern = pattern::of_include(path);
        let paths: Vec<&String> =
            list.iter().filter(|known| pattern.as_ref().is_some_and(|p| p.is_match(known))).collect();
        if paths.is_empty() {
            let message = format!("no file matches `{path}`: nothing is included");
            let help = "`*` is anything but a slash, `**` anything; paths begin at the project's root";
            self.diagnostics.push(Diagnostic::warning(codes::INCLUDE_NOTHING, include.span, message).help(help));
        }
        let with = |path: &&String| Include { target: Target::Local((*path).clone()), ..include.clone() };
        paths.iter().map(with).collect()
    }

    /// One file, its own includes merged.
    fn file(&mut self, include: &Include, place: &Place) -> Option<Node> {
        if !self.counted(include) {
            return None;
        }
        let (found, key) = self.fetch(include, place)?;
        let same = |link: &Link| {
            link.key == key
                && link.inputs.len() == include.inputs.len()
                && link
                    .inputs
                    .iter()
                    .zip(&include.inputs)
                    .all(|(a, b)| a.0.same(&b.0, Schema::Ruby) && a.1.same(&b.1, Schema::Ruby))
        };
        if let Some(from) = self.chain.iter().position(same) {
            self.circle(include, from);
            return None;
        }
        if self.chain.len() >= MOST_LEVELS {
            let message = format!("more than {MOST_LEVELS} files include each other, one inside the other");
            self.stop(include.span, message);
            return None;
        }
        self.has_references |= found.loaded.has_references;
        self.chain.push(Link { key, name: include.target.name(), inputs: include.inputs.clone() });
        let content = self.with_inputs(&found.loaded, &found.component, &include.inputs, include.whole, &found.place);
        let merged = content.map(|content| self.with_includes(content, &found.place));
        self.chain.pop();
        merged
    }

    fn circle(&mut self, include: &Include, from: usize) {
        let names: Vec<&str> = self.chain.iter().skip(from).map(|link| link.name.as_str()).collect();
        let first = names.first().copied().unwrap_or_default();
        let message = format!("the file includes itself: {} -> {first}", names.join(" -> "));
        let help = "remove one of these includes";
        self.diagnostics.push(Diagnostic::error(codes::INCLUDE_CYCLE, include.span, message).help(help));
    }

    /// Counts an include; `false` where there are too many to go on.
    fn counted(&mut self, include: &Include) -> bool {
        if self.stopped {
            return false;
        }
        self.count += 1;
        let limits = &self.context.limits;
        if self.count == limits.includes + 1 {
            let message = format!("more than {} includes; that is GitLab's limit", limits.includes);
            self.diagnostics.push(limits.exceeded(include.span, message));
            self.stopped = limits.enforced;
        }
        if self.count > MOST_INCLUDES.max(limits.includes) {
            self.stop(include.span, format!("more than {MOST_INCLUDES} includes"));
        }
        !self.stopped
    }

    fn stop(&mut self, span: Span, message: String) {
        if !self.stopped {
            self.stopped = true;
            self.diagnostics.push(Diagnostic::error(codes::LIMIT, span, message));
        }
    }

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
            Target::Artifact { job: Some(_), .. } => {
                let why = "the job that makes it has not run".to_owned();
                self.absent(include, Absent::Unavailable(why));
                None
            }
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
        let loaded = load(&name, &bytes, &self.context.limits, &mut self.sources, &mut self.diagnostics)?;
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
    fn absent(&mut self, include: &Include, absent: Absent) {
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
