//! `trigger`.

use std::sync::Arc;

use smol_str::SmolStr;

use super::super::codes;
use super::super::model::{IncludeSource, Spanned, Trigger, TriggerInclude, TriggerTarget};
use super::super::place::At;
use super::super::values::{Checker, as_text, is_blank, is_null, key_text};
use crate::parser::document::{Entry, Mapping, Node, Value};

const PROJECT_KEYS: [&str; 5] = ["project", "branch", "strategy", "forward", "inputs"];
const INCLUDE_KEYS: [&str; 4] = ["include", "strategy", "forward", "inputs"];
const STRATEGIES: [&str; 2] = ["depend", "mirror"];
const MOST_INCLUDES: usize = 3;
const FILE_KEYS: [&str; 13] = [
    "local",
    "file",
    "remote",
    "project",
    "ref",
    "template",
    "component",
    "artifact",
    "job",
    "inputs",
    "rules",
    "integrity",
    "cache",
];

impl Checker<'_> {
    /// `trigger`.
    pub fn trigger(&mut self, node: &Node, at: At<'_>) -> Option<Arc<Trigger>> {
        let mut trigger = Trigger {
            span: node.span,
            target: TriggerTarget::Include(Arc::default()),
            strategy: None,
            forward_yaml_variables: None,
            forward_pipeline_variables: None,
            inputs: None,
            node: node.clone(),
        };
        match &node.value {
            Value::Mapping(mapping) => {
                trigger.target = self.target(node, mapping, at)?;
                for entry in mapping.entries() {
                    self.trigger_key(entry, &mut trigger, at);
                }
            }
            _ => match as_text(node) {
                Some(value) if !is_blank(&value) => {
                    let project = Spanned { value, span: node.span };
                    trigger.target = TriggerTarget::Project { project, branch: None };
                }
                Some(_) => {
                    self.error(codes::MISSING, node.span, at, "is blank: it should name a project");
                    return None;
                }
                None if is_null(node) => {
                    self.error(codes::MISSING, node.span, at, "is empty: it should name a project or have `include`");
                    return None;
                }
                None => {
                    self.wrong_type(node, at, "a text or a mapping");
                    return None;
                }
            },
        }
        Some(Arc::new(trigger))
    }

    fn target(&mut self, node: &Node, mapping: &Mapping, at: At<'_>) -> Option<TriggerTarget> {
        if let Some(include) = mapping.get("include") {
            self.mapping_of(node, at, &INCLUDE_KEYS);
            return self.trigger_includes(include, at.key("include")).map(TriggerTarget::Include);
        }
        self.mapping_of(node, at, &PROJECT_KEYS);
        let project = mapping.get("project");
        if project.is_none() && !mapping.is_empty() {
            self.missing(node.span, at, "needs `project` or `include`", None);
            return None;
        }
        let value = self.required_text(project, node.span, at.key("project"))?;
        let branch = mapping.get("branch").and_then(|branch| self.text(branch, at.key("branch")));
        let span = project.map_or(node.span, |project| project.span);
        Some(TriggerTarget::Project { project: Spanned { value, span }, branch })
    }

    fn trigger_key(&mut self, entry: &Entry, trigger: &mut Trigger, at: At<'_>) {
        let (at, value) = (at.key(key_text(&entry.key)), &entry.value);
        match key_text(&entry.key) {
            "strategy" => trigger.strategy = self.choice(value, at, &STRATEGIES),
            "inputs" => {
                trigger.inputs = self.mapping(value, at).map(|_| value.clone());
            }
            "forward" => {
                const KEYS: [&str; 2] = ["yaml_variables", "pipeline_variables"];
                let Some(forward) = self.mapping_of(value, at, &KEYS) else { return };
                let mut one = |key: &str| forward.get(key).and_then(|node| self.boolean(node, at.key(key)));
                trigger.forward_yaml_variables = one(KEYS[0]);
                trigger.forward_pipeline_variables = one(KEYS[1]);
            }
            _ => {}
        }
    }

    fn trigger_includes(&mut self, node: &Node, at: At<'_>) -> Option<Arc<[TriggerInclude]>> {
        let one = std::slice::from_ref(node);
        let items = match &node.value {
            Value::Sequence(items) => items,
            Value::Scalar(_) => one,
            Value::Mapping(_) => {
                // Unlike the `include` at the top, which may be a mapping.
                self.wrong_type(node, at, "a text or a list");
                return None;
            }
        };
        if items.len() > MOST_INCLUDES {
            let what = format!("has {} files, more than the limit of {MOST_INCLUDES}", items.len());
            self.error(codes::TOO_MANY, node.span, at, what);
        }
        Some(items.iter().filter_map(|item| self.trigger_include(item, at)).collect())
    }

    fn trigger_include(&mut self, node: &Node, at: At<'_>) -> Option<TriggerInclude> {
        let include = |source, inputs| TriggerInclude { span: node.span, source, inputs, node: node.clone() };
        let mapping = match &node.value {
            Value::Mapping(mapping) => mapping,
            _ => match as_text(node) {
                Some(path) if path.starts_with("http://") || path.starts_with("https://") => {
                    return Some(include(IncludeSource::Remote(path), None));
                }
                Some(path) => return Some(include(IncludeSource::Local(path), None)),
                None => {
                    self.wrong_type(node, at, "a text or a mapping");
                    return None;
                }
            },
        };
        self.mapping_of(node, at, &FILE_KEYS);
        let before = self.out.len();
        let has = |key: &str| mapping.get(key).is_some_and(|value| !is_null(value));
        if has("artifact") && !has("job") {
            self.error(codes::MISSING, node.span, at, "must name the `job` whose artifact it is");
        }
        if has("project") && !has("file") {
            self.error(codes::MISSING, node.span, at, "must name the `file` of the project");
        }
        let inputs = mapping.get("inputs").filter(|inputs| !is_null(inputs));
        if let Some(inputs) = inputs {
            self.mapping(inputs, at.key("inputs"));
        }
        let source = self.include_source(mapping, at)?;
        (self.out.len() == before).then(|| include(source, inputs.cloned()))
    }

    fn include_source(&mut self, mapping: &Mapping, at: At<'_>) -> Option<IncludeSource> {
        let mut text = |key: &str| -> Option<SmolStr> { self.text(mapping.get(key)?, at.key(key)) };
        if let Some(path) = text("artifact") {
            return Some(IncludeSource::Artifact { path, job: text("job").unwrap_or_default() });
        }
        if let Some(project) = text("project") {
            let reference = text("ref");
            let files = mapping.get("file").and_then(|files| self.texts_or_text(files, at.key("file")))?;
            return Some(IncludeSource::Project { project, files, reference });
        }
        text("local")
            .map(IncludeSource::Local)
            .or_else(|| text("remote").map(IncludeSource::Remote))
            .or_else(|| text("template").map(IncludeSource::Template))
            .or_else(|| text("component").map(IncludeSource::Component))
    }
}
