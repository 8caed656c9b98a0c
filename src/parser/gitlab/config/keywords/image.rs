//! `image` and `services`.

use std::sync::Arc;

use super::super::codes;
use super::super::model::{Image, Name, Service, Spanned};
use super::super::place::At;
use super::super::values::{Checker, as_int, as_text, flat_items, is_blank, is_null, key_text};
use crate::parser::document::{Node, Value};

const IMAGE_KEYS: [&str; 6] = ["name", "entrypoint", "ports", "pull_policy", "docker", "kubernetes"];
const SERVICE_KEYS: [&str; 9] =
    ["name", "entrypoint", "ports", "pull_policy", "docker", "kubernetes", "alias", "command", "variables"];
const PULL_POLICIES: [&str; 3] = ["always", "never", "if-not-present"];

impl Checker<'_> {
    /// `image`.
    pub fn image(&mut self, node: &Node, at: At<'_>) -> Option<Arc<Image>> {
        if is_null(node) {
            return None;
        }
        self.image_of(node, at, &IMAGE_KEYS).map(Arc::new)
    }

    /// `services`.
    pub fn services(&mut self, node: &Node, at: At<'_>) -> Option<Arc<[Service]>> {
        if node.as_sequence().is_none() {
            if !is_null(node) {
                self.wrong_type(node, at, "a list");
            }
            return None;
        }
        Some(flat_items(node).filter_map(|item| self.service(item, at)).collect())
    }

    fn service(&mut self, node: &Node, at: At<'_>) -> Option<Service> {
        let image = self.image_of(node, at, &SERVICE_KEYS)?;
        let (mut alias, mut command, mut variables) = (None, None, None);
        for entry in node.as_mapping().map(|mapping| mapping.entries()).unwrap_or_default() {
            let key = key_text(&entry.key);
            match key {
                "alias" => alias = self.text(&entry.value, at.key(key)),
                "command" => command = self.texts(&entry.value, at.key(key)),
                "variables" => variables = self.plain_variables(&entry.value, at.key(key)),
                _ => {}
            }
        }
        Some(Service { image, alias, command, variables })
    }

    fn image_of(&mut self, node: &Node, at: At<'_>, known: &[&str]) -> Option<Image> {
        match &node.value {
            Value::Mapping(mapping) => {
                let before = self.out.len();
                let mut image = bare(Spanned { value: Default::default(), span: node.span }, node);
                let mut name = None;
                for entry in mapping.entries() {
                    let key = key_text(&entry.key);
                    let (below, value) = (at.key(key), &entry.value);
                    match key {
                        "name" => name = Some(value),
                        "entrypoint" => image.entrypoint = self.texts(value, below),
                        "pull_policy" => image.pull_policy = self.pull_policy(value, below),
                        "docker" => image.docker = self.docker(value, below),
                        "kubernetes" => image.kubernetes = self.kubernetes_options(value, below),
                        "ports" => {
                            // They belong to web terminals, whose configuration is another file.
                            self.error(codes::UNKNOWN_KEY, entry.key.span, below, "is not allowed here");
                        }
                        _ if known.contains(&key) => {}
                        _ => self.unknown_key(entry, at, known),
                    }
                }
                let value = self.required_text(name, node.span, at.key("name"))?;
                image.name = Spanned { value, span: name.map_or(node.span, |name| name.span) };
                (self.out.len() == before).then_some(image)
            }
            _ => match as_text(node) {
                Some(text) if is_blank(&text) => {
                    self.error(codes::MISSING, node.span, at, "is blank: it should name an image");
                    None
                }
                Some(text) => Some(bare(Spanned { value: text, span: node.span }, node)),
                None => {
                    self.wrong_type(node, at, "a text or a mapping");
                    None
                }
            },
        }
    }

    fn pull_policy(&mut self, node: &Node, at: At<'_>) -> Option<Arc<[smol_str::SmolStr]>> {
        let policies = self.texts_or_text(node, at)?;
        if policies.is_empty() {
            self.error(codes::MISSING, node.span, at, "is blank");
        }
        let items = node.as_sequence().unwrap_or(std::slice::from_ref(node));
        for item in items {
            self.choice(item, at, &PULL_POLICIES);
        }
        Some(policies)
    }

    fn docker(&mut self, node: &Node, at: At<'_>) -> Option<Node> {
        let mapping = self.mapping_of(node, at, &["platform", "user"])?;
        for entry in mapping.entries() {
            let key = key_text(&entry.key);
            match as_text(&entry.value) {
                Some(text) => self.length(&text, &entry.value, at.key(key), if key == "user" { 255 } else { 64 }),
                None => self.wrong_type(&entry.value, at.key(key), "text"),
            }
        }
        Some(node.clone())
    }

    fn kubernetes_options(&mut self, node: &Node, at: At<'_>) -> Option<Node> {
        let mapping = self.mapping_of(node, at, &["user"])?;
        if let Some(user) = mapping.get("user") {
            let at = at.key("user");
            match as_text(user) {
                Some(text) => self.length(&text, user, at, 255),
                None if as_int(user).is_some() => {}
                None => self.wrong_type(user, at, "text or a whole number"),
            }
        }
        Some(node.clone())
    }

    fn length(&mut self, text: &str, node: &Node, at: At<'_>, most: usize) {
        if text.is_empty() {
            self.error(codes::MISSING, node.span, at, "is blank");
        } else if text.chars().count() > most {
            self.error(codes::WRONG_VALUE, node.span, at, format_args!("is longer than {most} characters"));
        }
    }
}

fn bare(name: Name, node: &Node) -> Image {
    Image { name, entrypoint: None, pull_policy: None, docker: None, kubernetes: None, ports: None, node: node.clone() }
}
