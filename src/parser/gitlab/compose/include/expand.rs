//! All includes of a file, nested.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use smol_str::SmolStr;

use crate::parser::diagnostics::{Diagnostic, Diagnostics};
use crate::parser::document::{Files, Node, Schema, Sources, Span};

use super::super::inputs::{self, Arguments, Values};
use super::super::load::{Loaded, load};
use super::super::merge::deep_merge;
use super::super::{ComposeContext, Event, Included, Remote, RemoteFile, codes, stages};
use super::entry::{Include, Reader, Target, Where};
use super::pattern;
use super::place::{Place, Stores};
use super::rules::{self, Verdict};

/// Includes beyond which there is no going on, whatever the forge's limit.
const MOST_INCLUDES: usize = 1_000;
/// Files that include each other, one inside the other.
const MOST_LEVELS: usize = 150;

/// The work of putting a configuration together.
pub(in super::super) struct Work<'a> {
    pub(super) context: &'a ComposeContext,
    pub(super) stores: Stores<'a>,
    pub(in super::super) sources: Sources,
    pub(in super::super) diagnostics: Diagnostics,
    pub(in super::super) included: Vec<Included>,
    pub(in super::super) incomplete: bool,
    pub(in super::super) has_references: bool,
    /// Files that were read before, by where they lie and what they are called.
    pub(super) known: HashMap<Key, Known>,
    /// The files that are being expanded, the outermost first.
    pub(super) chain: Vec<Link>,
    /// Inputs of the pipeline that the root file, having no header, does not take; and those that an include took.
    offered: Arguments,
    taken: BTreeSet<SmolStr>,
    /// Includes so far.
    count: usize,
    pub(super) bytes: usize,
    /// A limit is exceeded, and was complained about.
    stopped: bool,
}

/// What tells a file from others.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    Local(Place, String),
    Remote(RemoteFile),
    /// A job's, and its path.
    Artifact(String, String),
}

/// A file that was looked at before.
pub(super) enum Known {
    Good(Arc<Found>),
    /// Something is wrong in it, which is said once.
    Broken,
}

/// A file that was read.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) content: Node,
    pub(super) loaded: Loaded,
    /// Where it lies.
    pub(super) place: Place,
    /// The facts about the component that it is.
    pub(super) component: BTreeMap<SmolStr, Node>,
}

/// A file that is being expanded.
pub(super) struct Link {
    key: Key,
    pub(super) name: String,
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
        let loaded = load(
            name,
            bytes,
            self.context.ahead.as_ref(),
            &self.context.limits,
            &mut self.sources,
            &mut self.diagnostics,
        )?;
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
                Verdict::LeaveOut => {
                    self.incomplete |= self.context.event == Event::Any;
                    return Vec::new();
                }
                Verdict::Wrong => return Vec::new(),
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

    pub(super) fn stop(&mut self, span: Span, message: String) {
        if !self.stopped {
            self.stopped = true;
            self.diagnostics.push(Diagnostic::error(codes::LIMIT, span, message));
        }
    }
}
