//! `environment`.

use std::sync::Arc;

use smol_str::SmolStr;

use super::super::codes;
use super::super::duration::Allowed;
use super::super::model::{Environment, Name, Spanned};
use super::super::place::At;
use super::super::values::{Checker, as_text, is_blank, is_null, key_text};
use crate::parser::document::{Mapping, Node, Schema, Span, Typed, Value};

const KEYS: [&str; 7] = ["name", "url", "action", "on_stop", "auto_stop_in", "kubernetes", "deployment_tier"];
const ACTIONS: [&str; 5] = ["start", "stop", "prepare", "verify", "access"];
const TIERS: [&str; 5] = ["production", "staging", "testing", "development", "other"];

impl Checker<'_> {
    /// `environment`.
    pub fn environment(&mut self, node: &Node, at: At<'_>) -> Option<Arc<Environment>> {
        let start = SmolStr::new_static("start");
        let mut environment = Environment {
            name: Spanned { value: SmolStr::default(), span: node.span },
            url: None,
            action: start,
            on_stop: None,
            auto_stop_in: None,
            deployment_tier: None,
            kubernetes: None,
            node: node.clone(),
        };
        match &node.value {
            Value::Mapping(mapping) => {
                let mut name = None;
                for entry in mapping.entries() {
                    let key = key_text(&entry.key);
                    let (below, value) = (at.key(key), &entry.value);
                    match key {
                        "name" => name = Some(value),
                        "url" => environment.url = self.url(value, below),
                        "action" => {
                            if let Some(action) = self.choice(value, below, &ACTIONS) {
                                environment.action = action;
                            }
                        }
                        "on_stop" => environment.on_stop = self.name(value, below),
                        "auto_stop_in" => {
                            let allowed = Allowed { never: true, variable: true, limit: None };
                            environment.auto_stop_in = self.duration(value, below, allowed);
                        }
                        "kubernetes" => environment.kubernetes = self.kubernetes(value, below),
                        "deployment_tier" => environment.deployment_tier = self.choice(value, below, &TIERS),
                        _ => self.unknown_key(entry, at, &KEYS),
                    }
                }
                environment.name = self.environment_name(name, node.span, at.key("name"))?;
            }
            _ if is_null(node) => return None,
            _ if as_text(node).is_some() => environment.name = self.environment_name(Some(node), node.span, at)?,
            _ => {
                self.wrong_type(node, at, "a text or a mapping");
                return None;
            }
        }
        Some(Arc::new(environment))
    }

    fn environment_name(&mut self, node: Option<&Node>, span: Span, at: At<'_>) -> Option<Name> {
        let value = self.required_text(node, span, at)?;
        let span = node.map_or(span, |node| node.span);
        let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '/' | '$' | '{' | '}' | '.' | ' ');
        if !value.chars().all(known) || value.starts_with('/') || value.ends_with('/') {
            let what = "can contain only letters, digits, `-`, `_`, `/`, `$`, `{`, `}`, `.` and spaces, and cannot start \
                        or end with `/`";
            self.error(codes::WRONG_NAME, span, at, what);
            return None;
        }
        Some(Spanned { value, span })
    }

    fn url(&mut self, node: &Node, at: At<'_>) -> Option<SmolStr> {
        let url = self.text(node, at)?;
        if url.chars().count() > 255 {
            self.error(codes::WRONG_VALUE, node.span, at, "is longer than 255 characters");
        }
        Some(url)
    }

    fn kubernetes(&mut self, node: &Node, at: At<'_>) -> Option<Node> {
        const KEYS: [&str; 5] = ["namespace", "agent", "flux_resource_path", "managed_resources", "dashboard"];
        let mapping = self.mapping_of(node, at, &KEYS)?;
        if mapping.is_empty() {
            self.error(codes::MISSING, node.span, at, "is empty");
        }
        for key in ["namespace", "agent", "flux_resource_path"] {
            if let Some(value) = mapping.get(key) {
                let text = self.text(value, at.key(key));
                if key == "namespace" && text.is_some_and(|text| is_blank(&text)) {
                    self.error(codes::MISSING, value.span, at.key(key), "is blank");
                }
            }
        }
        for key in ["managed_resources", "dashboard"] {
            if let Some(value) = mapping.get(key) {
                self.mapping(value, at.key(key));
            }
        }
        self.needed_by_flux(node, mapping, at);
        Some(node.clone())
    }

    fn needed_by_flux(&mut self, node: &Node, mapping: &Mapping, at: At<'_>) {
        let filled = |key: &str| mapping.get(key).and_then(as_text).is_some_and(|text| !is_blank(&text));
        let dashboard = mapping.get("dashboard").and_then(Node::as_mapping).filter(|dashboard| !dashboard.is_empty());
        let managed = mapping.get("managed_resources").and_then(|managed| managed.get("enabled"));
        let managed = managed.is_some_and(|is| is.typed(Schema::Ruby) == Some(Typed::Bool(true)));
        let flux = filled("flux_resource_path");
        if flux && !filled("namespace") {
            self.missing(node.span, at.key("namespace"), "is missing: `flux_resource_path` needs it", None);
        }
        if (flux || dashboard.is_some() || managed) && !filled("agent") {
            self.missing(node.span, at.key("agent"), "is missing", None);
        }
        for key in ["namespace", "flux_resource_path"] {
            if filled(key) && dashboard.and_then(|dashboard| dashboard.get(key)).is_some() {
                let what = format!("cannot be there together with `dashboard:{key}`");
                self.error(codes::CONFLICT, node.span, at.key(key), what);
            }
        }
    }
}
