//! `release`.

use super::super::codes;
use super::super::place::At;
use super::super::values::{Checker, as_text, is_blank, is_null, key_text};
use crate::parser::document::{Node, Schema, Typed};

const KEYS: [&str; 8] =
    ["tag_name", "tag_message", "name", "description", "ref", "released_at", "milestones", "assets"];

impl Checker<'_> {
    /// `release`.
    pub fn release(&mut self, node: &Node, at: At<'_>) -> Option<Node> {
        let mapping = self.mapping_of(node, at, &KEYS)?;
        for key in ["tag_name", "description"] {
            self.required_text(mapping.get(key), node.span, at.key(key));
        }
        for entry in mapping.entries() {
            let key = key_text(&entry.key);
            let (below, value) = (at.key(key), &entry.value);
            match key {
                "tag_message" => drop(self.text(value, below)),
                "milestones" if !blank(value) => drop(self.texts_or_text(value, below)),
                "released_at" if !is_null(value) => self.released_at(value, below),
                "ref" => self.git_ref(value, below),
                "assets" => self.assets(value, below),
                _ => {}
            }
        }
        Some(node.clone())
    }

    fn released_at(&mut self, node: &Node, at: At<'_>) {
        let time = node.as_scalar().map(|scalar| scalar.text.as_str()).filter(|_| as_text(node).is_some());
        if !time.is_some_and(is_time) {
            let help = Some("write it in quotes, like `\"2026-01-31T10:00:00Z\"`".to_owned());
            self.error_help(codes::WRONG_VALUE, node.span, at, "must be a valid date and time", help);
        }
    }

    fn git_ref(&mut self, node: &Node, at: At<'_>) {
        let Some(name) = self.text(node, at) else { return };
        if !is_ref(&name) {
            self.error(codes::WRONG_VALUE, node.span, at, format_args!("must be a valid ref, which `{name}` is not"));
        }
    }

    fn assets(&mut self, node: &Node, at: At<'_>) {
        let Some(mapping) = self.mapping_of(node, at, &["links"]) else { return };
        let at = at.key("links");
        let links = mapping.get("links").filter(|links| !is_null(links));
        let Some(links) = links else { return self.missing(node.span, at, "is missing", None) };
        match links.as_sequence() {
            None => self.wrong_type(links, at, "a list of mappings"),
            Some([]) => self.error(codes::MISSING, links.span, at, "is empty"),
            Some(items) => items.iter().for_each(|item| self.link(item, at)),
        }
    }

    fn link(&mut self, node: &Node, at: At<'_>) {
        let Some(mapping) = self.mapping_of(node, at, &["name", "url", "filepath", "link_type"]) else { return };
        self.required_text(mapping.get("name"), node.span, at.key("name"));
        let Some(url) = self.required_text(mapping.get("url"), node.span, at.key("url")) else { return };
        let known = ["http://", "https://", "ftp://"].iter().any(|scheme| {
            url.get(..scheme.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(scheme)) && url.len() > scheme.len()
        });
        // What a variable begins is known when the release is made.
        if !known && !url.starts_with('$') {
            let span = mapping.get("url").map_or(node.span, |url| url.span);
            self.error(codes::WRONG_VALUE, span, at.key("url"), "must be an address with http or https");
        }
    }
}

fn blank(node: &Node) -> bool {
    match node.typed(Schema::Ruby) {
        Some(Typed::Null | Typed::Bool(false)) => true,
        Some(Typed::Text(text)) => is_blank(text),
        Some(_) => false,
        None => node.as_sequence().is_some_and(<[Node]>::is_empty),
    }
}

/// Whether it is a date, maybe with a time, in ISO 8601.
fn is_time(text: &str) -> bool {
    let (date, time) = text.split_once(['T', 't', ' ']).unwrap_or((text, ""));
    date.parse::<jiff::civil::Date>().is_ok()
        && (time.is_empty() || {
            let end = time.find(['Z', 'z', '+', '-']).unwrap_or(time.len());
            time[..end].trim_end().parse::<jiff::civil::Time>().is_ok()
        })
}

/// Git's rules for the names of refs, of which one level is enough.
fn is_ref(name: &str) -> bool {
    let bad_char = |c: char| c.is_control() || matches!(c, ' ' | '~' | '^' | ':' | '?' | '*' | '[' | '\\');
    !name.is_empty()
        && !name.contains(bad_char)
        && !name.contains("..")
        && !name.contains("@{")
        && name != "@"
        && !name.starts_with('-')
        && !name.ends_with('.')
        && name.split('/').all(|part| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock"))
}
