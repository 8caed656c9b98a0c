//! The top of the file: `default`, `stages`, `variables`, `workflow`, and which keys are jobs.

use std::collections::HashSet;
use std::sync::Arc;

use smol_str::SmolStr;

use super::codes;
use super::job::{is_job, name_problem};
use super::keywords::rules::RulesOf;
use super::model::{Configuration, Defaults, Job, Jobs, Name, Spanned, Workflow};
use super::place::At;
use super::values::{Checker, as_text, is_blank, is_null, key_text};
use crate::parser::diagnostics::{Diagnostic, Diagnostics};
use crate::parser::document::{Entry, Mapping, Node, Span, Value};
use crate::parser::{JOBS_FOR_TWO, join};

/// Keys at the top that are no jobs.
pub(super) const ROOT_KEYS: [&str; 10] = [
    "default",
    "include",
    "before_script",
    "image",
    "services",
    "after_script",
    "variables",
    "stages",
    "cache",
    "workflow",
];
/// Keys of `default`: what jobs inherit from there, or from the top of the file.
pub const DEFAULT_KEYS: [&str; 13] = [
    "before_script",
    "after_script",
    "image",
    "services",
    "cache",
    "artifacts",
    "tags",
    "retry",
    "timeout",
    "interruptible",
    "hooks",
    "id_tokens",
    "identity",
];
/// Lists inside each other in `stages`, the outermost counted.
const DEEPEST_STAGES: usize = 10;

impl Checker<'_> {
    /// The whole tree.
    pub fn root(&mut self, root: &Node, mapping: &Mapping) -> Configuration {
        let defaults = self.defaults(mapping);
        let stages = self.stages(mapping.get("stages"), root.span);
        let variables = mapping
            .get("variables")
            .and_then(|node| self.global_variables(node, At::top("variables")))
            .unwrap_or_default();
        let workflow = match mapping.get("workflow") {
            Some(node) if !is_job(node) => self.workflow(node, At::top("workflow")),
            _ => Workflow::default(),
        };
        let jobs = self.jobs(mapping.entries(), &defaults);
        let (defaults, jobs) = (Arc::new(defaults), Jobs::new(jobs));
        Configuration { stages, workflow, variables, defaults, jobs, completeness: self.completeness }
    }

    /// All jobs. Two threads share many: each is read by itself.
    fn jobs(&mut self, entries: &[Entry], defaults: &Defaults) -> Vec<Job> {
        if entries.len() < JOBS_FOR_TWO {
            return self.some_jobs(entries, defaults, entries.len());
        }
        let (front, back) = entries.split_at(entries.len() / 2);
        let mut of_back = Diagnostics::new();
        let mut second = self.fork(&mut of_back);
        let (mut jobs, later) =
            join(|| self.some_jobs(front, defaults, entries.len()), || second.some_jobs(back, defaults, back.len()));
        jobs.extend(later);
        let unmade = std::mem::take(&mut second.unmade);
        self.unmade.extend(unmade);
        self.out.extend(of_back);
        jobs
    }

    fn some_jobs(&mut self, entries: &[Entry], defaults: &Defaults, expected: usize) -> Vec<Job> {
        let mut jobs = Vec::with_capacity(expected);
        for entry in entries {
            match key_text(&entry.key) {
                "include" | "before_script" | "image" | "services" | "after_script" | "variables" | "stages"
                | "cache" => {}
                "default" | "workflow" if !is_job(&entry.value) => {}
                name if name.starts_with('.') => self.hidden(entry),
                _ => {
                    if let Some(problem) = name_problem(&entry.key) {
                        self.out.push(Diagnostic::error(codes::WRONG_NAME, entry.key.span, problem));
                    }
                    jobs.extend(self.job(entry, defaults));
                }
            }
        }
        jobs
    }

    /// A hidden job may hold anything but nothing.
    fn hidden(&mut self, entry: &Entry) {
        let blank = match &entry.value.value {
            Value::Mapping(mapping) => mapping.is_empty(),
            Value::Sequence(items) => items.is_empty(),
            Value::Scalar(scalar) => is_null(&entry.value) || is_blank(&scalar.text),
        };
        if blank {
            let at = At::job(key_text(&entry.key));
            self.error(codes::MISSING, entry.key.span, at, "is empty");
        }
    }

    /// What `default` and the top of the file hand down.
    fn defaults(&mut self, root: &Mapping) -> Defaults {
        let mut defaults = Defaults::default();
        for key in ["image", "services", "before_script", "after_script", "cache"] {
            if let Some(entry) = root.entry(key) {
                self.default_key(key, &entry.value, At::top(key), &mut defaults);
            }
        }
        let at = At::top("default");
        let Some(node) = root.get("default").filter(|node| !is_job(node)) else { return defaults };
        let Some(mapping) = self.mapping(node, at) else { return defaults };
        for entry in mapping.entries() {
            let key = key_text(&entry.key);
            if !is_null(&entry.value)
                && DEFAULT_KEYS.contains(&key)
                && let Some(top) = root.entry(key).filter(|top| !is_null(&top.value))
            {
                let message = format!("`{key}` is defined both at the top and in `default`");
                self.out.push(
                    Diagnostic::error(codes::CONFLICT, entry.key.span, message)
                        .help("keep the one in `default`")
                        .related(top.key.span, "the other one"),
                );
            }
            if !self.default_key(key, &entry.value, at.key(key), &mut defaults) {
                self.unknown_key(entry, at, &DEFAULT_KEYS);
            }
        }
        defaults
    }

    fn default_key(&mut self, key: &str, node: &Node, at: At<'_>, defaults: &mut Defaults) -> bool {
        match key {
            "before_script" => defaults.before_script = self.script(node, at).or(defaults.before_script.take()),
            "after_script" => defaults.after_script = self.script(node, at).or(defaults.after_script.take()),
            "image" => defaults.image = self.image(node, at).or(defaults.image.take()),
            "services" => defaults.services = self.services(node, at).or(defaults.services.take()),
            "cache" => defaults.cache = self.caches(node, at).or(defaults.cache.take()),
            "artifacts" => defaults.artifacts = self.artifacts(node, at),
            "tags" => defaults.tags = self.tags(node, at),
            "retry" => defaults.retry = self.retry(node, at),
            "timeout" => defaults.timeout = self.timeout(node, at).map(Box::new),
            "interruptible" => defaults.interruptible = self.boolean(node, at),
            "hooks" => defaults.hooks = self.hooks(node, at),
            "id_tokens" => defaults.id_tokens = self.id_tokens(node, at),
            "identity" => defaults.identity = self.identity(node, at).map(Box::new),
            _ => return false,
        }
        true
    }

    /// The stages in order, `.pre` first and `.post` last, each once.
    fn stages(&mut self, node: Option<&Node>, root: Span) -> Arc<[Name]> {
        let mut named = Vec::new();
        let written = node.filter(|node| !is_null(node));
        match written.map(|node| (node, node.as_sequence())) {
            Some((_, Some(items))) => self.stage_list(items, DEEPEST_STAGES - 1, &mut named),
            Some((node, None)) => self.wrong_type(node, At::top("stages"), "a list of texts"),
            None => {
                let usual = ["build", "test", "deploy"].map(SmolStr::new_static);
                named.extend(usual.map(|value| Spanned { value, span: root }));
            }
        }
        let edge = |name: &'static str, named: &[Name]| {
            let span = named.iter().find(|stage| stage.value == name).map_or(root, |stage| stage.span);
            Spanned { value: SmolStr::new_static(name), span }
        };
        let (pre, post) = (edge(".pre", &named), edge(".post", &named));
        let mut known: HashSet<SmolStr> = [pre.value.clone(), post.value.clone()].into();
        let middle = named.into_iter().filter(|stage| known.insert(stage.value.clone()));
        let middle: Vec<Name> = middle.collect();
        std::iter::once(pre).chain(middle).chain(std::iter::once(post)).collect()
    }

    fn stage_list(&mut self, items: &[Node], deeper: usize, named: &mut Vec<Name>) {
        let at = At::top("stages");
        for item in items {
            match (&item.value, as_text(item)) {
                (_, Some(value)) => named.push(Spanned { value, span: item.span }),
                (Value::Sequence(items), None) if deeper > 0 => self.stage_list(items, deeper - 1, named),
                (Value::Sequence(_), None) => {
                    let what = format!("has lists inside each other more than {DEEPEST_STAGES} deep");
                    self.error(codes::TOO_MANY, item.span, at, what);
                }
                _ => self.wrong_type(item, at, "a list of texts: an item of it is no text"),
            }
        }
    }

    fn workflow(&mut self, node: &Node, at: At<'_>) -> Workflow {
        let mut workflow = Workflow::default();
        let Some(mapping) = self.mapping(node, at) else { return workflow };
        for entry in mapping.entries() {
            let key = key_text(&entry.key);
            let (below, value) = (at.key(key), &entry.value);
            match key {
                "name" => workflow.name = self.workflow_name(value, below),
                "rules" => workflow.rules = self.rules(value, below, RulesOf::Workflow),
                "auto_cancel" => workflow.auto_cancel = self.auto_cancel(value, below),
                _ => self.unknown_key(entry, at, &["name", "rules", "auto_cancel"]),
            }
        }
        workflow
    }

    fn workflow_name(&mut self, node: &Node, at: At<'_>) -> Option<Name> {
        const LONGEST: usize = 255;
        let name = self.name(node, at)?;
        if name.value.chars().count() > LONGEST {
            self.error(codes::WRONG_VALUE, name.span, at, format_args!("is longer than {LONGEST} characters"));
        } else if name.value.is_empty() {
            self.error(codes::MISSING, name.span, at, "is empty");
        }
        Some(name)
    }
}
