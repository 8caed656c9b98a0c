//! `pages` and `publish`, `manual_confirmation`, `identity`, `dast_configuration`.

use super::super::codes;
use super::super::duration::Allowed;
use super::super::model::Name;
use super::super::place::At;
use super::super::values::{Checker, key_text};
use crate::parser::document::{Node, Schema, Typed};

impl Checker<'_> {
    /// `pages`.
    pub fn pages(&mut self, node: &Node, at: At<'_>) -> Option<Node> {
        match node.typed(Schema::Ruby) {
            Some(Typed::Null) => None,
            Some(Typed::Bool(_)) => Some(node.clone()),
            None if node.as_mapping().is_some() => {
                let mapping = self.mapping_of(node, at, &["path_prefix", "expire_in", "publish"])?;
                for entry in mapping.entries() {
                    let key = key_text(&entry.key);
                    match key {
                        "path_prefix" | "publish" => drop(self.text(&entry.value, at.key(key))),
                        "expire_in" => {
                            let allowed = Allowed { never: true, ..Allowed::default() };
                            self.duration(&entry.value, at.key(key), allowed);
                        }
                        _ => {}
                    }
                }
                Some(node.clone())
            }
            _ => {
                self.wrong_type(node, at, "true, false or a mapping");
                None
            }
        }
    }

    /// `identity`.
    pub fn identity(&mut self, node: &Node, at: At<'_>) -> Option<Name> {
        let value = self.choice(node, at, &["google_cloud"])?;
        Some(Name { value, span: node.span })
    }

    /// `dast_configuration`.
    pub fn dast_configuration(&mut self, node: &Node, at: At<'_>) -> Option<Node> {
        const KEYS: [&str; 2] = ["site_profile", "scanner_profile"];
        let mapping = self.mapping_of(node, at, &KEYS)?;
        for key in KEYS {
            if let Some(value) = mapping.get(key) {
                self.text(value, at.key(key));
            }
        }
        Some(node.clone())
    }

    /// `publish`, which only a job that deploys pages may have.
    pub fn publish(&mut self, node: &Node, at: At<'_>, deploys_pages: bool) -> Option<Name> {
        let name = self.name(node, at)?;
        if !deploys_pages {
            self.error(codes::CONFLICT, node.span, at, "can only be used in a job that deploys pages (`pages: true`)");
        }
        Some(name)
    }
}
